"""Tests of `proxy.cycle`: what an application says, as bytes on a line, and what it hears."""

import asyncio
import gc
import json
import sys
from collections.abc import Coroutine
from typing import Any

import pytest
from fakes.virtual_loop import run

from proxy.config.settings import Bounds
from proxy.cycle import DIRECT, HIGH_WATER, SOON, Awaited, Cycle, Message, refusal, status_line
from proxy.endpoints import HttpSource
from proxy.errors import Refusal


class FakeLine:
    """A connection that keeps what is written to it, write by write."""

    def __init__(self) -> None:
        self.write_paused = False
        self.default_headers = [(b"date", b"now")]
        self.written: list[bytes] = []
        self.answers: list[Cycle] = []
        self.resumed = 0
        self.drained = asyncio.Event()

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.written.append(data)

    async def drain(self) -> None:
        """Wait for the test."""
        await self.drained.wait()

    def resume_reading(self) -> None:
        """Count."""
        self.resumed += 1

    def answered(self, cycle: Cycle) -> None:
        """Keep it."""
        assert cycle.complete
        self.answers.append(cycle)


class Talk:
    """A cycle on such a line, whose calls need not wait unless a test says so."""

    def __init__(
        self, method: str = "GET", version: str = "1.1", *, keep_alive: bool = True, expects: bool = False
    ) -> None:
        self.line = FakeLine()
        scope = {"method": method, "http_version": version, "headers": []}
        self.cycle = Cycle(self.line, scope, keep_alive=keep_alive, expects=expects)

    def start(self, status: int = 200, *headers: tuple[bytes, bytes]) -> None:
        """Say the head of the answer."""
        at_once(self.cycle.send({"type": "http.response.start", "status": status, "headers": headers}))

    def say(self, body: bytes = b"", *, more: bool = False) -> None:
        """Say a part of its body."""
        at_once(self.cycle.send({"type": "http.response.body", "body": body, "more_body": more}))

    @property
    def written(self) -> list[bytes]:
        """What was written since the last look."""
        written, self.line.written = self.line.written, []
        return written

    def heard(self) -> tuple[bytes, bool] | None:
        """What is received now; None where the client is gone."""
        message = at_once(self.cycle.receive())
        if message["type"] == "http.disconnect":
            return None
        return message["body"], message["more_body"]


