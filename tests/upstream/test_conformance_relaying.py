"""A stream from a hostile server's socket to a sink: transport, relay and dialect together, at random.

Whatever is cut where, and whoever stops reading when: a client gets each event once and in order, a stream
that ended well is whole, and one that did not is told by its fault and has no false ending.
"""

import asyncio
import random
from collections.abc import Sequence

import pytest
from fakes.chats import DONE, delta, event, finish, request, role, usage
from fakes.configs import config
from fakes.scenes import Scene
from hostile import Peer, turns
from transports import Bench, Lab, conforms

from metrics.record import Attempt
from proxy.answers import answer_headers
from proxy.config.resilience import Timeouts
from proxy.deadline import Deadline
from proxy.errors import Fault, FaultKind
from proxy.exchange import Headers
from proxy.relay import Outward, Relay
from proxy.upstream import Reply
from proxy.wire import envelope
from proxy.wire.bypass import Bypass
from proxy.wire.chat.tap import ChatNative
from proxy.wire.losses import Losses
from proxy.wire.model import Dialect

SEEDS = 20  # streams at the same time
BATCHES = 6
PATIENCE = 5.0  # seconds


class Taker:
    """A sink that takes some events at once and lets others wait for their turn."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._refuses = draw.choice([0.0, 0.3, 1.0])
        self.started = False
        self.ended = False
        self.body = b""

    async def start(self, status: int, headers: Headers) -> None:
        """A status, once."""
        assert (status, self.started) == (200, False)
        self.started = True

    async def write(self, data: bytes) -> None:
        """More, waited for."""
        assert self.started
        assert not self.ended
        self.body += data
        await turns(self._draw.choice([0, 0, 1, 20]))

    def push(self, data: bytes) -> bool:
        """More, if there is room."""
        assert self.started
        assert not self.ended
        if self._draw.random() < self._refuses:
            return False
        self.body += data
        return True

    async def end(self, data: bytes = b"") -> None:
        """The last of it."""
        assert not self.ended
        self.body += data
        self.ended = True

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Nothing of this is an answer in one piece."""
        raise AssertionError(status)


class Course:
    """What a provider says, in which pieces, and what its client must have of it."""

    def __init__(self, seed: int) -> None:
        self._draw = draw = random.Random(seed)
        words = [
            delta(f"word {number}" + "x" * draw.choice([0, 10, 200, 5_000]))
            for number in range(draw.randrange(60))
        ]
        self.tail = draw.choice(["done", "finish", "error", "reset", "cut"])
        self.framing = draw.choice(["chunked", "length", "close"])
        self.good = role() + delta("first") + b"".join(words)
        said = self.good + {
            "done": finish() + usage() + DONE,
            "finish": finish(),
            "error": event({"error": {"message": "bad"}}) + delta("after"),
        }.get(self.tail, delta("part")[: -draw.randrange(3, 10)])
        if draw.random() < 0.2:
            said = said.replace(b"\n", b"\r\n")
        cuts = sorted(draw.randrange(len(said)) for _ in range(draw.choice([0, 1, 5, 40, 200])))
        self.pieces = [said[a:b] for a, b in zip([0, *cuts], [*cuts, len(said)], strict=True) if a < b]
        self.pace = draw.choice([0.0, 0.3])
        self.patience = draw.randrange(400) if draw.random() < 0.1 else None
        self.sink = Taker(draw)

    @property
    def _broken(self) -> bool:
        return self.tail in ("reset", "cut")

    async def say(self, peer: Peer) -> None:
        """The provider's side, after the request."""
        size = sum(map(len, self.pieces)) + 5 * self._broken
        how = {
            "chunked": b"transfer-encoding: chunked",
            "length": b"content-length: %d" % size,
            "close": b"connection: close",
        }[self.framing]
        peer.say(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n" + how + b"\r\n\r\n")
        for piece in self.pieces:
            peer.say(b"%x\r\n%b\r\n" % (len(piece), piece) if self.framing == "chunked" else piece)
            if self._draw.random() < self.pace:
                await turns(self._draw.choice([1, 20]))
        if self._broken:
            await turns(200)  # a reset may overtake what was said before it
            peer.reset() if self.tail == "reset" else peer.hang_up()
            return
        if self.framing == "chunked":
            await turns(self._draw.choice([0, 0, 40]))
            peer.say(b"0\r\n\r\n")
        elif self.framing == "close":
            peer.hang_up()

    def judge(self, fault: FaultKind | None) -> None:
        """Fail unless what the client has is right."""
        got = self.sink.body.replace(b"\r\n", b"\n")
        whole = self.good + finish() + (usage() if self.tail == "done" else b"") + DONE
        if self.tail in ("done", "finish"):
            assert (fault, got, self.sink.ended) == (None, whole, True)
            return
        assert got in (self.good, b""), self.tail  # nothing, where all was still held back
        assert not self.sink.ended
        if self.tail == "error":
            assert fault is FaultKind.ERROR_IN_REPLY
        else:
            assert fault in (FaultKind.RESET, FaultKind.TRUNCATED)


async def relayed(course: Course, reply: Reply, deadline: Deadline) -> None:
    """Pass the reply to a request for a chat on to the sink of `course`."""
    scene = Scene(config({"a": 1}), {})
    exchange = scene.exchange(b"")
    exchange.sink = course.sink
    exchange.envelope = envelope.read(request(stream=True, stream_options={"include_usage": True}), 16)
    exchange.target = target = scene.targets[0]
    exchange.attempts.append(Attempt("a/a", "a", 0.0))
    tap = ChatNative(exchange.envelope, include_usage=True)
    passage = Bypass(exchange.envelope, target.edits, tap, Losses(Dialect.CHAT))
    out = Outward(asyncio.get_running_loop().time, answer_headers, None)
    relay = Relay(exchange, reply, deadline, out, lambda: None)
    await relay.stream(passage.stream(), Timeouts(idle=PATIENCE, max_stream=PATIENCE))


@conforms
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("batch", range(BATCHES))
def test_each_event_reaches_the_client_once(lab: Lab, batch: int, secure: bool) -> None:
    """Many streams at a time over one pool, and some clients leave."""
    courses: Sequence[Course] = [Course(batch * SEEDS + number) for number in range(SEEDS)]

    async def script(peer: Peer) -> None:
        while not peer.closed.is_set():
            path = (await peer.request()).split(b" ", 2)[1]
            await courses[int(path[1:])].say(peer)

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(script, secure=secure)
        upstream = bench.upstream(ca_file=bench.ca_file())

        async def passed(number: int, course: Course) -> FaultKind | None:
            with Deadline() as deadline:
                deadline.move(asyncio.get_running_loop().time() + PATIENCE, FaultKind.FIRST_TOKEN_TIMEOUT)
                reply = await bench.send(server, upstream=upstream, url=server.url(f"/{number}"))
                try:
                    await relayed(course, reply, deadline)
                except Fault as fault:
                    return fault.kind
                finally:
                    reply.close()
            return None

        async def ask(number: int, course: Course) -> None:
            passing = asyncio.ensure_future(passed(number, course))
            if course.patience is not None:
                await turns(course.patience)
                passing.cancel()
            (outcome,) = await asyncio.gather(passing, return_exceptions=True)
            if not isinstance(outcome, asyncio.CancelledError):
                assert not isinstance(outcome, BaseException), outcome
                course.judge(outcome)

        await asyncio.gather(*(ask(number, course) for number, course in enumerate(courses)))

    lab.run(scenario)
