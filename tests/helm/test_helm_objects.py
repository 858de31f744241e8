"""What the chart makes: its parts fit each other, the image and the configuration, and no door is open."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import (
    CHART,
    ROOT,
    VALUES,
    Made,
    each,
    helm,
    kubernetes_says,
    made,
    needs_helm,
    objects,
    secrets,
    values,
)
from harness import Serve, get, two_free_ports

from proxy import config as configs

pytestmark = [pytest.mark.process, needs_helm]

OLDEST, NEWEST = "1.30", "1.37"
OPERATORS = {"PrometheusRule", "ServiceMonitor"}
"""Kinds of the Prometheus operator, of which Kubernetes has no schema."""

DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
UNITS = {"Mi": 1024**2, "Gi": 1024**3}


def selects(labels: Mapping[str, str], one: Mapping[str, Any]) -> bool:
    """Whether an object has these labels."""
    return bool(labels.items() <= one["metadata"]["labels"].items())


@each
def test_lint(name: str) -> None:
    """Without a warning."""
    assert "0 chart(s) failed" in helm("lint", CHART, "--strict", given=values(name))


@each
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_knows_every_field(name: str, version: str) -> None:
    """Of every object but those of the Prometheus operator."""
    text = helm("template", "demo", CHART, given=values(name))
    kinds = {one["kind"] for one in objects(text)}
    said = kubernetes_says(text, version)
    warned = [line for line in said if not line.startswith("INFO")]
    assert len(said) == len(objects(text))
    assert len(warned) == len(kinds & OPERATORS)
    assert all(re.search(f"Couldn't find schema for kind ({'|'.join(OPERATORS)})", line) for line in warned)


def test_every_kind_is_made_by_some_values() -> None:
    """So that what these tests say of each, they say of something."""
    kinds = {one["kind"] for name in VALUES for one in made(name).objects}
    assert kinds == OPERATORS | {
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    }


@each
def test_the_program_takes_its_configuration(name: str, tmp_path: Path) -> None:
    """By `apex-proxy check`, which has nothing to remark on."""
    file = tmp_path / "apex.yaml"
    file.write_text(made(name).mounted(tmp_path), "utf-8")
    command = [sys.executable, "-m", "proxy", "check", str(file)]
    done = subprocess.run(
        command, env=made(name).environment(), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "is valid" in done.stdout
    assert "operations port" not in done.stdout


def test_what_values_say_arrives(tmp_path: Path) -> None:
    """Large numbers stay whole and dates stay text."""
    config = made("everything").config(tmp_path)
    limits = config.clients[0].limits
    assert limits is not None
    assert (limits.requests_per_minute, limits.tokens_per_minute) == (1_000_000, 1_000_000_000)
    assert config.providers["azure"].api_version == "2024-10-21"


def test_a_long_time_in_plain_seconds_arrives(tmp_path: Path) -> None:
    """Helm writes it with an exponent."""
    config = made("smallest", {"config": {"drain_timeout": 3_600_000}}).config(tmp_path)
    assert config.drain_timeout == 3_600_000


def test_a_replica_starts_with_it_and_its_probes_are_answered(tmp_path: Path) -> None:
    """At the paths and the port that the kubelet asks."""
    port = two_free_ports()
    own = {"listen": {"port": port}, "operations": {"port": port + 1}, "drain_grace": 0}
    release = made("single", {"config": own})
    assert [one["containerPort"] for one in release.container["ports"]] == [port, port + 1]
    with Serve(yaml.safe_load(release.mounted(tmp_path)), environ=release.environment()) as serve:
        for kind in ("startup", "readiness", "liveness"):
            status, _ = get(port, release.container[f"{kind}Probe"]["httpGet"]["path"])
            assert status == 200
        assert serve.stop() == 0


def test_the_example_of_the_readme(tmp_path: Path) -> None:
    """As somebody would copy it."""
    example = re.search(r"```yaml\n(.*?)```", (CHART / "README.md").read_text("utf-8"), re.DOTALL)
    assert example is not None
    release = Made(objects(helm("template", "apex", CHART, given=yaml.safe_load(example[1]))))
    environment = {"APP_KEY": "sk-app-key", "OPENAI_KEY": "sk-openai"}
    environment |= {"APEX_REDIS_URL": "redis://redis:6379", "APEX_OPERATIONS_TOKEN": "sk-token"}
    assert [*configs.load(release.text, environment).models] == ["gpt-4o-mini"]


@each
def test_no_key_is_in_any_object(name: str, tmp_path: Path) -> None:
    """The program finds them, and they are in Secrets that the chart does not make."""
    found = {*secrets(made(name).config(tmp_path).model_dump())}
    assert found
    text = helm("template", "demo", CHART, given=values(name))
    assert not [one for one in found if one in text]
    assert "pass-of-" not in text


@each
def test_ports(name: str, tmp_path: Path) -> None:
    """Those that the program listens on, by the names that everything else goes by."""
    release, config = made(name), made(name).config(tmp_path)
    ports = {one["name"]: one["containerPort"] for one in release.container["ports"]}
    assert ports == {"http": config.listen.port, "operations": config.operations.port}
    assert {one["spec"]["ports"][0]["targetPort"] for one in release.all("Service")} <= ports.keys()


@each
def test_probes(name: str) -> None:
    """At the client port: what counts is whether clients are answered."""
    container = made(name).container
    probes = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}
    assert probes == {
        "startup": {"path": "/livez", "port": "http"},
        "readiness": {"path": "/readyz", "port": "http"},
        "liveness": {"path": "/livez", "port": "http"},
    }


def test_a_pod_that_leaves_is_left_in_time(tmp_path: Path) -> None:
    """Probes that fail take it out well within the time in which it still answers."""
    probe = made("smallest").container["readinessProbe"]
    noticed = probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"]
    assert noticed < made("smallest").config(tmp_path).drain_grace


def test_a_busy_replica_is_not_killed() -> None:
    """One that is late is asked for a minute."""
    probe = made("smallest").container["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 60


@each
def test_a_pod_that_is_to_go_has_time(name: str, tmp_path: Path) -> None:
    """As long as it drains, and some more to settle and store."""
    release, config = made(name), made(name).config(tmp_path)
    before = release.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    drained = before + config.drain_grace + config.drain_timeout
    margin = release.pod["spec"]["terminationGracePeriodSeconds"] - drained
    assert 20 <= margin <= 41


@pytest.mark.parametrize(
    ("grace", "timeout", "seconds"),
    [
        ("5s", "2m", 155),
        (5, 120, 155),
        ("500ms", "1h", 3631),
        ("1.5m", "0.5h", 1920),
        (0, 0, 30),
        ("1 s", 0.2, 32),
        (0, 3_600_000, 3_600_030),
        (1_234_567.5, 0, 1_234_598),
    ],
)
def test_its_time_follows_the_configuration(grace: object, timeout: object, seconds: int) -> None:
    """In every unit, rounded up."""
    release = made("smallest", {"config": {"drain_grace": grace, "drain_timeout": timeout}})
    assert release.pod["spec"]["terminationGracePeriodSeconds"] == seconds


@each
def test_a_pod_can_do_little(name: str) -> None:
    """No root, no capability, no file to write but below /tmp, no token of the cluster's."""
    release = made(name)
    pod, container = release.pod["spec"], release.container
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert all(one["automountServiceAccountToken"] is False for one in release.all("ServiceAccount"))
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    written = [one["mountPath"] for one in container["volumeMounts"] if not one.get("readOnly")]
    assert written == ["/tmp"]
    assert {*container["resources"]} == {"requests", "limits"}


