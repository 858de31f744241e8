import asyncio

import pytest
import structlog

from proxy.link import Reason, ScriptError, Unavailable
from proxy.responses.eviction import Setting, look, warning
from responses.shelves import Line, replicas

MAIN: Setting = "redis.url"
OWN: Setting = "redis.responses_url"


def info(policy: str, bound: int = 1_000) -> str:
    """What a server says of its memory."""
    return f"# Memory\r\nused_memory:5\r\nmaxmemory:{bound}\r\nmaxmemory_policy:{policy}\r\n"


@pytest.mark.parametrize(
    ("policy", "setting", "warned"),
    [
        ("noeviction", MAIN, False),
        ("volatile-ttl", MAIN, True),
        ("allkeys-lru", MAIN, True),
        ("noeviction", OWN, False),
        ("volatile-lru", OWN, False),
        ("allkeys-lfu", OWN, True),
    ],
)
def test_policies(policy: str, setting: Setting, warned: bool) -> None:
    """The main Redis must keep all it is given; that of responses may drop them, and nothing else."""
    said = warning(info(policy), setting)
    assert (said is not None) is warned
    assert said is None or (policy in said and setting in said and "maxmemory-policy" in said)


def test_a_server_without_a_bound_does_not_evict() -> None:
    """Whatever it would do."""
    assert warning(info("allkeys-lru", bound=0), MAIN) is None


def test_one_line_is_logged() -> None:
    """Where there is something to say; a server that does not answer is no reason for another."""

    async def scenario() -> None:
        answers = [info("allkeys-lru").encode(), info("noeviction").encode()]
        line = Line(*answers, Unavailable(Reason.OPEN), ScriptError("NOPERM"))
        for _ in range(4):
            await look(line, MAIN)

    with structlog.testing.capture_logs() as lines:
        asyncio.run(scenario())
    assert [(line["event"], line["log_level"]) for line in lines] == [("redis_evicts", "warning")]


@pytest.mark.process
def test_a_real_server_is_understood(url: str) -> None:
    """As an operator would set it."""

    async def scenario() -> None:
        async with replicas(url) as (one,):
            await one.link.call("CONFIG SET", [], ["maxmemory", "1gb", "maxmemory-policy", "allkeys-lru"])
            await look(one.link, OWN)
            await one.link.call("CONFIG SET", [], ["maxmemory", "0", "maxmemory-policy", "noeviction"])
            await look(one.link, OWN)

    with structlog.testing.capture_logs() as lines:
        asyncio.run(scenario())
    assert len(lines) == 1
