"""The reference page of the configuration, made from the tree: `python -m proxy.config.reference`.

Every section, field, type, default with its unit and sentence comes from `settings`, and what the kinds of
provider are like from `profiles`, so the page cannot say anything else than the program does.
"""

import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import BaseModel, JsonValue
from pydantic.fields import FieldInfo

from proxy.config.settings import Config
from proxy.config.units import Derived, Secret, Unit, quantity_text
from proxy.profiles import PROFILES, Profile

_INTRODUCTION = """\
# Configuration

This page is made from the program: `python -m proxy.config.reference > docs/configuration.md`.

`apex-proxy serve` reads one YAML file: the one after `--config`, else `$APEX_CONFIG`, else `./apex.yaml`.
Without any of these the environment variables of the original Apex AI Proxy are used
([below](#the-originals-environment-variables)). `apex-proxy check FILE` shows what a file means, or
everything that is wrong with it at once. [`examples/apex.yaml`](../examples/apex.yaml) is a complete file
with comments.

- Unknown keys are errors, and so are a key that stands twice and a word in `{ }` without a value, such as
  `{key:sk-...}` for want of a space.
- In flow style, within `{ }` and `[ ]`, `"${NAME}"` stands in quotes; so does everywhere a text that begins
  with `*`, `&`, `@`, `%` or a backtick.
- `${NAME}` in any text value is replaced by that environment variable; one that is not set is an error.
  `$${` stands for a plain `${`. What a variable holds is always text, never structure.
- `${file:PATH}` is replaced by what that file holds, without its last line end: a secret that Docker or
  Kubernetes mounts, `key: "${file:/run/secrets/openai}"`. A path that is not absolute begins beside the
  configuration. Files are read again at each [reload](change.md), variables are not.
- A **duration** is a number of seconds, or text with a unit: `500ms`, `2s`, `5m`, `1h`, `1d`.
- A **size** is a number of bytes, or text with a unit: `64KB` (1000 bytes each), `32MiB` (1024 x 1024).
- A **secret** is shown nowhere: not in logs, errors, dumps or answers.
- Where a list is expected, one text may stand for a list of one.
- YAML's core rules hold: `true` and `false` are the only booleans and dates are text, so
  `api_version: 2024-10-21` needs no quotes. Keys that look like numbers do: `key: "12345678"`.
"""

_PROVIDERS = """\
## Kinds of provider

What a kind means unless a provider's own settings say otherwise. The key travels in exactly one header.

| Kind | Known by host | `base_url` | `dialects` | Key | Asked for usage in streams |
|---|---|---|---|---|---|
"""

_ADDRESSES = """
### Base URLs

For most kinds the endpoint is appended: `https://api.openai.com/v1` becomes
`https://api.openai.com/v1/chat/completions`. A URL pasted with `/chat/completions` works as well. For
`anthropic` the `/v1` may be there or not. Names of models are percent-encoded.

Azure takes every form its pages show, `:name` and `:model` standing for the resource and the model:

| `base_url` | Chat is sent to |
|---|---|
| `https://my.openai.azure.com` | `/openai/deployments/{model}/chat/completions?api-version=...` |
| `https://:name.openai.azure.com` | the same, at the resource in `name` |
| `https://my.openai.azure.com/openai/deployments/gpt-4o` | `/openai/deployments/gpt-4o/chat/completions?..` |
| `https://:name.openai.azure.com/openai/deployments/:model` | the deployment named like the model |
| `https://my.services.ai.azure.com/models` | `/models/chat/completions?api-version=...`, model in the body |
| `https://my.openai.azure.com/openai/v1` | `/openai/v1/chat/completions`, model in the body |

The version is the provider's `api_version`, else the `api-version` in `base_url`, else {api_version}
({inference_api_version} for a base that ends with `/models`, none for `/openai/v1`).
"""

_HEADERS = """
### Headers

Of a client's headers these go upstream, and no other: not its key, not `user-agent`, no cookies, none of its
own. What all requests are to carry stands in the provider's `headers`.

| Header | Goes upstream |
|---|---|
| `anthropic-version`, `anthropic-beta` | from Messages to Messages; a version in `headers` goes before it |
| `openai-beta`, `idempotency-key` | always, as it came |
| `traceparent`, `tracestate` | always; with [traces](operations.md#traces) the attempt's span is the parent |
"""

_LEGACY = """
## The original's environment variables

In place of a file, JSON in these variables:

- `PROVIDER_CONFIG`: `{"azure": {"base_url": "https://...", "api_keys": ["..."]}}`
- `MODEL_PROVIDER_CONFIG`: `{"gpt-4o": {"providers": [{"provider": "azure", "model": "gpt-4o"}]}}`
- `SERVICE_API_KEY`: the key of the one client, which is called `default`, may use every model and may
  address every provider as `model#provider`

Everything this page lists may stand in the JSON too. An entry takes from its provider each thing it lacks,
and an entry with its own `base_url` may name a provider that stands nowhere else. The kind of a provider is
known by its name (`azure`, `anthropic`, `mistral`, `deepseek`, `aliyun`, ...) before its host.
"""

_TYPES: Final[Mapping[Any, str]] = MappingProxyType(
    {
        str: "text",
        int: "whole number",
        float: "number",
        bool: "`true` or `false`",
        Secret: "secret",
        Path: "path",
    }
)


