"""Tests of `proxy.overload`: when there is no room, and that all of it is given back."""

import asyncio
import time

import pytest
from fakes.chats import reply, request, stream
from fakes.clients import BodySource, RecordingSink
from fakes.configs import CLIENT_KEY, config
from fakes.providers import HANG, Answer
from fakes.scenes import Scene
from fakes.virtual_loop import run

from proxy.config.resilience import Overload
from proxy.errors import Fault, FaultKind, Refusal
from proxy.exchange import Head
from proxy.overload import EVERY, Guard

MIB = 1024**2


def guard(**bounds: object) -> Guard:
    """A guard with these bounds."""
    return Guard(Overload.model_validate(bounds))


def refusal_of(full: Guard, size: int = 0) -> Refusal:
    """How a request is refused."""
    with pytest.raises(Refusal) as caught, full.room(size):
        pass
    return caught.value


def test_so_many_requests_and_no_more() -> None:
    """The bound itself is allowed; one that leaves makes room for one."""
    full = guard(max_in_flight=2)
    with full.room(0):
        with full.room(0):
            assert full.in_flight == 2
            refusal = refusal_of(full)
            assert (refusal.status, refusal.kind, refusal.code) == (503, "server_error", "overloaded")
            assert refusal.retry_after == 1.0
        with full.room(0):
            pass
    assert (full.in_flight, full.bytes) == (0, 0)


