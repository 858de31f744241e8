"""What `apex-proxy check` prints: the models and their targets in the order they would be tried."""

import fnmatch
import ipaddress
import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from proxy import targets
from proxy.config.fields import AUTH_HEADERS
from proxy.config.problems import Path, shown, written
from proxy.config.settings import Config, Entry, Provider
from proxy.prices import Wanted
from proxy.targets import Model, Target
from proxy.wire.model import DIALECT_OF, Endpoint


def summary(config: Config, source: str, listed: Container[str] = ()) -> str:
    """A page about a valid configuration; `listed` are the labels of targets whose price can be looked up."""
    counts = ", ".join(
        (
            _count(len(config.models), "model"),
            _count(len(config.providers), "provider"),
            _count(len(config.clients), "client"),
        )
    )
    models = targets.models(config).values()
    rows = [list(_rows(model)) for model in models]
    widths = [max(map(len, column)) for column in zip(*(row for some in rows for row in some), strict=True)]
    lines = [f"{source} is valid: {counts}."]
    for model, some in zip(models, rows, strict=True):
        lines += ["", f"{model.alias}  ({model.strategy})", *(_line(row, widths) for row in some)]
    called = [target for model in models for target in model.targets]
    return "\n".join([*lines, *(f"\n{note}" for note in _notes(config, called, listed))])


def sought(config: Config) -> list[Wanted]:
    """Whose prices `costs.lookup` looks up."""
    called = [target for model in targets.models(config).values() for target in model.targets]
    return [_wanted(target) for target in _unpriced(called)] if config.costs.lookup else []


def _notes(config: Config, called: Sequence[Target], listed: Container[str]) -> Iterator[str]:
    """What is no error, and yet seldom meant."""
    used = {entry.provider for model in config.models.values() for entry in model.providers}
    idle = [name for name in config.providers if name not in used]
    if idle:
        yield f"Not used by any model: {', '.join(idle)}."
    yield from _repeated(config)
    yield from _idle_patterns(config)
    keyless = dict.fromkeys(f"{each.provider} ({each.kind})" for each in called if _keyless(each))
    if keyless:
        yield f"No key is sent to: {', '.join(keyless)}."
    costs = config.costs.lookup or any(target.price for target in called)
    unknown = dict.fromkeys(each.label for each in _unpriced(called) if costs and each.label not in listed)
    if unknown:
        yield f"No price is known for: {', '.join(unknown)}. Cost is not counted there; `price` says one."
    if not config.clients:
        yield "No client is configured: `serve` will ask for --insecure-no-auth."
    if unguarded(config):
        yield f"The operations port is open to others than this machine: {GUARD}."


def _repeated(config: Config) -> Iterator[str]:
    """Keys and entries that stand twice, by their places."""
    sections: list[tuple[Path, Provider | Entry]] = [
        (("providers", name), provider) for name, provider in config.providers.items()
    ]
    for alias, model in config.models.items():
        path: Path = ("models", alias, "providers")
        sections += [((*path, place), entry) for place, entry in enumerate(model.providers)]
        for again, first in _twice([entry.model_copy(update=_ANYHOW) for entry in model.providers]):
            yield f"{written((*path, again))} is the same place as {written((*path, first))}."
    for path, section in sections:
        for again, first in _twice([each.key.get_secret_value() for each in section.api_keys]):
            keys = (*path, "api_keys")
            yield f"{written((*keys, again))} is the same key as {written((*keys, first))}."


_ANYHOW: Final[Mapping[str, object]] = MappingProxyType({"weight": 1.0, "priority": 1, "price": None})
"""What may differ between two entries for the same place."""


def _twice(items: Sequence[object]) -> Iterator[tuple[int, int]]:
    """The place of each item that was there before, and where."""
    for place, item in enumerate(items):
        first = items.index(item)
        if first != place:
            yield place, first


def _idle_patterns(config: Config) -> Iterator[str]:
    for number, client in enumerate(config.clients):
        for place, pattern in enumerate(client.models):
            if pattern != "*" and not fnmatch.filter(config.models, pattern):
                path = ("clients", number, "models", place)
                yield f"{written(path)}, {shown(pattern)}, fits no model."


def _keyless(target: Target) -> bool:
    """Whether a vendor is called without a key."""
    return target.kind != "generic" and AUTH_HEADERS.isdisjoint(name for name, _ in target.headers)


def _unpriced(called: Iterable[Target]) -> list[Target]:
    """Those that somebody may sell, and whose price the operator does not give."""
    return [target for target in called if target.price is None and _wanted(target).sold]


def _wanted(target: Target) -> Wanted:
    return Wanted(target.label, target.kind, target.origin, target.model)


GUARD = "set `operations.token`, or keep clients away from it"


def unguarded(config: Config) -> bool:
    """Whether the operations port can be reached from elsewhere, and asks for no token."""
    return config.operations.token is None and not _loopback(config.operations.host)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _line(row: Iterable[str], widths: Iterable[int]) -> str:
    priority, share, *rest = (
        f"{cell:>{width}}" if place == 1 else f"{cell:<{width}}"
        for place, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join(["", f"priority {priority}", share, *rest]).rstrip()


def _rows(model: Model) -> Iterator[tuple[str, ...]]:
    """Priority, share, label, key, dialects and address of each target, in the order of trying."""
    for priority in sorted({target.priority for target in model.targets}):
        peers = [target for target in model.targets if target.priority == priority]
        if model.strategy != "ordered":
            # Heavier first within a priority: the order in which most requests would try them.
            peers.sort(key=lambda target: -target.weight)
        for target, share in zip(peers, _shares(model, peers), strict=True):
            dialects = ", ".join(sorted(target.dialects))
            yield str(priority), share, target.label, _key(target), dialects, _address(target)


def _address(target: Target) -> str:
    """Where chat is sent to, or else the first of the dialects that are spoken there."""
    order = (Endpoint.CHAT, Endpoint.RESPONSES, Endpoint.MESSAGES)
    return target.urls[next(endpoint for endpoint in order if DIALECT_OF[endpoint] in target.dialects)]


def _shares(model: Model, peers: Sequence[Target]) -> list[str]:
    if model.strategy == "ordered":
        return ["next"] * len(peers)
    return [f"{tenths / 10:g} %" for tenths in _tenths([peer.weight for peer in peers])]


def _tenths(weights: Sequence[float]) -> list[int]:
    """The share of each weight in tenths of a percent: together 1000, as the largest remainders go up."""
    exact = [1000 * weight / sum(weights) for weight in weights]
    whole = [math.floor(share) for share in exact]
    largest = sorted(range(len(exact)), key=lambda place: whole[place] - exact[place])
    for place in largest[: 1000 - sum(whole)]:
        whole[place] += 1
    return whole


def _key(target: Target) -> str:
    name = target.key_id.rpartition("@")[2]
    return "no key" if name == "none" else f"key {name}"
