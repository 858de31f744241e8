import asyncio
import contextlib
import json
import random
from collections.abc import Callable, MutableMapping
from typing import Any

import pytest
from fakes.chats import delta, error, finish, role, stream, usage
from fakes.configs import MODEL, config
from fakes.exchanges import numbers
from fakes.providers import HANG, Answer, Step
from fakes.scenes import HEAD, Scene
from fakes.virtual_loop import START, passed, run
from schemas.validation import problems, stream_problems
from structlog.testing import capture_logs

from metrics import record as records
from metrics.record import Record
from proxy.errors import Fault, FaultKind, Refusal
from proxy.exchange import Head
from proxy.reception import Reception
from proxy.redaction import Redactor
from proxy.sockets import (
    AHEAD,
    AHEAD_LETTERS,
    LONGEST,
    STOPPING,
    SocketParts,
    Sockets,
    SocketSink,
    TurnSource,
)
from proxy.tasks import Tasks
from proxy.wire.dialects import CODECS
from proxy.wire.model import Dialect

Json = dict[str, Any]
Message = MutableMapping[str, Any]
GONE: Message = {"type": "websocket.disconnect", "code": 1001}
STOPS: Message = {"type": "websocket.disconnect", "code": 1012, STOPPING: True}
GOOD = Answer([stream("Hello")])
SLOW = Answer([role() + delta("Hel"), 5.0, delta("lo") + finish() + usage(), b"data: [DONE]\n\n"])
HI: Json = {"type": "response.create", "model": MODEL, "input": "Hi", "store": False}


class Line:
    """The client's side of a connection: what it says and when, and what it hears.

    Numbers are seconds of silence, pairs wait for so many events of a kind, functions make a message of what
    was heard so far. An exception is what sending raises from then on.
    """

    def __init__(self, *script: Any) -> None:
        self._script = [{"type": "websocket.connect"}, *script]
        self.sent: list[Message] = []
        self.received = 0
        self.broken: Exception | None = None
        self.stuck = False
        self._news = asyncio.Event()

    async def receive(self) -> Message:
        """The next message; nothing more ever comes after the last."""
        while self._script:
            step = self._script.pop(0)
            if step == HANG:
                await asyncio.Event().wait()
            elif isinstance(step, float):
                await asyncio.sleep(step)
            elif isinstance(step, tuple):
                await self.until(*step)
            elif isinstance(step, Exception):
                self.broken = step
            else:
                self.received += 1
                said: Any = step(self) if callable(step) else step
                raw = isinstance(said, dict) and str(said.get("type")).startswith("websocket.")
                return dict(said) if raw else text(said)
        await asyncio.Event().wait()
        raise AssertionError("it never ends")

    async def send(self, message: Message) -> None:
        """Hear something."""
        if self.broken is not None:
            raise self.broken
        if self.stuck:
            await asyncio.Event().wait()
        self.sent.append(message)
        self._news.set()

    async def until(self, kind: str = "response.completed", count: int = 1) -> None:
        """Wait until so many events of a kind have come."""
        while [event.get("type") for event in self.events].count(kind) < count:
            self._news.clear()
            await self._news.wait()

    @property
    def events(self) -> list[Json]:
        """The events that were heard."""
        return [json.loads(one["text"]) for one in self.sent if one["type"] == "websocket.send"]

    @property
    def kinds(self) -> list[str]:
        """What they were called."""
        return [event["type"] for event in self.events]

    @property
    def closed(self) -> int | None:
        """The code that the connection was closed with."""
        last = self.sent[-1]
        return int(last["code"]) if last["type"] == "websocket.close" else None

    def turns(self) -> list[list[Json]]:
        """The events, turn by turn."""
        found: list[list[Json]] = [[]]
        for event in self.events:
            if event.get("type") in ("response.created", "error") and found[-1]:
                found.append([])
            found[-1].append(event)
        return found


def text(event: object) -> Message:
    """A text message."""
    return {"type": "websocket.receive", "text": event if isinstance(event, str) else json.dumps(event)}


def hi(**fields: Any) -> Json:
    """A turn."""
    return {**HI, **fields}


def after(**fields: Any) -> Callable[[Line], Json]:
    """A turn that follows the latest response."""
    return lambda line: hi(previous_response_id=line.events[-1]["response"]["id"], **fields)


