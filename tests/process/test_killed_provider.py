"""A provider dies under load and no caller notices."""

import killed_provider
import pytest

pytestmark = pytest.mark.process


def test_no_caller_notices_that_a_provider_was_killed() -> None:
    """400 mixed requests, half of them after the kill: no error but in streams that had begun there."""
    seen = killed_provider.run(400)
    assert seen.errors == []
    assert seen.answered == 400
    assert seen.committed <= killed_provider.CONCURRENCY
    assert seen.providers["victim"] > 50
    assert seen.providers["survivor"] > 200
