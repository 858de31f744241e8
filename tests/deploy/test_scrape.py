"""What Prometheus is told: every replica, at its operations port, as an operator."""

import re
import shutil
import subprocess

import pytest
from cluster_files import DEPLOY, config, environment, read, services

FILE = DEPLOY / "prometheus" / "prometheus.yml"


def test_every_replica_is_scraped() -> None:
    """By DNS, so that a new one is seen without a word."""
    job = read(FILE)["scrape_configs"][0]
    assert job["job_name"] == "apex"
    (found,) = job["dns_sd_configs"]
    assert (found["names"], found["type"]) == (["proxy"], "A")
    assert found["port"] == config().operations.port


def test_the_balancer_is_scraped() -> None:
    """At the port that is not published."""
    job = read(FILE)["scrape_configs"][1]
    assert job["static_configs"] == [{"targets": ["balancer:8404"]}]
    assert re.search(
        r"^ +bind :8404$", (DEPLOY / "balancer" / "haproxy.cfg").read_text("utf-8"), re.MULTILINE
    )


def test_it_calls_as_an_operator() -> None:
    """With the token that the proxy was given, written where Prometheus reads it."""
    token = environment("prometheus")["APEX_OPERATIONS_TOKEN"]
    own = config().operations.token
    assert own is not None
    assert own.get_secret_value() == token
    place = read(FILE)["scrape_configs"][0]["authorization"]["credentials_file"]
    assert f"> {place}" in services()["prometheus"]["entrypoint"][2]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_takes_it() -> None:
    """Syntax alone: its files are those of a container."""
    command = ["promtool", "check", "config", "--syntax-only", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