class Plug:
    """A replica that serves WebSockets."""

    def __init__(self, *answers: Answer, **sections: Any) -> None:
        self.scene = Scene(config({"a": 1}, **sections), {"a": list(answers) or [GOOD]})
        self.tasks = Tasks()
        self.began = 0
        scene = self.scene
        self.sockets = Sockets(
            SocketParts(
                reception=Reception(scene.fleet, scene.clock, random.Random(7), Redactor(()), numbers()),
                pipeline=scene.pipeline,
                archive=scene.archive,
                began=self._count,
                observe=scene.records.append,
                clock=scene.clock,
                tasks=self.tasks,
            )
        )

    def _count(self) -> None:
        self.began += 1

    async def serve(self, line: Line, head: Head = HEAD, *, welcome: bool = True) -> None:
        """Serve one connection to its end; nothing may be left of it."""
        voice = CODECS[Dialect.RESPONSES]
        try:
            await self.sockets.serve(head, voice, line.receive, line.send, welcome=welcome)
        finally:
            await asyncio.sleep(0)
            assert await self.tasks.drain(0.1) == 0
            assert self.scene.guard.in_flight == 0
            assert self.scene.fleet.in_flight == {}
            assert len(self.scene.records) == self.began
            assert all(reply.closed for reply in self.scene.upstream.replies)

    @property
    def outcomes(self) -> list[str]:
        """How the turns ended."""
        return [record.outcome for record in self.scene.records]


def served(
    *script: Any, answers: tuple[Answer, ...] = (), head: Head = HEAD, **sections: Any
) -> tuple[Plug, Line]:
    """One connection whose client follows a script, and leaves at its end if not before."""

    async def scenario() -> tuple[Plug, Line]:
        plug, line = Plug(*answers, **sections), Line(*script, GONE)
        await plug.serve(line, head)
        return plug, line

    return run(scenario())


def as_stream(events: list[Json]) -> bytes:
    """Events as a stream would bring them."""
    lines = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events]
    return "".join([*lines, "data: [DONE]\n\n"]).encode()


DONE = ("response.completed",)


def test_a_turn_is_the_events_of_a_stream() -> None:
    """Each a message of its own, and nothing else."""
    plug, line = served(hi(), DONE)
    assert line.sent[0]["type"] == "websocket.accept"
    assert [name for name, _ in line.sent[0]["headers"]] == [b"x-request-id", b"request-id"]
    assert stream_problems("responses", as_stream(line.events)) == []
    assert line.kinds[-1] == "response.completed"
    assert plug.outcomes == [records.COMPLETED]
    body = json.loads(plug.scene.upstream.calls[0].body)
    assert body["stream"] is True
    assert plug.scene.last.endpoint == "responses"


def test_turns_follow_each_other_without_anything_being_stored() -> None:
    """Each goes on from the one before."""
    plug, line = served(
        hi(input="one"), DONE, after(input="two"), (*DONE, 2), after(input="three"), (*DONE, 3)
    )
    sent = [json.loads(call.body)["messages"] for call in plug.scene.upstream.calls]
    assert [turn["content"] for turn in sent[2]] == ["one", "Hello", "two", "Hello", "three"]
    assert len({turn[-1]["response"]["id"] for turn in line.turns()}) == 3


def test_a_turn_that_only_says_something_asks_nobody() -> None:
    """The next goes on from it."""
    plug, line = served(
        hi(input="one", generate=False, instructions="Be kind."),
        DONE,
        after(input="two", generate=True),
        (*DONE, 2),
    )
    first, _ = line.turns()
    assert stream_problems("responses", as_stream(first)) == []
    assert first[-1]["response"]["output"] == []
    (call,) = plug.scene.upstream.calls
    assert [turn["content"] for turn in json.loads(call.body)["messages"]] == ["one", "two"]
    assert plug.outcomes == [records.COMPLETED] * 2


@pytest.mark.parametrize(
    "body",
    [
        {"input": []},
        {"input": None},
        {"input": "x", "tools": []},
        {"input": [{"role": "user", "content": "x"}]},
    ],
)
def test_it_may_say_anything(body: Json) -> None:
    """Even nothing."""
    _, line = served(hi(generate=False, **body), DONE)
    assert line.kinds == ["response.created", "response.in_progress", "response.completed"]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("no JSON", None),
        ("[1]", None),
        ("", None),
        ('"text"', None),
        ("[" * 5_000, None),
        ({"type": "websocket.receive", "bytes": b"{}"}, None),
        ({"model": MODEL, "input": "Hi"}, "type"),
        (hi(type="response.cancel"), "type"),
        (hi(type=5), "type"),
        (hi(background=True), "background"),
        (hi(background="x"), "background"),
        (hi(stream_id="lane"), "stream_id"),
        (hi(model="nobody"), "model"),
        (hi(model=5), "model"),
        (hi(input=5), "input"),
        (hi(generate=False, temperature="hot"), "temperature"),
        (hi(generate=False, store=5), "store"),
        (hi(previous_response_id=5), "previous_response_id"),
    ],
)
def test_what_is_no_turn_is_an_error_and_no_end(message: Any, param: str | None) -> None:
    """With a status like an answer's; the next turn is served, and both are recorded."""
    plug, line = served(message, hi(), DONE)
    (told,), good = line.turns()
    assert problems("responses", "socket_error", told) == []
    assert 400 <= told["status"] < 500
    assert told["error"]["param"] == param
    assert good[-1]["type"] == "response.completed"
    assert plug.outcomes == [records.REFUSED, records.COMPLETED]


