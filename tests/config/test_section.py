import pytest
from pydantic import ValidationError

from proxy.config.section import Section


class Small(Section):
    """A section with one setting."""

    number: int = 1


def test_a_section_is_frozen() -> None:
    """Nothing can be changed after the fact."""
    made = Small()
    with pytest.raises(ValidationError, match="frozen"):
        made.number = 2


def test_a_section_is_closed() -> None:
    """What it does not know is an error and not passed over."""
    with pytest.raises(ValidationError, match="not permitted"):
        Small.model_validate({"numbre": 2})


def test_a_section_does_not_repeat_what_it_was_given() -> None:
    """It may have been a secret that stood in the wrong place."""
    with pytest.raises(ValidationError) as caught:
        Small.model_validate({"number": "canary"})
    assert "canary" not in str(caught.value)
