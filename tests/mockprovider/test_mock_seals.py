import base64

import pytest

from mockprovider.seals import issued, seal


def test_a_seal_is_the_same_in_every_run() -> None:
    """The same kind, owner and text give the same seal; any other gives another."""
    assert seal("thinking", "m", "hm") == seal("thinking", "m", "hm")
    others = [("redacted", "m", "hm"), ("thinking", "n", "hm"), ("thinking", "m", "hm ")]
    assert len({seal("thinking", "m", "hm"), *(seal(*other) for other in others)}) == 4


def test_a_seal_is_known_again_without_its_text() -> None:
    """By its kind and its owner."""
    sealed = seal("reasoning", "east", "é\ud800")
    assert issued("reasoning", "east", sealed)
    assert not issued("reasoning", "west", sealed)
    assert not issued("compaction", "east", sealed)


def test_an_owner_may_have_any_name() -> None:
    """The separator in a name does not let one owner pass for another."""
    assert issued("reasoning", "a|b", seal("reasoning", "a|b", "x"))
    assert not issued("reasoning", "a", seal("reasoning", "a|b", "x"))


@pytest.mark.parametrize(
    "made_up",
    ["", "px1.openai.gpt.e30", "gAAAA", "ü", base64.b64encode(b"reasoning|east|0|0").decode(), "////"],
)
def test_what_is_made_up_is_no_seal(made_up: str) -> None:
    """Neither nothing, nor what others issue, nor the right words without their check."""
    assert not issued("reasoning", "east", made_up)
