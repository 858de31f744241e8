import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Sequence

import pytest
from fakes.chats import DONE, delta, error, event, finish, reply, request, role, stream
from fakes.clients import RecordingSink
from fakes.configs import config
from fakes.providers import HANG, Answer, ScriptedReply, Step
from fakes.scenes import Scene
from fakes.virtual_loop import START, passed, run

from metrics.record import Attempt
from proxy.answers import answer_headers, stream_headers
from proxy.config.resilience import Timeouts
from proxy.deadline import Deadline
from proxy.errors import Fault, FaultKind, Refusal, Said
from proxy.exchange import Exchange
from proxy.relay import AFTER_END, HOLD_BYTES, HOLD_EVENTS, PATIENCE, Outward, Pulse, Relay
from proxy.tasks import Tasks
from proxy.upstream import Taker
from proxy.wire import envelope, sse
from proxy.wire.bypass import Bypass
from proxy.wire.chat.tap import ChatNative
from proxy.wire.losses import Losses
from proxy.wire.model import Dialect, Usage

WAITS = Timeouts(idle=30.0, max_stream=100.0)
FIRST_TOKEN = 60.0
BAD = event({"error": {"message": "bad"}})


@dataclasses.dataclass(slots=True)
class Relayed:
    """What became of one reply. `begun` are the seconds after which it was said to have begun."""

    exchange: Exchange
    sink: RecordingSink
    reply: ScriptedReply
    fault: Fault | None
    usage: Usage | None
    took: float
    begun: list[float]


async def _relay(
    steps: Sequence[Step], delays: Iterable[float], *, streamed: bool, early: bool, limit: int, beat: bool
) -> Relayed:
    scene = Scene(config({"a": 1}), {})
    sink = RecordingSink(delays)
    exchange = scene.exchange(b"", sink=sink)
    exchange.envelope = envelope.read(request(stream=streamed), 16)
    exchange.target = scene.targets[0]
    exchange.attempts.append(Attempt("a/a-model", "a", START))
    if early:
        await sink.start(200, stream_headers(exchange))
    made = ScriptedReply(Answer(steps))
    passing = ChatNative(exchange.envelope, include_usage=True)
    passage = Bypass(exchange.envelope, scene.targets[0].edits, passing, Losses(Dialect.CHAT))
    pulse = _pulse(exchange) if beat else None
    fault = None
    told: list[Usage | None] = []
    begun: list[float] = []
    out = Outward(scene.clock.monotonic, answer_headers, pulse)
    try:
        with Deadline() as deadline:
            deadline.move(START + FIRST_TOKEN, FaultKind.FIRST_TOKEN_TIMEOUT)
            relay = Relay(exchange, made, deadline, out, lambda: begun.append(passed()))
            if streamed:
                await relay.stream(passage.stream(), WAITS)
            else:
                await relay.whole(passage, limit, told.append)
    except Fault as caught:
        fault = caught
    finally:
        if pulse is not None:
            pulse.stop()
    return Relayed(exchange, sink, made, fault, told[0] if told else None, passed(), begun)


def _pulse(exchange: Exchange) -> Pulse:
    return Pulse(exchange.sink, b": ping\n\n", lambda: stream_headers(exchange), Tasks(), PATIENCE.pulse)


def streamed(*steps: Step, delays: Iterable[float] = (), early: bool = False, beat: bool = False) -> Relayed:
    """Relay a streamed reply with these steps."""
    return run(_relay(steps, delays, streamed=True, early=early, limit=0, beat=beat))


def whole(*steps: Step, delays: Iterable[float] = (), limit: int = 10_000) -> Relayed:
    """Relay a reply that is no stream."""
    return run(_relay(steps, delays, streamed=False, early=False, limit=limit, beat=False))


def test_nothing_goes_out_before_content() -> None:
    """The head and what was held back leave together with the first content."""
    got = streamed(role(), 5.0, delta("Hi"), 2.0, finish() + DONE)
    assert got.sink.kinds == ["start", "write", "end"]
    assert got.sink.calls[0].at == START + 5
    assert got.sink.calls[1].data == role() + delta("Hi")
    assert got.sink.calls[2].data == finish() + DONE
    assert got.sink.header(b"x-apex-target") == b"a/a-model"
    assert (got.fault, got.exchange.committed, got.exchange.record.ttft) == (None, True, 5.0)


