import itertools
import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.events import Added, Began, Closed, Event, Finished, Opened
from proxy.wire.naming import Origin
from proxy.wire.restoring import LONGEST_START, Restorer, StringTap

ORIGINS = {
    "patch": Origin("patch", custom=True),
    "docs__find": Origin("find", namespace="docs"),
}


def cut(text: str, places: Sequence[int]) -> list[str]:
    """`text` in pieces."""
    ends = sorted({place % (len(text) + 1) for place in places} | {0, len(text)})
    return [text[start:end] for start, end in itertools.pairwise(ends)]


def restored(name: str, *pieces: str) -> list[Event]:
    """The events of one call, one after the other."""
    restorer = Restorer(ORIGINS)
    events: list[Event] = [Opened("tool", "1", name), *map(Added, pieces), Closed()]
    return [seen for event in events for seen in restorer.restore([event])]


def heard(name: str, *pieces: str) -> str:
    """The input of one call."""
    return "".join(event.text for event in restored(name, *pieces) if isinstance(event, Added))


@given(
    value=st.text(max_size=60),
    places=st.lists(st.integers(0, 500), max_size=30),
    plainly=st.booleans(),
    space=st.sampled_from(["", " ", "\n  "]),
)
def test_free_text_is_decoded_while_it_comes(
    value: str, places: list[int], plainly: bool, space: str
) -> None:
    """However its JSON is spelled and cut, the text is what was meant."""
    text = f'{space}{{{space}"input"{space}:{space}{json.dumps(value, ensure_ascii=plainly)}{space}}}'
    assert heard("patch", *cut(text, places)) == value


def test_pieces_go_out_as_soon_as_they_are_clear() -> None:
    """An escape is waited for, and half of a pair; nothing else."""
    tap = StringTap()
    pieces = ['{"in', 'put": "a', "b\\", "nc\\ud8", "3d", "\\ude00", 'd"', "} more"]
    assert [tap.feed(piece) for piece in pieces] == ["", "a", "b", "\nc", "", "😀", "d", ""]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"\ud83dx", "�x"),
        (r"\ud83d\n", "�\n"),
        (r"\ud83d\u0041", "�A"),
        (r"\ude00", "�"),
        (r"\uzzzz", "�"),
        (r"\q", "q"),
        (r"\/", "/"),
    ],
)
def test_escapes_that_are_none(text: str, value: str) -> None:
    """Half of a pair, or what no escape is: one mark, and the rest as it is."""
    assert heard("patch", f'{{"input": "{text}"}}') == value


@pytest.mark.parametrize(
    "text", ['*** Begin: Patch\n+x = "y: z"\n', '{"input": 5}', '["a: b", "c"]', "x" * 2 * LONGEST_START]
)
def test_a_model_that_does_not_wrap_its_input(text: str) -> None:
    """What it said plainly is its input: better that than nothing."""
    assert heard("patch", text[:3], text[3:]) == text


@pytest.mark.parametrize("pieces", [[], ["{}"], ['{"input": ""}']])
def test_an_empty_input(pieces: list[str]) -> None:
    """It is empty."""
    assert heard("patch", *pieces) == ""


def test_names_are_what_the_client_knows() -> None:
    """And what kind its tool is, and in which namespace."""
    assert restored("docs__find", "{}")[0] == Opened("tool", "1", "find", namespace="docs")
    assert restored("patch")[0] == Opened("tool", "1", "patch", custom=True)


def test_all_else_passes() -> None:
    """Other calls, text, and the ends."""
    events: list[Event] = [
        Began("m"),
        Opened("text"),
        Added('{"input": "x"}'),
        Closed(),
        Opened("tool", "1", "other"),
        Added("{}"),
        Closed(),
        Finished("tool_use"),
    ]
    assert Restorer(ORIGINS).restore(events) == events


def test_calls_one_after_the_other() -> None:
    """Each has a text of its own."""
    restorer = Restorer(ORIGINS)
    call: list[Event] = [Opened("tool", "1", "patch"), Added('{"input": "a"}'), Closed()]
    once = restorer.restore(call)
    assert restorer.restore(call) == once
