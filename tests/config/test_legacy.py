import json

import pytest

from proxy.config import ConfigError, config_hash, legacy, load, load_environment
from proxy.config.units import Secret


def environment(providers: object = None, models: object = None, key: str | None = None) -> dict[str, str]:
    """The original's variables."""
    env = {"PROVIDER_CONFIG": json.dumps(providers), "MODEL_PROVIDER_CONFIG": json.dumps(models)}
    given = {name: text for name, text in env.items() if text != "null"}
    return given | ({"SERVICE_API_KEY": key} if key else {})


def test_without_its_variables_there_is_no_configuration() -> None:
    """A key alone configures nothing."""
    assert load_environment({}) is None
    assert load_environment({"SERVICE_API_KEY": "12345678", "PROVIDER_CONFIG": ""}) is None


def test_the_originals_shapes_become_the_tree() -> None:
    """Providers, models and the key mean what a file with the same would mean."""
    config = load_environment(
        environment(
            {
                "azure": {"base_url": "https://r.azure-api.net", "api_keys": ["k1", "k2"]},
                "deepseek": {"base_url": "https://api.deepseek.com", "api_keys": ["k3"]},
            },
            {
                "gpt-4o": {
                    "providers": [
                        {"provider": "azure", "model": "gpt-4o"},
                        {"provider": "deepseek", "model": "d"},
                    ]
                }
            },
            "service-key",
        )
    )
    assert config is not None
    text = """
clients: [{name: default, key: service-key, allow_direct: true}]
providers:
  azure: {kind: azure, base_url: "https://r.azure-api.net", api_keys: [k1, k2]}
  deepseek: {base_url: "https://api.deepseek.com", api_keys: [k3]}
models:
  gpt-4o: {providers: [{provider: azure}, {provider: deepseek, model: d}]}
"""
    assert config == load(text, {})
    assert config_hash(config) == config_hash(load(text, {}))


@pytest.mark.parametrize(
    ("name", "base_url", "kind"),
    [
        ("azure", "https://gateway.example", "azure"),
        ("azure-openai", "https://gateway.example", "azure"),
        ("aliyun", "https://gateway.example", "dashscope"),
        ("mistral", "https://gateway.example", "mistral"),
        ("anthropic", "https://gateway.example", "anthropic"),
        ("mine", "https://api.openai.com/v1", "openai"),
        ("mine", "https://gateway.example", "generic"),
    ],
)
def test_a_kind_is_known_by_the_providers_name(name: str, base_url: str, kind: str) -> None:
    """The name goes before the host, as it did in the original."""
    config = load_environment(environment({name: {"base_url": base_url}}))
    assert config is not None
    assert config.providers[name].kind == kind


def test_an_entry_keeps_its_own_and_takes_what_it_lacks() -> None:
    """Own keys and addresses go first; a missing key is the provider's; two forms of keys are one list."""
    config = load_environment(
        environment(
            {"p": {"base_url": "http://p", "api_keys": ["pk"]}},
            {
                "m": {
                    "providers": [
                        {"provider": "p", "model": "a", "api_key": "own"},
                        {"provider": "p", "model": "b", "base_url": "http://other"},
                        {"provider": "p", "model": "c", "base_url": "http://other", "api_key": "own"},
                        {"provider": "p", "model": "d", "api_key": "one", "api_keys": ["two", "one"]},
                        {"provider": "p"},
                    ]
                }
            },
        )
    )
    assert config is not None
    entries = config.models["m"].providers
    keys = [[key.key.get_secret_value() for key in entry.api_keys] for entry in entries]
    assert keys == [["own"], ["pk"], ["own"], ["one", "two"], []]
    assert [entry.model for entry in entries] == ["a", "b", "c", "d", "m"]
    assert config.clients == ()


def test_an_entry_may_bring_its_provider_along() -> None:
    """PROVIDER_CONFIG may be missing where every entry has an address of its own."""
    entry = {"provider": "azure", "model": "gpt-4o", "base_url": "https://gateway.example", "api_key": "k"}
    config = load_environment(environment(models={"gpt-4o": {"providers": [entry]}}))
    assert config is not None
    [found] = config.models["gpt-4o"].providers
    assert (found.provider, found.kind, found.base_url) == ("azure", "azure", "https://gateway.example")
    assert found.api_keys[0].key == Secret("k")


def test_settings_of_a_file_work_in_json_too() -> None:
    """What the original did not know may be said all the same; `${` has no meaning."""
    config = load_environment(
        environment(
            {"p": {"base_url": "http://p", "api_keys": [{"key": "${K}"}]}},
            {"m": {"strategy": "ordered", "providers": [{"provider": "p", "weight": 3}]}},
        )
    )
    assert config is not None
    assert config.models["m"].strategy == "ordered"
    assert config.providers["p"].api_keys[0].key.get_secret_value() == "${K}"


def told(env: dict[str, str]) -> list[str]:
    """The problems of an environment."""
    with pytest.raises(ConfigError) as caught:
        load_environment(env)
    assert "canary" not in str(caught.value)
    return [problem.path for problem in caught.value.problems]


def test_problems_are_named_by_their_variable() -> None:
    """Paths begin with the variable; nothing secret is shown."""
    assert told(
        environment(
            {"p": {"base_url": "h/v1", "api_keys": ["k"], "typo": 1}},
            {"m": {"providers": [{"provider": "q", "model": "x"}]}},
            "canary",
        )
    ) == [
        "SERVICE_API_KEY",
        "PROVIDER_CONFIG.p.base_url",
        "PROVIDER_CONFIG.p.typo",
        "MODEL_PROVIDER_CONFIG.m.providers[0].provider",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": canary}', "a syntax error (line 1, column 7)"),
        ("[1]", "something else"),
        ("[" * 100_000, "a syntax error"),
        ('{"p": {"base_url": "http://h"}, "p": {"base_url": "http://h"}}', "`p` more than once"),
    ],
)
def test_what_is_no_json_object_is_a_problem(text: str, found: str) -> None:
    """Syntax errors say where; repeated keys are refused here too."""
    with pytest.raises(ConfigError) as caught:
        load_environment({"PROVIDER_CONFIG": text, "MODEL_PROVIDER_CONFIG": "{}"})
    [problem] = [problem for problem in caught.value.problems if problem.path == "PROVIDER_CONFIG"]
    assert problem.found == found
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("models", [{"m": 5}, {"m": {"providers": 5}}, {"m": {"providers": [5]}}])
def test_other_shapes_are_left_to_the_tree(models: object) -> None:
    """What is no entry is complained about where it stands."""
    assert all(path.startswith("MODEL_PROVIDER_CONFIG.m") for path in told(environment({"p": 5}, models))[1:])


def test_presence_is_the_two_tables() -> None:
    """Either table is a configuration."""
    assert legacy.present({"MODEL_PROVIDER_CONFIG": "{}"})
    assert not legacy.present({"SERVICE_API_KEY": "x"})
