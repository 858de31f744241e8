"""What the scripted provider says is what the published documents say. Broken examples: `schemas`."""

import json
from typing import Any

import pytest
from schemas.spoken import (
    BEHAVIOURS,
    CUSTOM,
    FORMAT,
    FUNCTION,
    PATHS,
    REQUESTS,
    SEARCH,
    answer,
    reply_of,
    stream_of,
)
from schemas.validation import problems, stream_problems

from mockprovider import models
from mockprovider.behaviour import Behaviour

every_dialect = pytest.mark.parametrize("dialect", PATHS)
every_behaviour = pytest.mark.parametrize("behaviour", BEHAVIOURS.values(), ids=BEHAVIOURS)


@every_dialect
@every_behaviour
def test_replies_are_valid(dialect: str, behaviour: Behaviour) -> None:
    """Each in each dialect."""
    assert problems(dialect, "reply", reply_of(dialect, behaviour)) == []


@every_dialect
@every_behaviour
def test_streams_are_valid(dialect: str, behaviour: Behaviour) -> None:
    """Their events and the order of them."""
    assert stream_problems(dialect, stream_of(dialect, behaviour)) == []


@pytest.mark.parametrize("behaviour", [Behaviour(text="one two"), Behaviour(tool_calls=2)])
@pytest.mark.parametrize("options", [None, {"include_usage": True}])
def test_several_choices_are_valid(behaviour: Behaviour, options: object) -> None:
    """With usage at the end or without."""
    assert problems("chat", "reply", reply_of("chat", behaviour, n=3)) == []
    assert stream_problems("chat", stream_of("chat", behaviour, n=3, stream_options=options)) == []


_EDIT = {"type": "custom", "name": "edit"}
_ASKED: list[dict[str, Any]] = [
    {"tools": [CUSTOM, SEARCH, {"type": "function", **FUNCTION, "strict": False}]},
    {"tools": [CUSTOM], "tool_choice": _EDIT},
    {"tools": [CUSTOM], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [_EDIT]}},
    {"tool_choice": {"type": "function", "name": "f"}},
    {"reasoning": {"effort": "minimal", "summary": "auto"}, "instructions": "i", "store": False},
    {"temperature": 0.5, "top_logprobs": 3, "metadata": {"a": "b"}, "max_output_tokens": 100},
    {"text": {"format": FORMAT, "verbosity": "low"}},
]


@pytest.mark.parametrize("fields", _ASKED)
def test_a_response_may_repeat_what_was_asked(fields: dict[str, Any]) -> None:
    """Open Responses knows fewer tools and efforts than clients ask OpenAI for."""
    behaviour = Behaviour(text="one", tool_calls=0)
    assert problems("responses", "reply", reply_of("responses", behaviour, **fields)) == []


@every_dialect
@pytest.mark.parametrize(
    "behaviour", [Behaviour(comments=True, line_end="crlf"), Behaviour(line_end="cr", no_space=True)]
)
def test_any_legal_spelling_is_valid(dialect: str, behaviour: Behaviour) -> None:
    """Comments and every end of a line."""
    assert stream_problems(dialect, stream_of(dialect, behaviour)) == []


@every_dialect
@pytest.mark.parametrize("sent", range(8))
def test_an_error_may_end_a_stream_anywhere(dialect: str, sent: int) -> None:
    """In the dialect's own shape."""
    behaviour = Behaviour(text="one two", reasoning="let me see", error_after_events=sent)
    assert stream_problems(dialect, stream_of(dialect, behaviour)) == []


@every_dialect
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 408, 413, 429, 500, 503, 504, 529])
def test_errors_are_valid(dialect: str, status: int) -> None:
    """Of every status."""
    assert problems(dialect, "error", reply_of(dialect, Behaviour(status=status))) == []


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_embeddings_are_valid(encoding: str) -> None:
    """In both encodings."""
    asked = {"model": "m", "input": ["a", "b"], "dimensions": 8, "encoding_format": encoding}
    assert problems("chat", "embeddings", json.loads(answer("/v1/embeddings", asked)[1])) == []


def test_models_are_valid() -> None:
    """All of them and each alone, in both shapes."""
    assert problems("chat", "models", json.loads(answer("/v1/models")[1])) == []
    assert problems("chat", "model", json.loads(answer("/v1/models/b/c")[1])) == []
    for ids in ((), ("a", "b/c")):
        assert problems("messages", "models", json.loads(models.anthropic_listing(ids, ""))) == []
    assert problems("messages", "model", json.loads(models.anthropic_listing((), "b/c"))) == []


def test_counts_are_valid() -> None:
    """Of both dialects that count."""
    for dialect, path in (("messages", "/count_tokens"), ("responses", "/input_tokens")):
        asked = {key: value for key, value in REQUESTS[dialect].items() if key != "max_tokens"}
        status, body = answer(PATHS[dialect] + path, {"model": "m", **asked})
        assert status == 200, body
        assert problems(dialect, "count", json.loads(body)) == []


_USAGE = {
    "input_tokens": 1,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 1,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 2,
}
_QUESTION = {
    "id": "msg_1",
    "type": "message",
    "role": "user",
    "status": "completed",
    "content": [{"type": "input_text", "text": "hi"}],
}
_OTHERS: dict[str, dict[str, Any]] = {
    "input_items": {
        "object": "list",
        "data": [_QUESTION],
        "first_id": "msg_1",
        "last_id": "msg_1",
        "has_more": False,
    },
    "deleted": {"id": "resp_1", "object": "response", "deleted": True},
    "compaction": {
        "id": "resp_1",
        "object": "response.compaction",
        "created_at": 1,
        "output": [_QUESTION, {"id": "cmp_1", "type": "compaction", "encrypted_content": "e"}],
        "usage": _USAGE,
    },
    "socket_error": {
        "type": "error",
        "status": 400,
        "error": {"type": "invalid_request_error", "code": "c", "message": "m", "param": None},
    },
}


@pytest.mark.parametrize(
    ("kind", "key"), [(kind, key) for kind, example in _OTHERS.items() for key in example if key != "status"]
)
def test_other_replies_need_all_their_members(kind: str, key: str) -> None:
    """Of stored responses and of WebSockets, which the scripted provider does not have."""
    example = _OTHERS[kind]
    assert problems("responses", kind, example) == []
    lacking = {name: value for name, value in example.items() if name != key}
    assert any(repr(key) in each or "no object" in each for each in problems("responses", kind, lacking))
