import pytest
from pydantic import ValidationError

from proxy.config.settings import (
    ApiKey,
    Client,
    Config,
    Cors,
    Entry,
    Limits,
    Model,
    Provider,
    Redis,
)
from proxy.config.units import Secret


def test_the_defaults_are_the_documented_ones() -> None:
    """An empty configuration holds the defaults the specification names."""
    config = Config()
    assert (config.listen.host, config.listen.port, config.listen.keep_alive, config.listen.workers) == (
        "127.0.0.1",
        8080,
        120.0,
        1,
    )
    assert (config.operations.host, config.operations.port) == ("127.0.0.1", 9090)
    assert (config.redis.url, config.redis.embedded_dir, config.redis.embedded_memory) == (
        "embedded",
        None,
        2**28,
    )
    waits = config.timeouts
    assert (waits.connect, waits.first_token, waits.total, waits.idle, waits.max_stream) == (
        5,
        60,
        600,
        60,
        3600,
    )
    bounds = config.bounds
    assert (bounds.body, bounds.header_block, bounds.json_depth) == (32 * 2**20, 32 * 2**10, 128)
    assert (bounds.header_read, bounds.body_read, bounds.reply) == (10.0, 60.0, 64 * 2**20)
    assert (config.retry.attempts, config.retry.budget) == (3, 0.2)
    assert config.drain_grace == 5.0
    assert (config.drain_timeout, config.cors, config.log.level, config.log.format) == (
        120.0,
        None,
        "info",
        "auto",
    )
    assert (config.clients, config.providers, config.models) == ((), {}, {})


def test_sections_are_frozen_and_closed() -> None:
    """Nothing can be changed or added after the fact."""
    config = Config()
    with pytest.raises(ValidationError, match="frozen"):
        config.listen.port = 1
    with pytest.raises(ValidationError, match="not permitted"):
        Config.model_validate({"portt": 1})


def test_short_forms_and_long_forms_are_the_same() -> None:
    """`key`, a bare string and a list of one say the same."""
    assert Client.model_validate({"name": "a", "key": "12345678"}) == Client(
        name="a", keys=(Secret("12345678"),)
    )
    long = Provider(base_url="http://h", api_keys=(ApiKey(key=Secret("k")),))
    for short in ({"api_key": "k"}, {"api_keys": "k"}, {"api_keys": ["k"]}, {"api_keys": [{"key": "k"}]}):
        assert Provider.model_validate({"base_url": "http://h", **short}) == long
    assert Entry.model_validate({"model": "m", "api_key": {"key": "k"}}).api_keys == long.api_keys


def test_limits_stand_where_they_are_allowed() -> None:
    """Clients, their models, models, providers and single keys take limits."""
    limits = {"requests_per_minute": 60, "burst": 10, "window": "strict"}
    config = Config.model_validate(
        {
            "clients": [{"name": "a", "key": "12345678", "limits": limits, "model_limits": {"m": limits}}],
            "providers": {
                "p": {"base_url": "http://h", "limits": limits, "api_keys": [{"key": "k", "limits": limits}]}
            },
            "models": {"m": {"limits": limits, "providers": [{"provider": "p"}]}},
        }
    )
    expected = Limits(requests_per_minute=60, burst=10, window="strict")
    provider = config.providers["p"]
    found = [
        config.clients[0].limits,
        config.clients[0].model_limits["m"],
        config.models["m"].limits,
        provider.limits,
        provider.api_keys[0].limits,
    ]
    assert found == [expected] * 5
    assert config.models["m"].providers[0].model == "m"


@pytest.mark.parametrize(
    ("section", "data", "said"),
    [
        (Limits, {"burst": 5}, "`burst` only together with"),
        (Limits, {"burst_tokens": 5}, "`burst_tokens` only together with"),
        (Limits, {"concurrency": 0}, "greater than or equal to 1"),
        (Client, {"name": "a", "keys": []}, "at least 1 item"),
        (Client, {"name": "a", "key": "12345678", "keys": ["x"]}, "either `key` or `keys`"),
        (Provider, {}, "Field required"),
        (
            Provider,
            {"base_url": "http://h", "api_key": "k", "headers": {"Authorization": "x"}},
            "either keys or",
        ),
        (Provider, {"base_url": "http://h", "api_keys": [5]}, "valid string"),
        (Entry, {"model": "m", "api_key": "k", "headers": {"api-key": "x"}}, "either keys or the header"),
        (Entry, {"model": "m", "weight": 0}, "greater than 0"),
        (Model, {"providers": []}, "at least 1 item"),
        (Cors, {}, "Field required"),
        (Redis, {"embedded_memory": "1MiB"}, "greater than or equal to 16777216"),
    ],
)
def test_sections_refuse_what_makes_no_sense(
    section: type[Config], data: dict[str, object], said: str
) -> None:
    """Rules within a section are held by the section."""
    with pytest.raises(ValidationError, match=said):
        section.model_validate(data)


def test_an_authorization_of_ones_own_needs_no_key() -> None:
    """Without keys the operator may send a header of his own."""
    provider = Provider.model_validate({"base_url": "http://h", "headers": {"Authorization": "Token x"}})
    assert provider.headers == {"authorization": "Token x"}


def test_nothing_secret_is_shown_or_dumped() -> None:
    """A canary in every secret place appears in no repr, dump or error."""
    data = {
        "redis": {"url": "redis://:canary@h"},
        "clients": [{"name": "a", "keys": ["canary-1"]}],
        "providers": {
            "p": {
                "base_url": "http://h",
                "api_key": "canary",
                "headers": {"a": "canary"},
                "extra_body": {"b": "canary"},
            }
        },
        "models": {"m": {"providers": [{"provider": "p", "headers": {"x": "canary"}}]}},
    }
    config = Config.model_validate(data)
    assert "canary" not in f"{config!r} {config} {config.model_dump()} {config.model_dump_json()}"
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(data | {"unknown": "canary", "log": "canary"})
    assert "canary" not in str(caught.value)
