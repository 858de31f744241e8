from typing import Any

import pytest
from fakes.configs import config, target, targets_of

from proxy.turn import Turn, places


@pytest.mark.parametrize(
    ("settings", "most"),
    [({}, 0), ({"limits": {"requests_per_minute": 7}}, 0), ({"limits": {"concurrency": 3}}, 3)],
)
def test_how_many_places_a_key_has(settings: dict[str, Any], most: int) -> None:
    """None are counted where it is not limited, or in another way."""
    made = config({"a": {"base_url": "http://a.test/v1", "api_keys": ["a1"], **settings}})
    assert [places(each) for each in targets_of(made)] == [most]


def test_a_turn_is_a_probe_of_nothing_at_first() -> None:
    """Nor does anybody wait for what it says, nor has it said anything; and each is to be ended."""
    turn = Turn(target(), 3.0)
    assert (turn.began, dict(turn.probe), turn.asking, turn.told) == (3.0, {}, False, False)
    assert turn != Turn(turn.target, 3.0)
