"""What limits whom: from the configuration to the scopes of the limiter, once per config.

A client's scope holds its own limits and those it has for single models, a model's scope the limits over
everybody's requests for it, a key's scope what one provider key allows, whichever model it is used for.
Scopes are named in Redis by digests: names of clients are not for whoever can list keys there.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping

from proxy.config.settings import Config
from proxy.config.settings import Limits as Settings
from proxy.targets import Model, direct
from ratelimit.quota import OnOutage, Quota, Window
from ratelimit.scope import Kind, Limits, Scope

NONE: Limits = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Scopes:
    """All scopes of a configuration: clients by name, models by alias, keys by key id."""

    clients: Mapping[str, Scope]
    models: Mapping[str, Scope]
    keys: Mapping[str, Scope]

    def of_client(self, name: str, alias: str) -> Limits:
        """What limits a client's request for a model."""
        found = self.clients.get(name)
        return found.limits(alias) if found is not None else NONE

    def of(self, kind: Kind, name: str) -> Limits:
        """All limits of one holder, a client's for single models too."""
        found = {Kind.CLIENT: self.clients, Kind.MODEL: self.models, Kind.KEY: self.keys}[kind].get(name)
        return found.all if found is not None else NONE

    def of_model(self, alias: str) -> Limits:
        """What limits everybody's requests for a model."""
        found = self.models.get(alias)
        return found.own if found is not None else NONE

    def of_key(self, key_id: str) -> Limits:
        """What limits the use of a provider key."""
        found = self.keys.get(key_id)
        return found.own if found is not None else NONE


def scopes(config: Config, models: Mapping[str, Model]) -> Scopes:
    """The scopes of `config`. Only what is limited has one."""
    clients = {
        client.name: Scope.of(
            Kind.CLIENT,
            _tag(client.name),
            quota(client.limits),
            {alias: quota(limits) for alias, limits in client.model_limits.items()},
            client.name,
        )
        for client in config.clients
        if client.limits or client.model_limits
    }
    aliases = {
        alias: Scope.of(Kind.MODEL, _tag(alias), quota(model.limits), name=alias)
        for alias, model in config.models.items()
        if model.limits
    }
    keys = {
        target.key_id: Scope.of(Kind.KEY, _tag(target.key_id), quota(target.limits), name=target.key_id)
        for model in (*models.values(), *_addressed(config))
        for target in model.targets
        if target.limits
    }
    return Scopes(clients, aliases, keys)


def _addressed(config: Config) -> Iterator[Model]:
    """A model at each provider, as clients may address it: its keys are limited all the same."""
    for provider in config.providers:
        found = direct(config, provider, "any")
        if found is not None:
            yield found


def quota(limits: Settings | None) -> Quota:
    """A configured limit as the limiter takes it."""
    if limits is None:
        return Quota()
    return Quota(
        requests_per_minute=limits.requests_per_minute,
        tokens_per_minute=limits.tokens_per_minute,
        concurrency=limits.concurrency,
        burst=limits.burst,
        burst_tokens=limits.burst_tokens,
        window=Window(limits.window),
        on_outage=OnOutage(limits.on_outage),
    )


def _tag(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]
