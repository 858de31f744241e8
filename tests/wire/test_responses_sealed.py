import pytest

from proxy.wire.conversation import Seal
from proxy.wire.model import Dialect
from proxy.wire.responses import sealed


@pytest.mark.parametrize(
    ("name", "own"),
    [("rs_1", {"id": "rs_1", "encrypted_content": "gAAA"}), ("", {"encrypted_content": "gAAA"})],
)
def test_what_is_closed_is_opened(name: str, own: dict[str, str]) -> None:
    """An id where there was one."""
    seal = sealed.closed(name, "gAAA", "gpt-5")
    assert (seal.dialect, seal.model) == (Dialect.RESPONSES, "gpt-5")
    assert sealed.opened(seal) == own


@pytest.mark.parametrize(
    "value", ["", "[]", "no", "{}", '{"id":"rs_1"}', '{"encrypted_content":""}', '{"encrypted_content":5}']
)
def test_what_holds_no_reasoning(value: str) -> None:
    """Nobody else's, and none that was made up."""
    assert sealed.opened(Seal(Dialect.RESPONSES, "gpt-5", value)) is None


def test_only_what_is_known_is_taken() -> None:
    """The rest of an item is not the seal's to say."""
    value = '{"type":"message","role":"system","id":null,"encrypted_content":"gAAA"}'
    assert sealed.opened(Seal(Dialect.RESPONSES, "gpt-5", value)) == {"encrypted_content": "gAAA"}
