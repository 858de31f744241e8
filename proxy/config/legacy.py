"""The configuration of the original Apex AI Proxy: three environment variables with JSON.

`PROVIDER_CONFIG` is `{name: {base_url, api_keys}}`, `MODEL_PROVIDER_CONFIG` is `{model: {providers:
[{provider, model, base_url?, api_key?, api_keys?}]}}`, `SERVICE_API_KEY` the one client's key. They are
read into the form of a file, so everything a file may say works in them too. Unlike there, an entry takes
from its provider each thing it lacks, its own values go first, and a missing variable is no error.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from proxy import addresses
from proxy.config.problems import Fault
from proxy.profiles import KINDS, Kind, kind_of

PROVIDERS = "PROVIDER_CONFIG"
MODELS = "MODEL_PROVIDER_CONFIG"
KEY = "SERVICE_API_KEY"

NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {"providers": PROVIDERS, "models": MODELS, "clients[0].key": KEY}
)
_ALSO: Final[Mapping[str, Kind]] = MappingProxyType({"aliyun": "dashscope", "azure-openai": "azure"})


@dataclass(slots=True)
class Legacy:
    """The variables in the form of a file, and what is wrong with their JSON."""

    data: dict[str, object] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


def present(env: Mapping[str, str]) -> bool:
    """Whether the environment holds a configuration: a key alone is none."""
    return bool(env.get(PROVIDERS) or env.get(MODELS))


def read(env: Mapping[str, str]) -> Legacy:
    """The original's variables in the form of a file."""
    legacy = Legacy()
    providers = _parsed(env.get(PROVIDERS), "providers", legacy)
    models = _parsed(env.get(MODELS), "models", legacy)
    legacy.data = {
        "providers": {name: _kinded(name, provider) for name, provider in providers.items()},
        "models": {alias: _model(model, providers) for alias, model in models.items()},
    }
    key = env.get(KEY)
    if key:
        # The original let its client address every provider as `model#provider`.
        legacy.data["clients"] = [{"name": "default", "key": key, "allow_direct": True}]
    return legacy


def _parsed(text: str | None, place: str, legacy: Legacy) -> dict[str, object]:
    if not text:
        return {}
    try:
        value = json.loads(text, object_pairs_hook=lambda pairs: _pairs(pairs, place, legacy))
    except (ValueError, RecursionError) as error:
        legacy.faults.append(Fault((place,), f"a syntax error{_position(error)}", "JSON"))
        return {}
    if isinstance(value, dict):
        return value
    legacy.faults.append(Fault((place,), "something else", "a JSON object"))
    return {}


def _position(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f" (line {error.lineno}, column {error.colno})"
    return ""


def _pairs(pairs: list[tuple[str, object]], place: str, legacy: Legacy) -> dict[str, object]:
    result = dict(pairs)
    for name in {name for name, _ in pairs if [key for key, _ in pairs].count(name) > 1}:
        legacy.faults.append(Fault((place,), f"`{name}` more than once", "each key once"))
    return result


def _kinded(name: str, section: object) -> object:
    """The original knew a provider's kind by its name."""
    if not isinstance(section, dict):
        return section
    kind = _kind(name, section.get("base_url"))
    return {"kind": kind} | _one_list(section)


def _kind(name: str, base_url: object) -> Kind:
    known = next((kind for kind in KINDS if kind == name), None) or _ALSO.get(name)
    return known or kind_of(addresses.host(base_url) if isinstance(base_url, str) else "")


def _one_list(section: dict[str, object]) -> dict[str, object]:
    """`api_key` and `api_keys` together are one list; the original allowed both."""
    keys = section.get("api_keys")
    if not isinstance(keys, list) or "api_key" not in section:
        return section
    rest = {name: value for name, value in section.items() if name != "api_key"}
    return rest | {"api_keys": [section["api_key"], *(key for key in keys if key != section["api_key"])]}


def _model(model: object, providers: Mapping[str, object]) -> object:
    entries = model.get("providers") if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(entries, list):
        return model
    return model | {"providers": [_entry(entry, providers) for entry in entries]}


def _entry(entry: object, providers: Mapping[str, object]) -> object:
    """An entry that brings its own address may name a provider that is configured nowhere else."""
    if not isinstance(entry, dict):
        return entry
    entry = _one_list(entry)
    name = entry.get("provider")
    if not isinstance(name, str) or "base_url" not in entry:
        return entry
    provider = providers.get(name)
    return _with_keys(entry, provider) if isinstance(provider, dict) else _kinded(name, entry)


def _with_keys(entry: dict[str, object], provider: Mapping[str, object]) -> dict[str, object]:
    """An entry with another address and no key uses its provider's; a file would have to say so."""
    if not {"api_key", "api_keys"}.isdisjoint(entry):
        return entry
    return {name: provider[name] for name in ("api_key", "api_keys") if name in provider} | entry
