"""Configurations and targets by the few words that a test is about."""

from collections.abc import Mapping
from typing import Any

from proxy.config.settings import Config
from proxy.targets import Target, models

CLIENT_KEY = "sk-client-0123456789"
MODEL = "small"
Tree = dict[str, Any]


def config(providers: Mapping[str, int | Tree], **rest: Any) -> Config:
    """A configuration with one model over all `providers`.

    A provider is the number of its keys (`a1`, `a2` for provider `a`), or its own settings. In `entries`
    are settings of an entry by provider; `strategy` is the model's, `ordered` unless given; `client` and
    `model` are further settings of the one client and the one model.
    """
    entries: Mapping[str, Tree] = rest.pop("entries", {})
    strategy = rest.pop("strategy", "ordered")
    client: Tree = rest.pop("client", {})
    model: Tree = rest.pop("model", {})
    tree: Tree = {
        "clients": [{"name": "dev", "keys": [CLIENT_KEY], "models": ["*"], **client}],
        "providers": {name: _provider(name, what) for name, what in providers.items()},
        "models": {
            MODEL: {
                **model,
                "strategy": strategy,
                "providers": [
                    {"provider": name, "model": f"{name}-model", **entries.get(name, {})}
                    for name in providers
                ],
            }
        },
    }
    return Config.model_validate(tree | rest)


def _provider(name: str, what: int | Tree) -> Tree:
    base: Tree = {"base_url": f"http://{name}.test/v1"}
    if isinstance(what, int):
        return base | {"api_keys": [f"{name}{number + 1}" for number in range(what)]}
    return base | what


def targets_of(made: Config) -> tuple[Target, ...]:
    """The targets of the one model."""
    return models(made)[MODEL].targets


def target(name: str = "a") -> Target:
    """One target of provider `name` with one key."""
    return targets_of(config({name: 1}))[0]
