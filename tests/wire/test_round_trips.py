"""What a codec writes it reads back as it was: conversations, and replies as streams and whole."""

import itertools
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from fakes.assembling import assembled
from fakes.conversations import FACTS, conversations, replies
from fakes.translations import STAMP, events
from hypothesis import given, settings
from hypothesis import strategies as st
from schemas.validation import problems, stream_problems

from proxy.wire import envelope, seals, sse
from proxy.wire.codec import ReplyWriter
from proxy.wire.conversation import Block, Conversation, Seal, Thinking, ToolUse, Turn
from proxy.wire.dialects import CODECS
from proxy.wire.events import Added, Began, Closed, Collector, Counted, Event, Finished
from proxy.wire.losses import Losses
from proxy.wire.model import Dialect

pytestmark = pytest.mark.timeout(180)
each = pytest.mark.parametrize("dialect", Dialect)


def plain(conversation: Conversation) -> Conversation:
    """A conversation without what a dialect may put in other words.

    Neighbouring turns of one role are one turn; arguments are JSON, not their spelling; who made a seal is
    not known of what a client sends; what makes reasoning replayable is always asked for.
    """
    turns = [
        Turn(role, tuple(_plain(block) for turn in group for block in turn.blocks))
        for role, group in itertools.groupby(conversation.turns, lambda turn: turn.role)
    ]
    reasoning = msgspec.structs.replace(conversation.reasoning, encrypted=False)
    return msgspec.structs.replace(conversation, turns=tuple(turns), reasoning=reasoning, echo={})


def _plain(block: Block) -> Block:
    if isinstance(block, ToolUse) and not block.custom:
        return msgspec.structs.replace(block, arguments=json.dumps(json.loads(block.arguments)))
    if isinstance(block, Thinking) and block.seal is not None:
        seal = block.seal
        value = seal.value
        if seal.dialect is Dialect.RESPONSES:
            value = json.dumps(json.loads(value), sort_keys=True)
        return msgspec.structs.replace(block, seal=Seal(seal.dialect, None, value))
    return block


@each
@settings(max_examples=2000, deadline=None)
@given(data=st.data())
def test_conversations(dialect: Dialect, data: st.DataObject) -> None:
    """What the dialect carries comes back, and nothing is lost or made up on the way."""
    said = data.draw(conversations(dialect))
    losses = Losses(dialect)
    written = CODECS[dialect].write(said, FACTS[dialect], losses)
    body = json.dumps(written.body).encode()
    back = CODECS[dialect].read(envelope.decode(body, 64))
    assert losses.header() == ""
    assert written.stop == ()
    assert back.dropped == ()
    assert differing(plain(back), plain(said)) == {}


def differing(one: Conversation, other: Conversation) -> dict[str, Any]:
    """The fields in which two conversations are not the same."""
    return {
        field: (getattr(one, field), getattr(other, field))
        for field in one.__struct_fields__
        if getattr(one, field) != getattr(other, field)
    }


def together(told: Sequence[Event]) -> list[Any]:
    """Events with neighbouring pieces of text in one, counts by the last, before the end."""
    out: list[Any] = []
    counted = [one for one in told if isinstance(one, Counted)][-1:]
    rest = [_said(one) for one in told if not isinstance(one, Counted)]
    for is_added, group in itertools.groupby(rest, lambda one: isinstance(one, Added)):
        if is_added:
            out.append(Added("".join(one.text for one in group if isinstance(one, Added))))
        else:
            out += group
    return [*out[:-1], *counted, *out[-1:]]


def _said(event: Event) -> Event:
    """An event without what a dialect says of itself: the usual tier, an estimate, whose seal it is."""
    if isinstance(event, Finished) and event.tier == "default":
        return msgspec.structs.replace(event, tier=None)
    if isinstance(event, Closed) and event.seal is not None:
        return msgspec.structs.replace(event, seal=seals.unpack(event.seal.value) or event.seal)
    return Began(event.model) if isinstance(event, Began) else event


def heard(dialect: Dialect, raw: bytes) -> list[Any]:
    """What the dialect's own reader makes of a stream."""
    reader = CODECS[dialect].reader(FACTS[dialect])
    found: list[Event] = []
    for single in sse.events(raw):
        found += reader.feed(single)
    return together([*found, *reader.finish()])


def writer(dialect: Dialect) -> ReplyWriter:
    """For a reply to the shortest request."""
    body: dict[str, Any] = {"model": "m", "stream": True}
    turns = [{"role": "user", "content": "Hi"}]
    body |= {"input": turns} if dialect is Dialect.RESPONSES else {"messages": turns}
    body |= {"max_tokens": 9} if dialect is Dialect.MESSAGES else {}
    body |= {"stream_options": {"include_usage": True}} if dialect is Dialect.CHAT else {}
    return CODECS[dialect].writer(CODECS[dialect].read(envelope.decode(json.dumps(body).encode(), 9)), STAMP)


def written(dialect: Dialect, said: Sequence[Event]) -> tuple[bytes, bytes]:
    """A reply as a stream and as a whole."""
    one = writer(dialect)
    collector = Collector()
    for event in said:
        collector.take(event)
    return b"".join(one.write([event]) for event in said), writer(dialect).whole(collector)


@each
@settings(max_examples=2000, deadline=None)
@given(data=st.data())
def test_replies(dialect: Dialect, data: st.DataObject) -> None:
    """A stream and a whole reply say the same, and are read as what was said."""
    said = data.draw(replies(dialect))
    raw, whole = written(dialect, said)
    streamed = heard(dialect, raw)
    assert streamed == together(CODECS[dialect].reader(FACTS[dialect]).whole(whole))
    assert streamed == together(said)
    assert assembled(dialect.value, events(raw)) == json.loads(whole)


@each
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_replies_are_valid(dialect: Dialect, data: st.DataObject) -> None:
    """Both forms of a reply fit the dialect's documents; fewer are tried, for a schema takes its time."""
    said = data.draw(replies(dialect))
    raw, whole = written(dialect, said)
    assert problems(dialect.value, "reply", json.loads(whole)) == []
    assert stream_problems(dialect.value, raw) == []
