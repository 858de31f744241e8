"""What an upgrade leaves as it is in a cluster that runs, and how its pods are told to reload."""

import http.server
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import yaml
from apiserver import cluster
from charts import ROOT, Made, Object, kubernetes_says, made, needs_helm
from harness import Serve, two_free_ports

pytestmark = [pytest.mark.process, needs_helm]

PAGE = (ROOT / "docs" / "kubernetes.md").read_text("utf-8")
SCALED = {"autoscaling": {"enabled": True, "minReplicas": 3, "maxReplicas": 12}}
OTHER = {"config": {"queue": {"max_wait": "3s"}}}
TOKEN = "sk-operators-of-the-cluster"


def deployment(replicas: int) -> Object:
    """One that runs."""
    found = dict(made("smallest").one("Deployment"))
    return found | {"spec": {**found["spec"], "replicas": replicas}}


def replica_set(release: Made, replicas: int, labels: Mapping[str, str] | None = None) -> Object:
    """What a Deployment makes of a release's pods."""
    own = {**release.pod["metadata"]["labels"], "pod-template-hash": "6f", **(labels or {})}
    metadata = {"name": f"set-{len(str(release.pod))}-{replicas}", "namespace": "default", "labels": own}
    spec = {"replicas": replicas, "template": release.pod}
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": spec}


def configurations(
    objects: Sequence[Object], patch: Mapping[str, Any], name: str = "smallest"
) -> list[Object]:
    """The ConfigMaps of an upgrade of a cluster with these objects."""
    with cluster(objects) as server:
        return made(name, patch, server).all("ConfigMap")


@pytest.mark.parametrize(("running", "asked"), [(7, 7), (1, 3), (0, 3), (40, 12)])
def test_with_autoscaling_an_upgrade_takes_no_replica_away(running: int, asked: int) -> None:
    """It asks for as many as there are, within the autoscaler's bounds."""
    with cluster([deployment(running)]) as server:
        assert made("smallest", SCALED, server).one("Deployment")["spec"]["replicas"] == asked


def test_with_autoscaling_the_first_are_the_fewest() -> None:
    """In a cluster that has none yet, and where no cluster is asked."""
    with cluster() as server:
        assert made("smallest", SCALED, server).one("Deployment")["spec"]["replicas"] == 3
    assert made("smallest", SCALED).one("Deployment")["spec"]["replicas"] == 3


def test_without_autoscaling_it_is_as_many_as_the_values_say() -> None:
    """However many there are."""
    with cluster([deployment(7)]) as server:
        assert made("smallest", None, server).one("Deployment")["spec"]["replicas"] == 3


def test_the_configuration_that_pods_still_run_with_is_kept() -> None:
    """As it is, beside the new one; Kubernetes takes both."""
    former = made("smallest")
    running = [replica_set(former, 3), former.one("ConfigMap")]
    new, kept = configurations(running, OTHER)
    assert new == made("smallest", OTHER).one("ConfigMap")
    assert kept == former.one("ConfigMap")
    said = kubernetes_says(yaml.safe_dump_all([new, kept]), "1.37")
    assert [line.split(maxsplit=1)[0] for line in said] == ["INFO", "INFO"]


def test_after_a_refused_one_the_one_before_it_is_kept_as_well() -> None:
    """Its pods are those that serve."""
    serving, refused = made("smallest"), made("smallest", OTHER)
    running = [
        replica_set(serving, 3),
        serving.one("ConfigMap"),
        replica_set(refused, 1),
        refused.one("ConfigMap"),
    ]
    found = configurations(running, {"config": {"queue": {"max_wait": "4s"}}})
    assert found[1:] == [serving.one("ConfigMap"), refused.one("ConfigMap")]


def test_a_configuration_that_no_pod_runs_with_goes() -> None:
    """So does that of another release's pods, and nothing is made of one that is gone."""
    former = made("smallest")
    neighbour = replica_set(former, 3, {"app.kubernetes.io/instance": "other"})
    assert len(configurations([replica_set(former, 0), former.one("ConfigMap")], OTHER)) == 1
    assert len(configurations([neighbour, former.one("ConfigMap")], OTHER)) == 1
    assert len(configurations([replica_set(former, 3)], OTHER)) == 1


def test_the_same_configuration_stands_once() -> None:
    """Whether pods are replaced or reload."""
    for name in ("smallest", "single"):
        release = made(name)
        running = [replica_set(release, 3), release.one("ConfigMap")]
        assert configurations(running, {}, name) == [release.one("ConfigMap")]


def test_from_a_configuration_that_is_reloaded_to_one_that_is_not() -> None:
    """The former one stays what it was, which anybody could change."""
    former = made("smallest", {"rollOnChange": False})
    _, kept = configurations([replica_set(former, 3), former.one("ConfigMap")], {})
    assert kept == former.one("ConfigMap")
    assert "immutable" not in kept


@contextmanager
def http_proxy() -> Iterator[tuple[str, list[str]]]:
    """One that takes down whatever it is asked: its address, and the first lines."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.requestline)
            self.send_error(502)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()


def test_the_page_reloads_a_pod_and_tells_no_proxy_the_token() -> None:
    """By its own words, at the port that the values say."""
    words = re.search(r"python -c '(.*?)' \$port", PAGE, re.DOTALL)
    assert words is not None
    port = two_free_ports()
    patch = {"config": {"listen": {"port": port}, "operations": {"port": port + 1}, "drain_grace": 0}}
    with http_proxy() as (address, asked):
        secrets = {"APEX_OPERATIONS_TOKEN": TOKEN, "HTTP_PROXY": address, "http_proxy": address}
        config = yaml.safe_load(with_token(patch))
        with Serve(config, environ={"APEX_APP_KEY": "sk-app-of-the-cluster", **secrets}) as serve:
            command = [sys.executable, "-c", words[1], str(port + 1)]
            done = subprocess.run(command, env=secrets, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, "")
            assert "config_hash" in done.stdout
            assert serve.stop() == 0
    assert asked == []


def with_token(patch: Mapping[str, Any]) -> str:
    """The configuration of a single replica with a token, whose client's key is a variable."""
    own = {"operations": {"token": {"secret": "apex-operations"}}}
    clients = {"config": {**patch["config"], "clients": [{"name": "app", "key": "${APEX_APP_KEY}"}]}}
    return made("single", own | clients).text