@pytest.mark.parametrize(
    "extra", [{"background": False, "stream_id": None}, {"stream": False}, {"generate": None}]
)
def test_what_changes_nothing_may_be_said(extra: Json) -> None:
    """Clients send the fields that they send over HTTP."""
    _, line = served(hi(**extra), DONE)
    assert line.kinds[-1] == "response.completed"


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (Answer([error("No.", code="odd")], 400), 400, "odd"),
        (Answer([error("No.")], 429), 429, "rate_limit_exceeded"),
        (Answer(before=[Fault(FaultKind.CONNECT, "it broke")]), 502, "upstream_error"),
        (Answer([16.0], 500, before=[16.0]), 502, "upstream_error"),
    ],
)
def test_a_turn_that_fails_before_it_has_begun_has_a_status(answer: Answer, status: int, code: str) -> None:
    """However long it took: a keep-alive is not the beginning of anything here."""
    _, line = served(hi(), ("error",), answers=(answer,))
    (told,) = line.events
    assert problems("responses", "socket_error", told) == []
    assert (told["status"], told["error"]["code"]) == (status, code)


def test_a_turn_that_breaks_says_so() -> None:
    """As its stream would, and the connection goes on."""
    broken = Answer([role() + delta("Hel"), Fault(FaultKind.RESET, "it broke")])
    _, line = served(hi(), ("response.failed",), hi(), DONE, answers=(broken, GOOD))
    first, second = line.turns()
    assert first[-1]["type"] == "response.failed"
    assert stream_problems("responses", as_stream(first)) == []
    assert second[-1]["type"] == "response.completed"


def test_what_nobody_knows_cannot_be_followed() -> None:
    """Neither an id that never was nor, without a store, any other."""
    _, line = served(hi(previous_response_id="resp_1"), ("error",))
    (told,) = line.events
    assert told["error"]["code"] in ("previous_response_not_found", "store_unavailable")


@pytest.mark.parametrize("begun", [False, True])
def test_a_bug_ends_the_turn_and_not_the_connection(begun: bool) -> None:
    """It is an answer before anything was said, and the end of the stream after that."""
    bug: Any = "nothing that a provider could do"
    said = [role() + delta("Hi"), bug] if begun else [bug]
    kind = "response.failed" if begun else "error"
    with capture_logs() as lines:
        plug, line = served(hi(), (kind,), hi(), DONE, answers=(Answer(said), GOOD))
    assert [one["event"] for one in lines] == ["background_task_failed"]
    assert plug.outcomes == [records.CRASHED, records.COMPLETED]
    first, second = line.turns()
    if begun:
        assert stream_problems("responses", as_stream(first)) == []
    else:
        assert problems("responses", "socket_error", first[0]) == []
        assert (first[0]["status"], first[0]["error"]["code"]) == (500, "internal_error")
    assert second[-1]["type"] == "response.completed"


# Leaving.


def test_a_client_that_leaves_ends_its_turn() -> None:
    """The provider is let go at once, and nothing more is said."""
    plug, line = served(
        hi(), ("response.output_text.delta",), 1.0, answers=(Answer([role() + delta("Hi"), HANG]),)
    )
    assert plug.outcomes == [records.CLIENT_GONE]
    assert line.closed is None
    assert plug.scene.last.duration == 1.0


def test_a_client_may_leave_between_turns() -> None:
    """Nothing was on."""
    plug, line = served()
    assert (plug.outcomes, line.closed) == ([], None)


def test_turns_that_wait_end_with_the_connection() -> None:
    """Nobody would hear them."""
    plug, _ = served(hi(), hi(), hi(), 1.0, answers=(Answer([HANG]),))
    assert plug.outcomes == [records.CLIENT_GONE]
    assert len(plug.scene.upstream.calls) == 1