def test_so_many_bytes_and_no_more() -> None:
    """Announced bytes count before they come, and real ones where nothing was announced or it was wrong."""
    full = guard(max_bytes=MIB)
    with full.room(MIB // 2) as first:
        assert "bytes" in refusal_of(full, MIB).message
        with full.room(MIB // 2):
            assert full.bytes == MIB
            assert "bytes" in refusal_of(full, 1).message
        first.grow_to(MIB // 4)
        assert full.bytes == MIB // 4
        with full.room(0) as second:
            with pytest.raises(Refusal, match="bytes"):
                second.grow_to(MIB)
            second.grow_to(MIB // 2)
    assert (full.in_flight, full.bytes) == (0, 0)


def test_alone_even_a_large_one_has_room() -> None:
    """A bound on bytes never makes a body impossible that is allowed."""
    full = guard(max_bytes=MIB)
    with full.room(5 * MIB):
        assert full.bytes == 5 * MIB
    assert full.bytes == 0


def test_a_late_loop_takes_nothing_more() -> None:
    """Whatever else there is room for."""
    full = guard(max_lag=0.5)
    full.lag = 0.51
    assert "late" in refusal_of(full).message
    full.lag = 0.5
    with full.room(0):
        pass


def test_the_lag_is_measured() -> None:
    """A loop that is held up shows late, and on time again when it runs freely."""

    def hold_up(seconds: float) -> None:
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            pass

    async def scenario() -> None:
        made = guard()
        watch = asyncio.create_task(made.watch())
        await asyncio.sleep(0)
        hold_up(EVERY + 0.2)
        async with asyncio.timeout(5):
            while made.lag < 0.03:  # noqa: ASYNC110  (what is waited for has no event)
                await asyncio.sleep(0.01)
            while made.lag > 0.03:  # noqa: ASYNC110  (what is waited for has no event)
                await asyncio.sleep(0.01)
        watch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watch

    asyncio.run(scenario())


def test_a_loop_on_time_has_no_lag() -> None:
    """Minutes of quiet in virtual time."""

    async def scenario() -> float:
        made = guard()
        watch = asyncio.create_task(made.watch())
        await asyncio.sleep(300.0)
        watch.cancel()
        return made.lag

    assert run(scenario()) == pytest.approx(0.0, abs=1e-6)


class Unread(BodySource):
    """A body that nobody may read."""

    async def body(self) -> bytes:
        """Fail."""
        raise AssertionError("the body was read")


@pytest.mark.parametrize(
    ("bounds", "length"),
    [({"max_in_flight": 1}, 0), ({"max_bytes": MIB}, MIB), ({"max_lag": 0.2}, 0)],
    ids=["requests", "bytes", "lag"],
)
def test_a_refusal_comes_before_the_body_is_read(bounds: dict[str, object], length: int) -> None:
    """It is a 503 with a time to come back, in the caller's shape, and no attempt is made."""

    async def scenario() -> None:
        scene = Scene(config({"a": 1}, overload=bounds), {"a": [Answer([reply()])]})
        scene.guard.in_flight, scene.guard.bytes, scene.guard.lag = 1, 100, 0.3
        sink = RecordingSink()
        head = Head(CLIENT_KEY.encode(), b"application/json", length=length)
        await scene.ask(Unread(b""), head=head, sink=sink)
        assert (sink.status, sink.header(b"retry-after")) == (503, b"1")
        assert sink.header(b"retry-after-ms") == b"1000"
        assert b'"overloaded"' in sink.body
        assert (scene.last.error, scene.upstream.calls) == ("overloaded", [])
        assert (scene.guard.in_flight, scene.guard.bytes) == (1, 100)

    run(scenario())


def test_who_has_no_key_is_told_so_first() -> None:
    """A stranger takes no room and learns nothing of our load."""

    async def scenario() -> int:
        scene = Scene(config({"a": 1}, overload={"max_in_flight": 1}), {})
        scene.guard.in_flight = 1
        return (await scene.ask(Unread(b""), head=Head(b"sk-wrong"))).status

    assert run(scenario()) == 401


def test_a_chunked_body_counts_when_it_has_come() -> None:
    """It announces nothing; the next one finds no room."""

    async def scenario() -> None:
        made = config({"a": 1}, overload={"max_bytes": MIB})
        scene = Scene(made, {"a": [Answer([reply()], before=[10.0])]})
        first = asyncio.create_task(scene.ask(request(padding="x" * MIB)))
        await asyncio.sleep(1.0)
        assert scene.guard.bytes > MIB
        assert (await scene.ask(Unread(b""))).status == 503
        assert (await first).status == 200
        assert (scene.guard.in_flight, scene.guard.bytes) == (0, 0)

    run(scenario())


def test_a_body_beyond_its_own_bound_is_not_told_to_come_back() -> None:
    """However much is in flight: it would never be taken, and is refused for good by whoever reads it."""

    async def scenario() -> int:
        scene = Scene(config({"a": 1}, overload={"max_bytes": MIB}), {})
        scene.guard.in_flight = 1
        head = Head(CLIENT_KEY.encode(), length=10**12)
        return (await scene.ask(BodySource(Refusal(413, "Too large.")), head=head)).status

    assert run(scenario()) == 413


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (request(), Answer([reply()])),
        (request(stream=True), Answer([stream()])),
        (b"{", Answer()),
        (request("nothing"), Answer()),
        (request(), Answer([b"no"], 400)),
        (request(), Answer(before=[Fault(FaultKind.CONNECT, "away")])),
    ],
    ids=["whole", "stream", "not JSON", "no model", "refused", "away"],
)
def test_room_is_given_back_however_it_ends(body: bytes, answer: Answer) -> None:
    """Nothing is in flight when a request is over."""

    async def scenario() -> None:
        scene = Scene(config({"a": 1}), {"a": [answer]})
        await scene.ask(body, head=Head(CLIENT_KEY.encode(), length=len(body)))
        assert (scene.guard.in_flight, scene.guard.bytes) == (0, 0)

    run(scenario())


@pytest.mark.parametrize("delay", [5.0, 0.0], ids=["body", "attempt"])
def test_room_is_given_back_when_the_client_leaves(delay: float) -> None:
    """While its body is read, or while it waits for an answer."""

    async def scenario() -> None:
        scene = Scene(config({"a": 1}), {"a": [Answer(before=[HANG])]})
        exchange = scene.exchange(BodySource(request(), delay))
        task = asyncio.create_task(scene.pipeline.handle(exchange))
        await asyncio.sleep(1.0)
        assert scene.guard.in_flight == 1
        task.cancel()
        await asyncio.wait([task])
        assert (scene.guard.in_flight, scene.guard.bytes) == (0, 0)

    run(scenario())
