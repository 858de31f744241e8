"""The configuration: found, read, checked and made into one frozen tree.

`load` turns a text into a `Config` or tells everything that is wrong with it at once. The environment is
an argument; no other module reads a setting from anywhere else. The tree itself is in `config.settings`.
"""

import functools
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pydantic import BaseModel, ValidationError

from proxy.config import consistency, document, fixed, legacy
from proxy.config.fixed import NOTHING, Held
from proxy.config.log import Log
from proxy.config.problems import ConfigError, Fault, Problem, Text, faults
from proxy.config.resilience import (
    AdaptiveConcurrency,
    Health,
    Overload,
    Queue,
    Retry,
    TimeoutOverrides,
    Timeouts,
)
from proxy.config.settings import (
    ApiKey,
    Bounds,
    Client,
    Config,
    Cors,
    Entry,
    Limits,
    Listen,
    Model,
    Operations,
    Provider,
    Redis,
)
from proxy.config.traces import Traces
from proxy.config.units import Secret

__all__ = [
    "AdaptiveConcurrency",
    "ApiKey",
    "Bounds",
    "Client",
    "Config",
    "ConfigError",
    "Cors",
    "Entry",
    "Health",
    "Limits",
    "Listen",
    "Log",
    "Model",
    "Operations",
    "Overload",
    "Problem",
    "Provider",
    "Queue",
    "Redis",
    "Retry",
    "Secret",
    "TimeoutOverrides",
    "Timeouts",
    "Traces",
    "config_hash",
    "discover",
    "find",
    "load",
    "load_environment",
    "read",
]

DEFAULT_FILE = "apex.yaml"
FILE_VARIABLE = "APEX_CONFIG"
ENVIRONMENT = "the environment"
"""Where a configuration is from that stands in no file."""

REDIS_VARIABLE = "APEX_REDIS_URL"

_LARGEST = 64 * 1024
"""Bytes of a file that a value refers to."""

_OWN: Final[Mapping[str, Collection[str]]] = MappingProxyType(
    {
        "listen": Listen.model_fields,
        "operations": Operations.model_fields,
        "redis": ("url", "responses_url", "embedded_dir", "embedded_memory"),
        "log": ("level", "format"),
        "traces": Traces.model_fields,
    }
)
"""What a replica may have for itself, by section."""


def load(
    text: str, env: Mapping[str, str], source: str = "", folder: Path | None = None, kept: Held = NOTHING
) -> Config:
    """The configuration in a YAML text. Raises `ConfigError` with every problem at once.

    `env` fills `${NAME}`; its `APEX_REDIS_URL` goes before `redis.url`. `source` names the text in errors.
    `folder` is where the paths of `${file:PATH}` begin. What is `kept` may be no other.
    """
    read_text = document.parsed(text, source)
    filled = document.substituted(read_text.data, env, functools.partial(_content, folder or Path()))
    known = Text(lines=read_text.lines, templates=filled.templates)
    data = {} if filled.data is None else filled.data
    return _checked(data, env, known, source, [*read_text.faults, *filled.faults], kept)


def load_environment(env: Mapping[str, str]) -> Config | None:
    """The configuration in the original's variables, or None when there is none. Raises `ConfigError`."""
    if not legacy.present(env):
        return None
    found = legacy.read(env)
    return _checked(found.data, env, Text(names=legacy.NAMES), ENVIRONMENT, found.faults)


def find(path_option: str | Path | None, env: Mapping[str, str], cwd: Path) -> Path | None:
    """The file to read: the option's, else `$APEX_CONFIG`, else `apex.yaml` in `cwd` if it is there."""
    named = path_option or env.get(FILE_VARIABLE)
    if named:
        return cwd / named
    default = cwd / DEFAULT_FILE
    return default if default.is_file() else None


def read(path: Path, env: Mapping[str, str], kept: Held = NOTHING) -> Config:
    """The configuration in a file. Raises `ConfigError`, also when the file cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        found = f"no readable file ({error.strerror or type(error).__name__})"
        raise ConfigError([Problem(str(path), found, "a configuration file")], str(path)) from None
    except UnicodeDecodeError as error:
        found = f"bytes that are no UTF-8 (at byte {error.start})"
        raise ConfigError([Problem(str(path), found, "UTF-8 text")], str(path)) from None
    return load(text, env, str(path), path.parent, kept)


def _content(folder: Path, name: str) -> str:
    """What a file that a value refers to holds, without the line end that editors add."""
    with (folder / name).open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError(f"it is larger than {_LARGEST} bytes")
    try:
        return content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError("it is no UTF-8 text") from None


def discover(
    path_option: str | Path | None, env: Mapping[str, str], cwd: Path, kept: Held = NOTHING
) -> tuple[Config, str]:
    """The configuration to run with, and where it is from. Raises `ConfigError`, also when there is none.

    What is `kept` may be no other in a file.
    """
    path = find(path_option, env, cwd)
    if path is not None:
        return read(path, env, kept), str(path)
    config = load_environment(env)
    if config is None:
        allowed = f"--config FILE, ${FILE_VARIABLE}, ./{DEFAULT_FILE} or ${legacy.PROVIDERS}"
        raise ConfigError([Problem("configuration", "none", allowed, "or try `apex-proxy demo`")])
    return config, ENVIRONMENT


def config_hash(config: Config) -> str:
    """12 hex digits that are equal on replicas which answer alike.

    SHA-256 over the tree, keys as digests, without what each replica has for itself: its ports, its way to
    Redis, how its log looks, and where its traces go.
    """
    shared = _canonical(config)
    for name, own in _OWN.items():
        section: BaseModel = getattr(config, name)
        shared[name] = {field: value for field, value in _canonical(section).items() if field not in own}
    text = json.dumps(shared, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _canonical(section: BaseModel) -> dict[str, object]:
    return {name: _canonical_value(getattr(section, name)) for name in type(section).model_fields}


def _canonical_value(value: object) -> object:
    if isinstance(value, BaseModel):
        return _canonical(value)
    if isinstance(value, Secret):
        return hashlib.sha256(value.get_secret_value().encode()).hexdigest()
    if isinstance(value, Mapping):
        return {name: _canonical_value(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_canonical_value(item) for item in value]
    return value


def _checked(
    data: object,
    env: Mapping[str, str],
    text: Text,
    source: str,
    earlier: Iterable[Fault],
    kept: Held = NOTHING,
) -> Config:
    data, text = _with_redis(data, env, text)
    found = list(earlier)
    known = {fault.path for fault in found}
    config = None
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        found += [fault for fault in faults(error, data, text, Config) if fault.path not in known]
    for more in (consistency.faults(data), fixed.faults(kept, data)):
        known = {fault.path for fault in found}
        found += [fault for fault in more if fault.path not in known]
    if config is None or found:
        raise ConfigError(_ordered(found, text), source)
    return config


def _with_redis(data: object, env: Mapping[str, str], text: Text) -> tuple[object, Text]:
    url = env.get(REDIS_VARIABLE)
    redis = data.get("redis", {}) if isinstance(data, dict) else None
    if not url or not isinstance(data, dict) or not isinstance(redis, dict):
        return data, text
    return (
        data | {"redis": redis | {"url": url}},
        replace(text, names={**text.names, "redis.url": f"${REDIS_VARIABLE}"}),
    )


def _ordered(found: Iterable[Fault], text: Text) -> list[Problem]:
    """The problems from the top of the file to its end, each once."""
    problems = dict.fromkeys(text.problem(fault) for fault in found)
    return sorted(problems, key=lambda problem: problem.line or 0)