def test_it_is_said_once_that_a_stream_has_begun() -> None:
    """With its first content, before the client has read any of it; never of a reply that is no stream."""
    got = streamed(role(), 5.0, delta("Hi"), 2.0, delta("."), finish() + DONE, delays=[9.0])
    assert got.begun == [5.0]
    assert streamed(role(), 5.0, BAD).begun == []
    assert whole(reply()).begun == []


def test_a_short_stream_is_one_write() -> None:
    """Head and events of a stream that came at once."""
    assert streamed(stream()).sink.kinds == ["start", "end"]


def test_parts_of_an_event_wait() -> None:
    """A read that completes no event writes nothing."""
    cut = len(role()) + 9
    sent = stream()
    got = streamed(sent[:cut], sent[cut:-5], sent[-5:])
    assert b"".join(call.data for call in got.sink.calls) == stream().replace(
        event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}), b""
    )
    assert got.sink.calls[-1].data == DONE


@pytest.mark.parametrize(
    ("steps", "committed"),
    [
        ([role()] * HOLD_EVENTS, False),
        ([role()] * (HOLD_EVENTS + 1), True),
        ([b'data: "'.ljust(HOLD_BYTES - 3, b"x") + b'"\n\n'], False),
        ([b'data: "'.ljust(HOLD_BYTES - 2, b"x") + b'"\n\n'], True),
    ],
    ids=["64 events", "65 events", "256 KiB", "a byte more"],
)
def test_what_is_held_back_is_bounded(steps: list[Step], committed: bool) -> None:
    """Beyond 64 events or 256 KiB a reply counts as begun, content or not."""
    got = streamed(*steps, 1.0, BAD)
    assert got.exchange.committed is committed
    assert got.sink.started is committed
    assert got.sink.body == (
        b"".join(step for step in steps if isinstance(step, bytes)) if committed else b""
    )


@pytest.mark.parametrize(
    ("steps", "kind"),
    [
        ([BAD], FaultKind.ERROR_IN_REPLY),
        ([role(), BAD + delta("more")], FaultKind.ERROR_IN_REPLY),
        ([role() + BAD.strip()], FaultKind.ERROR_IN_REPLY),
        ([], FaultKind.EMPTY),
        ([role(), DONE], FaultKind.EMPTY),
        ([b"<html></html>"], FaultKind.NOT_JSON),
        ([b"<html>\n\n" + b"<p>Busy.</p>\n\n" * 70], FaultKind.NOT_JSON),
        ([b": busy\n\n"] * 70, FaultKind.EMPTY),
        ([b": busy\n\n" * 70, role(), BAD], FaultKind.ERROR_IN_REPLY),
        ([b": busy\n\n" * 70, Fault(FaultKind.RESET, "gone")], FaultKind.RESET),
        ([b": ".ljust(HOLD_BYTES, b"x") + b"\n\n"], FaultKind.EMPTY),
        ([role(), Fault(FaultKind.RESET, "gone")], FaultKind.RESET),
        ([role(), HANG], FaultKind.FIRST_TOKEN_TIMEOUT),
        ([b": wait\n\n", 20.0] * 5, FaultKind.FIRST_TOKEN_TIMEOUT),
    ],
)
def test_a_fault_before_content_leaves_no_trace(steps: list[Step], kind: FaultKind) -> None:
    """The client has seen nothing, so another target may answer."""
    got = streamed(*steps)
    assert got.fault is not None
    assert got.fault.kind is kind
    assert (got.exchange.committed, got.sink.calls) == (False, [])


