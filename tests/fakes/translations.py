"""Passages between two dialects, made as the pipeline makes them, and what comes out of them."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from proxy.errors import Fault, FaultKind, Said
from proxy.profiles import Kind, quirks
from proxy.retry import refuse, refuse_late
from proxy.wire import envelope, sse
from proxy.wire.bypass import Bypass, Edits
from proxy.wire.codec import Facts, Passage, Stamp
from proxy.wire.conversation import Conversation
from proxy.wire.dialects import CODECS, native
from proxy.wire.losses import Losses
from proxy.wire.model import Dialect, Stream, Usage
from proxy.wire.translation import Translation

STAMP = Stamp(token="0123456789abcdef01234567", created=1_700_000_000, prompt_tokens=7)
UPSTREAMS: dict[str, tuple[Kind, str]] = {
    "chat": ("openai", "gpt-4.1"),
    "responses": ("openai", "gpt-4.1"),
    "messages": ("anthropic", "claude-sonnet-4-5"),
}
"""A provider and a model for each dialect, unless a test names others."""

DEPTH = 64


def facts(dialect: str, kind: Kind | None = None, model: str | None = None, **overrides: Any) -> Facts:
    """Whom a body is written for."""
    usual_kind, usual_model = UPSTREAMS[dialect]
    model = model or usual_model
    return Facts(model, quirks(kind or usual_kind, model, overrides))


def conversation(client: str, body: Mapping[str, Any]) -> Conversation:
    """A client's body as it is read."""
    return CODECS[Dialect(client)].read(envelope.decode(json.dumps(body).encode(), DEPTH))


def edits(model: str) -> Edits:
    """The edits of a target without a configuration of its own."""
    return Edits(msgspec.Raw(json.dumps(model).encode()), True, {}, ())


def translation(
    client: str,
    upstream: str,
    body: Mapping[str, Any],
    kind: Kind | None = None,
    model: str | None = None,
    *,
    strict: bool = False,
    lenient: Iterable[str] = (),
    **overrides: Any,
) -> Translation:
    """The passage of `body` from a client of one dialect to an upstream of another."""
    known = facts(upstream, kind, model, **overrides)
    return Translation(
        conversation(client, body),
        client=CODECS[Dialect(client)],
        upstream=CODECS[Dialect(upstream)],
        facts=known,
        edits=edits(known.model),
        stamp=STAMP,
        losses=Losses(Dialect(upstream), strict=strict, lenient=frozenset(lenient)),
    )


def passing(
    dialect: str, body: Mapping[str, Any], kind: Kind | None = None, model: str | None = None
) -> Bypass:
    """The passage of `body` between two ends of the same dialect."""
    seen = envelope.read(json.dumps(body).encode(), DEPTH)
    known = facts(dialect, kind, model)
    through = native(Dialect(dialect), seen, STAMP, known, include_usage=True)
    return Bypass(seen, edits(known.model), through, Losses(Dialect(dialect)))


def sent(passage: Passage) -> dict[str, Any]:
    """The body that goes to the upstream."""
    body: dict[str, Any] = json.loads(passage.request())
    return body


def lost(passage: Passage) -> str:
    """The header of what was lost."""
    return passage.losses.header() if passage.losses is not None else ""


def answered(passage: Passage, reply: Mapping[str, Any]) -> dict[str, Any]:
    """The client's whole reply for an upstream's."""
    body: dict[str, Any] = json.loads(passage.reply(json.dumps(reply).encode())[0])
    return body


@dataclasses.dataclass(frozen=True)
class Told:
    """What a client was told of a stream: its bytes with the end that was made for it, and what was known."""

    raw: bytes
    usage: Usage | None
    error: Said | None
    fault: FaultKind | None
    content: bool
    ended: bool


def told(stream: Stream, pieces: Iterable[bytes]) -> Told:
    """Use a stream as a relay does: nothing is fed after its end or an error, and a fault is told in-band."""
    out = b""
    fault: Fault | None = None
    try:
        for piece in pieces:
            out += stream.feed(piece)
            if stream.ended or stream.error is not None:
                break
        if stream.error is None:
            out += stream.finish()
        if stream.error is not None:
            fault = Fault(FaultKind.ERROR_IN_REPLY, "the stream held an error", status=200, said=stream.error)
    except Fault as caught:
        fault = caught
    if fault is not None:
        out += stream.broken(refuse_late(fault) if stream.content else refuse(fault))
    kind = fault.kind if fault is not None else None
    return Told(out, stream.usage, stream.error, kind, stream.content, stream.ended)


def event(dialect: str, value: Any) -> bytes:
    """One event as an upstream of `dialect` writes it; `value` may be the text `[DONE]`."""
    data = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    named = dialect != "chat" and isinstance(value, dict) and "type" in value
    return (f"event: {value['type']}\n" if named else "").encode() + f"data: {data}\n\n".encode()


def events(raw: bytes) -> list[Any]:
    """The data of each event, decoded; comments are left out, `[DONE]` stays a text."""
    found = []
    for single in sse.events(raw):
        data = sse.data_of(single)
        if data is None:
            continue
        value = data.decode() if data == b"[DONE]" else json.loads(data)
        if isinstance(value, dict) and "type" in value:
            assert sse.name_of(single).decode() == value["type"], "an event is named by its type"
        found.append(value)
    return found


def streamed(passage: Passage, dialect: str, values: Iterable[Any]) -> list[Any]:
    """The client's events for an upstream's, each of which came in a read of its own."""
    return events(told(passage.stream(), [event(dialect, value) for value in values]).raw)
