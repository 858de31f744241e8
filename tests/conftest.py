"""Here so that pytest puts this folder on the path, and tests of every room can import `fakes`.

The cluster tests stand on the harness of the process tests, whose folder pytest would only add for itself;
the tests of dashboards and of benchmarks on the scripts that make them.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

sys.path.append(str(Path(__file__).with_name("process")))
sys.path.append(str(Path(__file__).parents[1] / "deploy" / "grafana"))
sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))


@pytest.fixture(autouse=True)
def plain_logs() -> Iterator[None]:
    """What a command sets up for its process is not for the tests behind it."""
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