@pytest.mark.parametrize(
    ("steps", "kind", "took"),
    [
        ([BAD], FaultKind.ERROR_IN_REPLY, 1),
        ([], FaultKind.TRUNCATED, 1),
        ([Fault(FaultKind.RESET, "gone")], FaultKind.RESET, 1),
        ([28.0, delta("still"), 29.0, delta("there"), HANG], FaultKind.IDLE_TIMEOUT, 1 + 28 + 29 + 30),
        ([20.0, delta("and on")] * 10, FaultKind.TOTAL_TIMEOUT, 100),
    ],
    ids=["error", "cut", "reset", "stall", "endless"],
)
def test_a_fault_after_content_is_after_the_commit(steps: list[Step], kind: FaultKind, took: float) -> None:
    """What was said has been said; the stream is left open for its error event."""
    got = streamed(role() + delta("Hi"), 1.0, *steps)
    assert got.fault is not None
    assert (got.fault.kind, got.took) == (kind, took)
    assert got.exchange.committed
    assert got.sink.body.startswith(role() + delta("Hi"))
    assert not got.sink.ended


@pytest.mark.parametrize("slow_call", [0, 1, 2], ids=["head", "first events", "last events"])
def test_a_client_that_does_not_read(slow_call: int) -> None:
    """After a minute it is given up; the provider is not to blame."""
    got = streamed(delta("Hi"), finish() + DONE, delays=[0.0] * slow_call + [HANG])
    assert got.fault is not None
    assert (got.fault.kind, got.took) == (FaultKind.SLOW_CLIENT, PATIENCE.slow)


def test_a_slow_client_holds_its_provider_up() -> None:
    """Nothing is read ahead while a write waits, and the provider's idle time starts after it."""
    got = streamed(delta("1"), delta("2"), 15.0, delta("3"), finish() + DONE, delays=[0, 30, 30, 0])
    assert got.fault is None
    assert [call.at - START for call in got.sink.calls] == [0, 0, 30, 75, 75]
    assert got.exchange.record.waited == 15.0


@pytest.mark.parametrize(
    ("steps", "took", "closed"),
    [
        ([], 0.0, False),
        ([b": bye\n\n", b""], 0.0, False),
        ([0.1], 0.1, False),
        ([HANG], AFTER_END, True),
        ([Fault(FaultKind.RESET, "gone")], 0.0, True),
    ],
    ids=["ends", "says more", "ends late", "never ends", "resets"],
)
def test_after_the_end(steps: list[Step], took: float, closed: bool) -> None:
    """A provider gets a moment to end its framing; the client has its answer by then."""
    got = streamed(stream(), *steps)
    assert (got.fault, got.sink.ended) == (None, True)
    assert got.took == got.exchange.record.waited == pytest.approx(took)
    assert got.sink.calls[-1].at == START
    assert got.reply.closed is closed


def test_a_head_sent_early_is_completed_by_a_comment() -> None:
    """Who answered could not be said in the headers, so it is said in the stream."""
    got = streamed(role(), delta("Hi"), finish() + DONE, early=True)
    assert got.sink.kinds == ["start", "write", "write", "end"]
    assert got.sink.calls[1].data == b": x-apex-target: a/a-model; x-apex-attempts: 1\n\n"
    assert got.sink.calls[2].data == role() + delta("Hi")


def test_a_quiet_stream_is_kept_alive() -> None:
    """Every 15 s of silence get a ping, before content and after it, and none when it is over."""
    got = streamed(role(), 40.0, delta("Hi"), 20.0, delta("."), finish() + DONE, beat=True)
    pings = [call.at - START for call in got.sink.calls if call.data == b": ping\n\n"]
    assert pings == [15, 30, 55]
    assert got.sink.calls[0].at == START + 15


def test_whole() -> None:
    """A reply that is no stream is one answer with its usage, and the wait for it is counted."""
    body = reply()
    got = whole(3.0, body[:9], 2.0, body[9:])
    assert (got.usage, got.sink.body, got.exchange.committed) == (Usage(3, 2), body, True)
    assert got.sink.kinds == ["answer"]
    assert got.exchange.record.waited == 5.0
    assert got.sink.header(b"content-type") == b"application/json"