def render() -> str:
    """The whole page, in Markdown."""
    places: dict[type[BaseModel], list[str]] = {Config: [""]}
    _collect(Config, "", places)
    sections = "\n".join(_section(section, found) for section, found in places.items())
    azure = PROFILES["azure"]
    addresses = _ADDRESSES.replace("{api_version}", f"`{azure.api_version}`").replace(
        "{inference_api_version}", f"`{azure.inference_api_version}`"
    )
    kinds = "\n".join(_kind(kind, profile) for kind, profile in PROFILES.items())
    return f"{_INTRODUCTION}\n{sections}\n{_PROVIDERS}{kinds}\n{addresses}{_HEADERS}{_LEGACY}"


def _collect(section: type[BaseModel], place: str, places: dict[type[BaseModel], list[str]]) -> None:
    """Where each section stands in a file, in the order of the file."""
    for name, known in section.model_fields.items():
        for inner, suffix in _sections(known.annotation):
            path = f"{place}.{name}{suffix}".removeprefix(".")
            first = inner not in places
            places.setdefault(inner, []).append(path)
            if first:
                _collect(inner, path, places)


def _sections(annotation: Any) -> Iterator[tuple[type[BaseModel], str]]:
    """The sections in a type, each with what its place adds to the path."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, ""
    for part in get_args(annotation):
        suffix = {tuple: "[]", Mapping: ".NAME"}.get(_origin(annotation), "")
        for section, inner in _sections(part):
            yield section, suffix + inner


def _origin(annotation: Any) -> Any:
    origin = get_origin(annotation)
    return Mapping if origin is not None and origin is not tuple and _is_mapping(origin) else origin


def _is_mapping(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _section(section: type[BaseModel], places: list[str]) -> str:
    title = "The file" if section is Config else f"`{places[0]}`"
    about = inspect.cleandoc(section.__doc__ or "")
    also = ", ".join(f"`{place}`" for place in places[1:])
    lines = [f"## {title}", "", about, *([f"The same in: {also}."] if also else []), ""]
    lines += ["| Setting | Type | Default | Meaning |", "|---|---|---|---|"]
    lines += [_row(name, known) for name, known in section.model_fields.items()]
    return "\n".join([*lines, ""])


def _row(name: str, known: FieldInfo) -> str:
    kind = _type(known.annotation, known.metadata)
    return f"| `{name}` | {kind} | {_default(known)} | {known.description} |"


def _type(annotation: Any, metadata: list[Any]) -> str:
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return _type(inner, [*more, *metadata])
    if get_origin(annotation) in {Union, UnionType}:
        return _type(next(part for part in get_args(annotation) if part is not NoneType), metadata)
    unit = _unit(metadata)
    return (unit.name if unit else _shape(annotation)) + _bounds(metadata, unit)


def _shape(annotation: Any) -> str:
    """A type without its bounds."""
    if annotation is JsonValue:
        return "any JSON value"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    origin, parts = _origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in parts)
    if origin is tuple:
        return f"list of {_plural(_type(parts[0], []))}"
    if origin is Mapping:
        return f"mapping of names to {_plural(_type(parts[1], []))}"
    return _TYPES[annotation]


def _plural(kind: str) -> str:
    return f"{kind}s" if kind in {"section", "secret", "any JSON value"} else kind


def _bounds(metadata: list[Any], unit: Unit | None) -> str:
    """The bounds on a number or a list, in words."""
    said = []
    for mark in _constraints(metadata):
        if isinstance(mark, Ge) and mark.ge != 0:
            said.append(f"at least {quantity_text(mark.ge, unit)}")
        elif isinstance(mark, Gt):
            said.append(f"more than {mark.gt}")
        elif isinstance(mark, Le):
            said.append(f"at most {quantity_text(mark.le, unit)}")
        elif isinstance(mark, MinLen):
            said.append("not empty")
    return "".join(f", {words}" for words in said)


def _constraints(metadata: list[Any]) -> Iterator[Any]:
    for mark in metadata:
        yield from mark.metadata if isinstance(mark, FieldInfo) else (mark,)


def _unit(metadata: list[Any]) -> Unit | None:
    return next((mark for mark in metadata if isinstance(mark, Unit)), None)


def _default(known: FieldInfo) -> str:
    derived = next((mark.text for mark in known.metadata if isinstance(mark, Derived)), None)
    if derived or known.is_required():
        return derived or "required"
    value = known.default
    if value is None or isinstance(value, BaseModel):
        return "none" if value is None else "see there"
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value) or "empty"
    if isinstance(value, Mapping):
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{quantity_text(value, _unit(known.metadata))}`"


def _kind(kind: str, profile: Profile) -> str:
    hosts = ", ".join(f"`{'*' if host[0] == '.' else ''}{host}`" for host in profile.hosts) or "any other"
    base_url = f"`{profile.base_url}`" if profile.base_url else "required"
    dialects = ", ".join(f"`{dialect}`" for dialect in profile.dialects)
    key = f"`{profile.auth_header}: {profile.auth_scheme}...`"
    usage = "yes" if profile.include_usage else "no"
    return f"| `{kind}` | {hosts} | {base_url} | {dialects} | {key} | {usage} |"


if __name__ == "__main__":
    sys.stdout.write(render())
