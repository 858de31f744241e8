import json

import msgspec
import pytest

from proxy.errors import Said
from proxy.wire.model import MOST_TOKENS, Usage
from proxy.wire.responses import seen


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b'event: x\ndata: {"a":1}\n\n', b'{"a":1}'),
        (b'data: {"a":1}\n\n', b'{"a":1}'),
        (b"event: x\ndata: a\ndata: b\n\n", b"a\nb"),
        (b"event: x\r\ndata:a\r\n\r\n", b"a"),
        (b"event: x\nid: data: 1\n\n", None),
        (b": ping\n\n", None),
    ],
)
def test_data_of_an_event(event: bytes, data: bytes | None) -> None:
    """The usual shape is read quickly, all others as the grammar has them."""
    assert seen.data_of(event) == data


def test_a_delta_is_read_without_the_rest() -> None:
    """A delta is read without the rest."""
    found = seen.delta(
        b'{"type":"response.output_text.delta","delta":"x","output_index":2,"obfuscation":"a"}'
    )
    assert found is not None
    assert (found.type, found.delta, found.output_index, found.content_index) == (
        "response.output_text.delta",
        "x",
        2,
        0,
    )


@pytest.mark.parametrize("data", [b"[DONE]", b"{", b'{"output_index":"a"}', b'{"type":"\xff"}'])
def test_what_is_no_event_is_none(data: bytes) -> None:
    """What is no event is none."""
    assert seen.delta(data) is None


def test_a_whole_object() -> None:
    """A whole object."""
    assert seen.whole(b'{"a":[1]}') == {"a": [1]}
    assert seen.whole(b"[1]") is None
    assert seen.whole(b"{") is None


USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 2},
}


def test_usage_decoded_or_not() -> None:
    """Usage decoded or not."""
    expected = Usage(input=10, output=5, cached=4, reasoning=2, written=1)
    assert seen.usage(USAGE) == seen.usage(msgspec.Raw(json.dumps(USAGE).encode())) == expected


@pytest.mark.parametrize("raw", [None, msgspec.Raw(b"null"), {"input_tokens": "many"}, 3])
def test_usage_that_cannot_be_read(raw: object) -> None:
    """Usage that cannot be read."""
    assert seen.usage(raw) is None


def test_usage_without_details() -> None:
    """Usage without details."""
    assert seen.usage({"input_tokens": 1}) == Usage(input=1)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"type": "error", "code": "c", "message": "m", "param": "p"}, Said("m", code="c", param="p")),
        (
            {"type": "error", "code": None, "error": {"type": "t", "message": "m", "code": "c"}},
            Said("m", kind="t", code="c"),
        ),
        ({"error": "m", "code": "c"}, Said("m", code="c")),
        ({"type": "error"}, Said("The provider reported an error without a message.")),
    ],
)
def test_the_event_error_in_any_shape(event: dict[str, object], said: Said) -> None:
    """The event error in any shape."""
    assert seen.error_of(event) == said


def test_a_failed_response_says_why() -> None:
    """A failed response says why."""
    assert seen.failure({"error": {"code": "c", "message": "m"}}) == Said("m", code="c")
    assert seen.failure({"status": "cancelled", "error": None}).code == "cancelled"


def test_counts_that_cannot_be() -> None:
    """Are moved to the next that can."""
    odd = {"input_tokens": -5, "output_tokens": 10**30, "input_tokens_details": {"cached_tokens": -1}}
    assert seen.usage(odd) == Usage(output=MOST_TOKENS)