def at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What it returns; it may not wait."""
    try:
        coroutine.send(None)
    except StopIteration as stopped:
        return stopped.value
    coroutine.close()
    pytest.fail("it waits")


HEAD = b"HTTP/1.1 200 OK\r\ndate: now\r\n"


def length(number: int) -> tuple[bytes, bytes]:
    """A header."""
    return b"content-length", b"%d" % number


# How an answer is framed.


def test_a_whole_answer_leaves_in_one_piece() -> None:
    """Its head waits for the body."""
    talk = Talk()
    talk.start(200, (b"x", b"y"), length(2))
    assert talk.written == []
    talk.say(b"ok")
    assert talk.written == [HEAD + b"x: y\r\ncontent-length: 2\r\n\r\nok"]
    assert talk.line.answers == [talk.cycle]
    assert talk.cycle.keep_alive


def test_a_body_with_a_length_may_come_in_parts() -> None:
    """Each leaves as it is said."""
    talk = Talk()
    talk.start(200, length(3))
    talk.say(b"a", more=True)
    talk.say(b"", more=True)
    talk.say(b"b", more=True)
    assert not talk.line.answers
    talk.say(b"c")
    assert talk.written == [HEAD + b"content-length: 3\r\n\r\na", b"b", b"c"]


def test_a_stream_leaves_as_it_is_said() -> None:
    """Its head at once, each part as a chunk; an empty one would be the end."""
    talk = Talk()
    talk.start(200, (b"x", b"y"))
    assert talk.written == [HEAD + b"x: y\r\ntransfer-encoding: chunked\r\n\r\n"]
    talk.say(b"a" * 16, more=True)
    talk.say(b"", more=True)
    assert talk.written == [b"10\r\n" + b"a" * 16 + b"\r\n"]
    talk.say(b"last")
    assert talk.written == [b"4\r\nlast\r\n0\r\n\r\n"]


def test_a_stream_may_end_with_nothing() -> None:
    """Only its end is said."""
    talk = Talk()
    talk.start()
    talk.say()
    assert talk.written == [HEAD + b"transfer-encoding: chunked\r\n\r\n", b"0\r\n\r\n"]


@pytest.mark.parametrize("version", ["0.9", "1.0"])
def test_a_stream_has_no_chunks_before_http_1_1(version: str) -> None:
    """It ends with the connection (RFC 9112 6.3), which the head says."""
    talk = Talk(version=version, keep_alive=False)
    talk.start()
    talk.say(b"a", more=True)
    talk.say(b"b")
    assert talk.written == [HEAD + b"connection: close\r\n\r\n", b"a", b"b"]
    assert talk.line.answers == [talk.cycle]


def test_a_body_with_a_length_is_the_same_for_all() -> None:
    """Its end is known."""
    talk = Talk(version="1.0", keep_alive=False)
    talk.start(200, length(2))
    talk.say(b"ok")
    assert talk.written == [HEAD + b"content-length: 2\r\nconnection: close\r\n\r\nok"]


@pytest.mark.parametrize("headers", [[], [length(5)]])
def test_the_answer_to_head_has_no_body(headers: list[tuple[bytes, bytes]]) -> None:
    """Whatever the application says; a length is that of the body it would have."""
    talk = Talk("HEAD")
    talk.start(200, *headers)
    talk.say(b"hel", more=True)
    talk.say(b"lo")
    (head,) = talk.written
    assert head == HEAD + (b"content-length: 5\r\n\r\n" if headers else b"\r\n")
    assert talk.line.answers == [talk.cycle]


@pytest.mark.parametrize("status", [204, 304])
def test_some_answers_have_no_body(status: int) -> None:
    """They are not framed, and a body is a bug."""
    talk = Talk()
    talk.start(status)
    talk.say()
    (head,) = talk.written
    assert head == status_line(status) + b"date: now\r\n\r\n"
    other = Talk()
    other.start(304, length(5))
    with pytest.raises(RuntimeError, match="length"):
        other.say(b"hello")


@pytest.mark.parametrize(
    ("parts", "more"),
    [
        ([b"abcd"], False),
        ([b"abcd"], True),
        ([b"ab"], False),
        ([b""], False),
        ([b"ab", b"cd"], True),
        ([b"ab", b""], False),
        ([b"abc", b"", b"d"], True),
    ],
)
def test_another_length_than_was_said_is_a_bug(parts: list[bytes], more: bool) -> None:
    """What was said of the answer does not hold, and it never ends."""
    talk = Talk()
    talk.start(200, length(3))
    *first, last = parts
    for part in first:
        talk.say(part, more=True)
    with pytest.raises(RuntimeError, match="length"):
        talk.say(last, more=more)
    assert not talk.cycle.complete
    assert not talk.line.answers


@pytest.mark.parametrize(
    "header",
    [
        (b"x", b"a\r\nset-cookie: b"),
        (b"x", b"a\n"),
        (b"x", b"\r"),
        (b"x\r\ny", b"a"),
        (b"x", b"\0"),
        (b"transfer-encoding", b"chunked"),
    ],
)
def test_a_header_cannot_become_two(header: tuple[bytes, bytes]) -> None:
    """Nothing of such an answer leaves."""
    for method in ("GET", "HEAD"):
        talk = Talk(method)
        with pytest.raises(RuntimeError):
            talk.start(200, header)
        assert talk.written == []


def test_messages_at_the_wrong_time_are_bugs() -> None:
    """A body before its head, a second head, anything after the end, what is no message of an answer."""
    talk = Talk()
    with pytest.raises(RuntimeError, match="wrong time"):
        talk.say(b"a")
    talk.start()
    with pytest.raises(RuntimeError, match="wrong time"):
        talk.start()
    talk.say(b"a")
    for again in (talk.say, talk.start):
        with pytest.raises(RuntimeError, match="wrong time"):
            again()
    with pytest.raises(RuntimeError, match="wrong time"):
        at_once(Talk().cycle.send({"type": "websocket.accept"}))
    assert len(talk.line.answers) == 1


@pytest.mark.parametrize("said", [b"close", b"Close, x"])
def test_the_application_may_close(said: bytes) -> None:
    """It is said once."""
    talk = Talk()
    talk.start(200, (b"connection", said))
    assert not talk.cycle.keep_alive
    assert b"".join(talk.written).lower().count(b"close") == 1


def test_statuses_without_a_name() -> None:
    """They have an empty one (RFC 9112 4)."""
    assert status_line(599) == b"HTTP/1.1 599 \r\n"
    assert status_line(404) == b"HTTP/1.1 404 Not Found\r\n"


def test_a_refusal_is_a_whole_answer() -> None:
    """In the shape of all others, and the last of its connection."""
    head, _, body = refusal(431, "Too large.").partition(b"\r\n\r\n")
    first, *headers = head.split(b"\r\n")
    assert first.startswith(b"HTTP/1.1 431 ")
    assert {b"connection: close", b"content-length: %d" % len(body)} <= set(headers)
    assert json.loads(body)["error"]["message"] == "Too large."


# What is received.


def test_a_body_is_received_in_what_came_of_it() -> None:
    """All at once where it is there."""
    talk = Talk("POST")
    assert not talk.cycle.feed(b"a")
    assert not talk.cycle.feed(b"b")
    assert talk.heard() == (b"ab", True)
    talk.cycle.feed(b"c")
    talk.cycle.more = False
    talk.cycle.wake()
    assert talk.heard() == (b"c", False)


def test_a_body_beyond_the_mark_is_enough() -> None:
    """Until it is received."""
    talk = Talk("POST")
    assert not talk.cycle.feed(b"a" * HIGH_WATER)
    assert talk.cycle.feed(b"a")
    assert talk.heard() == (b"a" * (HIGH_WATER + 1), True)
    assert not talk.cycle.feed(b"a")


def test_a_body_that_is_there_can_be_had_without_waiting() -> None:
    """Only where all of it is."""
    talk = Talk("POST")
    assert talk.cycle.whole() is None
    talk.cycle.feed(b"a")
    assert talk.cycle.whole() is None
    talk.cycle.feed(b"b")
    talk.cycle.more = False
    talk.cycle.wake()
    assert talk.cycle.whole() == b"ab"
    gone = Talk("POST")
    gone.cycle.more, gone.cycle.gone = False, True
    assert gone.cycle.whole() is None
    assert DIRECT == "apex.direct"


def test_the_scope_is_taken_once() -> None:
    """Then the cycle does not hold it any more."""
    talk = Talk("POST")
    assert talk.cycle.take_scope()["method"] == "POST"
    assert talk.cycle.take_scope() == {}


def waits(talk: Talk, news: Any) -> Message:
    """What is received by one that waits for `news`."""

    async def scenario() -> Message:
        receiving = asyncio.ensure_future(talk.cycle.receive())
        await asyncio.sleep(0)
        assert not receiving.done()
        assert talk.line.resumed == 1
        news()
        async with asyncio.timeout(5.0):
            return await receiving

    return asyncio.run(scenario())


def test_a_body_that_is_not_there_is_waited_for() -> None:
    """And read on."""
    talk = Talk("POST")
    assert waits(talk, lambda: talk.cycle.feed(b"a")) == {
        "type": "http.request",
        "body": b"a",
        "more_body": True,
    }


def test_one_that_waits_hears_of_a_client_that_leaves() -> None:
    """What came of the body is of no use then."""
    talk = Talk("POST")
    talk.cycle.feed(b"a")
    assert talk.heard() == (b"a", True)

    def leave() -> None:
        talk.cycle.feed(b"b")
        talk.cycle.gone = True
        talk.cycle.wake()

    assert waits(talk, leave) == {"type": "http.disconnect"}
    assert talk.heard() is None


def test_one_that_waits_hears_the_end_of_its_answer() -> None:
    """From then on the client is as good as gone."""
    talk = Talk("POST")

    def answer() -> None:
        talk.start()
        talk.say()

    assert waits(talk, answer) == {"type": "http.disconnect"}
    assert talk.heard() is None


def test_a_wait_may_be_given_up() -> None:
    """Another one takes its place."""
    talk = Talk("POST")

    async def scenario() -> None:
        receiving = asyncio.ensure_future(talk.cycle.receive())
        await asyncio.sleep(0)
        receiving.cancel()
        await asyncio.wait([receiving])
        talk.cycle.feed(b"a")

    asyncio.run(scenario())
    assert talk.heard() == (b"a", True)


# 100 (Continue).


def test_a_body_is_asked_for_once() -> None:
    """When it is wanted, and not before."""
    talk = Talk("POST", expects=True)
    assert talk.written == []
    waits(talk, lambda: talk.cycle.feed(b"a"))
    assert talk.written == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    talk.cycle.feed(b"b")
    assert talk.heard() == (b"b", True)
    talk.start(200, length(0))
    assert talk.cycle.keep_alive
    assert talk.written == []


def test_a_body_that_comes_by_itself_is_not_asked_for() -> None:
    """Neither is one that is known to be empty, nor that of a client that left (RFC 9110 10.1.1)."""
    coming, empty, gone = (Talk("POST", expects=True) for _ in range(3))
    coming.cycle.feed(b"a")
    empty.cycle.more = False
    empty.cycle.wake()
    gone.cycle.gone = True
    assert [talk.heard() for talk in (coming, empty, gone)] == [(b"a", True), (b"", False), None]
    assert [talk.written for talk in (coming, empty, gone)] == [[], [], []]


def test_an_answer_without_the_body_it_was_to_ask_for_closes() -> None:
    """Whether the body comes is the client's choice: what comes next could be either."""
    talk = Talk("POST", expects=True)
    talk.start(401, length(0))
    assert not talk.cycle.keep_alive
    for there in (True, False):
        other = Talk("POST", expects=True)
        if there:
            other.cycle.feed(b"a")
        else:
            other.cycle.more = False
        other.start(401, length(0))
        assert other.cycle.keep_alive


