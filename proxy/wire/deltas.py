"""The texts of a stream put together again, in any of the three dialects: for eyes, never for a wire.

What a model says comes in pieces, each in an event of its own; joined they show what was said.
Shapes are those of `chat.seen`, `messages.tap` and `responses.seen`; what has none of them is left out.
"""

from collections.abc import Iterator

import msgspec

from proxy.wire import sse

_CHAT = ("content", "reasoning_content", "reasoning", "refusal")
_MESSAGES = ("text", "thinking", "partial_json")
_PLACE = ("output_index", "content_index", "summary_index")
_object = msgspec.json.Decoder(dict[str, object])

Piece = tuple[tuple[object, ...], str, str]
"""Whereof it is a piece, what that is called, and the piece."""


def is_stream(said: bytes) -> bool:
    """Whether it begins as an event stream does, and no body of JSON."""
    return said.lstrip(b"\r\n").startswith((b"data:", b"event:", b"id:", b"retry:", b":", sse.BOM))


def texts(said: bytes) -> list[tuple[str, str]]:
    """The (name, text) of everything that the events of `said` bring in pieces, and each error in them."""
    joined: dict[tuple[object, ...], tuple[str, list[str]]] = {}
    for event in sse.events(said):
        for whereof, name, piece in _pieces(_value(event)):
            joined.setdefault(whereof, (name, []))[1].append(piece)
    return [(name, "".join(pieces)) for name, pieces in joined.values()]


def _value(event: bytes) -> dict[str, object]:
    try:
        return _object.decode(sse.data_of(event) or b"{}")
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return {}


def _pieces(value: dict[str, object]) -> Iterator[Piece]:
    delta = value.get("delta")
    if isinstance(delta, str):
        kind = str(value.get("type", ""))
        name = kind.removeprefix("response.").removesuffix(".delta")
        yield (kind, *(str(value.get(place)) for place in _PLACE)), name, delta
    yield from _named(delta, _MESSAGES, str(value.get("index")))
    for choice in _objects(value.get("choices")):
        yield from _chosen(choice)
    response = value.get("response")
    error = value.get("error") or (response.get("error") if isinstance(response, dict) else None)
    if error or value.get("type") == "error":
        told = msgspec.json.encode(error or value).decode()
        yield ("error", told), "error", told


def _chosen(choice: dict[str, object]) -> Iterator[Piece]:
    number, delta = str(choice.get("index")), choice.get("delta")
    yield from _named(choice, ("text",), number)
    yield from _named(delta, _CHAT, number)
    if isinstance(delta, dict):
        yield from _named(delta.get("function_call"), ("name", "arguments"), number)
        for call in _objects(delta.get("tool_calls")):
            yield from _named(call.get("function"), ("name", "arguments"), number, str(call.get("index")))


def _named(value: object, names: tuple[str, ...], *place: str) -> Iterator[Piece]:
    if isinstance(value, dict):
        for name in names:
            if isinstance(text := value.get(name), str) and text:
                yield (*place, name), name, text


def _objects(value: object) -> list[dict[str, object]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
