"""What a provider was asked, read from a body of its dialect: enough to see that nothing was lost."""

import json
from collections.abc import Iterable, Iterator

from cells import Fields

Said = tuple[str, str]
"""A role and a text."""


def _parts(content: object) -> list[Fields]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return list(content) if isinstance(content, list) else []


def _text(content: object) -> str:
    return "".join(str(part.get("text") or "") for part in _parts(content))


def _turns(kind: str, body: Fields) -> list[Fields]:
    """Messages, or the items of a Responses request, in order."""
    if kind != "responses":
        return list(body["messages"])
    given = body["input"]
    return [{"role": "user", "content": given}] if isinstance(given, str) else list(given)


def said(kind: str, body: Fields) -> list[Said]:
    """All texts with their roles, in order; system text that has a field of its own is not among them."""
    found = ((str(turn.get("role")), _text(turn.get("content"))) for turn in _turns(kind, body))
    return [pair for pair in found if pair[1]]


def system(kind: str, body: Fields) -> str:
    """The system prompt, wherever the dialect has it."""
    own = {"chat": "", "responses": body.get("instructions"), "messages": _text(body.get("system"))}[kind]
    return str(own or "") + "".join(
        text for role, text in said(kind, body) if role in ("system", "developer")
    )


def tools(kind: str, body: Fields) -> list[str]:
    """The names of the tools offered."""
    offered = body.get("tools") or []
    return [str(tool["function"]["name"] if kind == "chat" else tool["name"]) for tool in offered]


def choice(kind: str, body: Fields) -> str:
    """The tool choice: `auto`, `none`, `required`, or the name of a tool."""
    chosen = body.get("tool_choice")
    if isinstance(chosen, str):
        return chosen
    if not chosen:
        return "auto"
    if kind == "messages":
        return {"any": "required", "tool": chosen.get("name")}.get(chosen["type"]) or str(chosen["type"])
    return str(chosen["function"]["name"] if kind == "chat" else chosen["name"])


def calls(kind: str, body: Fields) -> list[tuple[str, str, object]]:
    """The tool calls in the history: id, name, arguments."""
    return list(_calls(kind, _turns(kind, body)))


def _calls(kind: str, turns: Iterable[Fields]) -> Iterator[tuple[str, str, object]]:
    for turn in turns:
        if kind == "chat":
            for call in turn.get("tool_calls") or []:
                yield call["id"], call["function"]["name"], json.loads(call["function"]["arguments"])
        elif kind == "responses" and turn.get("type") == "function_call":
            yield turn["call_id"], turn["name"], json.loads(turn["arguments"])
        elif kind == "messages":
            for part in _parts(turn["content"]):
                if part["type"] == "tool_use":
                    yield part["id"], part["name"], part["input"]


def results(kind: str, body: Fields) -> list[Said]:
    """The results of tools in the history: the call's id and the text."""
    turns = _turns(kind, body)
    if kind == "chat":
        return [(turn["tool_call_id"], _text(turn["content"])) for turn in turns if turn["role"] == "tool"]
    if kind == "responses":
        outputs = (turn for turn in turns if turn.get("type") == "function_call_output")
        return [(turn["call_id"], _text(turn["output"])) for turn in outputs]
    parts = (part for turn in turns for part in _parts(turn["content"]))
    return [
        (part["tool_use_id"], _text(part.get("content"))) for part in parts if part["type"] == "tool_result"
    ]


def images(kind: str, body: Fields) -> list[str]:
    """The pictures, as URLs; those sent along as `data:` URLs."""
    parts = [part for turn in _turns(kind, body) for part in _parts(turn.get("content"))]
    if kind == "chat":
        return [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    if kind == "responses":
        return [part["image_url"] for part in parts if part["type"] == "input_image"]
    sources = (part["source"] for part in parts if part["type"] == "image")
    return [
        source["url"] if source["type"] == "url" else f"data:{source['media_type']};base64,{source['data']}"
        for source in sources
    ]


def files(kind: str, body: Fields) -> list[str]:
    """The files that are sent along, as `data:` URLs."""
    parts = [part for turn in _turns(kind, body) for part in _parts(turn.get("content"))]
    if kind == "chat":
        return [part["file"]["file_data"] for part in parts if part["type"] == "file"]
    if kind == "responses":
        return [part["file_data"] for part in parts if part["type"] == "input_file"]
    sources = (part["source"] for part in parts if part["type"] == "document")
    return [f"data:{source['media_type']};base64,{source['data']}" for source in sources]


def schema(kind: str, body: Fields) -> Fields | None:
    """The JSON schema that the reply shall fit."""
    if kind == "chat":
        wanted = (body.get("response_format") or {}).get("json_schema") or {}
    elif kind == "responses":
        wanted = (body.get("text") or {}).get("format") or {}
    else:
        wanted = (body.get("output_config") or {}).get("format") or {}
    found: Fields | None = wanted.get("schema")
    return found


def seals(kind: str, body: Fields) -> list[str]:
    """The signatures, or the encrypted contents, of the reasoning in the history."""
    if kind == "messages":
        parts = (part for turn in _turns(kind, body) for part in _parts(turn["content"]))
        return [part["signature"] for part in parts if part["type"] == "thinking"]
    if kind == "responses":
        reasoned = (turn for turn in _turns(kind, body) if turn.get("type") == "reasoning")
        return [turn["encrypted_content"] for turn in reasoned if turn.get("encrypted_content")]
    return []


def stops(kind: str, body: Fields) -> list[str]:
    """The sequences at which the provider shall stop by itself."""
    given = body.get("stop_sequences" if kind == "messages" else "stop") or []
    return [given] if isinstance(given, str) else list(given)