# Clients that do not read, or are gone.


def test_what_is_said_waits_for_the_client() -> None:
    """Not a byte is written meanwhile."""
    talk = Talk()

    async def scenario() -> None:
        talk.line.write_paused = True
        saying = asyncio.ensure_future(talk.cycle.send({"type": "http.response.start", "status": 200}))
        await asyncio.sleep(0)
        assert not saying.done()
        assert talk.written == []
        talk.line.drained.set()
        await saying

    asyncio.run(scenario())
    assert len(talk.written) == 1


def test_one_that_leaves_while_it_is_waited_for_is_told_nothing() -> None:
    """The wait ends, and the application may go on as if it were heard."""
    talk = Talk()
    talk.start()
    assert len(talk.written) == 1

    async def scenario() -> None:
        talk.line.write_paused = True
        saying = asyncio.ensure_future(talk.cycle.send({"type": "http.response.body", "body": b"a"}))
        await asyncio.sleep(0)
        talk.cycle.gone = True
        talk.line.drained.set()
        await saying

    asyncio.run(scenario())
    talk.say(b"more")
    talk.start()
    assert talk.written == []
    assert not talk.cycle.complete
    assert not talk.line.answers


# What need not wait.


def test_a_head_whose_body_follows_soon_leaves_with_it() -> None:
    """One write for the head of a stream and its first event, or its end."""
    for said, more in ((b"a", b"1\r\na\r\n"), (b"", b"")):
        talk = Talk()
        at_once(talk.cycle.send({"type": "http.response.start", "status": 200, SOON: True}))
        assert talk.written == []
        talk.say(said, more=True)
        assert talk.written == [HEAD + b"transfer-encoding: chunked\r\n\r\n" + more]


