import dataclasses

import msgspec
import pytest

from proxy.profiles import Quirks
from proxy.wire.codec import Facts
from proxy.wire.conversation import Seal
from proxy.wire.model import Dialect
from proxy.wire.responses import sealed

FACTS = Facts("gpt-5", Quirks(), "alpha")


@pytest.mark.parametrize(
    ("name", "own"),
    [("rs_1", {"id": "rs_1", "encrypted_content": "gAAA"}), ("", {"encrypted_content": "gAAA"})],
)
def test_what_is_closed_is_opened(name: str, own: dict[str, str]) -> None:
    """An id where there was one."""
    seal = sealed.closed(name, "gAAA", FACTS)
    assert (seal.dialect, seal.model) == (Dialect.RESPONSES, "gpt-5")
    assert sealed.opened(seal, FACTS) == own


@pytest.mark.parametrize(
    "reader",
    [
        dataclasses.replace(FACTS, model="gpt-5.1"),
        dataclasses.replace(FACTS, account="beta"),
        dataclasses.replace(FACTS, opens=False),
    ],
)
def test_only_its_maker_can_open_it(reader: Facts) -> None:
    """The very model in the very account, while anything is opened there at all."""
    assert sealed.opened(sealed.closed("rs_1", "gAAA", FACTS), reader) is None


def test_a_maker_that_is_not_known_is_nobody() -> None:
    """As for what a client sends as it came; and there is no seal at all in much that was said."""
    assert sealed.opened(sealed.closed("rs_1", "gAAA", None), FACTS) is None
    assert sealed.opened(None, FACTS) is None


def test_one_of_before_is_opened_by_its_model_in_any_account() -> None:
    """Seals told no account once."""
    old = Seal(Dialect.RESPONSES, "gpt-5", '{"id":"rs_1","encrypted_content":"gAAA"}')
    assert sealed.opened(old, FACTS) == {"id": "rs_1", "encrypted_content": "gAAA"}


def test_its_value_can_be_read_by_those_of_before() -> None:
    """They know what else they knew of it: replicas are not all replaced at once."""
    value = msgspec.json.decode(sealed.closed("rs_1", "gAAA", FACTS).value)
    assert value == {"id": "rs_1", "encrypted_content": "gAAA", "account": "alpha"}


@pytest.mark.parametrize(
    "value", ["", "[]", "no", "{}", '{"id":"rs_1"}', '{"encrypted_content":""}', '{"encrypted_content":5}']
)
def test_what_holds_no_reasoning(value: str) -> None:
    """Nobody else's, and none that was made up."""
    assert sealed.opened(Seal(Dialect.RESPONSES, "gpt-5", value), FACTS) is None


def test_only_what_is_known_is_taken() -> None:
    """The rest of an item is not the seal's to say."""
    value = '{"type":"message","role":"system","id":null,"encrypted_content":"gAAA"}'
    assert sealed.opened(Seal(Dialect.RESPONSES, "gpt-5", value), FACTS) == {"encrypted_content": "gAAA"}
