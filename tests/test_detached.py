import asyncio
import json
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest
from fakes.chats import delta, error, request, role, stream
from fakes.clients import RecordingSink
from fakes.configs import config
from fakes.exchanges import numbers
from fakes.providers import HANG, Answer, Step
from fakes.scenes import Scene
from fakes.shelves import items, shelves, shown
from fakes.virtual_loop import LoopClock, run
from private_store import PrivateStore
from responses.shelves import SCRIPTS, SETTINGS, Line, sealer
from responses.shelves import response as stored_response
from schemas.validation import problems, stream_problems

from metrics import record as records
from proxy.archive import Archive, Shelf
from proxy.detached import Detached, DetachedParts, RunSink, bury
from proxy.errors import Fault, FaultKind, Refusal
from proxy.exchange import Thread
from proxy.reception import Reception
from proxy.redaction import Redactor
from proxy.relay import Patience
from proxy.responses.background import BackgroundRuns, Standing
from proxy.responses.document import Stored
from proxy.responses.following import Following
from proxy.responses.outbox import Event
from proxy.responses.store import Outcome, ResponseStore, Rules, unavailable
from proxy.tasks import Tasks
from proxy.wire.codec import Stamp
from proxy.wire.envelope import encode
from proxy.wire.model import Endpoint
from proxy.wire.responses.resource import echo, failed, lifecycle_event, response
from proxy.wire.responses.voice import DONE, ResponsesVoice

