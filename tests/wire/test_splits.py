"""However a stream is written and cut up on its way, a reader reads the same and says the same."""

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from fakes.speech import plainly
from fakes.translations import event, facts, passing, told, translation
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import Fault
from proxy.wire import sse
from proxy.wire.dialects import CODECS
from proxy.wire.events import Added, Event
from proxy.wire.model import Dialect

pytestmark = pytest.mark.timeout(180)
DIALECTS = ("chat", "messages", "responses")
GOLDEN = Path(__file__).parent.parent / "golden"
WORDS = {
    "text": "Hello",
    "error-in-band": "Half",
    "truncated": "Half",
    "stop-length": "1, 2",
    "reasoning": "sum",
}
"""A word of each stream that random text takes the place of, wherever it stands."""

SAID: dict[str, list[tuple[list[Any], str]]] = {
    dialect: [
        (json.loads(path.read_text())["stream"]["upstream"], WORDS.get(path.stem, ""))
        for path in sorted((GOLDEN / f"{dialect}-{dialect}").glob("*.json"))
        if "stream" in json.loads(path.read_text())
    ]
    for dialect in DIALECTS
}
"""What upstreams say in the goldens."""

written = st.fixed_dictionaries(
    {
        "end": st.sampled_from(["\n", "\r\n", "\r"]),
        "space": st.sampled_from(["", " "]),
        "comment": st.sampled_from(["", ": busy", ":"]),
        "broken": st.booleans(),
        "named": st.booleans(),
    }
)
"""How one event is written: its line ends, what stands before it, over how many lines its data goes."""


cuts = st.lists(st.integers(0, 10_000), max_size=12)
"""Where a stream is cut."""


def styled(dialect: str, value: Any, style: dict[str, Any]) -> bytes:
    """An event in one of the ways in which it may be written."""
    data = (
        value
        if isinstance(value, str)
        else json.dumps(value, ensure_ascii=False, indent=0 if style["broken"] else None)
    )
    lines = [f"data:{style['space']}{line}" for line in data.split("\n")]
    if isinstance(value, dict) and dialect != "chat":
        lines.insert(0, f"event:{style['space']}{value['type']}")
    if style["named"]:
        lines.insert(0, "id: 7")
    block = [style["comment"], "", *lines, "", ""] if style["comment"] else [*lines, "", ""]
    return str(style["end"]).join(block).encode()


def filled(value: Any, word: str, text: str) -> Any:
    """The event with `text` wherever it says `word`."""
    if not word:
        return value
    return json.loads(json.dumps(value).replace(word, json.dumps(text)[1:-1]))


def cut(raw: bytes, places: Iterable[int]) -> list[bytes]:
    """`raw` in pieces."""
    bounds = [0, *sorted(place % (len(raw) + 1) for place in places), len(raw)]
    return [raw[start:end] for start, end in itertools.pairwise(bounds)]


def read(dialect: str, pieces: Sequence[bytes]) -> list[Any]:
    """What a reader makes of a stream; text in one piece, and the fault that it ends in."""
    reader = CODECS[Dialect(dialect)].reader(facts(dialect))
    splitter = sse.Splitter()
    found: list[Event] = []
    for piece in pieces:
        for single in sse.events(splitter.whole(piece)):
            found += reader.feed(single)
    if sse.data_of(splitter.rest) is not None:
        found += reader.feed(splitter.rest)
    try:
        found += reader.finish()
    except Fault as fault:
        return [*together(found), fault.kind]
    return together(found)


def together(events: Iterable[Event]) -> list[Any]:
    """Events with neighbouring pieces of text in one."""
    out: list[Any] = []
    for is_added, group in itertools.groupby(events, lambda one: isinstance(one, Added)):
        if is_added:
            out.append(Added("".join(one.text for one in group if isinstance(one, Added))))
        else:
            out += group
    return out


@pytest.mark.parametrize("upstream", DIALECTS)
@settings(max_examples=2000, deadline=None)
@given(data=st.data())
def test_splits_change_nothing(upstream: str, data: st.DataObject) -> None:
    """Bytes, characters and line ends may be torn apart; comments and styles say nothing."""
    values, word = data.draw(st.sampled_from(SAID[upstream]))
    if word:
        text = data.draw(st.text(min_size=1, max_size=8))
        values = [filled(value, word, text) for value in values]
    styles = data.draw(st.lists(written, min_size=1, max_size=4))
    client = data.draw(st.sampled_from([dialect for dialect in DIALECTS if dialect != upstream]))

    plain = [event(upstream, value) for value in values]
    raw = b"".join(styled(upstream, v, style) for v, style in zip(values, itertools.cycle(styles)))
    raw += b":\n\n"  # the head of a "\r\r" may be that of a "\r\n": it is no end until more has come
    pieces = cut(raw, data.draw(cuts))
    assert read(upstream, pieces) == read(upstream, plain)
    way = translation(client, upstream, {**plainly(client), "stream": True})
    assert told(way.stream(), pieces) == told(way.stream(), plain)


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(max_examples=500, deadline=None)
@given(data=st.data())
def test_splits_change_nothing_of_what_passes(dialect: str, data: st.DataObject) -> None:
    """Between two ends of one dialect as well."""
    values, _ = data.draw(st.sampled_from(SAID[dialect]))
    plain = [event(dialect, value) for value in values]
    pieces = cut(b"".join(plain), data.draw(cuts))
    body = {**plainly(dialect), "stream": True}
    assert told(passing(dialect, body).stream(), pieces) == told(passing(dialect, body).stream(), plain)
