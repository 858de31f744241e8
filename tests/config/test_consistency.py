import pytest

from proxy.config.consistency import faults

PROVIDERS = {"openai": {"base_url": "http://h", "api_key": "k"}, "free": {"base_url": "http://f"}}
MODELS = {"m": {"providers": [{"provider": "openai"}]}}


def told(**config: object) -> list[tuple[tuple[str | int, ...], str, str]]:
    """Path, finding and mending of each fault."""
    data = {"providers": PROVIDERS, "models": MODELS} | config
    return [(fault.path, fault.found, fault.mend) for fault in faults(data)]


def entry(**settings: object) -> dict[str, object]:
    """A table of models with one entry."""
    return {"m": {"providers": [settings]}}


def test_a_sound_configuration_has_no_faults() -> None:
    """Nothing is said where nothing is wrong."""
    clients = [{"name": "a", "key": "1"}, {"name": "b", "keys": ["2", "3"], "models": ["m", "gpt-*"]}]
    assert told(clients=clients) == []


def test_names_and_keys_of_clients_differ() -> None:
    """A name or key used twice is named with both places; the key itself is not shown."""
    clients = [
        {"name": "a", "key": "canary"},
        {"name": "a", "keys": ["x", "canary\n"]},
        {"name": "c", "keys": "x"},
    ]
    assert told(clients=clients) == [
        (("clients", 1, "name"), '"a", which clients[0] has too', "choose another name"),
        (("clients", 1, "keys", 1), "the same key as clients[0].key", "give every client a key of its own"),
        (("clients", 2, "keys"), "the same key as clients[1].keys[0]", "give every client a key of its own"),
    ]


def test_models_of_clients_exist() -> None:
    """A model that is no alias is a slip; patterns may match nothing yet."""
    clients = [{"name": "a", "models": ["mm", "z*"], "model_limits": {"other-model": {}}}]
    assert told(clients=clients) == [
        (("clients", 0, "models", 0), '"mm", which is no model', "did you mean `m`?"),
        (
            ("clients", 0, "model_limits", "other-model"),
            '"other-model", which is no model',
            "add it to `models`",
        ),
    ]


def test_a_client_may_use_something() -> None:
    """No models are of use only to a client that addresses providers itself."""
    assert told(clients=[{"name": "a", "models": []}]) == [
        (("clients", 0, "models"), "an empty list", "name a model, or set `allow_direct: true`")
    ]
    assert told(clients=[{"name": "a", "models": [], "allow_direct": True}]) == []


def test_entries_name_a_provider_that_exists() -> None:
    """An unknown provider is an error unless the entry brings an address; a missing one likewise."""
    path = ("models", "m", "providers", 0, "provider")
    assert told(models=entry(provider="opnai")) == [
        (path, '"opnai", which is no provider', "did you mean `openai`?")
    ]
    assert told(models=entry(provider="zzz")) == [
        (path, '"zzz", which is no provider', "add it to `providers`")
    ]
    assert told(models=entry()) == [(path, "nothing", "add `provider:`")]
    assert told(models=entry(provider="zzz", base_url="http://x")) == []
    assert told(models=entry(base_url="http://x")) == []


def test_an_entry_adds_no_second_authorization() -> None:
    """Where the provider's key is sent, no header of the entry may carry another."""
    headers = {"Authorization": "x", "x-org": "y"}
    [fault] = told(models=entry(provider="openai", headers=headers))
    assert fault[0] == ("models", "m", "providers", 0, "headers", "Authorization")
    assert told(models=entry(provider="free", headers=headers)) == []
    assert told(models=entry(provider="openai", base_url="http://x", headers=headers)) == []


def test_the_name_template_has_a_name() -> None:
    """`:name` in an address, written or by kind, needs a name in the provider or the entry."""
    template = "https://:name.openai.azure.com"
    providers = {
        "az": {"kind": "azure"},
        "named": {"kind": "azure", "name": "r"},
        "plain": {"kind": "openai"},
    }
    mend = "add `name:`, or write the host out in `base_url`"
    models = {
        "m": {
            "providers": [
                {"provider": "named", "base_url": template},
                {"provider": "plain", "base_url": template},
                {"provider": "plain", "base_url": template, "name": "r"},
            ]
        }
    }
    assert told(providers=providers, models=models) == [
        (("providers", "az", "name"), "nothing", mend),
        (("models", "m", "providers", 1, "name"), "nothing", mend),
    ]


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"providers": {}, "models": {}}, ["no model and no provider"]),
        ({"models": {}, "clients": [{"name": "a"}]}, ["no model that a client may use"]),
        ({"models": {}, "clients": [{"name": "a", "allow_direct": True}]}, []),
        ({"models": {}}, []),
    ],
)
def test_there_is_something_to_call(config: dict[str, object], found: list[str]) -> None:
    """A configuration that can answer nothing is a mistake."""
    assert [fault[1] for fault in told(**config)] == found


@pytest.mark.parametrize(
    ("listen", "operations", "path"),
    [
        ({"port": 9090}, {}, ("listen", "port")),
        ({"port": 9092, "workers": 4}, {}, ("listen", "port")),
        ({"port": 9092}, {}, None),
        ({"port": 0}, {"port": 0}, None),
        ({"workers": 2}, {"port": 65_535}, ("operations", "port")),
        ({"port": "${PORT}"}, {}, None),
    ],
)
def test_every_listener_has_a_port(
    listen: dict[str, object], operations: dict[str, object], path: tuple[str, ...] | None
) -> None:
    """Client port and the operations ports of all workers do not meet, and exist."""
    assert [fault[0] for fault in told(listen=listen, operations=operations)] == ([path] if path else [])


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {"providers": {"p": {}}, "clients": 5, "models": 5},
        {"providers": {"p": 5}, "clients": [5], "models": {"m": 5}},
        {"providers": {"p": {}}, "clients": [{"keys": [5], "key": 5, "name": 5, "models": [5]}]},
        {"providers": {"p": {}}, "models": {"m": {"providers": [5, {"provider": 5}]}}},
    ],
)
def test_what_has_another_shape_is_left_to_the_tree(data: object) -> None:
    """Wrong shapes are complained about once, by the tree."""
    assert [fault.path for fault in faults(data)] in ([], [("models",)])