@pytest.mark.parametrize(
    ("steps", "kind"),
    [
        ([b"x" * 101], FaultKind.TOO_LARGE),
        ([b"x" * 60, b"x" * 60], FaultKind.TOO_LARGE),
        ([error("bad")], FaultKind.ERROR_IN_REPLY),
        ([], FaultKind.EMPTY),
        ([b"{", Fault(FaultKind.TRUNCATED, "cut")], FaultKind.TRUNCATED),
        ([b"{", HANG], FaultKind.FIRST_TOKEN_TIMEOUT),
    ],
)
def test_whole_faults(steps: list[Step], kind: FaultKind) -> None:
    """Until the whole reply is there and good, nothing is said."""
    got = whole(*steps, limit=100)
    assert got.fault is not None
    assert (got.fault.kind, got.sink.calls, got.exchange.committed) == (kind, [], False)


def test_a_client_that_does_not_read_a_whole_reply() -> None:
    """The same minute as for a stream."""
    got = whole(reply(), delays=[HANG])
    assert got.fault is not None
    assert (got.fault.kind, got.took) == (FaultKind.SLOW_CLIENT, PATIENCE.slow)


def beaten(
    scenario: Callable[[Pulse, RecordingSink], Awaitable[None]], delays: Iterable[float] = ()
) -> list[float]:
    """When pings were sent, in seconds since the start, while `scenario` went on."""

    async def going() -> list[float]:
        sink = RecordingSink(delays)
        tasks = Tasks()
        pulse = Pulse(sink, b": ping\n\n", lambda: [(b"x", b"y")], tasks, 15.0)
        await scenario(pulse, sink)
        pulse.stop()
        pulse.stop()
        await asyncio.sleep(60)
        assert len(tasks) == 0
        assert sink.headers in ([], [(b"x", b"y")])
        return [call.at - START for call in sink.calls if call.what == "write"]

    return run(going())


def test_pulse_every_15_seconds() -> None:
    """Without a write in between, and not after it was stopped."""

    async def silence(_pulse: Pulse, _sink: RecordingSink) -> None:
        await asyncio.sleep(50)

    assert beaten(silence) == [15, 30, 45]


def test_pulse_counts_from_the_last_write() -> None:
    """A stream that talks needs none."""

    async def talk(pulse: Pulse, _sink: RecordingSink) -> None:
        for _ in range(5):
            await asyncio.sleep(10)
            pulse.written = asyncio.get_running_loop().time()
        await asyncio.sleep(16)

    assert beaten(talk) == [65]


def test_pulse_does_not_pile_up() -> None:
    """While a ping waits for a slow client there is no second one, and stopping takes it back."""

    async def silence(_pulse: Pulse, _sink: RecordingSink) -> None:
        await asyncio.sleep(100)

    assert beaten(silence, delays=[0, HANG]) == [15]


def test_the_longest_gap_is_that_after_the_first_content() -> None:
    """What was waited for content is no gap in it, nor is what the client took."""
    got = streamed(role(), 9.0, delta("Hi"), 2.0, delta("you"), 1.0, finish() + DONE, delays=[0.0, 7.0])
    assert got.exchange.record.stalled == 2.0


def test_once_content_has_come_events_are_passed_on_as_they_come() -> None:
    """None of them is read; the end is. What was waited for each is told all the same."""
    got = streamed(delta("Hi"), 2.0, delta("you"), 3.0, delta("there"), 1.0, finish(), 1.0, DONE)
    assert got.sink.kinds == ["start", "write", "write", "write", "write", "end"]
    assert [call.at - START for call in got.sink.calls[1:]] == [0, 2, 5, 6, 7]
    assert (got.reply.poured, got.exchange.record.waited, got.exchange.record.stalled) == (3, 7.0, 3.0)
    assert got.fault is None


def test_a_client_that_does_not_read_on_is_waited_for_in_the_midst_of_a_stream() -> None:
    """The event that it does not take is written by waiting; then things go on as before."""
    got = streamed(
        delta("Hi"), 1.0, delta("you"), 1.0, delta("there"), finish() + DONE, delays=[0.0, 0.0, 9.0]
    )
    assert [call.at - START for call in got.sink.calls[1:]] == [0, 1, 11, 11]
    assert got.sink.body == delta("Hi") + delta("you") + delta("there") + finish() + DONE
    assert (got.exchange.record.waited, got.exchange.record.stalled) == (2.0, 1.0)


