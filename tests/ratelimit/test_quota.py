from typing import Any

import pytest

from ratelimit.quota import LARGEST, Quota


def test_a_quota_without_figures_is_unlimited() -> None:
    """Bursts alone limit nothing: there is no rate they could belong to."""
    assert Quota().unlimited
    assert Quota(burst=5, burst_tokens=5).unlimited
    assert not Quota(requests_per_minute=1).unlimited
    assert not Quota(tokens_per_minute=1).unlimited
    assert not Quota(concurrency=1).unlimited


@pytest.mark.parametrize("figure", [0, -1, LARGEST + 1])
@pytest.mark.parametrize(
    "field", ["requests_per_minute", "tokens_per_minute", "concurrency", "burst", "burst_tokens"]
)
def test_a_figure_out_of_bounds_is_refused_by_name(field: str, figure: int) -> None:
    """A limit of nothing, or of more than can be counted exactly, is a mistake of the config."""
    figures: dict[str, Any] = {field: figure}
    with pytest.raises(ValueError, match=f"{field} must be between 1 and"):
        Quota(**figures)
