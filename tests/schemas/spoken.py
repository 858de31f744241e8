"""What the scripted provider says in each dialect, as the bytes or the values that a client would get."""

import json
from typing import Any

from mockprovider.behaviour import Behaviour
from mockprovider.desk import Desk, Request
from mockprovider.script import Script

PATHS = {"chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses"}
PARAMETERS = {"type": "object", "properties": {"q": {"type": "string"}}}
FUNCTION = {"name": "f", "description": "d", "parameters": PARAMETERS}
CUSTOM = {"type": "custom", "name": "edit", "format": {"type": "text"}}
SEARCH = {"type": "web_search"}
FORMAT = {
    "type": "json_schema",
    "name": "n",
    "description": None,
    "schema": {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
    "strict": True,
}
REQUESTS: dict[str, dict[str, Any]] = {
    "chat": {
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"type": "function", "function": FUNCTION}],
        "stream_options": {"include_usage": True},
    },
    "messages": {
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"name": "f", "input_schema": PARAMETERS}],
        "max_tokens": 100,
    },
    "responses": {"input": "hi", "tools": [{"type": "function", **FUNCTION, "strict": False}]},
}
BEHAVIOURS = {
    "text": Behaviour(text="one two"),
    "reasoning": Behaviour(text="one two", reasoning="let me see"),
    "tools": Behaviour(tool_calls=2),
    "reasoned tools": Behaviour(tool_calls=2, reasoning="hm", tool_arguments={}),
    "length": Behaviour(text="one two", finish="length"),
    "filtered": Behaviour(text="one two", finish="content_filter"),
    "nothing": Behaviour(empty="lifecycle"),
    "cached": Behaviour(text="one", prompt_tokens=9, cached_tokens=4),
}


def reply_of(dialect: str, behaviour: Behaviour, **fields: object) -> Any:
    """The reply to a request that has `fields` in it or in place of its own, decoded."""
    return json.loads(_answer(dialect, behaviour, fields))


def stream_of(dialect: str, behaviour: Behaviour, **fields: object) -> bytes:
    """The stream that answers such a request."""
    return _answer(dialect, behaviour, {**fields, "stream": True})


def _answer(dialect: str, behaviour: Behaviour, fields: dict[str, object]) -> bytes:
    status, body = answer(PATHS[dialect], {"model": "m", **REQUESTS[dialect], **fields}, behaviour)
    assert status == behaviour.status, body
    return body


def answer(path: str, asked: Any = None, behaviour: Behaviour | None = None) -> tuple[int, bytes]:
    """The status and body of what is asked of a path: a GET without a body."""
    body = b"" if asked is None else json.dumps(asked).encode()
    headers = {"anthropic-version": "2023-06-01"} if "messages" in path else {}
    desk = Desk("x", Script(default=behaviour or Behaviour(), models=("a", "b/c")))
    served = desk.serve(Request("GET" if asked is None else "POST", path, headers, body), 0.0)
    head, _, sent = b"".join(data for _, data in served.act.steps).partition(b"\r\n\r\n")
    return int(head.split()[1]), _unchunked(sent) if b"chunked" in head else sent


def _unchunked(rest: bytes) -> bytes:
    """A chunked body without its frames."""
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body
