"""The scenarios of `make cluster`, short: what is counted must hold; what depends on the machine is printed.

Together they take at most two minutes, most of them waiting.
"""

import pytest
import scenarios
from figures import failed, table

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


@pytest.mark.parametrize("name", scenarios.GATE)
def test_the_bounds_of_a_scenario_hold(name: str) -> None:
    """Every bound that does not depend on how fast this machine is."""
    found = scenarios.ALL[name](False)
    print(table(name, found))
    assert failed(found) == []