@pytest.mark.parametrize(
    ("script", "outcomes"),
    [
        ([OSError()], []),
        ([OSError(), hi()], [records.CLIENT_GONE]),
        ([hi(), ("response.output_text.delta",), OSError()], [records.CLIENT_GONE]),
        (
            [hi(model="nobody"), ("error",), OSError(), hi(model="nobody")],
            [records.REFUSED] * 2,
        ),
        ([hi(), ("response.output_text.delta",), OSError(), STOPS], [records.CLIENT_GONE]),
    ],
)
def test_what_cannot_be_sent_is_said_to_nobody(script: list[Any], outcomes: list[str]) -> None:
    """ASGI says by an `OSError` that the client has left, maybe before it says so otherwise."""

    async def scenario() -> Plug:
        plug, line = Plug(SLOW), Line(*script, 9.0, GONE)
        with contextlib.suppress(asyncio.CancelledError):
            await plug.serve(line)
        return plug

    assert run(scenario()).outcomes == outcomes


def test_a_client_that_reads_nothing_is_given_up() -> None:
    """After a minute; the connection is not waited for."""

    async def scenario() -> None:
        plug, line = Plug(SLOW), Line(hi(), ("response.output_text.delta",))
        served = Tasks().spawn(plug.serve(line), "client")
        await line.until("response.output_text.delta")
        line.stuck = True
        await asyncio.wait({served})
        assert served.exception() is None
        assert plug.outcomes == [records.CLIENT_GONE]
        assert 60.0 <= passed() < 70.0
        assert line.closed is None

    run(scenario())


# A client in a hurry.


def test_messages_wait_for_their_turn() -> None:
    """One turn after the other, in the order in which they came."""
    plug, line = served(
        *(hi(input=str(number)) for number in range(5)), ("response.completed", 5), answers=(SLOW,)
    )
    asked = [json.loads(call.body)["messages"][0]["content"] for call in plug.scene.upstream.calls]
    assert asked == ["0", "1", "2", "3", "4"]
    assert [turn[-1]["type"] for turn in line.turns()] == ["response.completed"] * 5


