import pytest

from proxy.wire.efforts import effort_of


@pytest.mark.parametrize(
    ("budget", "effort"),
    [(0, "low"), (2047, "low"), (2048, "medium"), (8191, "medium"), (8192, "high"), (64_000, "high")],
)
def test_the_effort_of_a_budget(budget: int, effort: str) -> None:
    """Three steps do."""
    assert effort_of(budget) == effort
