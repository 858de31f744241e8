"""What the chart refuses, each with one line that says what to do."""

from typing import Any

import pytest
from charts import CHART, RefusedError, helm, made, needs_helm, values

pytestmark = [pytest.mark.process, needs_helm]

KEY = "sk-a-key-in-clear"
CLEAR: dict[str, dict[str, Any]] = {
    "clients[0].key": {"clients": [{"name": "app", "key": KEY}]},
    "clients[1].keys[1]": {"clients": [{"name": "a", "key": "${A}"}, {"name": "b", "keys": ["${B}", KEY]}]},
    "providers.openai.api_key": {"providers": {"openai": {"api_key": KEY}}},
    "providers.openai.api_keys": {"providers": {"openai": {"api_keys": KEY}}},
    "providers.openai.api_keys[0]": {"providers": {"openai": {"api_keys": [KEY]}}},
    "providers.openai.api_keys[0].key": {"providers": {"openai": {"api_keys": [{"key": KEY}]}}},
    "providers.openai.headers.x-api-key": {"providers": {"openai": {"headers": {"x-api-key": KEY}}}},
    "traces.headers.authorization": {"traces": {"headers": {"authorization": f"Bearer {KEY}"}}},
    "models.m.providers[0].api_key": {"models": {"m": {"providers": [{"provider": "o", "api_key": KEY}]}}},
    "responses.keys[0].key": {"responses": {"keys": [{"id": "1", "key": KEY}]}},
    "providers.openai.headers.x-api-key ": {
        "providers": {"openai": {"headers": {"x-api-key": f"{KEY}${{A}}"}}}
    },
    "providers.openai.headers.x-api-key  ": {"providers": {"openai": {"headers": {"x-api-key": "$${A}"}}}},
    "clients[0].key ": {"clients": [{"name": "app", "key": f"${{A}}{KEY}"}]},
    "clients[0].key  ": {"clients": [{"name": "app", "key": 12345678}]},
}
PASSWORDS: dict[str, dict[str, Any]] = {
    "redis.url": {"redis": {"url": f"redis://user:{KEY}@redis:6379"}},
    "redis.url ": {"redis": {"url": f"redis+sentinel://:{KEY}@one:26379,two:26379/main"}},
    "redis.url  ": {"redis": {"url": "redis://:pa$ss@redis"}},
    "redis.url   ": {"redis": {"url": "redis://:pa/ss@redis"}},
    "redis.url    ": {"redis": {"url": "redis://:pa@ss@redis"}},
    "redis.url     ": {"redis": {"url": f"redis://redis?password={KEY}"}},
    "redis.url      ": {"redis": {"url": f"redis://{KEY}@redis"}},
    "redis.url       ": {"redis": {"url": f"redis://{KEY}:@redis"}},
    "config.redis.responses_url": {"config": {"redis": {"responses_url": f"redis://:{KEY}@redis:6379"}}},
    "config.traces.endpoint": {"config": {"traces": {"endpoint": f"https://u:{KEY}@host"}}},
    "config.providers.p.base_url": {"config": {"providers": {"p": {"base_url": f"https://u:{KEY}@host/v1"}}}},
    "config.providers.p.base_url ": {
        "config": {"providers": {"p": {"base_url": f"https://h/v1?api-key={KEY}"}}}
    },
    "config.providers.p.base_url  ": {"config": {"providers": {"p": {"base_url": "https://u:a${B}@host"}}}},
    "config.providers.p.base_url   ": {"config": {"providers": {"p": {"base_url": "https://u:$${B}@host"}}}},
    "env.HTTPS_PROXY": {"env": {"HTTPS_PROXY": f"http://u:{KEY}@proxy:3128"}},
    "env.HTTPS_PROXY   ": {"env": {"HTTPS_PROXY": "http://u:12/34@proxy:3128"}},
    "env.HTTPS_PROXY ": {"env": {"HTTPS_PROXY": f"u:{KEY}@proxy:3128"}},
    "env.HTTPS_PROXY  ": {"env": {"HTTPS_PROXY": "http://u:${PASSWORD}@proxy:3128"}},
}
REFERENCES: list[dict[str, Any]] = [
    {"config": {"redis": {"responses_url": "redis://user:${A}@redis:6379/1"}}},
    {"config": {"redis": {"responses_url": "redis+sentinel://:${file:/run/a}@one:26379,two:26379/main"}}},
    {"config": {"redis": {"responses_url": "redis://redis?password=${A}&db=1"}}},
    {"config": {"providers": {"p": {"base_url": "https://host:8443/run/@cf/meta?api-version=1"}}}},
    {"config": {"providers": {"p": {"base_url": "https://[fd00::1]:8443/v1"}}}},
    {"config": {"providers": {"p": {"headers": {"authorization": "Bearer ${A}", "cookie": "session=${A}"}}}}},
    {"env": {"HTTPS_PROXY": "http://u:$(PROXY_PASSWORD)@proxy:3128", "OWNER": "team@example.com"}},
    {"env": {"MAX_TOKENS": 5, "SSL_KEY_FILE": "/etc/key.pem", "NO_PROXY": "a:80,[::1]:80"}},
]


def refusal(patch: dict[str, Any], name: str = "smallest") -> str:
    """What Helm says."""
    with pytest.raises(RefusedError) as caught:
        made(name, patch)
    return str(caught.value)


