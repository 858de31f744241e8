"""Whatever an upstream says is a reply or a `Fault`, whatever a client says is read or a `Refusal`.

What is said is that of the goldens with a few values changed: gone, twice, or of another type.
"""

import contextlib
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.speech import plainly
from fakes.translations import event, passing, told, translation
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import Fault, Refusal

pytestmark = pytest.mark.timeout(180)
DIALECTS = ("chat", "messages", "responses")
GOLDEN = Path(__file__).parent.parent / "golden"
CASES = [(path.parent.name, json.loads(path.read_text())) for path in sorted(GOLDEN.rglob("*.json"))]
SAID = {
    dialect: [case for pair, case in CASES if pair.endswith(dialect) and "stream" in case]
    for dialect in DIALECTS
}
ASKED = {
    dialect: [case["request"] for pair, case in CASES if pair.startswith(dialect)] for dialect in DIALECTS
}
ODD: tuple[Any, ...] = (
    None,
    "",
    "x",
    0,
    -1,
    1.5,
    10**30,
    True,
    [],
    {},
    [None],
    ["x"],
    [[]],
    {"type": "x"},
    {"a": None},
)
"""What may stand where it does not belong."""

changes = st.lists(st.tuples(st.integers(0, 999), st.integers(0, len(ODD) + 2)), min_size=1, max_size=3)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each member of a JSON value as its holder and its key."""
    for key, member in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(member, dict | list):
            yield from places(member)


def changed(value: Any, todo: list[tuple[int, int]]) -> Any:
    """A value with some members gone, doubled or replaced."""
    out = copy.deepcopy(value)
    for place, what in todo:
        found = list(places(out))
        if not found:
            break
        holder, key = found[place % len(found)]
        if what < len(ODD):
            holder[key] = copy.deepcopy(ODD[what])
        elif what == len(ODD) and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        else:
            del holder[key]
    return out


@pytest.mark.parametrize("upstream", DIALECTS)
@settings(max_examples=250, deadline=None)
@given(data=st.data())
def test_odd_streams(upstream: str, data: st.DataObject) -> None:
    """They end, well or with an error that the client is told."""
    values = changed(data.draw(st.sampled_from(SAID[upstream]))["stream"]["upstream"], data.draw(changes))
    client = data.draw(st.sampled_from(DIALECTS))
    body = {**plainly(client), "stream": True}
    way = passing(client, body) if client == upstream else translation(client, upstream, body)
    out = told(way.stream(), [event(upstream, value) for value in values])
    assert out.raw or out.ended


@pytest.mark.parametrize("upstream", DIALECTS)
@settings(max_examples=250, deadline=None)
@given(data=st.data())
def test_odd_replies(upstream: str, data: st.DataObject) -> None:
    """They are a reply or a fault."""
    case = data.draw(st.sampled_from([case for case in SAID[upstream] if "reply" in case]))
    body = json.dumps(changed(case["reply"]["upstream"], data.draw(changes))).encode()
    client = data.draw(st.sampled_from(DIALECTS))
    way = (
        passing(client, plainly(client))
        if client == upstream
        else translation(client, upstream, plainly(client))
    )
    with contextlib.suppress(Fault):
        json.loads(way.reply(body)[0])


@pytest.mark.parametrize("client", DIALECTS)
@settings(max_examples=250, deadline=None)
@given(data=st.data())
def test_odd_requests(client: str, data: st.DataObject) -> None:
    """They are sent on or refused; never with what would be a fault of ours."""
    body = changed(data.draw(st.sampled_from(ASKED[client])), data.draw(changes))
    upstream = data.draw(st.sampled_from([dialect for dialect in DIALECTS if dialect != client]))
    with contextlib.suppress(Refusal):
        json.loads(translation(client, upstream, body).request())
