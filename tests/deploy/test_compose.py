"""The compose file: it starts as it is, its parts fit each other, and no door is open that need not be."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest
from cluster_files import COMPOSE, DEPLOY, ROOT, compose, config, defaultless, read, services

import mockprovider
from proxy import checking

each = pytest.mark.parametrize("name", sorted(services()))
OURS = {"proxy", "mock-a", "mock-b", "load"}
PUBLISHED = {"balancer", "prometheus", "grafana"}


def seconds(text: str) -> float:
    """A duration as compose writes it."""
    return float(text.removesuffix("s"))


def mounts(service: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Source, place and mode of what is mounted."""
    return [tuple((entry + ":rw").split(":")[:3]) for entry in service.get("volumes", ())]


def test_who_is_in_it() -> None:
    """`load` comes only when it is asked for."""
    assert set(services()) == OURS | PUBLISHED | {"redis"}
    assert [name for name, service in services().items() if "profiles" in service] == ["load"]


def test_it_starts_with_nothing_set() -> None:
    """No variable, no file of keys, nothing to edit."""
    assert defaultless() == set()
    assert services()["proxy"]["env_file"] == [{"path": "deploy/keys.env", "required": False}]


def test_three_replicas_or_as_many_as_are_wanted() -> None:
    """What only one container can have would stop `--scale`."""
    proxy = services()["proxy"]
    assert proxy["deploy"]["replicas"] == 3
    assert not {"container_name", "hostname", "ports"} & proxy.keys()