@pytest.mark.parametrize("place", CLEAR)
def test_a_key_in_clear(place: str) -> None:
    """By its place, and not by what it is."""
    said = refusal({"config": CLEAR[place]})
    assert f"config.{place.strip()} stands in clear: write " in said
    assert "${NAME} or ${file:PATH}" in said
    assert KEY not in said
    assert "12345678" not in said


@pytest.mark.parametrize("place", PASSWORDS)
def test_a_password_in_clear(place: str) -> None:
    """The same for addresses."""
    said = refusal(PASSWORDS[place])
    assert f"{place.strip()} holds a password in clear: " in said
    assert KEY not in said


@pytest.mark.parametrize("patch", REFERENCES, ids=str)
def test_what_is_no_key(patch: dict[str, Any]) -> None:
    """References, and what only looks like a key."""
    assert made("smallest", patch).objects


def test_a_variable_in_clear_that_is_called_a_key() -> None:
    """By its name, and not by what it is."""
    said = refusal({"env": {"OPENAI_API_KEY": KEY}})
    assert "env.OPENAI_API_KEY stands in clear: name its Secret in secrets.env" in said
    assert KEY not in said


@pytest.mark.parametrize("name", ["APEX_CONFIG", "APEX_REDIS_URL", "APEX_OPERATIONS_TOKEN"])
def test_a_variable_of_the_charts_own(name: str) -> None:
    """Wherever it comes from."""
    own = {"name": name, "secret": "s", "key": "k"}
    assert f"env: {name} is the chart's own" in refusal({"env": {name: "x"}})
    assert f"secrets.env[0]: {name} is the chart's own" in refusal({"secrets": {"env": [own]}})


def test_a_variable_that_would_stand_twice() -> None:
    """In one list, or in both."""
    one = {"name": "A", "secret": "s", "key": "k"}
    assert "secrets.env[1]: A stands in secrets.env already" in refusal({"secrets": {"env": [one, one]}})
    assert "env: A stands in secrets.env already" in refusal({"secrets": {"env": [one]}, "env": {"A": "x"}})


@pytest.mark.parametrize(
    ("patch", "line"),
    [
        ({"redis": {"url": ""}}, "redis.url or redis.secret.name is needed"),
        ({"redis": {"url": "embedded"}}, "redis.url=embedded is for a single replica"),
        (
            {"redis": {"url": "embedded"}, "replicaCount": 1, "autoscaling": {"enabled": True}},
            "redis.url=embedded is for a single replica",
        ),
        ({"config": {"redis": {"url": "redis://r"}}}, "config.redis.url: say it as redis.url"),
        ({"config": {"operations": {"token": "${T}"}}}, "config.operations.token: name its Secret"),
        ({"config": {"operations": {"host": "0.0.0.0"}}}, "config.operations.host: it is config.listen.host"),
        ({"config": {"listen": {"workers": 2}}}, "config.listen.workers: one process a pod"),
        ({"config": {"drain_timeout": "soon"}}, "config.drain_timeout: a duration such as"),
        ({"serviceMonitor": {"enabled": True}}, "serviceMonitor.enabled needs operations.token.secret"),
        (
            {"autoscaling": {"enabled": True, "inFlight": None}},
            "autoscaling.enabled needs autoscaling.inFlight",
        ),
        (
            {"autoscaling": {"enabled": True, "minReplicas": 9, "maxReplicas": 3}},
            "autoscaling.minReplicas is more than",
        ),
    ],
)
def test_what_cannot_work(patch: dict[str, Any], line: str) -> None:
    """In one line."""
    said = refusal(patch)
    assert line in said
    assert "\n" not in said


def test_one_replica_may_have_a_store_of_its_own() -> None:
    """Nothing is shared."""
    assert "url: embedded" in made("single").text


@pytest.mark.parametrize(
    ("patch", "place"),
    [
        ({"replicas": 3}, "replicas"),
        ({"replicaCount": 0}, "replicaCount"),
        ({"fullnameOverride": "My_Name"}, "fullnameOverride"),
        ({"fullnameOverride": "1st"}, "fullnameOverride"),
        ({"fullnameOverride": "name-"}, "fullnameOverride"),
        ({"replicaCount": "3"}, "replicaCount"),
        ({"image": {"digest": "latest"}}, "digest"),
        ({"redis": {"url": "http://redis"}}, "url"),
        ({"config": {"listen": {"port": 0}}}, "port"),
        ({"config": {"clients": {"name": "app"}}}, "clients"),
        ({"secrets": {"env": [{"name": "A", "secret": "s"}]}}, "key"),
        ({"secrets": {"env": [{"name": "A-B", "secret": "s", "key": "k"}]}}, "name"),
        ({"probes": {"liveness": {"httpGet": {"path": "/"}}}}, "httpGet"),
        ({"podDisruptionBudget": {"maxUnavailable": "half"}}, "maxUnavailable"),
        ({"networkPolicy": {"redis": {"ports": []}}}, "ports"),
        ({"service": {"type": "ExternalName"}}, "type"),
        ({"stopMarginSeconds": 0}, "stopMarginSeconds"),
    ],
)
def test_values_that_are_none(patch: dict[str, Any], place: str) -> None:
    """By the schema, which `helm lint` goes by as well."""
    assert place in refusal(patch)
    with pytest.raises(RefusedError):
        helm("lint", CHART, "--strict", given=values("smallest", patch))
