"""What each kind of provider is like, as data.

Code that acts on a provider reads a field of its `Profile`, or of the `Quirks` of the model it asks; it
never compares a name. A new kind, or a new quirk, is a line in these tables. What the operator configures
always goes before them.
"""

import dataclasses
import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

Kind = Literal["openai", "azure", "deepseek", "dashscope", "mistral", "anthropic", "generic"]
Dialect = Literal["chat", "responses", "messages"]
Join = Literal["path", "version", "azure"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
DIALECTS: Final[tuple[Dialect, ...]] = get_args(Dialect)


OutputCap = Literal["max_completion_tokens", "max_tokens"]
Thinks = Literal["effort", "adaptive", "budget", "deepseek", "dashscope", "no"]
History = Literal["never", "keep", "required"]


@dataclass(frozen=True, slots=True)
class Quirks:
    """What a provider's model takes and wants where the dialects leave room.

    They matter only to bodies that were translated: what passes between two ends of one dialect is not
    looked at. Sources: the providers' API references.
    """

    output_cap: OutputCap = "max_tokens"
    max_output: int = 32_000
    developer_role: bool = False
    system_anywhere: bool = True
    mid_system: bool = False
    sampling: bool = True
    top_k: bool = False
    seed_and_penalties: bool = True
    thinks: Thinks = "no"
    reasoning_history: History = "never"
    forced_choice: bool = True
    json_schema: bool = True
    json_word: bool = False
    images: bool = True
    files: bool = False
    audio: bool = False
    tool_images: bool = False
    custom_tools: bool = False
    cache_marks: bool = False
    openai_hints: bool = False
    stream_only: bool = False


QUIRKS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "output_cap": "Which field of Chat Completions bounds the output.",
        "max_output": "Output tokens asked for in Messages where the client gave no bound.",
        "developer_role": "Takes messages of the role `developer`; else they are sent as `system`.",
        "system_anywhere": "Takes `system` messages after the first; else they become user text.",
        "mid_system": "Takes `system` among the messages of Messages; else they become user text.",
        "sampling": "Takes `temperature` and `top_p`.",
        "top_k": "Takes `top_k`.",
        "seed_and_penalties": "Takes `seed`, `logit_bias` and the penalties.",
        "thinks": "How thinking is asked for: `effort` (OpenAI), `adaptive` or `budget` (Messages), "
        "`deepseek`, `dashscope`, or not at all.",
        "reasoning_history": "Whether `reasoning_content` of earlier turns is sent in Chat Completions.",
        "forced_choice": "Takes a forced tool choice; else it becomes `auto`.",
        "json_schema": "Takes `json_schema`; else the schema goes into the instructions.",
        "json_word": "Wants the word JSON in the prompt with JSON output.",
        "images": "Takes pictures.",
        "files": "Takes files, such as PDFs, in Chat Completions.",
        "audio": "Takes spoken input.",
        "tool_images": "Takes pictures in results of tools in Chat Completions.",
        "custom_tools": "Takes free-text tools in Chat Completions; else they become functions.",
        "cache_marks": "Takes prompt-cache breakpoints on parts.",
        "openai_hints": "Takes OpenAI's `metadata`, `service_tier`, `verbosity`, `prompt_cache_key`, "
        "`prediction`, `safety_identifier`.",
        "stream_only": "Answers in streams only; whole answers are collected.",
    }
)
"""A sentence for each quirk, for the reference pages."""


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
    default for resource URLs and for bases that end with `/models`. `quirks` are those of its models,
    `families` what differs for models by a pattern of their names: every pattern that fits counts, in order.
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
    quirks: Quirks = Quirks()
    families: tuple[tuple[str, Mapping[str, Any]], ...] = ()


_OPENAI = Quirks(
    output_cap="max_completion_tokens",
    developer_role=True,
    files=True,
    audio=True,
    custom_tools=True,
    openai_hints=True,
    thinks="effort",
)
_REASONING = {"sampling": False, "seed_and_penalties": False}
_PLAIN = {"sampling": True, "seed_and_penalties": True, "thinks": "no"}
_OPENAI_FAMILIES = (
    ("o[0-9]*", _REASONING),
    ("gpt-[5-9]*", _REASONING),
    ("gpt-5-chat*", _PLAIN),
    ("chatgpt-*", _PLAIN),
    ("gpt-5.[6-9]*", {"cache_marks": True}),
    ("gpt-[6-9]*", {"cache_marks": True}),
    ("gpt-4*", {"thinks": "no"}),
    ("gpt-3*", {"thinks": "no", "json_schema": False, "images": False, "files": False}),
)

