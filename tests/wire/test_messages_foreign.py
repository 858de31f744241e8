import json
from typing import Any

import msgspec
import pytest

from proxy.wire import seals
from proxy.wire.conversation import Seal
from proxy.wire.losses import Losses
from proxy.wire.messages import foreign
from proxy.wire.messages.reply_writer import UNSIGNED
from proxy.wire.model import Dialect

Json = dict[str, Any]
OURS = seals.pack(Seal(Dialect.RESPONSES, "gpt-5", "{}"))
ENABLED = b'{"type":"enabled","budget_tokens":2048}'


def kept(messages: object, **fields: bytes) -> Json:
    """The fields after it. `messages` is raw JSON or what becomes it."""
    return looked_at(messages, **fields)[0]


def looked_at(messages: object, **fields: bytes) -> tuple[Json, str]:
    """The fields after it, and what is lost."""
    raw = messages if isinstance(messages, bytes) else json.dumps(messages).encode()
    found = {"messages": msgspec.Raw(raw), **{name: msgspec.Raw(value) for name, value in fields.items()}}
    losses = Losses(Dialect.MESSAGES)
    foreign.take_out(found, losses)
    return {name: bytes(value) for name, value in found.items()}, losses.header()


def thinking(signature: str = OURS) -> Json:
    """A block of thinking."""
    return {"type": "thinking", "thinking": "hm", "signature": signature}


def assistant(*blocks: Json) -> Json:
    """What the assistant said."""
    return {"role": "assistant", "content": list(blocks)}


USER: Json = {"role": "user", "content": "q"}
CALL: Json = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
RESULT: Json = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]}
TEXT: Json = {"type": "text", "text": "so"}


@pytest.mark.parametrize("seal", [OURS, seals.pack(UNSIGNED)])
def test_our_own_thinking_is_taken_out(seal: str) -> None:
    """Also the redacted sort, and what nobody had signed."""
    blocks = [thinking(seal), {"type": "redacted_thinking", "data": seal}, TEXT]
    found = json.loads(kept([USER, assistant(*blocks), USER])["messages"])
    assert found == [USER, assistant(TEXT), USER]


def test_all_else_stays_byte_for_byte() -> None:
    """The signatures of others are over these very bytes."""
    theirs = b'{"type": "thinking" , "thinking":"\\u00e9 ", "signature":"sig=="}'
    quoted = b'{"type":"text","text":"\\"ax1. and \\"ax1.x.y.z"}'
    ours = json.dumps(thinking()).encode()
    raw = b'[ {"role":"assistant", "content":[%b, %b,%b]}]' % (theirs, ours, quoted)
    assert kept(raw)["messages"] == b'[{"role":"assistant","content":[%b,%b]}]' % (theirs, quoted)
    plain = b'[ {"role":"assistant", "content":[%b]}]' % theirs
    assert kept(plain)["messages"] == plain


def test_a_message_of_nothing_else_goes() -> None:
    """An empty one would be refused."""
    assert json.loads(kept([USER, assistant(thinking()), USER])["messages"]) == [USER, USER]


@pytest.mark.parametrize(
    "raw",
    [
        b'"ax1."',
        b'[{"content": "ax1."}]',
        b'[{"content": {"type": "ax1."}}]',
        b'["ax1."]',
        b'[{"content": [{"type": "thinking", "signature": "ax1.nonsense"}]}]',
        b'[{"content": [{"type": "text", "text": "ax1.messages.."}]}]',
        b'[{"content": [{"type": 5, "signature": "ax1.messages.."}]}]',
    ],
)
def test_what_is_not_ours_or_cannot_be_read_stays(raw: bytes) -> None:
    """The provider refuses it in its own words, or knows it."""
    found, lost = looked_at(raw)
    assert (found["messages"], lost) == (raw, "")


def test_what_is_taken_out_is_told() -> None:
    """With thinking that is turned off for it, by the client's names."""
    messages = [USER, assistant(thinking(), CALL), RESULT]
    assert looked_at(messages)[1] == "dropped=thinking"
    clearing = b'{"edits":[{"type":"clear_thinking_20251015"}]}'
    lost = looked_at(messages, thinking=ENABLED, context_management=clearing)[1]
    assert lost == "dropped=thinking,thinking.budget_tokens,context_management"


def test_without_messages_there_is_nothing_to_do() -> None:
    """Such a body is refused elsewhere."""
    fields: dict[str, msgspec.Raw] = {}
    foreign.take_out(fields, Losses(Dialect.MESSAGES))
    assert fields == {}


@pytest.mark.parametrize("behind", [[RESULT], [RESULT, {"role": "system", "content": "s"}]])
def test_thinking_is_off_where_its_turn_has_lost_it(behind: list[Json]) -> None:
    """A turn with calls would have to begin with it; what clears thinking needs it too."""
    clearing = b'{"edits":[{"type":"clear_thinking_20251015"}]}'
    messages = [USER, assistant(thinking(), CALL), *behind]
    found = kept(messages, thinking=ENABLED, context_management=clearing)
    assert found["thinking"] == b'{"type":"disabled"}'
    assert "context_management" not in found
    other = kept(messages, thinking=ENABLED, context_management=b"{}")
    assert other["context_management"] == b"{}"


@pytest.mark.parametrize(
    ("messages", "given"),
    [
        ([USER, assistant(thinking(), CALL), RESULT], b'{"type":"adaptive"}'),
        ([USER, assistant(thinking(), CALL), RESULT], b"5"),
        ([USER, assistant(thinking(), CALL), RESULT, assistant(TEXT), USER, assistant(TEXT), USER], ENABLED),
        ([USER, assistant(thinking(), TEXT), USER], ENABLED),
        ([USER, assistant(thinking("sig"), CALL), RESULT], ENABLED),
    ],
)
def test_thinking_stays_where_it_can(messages: list[Json], given: bytes) -> None:
    """Newer models do not look for it, and exchanges that are over are not looked at."""
    assert kept(messages, thinking=given)["thinking"] == given


def test_thinking_that_was_not_asked_for() -> None:
    """Nothing is turned off."""
    assert "thinking" not in kept([USER, assistant(thinking(), CALL), RESULT])
