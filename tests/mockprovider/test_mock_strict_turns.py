from typing import Any

import pytest

from mockprovider.answer import Unreadable
from mockprovider.reading import Terms
from mockprovider.seals import seal
from mockprovider.strict_blocks import Blocks
from mockprovider.strict_turns import blocks_of, check

_HI = {"role": "user", "content": "hi"}
_TEXT = {"type": "text", "text": "so"}
_THOUGHT = {"type": "thinking", "thinking": "hm", "signature": seal("thinking", "m", "hm")}


def _said(*content: object) -> dict[str, Any]:
    return {"role": "assistant", "content": list(content)}


def _told(*content: object) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def _use(identity: str) -> dict[str, object]:
    return {"type": "tool_use", "id": identity, "name": "f", "input": {}}


def _result(identity: str) -> dict[str, object]:
    return {"type": "tool_result", "tool_use_id": identity, "content": "42"}


def _check(*messages: dict[str, Any], model: str = "m", thinks: bool = False) -> None:
    check(messages, Blocks(model, Terms()), thinks=thinks)


@pytest.mark.parametrize(
    "messages",
    [
        [_HI],
        [_HI, _HI, _said(_TEXT), _said(_TEXT), _HI],
        [_HI, _said(_TEXT, _use("a"), _use("b")), _told(_result("b"), _result("a"), _TEXT)],
        [_HI, _said(_use("a")), _told(_result("a")), _said(_use("b")), _told(_result("b")), _said(_TEXT)],
        [_HI, {"role": "assistant", "content": ""}],
        [_HI, _said(_TEXT)],
    ],
)
def test_a_conversation_in_order_passes(messages: list[dict[str, Any]]) -> None:
    """Also when one side speaks twice, and when the answer has been begun."""
    _check(*messages)


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([_said(_TEXT), _HI], 'messages: first message must use the "user" role'),
        ([{"role": "system", "content": "a"}, _HI], "messages.0: use the top-level 'system' parameter"),
        ([{"role": "tool", "content": "a"}], "messages.0.role: Input should be 'user' or 'assistant'"),
        ([{"role": "user"}], "messages.0.content: Field required"),
        ([{"content": "a"}], "messages.0.role: Field required"),
        ([{**_HI, "name": "ann"}], "messages.0.name: Extra inputs are not permitted"),
        ([{"role": "user", "content": None}], "messages.0.content: Input should be a valid string"),
        ([{"role": "user", "content": ""}], "messages.0: all messages must have non-empty content"),
        ([_told(), _HI], "messages.0: all messages must have non-empty content"),
        ([_HI, _said(), _HI], "messages.1: all messages must have non-empty content"),
        ([{"role": "user", "content": " "}], "messages.0: text content blocks must contain non-white"),
        ([_told("a")], "messages.0.content.0: Input should be a valid dictionary"),
        ([_HI, {"role": "assistant", "content": "so "}], "messages: final assistant content cannot end"),
        ([_HI, _said({"type": "text", "text": "so\n"})], "messages: final assistant content cannot end"),
        ([_HI, _said(_THOUGHT)], "messages: The final block in an assistant message cannot be `thinking`"),
    ],
)
def test_a_conversation_out_of_order_is_refused(messages: list[dict[str, Any]], text: str) -> None:
    """Who begins, who may speak, and what is no message."""
    with pytest.raises(Unreadable) as caught:
        _check(*messages)
    assert str(caught.value).startswith(text)


_MISSING = "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: "
_ORPHAN = "unexpected `tool_use_id` found in `tool_result` blocks: "


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([_HI, _said(_use("a"))], f"{_MISSING}a."),
        ([_HI, _said(_use("a")), _HI], f"{_MISSING}a."),
        ([_HI, _said(_use("a"), _use("b")), _told(_result("a"))], f"{_MISSING}b."),
        ([_HI, _said(_use("a"), _use("b")), _told(_result("a")), _told(_result("b"))], f"{_MISSING}b."),
        ([_HI, _said(_use("a")), _told(_TEXT, _result("a"))], f"{_MISSING}a."),
        ([_HI, _said(_use("a"), _use("b")), _told(_result("a"), _TEXT, _result("b"))], f"{_MISSING}b."),
        ([_HI, _said(_use("a")), _said(_TEXT), _told(_result("a"))], f"{_MISSING}a."),
        ([_told(_result("a"))], f"messages.0.content.0: {_ORPHAN}a."),
        ([_HI, _said(_TEXT), _told(_result("a"))], f"messages.2.content.0: {_ORPHAN}a."),
        (
            [_HI, _said(_use("a")), _told(_result("a"), _result("a"))],
            "messages.2.content.1: each tool_use must have a single result.",
        ),
        (
            [_HI, _said(_use("a")), _told(_result("a")), _said(_use("a")), _told(_result("a"))],
            "messages.3: `tool_use` ids must be unique",
        ),
    ],
)
def test_calls_and_results_come_in_pairs(messages: list[dict[str, Any]], text: str) -> None:
    """All results at the beginning of the very next message, and none without its call."""
    with pytest.raises(Unreadable) as caught:
        _check(*messages)
    assert str(caught.value).startswith(text)


def test_system_messages_are_for_models_that_hear_them() -> None:
    """After a user's turn, and never from the first on."""
    middle = {"role": "system", "content": "be brief"}
    _check(_HI, middle, model="claude-opus-4-8")
    _check(_HI, middle, _said(_TEXT), _HI, model="claude-sonnet-5")
    for messages, model in (([_HI, middle], "claude-opus-4-6"), ([_HI, middle], "m")):
        with pytest.raises(Unreadable, match=r"^messages\.1: role 'system' is not supported on this model"):
            _check(*messages, model=model)
    with pytest.raises(Unreadable, match=r"^messages\.2: role 'system' must follow"):
        _check(_HI, _said(_TEXT), middle, _HI, model="claude-opus-4-8")


def test_newer_models_do_not_go_on_from_a_beginning() -> None:
    """The conversation must end with the user there."""
    with pytest.raises(Unreadable, match="does not support assistant message prefill"):
        _check(_HI, _said(_TEXT), model="claude-opus-4-6")


def test_with_a_budget_a_turn_begins_with_its_thoughts() -> None:
    """The turn whose tools were just answered, from its first message on; other turns need none."""
    thought, bare = _said(_THOUGHT, _use("a")), _said(_use("a"))
    _check(_HI, thought, _told(_result("a")), thinks=True)
    _check(_HI, thought, _told(_result("a")), _said(_use("b")), _told(_result("b")), thinks=True)
    _check(_HI, bare, _told(_result("a")), _said(_TEXT), _HI, thinks=True)
    _check(_HI, bare, _told(_result("a")))
    with pytest.raises(Unreadable, match=r"^messages\.1\.content\.0\.type: Expected `thinking` or"):
        _check(_HI, bare, _told(_result("a")), thinks=True)


def test_a_string_has_no_blocks() -> None:
    """Only a list has."""
    assert blocks_of(_HI) == []
    assert blocks_of(_said(_TEXT)) == [_TEXT]