_OLDER = {"sampling": True, "top_k": True, "mid_system": False}
_BUDGET = {"thinks": "budget"}
_CLAUDE_FAMILIES = (
    ("claude-*-4-[0-6]", _OLDER),
    ("claude-*-4-[0-6][!0-9]*", _OLDER),
    ("claude-*-4-[0-5]", _BUDGET),
    ("claude-*-4-[0-5][!0-9]*", _BUDGET),
    ("claude-*-4-20[0-9][0-9][0-9][0-9][0-9][0-9]*", {**_OLDER, **_BUDGET}),
    ("claude-3-*", {**_OLDER, "thinks": "no", "json_schema": False, "max_output": 4096}),
    ("claude-3-5*", {"max_output": 8192}),
    ("claude-3-7*", {**_BUDGET, "max_output": 32_000}),
)
"""Claude 4.0 had no number after the 4 but a date; a 4.10 would be a newer model than 4.9."""


PROFILES: Final[dict[Kind, Profile]] = {
    "openai": Profile(
        dialects=("chat", "responses"),
        base_url="https://api.openai.com/v1",
        hosts=("api.openai.com",),
        root="/v1",
        quirks=_OPENAI,
        families=_OPENAI_FAMILIES,
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
        quirks=_OPENAI,
        families=_OPENAI_FAMILIES,
    ),
    "deepseek": Profile(
        dialects=("chat",),
        base_url="https://api.deepseek.com",
        hosts=("api.deepseek.com",),
        quirks=Quirks(
            images=False,
            json_schema=False,
            json_word=True,
            seed_and_penalties=False,
            thinks="deepseek",
            reasoning_history="required",
        ),
        families=(("*reasoner*", {"forced_choice": False, "sampling": False}),),
    ),
    "dashscope": Profile(
        dialects=("chat",),
        base_url="https://dashscope.aliyuncs.com/compatible-mode/v1",
        hosts=("dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com"),
        root="/compatible-mode/v1",
        quirks=Quirks(top_k=True, json_schema=False, json_word=True, thinks="dashscope"),
        families=(
            ("qwq*", {"forced_choice": False, "stream_only": True}),
            ("*thinking*", {"forced_choice": False}),
            ("qwen*omni*", {"audio": True, "stream_only": True}),
        ),
    ),
    "mistral": Profile(
        dialects=("chat",),
        include_usage=False,
        base_url="https://api.mistral.ai/v1",
        hosts=("api.mistral.ai",),
        root="/v1",
        quirks=Quirks(seed_and_penalties=False),
    ),
    "anthropic": Profile(
        dialects=("messages",),
        auth_header="x-api-key",
        auth_scheme="",
        base_url="https://api.anthropic.com",
        hosts=("api.anthropic.com",),
        join="version",
        quirks=Quirks(files=True, cache_marks=True, mid_system=True, sampling=False, thinks="adaptive"),
        families=_CLAUDE_FAMILIES,
    ),
    "generic": Profile(
        dialects=("chat",),
        quirks=Quirks(system_anywhere=False, top_k=True, files=True, audio=True, reasoning_history="keep"),
    ),
}


def kind_of(host: str) -> Kind:
    """The kind known by this host name; `generic` when none is."""
    name = host.lower()
    for kind, profile in PROFILES.items():
        if any(name == known or (known[0] == "." and name.endswith(known)) for known in profile.hosts):
            return kind
    return "generic"


def quirks(kind: Kind, model: str, overrides: Mapping[str, Any]) -> Quirks:
    """The quirks of `model` at a provider of this kind; what an operator says goes before all else."""
    profile = PROFILES[kind]
    changes: dict[str, Any] = {}
    for pattern, differs in profile.families:
        if fnmatch.fnmatchcase(model.lower(), pattern):
            changes.update(differs)
    changes.update(overrides)
    return dataclasses.replace(profile.quirks, **changes) if changes else profile.quirks


def authorization(kind: Kind, key: str) -> tuple[str, str]:
    """Name and value of the one header that carries `key` to a provider of this kind."""
    profile = PROFILES[kind]
    return profile.auth_header, profile.auth_scheme + key
