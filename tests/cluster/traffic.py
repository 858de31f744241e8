"""Clients that send at a constant rate, whatever comes back, and note what did.

A request is due by its schedule, so a stall of the proxy is seen by all who had to wait for it and not
only by the one that was stuck. Bare sockets: what a client sees is what was sent.
"""

import asyncio
import json
import random
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CHAT = "chat"
PAD = 400
"""Bytes of a body: 100 tokens at the 4 bytes a token that are assumed before anything was learned."""
LOST = 0
"""The status of a request that got no whole answer."""
DOWN = -1
"""The status of a request that was never sent: nobody listened."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One request's fate; times are monotonic seconds. `port` is that of the replica."""

    client: str
    port: int
    due: float
    sent: float
    done: float
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def waited(self) -> float:
        """Seconds from when it should have been sent."""
        return self.done - self.due

    @property
    def took(self) -> float:
        """Seconds from when it was sent."""
        return self.done - self.sent


def key_of(client: str) -> str:
    """The key of a client."""
    return f"sk-client-{client}"


def request(client: str, model: str = CHAT, *, stream: bool = False, cap: int = 20, size: int = PAD) -> bytes:
    """A whole HTTP request whose body has exactly `size` bytes."""
    fields = {"model": model, "max_tokens": cap, "messages": [{"role": "user", "content": ""}]}
    if stream:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    missing = size - len(json.dumps(fields))
    assert missing >= 0, "the body does not fit"
    body = json.dumps(fields | {"messages": [{"role": "user", "content": "x" * missing}]})
    head = (
        "POST /v1/chat/completions HTTP/1.1",
        "host: 127.0.0.1",
        "content-type: application/json",
        f"authorization: Bearer {key_of(client)}",
        f"content-length: {len(body)}",
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body.encode()


class Wire:
    """One connection to one replica, kept alive and made anew when it was closed."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        """Connect where that is needed. Raises `OSError` where nobody listens."""
        if self._writer is None or self._writer.is_closing() or self._reader is None or self._reader.at_eof():
            self.close()
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)

    def write(self, data: bytes) -> None:
        """Send."""
        assert self._writer is not None
        self._writer.write(data)

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of what comes."""
        assert self._reader is not None
        raw = await self._reader.readuntil(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").split("\r\n")[:-2]
        pairs = (line.partition(":") for line in lines)
        return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}

    async def body(self, headers: Mapping[str, str]) -> bytes:
        """The whole body."""
        assert self._reader is not None
        if "content-length" in headers:
            return await self._reader.readexactly(int(headers["content-length"]))
        parts = []
        while (part := await self.part()) is not None:
            parts.append(part)
        return b"".join(parts)

    async def part(self) -> bytes | None:
        """The next chunk of a body; None at its end."""
        assert self._reader is not None
        size = int(await self._reader.readuntil(b"\r\n"), 16)
        data = (await self._reader.readexactly(size + 2))[:-2]
        return data if size else None

    def close(self) -> None:
        """Give the connection up."""
        if self._writer is not None:
            self._writer.close()
            self._reader = self._writer = None


async def ask(wire: Wire, client: str, payload: bytes, due: float | None = None) -> Answer:
    """One request on `wire`, whatever becomes of it."""
    due = time.monotonic() if due is None else due
    try:
        await wire.open()
    except OSError:
        now = time.monotonic()
        return Answer(client, wire.port, due, now, now, DOWN, {}, b"")
    sent = time.monotonic()
    status, body = LOST, b""
    headers: dict[str, str] = {}
    try:
        wire.write(payload)
        status, headers = await wire.head()
        body = await wire.body(headers)
    except (OSError, asyncio.IncompleteReadError):
        wire.close()
        status = LOST
    return Answer(client, wire.port, due, sent, time.monotonic(), status, headers, body)


@dataclass(frozen=True, slots=True)
class Load:
    """What one kind of client sends: `rate` a second in all, by so many callers that take turns.

    Every caller has a connection to each of `ports` and uses them in turn. With `moving` a caller that finds
    nobody there takes the next one, as a balancer would. A caller that is late catches up, unless `patient`.
    """

    client: str
    ports: Sequence[int]
    rate: float
    callers: int = 8
    model: str = CHAT
    stream: bool = False
    moving: bool = False
    patient: bool = False


async def run(load: Load, seconds: float) -> list[Answer]:
    """All that came of `load` in `seconds`, in the order of the answers."""
    answers: list[Answer] = []
    began = time.monotonic() + 0.05
    async with asyncio.TaskGroup() as group:
        for number in range(load.callers):
            group.create_task(_caller(load, number, (began, began + seconds), answers))
    return answers


async def run_all(loads: Sequence[Load], seconds: float) -> list[Answer]:
    """Several loads at once."""
    return [
        answer
        for answers in await asyncio.gather(*(run(load, seconds) for load in loads))
        for answer in answers
    ]


async def _caller(load: Load, number: int, span: tuple[float, float], answers: list[Answer]) -> None:
    payload = request(load.client, load.model, stream=load.stream)
    wires = [Wire(port) for port in load.ports]
    step = load.callers / load.rate
    due = span[0] + number / load.rate
    turn = number
    draw = random.Random(f"{load.client} {number}")
    try:
        while due < span[1]:
            at = due + draw.uniform(
                0.0, 1.0 / load.rate
            )  # or kinds of one rate would always queue in one order
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            answer = await ask(wires[turn % len(wires)], load.client, payload, at)
            if answer.status == DOWN and load.moving:
                turn += 1
                answer = await ask(wires[turn % len(wires)], load.client, payload, at)
            answers.append(answer)
            turn += 1
            due = max(due + step, time.monotonic()) if load.patient else due + step
    finally:
        for wire in wires:
            wire.close()


@dataclass(slots=True)
class Begun:
    """A stream that is open: what has come of it so far, and whether it ended as a stream should."""

    port: int
    status: int = LOST
    data: bytes = b""
    whole: bool = False

    @property
    def events(self) -> int:
        """How many events have come."""
        return self.data.count(b"\n\n")


async def stream(client: str, port: int, model: str, begun: Begun) -> None:
    """Open a stream and read it to its end; cancel it to leave. Its status is `DOWN` where nobody listens."""
    wire = Wire(port)
    try:
        await wire.open()
    except OSError:
        begun.status = DOWN
        return
    try:
        wire.write(request(client, model, stream=True, cap=4000))
        begun.status, headers = await wire.head()
        if begun.status != 200:
            begun.data = await wire.body(headers)
            return
        while (part := await wire.part()) is not None:
            begun.data += part
        begun.whole = begun.data.endswith(b"data: [DONE]\n\n")
    except (OSError, asyncio.IncompleteReadError):
        pass  # it was cut: what has come says how far
    finally:
        wire.close()


def statuses(answers: Sequence[Answer]) -> dict[int, int]:
    """How many of each status."""
    return dict(sorted(Counter(answer.status for answer in answers).items()))


def admitted(answers: Sequence[Answer]) -> list[Answer]:
    """Those that were answered with 200."""
    return [answer for answer in answers if answer.status == 200]


def span(answers: Sequence[Answer]) -> float:
    """Seconds in which requests were due."""
    due = [answer.due for answer in answers]
    return max(due) - min(due)


def burst(answers: Sequence[Answer], rate: float, weight: float = 1.0) -> float:
    """The most that was admitted in any time t beyond `rate` x t.

    Over every pair of times, not only over one's choice of windows: a request counts where it was both sent
    and answered inside.
    """
    good = admitted(answers)
    ends = sorted([(answer.sent, 0) for answer in good] + [(answer.done, 1) for answer in good])
    begun = done = 0
    worst, floor = 0.0, float("inf")
    for at, end in ends:
        if end:
            done += 1
            worst = max(worst, done * weight - rate * at - floor)
        else:
            floor = min(floor, begun * weight - rate * at)
            begun += 1
    return worst


def most_within(answers: Sequence[Answer], seconds: float) -> int:
    """The most that were admitted in any window of so many seconds."""
    good = admitted(answers)
    sent = sorted(answer.sent for answer in good)
    done = sorted(answer.done for answer in good)
    return max((bisect_right(done, at + seconds) - bisect_left(sent, at) for at in sent), default=0)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of them stay at or under; 0 for none."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0.0


def tokens(answer: Answer) -> int:
    """What an answer's usage says it took."""
    body = answer.body
    if b"data: " in body[:16]:
        lines = [
            line[6:] for line in body.split(b"\n") if line.startswith(b"data: {") and b'"usage":{' in line
        ]
        body = lines[-1] if lines else b"{}"
    usage = json.loads(body).get("usage") or {}
    return int(usage.get("total_tokens", 0))
