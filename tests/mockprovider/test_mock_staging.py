import random

import pytest

from mockprovider.behaviour import Behaviour, Delay
from mockprovider.script import Decision
from mockprovider.staging import NEXT_TICK, Act, Reply, stage

_STREAM = Reply(200, [b"one|", b"two|", b"three|"], "text/event-stream", streaming=True)
_WHOLE = Reply(200, [b'{"a": 1}'])


def _act(reply: Reply, behaviour: Behaviour) -> Act:
    return stage(reply, Decision(behaviour, 0.0, 1, random.Random(0)))


def _bytes(act: Act) -> bytes:
    return b"".join(data for _, data in act.steps)


def _body(act: Act) -> bytes:
    return _bytes(act).partition(b"\r\n\r\n")[2]


def test_a_whole_reply_is_one_write() -> None:
    """Without any fault, headers and body leave together and the connection is kept."""
    act = _act(Reply(200, [b"{}"], headers={"x-a": "b"}), Behaviour())
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nx-a: b\r\n\r\n"
    assert act.steps == [(0.0, head + b"{}")]
    assert (act.ending, act.outcome, act.streaming) == ("keep", "ok", False)


def test_a_stream_is_a_chunk_an_event() -> None:
    """Each event is a chunk of its own and a write of its own; the last chunk ends it."""
    act = _act(_STREAM, Behaviour())
    assert b"transfer-encoding: chunked\r\n" in act.steps[0][1]
    assert [data for _, data in act.steps][1:] == [b"4\r\ntwo|\r\n", b"6\r\nthree|\r\n", b"0\r\n\r\n"]
    assert _body(act).startswith(b"4\r\none|\r\n")


@pytest.mark.parametrize(
    ("reply", "behaviour", "body", "ending", "outcome"),
    [
        (_STREAM, Behaviour(cut_after_events=1), b"4\r\none|\r\n", "fin", "cut"),
        (_STREAM, Behaviour(cut_after_events=0, cut_with="rst"), b"", "rst", "cut"),
        (_STREAM, Behaviour(cut_after_events=9), b"4\r\none|\r\n4\r\ntwo|\r\n6\r\nthree|\r\n", "fin", "cut"),
        (_STREAM, Behaviour(cut_after_bytes=6), b"4\r\none|\r\n4\r\ntw", "fin", "cut"),
        (_STREAM, Behaviour(cut_after_bytes=4), b"4\r\none|\r\n", "fin", "cut"),
        (_STREAM, Behaviour(cut_after_bytes=0, cut_with="half"), b"", "half", "cut"),
        (_WHOLE, Behaviour(cut_after_bytes=3), b'{"a', "fin", "cut"),
        (_WHOLE, Behaviour(cut_after_events=0), b"", "fin", "cut"),
        (_STREAM, Behaviour(stall_after_events=2), b"4\r\none|\r\n4\r\ntwo|\r\n", "stall", "stall"),
        (_STREAM, Behaviour(stall_after_bytes=1), b"4\r\no", "stall", "stall"),
        (_WHOLE, Behaviour(stall_after_bytes=1), b"{", "stall", "stall"),
        (_STREAM, Behaviour(framing="bad_chunk"), b"4\r\none|\r\nxyz\r\n", "fin", "framing"),
        (_STREAM, Behaviour(framing="until_close"), b"one|two|three|", "fin", "ok"),
        (_WHOLE, Behaviour(framing="chunked"), b'8\r\n{"a": 1}\r\n0\r\n\r\n', "keep", "ok"),
        (_WHOLE, Behaviour(content_length_delta=5), b'{"a": 1}', "fin", "framing"),
        (_WHOLE, Behaviour(content_length_delta=-5), b'{"a": 1}', "keep", "framing"),
        (Reply(200, [], streaming=True), Behaviour(empty="body"), b"", "keep", "empty"),
        (Reply(200, [], streaming=True), Behaviour(empty="stream"), b"0\r\n\r\n", "keep", "empty"),
        (Reply(503, [b"x"]), Behaviour(status=503), b"x", "keep", "status_503"),
        (_WHOLE, Behaviour(error_after_events=0), b'{"a": 1}', "keep", "error_event"),
        (_WHOLE, Behaviour(garbage="noise"), b'{"a": 1}', "keep", "garbage"),
        (_WHOLE, Behaviour(terminal="none"), b'{"a": 1}', "keep", "unfinished"),
    ],
)
def test_each_break_is_exact(
    reply: Reply, behaviour: Behaviour, body: bytes, ending: str, outcome: str
) -> None:
    """The bytes after the headers, how the connection ends, and what the statistics call it."""
    act = _act(reply, behaviour)
    assert _body(act) == body
    assert (act.ending, act.outcome) == (ending, outcome)


