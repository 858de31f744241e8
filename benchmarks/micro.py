"""Microseconds per phase of the request path, one process, no sockets.

    python benchmarks/micro.py [--json] [--only WORD]

Each phase runs in batches of some 20 ms, several times; told are the median and the fastest batch. The
phases do not add up to the whole, which has tasks, timers and awaits of its own. Nothing is written: the
log line goes to a stream that drops it, the answer to a sink that counts it.
"""

import argparse
import io
import json
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import samples
import structlog
import uvloop
from prometheus_client import CollectorRegistry
from table import figure, table

from metrics import logs
from metrics.instruments import Instruments
from metrics.record import COMPLETED, Attempt, Record, Tokens
from proxy import fleet, retry
from proxy.access import authenticate
from proxy.admission import Admission
from proxy.archive import Archive
from proxy.attempt import Attempts, Means
from proxy.clock import SystemClock
from proxy.config.settings import Config
from proxy.cycle import DIRECT, Cycle
from proxy.demand import Estimator
from proxy.endpoints import Edge, EdgeParts, Message, Scope, read_head
from proxy.exchange import Exchange, Head, Headers
from proxy.fleet import Fleet
from proxy.health import Effect, Report
from proxy.ledger import Ledger
from proxy.overload import Guard
from proxy.pipeline import Parts, Pipeline
from proxy.reception import Reception
from proxy.redaction import Redactor, secrets_of
from proxy.routing import Plan
from proxy.sockets import SocketParts, Sockets
from proxy.tasks import Tasks
from proxy.tenants import Tenants
from proxy.upstream import Call, Taker
from proxy.waiting import WaitingRoom
from proxy.wire import envelope, sse
from proxy.wire.bypass import Bypass, Edits
from proxy.wire.chat.tap import ChatNative, ChatStream
from proxy.wire.codec import Stamp
from proxy.wire.dialects import CODECS
from proxy.wire.envelope import Envelope
from proxy.wire.losses import Losses
from proxy.wire.model import DIALECT_OF, Dialect, Endpoint
from ratelimit.limiter import Limiter
from ratelimit.memory_store import MemoryStore

BATCH = 0.02
REPEATS = 9
EVENTS = 100
DEPTH = 128
GOOD = Report(Effect.SUCCESS, answered=0.2)


@dataclass(frozen=True, slots=True)
class Phase:
    """One thing to time. `work` does it `per` times over, in a way that can be repeated for ever."""

    name: str
    work: Callable[[], object]
    per: int = 1


@dataclass(frozen=True, slots=True)
class AsyncPhase:
    """The same for what must be awaited."""

    name: str
    work: Callable[[], Awaitable[object]]
    per: int = 1


class NullReply:
    """An answer that is there at once."""

    status = 200
    resent = False

    def __init__(self, parts: list[bytes]) -> None:
        self.headers: Mapping[str, str] = {"x-request-id": "req_upstream", "content-type": "application/json"}
        self._parts = iter(parts)

    async def read(self) -> bytes:
        """The next part."""
        return next(self._parts, b"")

    async def pour(self, taker: Taker) -> None:
        """It is all to be read."""

    def close(self) -> None:
        """Nothing to give back."""


class NullUpstream:
    """Answers every call with the same parts."""

    def __init__(self, parts: list[bytes]) -> None:
        self._parts = parts

    async def send(self, call: Call) -> NullReply:  # noqa: ARG002  (the seam's signature)
        """The reply."""
        return NullReply(self._parts)

    async def close(self) -> None:
        """Nothing to close."""


class NullSink:
    """Takes an answer and forgets it."""

    def __init__(self) -> None:
        self.started = False

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:  # noqa: ARG002  (the seam's)
        """A whole answer."""
        assert status == 200, body

    async def start(self, status: int, headers: Headers) -> None:  # noqa: ARG002  (the seam's signature)
        """A stream begins."""
        self.started = True

    async def write(self, data: bytes) -> None:
        """Events."""

    def push(self, data: bytes) -> bool:  # noqa: ARG002  (the seam's signature)
        """Events."""
        return True

    async def end(self, data: bytes = b"") -> None:
        """The last events."""