def test_memory_is_enough_for_what_is_let_in(tmp_path: Path) -> None:
    """Bodies in flight, and as much again for everything else."""
    for name in ("smallest", "everything"):
        limit = made(name).container["resources"]["limits"]["memory"]
        assert int(limit[:-2]) * UNITS[limit[-2:]] >= 2 * made(name).config(tmp_path).overload.max_bytes


@each
def test_selectors(name: str) -> None:
    """Every one finds the pods, and the monitor finds the headless Service alone."""
    release = made(name)
    assert selects(release.one("Deployment")["spec"]["selector"]["matchLabels"], release.pod)
    for one in release.all("Service"):
        assert selects(one["spec"]["selector"], release.pod)
    for one in (*release.all("PodDisruptionBudget"), *release.all("NetworkPolicy")):
        spec = one["spec"]
        assert selects((spec.get("selector") or spec["podSelector"])["matchLabels"], release.pod)
    for spread in release.pod["spec"].get("topologySpreadConstraints", ()):
        assert selects(spread["labelSelector"]["matchLabels"], release.pod)
    for monitor in release.all("ServiceMonitor"):
        labels = monitor["spec"]["selector"]["matchLabels"]
        assert [one for one in release.all("Service") if selects(labels, one)] == [
            release.service("operations")
        ]
        assert [one["port"] for one in monitor["spec"]["endpoints"]] == ["operations"]
    for scaler in release.all("HorizontalPodAutoscaler"):
        assert scaler["spec"]["scaleTargetRef"]["name"] == release.one("Deployment")["metadata"]["name"]


@each
def test_names_are_those_of_the_release(name: str) -> None:
    """All begin alike, and none of a kind stands twice."""
    found = [(one["kind"], one["metadata"]["name"]) for one in made(name).objects]
    assert len(found) == len(set(found))
    start = "llm" if name == "everything" else "demo-apex-proxy"
    assert all(called.startswith(start) for _, called in found)


def test_spread_over_zones_and_nodes() -> None:
    """As far as there are any."""
    spread = made("smallest").pod["spec"]["topologySpreadConstraints"]
    assert [(one["topologyKey"], one["whenUnsatisfiable"]) for one in spread] == [
        ("topology.kubernetes.io/zone", "ScheduleAnyway"),
        ("kubernetes.io/hostname", "ScheduleAnyway"),
    ]


