"""A body that is handed on as it comes: whole, in order, and ended as it is where it is read.

A transport may hand on nothing of it. So whatever is poured is read as well, and the two together count.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

import pytest
from hostile import Peer, Script, answers_and_leaves, sized, turns
from transports import Bench, Lab, conforms, fault_of, leaves_promptly, poured, whole

from proxy.errors import FaultKind
from proxy.upstream import Reply, Upstream

FRAMINGS = ("length", "chunks", "close")
SEEDS = 20  # a batch of calls at the same time
BATCHES = 6

secured = pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])


def framed(framing: str, parts: Sequence[bytes], missing: int = 0) -> list[bytes]:
    """The head of a response, and each of `parts` in its `framing`; `missing` bytes are announced as well."""
    head = b"HTTP/1.1 200 OK\r\n"
    if framing == "chunks":
        return [head + b"transfer-encoding: chunked\r\n\r\n", *(b"%x\r\n%b\r\n" % (len(p), p) for p in parts)]
    if framing == "length":
        head += b"content-length: %d\r\n" % (sum(map(len, parts)) + missing)
    return [head + b"\r\n", *parts]


def says(pieces: Sequence[bytes], end: Callable[[Peer], None] | None = None) -> Script:
    """A script that says `pieces` one after the other and ends so; on any later connection, "next"."""

    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number:
            peer.say(sized(b"next"))
            return
        for piece in pieces:
            peer.say(piece)
            await turns(12)
        if end is not None:
            end(peer)
        elif not peer.closed.is_set():
            await peer.request()
            peer.say(sized(b"next"))

    return script


async def opened(bench: Bench, script: Script, *, secure: bool) -> tuple[Reply, Upstream, list[Peer]]:
    """A reply whose head has come, its transport, and the connections that its server has seen."""
    server = await bench.serve(script, secure=secure)
    upstream = bench.upstream(ca_file=bench.ca_file())
    return await bench.send(server, upstream=upstream), upstream, server.peers


@conforms
@secured
@pytest.mark.parametrize("wanted", ["all", "none", "every third"])
@pytest.mark.parametrize("together", [False, True], ids=["its end apart", "its end along"])
@pytest.mark.parametrize("framing", FRAMINGS)
def test_pieces_are_handed_on_in_order(
    lab: Lab, framing: str, together: bool, wanted: str, secure: bool
) -> None:
    """However the body is framed, wherever its end comes, and whether or not the taker wants more."""
    head, *pieces = framed(framing, [b"piece %d " % number for number in range(9)])
    if framing == "chunks":
        pieces.append(b"0\r\n\r\n")
    if together:
        pieces[-2:] = [pieces[-2] + pieces[-1]]
    handed = 0

    def wants() -> bool:
        nonlocal handed
        handed += 1
        return wanted == "all" or (wanted != "none" and handed % 3 > 0)

    async def close_along(peer: Peer) -> None:
        await peer.request()
        if peer.number:
            peer.say(sized(b"next"))
            return
        for piece in (head, *pieces[:-1]):
            peer.say(piece)
            await turns(12)
        peer.say(pieces[-1])
        peer.hang_up()

    if framing != "close":
        script = says([head, *pieces])
    else:
        script = close_along if together else says([head, *pieces], Peer.hang_up)

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(script, secure=secure)
        upstream = bench.upstream(ca_file=bench.ca_file())
        reply = await bench.send(server, upstream=upstream)
        assert await poured(reply, wants) == (b"".join(b"piece %d " % n for n in range(9)), None)
        assert await whole(await bench.send(server, upstream=upstream)) == b"next"
        assert len(server.peers) == 1 + (framing == "close")

    lab.run(scenario)


@conforms
@secured
@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_reset_in_the_midst_is_told_by_read(lab: Lab, framing: str, secure: bool) -> None:
    """Pouring ends with it and raises nothing."""
    pieces = framed(framing, [b"hello"], missing=1)

    async def scenario(bench: Bench) -> None:
        reply, _, _ = await opened(bench, says(pieces, Peer.reset), secure=secure)
        assert await poured(reply) == (b"hello", FaultKind.RESET)

    lab.run(scenario)


@conforms
@secured
@pytest.mark.parametrize("leave", [Peer.hang_up, Peer.drop])
@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_body_that_is_cut_is_told_by_read(
    lab: Lab, framing: str, leave: Callable[[Peer], None], secure: bool
) -> None:
    """One that only the close delimits is whole with it, unless TLS has not said that it ends."""
    pieces = framed(framing, [b"hello"], missing=1)
    good = framing == "close" and not (secure and leave is Peer.drop)

    async def scenario(bench: Bench) -> None:
        reply, _, _ = await opened(bench, says(pieces, leave), secure=secure)
        assert await poured(reply) == (b"hello", None if good else FaultKind.TRUNCATED)

    lab.run(scenario)


@conforms
@secured
@pytest.mark.parametrize("along", [False, True])
def test_a_wrong_framing_in_the_midst_is_told_by_read(lab: Lab, along: bool, secure: bool) -> None:
    """What came before it is not lost, even if it came in one read with it."""
    pieces = [*framed("chunks", [b"hello"]), b"no chunk"]
    if along:
        pieces[-2:] = [pieces[-2] + pieces[-1]]

    async def scenario(bench: Bench) -> None:
        reply, _, peers = await opened(bench, says(pieces, lambda _: None), secure=secure)
        assert await poured(reply) == (b"hello", FaultKind.PROTOCOL)
        await leaves_promptly(peers[0])

    lab.run(scenario)


async def _cancelled(pouring: asyncio.Future[None], _reply: Reply, _upstream: Upstream) -> None:
    pouring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pouring


async def _closed(pouring: asyncio.Future[None], reply: Reply, _upstream: Upstream) -> None:
    reply.close()
    await pouring


async def _transport_closed(pouring: asyncio.Future[None], _reply: Reply, upstream: Upstream) -> None:
    await upstream.close()
    await pouring


Leaving = Callable[[asyncio.Future[None], Reply, Upstream], Awaitable[None]]


@conforms
@secured
@pytest.mark.parametrize("leave", [_cancelled, _closed, _transport_closed])
def test_leaving_while_a_body_is_poured_closes_the_connection(lab: Lab, leave: Leaving, secure: bool) -> None:
    """The server sees it at once, nothing more is handed on, and what is read afterwards is a reset."""
    pieces = framed("chunks", [b"hello"])

    async def scenario(bench: Bench) -> None:
        reply, upstream, peers = await opened(bench, says(pieces), secure=secure)
        parts: list[bytes] = []

        def taker(part: bytes) -> bool:
            parts.append(part)
            return True

        pouring = asyncio.ensure_future(reply.pour(taker))
        await turns(60)
        if pouring.done():  # it had to be read
            parts.append(await reply.read())
            pouring = asyncio.ensure_future(reply.pour(taker))
            await turns()
        assert parts == [b"hello"]
        await leave(pouring, reply, upstream)
        await leaves_promptly(peers[0])
        await reply.pour(taker)
        assert (await fault_of(reply.read())).kind is FaultKind.RESET
        assert parts == [b"hello"]

    lab.run(scenario)


@conforms
@secured
def test_what_a_taker_does_not_want_stays_with_the_server(lab: Lab, secure: bool) -> None:
    """Of megabytes behind its no the server gets rid of a part; then they come, each byte once."""
    body = random.Random(5).randbytes(24_000_000)
    first, part = 10, 100_000
    stalled = asyncio.Event()
    handed = 0

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.say(framed("length", [body])[0])
        await turns(12)
        peer.say(body[:first])
        await turns(12)
        for at in range(first, len(body), part):
            try:
                async with asyncio.timeout(0.2):
                    await peer.writable()
            except TimeoutError:
                stalled.set()
                await peer.writable()
            peer.say(body[at : at + part])

    def wants() -> bool:
        nonlocal handed
        handed += 1
        return handed % 7 > 0

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(script, secure=secure, send_buffer=65_536)
        reply = await bench.send(server, upstream=bench.upstream(ca_file=bench.ca_file()))
        begun: list[bytes] = []

        def refuses(piece: bytes) -> bool:
            begun.append(piece)
            return False

        await reply.pour(refuses)
        await stalled.wait()
        assert server.peers[0].accepted < 10_000_000
        rest, fault = await poured(reply, wants)
        assert fault is None
        assert b"".join(begun) + rest == body

    lab.run(scenario)


@conforms
@secured
def test_a_taker_that_raises_loses_its_connection(lab: Lab, secure: bool) -> None:
    """As by a reset; the event loop is told what it was, and whoever pours is not."""
    raised: list[Exception] = []

    def taker(_: bytes) -> bool:
        raised.append(ZeroDivisionError())
        raise raised[-1]

    async def scenario(bench: Bench) -> None:
        reply, _, peers = await opened(bench, says(framed("chunks", [b"hello"])), secure=secure)
        await reply.pour(taker)
        if not raised:
            pytest.skip("this transport has handed on nothing")
        await leaves_promptly(peers[0])
        assert (await fault_of(reply.read())).kind is FaultKind.RESET
        assert len(raised) == 1

    lab.run(scenario, raised)


@conforms
@secured
def test_of_a_body_that_is_there_nothing_need_be_handed_on(lab: Lab, secure: bool) -> None:
    """It has to be read, and then there is nothing to pour."""

    async def scenario(bench: Bench) -> None:
        reply, _, _ = await opened(bench, answers_and_leaves(sized(b"hello")), secure=secure)
        assert await poured(reply) == (b"hello", None)
        assert await poured(reply) == (b"", None)

    lab.run(scenario)


class Course:
    """What a random server says to one call, how its client takes it, and what must come of it."""

    def __init__(self, seed: int) -> None:
        self._draw = draw = random.Random(seed)
        self.body = draw.randbytes(draw.choice([0, 1, 50, 5_000, 300_000]))
        cuts = sorted(draw.randrange(len(self.body) + 1) for _ in range(draw.choice([0, 1, 5, 60])))
        self.framing = draw.choice(FRAMINGS)
        self.leave = draw.choice([None, None, Peer.reset, Peer.hang_up])
        edges = zip([0, *cuts], [*cuts, len(self.body)], strict=True)
        parts = [self.body[start:end] for start, end in edges if start < end]
        self.pieces = framed(self.framing, parts, missing=self.leave is not None)
        if self.framing == "chunks" and self.leave is None:
            self.pieces.append(b"0\r\n\r\n")
        self.eager = draw.choice([0.0, 0.5, 0.95, 1.0])
        self.pace = draw.choice([0.0, 0.3, 1.0])
        self.patience = draw.randrange(80) if draw.random() < 0.15 else None

    async def say(self, peer: Peer) -> None:
        """The server's side, after the request."""
        for piece in self.pieces:
            peer.say(piece)
            if self._draw.random() < self.pace:
                await turns(self._draw.randrange(1, 12))
        if self.leave is not None:
            await turns(60)  # a reset may overtake what was said before it
            self.leave(peer)
        elif self.framing == "close":
            peer.hang_up()

    def wants(self) -> bool:
        """Whether the taker does."""
        return self._draw.random() < self.eager

    @property
    def ending(self) -> FaultKind | None:
        """How the body ends."""
        if self.leave is Peer.reset:
            return FaultKind.RESET
        cut = self.leave is not None and self.framing != "close"
        return FaultKind.TRUNCATED if cut else None


@conforms
@secured
@pytest.mark.parametrize("batch", range(BATCHES))
def test_whatever_comes_is_handed_on_or_read_once(lab: Lab, batch: int, secure: bool) -> None:
    """Random bodies, framings, paces, endings and takers, many at a time on one pool; some callers leave."""
    courses = [Course(batch * SEEDS + number) for number in range(SEEDS)]

    async def script(peer: Peer) -> None:
        while not peer.closed.is_set():
            path = (await peer.request()).split(b" ", 2)[1]
            await courses[int(path[1:])].say(peer)

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(script, secure=secure)
        upstream = bench.upstream(ca_file=bench.ca_file())

        async def call(number: int, course: Course) -> None:
            reply = await bench.send(server, upstream=upstream, url=server.url(f"/{number}"))
            taking = asyncio.ensure_future(poured(reply, course.wants))
            if course.patience is not None:
                await turns(course.patience)
                taking.cancel()
            try:
                assert await taking == (course.body, course.ending), (number, course.framing)
            except asyncio.CancelledError:
                reply.close()

        await asyncio.gather(*(call(number, course) for number, course in enumerate(courses)))

    lab.run(scenario)
