"""Targets: provider x key x upstream model, with all that sending to one needs, made once per config.

Everything that follows from the configuration alone is worked out here and not per request: the URL of
each endpoint, the complete headers with the one that carries the key, the edits to a body, the timeouts.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

import msgspec

from proxy.addresses import PATHS, address
from proxy.config.pricing import Price
from proxy.config.resilience import TimeoutOverrides, Timeouts
from proxy.config.settings import ApiKey, Config, Entry, Limits, Provider
from proxy.config.settings import (
    Model as ModelSettings,
)
from proxy.demand import OutputPolicy
from proxy.profiles import PROFILES, Kind, authorization, quirks
from proxy.wire.bypass import Edits
from proxy.wire.codec import Facts
from proxy.wire.envelope import encode
from proxy.wire.model import Dialect, Endpoint

_NO_KEY = "none"

VERSION = ("anthropic-version", "2023-06-01")
"""The version of the Messages API where the client names none, and of all translated requests: the one that
every model takes, and that allows `temperature`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """One place an attempt can go to.

    `id` names it in health and limits over the whole cluster, `label` is `provider/model` as clients see
    it. `origin` is scheme, host and port: what transport errors are about. `weight` is the entry's, shared
    evenly among its keys. `price` is the operator's. `facts` say for whom a translated body is written.
    `urls` holds all endpoints.
    """

    id: str
    label: str
    provider: str
    model: str
    key_id: str
    origin: str
    weight: float
    priority: int
    dialects: frozenset[Dialect]
    timeouts: Timeouts
    limits: Limits | None
    output_policy: OutputPolicy
    facts: Facts
    edits: Edits = dataclasses.field(repr=False)
    urls: Mapping[Endpoint, str] = dataclasses.field(repr=False)
    headers: tuple[tuple[str, str], ...] = dataclasses.field(repr=False)
    kind: Kind = "generic"
    price: Price | None = None

    def headers_of(
        self, endpoint: Endpoint, vendor: tuple[tuple[str, str], ...]
    ) -> tuple[tuple[str, str], ...]:
        """All headers of a call to `endpoint`; `vendor` are those of the client that may pass.

        There is one version: the operator's, else the client's. Betas add up.
        """
        if endpoint is not Endpoint.MESSAGES:
            return self.headers
        if any(name == VERSION[0] for name, _ in self.headers):
            return self.headers + tuple(header for header in vendor if header[0] != VERSION[0])
        given = any(name == VERSION[0] for name, _ in vendor)
        return self.headers + vendor + (() if given else (VERSION,))


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """A public alias and its targets, in file order.

    `alias` is the metric label. `timeouts.total` bounds a whole request; a target's own bounds one attempt,
    and is never longer. `most_ejected` is the part of its targets that failure rates may keep away.
    """

    alias: str
    strategy: str
    targets: tuple[Target, ...]
    timeouts: Timeouts
    most_ejected: float
    limits: Limits | None = None


def key_id(key: str) -> str:
    """A provider key's public name, the same on every replica: 10 hex digits of SHA-256 of "apex" + key."""
    return hashlib.sha256(("apex" + key).encode()).hexdigest()[:10]


def models(config: Config) -> dict[str, Model]:
    """All models of a configuration with their targets."""
    return {alias: _model(config, alias, settings) for alias, settings in config.models.items()}


def direct(config: Config, provider: str, model: str) -> Model | None:
    """The model that `model#provider` addresses; None where there is no such provider.

    Its alias is empty: what a client makes up is no metric label. Nor is it a name in health: models that
    nobody has configured are held against their provider's keys together.
    """
    if provider not in config.providers:
        return None
    targets = tuple(_targets(config, Entry(provider=provider, model=model), None))
    if not _configured(config, provider, model):
        targets = tuple(
            dataclasses.replace(target, id=f"{provider}/*@{target.key_id.rpartition('@')[2]}")
            for target in targets
        )
    return Model("", "weighted", targets, _whole(config.timeouts, targets), config.health.max_ejected)


def _configured(config: Config, provider: str, model: str) -> bool:
    """Whether any alias is answered by this model of this provider."""
    entries = (entry for settings in config.models.values() for entry in settings.providers)
    return any(entry.provider == provider and entry.model == model for entry in entries)


def _model(config: Config, alias: str, settings: ModelSettings) -> Model:
    targets = tuple(
        target for entry in settings.providers for target in _targets(config, entry, settings.timeouts)
    )
    waits = _whole(_waits(config.timeouts, None, settings.timeouts), targets)
    most = config.health.max_ejected
    return Model(alias, settings.strategy, targets, waits, most, settings.limits)


