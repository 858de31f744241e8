"""What `apex-proxy check` prints: the models and their targets in the order they would be tried."""

import ipaddress
import math
from collections.abc import Iterable, Iterator, Sequence

from proxy import targets
from proxy.config.settings import Config
from proxy.targets import Model, Target


def summary(config: Config, source: str) -> str:
    """A page about a valid configuration."""
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
    return "\n".join([*lines, *_notes(config)])


def _notes(config: Config) -> Iterator[str]:
    used = {entry.provider for model in config.models.values() for entry in model.providers}
    idle = [name for name in config.providers if name not in used]
    if idle:
        yield f"\nNot used by any model: {', '.join(idle)}."
    if not config.clients:
        yield "\nNo client is configured: `serve` will ask for --insecure-no-auth."
    if unguarded(config):
        yield f"\nThe operations port is open to others than this machine: {GUARD}."


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
    """Priority, share, label, key, dialects and origin of each target, in the order of trying."""
    for priority in sorted({target.priority for target in model.targets}):
        peers = [target for target in model.targets if target.priority == priority]
        if model.strategy != "ordered":
            # Heavier first within a priority: the order in which most requests would try them.
            peers.sort(key=lambda target: -target.weight)
        for target, share in zip(peers, _shares(model, peers), strict=True):
            dialects = ", ".join(sorted(target.dialects))
            yield str(priority), share, target.label, _key(target), dialects, target.origin


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