def test_a_stream_can_be_said_without_waiting() -> None:
    """Its head leaves with its first event, the end with the last."""
    talk = Talk()
    assert talk.cycle.begin(200, [(b"x", b"y")])
    assert talk.written == []
    assert talk.cycle.push(b"a")
    assert talk.written == [HEAD + b"x: y\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n"]
    assert talk.cycle.push(b"b")
    assert talk.cycle.push(b"c", last=True)
    assert talk.written == [b"1\r\nb\r\n", b"1\r\nc\r\n0\r\n\r\n"]
    assert talk.line.answers == [talk.cycle]


def test_the_end_of_a_stream_may_be_all_there_is_of_it() -> None:
    """It leaves with the head."""
    talk = Talk()
    assert talk.cycle.begin(200, [])
    assert talk.cycle.push(b"", last=True)
    assert talk.written == [HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n"]
    assert not talk.cycle.push(b"", last=True)


def test_a_stream_does_not_begin_where_that_would_wait_or_twice() -> None:
    """Nothing was said then; one that is gone hears nothing."""
    talk = Talk()
    talk.line.write_paused = True
    assert not talk.cycle.begin(200, [])
    assert not talk.cycle.started
    talk.line.write_paused = False
    assert talk.cycle.begin(200, [])
    assert not talk.cycle.begin(200, [])
    gone = Talk()
    gone.cycle.gone = True
    assert gone.cycle.begin(200, [])
    assert not gone.cycle.started


def test_without_a_connection_nothing_is_taken_at_once() -> None:
    """Everything goes by ASGI's messages."""
    awaited = Awaited(Talk().cycle.receive)
    assert awaited.whole() is None
    assert not awaited.begin(200, [])
    assert not awaited.push(b"a")
    assert not awaited.answer(200, [], b"")


@pytest.mark.parametrize("awaited", [False, True])
def test_a_body_is_waited_for_until_then(awaited: bool) -> None:
    """Whoever waits can wait on, and a body that comes in time is had."""

    async def scenario() -> tuple[Message, float]:
        loop = asyncio.get_running_loop()
        cycle = Talk("POST").cycle
        receive_by = Awaited(cycle.receive).receive_by if awaited else cycle.receive_by
        began = loop.time()
        with pytest.raises(TimeoutError):
            await receive_by(began + 2.0)
        waited = loop.time() - began
        loop.call_later(1.0, cycle.feed, b"a")
        return await receive_by(loop.time() + 2.0), waited

    message, waited = run(scenario())
    assert message == {"type": "http.request", "body": b"a", "more_body": True}
    assert waited == 2.0


@pytest.mark.parametrize("awaited", [False, True])
def test_a_body_that_drips_is_over_all_the_same(awaited: bool) -> None:
    """There is always news at the last moment."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        cycle = Talk("POST").cycle
        receive_by = Awaited(cycle.receive).receive_by if awaited else cycle.receive_by
        cycle.feed(b"a")
        with pytest.raises(TimeoutError):
            await receive_by(loop.time())

    run(scenario())


def test_a_body_that_came_too_late_is_held_by_nobody() -> None:
    """Not even until the garbage collector comes: there may be much of it."""

    async def scenario() -> tuple[int, int]:
        cycle = Talk("POST").cycle
        part = bytes(100)
        before = sys.getrefcount(part)
        cycle.feed(part)
        with pytest.raises(Refusal, match="in time"):
            await HttpSource(cycle, Bounds(body_read=1.0), None).body()
        return before, sys.getrefcount(part)

    gc.disable()
    try:
        before, after = run(scenario())
    finally:
        gc.enable()
    assert after == before


def test_a_client_that_is_gone_is_not_waited_for() -> None:
    """It is told at once."""

    async def scenario() -> Message:
        cycle = Talk("POST").cycle
        loop = asyncio.get_running_loop()
        waiting = asyncio.create_task(cycle.receive_by(loop.time() + 2.0))
        await asyncio.sleep(1.0)
        cycle.gone = True
        cycle.wake()
        return await waiting

    assert run(scenario()) == {"type": "http.disconnect"}


def test_what_is_pushed_is_a_chunk_as_well() -> None:
    """A part of a stream that has begun; before HTTP/1.1 without a frame."""
    for version, written in (("1.1", b"2\r\nhi\r\n"), ("1.0", b"hi")):
        talk = Talk(version=version, keep_alive=False)
        talk.start()
        talk.line.written.clear()
        assert talk.cycle.push(b"hi")
        assert talk.written == [written]


def test_nothing_is_pushed_where_it_would_wait_or_break_the_frame() -> None:
    """Before the head, while the client does not read, as an empty chunk, and after the end."""
    talk = Talk()
    assert not talk.cycle.push(b"x")
    talk.start()
    talk.line.written.clear()
    assert not talk.cycle.push(b"")
    talk.line.write_paused = True
    assert not talk.cycle.push(b"x")
    talk.line.write_paused = False
    talk.say(b"end")
    assert not talk.cycle.push(b"x")
    assert talk.written == [b"3\r\nend\r\n0\r\n\r\n"]


def test_what_is_pushed_to_a_client_that_is_gone_is_dropped() -> None:
    """Whoever pushes has nothing to wait for."""
    talk = Talk()
    talk.start()
    talk.line.written.clear()
    talk.cycle.gone = True
    assert talk.cycle.push(b"x")
    assert talk.written == []


def test_a_whole_answer_can_be_said_at_once() -> None:
    """Head, length and body in one piece; the last of its connection says so."""
    for keep_alive, close in ((True, b""), (False, b"connection: close\r\n")):
        talk = Talk(keep_alive=keep_alive)
        assert talk.cycle.answer(200, [(b"x", b"y")], b"ok")
        assert talk.written == [HEAD + b"x: y\r\ncontent-length: 2\r\n" + close + b"\r\nok"]
        assert talk.line.answers == [talk.cycle]
        assert talk.cycle.keep_alive is keep_alive


@pytest.mark.parametrize(
    ("talk", "status", "header"),
    [
        (Talk("HEAD"), 200, b"x"),
        (Talk(), 204, b"x"),
        (Talk(expects=True), 200, b"x"),
        (Talk(), 200, b"connection"),
        (Talk(), 200, b"content-length"),
        (Talk(), 200, b"transfer-encoding"),
    ],
)
def test_what_is_not_plain_is_left_to_send(talk: Talk, status: int, header: bytes) -> None:
    """Nothing was said then, and nothing has begun."""
    assert not talk.cycle.answer(status, [(header, b"1")], b"")
    assert not talk.cycle.started
    assert talk.written == []


def test_a_whole_answer_is_not_said_where_that_would_wait_or_something_was_said() -> None:
    """While the client does not read an earlier one, and twice."""
    talk = Talk()
    talk.line.write_paused = True
    assert not talk.cycle.answer(200, [], b"ok")
    talk.line.write_paused = False
    assert talk.cycle.answer(200, [], b"ok")
    assert not talk.cycle.answer(200, [], b"ok")
    assert talk.written == [HEAD + b"content-length: 2\r\n\r\nok"]


def test_a_whole_answer_to_a_client_that_is_gone_is_dropped() -> None:
    """Whoever says it has nothing to wait for."""
    talk = Talk()
    talk.cycle.gone = True
    assert talk.cycle.answer(200, [], b"ok")
    assert talk.written == []
    assert not talk.line.answers


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\nb", b"a\rb", b"a\0"])
def test_a_whole_answer_has_no_line_breaks_in_its_headers_either(value: bytes) -> None:
    """It has begun then, as it would have with `send`: there is nothing else that could be said."""
    talk = Talk()
    with pytest.raises(RuntimeError, match="line break"):
        talk.cycle.answer(200, [(b"x", value)], b"ok")
    assert talk.cycle.started
    assert talk.written == []