def test_what_cannot_be_passed_on_in_the_midst_of_a_stream_is_a_fault() -> None:
    """An event without an end is the provider's."""
    got = streamed(delta("Hi"), 1.0, b"x" * (sse.MAX_EVENT + 1), HANG, HANG)
    assert got.fault is not None
    assert got.fault.kind is FaultKind.PROTOCOL
    assert got.sink.body == delta("Hi")


class Lost(ScriptedReply):
    """A reply whose connection ends by whatever its taker raises, as an event loop ends one."""

    async def pour(self, taker: Taker) -> None:
        """See `Reply.pour`."""
        while self._steps:
            step = self._steps.pop(0)
            assert isinstance(step, bytes)
            with contextlib.suppress(ZeroDivisionError):
                taker(step)
                continue
            self._steps = [Fault(FaultKind.RESET, "the connection was reset")]
            return


class Faulty:
    """A `Stream` with a bug in it."""

    ended = False
    content = True
    events = 0
    error: Said | None = None
    usage: Usage | None = None
    kept: bytes | None = None

    def feed(self, data: bytes) -> bytes:
        """One event is passed on, the next one is too much."""
        self.events += 1
        return data if self.events < 2 else data[: self.events // 0]

    def finish(self) -> bytes:
        """Nothing is left."""
        return b""

    def broken(self, refusal: Refusal, request_id: str = "") -> bytes:
        """It is not told."""
        raise AssertionError(request_id, refusal)


async def _bug() -> None:
    scene = Scene(config({"a": 1}), {})
    exchange = scene.exchange(b"", sink=RecordingSink())
    exchange.envelope = envelope.read(request(stream=True), 16)
    exchange.target = scene.targets[0]
    exchange.attempts.append(Attempt("a/a-model", "a", START))
    with Deadline() as deadline:
        out = Outward(scene.clock.monotonic, answer_headers, None)
        relay = Relay(exchange, Lost(Answer([b"one", b"two"])), deadline, out, lambda: None)
        await relay.stream(Faulty(), WAITS)


def test_a_bug_in_the_midst_of_a_stream_is_no_fault_of_the_provider() -> None:
    """Though it ends the connection, which looks like a reset."""
    with pytest.raises(ZeroDivisionError):
        run(_bug())


async def _left_at_a_fault() -> list[str]:
    """A client leaves in the moment in which what comes cannot be passed on."""
    scene = Scene(config({"a": 1}), {})
    exchange = scene.exchange(b"", sink=RecordingSink())
    exchange.envelope = envelope.read(request(stream=True), 16)
    exchange.target = scene.targets[0]
    exchange.attempts.append(Attempt("a/a-model", "a", START))
    passing = ChatNative(exchange.envelope, include_usage=True)
    passage = Bypass(exchange.envelope, scene.targets[0].edits, passing, Losses(Dialect.CHAT))
    huge = b"data: " + b"x" * (sse.MAX_EVENT + 1)
    ended = []

    async def relayed() -> None:
        try:
            with Deadline() as deadline:
                out = Outward(scene.clock.monotonic, answer_headers, None)
                reply = Leaving(Answer([delta("Hi"), huge]))
                await Relay(exchange, reply, deadline, out, lambda: None).stream(passage.stream(), WAITS)
        except Fault:
            ended.append("fault")
        except asyncio.CancelledError:
            ended.append("left")

    await asyncio.wait([asyncio.create_task(relayed())])
    return ended


class Leaving(ScriptedReply):
    """A reply whose client leaves as soon as it is poured."""

    async def pour(self, taker: Taker) -> None:
        """See `Reply.pour`."""
        for step in self._steps:
            assert isinstance(step, bytes)
            taker(step)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)


def test_a_client_that_leaves_goes_before_a_fault() -> None:
    """It is nobody's fault then."""
    assert run(_left_at_a_fault()) == ["left"]