@pytest.mark.parametrize(
    ("behaviour", "line"),
    [
        (Behaviour(content_length_delta=5), b"content-length: 13"),
        (Behaviour(content_length_delta=-5), b"content-length: 3"),
        (Behaviour(content_length_delta=-99), b"content-length: 0"),
        (Behaviour(cut_after_bytes=3), b"content-length: 8"),
        (Behaviour(content_type="text/plain"), b"content-type: text/plain"),
        (Behaviour(headers={"retry-after": 7}), b"retry-after: 7"),
        (Behaviour(framing="until_close"), b"connection: close"),
    ],
)
def test_headers_say_what_they_should(behaviour: Behaviour, line: bytes) -> None:
    """Lengths may lie, and the script's headers are sent; a cut body still promises all of it."""
    assert line in _bytes(_act(_WHOLE, behaviour)).partition(b"\r\n\r\n")[0].split(b"\r\n")


@pytest.mark.parametrize(
    ("behaviour", "steps", "ending"),
    [
        (Behaviour(cut_before_headers=True), [], "fin"),
        (Behaviour(cut_before_headers=True, delay_headers_s=1), [(1, b"")], "fin"),
        (Behaviour(stall_before_headers=True), [], "stall"),
        (Behaviour(framing="not_http"), [(0.0, b"SSH-2.0-mock\r\n")], "fin"),
    ],
)
def test_some_replies_have_no_headers(
    behaviour: Behaviour, steps: list[tuple[float, bytes]], ending: str
) -> None:
    """A reply that breaks before its headers sends none."""
    act = _act(_STREAM, behaviour)
    assert (list(act.steps), act.ending) == (steps, ending)


def test_waits_are_where_they_belong() -> None:
    """Before the headers, before the first event, between events, and none before the last chunk."""
    act = _act(_STREAM, Behaviour(delay_headers_s=1, delay_first_event_s=2, delay_events_s=3))
    assert [wait for wait, _ in act.steps] == [1, 2, 3, 3, 0.0]
    assert [wait for wait, _ in _act(_STREAM, Behaviour(delay_events_s=3)).steps] == [0.0, 3, 3, 0.0]


def test_a_drawn_delay_differs_from_event_to_event() -> None:
    """A delay without a ramp is drawn for each event."""
    act = _act(_STREAM, Behaviour(delay_events_s=Delay(0.1, 0.2)))
    assert act.steps[1][0] != act.steps[2][0]


def test_events_may_share_a_write() -> None:
    """`join_events` puts several events into one chunk; delays are then between the writes."""
    act = _act(_STREAM, Behaviour(join_events=2, delay_events_s=1))
    assert _body(act) == b"8\r\none|two|\r\n6\r\nthree|\r\n0\r\n\r\n"
    assert [wait for wait, _ in act.steps] == [0.0, 1, 0.0]


def test_an_event_may_be_split_over_writes() -> None:
    """Sizes are repeated over all events, each piece is a chunk, and pauses let each leave alone."""
    act = _act(_STREAM, Behaviour(write_bytes=(1, 3), delay_events_s=2))
    pieces = [data.split(b"\r\n")[1] for _, data in act.steps[1:-1]]
    assert pieces == [b"o", b"ne|", b"t", b"wo|", b"t", b"hre", b"e", b"|"]
    assert [wait for wait, _ in act.steps[1:-1]] == [NEXT_TICK, NEXT_TICK, 2, NEXT_TICK, 2] + [NEXT_TICK] * 3
    paused = _act(_WHOLE, Behaviour(write_bytes=5, write_pause_s=0.5))
    assert [wait for wait, _ in paused.steps] == [0.0, NEXT_TICK, 0.5]


def test_a_character_may_be_split() -> None:
    """Byte-sized writes go through the middle of a UTF-8 sequence."""
    act = _act(Reply(200, ["é".encode()]), Behaviour(write_bytes=1))
    assert [data for _, data in act.steps[1:]] == [b"\xc3", b"\xa9"]


def test_a_kept_connection_may_be_closed_later() -> None:
    """The idle limit travels with the act."""
    assert _act(_WHOLE, Behaviour(close_after_reply_s=0.5)).close_after_s == 0.5
