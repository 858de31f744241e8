"""Servers for the tests of stored responses: each test runs on Valkey, and on Redis where there is one."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.with_name("ratelimit")))

from limit_stand_ins import SERVERS, served


@pytest.fixture(scope="session", params=SERVERS)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real server of each kind that there is here."""
    with served(request.param, tmp_path_factory.mktemp("responses")) as path:
        yield f"unix://{path}"
