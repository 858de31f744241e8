import pytest

from mockprovider.behaviour import Behaviour
from mockprovider.sse import DONE, Event, shortened, spelt

_EVENTS = [
    Event(b'{"a":1}', "opening"),
    Event(b'{"b":2}', "content", "named"),
    Event(b'{"c":3}', "closing"),
    DONE,
]


@pytest.mark.parametrize(
    ("behaviour", "wanted"),
    [
        (Behaviour(), b'event: named\ndata: {"b":2}\n\n'),
        (Behaviour(line_end="crlf"), b'event: named\r\ndata: {"b":2}\r\n\r\n'),
        (Behaviour(line_end="cr"), b'event: named\rdata: {"b":2}\r\r'),
        (Behaviour(no_space=True), b'event:named\ndata:{"b":2}\n\n'),
        (Behaviour(comments=True), b': keep-alive\n\nevent: named\ndata: {"b":2}\n\n'),
        (Behaviour(garbage="truncated"), b'event: named\ndata: {"b\n\n'),
    ],
)
def test_an_event_can_be_spelt_in_every_way(behaviour: Behaviour, wanted: bytes) -> None:
    """Line ends, comments, spaces and garbage change the bytes and nothing else."""
    assert spelt([_EVENTS[1]], behaviour) == [wanted]


def test_a_nameless_event_has_no_event_line() -> None:
    """The chat dialect has data lines only, in every spelling."""
    assert spelt([_EVENTS[0]], Behaviour()) == [b'data: {"a":1}\n\n']
    assert spelt([_EVENTS[0]], Behaviour(line_end="crlf")) == [b'data: {"a":1}\r\n\r\n']


@pytest.mark.parametrize(
    ("behaviour", "left"),
    [
        (Behaviour(), [0, 1, 2, 3]),
        (Behaviour(terminal="no_done"), [0, 1, 2]),
        (Behaviour(terminal="none"), [0, 1]),
        (Behaviour(empty="opening"), [0]),
        (Behaviour(empty="stream"), []),
        (Behaviour(empty="body"), []),
        (Behaviour(empty="lifecycle"), [0, 1, 2, 3]),
    ],
)
def test_ends_can_be_missing(behaviour: Behaviour, left: list[int]) -> None:
    """What is left out is left out by its part in the stream."""
    assert list(shortened(_EVENTS, behaviour)) == [_EVENTS[place] for place in left]


def test_noise_starts_where_it_should() -> None:
    """`garbage_after_events` events are good; from there on nothing is JSON, while truncation spoils one."""
    noisy = spelt(_EVENTS, Behaviour(garbage="noise", garbage_after_events=1))
    assert noisy[0] == b'data: {"a":1}\n\n'
    assert all(b"not JSON" in frame for frame in noisy[1:])
    truncated = spelt(_EVENTS, Behaviour(garbage="truncated", garbage_after_events=2))
    assert truncated[2] == b'data: {"c\n\n'
    assert truncated[3] == b"data: [DONE]\n\n"