Json = dict[str, Any]
ID = "resp_" + "a" * 24
BEGUN = response(echo({"model": "small", "background": True}), Stamp("a" * 24, 1_800_000_000), "in_progress")
PATIENCE = Patience(pulse=15.0, slow=60.0)
NATIVE = {"kind": "openai", "api_keys": ["a1"]}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A store."""
    with PrivateStore() as store:
        yield store.url


def stored(**more: Any) -> Stored:
    """A response that has begun."""
    fields: Json = {"status": "in_progress", "background": True, "response": msgspec.Raw(encode(BEGUN))}
    return stored_response(ID, **(fields | more))


def final(status: str = "completed") -> Stored:
    """The same, as it ended."""
    return stored(status=status, response=msgspec.Raw(encode({**BEGUN, "status": status})))


class Empty(ResponseStore):
    """A store in which a response is, or is not."""

    def __init__(self, found: Stored | Refusal | None) -> None:
        super().__init__(Line(), SCRIPTS, sealer(), Rules(SETTINGS, "one"))
        self._found = found

    async def load(self, owner: str, id_: str) -> Stored | None:
        """The one there is."""
        if isinstance(self._found, Refusal):
            raise self._found
        return self._found


class Noted(BackgroundRuns):
    """Runs that are written down. `outcomes` are those of the next ends."""

    def __init__(self, *outcomes: Outcome) -> None:
        super().__init__(Empty(None), Line())
        self.told: list[Event] = []
        self.finished: list[tuple[Stored, list[Event]]] = []
        self._outcomes = list(outcomes)

    async def append(self, owner: str, id_: str, events: Sequence[Event]) -> Standing:
        """Take events."""
        assert (owner, id_) == ("dev", ID)
        assert events
        self.told += events
        return Standing.RUNNING

    async def finish(self, owner: str, stored: Stored, events: Sequence[Event] = ()) -> Outcome:
        """Take the end."""
        self.finished.append((stored, list(events)))
        return self._outcomes.pop(0) if self._outcomes else Outcome.STORED

    @property
    def raw(self) -> bytes:
        """The stream that readers see."""
        (end,) = self.finished[-1:]
        assert [number for number, _ in self.told + end[1]] == list(range(len(self.told + end[1])))
        return b"".join(event for _, event in self.told + end[1]) + DONE


class Scripted(Following):
    """A way to responses on which events, silences and refusals come as written down."""

    def __init__(self, *steps: bytes | float | Refusal, first: int = 0) -> None:
        self._steps = steps
        self._first = first

    async def read_events(self, owner: str, id_: str, after: int = -1) -> AsyncGenerator[Event, None]:
        """Play the script."""
        number = self._first
        for step in self._steps:
            if isinstance(step, Refusal):
                raise step
            if isinstance(step, bytes):
                yield number, step
                number += 1
            else:
                await asyncio.sleep(step)


def shelf_of(
    runs: BackgroundRuns | None = None,
    following: Following | None = None,
    found: Stored | Refusal | None = None,
) -> Shelf:
    """A shelf of stand-ins."""
    return Shelf(Line(), Empty(found), Noted() if runs is None else runs, following or Scripted())


# How a run tells of itself.


class Telling:
    """A sink of a run, and what came of it."""

    def __init__(self, *outcomes: Outcome, end: Stored | None = None) -> None:
        self.runs = Noted(*outcomes)
        self.thread = Thread(final=end)
        self.sink = RunSink(shelf_of(self.runs), "dev", stored(), self.thread, b"{}")

    @property
    def end(self) -> Json:
        """The response as it is kept in the end."""
        return shown(self.runs.finished[-1][0])


def event(kind: str, number: int | None, **fields: Any) -> bytes:
    """An event of a stream."""
    numbered = {} if number is None else {"sequence_number": number}
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode({"type": kind, **fields, **numbered}))


def test_events_are_kept_by_their_numbers() -> None:
    """The first is the run's own; keep-alives and end marks are nobody's."""

    async def scenario() -> None:
        made = Telling(end=final())
        assert await made.sink.body() == b"{}"
        await made.sink.start(200, [])
        await made.sink.write(ResponsesVoice.ping)
        silent = made.sink.started
        begun = lifecycle_event("response.in_progress", BEGUN, 1)
        await made.sink.write(lifecycle_event("response.created", BEGUN, 0) + begun)
        assert (silent, made.sink.started) == (False, True)
        ended = lifecycle_event("response.completed", {**BEGUN, "status": "completed"}, 2)
        await made.sink.end(ended + DONE)
        assert [number for number, _ in made.runs.told] == [0, 1]
        assert made.runs.finished == [(final(), [(2, ended)])]
        assert made.sink.ended

    run(scenario())


def test_events_without_a_good_number_get_the_next() -> None:
    """Whatever a provider writes, nothing is lost and nothing comes twice."""

    async def scenario() -> None:
        made = Telling()
        assert await made.sink.body() == b"{}"
        odd = [event("a", None), event("b", 0), b"data: no JSON\n\n", event("c", 9), event("d", 2)]
        nested = event("e", None, tool={"sequence_number": 3}) + event("f", 12, tool={"sequence_number": 3})
        await made.sink.write(b"".join(odd) + nested)
        assert [number for number, _ in made.runs.told] == [0, 1, 2, 3, 9, 10, 11, 12]

    run(scenario())


@pytest.mark.parametrize(
    ("status", "said", "code"),
    [
        (429, {"message": "Slow down.", "code": "rate_limit_exceeded"}, "rate_limit_exceeded"),
        (400, {"message": "No.", "code": "invalid_value"}, "invalid_prompt"),
        (400, {"message": "No.", "code": "invalid_image"}, "invalid_image"),
        (502, {"message": "Broken.", "code": "upstream_error"}, "server_error"),
        (503, {"message": "Full.", "code": None}, "server_error"),
        (500, {}, "server_error"),
    ],
)
def test_an_error_is_the_responses(status: int, said: Json, code: str) -> None:
    """In the words that a client would have been answered with, under a code that the schema knows."""

    async def scenario() -> None:
        made = Telling()
        assert await made.sink.body() == b"{}"
        await made.sink.answer(status, [], json.dumps({"error": said}).encode())
        assert made.end["status"] == "failed"
        assert made.end["error"] == {"code": code, "message": said.get("message", "It failed.")}
        assert problems("responses", "reply", made.end) == []
        assert stream_problems("responses", made.runs.raw) == []

    run(scenario())


def test_a_cancelled_response_says_so() -> None:
    """Its stream has an end as well, by the word that is nearest."""

    async def scenario() -> None:
        made = Telling()
        assert await made.sink.body() == b"{}"
        await made.sink.write(lifecycle_event("response.in_progress", BEGUN, 1))
        await made.sink.cancelled()
        assert made.end["status"] == "cancelled"
        assert problems("responses", "reply", made.end) == []
        assert stream_problems("responses", made.runs.raw) == []

    run(scenario())


def test_it_ends_once() -> None:
    """Whatever else is said then."""

    async def scenario() -> None:
        made = Telling(end=final())
        await made.sink.end(event("response.completed", 1))
        await made.sink.cancelled()
        await made.sink.fail("server_error", "No.")
        await made.sink.write(event("late", 9))
        await made.sink.end()
        assert len(made.runs.finished) == 1
        assert made.runs.told == []

    run(scenario())


def test_an_end_without_a_response_is_a_failure() -> None:
    """Nothing whole came."""

    async def scenario() -> None:
        made = Telling()
        await made.sink.end(DONE)
        assert made.end["status"] == "failed"

    run(scenario())


@pytest.mark.parametrize("last", [b"", event("x", 5) + event("response.completed", 6)])
def test_a_response_that_is_too_large_fails(last: bytes) -> None:
    """It was said to whoever follows it, but cannot be kept: that is how it ends, under the last number."""

    async def scenario() -> None:
        made = Telling(Outcome.TOO_LARGE, end=final())
        await made.sink.end(last)
        kept, events = made.runs.finished[-1]
        assert (kept.status, made.end["error"]["message"]) == ("failed", "The response is too large to keep.")
        assert [number for number, _ in events] == ([5, 6] if last else [0])
        assert b"response.failed" in events[-1][1]
        assert b"response.completed" not in events[-1][1]

    run(scenario())


def test_a_response_that_was_left_behind_fails() -> None:
    """In the words of whoever finds it."""
    kept, last = bury(stored(), 4)
    assert kept.status == shown(kept)["status"] == "failed"
    assert shown(kept) == failed(BEGUN, "server_error", "The replica that ran this response has gone.")
    assert b'"sequence_number":4' in last


# How readers follow it.


def readers(following: Following, found: Stored | Refusal | None) -> Detached:
    """What follows responses, and nothing else."""

    async def never(_: object) -> None:
        raise AssertionError("nothing runs here")

    def reception() -> Any:
        return None

    archive = Archive(shelf_of(following=following, found=found))
    return Detached(DetachedParts(archive, reception(), never, lambda: None, Tasks(), Tasks(), PATIENCE))


def followed(
    *steps: bytes | float | Refusal, found: Stored | Refusal | None = None, after: int = -1
) -> list[bytes]:
    """What a reader gets."""

    async def scenario() -> list[bytes]:
        following = Scripted(*steps, first=after + 1)
        detached = readers(following, found or final())
        return [event async for event in detached.events("dev", ID, after)]

    return run(scenario())


ONE, TWO = event("one", 0), event("two", 1)


def test_events_are_followed_to_their_end() -> None:
    """To the end marker."""
    assert followed(ONE, TWO) == [ONE, TWO, DONE]


def test_a_silence_is_kept_alive() -> None:
    """As long as it lasts, and not between events that come in time."""
    ping = ResponsesVoice.ping
    assert followed(ONE, 31.0, TWO, 14.0, ONE, 16.0) == [ONE, ping, ping, TWO, ONE, ping, DONE]


def test_nothing_comes_behind_the_end() -> None:
    """Who has heard everything is told only that."""
    assert followed(after=7) == [DONE]


@pytest.mark.parametrize(
    ("steps", "found", "after", "status"),
    [
        ([ONE], None, -1, "not found"),
        ([], final(), -1, "no longer kept"),
        ([ONE, unavailable()], final(), -1, "cannot be reached"),
        ([unavailable()], final(), 4, "cannot be reached"),
        ([ONE], unavailable(), -1, "cannot be reached"),
    ],
)
def test_an_end_that_is_none_is_told(
    steps: list[bytes | Refusal], found: Stored | Refusal | None, after: int, status: str
) -> None:
    """Deleted meanwhile, expired before, or the store went away: an error, and not a silent end."""

    async def scenario() -> list[bytes]:
        detached = readers(Scripted(*steps, first=after + 1), found)
        return [event async for event in detached.events("dev", ID, after)]

    *before, last, done = run(scenario())
    assert (before, done) == ([step for step in steps if isinstance(step, bytes)], DONE)
    told = json.loads(last.partition(b"data: ")[2])
    assert (told["type"], told["sequence_number"]) == ("error", after + 1 + len(before))
    assert status in told["message"]
    assert problems("responses", "event", told) == []


def test_a_reader_may_leave_at_any_moment() -> None:
    """Nothing is left of it, be it in a silence or between two events."""

    async def scenario() -> None:
        for steps in ((1000.0,), (ONE, 1000.0), (ONE, TWO)):
            detached = readers(Scripted(*steps), final())
            events = detached.events("dev", ID, -1)
            await anext(events)
            await events.aclose()
            assert len(detached._readers) == 0

    run(scenario())


# From the request to the end of the run.


class Stage:
    """A replica with a shelf, whose responses run in the background."""

    def __init__(self, shelf: Shelf, *answers: Answer, provider: Json | None = None, **sections: Any) -> None:
        account: int | Json = {"base_url": "http://a.test/v1", **provider} if provider else 1
        made = config({"a": account}, **sections)
        self.scene = Scene(made, {"a": answers or (Answer([stream()]),)}, Archive(shelf))
        self.shelf = shelf
        self.began = 0
        self.running, self.readers = Tasks(), Tasks()
        self.detached = Detached(
            DetachedParts(
                archive=self.scene.archive,
                reception=Reception(self.scene.fleet, LoopClock(), random.Random(7), Redactor(()), numbers()),
                handle=self.scene.pipeline.handle,
                began=self._count,
                running=self.running,
                readers=self.readers,
                patience=PATIENCE,
            )
        )
        self.scene.background = self.detached.begin
        self._asked = 0

    def _count(self) -> None:
        self.began += 1

    async def ask(self, sink: RecordingSink | None = None, **body: Any) -> RecordingSink:
        """Ask for a response in the background."""
        self._asked += 1
        said = json.loads(request(background=True, **body))
        said["input"] = said.pop("messages")
        exchange = self.scene.exchange(
            json.dumps(said).encode(), sink=sink or RecordingSink(), endpoint=Endpoint.RESPONSES
        )
        exchange.stamp = Stamp(f"{random.getrandbits(96):024x}", 1_800_000_000)
        await self.scene.pipeline.handle(exchange)
        assert isinstance(exchange.sink, RecordingSink)
        return exchange.sink

    async def asked(self, count: int = 1) -> None:
        """Wait until so many requests have been answered by the provider."""
        async with asyncio.timeout(5.0):
            while len(self.scene.upstream.replies) < count:
                assert len(self.running) > 0
                await asyncio.sleep(0)

    async def over(self) -> None:
        """Wait until nothing runs."""
        assert await self.running.drain(5.0) == 0

    async def found(self, sink: RecordingSink) -> Json:
        """The response of an answer, as it is stored."""
        told = json.loads(sink.body)
        return shown(await self.shelf.store.load("dev", told["id"]))


def id_of(sink: RecordingSink) -> str:
    """The id of a response whose events are followed."""
    first = json.loads(sink.body.partition(b"data: ")[2].partition(b"\n")[0])
    return str(first["response"]["id"])


def play(url: str, scenario: Callable[[Stage], Awaitable[None]], *answers: Answer, **stage: Any) -> None:
    """Play a scenario; afterwards nothing runs, and every request that began was recorded."""

    async def main() -> None:
        async with shelves(url) as (shelf,):
            made = Stage(shelf, *answers, **stage)
            await scenario(made)
            await made.over()
            assert len(shelf.runs) == len(made.readers) == 0
            assert len(made.scene.records) == made._asked + made.began
            assert made.scene.guard.in_flight == 0
            assert made.scene.fleet.in_flight == {}

    asyncio.run(main())


@pytest.mark.process
def test_a_response_is_answered_as_it_begins(url: str) -> None:
    """At once; then it runs to its end, and is found there."""

    async def scenario(stage: Stage) -> None:
        sink = await stage.ask(metadata={"a": "b"})
        told = json.loads(sink.body)
        assert (sink.status, told["status"], told["background"]) == (200, "in_progress", True)
        assert (told["metadata"], told["output"]) == ({"a": "b"}, [])
        assert problems("responses", "reply", told) == []
        assert sink.header(b"content-type") == b"application/json"
        await stage.over()
        kept = await stage.found(sink)
        assert (kept["id"], kept["status"], kept["background"]) == (told["id"], "completed", True)
        assert problems("responses", "reply", kept) == []
        outer, inner = stage.scene.records
        assert (outer.endpoint, outer.outcome, outer.tokens) == ("other", records.COMPLETED, None)
        assert (inner.endpoint, inner.outcome, inner.client) == ("responses", records.COMPLETED, "dev")
        assert inner.tokens is not None
        assert json.loads(stage.scene.upstream.calls[0].body)["stream"] is True

    play(url, scenario)


@pytest.mark.process
def test_its_events_can_be_followed_at_once(url: str) -> None:
    """By the client that began it, from the first one on."""

    async def scenario(stage: Stage) -> None:
        sink = await stage.ask(stream=True)
        assert sink.status == 200
        assert sink.header(b"content-type") == b"text/event-stream; charset=utf-8"
        assert stream_problems("responses", sink.body) == []
        assert sink.ended
        id_ = id_of(sink)
        again = [event async for event in stage.detached.events("dev", id_, 2)]
        assert b"".join(again) in sink.body
        assert len(again) > 3

    play(url, scenario)


@pytest.mark.process
def test_it_outlives_the_key_that_began_it(url: str) -> None:
    """Who may ask was known when it began."""

    async def scenario(stage: Stage) -> None:
        sink = await stage.ask()
        stage.scene.fleet.snapshot = Scene(
            config({"a": 1}, client={"keys": ["sk-another-key"]}), {}
        ).fleet.snapshot
        assert (await stage.ask()).status == 401
        await stage.over()
        assert (await stage.found(sink))["status"] == "completed"

    play(url, scenario)


@pytest.mark.process
def test_it_follows_others(url: str) -> None:
    """The history is put in front once."""

    async def scenario(stage: Stage) -> None:
        first = await stage.ask()
        await stage.over()
        second = await stage.ask(previous_response_id=json.loads(first.body)["id"])
        await stage.over()
        sent = json.loads(stage.scene.upstream.calls[1].body)["messages"]
        assert [turn["role"] for turn in sent] == ["user", "assistant", "user"]
        told = await stage.found(second)
        assert told["previous_response_id"] == json.loads(first.body)["id"]
        kept = await stage.shelf.store.load("dev", told["id"])
        assert kept is not None
        assert len(items(kept)[0]) == len(kept.ancestors) == 1

    play(url, scenario)


@pytest.mark.process
@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (Answer([error("No.", code="invalid_value")], 400), "failed", "invalid_prompt"),
        (Answer(before=[Fault(FaultKind.CONNECT, "it broke")]), "failed", "server_error"),
        (Answer([role() + delta("Hi"), Fault(FaultKind.RESET, "it broke")]), "failed", "server_error"),
        (Answer([role() + delta("Hi"), b"data: no JSON\n\n"]), "failed", "server_error"),
    ],
)
def test_whatever_breaks_is_told_in_the_response(url: str, answer: Answer, status: str, code: str) -> None:
    """Its stream ends with it as well."""

    async def scenario(stage: Stage) -> None:
        sink = await stage.ask()
        await stage.over()
        kept = await stage.found(sink)
        assert (kept["status"], kept["error"]["code"]) == (status, code)
        assert problems("responses", "reply", kept) == []
        told = [event async for event in stage.detached.events("dev", kept["id"], -1)]
        assert stream_problems("responses", b"".join(told)) == []
        assert b"response.failed" in told[-2]

    play(url, scenario, answer)


@pytest.mark.process
def test_limits_are_the_clients_and_counted_once(url: str) -> None:
    """What is reserved before the answer goes over to the run; without room there is no response."""

    async def scenario(stage: Stage) -> None:
        first = await stage.ask()
        assert first.header(b"x-ratelimit-remaining-requests") == b"1"
        await stage.over()
        await stage.scene.limiter.flush()
        assert (await stage.ask()).header(b"x-ratelimit-remaining-requests") == b"0"
        refused = await stage.ask()
        assert refused.status == 429
        assert json.loads(refused.body)["error"]["code"] == "rate_limit_exceeded"
        await stage.over()
        await stage.scene.limiter.flush()
        assert len(stage.scene.upstream.calls) == 2
        assert stage.scene.store.calls.count("admit client") == 3
        assert stage.scene.store.calls.count("settle client") == 2

    limits = {"requests_per_minute": 2, "burst": 2}
    play(url, scenario, client={"limits": limits})


@pytest.mark.process
def test_one_at_a_time_means_the_run(url: str) -> None:
    """A request that was answered does not free its place while its response runs."""

    async def scenario(stage: Stage) -> None:
        first = await stage.ask()
        await stage.asked()
        assert (await stage.ask()).status == 429
        await stage.detached.cancel("dev", json.loads(first.body)["id"])
        await stage.over()
        await stage.scene.limiter.flush()
        assert (await stage.ask()).status == 200

    answers = Answer([role(), HANG]), Answer([stream()])
    play(url, scenario, *answers, client={"limits": {"concurrency": 1}})


@pytest.mark.process
@pytest.mark.parametrize("steps", [[HANG], [role() + delta("Hi"), HANG]])
def test_it_can_be_cancelled(url: str, steps: list[Step]) -> None:
    """The provider is let go; twice is as good as once."""

    async def scenario(stage: Stage) -> None:
        sink = await stage.ask()
        id_ = json.loads(sink.body)["id"]
        await stage.asked()
        ends = await asyncio.gather(*(stage.detached.cancel("dev", id_) for _ in range(2)))
        assert [shown(end)["status"] for end in ends] == ["cancelled"] * 2
        assert shown(await stage.detached.cancel("dev", id_))["status"] == "cancelled"
        assert stage.scene.upstream.replies[0].closed
        assert [record.outcome for record in stage.scene.records] == [records.COMPLETED, records.CLIENT_GONE]
        told = [event async for event in stage.detached.events("dev", id_, -1)]
        assert stream_problems("responses", b"".join(told)) == []

    play(url, scenario, Answer(steps))


@pytest.mark.process
def test_it_can_be_cancelled_before_it_has_begun(url: str) -> None:
    """Nobody is asked, and what was reserved is free again."""

    async def scenario(stage: Stage) -> None:
        for _ in range(3):
            sink = await stage.ask()
            assert sink.status == 200
            end = await stage.detached.cancel("dev", json.loads(sink.body)["id"])
            assert shown(end)["status"] == "cancelled"
            await stage.over()
            await stage.scene.limiter.flush()
        assert stage.scene.upstream.calls == []
        assert stage.scene.store.calls.count("settle client") == 3

    play(url, scenario, client={"limits": {"concurrency": 1}})


@pytest.mark.process
def test_one_that_is_deleted_ends(url: str) -> None:
    """And nothing of it comes back."""

    async def scenario(stage: Stage) -> None:
        sink = await stage.ask()
        id_ = json.loads(sink.body)["id"]
        await stage.shelf.store.delete("dev", id_)
        await stage.shelf.runs.beat()
        await stage.over()
        assert await stage.shelf.store.load("dev", id_) is None
        told = [event async for event in stage.detached.events("dev", id_, -1)]
        assert b"not found" in told[-2]

    play(url, scenario, Answer([HANG]))


@pytest.mark.process
def test_a_client_may_leave_while_it_follows(url: str) -> None:
    """The response runs on, and can be read later."""

    async def scenario(stage: Stage) -> None:
        sink = RecordingSink()
        task = stage.readers.spawn(stage.ask(sink, stream=True), "client")
        while b"Hi" not in sink.body:
            assert not task.done()
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait({task})
        id_ = id_of(sink)
        await stage.over()
        kept = await stage.shelf.store.load("dev", id_)
        assert kept is not None
        assert kept.status == "completed"
        assert {record.outcome for record in stage.scene.records} == {records.COMPLETED, records.CLIENT_GONE}

    play(url, scenario, Answer([role() + delta("Hi"), 0.5, delta(" you"), stream("!")]))


@pytest.mark.process
def test_a_client_that_reads_nothing_is_given_up(url: str) -> None:
    """Its response runs on without it."""

    async def scenario() -> None:
        async with shelves(url) as (shelf,):
            made = Stage(shelf)
            made.detached._patience = Patience(slow=0.05)
            sink = RecordingSink([0.0, HANG])
            task = made.readers.spawn(made.ask(sink, stream=True), "client")
            await asyncio.wait({task})
            assert task.cancelled()
            await made.over()
            assert not sink.ended
            assert {record.outcome for record in made.scene.records} == {
                records.COMPLETED,
                records.CLIENT_GONE,
            }

    asyncio.run(scenario())


@pytest.mark.process
def test_a_client_that_leaves_before_it_has_begun_begins_nothing(url: str) -> None:
    """Nobody would know its id."""

    async def scenario(stage: Stage) -> None:
        begun = stage.shelf.runs.begin

        async def slowly(owner: str, stored: Stored, stop: Any) -> Outcome:
            task.cancel()
            await asyncio.sleep(0)
            return await begun(owner, stored, stop)

        stage.shelf.runs.begin = slowly  # type: ignore[method-assign]  # the moment cannot be hit otherwise
        task = stage.readers.spawn(stage.ask(), "client")
        await asyncio.wait({task})
        assert task.cancelled()
        assert stage.began == 0
        assert stage.scene.upstream.calls == []

    play(url, scenario)


@pytest.mark.process
def test_a_replica_that_stops_ends_what_it_runs(url: str) -> None:
    """As failed, and not as cancelled: nobody asked for that."""

    async def scenario(stage: Stage) -> None:
        sink = await stage.ask()
        early = await stage.ask()
        await stage.asked(2)
        late = await stage.ask()
        await asyncio.sleep(0)
        stage.scene.stopping = True
        await stage.running.close()
        for one in (sink, early, late):
            assert (await stage.found(one))["status"] == "failed"

    play(url, scenario, Answer([HANG]))


@pytest.mark.process
def test_a_bug_ends_it_as_failed(url: str) -> None:
    """It is not left in progress for ever."""

    async def scenario(stage: Stage) -> None:
        async def broken(_: object) -> None:
            raise LookupError("a bug")

        stage.detached._handle = broken
        sink = await stage.ask()
        await stage.running.drain(5.0)
        assert (await stage.found(sink))["status"] == "failed"
        stage.began = 0  # what broke was recorded by nobody

    play(url, scenario)


@pytest.mark.process
@pytest.mark.parametrize(
    "body",
    [{"input": 5}, {"tools": "x"}, {"temperature": "hot"}, {"input": [{"type": "computer_call"}]}],
)
def test_what_nobody_could_answer_is_refused_at_once(url: str, body: Json) -> None:
    """And not found out later."""

    async def scenario(stage: Stage) -> None:
        said = json.loads(request(background=True)) | body
        del said["messages"]
        said.setdefault("input", "Hi")
        sink = await stage.scene.ask(json.dumps(said).encode(), endpoint=Endpoint.RESPONSES)
        assert sink.status == 400
        stage._asked += 1

    play(url, scenario)


@pytest.mark.process
def test_a_provider_of_the_same_dialect_is_asked_what_only_it_can_answer(url: str) -> None:
    """Nobody here reads such an item; it passes as it came."""

    async def scenario(stage: Stage) -> None:
        sink = await stage.ask(tools=[{"type": "computer"}], tool_choice={"type": "wonder"})
        assert sink.status == 200
        assert json.loads(sink.body)["status"] == "in_progress"
        assert problems("responses", "reply", json.loads(sink.body)) == []
        await stage.over()
        assert json.loads(stage.scene.upstream.calls[0].body)["tool_choice"] == {"type": "wonder"}

    play(url, scenario, Answer([error("No.")], 400), provider=NATIVE)


@pytest.mark.process
@pytest.mark.parametrize(
    ("outcome", "status"), [(Outcome.TOO_LARGE, 413), (Outcome.FAILED, 503), (Outcome.GONE, 503)]
)
def test_what_cannot_be_stored_does_not_run(url: str, outcome: Outcome, status: int) -> None:
    """Nobody could ever read it."""

    async def scenario(stage: Stage) -> None:
        async def refused(*_: object) -> Outcome:
            return outcome

        stage.shelf.runs.begin = refused  # type: ignore[assignment,method-assign]  # what a server says in rare cases
        assert (await stage.ask()).status == status
        assert stage.scene.upstream.calls == []

    play(url, scenario)


def test_while_the_store_is_away_it_runs_all_the_same() -> None:
    """The answer says so, and this replica tells how it stands; its events are kept for later."""

    async def scenario() -> None:
        with PrivateStore() as store:
            async with shelves(store.url) as (shelf,):
                made = Stage(shelf)
                store.kill()
                await asyncio.gather(*(made.ask() for _ in range(4)))
                sink = await made.ask()
                assert (sink.status, sink.header(b"x-apex-store")) == (200, b"deferred")
                followed = await made.ask(stream=True)
                assert b"cannot be reached" in followed.body
                await made.over()
                assert (await made.found(sink))["status"] == "completed"

    asyncio.run(scenario())


@pytest.mark.process
def test_how_one_stands_is_asked_of_all(url: str) -> None:
    """One that seems to run is looked at."""

    async def scenario(stage: Stage) -> None:
        sink = await stage.ask()
        kept = await stage.shelf.store.load("dev", json.loads(sink.body)["id"])
        assert kept is not None
        assert await stage.detached.checked("dev", kept) == kept
        await stage.detached.cancel("dev", kept.id)

    play(url, scenario, Answer([HANG]))
