import json
from typing import Any

import pytest

from mockprovider import compaction, responses
from mockprovider.answer import Stamp, Unreadable
from mockprovider.reading import Terms

_TERMS = Terms(name="east", stored={Stamp(1).id("")})


def _compacted(said: object, **fields: object) -> Any:
    body = json.dumps({"model": "m", "input": said, **fields}).encode()
    return json.loads(compaction.reply(compaction.read(body, "", _TERMS), "east", Stamp(7)))


def test_the_users_words_stay_and_the_rest_is_sealed() -> None:
    """The shape that is published, with usage that counts what went in."""
    said = [{"role": "user", "content": "abcdefgh"}, {"role": "assistant", "content": "b"}]
    told = _compacted(said, instructions="c")
    assert (told["object"], told["id"][:5]) == ("response.compaction", "resp_")
    user, item = told["output"]
    assert (user["role"], user["content"]) == ("user", [{"type": "input_text", "text": "abcdefgh"}])
    assert (item["type"], item["id"][:4]) == ("compaction", "cmp_")
    assert (told["usage"]["input_tokens"], told["usage"]["output_tokens"]) == (3, 2)
    assert told["usage"]["total_tokens"] == 5


def test_what_was_compacted_can_be_gone_on_with() -> None:
    """At the same provider."""
    output = _compacted("hi")["output"]
    body = json.dumps({"model": "m", "input": [*output, {"role": "user", "content": "so?"}]}).encode()
    assert responses.read(body, "", _TERMS).text == "so?"
    with pytest.raises(Unreadable, match="could not be verified"):
        responses.read(body, "", Terms(name="west"))


def test_a_stored_response_needs_no_input() -> None:
    """It is what is compacted then."""
    assert _compacted(None, previous_response_id=Stamp(1).id("resp_"))["output"][-1]["type"] == "compaction"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"model": ""}, "model"),
        ({"stream": True}, "stream"),
        ({"previous_response_id": "resp_0"}, "previous_response_id"),
        ({"prompt_cache_key": "x" * 65}, "prompt_cache_key"),
        ({"input": [{"role": "tool", "content": "a"}]}, "input[0].role"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, object], param: str) -> None:
    """As for a response."""
    with pytest.raises(Unreadable) as caught:
        compaction.read(json.dumps({"model": "m", "input": "hi", **fields}).encode(), "", _TERMS)
    assert caught.value.param == param
