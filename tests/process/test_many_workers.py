"""`serve --workers 2`: one port, one store, and nobody missing for long."""

import contextlib
import http.client
import json
import os
import signal
from pathlib import Path

import pytest
from harness import (
    KEY,
    MODEL,
    PATIENCE,
    Line,
    Mock,
    Serve,
    alive,
    configured,
    descendants,
    eventually,
    get,
    two_free_ports,
)

pytestmark = pytest.mark.process


def workers_of(proxy: Serve) -> dict[int, int]:
    """The process id of each worker, by its number."""
    found = {}
    for pid in descendants(proxy.pid):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        if "--worker" in words:
            found[int(words[words.index("--worker") + 1])] = pid
    return found


def store_seen_by(pid: int) -> str:
    """The store's address in a worker's environment."""
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return next(pair for pair in pairs if pair.startswith("APEX_REDIS_URL="))


def test_two_workers_share_a_port_and_a_store_and_are_replaced() -> None:
    """Both are ready on ports of their own, one that dies has a successor, and SIGTERM ends all with 0."""
    base = two_free_ports()
    config = configured(operations={"port": base})
    with Serve(config, "--workers", "2") as proxy:
        ready: list[Line] = [proxy.event("ready", 1), proxy.event("ready", 2)]
        assert {line["operations_port"] for line in ready} == {base, base + 1}
        assert ready[0]["port"] == ready[1]["port"]
        for port in (base, base + 1, proxy.port):
            assert get(port, "/readyz")[0] == 200
        workers = workers_of(proxy)
        assert len({store_seen_by(pid) for pid in workers.values()}) == 1
        os.kill(workers[1], signal.SIGKILL)
        assert proxy.event("worker_died")["worker"] == 1
        assert proxy.event("ready", 3)["operations_port"] == base + 1
        everything = descendants(proxy.pid)
        assert proxy.stop() == 0
        assert not any(map(alive, everything))


def chat(port: int) -> tuple[int, dict[str, str]]:
    """Status and headers of a chat on a connection of its own."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]})
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        connection.request("POST", "/v1/chat/completions", body, headers)
        response = connection.getresponse()
        response.read()
        return response.status, {name.lower(): value for name, value in response.getheaders()}


def answered(operations: int) -> float:
    """How many requests a worker has answered."""
    lines = get(operations, "/metrics")[1].decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("apex_requests_total"))


def test_workers_share_the_limits() -> None:
    """Whichever worker a client reaches, it counts as one: exactly its limit is let in, and counted down."""
    base = two_free_ports()
    limits = {"requests_per_minute": 1, "burst": 10, "tokens_per_minute": 1_000_000}
    client = {"name": "tests", "key": KEY, "limits": limits}
    with (
        Mock() as mock,
        Serve(configured(mock, operations={"port": base}, clients=[client]), "--workers", "2") as proxy,
    ):
        proxy.event("ready", 2)
        answers = [chat(proxy.port) for _ in range(60)]
        assert sorted(status for status, _ in answers) == [200] * 10 + [429] * 50
        left = [int(headers["x-ratelimit-remaining-requests"]) for _, headers in answers]
        assert left == [*range(9, -1, -1), *[0] * 50]
        counts = [answered(port) for port in (base, base + 1)]
        assert all(counts), "one of the workers was never asked"
        assert sum(counts) == 60
        assert mock.stats()["requests"] == 10
        assert proxy.stop() == 0


def test_a_killed_parent_takes_workers_and_store_along() -> None:
    """Nothing is left to answer with an old configuration."""
    with Serve(configured(), "--workers", "2") as proxy:
        proxy.event("ready", 2)
        everything = descendants(proxy.pid)
        assert len(workers_of(proxy)) == 2
        proxy.signal(signal.SIGKILL)
        proxy.ended()
        eventually(lambda: not any(map(alive, everything)), 3.0)
