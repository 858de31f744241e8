"""What `apex-proxy check` prints: the models and their targets in the order they would be tried."""

from collections.abc import Iterator

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
    lines = [f"{source} is valid: {counts}."]
    for model in targets.models(config).values():
        lines += ["", f"{model.alias}  ({model.strategy})", *_rows(model)]
    if not config.clients:
        lines += ["", "No client is configured: `serve` will ask for --insecure-no-auth."]
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _rows(model: Model) -> Iterator[str]:
    width = max(len(target.label) for target in model.targets)
    # Heavier first within a priority: the order in which most requests would try them.
    ordered = model.targets
    if model.strategy != "ordered":
        ordered = tuple(sorted(model.targets, key=lambda target: (target.priority, -target.weight)))
    else:
        ordered = tuple(sorted(model.targets, key=lambda target: target.priority))
    for target in ordered:
        peers = [peer.weight for peer in model.targets if peer.priority == target.priority]
        yield (
            f"  priority {target.priority}  {_share(model, target, sum(peers)):>5}  {target.label:<{width}}"
            f"  {_key(target)}  {', '.join(sorted(target.dialects))}  {target.origin}"
        )


def _share(model: Model, target: Target, total: float) -> str:
    return "next" if model.strategy == "ordered" else f"{100 * target.weight / total:.0f} %"


def _key(target: Target) -> str:
    name = target.key_id.rpartition("@")[2]
    return "no key        " if name == "none" else f"key {name}"
