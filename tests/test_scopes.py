"""Tests of `proxy.scopes`: which limits a configuration puts on whom."""

from typing import Any

import pytest
from fakes.configs import CLIENT_KEY, MODEL, config

from proxy.config.settings import Limits as Settings
from proxy.scopes import NONE, Scopes, quota, scopes
from proxy.targets import models
from ratelimit.quota import OnOutage, Quota, Window
from ratelimit.scope import Kind

RPM = {"requests_per_minute": 60}


def made(providers: dict[str, Any] | None = None, **rest: Any) -> Scopes:
    """The scopes of a configuration."""
    found = config(providers or {"a": 2}, **rest)
    return scopes(found, models(found))


def client(**limits: Any) -> dict[str, Any]:
    """A section with one client that has these limits."""
    return {"clients": [{"name": "dev", "keys": [CLIENT_KEY], "models": ["*"], **limits}]}


def model(**limits: Any) -> dict[str, Any]:
    """A section with one model that has these limits."""
    return {"models": {MODEL: {"providers": [{"provider": "a", "model": "x"}], "limits": limits}}}


def test_without_limits_there_are_no_scopes() -> None:
    """Nothing is asked for a request that nothing limits."""
    found = made()
    assert (found.clients, found.models, found.keys) == ({}, {}, {})
    assert found.of_client("dev", MODEL) == found.of_model(MODEL) == found.of_key("a@x") == NONE


@pytest.mark.parametrize(
    ("limits", "alias", "names"),
    [
        ({"limits": RPM}, MODEL, ["client dev"]),
        ({"limits": RPM, "model_limits": {MODEL: RPM}}, MODEL, ["client dev", "client dev, model small"]),
        ({"limits": RPM, "model_limits": {MODEL: RPM}}, "other", ["client dev"]),
        ({"limits": RPM, "model_limits": {MODEL: RPM}}, "", ["client dev"]),
        ({"model_limits": {MODEL: RPM}}, MODEL, ["client dev, model small"]),
        ({"model_limits": {MODEL: RPM}}, "other", []),
    ],
)
def test_a_client_has_its_own_limits_and_those_for_single_models(
    limits: dict[str, Any], alias: str, names: list[str]
) -> None:
    """Both apply where both are given; the model's alone touches no other model."""
    assert [limit.name for limit in made(**client(**limits)).of_client("dev", alias)] == names


def test_all_limits_of_one_holder_are_found() -> None:
    """A client's for single models too; of who has none there are none."""
    found = made(**client(limits=RPM, model_limits={MODEL: RPM}), **model(requests_per_minute=9))
    names = ["client dev", "client dev, model small"]
    assert [limit.name for limit in found.of(Kind.CLIENT, "dev")] == names
    assert [limit.name for limit in found.of(Kind.MODEL, MODEL)] == ["model small"]
    assert found.of(Kind.CLIENT, "other") == found.of(Kind.KEY, "none") == NONE


def test_names_of_clients_do_not_reach_redis() -> None:
    """Keys hold digests; all limits of one client share a hash tag, and no two scopes do."""
    found = made(
        {"a": {"api_keys": ["k1", "k2"], "limits": RPM}},
        **client(limits=RPM, model_limits={MODEL: RPM}),
        **model(**RPM),
    )
    own, of_model = found.of_client("dev", MODEL)
    assert "dev" not in own.key
    assert own.tag == of_model.tag
    assert own.key.startswith(f"rl:{{{own.tag}}}:")
    tags = {own.tag, found.of_model(MODEL)[0].tag, *(scope.own[0].tag for scope in found.keys.values())}
    assert len(tags) == 4
    assert not any("k1" in tag or "small" in tag for tag in tags)


@pytest.mark.parametrize(
    ("account", "expected"),
    [
        ({"api_keys": ["k1", "k2"]}, []),
        ({"api_keys": ["k1", "k2"], "limits": {"requests_per_minute": 7}}, [7, 7]),
        ({"api_keys": ["k1", {"key": "k2", "limits": {"requests_per_minute": 9}}]}, [9]),
        (
            {
                "api_keys": ["k1", {"key": "k2", "limits": {"requests_per_minute": 9}}],
                "limits": {"requests_per_minute": 7},
            },
            [7, 9],
        ),
        ({"limits": {"requests_per_minute": 7}}, [7]),
    ],
)
def test_a_key_has_its_own_limits_or_its_providers(account: dict[str, Any], expected: list[int]) -> None:
    """The key's go before the provider's, which are for each of its keys; no key at all is one, too."""
    found = made({"a": account})
    assert sorted(scope.own[0].quota.requests_per_minute or 0 for scope in found.keys.values()) == expected


def test_a_key_is_one_scope_for_all_its_models() -> None:
    """A provider counts by key, whichever model it is used for."""
    settings = config(
        {"a": {"api_keys": ["k1"], "limits": RPM}},
        models={
            name: {"providers": [{"provider": "a", "model": name}]} for name in ("first", "second", "third")
        },
    )
    made_models = models(settings)
    found = scopes(settings, made_models)
    assert len(found.keys) == 1
    assert len({found.of_key(model.targets[0].key_id) for model in made_models.values()}) == 1


def test_a_quota_is_the_setting() -> None:
    """Every field arrives."""
    settings = Settings.model_validate(
        {
            "requests_per_minute": 60,
            "tokens_per_minute": 6000,
            "concurrency": 5,
            "burst": 10,
            "burst_tokens": 600,
            "on_outage": "deny",
        }
    )
    assert quota(settings) == Quota(60, 6000, 5, 10, 600, Window.SMOOTH, OnOutage.DENY)
    strict = quota(Settings.model_validate({"requests_per_minute": 60, "window": "strict"}))
    assert strict == Quota(60, window=Window.STRICT)
    assert quota(None).unlimited


def test_a_key_is_limited_whether_or_not_a_model_names_its_provider() -> None:
    """A client that may address providers directly meets the same limits."""
    found = config({"a": 1})
    other = found.providers["a"].model_copy(update={"limits": Settings(requests_per_minute=1)})
    found = found.model_copy(update={"providers": {**found.providers, "b": other}})
    assert [key.partition("@")[0] for key in scopes(found, models(found)).keys] == ["b"]