def _targets(config: Config, entry: Entry, timeouts: TimeoutOverrides | None) -> Iterator[Target]:
    account = _account(config, entry)
    waits = _waits(config.timeouts, config.providers.get(entry.provider or ""), timeouts)
    keys: tuple[ApiKey | None, ...] = account.api_keys or (None,)
    for key in keys:
        yield _target(entry, account, key, waits, len(keys))


def _account(config: Config, entry: Entry) -> Provider:
    """The provider an entry names with the entry's own settings over it."""
    base = config.providers.get(entry.provider or "")
    own = {
        name: value
        for name in ("kind", "base_url", "name", "api_version", "dialects")
        if (value := getattr(entry, name)) is not None
    }
    if entry.kind is not None:
        own.setdefault("dialects", PROFILES[entry.kind].dialects)
    if base is None:
        return Provider.model_validate(
            own
            | {
                "api_keys": entry.api_keys,
                "headers": entry.headers,
                "extra_body": entry.extra_body,
                "drop_params": entry.drop_params,
                "quirks": entry.quirks,
            }
        )
    return base.model_copy(
        update=own
        | {
            "api_keys": entry.api_keys or (() if entry.base_url else base.api_keys),
            "headers": {**base.headers, **entry.headers},
            "extra_body": {**base.extra_body, **entry.extra_body},
            "drop_params": base.drop_params + entry.drop_params,
            "quirks": base.quirks.over(entry.quirks),
        }
    )


def _target(entry: Entry, account: Provider, key: ApiKey | None, waits: Timeouts, keys: int) -> Target:
    provider = entry.provider or account.kind
    secret = key.key.get_secret_value() if key else None
    name = key_id(secret) if secret else _NO_KEY
    place = f"@{_tag(account.base_url)}" if entry.base_url else ""  # the same key elsewhere is another
    model = entry.model
    urls = {
        Endpoint(word): address(
            account.kind, account.base_url, account.name, account.api_version, model, word
        )
        for word in PATHS
    }
    return Target(
        id=f"{provider}/{model}@{name}{place}",
        label=f"{provider}/{model}",
        provider=provider,
        model=model,
        key_id=f"{provider}{place}@{name}",
        origin=_origin(urls[Endpoint.CHAT]),
        weight=entry.weight / keys,
        priority=entry.priority,
        dialects=frozenset(Dialect(dialect) for dialect in account.dialects),
        timeouts=waits,
        limits=(key.limits if key else None) or account.limits,
        output_policy=OutputPolicy(account.reserve_output),
        facts=Facts(
            model, quirks(account.kind, model, account.quirks.said), f"{provider}{place}{_own(entry)}"
        ),
        edits=_edits(account, model),
        urls=urls,
        headers=_headers(account.kind, secret, account.headers),
        kind=account.kind,
        price=entry.price,
    )


def _edits(account: Provider, model: str) -> Edits:
    return Edits(
        model=msgspec.Raw(encode(model)),
        include_usage=PROFILES[account.kind].include_usage,
        extra={name: msgspec.Raw(encode(value)) for name, value in account.extra_body.items()},
        drop=account.drop_params,
    )


def _headers(kind: Kind, key: str | None, extra: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    auth = dict([authorization(kind, key)]) if key else {}
    return tuple({"content-type": "application/json", **extra, **auth}.items())


def _waits(general: Timeouts, provider: Provider | None, model: TimeoutOverrides | None) -> Timeouts:
    """The general timeouts, the provider's over them, the model's over both."""
    own = provider.timeouts if provider else None
    changes = {
        name: value
        for overrides in (own, model)
        if overrides
        for name, value in overrides.model_dump(exclude_none=True).items()
    }
    return general.model_copy(update=changes) if changes else general


def _whole(waits: Timeouts, targets: Sequence[Target]) -> Timeouts:
    """`waits` of a whole request, which has the time that the most patient of its attempts has."""
    longest = max(target.timeouts.total for target in targets)
    return waits.model_copy(update={"total": longest}) if longest > waits.total else waits


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _own(entry: Entry) -> str:
    """What tells an entry's account from its provider's: a resource's name, or keys of its own."""
    key = key_id(entry.api_keys[0].key.get_secret_value()) if entry.api_keys else ""
    return f"@{_tag(f'{entry.name} {key}')}" if entry.name or key else ""


def _tag(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]