@pytest.mark.parametrize(("size", "most"), [(0, AHEAD), (AHEAD_LETTERS // 2, 2)])
def test_not_everything_is_taken_ahead(size: int, most: int) -> None:
    """Whoever sends more waits: what is kept here has a bound."""

    async def scenario() -> None:
        plug = Plug(Answer([role() + delta("Hi"), HANG]))
        line = Line(*(hi(input="x" * size) for _ in range(3 * AHEAD)))
        client = Tasks().spawn(plug.serve(line), "client")
        await asyncio.sleep(10.0)
        assert line.received == 1 + 1 + most
        client.cancel()
        await asyncio.wait({client})
        assert client.cancelled()

    run(scenario())


# The end.


def test_a_server_that_stops_lets_a_turn_finish() -> None:
    """And takes no other; what was said ahead is not begun."""
    plug, line = served(hi(), hi(), ("response.output_text.delta",), STOPS, HANG, answers=(SLOW,))
    assert line.kinds[-1] == "response.completed"
    assert (line.closed, plug.outcomes) == (1012, [records.COMPLETED])


def test_a_server_that_stops_closes_what_is_idle() -> None:
    """A server that stops closes what is idle."""
    _, line = served(hi(), DONE, STOPS, HANG)
    assert line.closed == 1012


def test_a_client_may_leave_a_server_that_stops() -> None:
    """Its turn ends with it, as ever."""
    plug, _ = served(
        hi(), ("response.output_text.delta",), STOPS, 1.0, answers=(Answer([role() + delta("Hi"), HANG]),)
    )
    assert plug.outcomes == [records.CLIENT_GONE]


def test_a_client_cannot_say_that_the_server_stops() -> None:
    """It leaves, with whatever code."""
    plug, _ = served(hi(), ("response.output_text.delta",), {**GONE, "code": 1012}, answers=(SLOW,))
    assert plug.outcomes == [records.CLIENT_GONE]


def test_a_turn_that_is_cut_has_a_last_word() -> None:
    """The time to stop is over."""

    async def scenario() -> None:
        plug, line = Plug(SLOW), Line(hi(), HANG)
        served = Tasks().spawn(plug.serve(line), "client")
        await line.until("response.output_text.delta")
        plug.scene.stopping = True
        served.cancel()
        await asyncio.wait({served})
        assert served.cancelled()
        assert line.kinds[-1] == "response.failed"
        assert "shutting down" in line.events[-1]["response"]["error"]["message"]

    run(scenario())


def test_a_connection_lasts_an_hour() -> None:
    """Whoever is in a turn then may finish it; whoever sends another, or nothing, is told."""

    async def scenario() -> None:
        idle = Line(HANG)
        await Plug().serve(idle)
        assert passed() == LONGEST
        busy = Line(hi(), DONE, 3000.0, hi(), hi())
        slow: list[Step] = [step for _ in range(20) for step in (delta("x"), 50.0)]
        long: list[Step] = [role(), *slow, finish() + usage() + b"data: [DONE]\n\n"]
        plug = Plug(GOOD, Answer(long))
        await plug.serve(busy)
        assert 4000.0 <= passed() - LONGEST < 4001.0
        assert busy.kinds[-2] == "response.completed"
        assert plug.outcomes == [records.COMPLETED] * 2
        for line in (idle, busy):
            assert problems("responses", "socket_error", line.events[-1]) == []
            assert line.events[-1]["error"]["code"] == "websocket_connection_limit_reached"
            assert line.closed == 1000

    run(scenario())


# The handshake.


@pytest.mark.parametrize(
    ("head", "welcome", "status", "code"),
    [
        (Head(credential=b"sk-wrong"), True, 401, "invalid_api_key"),
        (Head(), True, 401, "invalid_api_key"),
        (HEAD, False, 403, "origin_not_allowed"),
    ],
)
def test_who_may_not_connect_is_told_so(head: Head, welcome: bool, status: int, code: str) -> None:
    """Like any request, and recorded like one."""

    async def scenario() -> None:
        plug, line = Plug(), Line()
        await plug.serve(line, head, welcome=welcome)
        start, body = line.sent
        assert (start["type"], start["status"]) == ("websocket.http.response.start", status)
        assert dict(start["headers"])[b"content-type"] == b"application/json"
        assert b"x-request-id" in dict(start["headers"])
        told = json.loads(body["body"])
        assert problems("responses", "error", told) == []
        assert told["error"]["code"] == code
        record: Record = plug.scene.last
        assert (record.endpoint, record.status, record.outcome) == ("responses", status, records.REFUSED)
        assert (record.error, record.began) == (code, START)

    run(scenario())


def test_every_turn_is_authenticated() -> None:
    """A key that is taken away opens nothing, even where it was let in before."""

    async def scenario() -> None:
        plug, line = Plug(), Line(hi(), DONE, 1.0, hi(), ("error",), GONE)
        fresh = Scene(config({"a": 1}, client={"keys": ["sk-another-0123456789"]}), {}).fleet.snapshot

        async def reload() -> None:
            await line.until("response.completed")
            plug.scene.fleet.snapshot = fresh

        reloading = plug.tasks.spawn(reload(), "reload")
        await plug.serve(line)
        assert reloading.done()
        assert (line.events[-1]["status"], line.events[-1]["error"]["code"]) == (401, "invalid_api_key")

    run(scenario())


def test_limits_hold_over_a_socket() -> None:
    """Each turn is a request."""
    plug, line = served(hi(), hi(), ("error",), client={"limits": {"requests_per_minute": 1}})
    assert line.events[-1]["status"] == 429
    assert problems("responses", "socket_error", line.events[-1]) == []
    assert plug.outcomes == [records.COMPLETED, records.REFUSED]


# The ends of a turn.


def test_an_error_always_has_a_code() -> None:
    """The event must have one, where an answer need not."""

    async def scenario() -> None:
        heard: list[Json] = []

        async def say(message: str) -> None:
            heard.append(json.loads(message))

        sink = SocketSink(say)
        body = CODECS[Dialect.RESPONSES].refusal(Refusal(413, "Too large."), "req_1")
        await sink.answer(413, [], body)
        assert problems("responses", "socket_error", heard[0]) == []
        assert heard[0]["error"]["code"] == "invalid_request_error"
        assert not sink.started
        await sink.start(200, [])
        await sink.write(b": ping\n\n")
        assert not sink.started
        assert len(heard) == 1

    run(scenario())


def test_the_fields_of_a_turn_pass_as_they_came() -> None:
    """To the byte."""
    source = TurnSource(
        '{"type":"response.create","model":"m","input":[{"odd": 1.0,"x":"\\u00e9"}],"stream":false}'
    )

    async def scenario() -> None:
        body = await source.body()
        assert body == b'{"model":"m","input":[{"odd": 1.0,"x":"\\u00e9"}],"stream":true}'

    run(scenario())