def test_never_fewer_replicas_than_before() -> None:
    """While they are replaced, and while nodes are drained."""
    release = made("smallest")
    assert release.one("Deployment")["spec"]["replicas"] == 3
    assert release.one("Deployment")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert release.one("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_while_redis_is_away_limits_are_divided_by_the_most_there_may_be(tmp_path: Path) -> None:
    """Or by what the configuration says itself."""
    scaled = {"autoscaling": {"enabled": True, "maxReplicas": 17}}
    assert made("smallest").config(tmp_path).redis.min_replicas == 3
    assert made("smallest", scaled).config(tmp_path).redis.min_replicas == 17
    assert made("everything").config(tmp_path).redis.min_replicas == 9


def test_traffic_is_denied_but_for_what_is_named(tmp_path: Path) -> None:
    """In: clients anywhere, and the monitoring namespace. Out: names, Redis, public addresses over TLS."""
    token = {"operations": {"token": {"secret": "apex-operations", "key": "bearer"}}}
    release = made("smallest", token)
    config = release.config(tmp_path)
    spec = release.one("NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    clients, operators = spec["ingress"]
    assert clients == {"ports": [{"port": config.listen.port, "protocol": "TCP"}]}
    assert operators["ports"] == [{"port": config.operations.port, "protocol": "TCP"}]
    assert operators["from"] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    ]
    assert [[one["port"] for one in rule["ports"]] for rule in spec["egress"]] == [[53, 53], [6379], [443]]
    (four, six) = (one["ipBlock"] for one in spec["egress"][2]["to"])
    assert "169.254.0.0/16" in four["except"]
    assert "fe80::/10" in six["except"]


def test_another_configuration_replaces_the_pods() -> None:
    """And nothing else does."""
    other = {"config": {"queue": {"max_wait": "3s"}}}
    assert made("smallest").pod != made("smallest", other).pod
    assert made("smallest").pod == made("smallest", {"service": {"port": 8080}}).pod


def test_another_configuration_is_another_object() -> None:
    """Pods of the former one that start again find theirs, which nobody can change."""
    other = made("smallest", {"config": {"queue": {"max_wait": "3s"}}}).one("ConfigMap")
    own = made("smallest").one("ConfigMap")
    assert own["metadata"]["name"] != other["metadata"]["name"]
    assert own["immutable"] is other["immutable"] is True


def test_a_configuration_that_is_to_be_reloaded_stays_the_same_object() -> None:
    """Pods see what becomes of it, and are not replaced."""
    other = made("single", {"config": {"queue": {"max_wait": "3s"}}})
    assert made("single").pod == other.pod
    assert other.one("ConfigMap")["metadata"]["name"] == "demo-apex-proxy"
    assert "immutable" not in other.one("ConfigMap")


@each
def test_pods_read_the_configuration_of_their_release(name: str) -> None:
    """By the name that it has."""
    release = made(name)
    (mounted,) = [one["configMap"] for one in release.pod["spec"]["volumes"] if one["name"] == "config"]
    assert mounted == {"name": release.one("ConfigMap")["metadata"]["name"]}


def test_a_variable_that_is_a_number_stays_one() -> None:
    """In digits, as it was written."""
    told = made("smallest", {"env": {"LARGE": 3_600_000, "SMALL": 0.25, "FLAG": True}}).environment()
    assert (told["LARGE"], told["SMALL"], told["FLAG"]) == ("3600000", "0.25", "true")


def test_no_variable_stands_twice() -> None:
    """Kubernetes would take the last."""
    names = [one["name"] for one in made("everything").container["env"]]
    assert len(names) == len(set(names))


def test_it_is_the_image_of_the_repository() -> None:
    """Its version, its user and the file that it reads."""
    release = made("smallest")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert release.container["image"] == f"apex-ai-proxy:{version}"
    assert f"\nUSER {release.pod['spec']['securityContext']['runAsUser']}\n" in DOCKERFILE
    assert f"APEX_CONFIG={release.environment()['APEX_CONFIG']}\n" in DOCKERFILE
    (folder,) = [one["mountPath"] for one in release.container["volumeMounts"] if one["name"] == "config"]
    assert release.environment()["APEX_CONFIG"] == f"{folder}/{'apex.yaml'}"


def test_a_package_of_it_is_whole(tmp_path: Path) -> None:
    """The alerts, which are another folder's, are in it as a file."""
    package = helm("package", CHART, "--destination", tmp_path).split()[-1]
    told = helm("template", "demo", package, given=values("everything"))
    assert Made(objects(told)) == made("everything")


@pytest.mark.skipif(shutil.which("helm") is None, reason="Helm's own command is not installed")
@each
def test_the_command_says_the_same(name: str) -> None:
    """As its library, in lint and in what is rendered."""
    told = helm("template", "demo", CHART, "--kube-version", NEWEST, given=values(name), command=("helm",))
    assert sorted(objects(told), key=str) == sorted(made(name).objects, key=str)
    assert "0 chart(s) failed" in helm("lint", CHART, "--strict", given=values(name), command=("helm",))
