"""What each kind of provider is like, as data.

Code that acts on a provider reads a field of its `Profile`; it never compares the kind's name. A new
kind, or a new quirk, is a line in this table. What the operator configures always goes before it.
"""

from dataclasses import dataclass
from typing import Final, Literal, get_args

Kind = Literal["openai", "azure", "deepseek", "dashscope", "mistral", "anthropic", "generic"]
Dialect = Literal["chat", "responses", "messages"]
Join = Literal["path", "version", "azure"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
DIALECTS: Final[tuple[Dialect, ...]] = get_args(Dialect)


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of provider.

    `auth_header` and `auth_scheme`: the one header that carries the key, and what stands before the key.
    `dialects`: what it speaks unless configured. `include_usage`: whether it takes
    `stream_options.include_usage`. `base_url`: where it is found unless configured (None: must be given).
    `hosts`: host names, or dot-led suffixes, by which the kind is known when `kind` is left out.
    `join`: how an endpoint is joined to the base: `path` appends it, `version` appends it under `/v1`
    whether or not the base ends so, `azure` knows deployments and `api-version`.
    `root`: the path used when the base URL has none. `api_version` and `inference_api_version`: Azure's
    default for resource URLs and for bases that end with `/models`.
    """

    dialects: tuple[Dialect, ...]
    auth_header: str = "authorization"
    auth_scheme: str = "Bearer "
    include_usage: bool = True
    base_url: str | None = None
    hosts: tuple[str, ...] = ()
    join: Join = "path"
    root: str = ""
    api_version: str = ""
    inference_api_version: str = ""


PROFILES: Final[dict[Kind, Profile]] = {
    "openai": Profile(
        dialects=("chat", "responses"),
        base_url="https://api.openai.com/v1",
        hosts=("api.openai.com",),
        root="/v1",
    ),
    "azure": Profile(
        dialects=("chat", "responses"),
        auth_header="api-key",
        auth_scheme="",
        base_url="https://:name.openai.azure.com",
        hosts=(".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com"),
        join="azure",
        api_version="2025-04-01-preview",
        inference_api_version="2024-05-01-preview",
    ),
    "deepseek": Profile(
        dialects=("chat",),
        base_url="https://api.deepseek.com",
        hosts=("api.deepseek.com",),
    ),
    "dashscope": Profile(
        dialects=("chat",),
        base_url="https://dashscope.aliyuncs.com/compatible-mode/v1",
        hosts=("dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com"),
        root="/compatible-mode/v1",
    ),
    "mistral": Profile(
        dialects=("chat",),
        include_usage=False,
        base_url="https://api.mistral.ai/v1",
        hosts=("api.mistral.ai",),
        root="/v1",
    ),
    "anthropic": Profile(
        dialects=("messages",),
        auth_header="x-api-key",
        auth_scheme="",
        base_url="https://api.anthropic.com",
        hosts=("api.anthropic.com",),
        join="version",
    ),
    "generic": Profile(dialects=("chat",)),
}


def kind_of(host: str) -> Kind:
    """The kind known by this host name; `generic` when none is."""
    name = host.lower()
    for kind, profile in PROFILES.items():
        if any(name == known or (known[0] == "." and name.endswith(known)) for known in profile.hosts):
            return kind
    return "generic"


def authorization(kind: Kind, key: str) -> tuple[str, str]:
    """Name and value of the one header that carries `key` to a provider of this kind."""
    profile = PROFILES[kind]
    return profile.auth_header, profile.auth_scheme + key