class NullSource:
    """A body that has come."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def body(self) -> bytes:
        """All of it."""
        return self._body


class Stage:
    """The parts of a replica without sockets: one client, one model on two keys."""

    def __init__(self, kind: str = "generic") -> None:
        self.clock = SystemClock()
        self.draw = random.Random(1)
        self.config = Config.model_validate(
            {
                "clients": [{"name": "bench", "key": samples.KEY}],
                "providers": {
                    "mock": {
                        "kind": kind,
                        "base_url": "http://127.0.0.1:1/v1",
                        "api_keys": ["sk-one-1234", "sk-two-1234"],
                    }
                },
                "models": {samples.WHOLE: {"providers": [{"provider": "mock", "model": "upstream"}]}},
            }
        )
        tenants = Tenants(self.config.clients, b"pepper")
        self.fleet = Fleet(fleet.snapshot(self.config, tenants, 0), self.clock, self.draw)
        self.model = self.fleet.snapshot.models[samples.WHOLE]
        self.instruments = Instruments(CollectorRegistry(), "bench")
        self.ledger = Ledger("0123456789ab", self.clock, self.draw)

    def pipeline(
        self,
        reply: list[bytes],
        observe: Callable[[Record], None],
        keep: Callable[[Exchange], None] | None = None,
    ) -> Pipeline:
        """A pipeline before an upstream that answers with `reply`."""
        store = MemoryStore(self.clock)
        limiter = Limiter(store, MemoryStore(self.clock), self.clock, lambda: 1, "micro")
        admission = Admission(limiter, Estimator(), self.clock)
        redactor = Redactor(secrets_of(self.config))
        return Pipeline(
            Parts(
                fleet=self.fleet,
                waiting=WaitingRoom(self.fleet, self.config.queue),
                admission=admission,
                archive=Archive(None),
                background=_nobody,
                guard=Guard(self.config.overload),
                attempts=Attempts(Means(self.fleet, NullUpstream(reply), admission, redactor, self.clock)),
                budget=retry.RetryBudget(0.2),
                clock=self.clock,
                draw=self.draw,
                tasks=Tasks(),
                observe=observe,
                keep=keep or self.ledger.keep,
                stopping=lambda: False,
            )
        )

    def troubled(self) -> Fleet:
        """A fleet that knows something against one of the two targets."""
        known = Fleet(self.fleet.snapshot, self.clock, self.draw)
        turn = known.take(self.model.targets[0])
        known.report(turn, Report(Effect.BACK_OFF, 300.0))
        known.end(turn)
        return known

    def exchange(self, body: bytes, endpoint: Endpoint = Endpoint.CHAT) -> Exchange:
        """A request as the edge makes it."""
        return Exchange(
            endpoint,
            CODECS[DIALECT_OF[endpoint]],
            Head(samples.KEY.encode(), b"application/json"),
            NullSource(body),
            NullSink(),
            self.fleet.snapshot,
            Record(self.ledger.number(), "chat", self.clock.monotonic()),
            Stamp("0123456789abcdef01234567", 0),
        )

    def record(self) -> Record:
        """The record of a request that went well."""
        attempt = Attempt("mock/upstream", "mock", 0.0, 0.01, "ok")
        return Record(
            "req_0123456789abcdef01234567",
            "chat",
            0.0,
            client="bench",
            model=samples.WHOLE,
            target="mock/upstream",
            attempts=[attempt],
            tokens=Tokens(180, 90, 20),
            status=200,
            outcome=COMPLETED,
            duration=0.012,
            waited=0.01,
        )


def wire_phases(stage: Stage) -> Iterator[Phase]:
    """Reading bodies, editing them, reading replies and streams."""
    edits = stage.model.targets[0].edits
    for size, name in ((1024, "1 KB"), (113 * 1024, "113 KB"), (4_500_000, "4.5 MB")):
        body = samples.chat_request(samples.WHOLE, size)
        read = envelope.read(body, DEPTH)
        code = samples.chat_request(samples.WHOLE, size, code=True)
        yield Phase(f"envelope.read {name}", partial(envelope.read, body, DEPTH))
        yield Phase(f"envelope.read {name} of code", partial(envelope.read, code, DEPTH))
        yield Phase(f"Bypass, made and its request {name}", partial(_request, read, edits))
    streamed = envelope.read(samples.chat_request(samples.WHOLE, 1024, stream=True), DEPTH)
    yield Phase("Bypass, made and its request 1 KB stream", partial(_request, streamed, edits))
    plain = _passed(envelope.read(samples.chat_request(samples.WHOLE, 1024), DEPTH), edits)
    reply = samples.chat_reply()
    yield Phase("reply tap 0.8 KB", lambda: plain.reply(reply))
    one = samples.chat_event("hello ")
    for count in (1, 8):
        block = one * count
        yield Phase(f"ChatStream.feed, {count} a read, per event", _feeding(block), EVENTS * count)
        yield Phase(f"sse split, {count} a read, per event", _splitting(block), EVENTS * count)
    yield Phase("ChatStream, opening to end (4 events)", lambda: _short_stream(one))


def _passed(read: Envelope, edits: Edits) -> Bypass:
    return Bypass(read, edits, ChatNative(read, include_usage=edits.include_usage), Losses(Dialect.CHAT))


def _request(read: Envelope, edits: Edits) -> bytes:
    return _passed(read, edits).request()


async def _nobody(exchange: Exchange) -> None:
    """Nothing runs in the background here."""


def _feeding(block: bytes) -> Callable[[], object]:
    """Feed a stream that has begun; its state does not grow."""
    stream = ChatStream(withhold_usage=True, choices=1)
    stream.feed(block)
    reads = [block] * EVENTS

    def feed() -> None:
        for data in reads:
            stream.feed(data)

    return feed


def _splitting(block: bytes) -> Callable[[], object]:
    splitter = sse.Splitter()
    reads = [block] * EVENTS

    def split() -> None:
        for data in reads:
            sse.events(splitter.whole(data))

    return split


def _short_stream(one: bytes) -> bytes:
    stream = ChatStream(withhold_usage=True, choices=1)
    return stream.feed(one) + stream.feed(samples.chat_end()) + stream.finish()


def edge_phases(stage: Stage) -> Iterator[Phase]:
    """Reading the head, who calls, where to."""
    headers = request_headers(1024)
    exchange = stage.exchange(b"")
    yield Phase("read_head, 8 headers", lambda: read_head(headers))
    yield Phase("authenticate", lambda: authenticate(exchange))
    troubled = stage.troubled()

    def pick() -> object:
        turn = stage.fleet.pick(Plan(stage.model, stage.draw))
        assert turn is not None
        stage.fleet.end(turn)
        return turn

    def pick_in_trouble() -> object:
        turn = troubled.pick(Plan(stage.model, stage.draw))
        assert turn is not None
        troubled.end(turn)
        return turn

    def succeed() -> object:
        turn = stage.fleet.take(stage.model.targets[0])
        stage.fleet.report(turn, GOOD)
        stage.fleet.end(turn)
        return turn

    yield Phase("plan, pick and end, 2 targets", pick)
    yield Phase("the same while one backs off", pick_in_trouble)
    yield Phase("take, report a success and end", succeed)


def request_headers(length: int) -> list[tuple[bytes, bytes]]:
    """The headers that an SDK sends."""
    return [
        (b"host", b"127.0.0.1:8080"),
        (b"accept", b"application/json"),
        (b"accept-encoding", b"gzip, deflate"),
        (b"user-agent", b"OpenAI/Python 3.50.0"),
        (b"x-stainless-lang", b"python"),
        (b"authorization", b"Bearer " + samples.KEY.encode()),
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % length),
    ]


def record_phases(stage: Stage) -> Iterator[Phase]:
    """What is left of a request."""
    record = stage.record()
    yield Phase("record to instruments", lambda: _observe(stage, record))

    def enqueue() -> None:
        # Nothing takes lines off the queue here, and a full one would time the wrong path.
        request_log = logs.RequestLog()
        for _ in range(EVENTS):
            request_log.write(record)

    yield Phase("log line: enqueue", enqueue, EVENTS)
    yield Phase("log line: fields", lambda: logs.line(record))
    log = structlog.get_logger("request")
    yield Phase("log line: fields and render", lambda: log.info("request", **logs.line(record)))


def _observe(stage: Stage, record: Record) -> None:
    stage.instruments.began()
    stage.instruments.observe(record)


def whole_phases(stage: Stage) -> Iterator[AsyncPhase]:
    """The whole path before an upstream that answers at once."""
    body = samples.chat_request(samples.WHOLE, 1024)
    reply = [samples.chat_reply()]
    bare = stage.pipeline(reply, lambda _record: None)
    yield AsyncPhase("pipeline, whole reply, no record", lambda: bare.handle(stage.exchange(body)))

    def observe(record: Record) -> None:
        stage.instruments.began()
        stage.instruments.observe(record)

    recorded = stage.pipeline(reply, observe)
    yield AsyncPhase("pipeline, whole reply, record", lambda: recorded.handle(stage.exchange(body)))
    over: list[Exchange] = []
    kept = stage.pipeline(reply, observe, over.append)

    async def keep() -> None:
        if not over:
            await kept.handle(stage.exchange(body))
        stage.ledger.keep(over[0])

    yield AsyncPhase("decision kept", keep)
    asked = samples.chat_request(samples.WHOLE, 1024, stream=True)
    events = [samples.chat_event("hello ")] * EVENTS + [samples.chat_end()]
    stream = stage.pipeline(events, observe)
    yield AsyncPhase(
        f"pipeline, stream of {EVENTS}, per event", lambda: stream.handle(stage.exchange(asked)), EVENTS
    )
    yield from _translated_phases(body, asked, observe)
    yield AsyncPhase("edge, cycle and pipeline, whole reply, record", _edge(stage, recorded, body))


def _translated_phases(body: bytes, asked: bytes, observe: Callable[[Record], None]) -> Iterator[AsyncPhase]:
    """The same requests before an upstream that speaks Messages."""
    other = Stage(kind="anthropic")
    whole = other.pipeline([samples.messages_reply()], observe)
    yield AsyncPhase("translated, whole reply, record", lambda: whole.handle(other.exchange(body)))
    events = [samples.messages_start()]
    events += [samples.messages_event("hello ")] * EVENTS + [samples.messages_end()]
    stream = other.pipeline(events, observe)
    yield AsyncPhase(
        f"translated, stream of {EVENTS}, per event", lambda: stream.handle(other.exchange(asked)), EVENTS
    )


def _unseen(_record: Record) -> None:
    """Nobody looks."""


def _no_sockets(stage: Stage, reception: Reception, pipeline: Pipeline) -> Sockets:
    return Sockets(
        SocketParts(reception, pipeline, Archive(None), lambda: None, _unseen, stage.clock, Tasks())
    )


class _Line:
    """A connection whose client reads everything at once."""

    write_paused = False
    default_headers = ((b"date", b"Thu, 26 Nov 2026 12:00:00 GMT"),)

    def write(self, data: bytes) -> None:
        """Nowhere."""
        assert data.startswith(b"HTTP/1.1 200")

    async def drain(self) -> None:
        """It has."""

    def resume_reading(self) -> None:
        """It was not paused."""

    def answered(self, cycle: Cycle) -> None:
        """Nothing follows."""


def _edge(stage: Stage, pipeline: Pipeline, body: bytes) -> Callable[[], Awaitable[None]]:
    async def rest(scope: Scope, receive: object, send: object) -> None:
        """Nothing but hot requests comes."""

    reception = Reception(stage.fleet, stage.clock, stage.draw, Redactor(()), stage.ledger.number)
    edge = Edge(
        EdgeParts(
            fleet=stage.fleet,
            reception=reception,
            pipeline=pipeline,
            sockets=_no_sockets(stage, reception, pipeline),
            asides={},
            clock=stage.clock,
            began=lambda: None,
            observe=_unseen,
            cors=None,
        ),
        rest,
    )
    headers = request_headers(len(body))

    line = _Line()

    async def receive() -> Message:
        raise AssertionError("the body is there already")

    def call() -> Awaitable[None]:
        scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers}
        cycle = Cycle(line, {**scope, "http_version": "1.1"}, keep_alive=True, expects=False)
        cycle.feed(body)
        cycle.more = False
        return edge({**scope, "extensions": {DIRECT: cycle}}, receive, cycle.send)

    return call


async def timed(phase: Phase | AsyncPhase) -> tuple[float, float]:
    """Median and least microseconds of one `phase`."""
    once = await _batch(phase, 1)
    count = max(1, int(BATCH / max(await _batch(phase, 1 + int(0.002 / once)), 1e-9)))
    found = [await _batch(phase, count) / phase.per * 1e6 for _ in range(REPEATS)]
    return statistics.median(found), min(found)


async def _batch(phase: Phase | AsyncPhase, count: int) -> float:
    """Seconds of one call, over `count` of them."""
    began = time.perf_counter()
    if isinstance(phase, Phase):
        for _ in range(count):
            phase.work()
    else:
        for _ in range(count):
            await phase.work()
    return (time.perf_counter() - began) / count


async def measure(only: str) -> dict[str, tuple[float, float]]:
    """All phases whose name holds `only`."""
    logs.configure(_Nowhere(), "info", SystemClock().wall, pretty=False)
    stage = Stage()
    makers = (wire_phases, edge_phases, record_phases, whole_phases)
    phases = [phase for make in makers for phase in make(stage)]
    return {phase.name: await timed(phase) for phase in phases if only in phase.name}


class _Nowhere(io.StringIO):
    """A stream that keeps nothing."""

    def write(self, text: str, /) -> int:
        """Drop it."""
        return len(text)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true", help="microseconds as JSON instead of a table")
    parser.add_argument("--only", default="", metavar="WORD", help="phases whose name holds this")
    given = parser.parse_args()
    found = uvloop.run(measure(given.only))
    if given.json:
        print(
            json.dumps(
                {name: {"median_us": median, "min_us": least} for name, (median, least) in found.items()}
            )
        )
        return
    rows = [[name, figure(median), figure(least)] for name, (median, least) in found.items()]
    print(table(["phase", "median us", "fastest us"], rows))


if __name__ == "__main__":
    main()
