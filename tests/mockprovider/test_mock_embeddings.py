import base64
import json
import math
import struct
from typing import Any

import pytest

from mockprovider import embeddings
from mockprovider.answer import Unreadable


def _reply(**fields: object) -> Any:
    body = json.dumps({"model": "m", "input": "hello", **fields}).encode()
    return json.loads(embeddings.reply(embeddings.read(body, "")))


def test_base64_and_float_are_the_same_vector() -> None:
    """Both formats hold the same 32-bit numbers, little endian in base64."""
    plain = _reply(dimensions=8)["data"][0]["embedding"]
    packed = _reply(dimensions=8, encoding_format="base64")["data"][0]["embedding"]
    assert list(struct.unpack("<8f", base64.b64decode(packed))) == plain
    assert _reply(dimensions=8, encoding_format="float")["data"][0]["embedding"] == plain


def test_vectors_have_length_one_and_depend_on_the_text_alone() -> None:
    """The same text gives the same unit vector, another text another."""
    one, other, again = (each["embedding"] for each in _reply(input=["a", "b", "a"])["data"])
    assert one == again
    assert one != other
    assert len(one) == 1536
    assert math.hypot(*one) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("given", "count", "tokens"),
    [
        ("abcde", 1, 2),
        (["a", "abcde"], 2, 3),
        ([1, 2, 3], 1, 3),
        ([[1, 2], [3]], 2, 3),
    ],
)
def test_every_form_of_input_is_counted(given: object, count: int, tokens: int) -> None:
    """Text counts four bytes a token, token numbers count as they are."""
    reply = _reply(input=given, dimensions=2)
    assert [each["index"] for each in reply["data"]] == list(range(count))
    assert reply["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


def test_usage_can_be_claimed() -> None:
    """A script's number replaces the count."""
    wanted = embeddings.read(b'{"model":"m","input":"a","dimensions":1}', "")
    assert json.loads(embeddings.reply(wanted, 77))["usage"]["total_tokens"] == 77


@pytest.mark.parametrize(
    "fields",
    [
        {"input": ""},
        {"input": []},
        {"input": ["a", ""]},
        {"input": [["a"]]},
        {"input": None},
        {"input": [1, "a"]},
        {"dimensions": 0},
        {"dimensions": 10_000},
        {"encoding_format": "int8"},
        {"model": ""},
        {"input": ["a"] * 2049},
    ],
)
def test_a_bad_request_is_refused(fields: dict[str, object]) -> None:
    """Empty, mixed or oversized input and unknown formats are Unreadable."""
    with pytest.raises(Unreadable):
        _reply(**fields)
