"""The balancer's configuration: who gets a request, when it is sent again, and how long it may take."""

import re
import shutil
import subprocess

import pytest
from cluster_files import DEPLOY, config, services

FOLDER = DEPLOY / "balancer"
TEXT = (FOLDER / "haproxy.cfg").read_text("utf-8")
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def timeout(name: str) -> float:
    """Seconds of one of its timeouts."""
    found = re.search(rf"^ +timeout {name} +(\d+)(ms|s|m|h)$", TEXT, re.MULTILINE)
    assert found is not None
    return int(found[1]) * UNITS[found[2]]


def has(line: str) -> bool:
    """Whether it has this line."""
    return re.search(rf"^ +{re.escape(line)}( |$)", TEXT, re.MULTILINE) is not None


def test_who_gets_requests() -> None:
    """Every replica that DNS knows and whose own probe says that it is ready."""
    port = config().listen.port
    assert re.search(rf"^ +server-template replica \d+ proxy:{port}$", TEXT, re.MULTILINE)
    assert has("option httpchk GET /readyz")
    assert has("balance leastconn")


def test_where_nobody_is_ready_all_are_asked() -> None:
    """Checks that come late on a busy machine must not turn slow answers into none."""
    assert has("use_backend unasked if { nbsrv(replicas) eq 0 }")
    unasked = TEXT.partition("\nbackend unasked\n")[2].partition("\n\n")[0]
    assert "server-template" in unasked
    assert "check" not in unasked


def test_a_replica_that_leaves_is_left_in_time() -> None:
    """Two checks fail well within the time in which it still answers."""
    found = re.search(r"inter (\d)s fastinter (\d+)ms .*fall (\d)", TEXT)
    assert found is not None
    noticed = int(found[1]) + (int(found[3]) - 1) * int(found[2]) / 1000 + timeout("check")
    assert noticed < config().drain_grace


def test_a_request_is_sent_twice_only_if_nobody_had_it() -> None:
    """What a replica has begun may be paid for already."""
    assert re.findall(r"^ +retry-on (.*)$", TEXT, re.MULTILINE) == ["conn-failure"]
    assert has("option redispatch 1")


def test_streams_pass() -> None:
    """Small pieces are not held back, and a client that leaves is told of."""
    assert has("option http-no-delay")
    assert has("option abortonclose")
    assert "http-buffer-request" not in TEXT


def test_it_waits_longer_than_the_proxy() -> None:
    """Who is behind gives up first, and says why."""
    own = config()
    assert timeout("server") > own.timeouts.total
    assert timeout("client") > own.timeouts.total
    assert timeout("tunnel") > own.timeouts.max_stream
    assert timeout("http-keep-alive") < own.listen.keep_alive


def test_it_has_enough_connections() -> None:
    """Two for each request, and as many files as it is given."""
    found = re.search(r"^ +maxconn (\d+)$", TEXT, re.MULTILINE)
    assert found is not None
    assert 2 * int(found[1]) < services()["balancer"]["ulimits"]["nofile"]


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="HAProxy is not installed")
def test_haproxy_takes_it() -> None:
    """Without a warning."""
    done = subprocess.run(["haproxy", "-q", "-c", "-f", FOLDER], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert "WARNING" not in done.stderr
