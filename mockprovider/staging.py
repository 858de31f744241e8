"""Staging: from a reply and a behaviour to the exact bytes, in which writes, after which waits, and the end.

Rule: pure. An `Act` says everything a connection has to do; the connection only waits and writes. So every
break (a cut at byte k, a chunk that lies, a character split over two writes) is a list that a test can read.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Literal

from mockprovider.behaviour import Behaviour
from mockprovider.script import Decision

Ending = Literal["keep", "fin", "rst", "half", "stall"]
Step = tuple[float, bytes]

NEXT_TICK = -1.0
"""A wait that lets the event loop send what was written before, and no longer."""

_LAST_CHUNK = b"0\r\n\r\n"
_REASONS = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply before its breaks. `frames` are the events of a stream, or the body as the only one."""

    status: int
    frames: Sequence[bytes]
    content_type: str = "application/json"
    streaming: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Act:
    """What a connection does: each step is a wait in seconds and what to write then; then the ending.

    `outcome` names it for the statistics. `close_after_s` closes a kept connection that is idle so long.
    """

    steps: Sequence[Step]
    ending: Ending
    outcome: str
    streaming: bool = False
    close_after_s: float | None = None


def stage(reply: Reply, decision: Decision) -> Act:
    """The act for a reply under a decision's behaviour."""
    behaviour = decision.behaviour
    before = decision.seconds(behaviour.delay_headers_s)
    ending = _ending(behaviour)
    outcome = _outcome(reply, behaviour)
    if behaviour.silent:
        return Act([(before, b"")] if before else [], ending, outcome, reply.streaming)
    if behaviour.framing == "not_http":
        return Act([(before, b"SSH-2.0-mock\r\n")], ending, outcome)
    head = _head(reply, behaviour, sum(map(len, reply.frames)))
    steps = [(before, head), *_body(reply, decision)]
    return Act(_merged(steps), ending, outcome, reply.streaming, behaviour.close_after_reply_s)


def _merged(steps: list[Step]) -> list[Step]:
    """The headers and what follows them without a wait, as one write."""
    if len(steps) > 1 and not steps[1][0]:
        return [(steps[0][0], steps[0][1] + steps[1][1]), *steps[2:]]
    return steps


def _ending(behaviour: Behaviour) -> Ending:
    if behaviour.stalls:
        return "stall"
    broken = (
        behaviour.framing in {"bad_chunk", "until_close", "not_http"} or behaviour.content_length_delta > 0
    )
    return behaviour.cut_with if behaviour.cuts or broken else "keep"


def _outcome(reply: Reply, behaviour: Behaviour) -> str:
    if behaviour.cuts:
        return "cut"
    if behaviour.stalls:
        return "stall"
    if reply.status != 200:
        return f"status_{reply.status}"
    wrong = {
        "error_event": behaviour.error_after_events is not None,
        "empty": behaviour.empty is not None,
        "garbage": behaviour.garbage is not None or behaviour.html,
        "framing": behaviour.framing in {"bad_chunk", "not_http"} or behaviour.content_length_delta != 0,
        "unfinished": behaviour.terminal == "none",
    }
    return next((name for name, is_so in wrong.items() if is_so), "ok")


def _chunked(reply: Reply, behaviour: Behaviour) -> bool:
    if behaviour.framing == "auto":
        return reply.streaming and behaviour.empty != "body"
    return behaviour.framing in {"chunked", "bad_chunk"}


def _head(reply: Reply, behaviour: Behaviour, size: int) -> bytes:
    lines = [
        f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Unknown')}",
        f"content-type: {behaviour.content_type or reply.content_type}",
    ]
    if _chunked(reply, behaviour):
        lines.append("transfer-encoding: chunked")
    elif behaviour.framing == "until_close":
        lines.append("connection: close")
    else:
        lines.append(f"content-length: {max(0, size + behaviour.content_length_delta)}")
    lines += [f"{name}: {value}" for name, value in {**reply.headers, **behaviour.headers}.items()]
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"


def _body(reply: Reply, decision: Decision) -> Iterator[Step]:
    """The steps of the body: frames limited, joined, split, limited in bytes, and framed."""
    behaviour = decision.behaviour
    chunked = _chunked(reply, behaviour)
    writes = _limited(_writes(reply.frames, decision), behaviour.byte_limit, chunked=chunked)
    if behaviour.framing == "bad_chunk":
        writes = itertools.chain(itertools.islice(writes, 1), [(0.0, b"xyz\r\n")])
    yield from writes
    if chunked and behaviour.framing != "bad_chunk" and not behaviour.cuts and not behaviour.stalls:
        yield 0.0, _LAST_CHUNK


def _writes(frames: Sequence[bytes], decision: Decision) -> Iterator[Step]:
    """The payload of each write with its wait."""
    behaviour = decision.behaviour
    sizes = behaviour.write_bytes
    cycle = itertools.cycle((sizes,) if isinstance(sizes, int) else sizes) if sizes else None
    wait = behaviour.delay_first_event_s
    for joined in _joined(frames[: behaviour.event_limit], behaviour.join_events):
        seconds, wait = decision.seconds(wait), behaviour.delay_events_s
        if cycle is None:
            yield seconds, joined
        else:
            yield from _split(joined, cycle, seconds, behaviour.write_pause_s or NEXT_TICK)


def _joined(frames: Sequence[bytes], count: int) -> Iterable[bytes]:
    if count == 1:
        return frames
    return [b"".join(frames[start : start + count]) for start in range(0, len(frames), count)]


def _split(data: bytes, sizes: Iterator[int], wait: float, pause: float) -> Iterator[Step]:
    start = 0
    while start < len(data):
        end = start + next(sizes)
        yield wait or NEXT_TICK, data[start:end]
        start, wait = end, pause


def _limited(writes: Iterable[Step], limit: int | None, *, chunked: bool) -> Iterator[Step]:
    """Frame the writes and stop after `limit` bytes of payload, inside a chunk if need be."""
    left = limit
    for wait, data in writes:
        if left is not None and len(data) > left:
            if left or not chunked:
                yield wait, (b"%x\r\n" % len(data) if chunked else b"") + data[:left]
            return
        if data:
            yield wait, b"%x\r\n%b\r\n" % (len(data), data) if chunked else data
        if left is not None:
            left -= len(data)
