import json
from typing import Any

import pytest

from proxy.errors import Fault, FaultKind
from proxy.wire.chat.calls import Blocks
from proxy.wire.events import Added, Closed, Collector, Event, Opened

Piece = tuple[int | None, str, str, str]
"""Index, id, name and arguments of a piece of a call."""


def heard(*pieces: Piece | str) -> list[Event]:
    """The events of pieces of calls, and of text."""
    blocks = Blocks()
    out: list[Event] = []
    for piece in pieces:
        if isinstance(piece, str):
            out += blocks.say("text", piece)
        else:
            out += blocks.call(blocks.find(*piece), piece[3])
    return out + blocks.end()


def collected(*pieces: Piece | str) -> list[tuple[str, ...]]:
    """What they add up to: (id, name, arguments) of calls, (text,) of texts."""
    collector = Collector()
    for event in heard(*pieces):
        collector.take(event)
    return [
        (piece.opened.id, piece.opened.name, piece.text) if piece.opened.kind == "tool" else (piece.text,)
        for piece in collector.pieces
    ]


IDENTITIES: dict[str, tuple[list[Piece | str], list[tuple[str, ...]]]] = {
    "index alone later": (
        [(0, "a", "f", ""), (0, "", "", '{"x"'), (0, "", "", ":1}")],
        [("a", "f", '{"x":1}')],
    ),
    "id and name every time": (
        [(0, "a", "f", '{"x"'), (0, "a", "f", ":1}")],
        [("a", "f", '{"x":1}')],
    ),
    "name every time, no id": ([(0, "", "f", '{"x"'), (0, "", "f", ":1}")], [("", "f", '{"x":1}')]),
    "no index": ([(None, "a", "f", ""), (None, "", "", '{"x":1}')], [("a", "f", '{"x":1}')]),
    "one index for all": (
        [(0, "a", "f", '{"x":1}'), (0, "b", "f", '{"x":2}')],
        [("a", "f", '{"x":1}'), ("b", "f", '{"x":2}')],
    ),
    "one index for all, calls without arguments": (
        [(0, "a", "f", "{}"), (0, "b", "f", "{}")],
        [("a", "f", "{}"), ("b", "f", "{}")],
    ),
    "one index for all, no ids, other names": (
        [(0, "", "f", "{}"), (0, "", "g", "{}")],
        [("", "f", "{}"), ("", "g", "{}")],
    ),
    "one index for all, no ids, the same name": (
        [(0, "", "f", '{"x":1}'), (0, "", "f", '{"x":2}')],
        [("", "f", '{"x":1}'), ("", "f", '{"x":2}')],
    ),
    "neither index nor id, whole calls": (
        [(None, "", "f", '{"x":1}'), (None, "", "g", '{"x":2}')],
        [("", "f", '{"x":1}'), ("", "g", '{"x":2}')],
    ),
    "an id that comes late": ([(0, "", "f", ""), (0, "a", "", '{"x":1}')], [("", "f", '{"x":1}')]),
    "a name that comes late": ([(0, "a", "", ""), (0, "", "f", '{"x":1}')], [("a", "f", '{"x":1}')]),
    "an id of two calls": (
        [(0, "a", "f", '{"x":1}'), (1, "a", "g", '{"x":2}'), (2, "a", "h", "")],
        [("a", "f", '{"x":1}'), ("a_2", "g", '{"x":2}'), ("a_3", "h", "")],
    ),
    "interleaved": (
        [(0, "a", "f", '{"x"'), (1, "b", "g", '{"y"'), (0, "", "", ":1}"), (1, "", "", ":2}")],
        [("a", "f", '{"x":1}'), ("b", "g", '{"y":2}')],
    ),
    "text between the pieces": (
        [(0, "a", "f", '{"x"'), "so", (0, "", "", ":1}"), " on"],
        [("a", "f", '{"x":1}'), ("so on",)],
    ),
    "text before and after": (
        ["so", (0, "a", "f", "{}"), "on"],
        [("so",), ("a", "f", "{}"), ("on",)],
    ),
    "nothing is known of it": ([(0, "", "", "")], []),
}


@pytest.mark.parametrize(("pieces", "found"), IDENTITIES.values(), ids=IDENTITIES.keys())
def test_which_call_a_piece_belongs_to(pieces: list[Piece | str], found: list[tuple[str, ...]]) -> None:
    """However a server names its calls, each has its own arguments."""
    assert collected(*pieces) == found


def test_a_call_that_never_gets_a_name_is_a_fault() -> None:
    """Nobody could answer it."""
    with pytest.raises(Fault) as caught:
        collected((0, "a", "", "{}"))
    assert caught.value.kind is FaultKind.NOT_JSON


def test_blocks_come_one_after_the_other() -> None:
    """A later call waits until the one before is whole, then goes out at once."""
    events = heard((0, "a", "f", '{"x"'), (1, "b", "g", "{"), (0, "", "", ":1}"), (1, "", "", "}"))
    assert events == [
        Opened("tool", "a", "f"),
        Added('{"x"'),
        Added(":1}"),
        Closed(),
        Opened("tool", "b", "g"),
        Added("{}"),
        Closed(),
    ]


def test_a_call_is_streamed_while_it_comes() -> None:
    """Nothing is held back of a call that nothing else waits behind."""
    blocks = Blocks()
    assert blocks.call(blocks.find(0, "a", "f", ""), "") == [Opened("tool", "a", "f")]
    assert blocks.call(blocks.find(0, "", "", '{"x"'), '{"x"') == [Added('{"x"')]


def test_an_empty_object_may_go_on() -> None:
    """Some servers begin with a placeholder: it is not taken for whole arguments."""
    assert collected((0, "a", "f", "{}"), (1, "b", "g", "{}"))[0] == ("a", "f", "{}")
    waiting = heard((0, "a", "f", "{}"), (1, "b", "g", '{"x":1}'))
    assert [type(event) for event in waiting] == [Opened, Added, Closed] * 2


def test_citations_are_the_texts() -> None:
    """They come with the end of the block that they stand in."""
    blocks = Blocks()
    blocks.cite([("u", "t", 0, 1)])
    events = blocks.say("text", "x")
    blocks.cite([("u", "t", 0, 1)])
    assert [*events, *blocks.end()] == [Opened("text"), Added("x"), Closed(citations=(("u", "t", 0, 1),))]


def test_long_calls_are_looked_at_once_a_piece() -> None:
    """Two large calls side by side take no quadratic time: the first is whole once, and known to be."""
    value: Any = {"text": "x" * 20_000}
    text = json.dumps(value)
    first = [
        (0, "a" if not at else "", "f" if not at else "", text[at : at + 10]) for at in range(0, 20_000, 10)
    ]
    second = [
        (1, "b" if not at else "", "g" if not at else "", text[at : at + 10]) for at in range(0, 20_000, 10)
    ]
    mixed = [piece for pair in zip(first, second, strict=True) for piece in pair]
    assert [len(found[-1]) for found in collected(*mixed)] == [20_000, 20_000]
