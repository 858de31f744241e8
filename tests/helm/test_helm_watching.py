"""How a release is watched: what the autoscaler, the monitor and the alerts of the chart go by."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import ROOT, made, needs_helm

from metrics.catalogue import CATALOGUE

pytestmark = [pytest.mark.process, needs_helm]

RULES = ROOT / "deploy" / "prometheus" / "rules" / "apex.yml"


def alerts(rule: Mapping[str, Any]) -> list[str]:
    """The names of all alerts."""
    return [one["alert"] for group in rule["spec"]["groups"] for one in group["rules"] if "alert" in one]


def test_the_autoscaler_goes_by_a_metric_that_exists() -> None:
    """A gauge of the replica, without labels."""
    release = made("smallest", {"autoscaling": {"enabled": True}})
    (metric,) = release.one("HorizontalPodAutoscaler")["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    (known,) = [one for one in CATALOGUE if one.name == name]
    assert (known.kind, tuple(known.labels)) == ("gauge", ())


def test_cpu_goes_in_place_of_the_metric() -> None:
    """Where there is no adapter."""
    release = made("smallest", {"autoscaling": {"enabled": True, "inFlight": None, "cpu": 60}})
    (metric,) = release.one("HorizontalPodAutoscaler")["spec"]["metrics"]
    assert metric["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}


def test_without_a_token_the_operations_port_is_the_pods_own(tmp_path: Path) -> None:
    """Nobody else reaches it, by any object."""
    release = made("smallest")
    assert release.config(tmp_path).operations.host == "127.0.0.1"
    assert len(release.all("Service")) == 1
    assert len(release.one("NetworkPolicy")["spec"]["ingress"]) == 1


def test_with_a_token_it_is_scraped(tmp_path: Path) -> None:
    """Each replica by itself, also one that drains, with the token and the job's name."""
    release = made("everything")
    config = release.config(tmp_path)
    assert config.operations.host == config.listen.host
    assert config.operations.token is not None
    service = release.service("operations")["spec"]
    assert (service["clusterIP"], service["publishNotReadyAddresses"]) == ("None", True)
    (endpoint,) = release.one("ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"] == {"name": "apex-operations", "key": "bearer"}
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "apex"}]
    job = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text("utf-8"))
    assert job["scrape_configs"][0]["job_name"] == "apex"


def test_alerts_are_those_of_the_repository() -> None:
    """All of them, word for word."""
    rule = made("smallest", {"prometheusRule": {"enabled": True}}).one("PrometheusRule")
    assert rule["spec"]["groups"] == yaml.safe_load(RULES.read_text("utf-8"))["groups"]


def test_alerts_that_are_left_out() -> None:
    """Those that were named, and the one that an autoscaler would set off."""
    every = made("smallest", {"prometheusRule": {"enabled": True}}).one("PrometheusRule")
    some = made("everything").one("PrometheusRule")
    assert {*alerts(every)} - {*alerts(some)} == {"ApexQueueing", "ApexReplicaMissing"}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: prometheus)")
def test_prometheus_takes_the_alerts(tmp_path: Path) -> None:
    """By promtool's reading."""
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump(made("everything").one("PrometheusRule")["spec"]), "utf-8")
    done = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
