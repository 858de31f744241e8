"""What of a configuration holds until the process ends: ports, store, workers, form of the log, traces.

A reload reads a file against what the process was started with, so that what may not change is told together
with all else that is wrong, by line, with both values. Those that may be secrets are not shown.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Final

from pydantic import BaseModel, ValidationError

from proxy.config.log import Log
from proxy.config.problems import Fault, Path, secret, shown
from proxy.config.settings import Config, Listen, Operations, Redis
from proxy.config.traces import Traces

FIXED: Final[Mapping[str, Iterable[str]]] = MappingProxyType(
    {
        "listen": Listen.model_fields,
        "operations": Operations.model_fields,
        "redis": Redis.model_fields,
        "log": ("format",),
        "traces": Traces.model_fields,
    }
)
"""The names by section."""

_SECTIONS: Final[Mapping[str, type[BaseModel]]] = MappingProxyType(
    {"listen": Listen, "operations": Operations, "redis": Redis, "log": Log, "traces": Traces}
)

Held = Mapping[Path, object]
"""What is to stay as it is, by path."""

NOTHING: Final[Held] = MappingProxyType({})


def held(config: Config) -> dict[Path, object]:
    """All that is fixed while a process runs with this configuration."""
    return {
        (section, name): getattr(getattr(config, section), name)
        for section, names in FIXED.items()
        for name in names
    }


def faults(kept: Held, data: object) -> Iterator[Fault]:
    """Each setting that is another than what is kept; `data` is the whole file, its sections read or not."""
    for path, old in kept.items():
        section, name = map(str, path)
        written = data.get(section, {}) if isinstance(data, Mapping) else None
        read = _read(_SECTIONS[section], written, name)
        if read is not None and getattr(read, name) != old:
            yield _changed(path, getattr(read, name), old)


def _read(kind: type[BaseModel], written: object, name: str) -> BaseModel | None:
    """The section: whole, else the one setting of it, else none, for that is refused anyway."""
    alone = {name: written[name]} if isinstance(written, Mapping) and name in written else {}
    for tried in (written, alone):
        with suppress(ValidationError):
            return kind.model_validate(tried)
    return None


def _changed(path: Path, new: object, old: object) -> Fault:
    mend = "put it back, or restart"
    if secret(path) or path[-1] == "endpoint":
        return Fault(path, "another value", "the one this replica was started with", mend)
    return Fault(path, shown(new), f"{shown(old)}, as this replica was started", mend)