@each
def test_a_service_can_do_little(name: str) -> None:
    """No capabilities, no way to new ones, a root that cannot be written."""
    service = services()[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert not {"privileged", "cap_add", "network_mode", "pid"} & service.keys()


@each
def test_health(name: str) -> None:
    """Every service that stays says whether it is well; the proxy's check is in its image."""
    service = services()[name]
    if name == "load":
        assert service["healthcheck"] == {"disable": True}
    elif name == "proxy":
        assert "HEALTHCHECK" in (DEPLOY / "Dockerfile").read_text("utf-8")
    else:
        assert service["healthcheck"]["test"]


@each
def test_ports_are_open_to_this_machine_alone(name: str) -> None:
    """The keys are known to everybody."""
    ports = services()[name].get("ports", [])
    assert bool(ports) == (name in PUBLISHED)
    assert all(port.startswith("127.0.0.1:") for port in ports)


@each
def test_images_of_others_have_a_version(name: str) -> None:
    """Ours is built here."""
    service = services()[name]
    if name in OURS:
        assert service["image"] == "apex-ai-proxy"
        assert service["build"] == {
            "context": ".",
            "dockerfile": "deploy/Dockerfile",
            "args": {"PYTHON_IMAGE": "python:3.13-slim"},
        }
    else:
        assert re.fullmatch(r"[a-z/]+:v?[0-9][0-9.]*", service["image"])


@each
def test_what_is_mounted_is_there(name: str) -> None:
    """Folders, since a file alone would stay the old one when an editor writes a new one; and read-only."""
    for source, _, mode in mounts(services()[name]):
        if source.startswith("./"):
            assert (ROOT / source).is_dir()
            assert mode == "ro"
        else:
            assert source in compose()["volumes"]


def test_networks() -> None:
    """All that are used are declared and the reverse; Redis is reached by the replicas alone."""
    used = {network for service in services().values() for network in service["networks"]}
    assert used == compose()["networks"].keys()
    assert compose()["networks"]["state"] == {"internal": True}
    assert {name for name, service in services().items() if "state" in service["networks"]} == {
        "proxy",
        "redis",
    }


def test_who_waits_for_whom() -> None:
    """Only for services that there are, and without a circle."""
    waits = {name: set(service.get("depends_on", ())) for name, service in services().items()}
    while waits:
        free = {name for name, others in waits.items() if not others & waits.keys()}
        assert free
        assert all(waits[name] <= services().keys() for name in free)
        waits = {name: others for name, others in waits.items() if name not in free}


def test_redis_keeps_what_it_is_given() -> None:
    """Every write on disk within a second; when it is full it says so instead of forgetting."""
    command = services()["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "everysec"
    assert options["--maxmemory-policy"] == "noeviction"
    assert [place for _, place, _ in mounts(services()["redis"])] == ["/data"]


def test_a_replica_has_time_to_end() -> None:
    """Longer than it takes leave and drains, or its last streams would be cut."""
    own = config()
    assert seconds(services()["proxy"]["stop_grace_period"]) > own.drain_grace + own.drain_timeout + 5


def test_a_replica_that_was_told_to_reload_is_started_again() -> None:
    """To Docker any signal by `kill` is a stop by hand, after which `unless-stopped` starts nothing."""
    assert services()["proxy"]["restart"] == "always"
    assert services()["proxy"]["stop_signal"] == "SIGTERM"


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_replica_that_has_not_started_can_be_stopped(name: str) -> None:
    """Process 1 hears only the signals that it asked for, and asking takes it a second."""
    assert services()[name]["init"] is True


def test_no_secret() -> None:
    """Every key that stands in a file says that it is none."""
    files = [COMPOSE, *(path for path in DEPLOY.rglob("*") if path.is_file() and path.suffix != ".pyc")]
    for path in files:
        for key in re.findall(r"sk-[\w-]+", path.read_text("utf-8")):
            assert re.fullmatch(r"sk-(apex|mock)-[a-z]+(-\d)?", key), path


def test_the_configuration_is_valid() -> None:
    """With the environment that the compose file gives; and it has nothing to warn of."""
    assert "is valid: " in checking.summary(config(), "apex.yaml")
    assert not checking.unguarded(config())


def test_the_configuration_fits_the_services() -> None:
    """Redis and every provider are services, at the ports they listen on."""
    own = config()
    assert urlsplit(own.redis.url).hostname == "redis"
    assert own.redis.min_replicas == services()["proxy"]["deploy"]["replicas"]
    assert {urlsplit(provider.base_url or "").netloc for provider in own.providers.values()} == {
        "mock-a:9001",
        "mock-b:9001",
    }


@pytest.mark.parametrize("name", ["mock-a", "mock-b"])
def test_a_scripted_provider(name: str) -> None:
    """Its script is one, and it knows the models that it is asked for."""
    service = services()[name]
    command = service["command"]
    file = DEPLOY / "mocks" / command[command.index("--script") + 1].removeprefix("/etc/mocks/")
    assert set(read(file)["models"]) == set(config().models)
    assert mockprovider.load(file.read_text("utf-8")).default.status == 200


def test_one_provider_is_unreliable_and_none_breaks_what_has_begun() -> None:
    """What breaks after the first content cannot be hidden from a client."""
    steady, unsteady = (read(DEPLOY / "mocks" / f"{name}.yaml") for name in ("steady", "unsteady"))
    assert "rules" not in steady
    late = {"cut_after_events", "cut_after_bytes", "stall_after_events", "stall_after_bytes", "terminal"}
    assert len(unsteady["rules"]) >= 5
    assert not any(late & rule["then"].keys() for rule in unsteady["rules"])


def test_grafana_shows_what_is_in_the_repository() -> None:
    """Its data source is the service of that name, its dashboards are where they are mounted."""
    folder = DEPLOY / "grafana" / "provisioning"
    (source,) = read(folder / "datasources" / "prometheus.yml")["datasources"]
    assert (source["uid"], source["url"]) == ("prometheus", "http://prometheus:9090")
    (provider,) = read(folder / "dashboards" / "files.yml")["providers"]
    places = {place: source for source, place, _ in mounts(services()["grafana"])}
    path = provider["options"]["path"]
    assert places[path] == "./deploy/grafana/dashboards"
    first = services()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (DEPLOY / "grafana" / "dashboards" / first.removeprefix(f"{path}/")).is_file()


def test_grafana_has_no_account() -> None:
    """Everybody may look, nobody may change anything."""
    said = services()["grafana"]["environment"]
    assert said["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert said["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert said["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
