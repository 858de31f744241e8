import pytest
from pydantic import ValidationError

from proxy.config.log import Log


def test_nothing_that_was_said_is_logged_by_default() -> None:
    """Prompts are in no log unless somebody asks for it."""
    assert Log().bodies is False


def test_what_is_kept_of_a_body_is_bounded() -> None:
    """Lines wait in memory while the log is slow."""
    assert Log.model_validate({"body_limit": "64KiB"}).body_limit == 65536
    with pytest.raises(ValidationError):
        Log.model_validate({"body_limit": "65KiB"})
