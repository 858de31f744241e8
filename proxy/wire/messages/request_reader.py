"""A Messages request as a canonical conversation.

Source: Anthropic's API reference, of the versions 2023-06-01 and 2026-10-21 and the beta fields. What would
be bound to Anthropic (containers, MCP servers) is refused; fields that nobody else knows are named in
`dropped`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from proxy.errors import Refusal
from proxy.wire import reading, stopping, structured
from proxy.wire.conversation import (
    Choice,
    Conversation,
    Effort,
    Format,
    Hints,
    Hosted,
    Json,
    Reasoning,
    Sampling,
    Tool,
)
from proxy.wire.envelope import Fields
from proxy.wire.messages import content_reader
from proxy.wire.model import Dialect

_BODY = frozenset(
    {
        "model",
        "messages",
        "max_tokens",
        "system",
        "stream",
        "stop_sequences",
        "temperature",
        "top_p",
        "top_k",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "output_format",
        "metadata",
        "service_tier",
        "cache_control",
        "container",
        "mcp_servers",
        "thread",
    }
)
_THINKING = frozenset({"type", "budget_tokens", "display"})
_OUTPUT = frozenset({"effort", "format"})
_FORMAT = frozenset({"type", "schema"})
_METADATA = frozenset({"user_id"})
_CHOICE = frozenset({"type", "name", "disable_parallel_tool_use"})
_TOOL = frozenset(
    {
        "type",
        "name",
        "description",
        "input_schema",
        "strict",
        "cache_control",
        "eager_input_streaming",
        "allowed_callers",
        "defer_loading",
    }
)
"""`eager_input_streaming` only makes arguments arrive sooner."""

Mode = Literal["auto", "required", "none", "named"]

EFFORTS: Final[tuple[Effort, ...]] = ("low", "medium", "high", "xhigh", "max")
_BOUND = ("container", "mcp_servers")
_MODES: Final[Mapping[str, Mode]] = MappingProxyType(
    {"auto": "auto", "any": "required", "none": "none", "tool": "named"}
)
_TIERS: Final[Mapping[str, str]] = MappingProxyType({"auto": "auto", "standard_only": "default"})
_DIRECT = ["direct"]


def read(fields: Fields) -> Conversation:
    """The conversation. Raises `Refusal` 400 naming the field that cannot be read."""
    body = reading.opened(fields)
    dropped: list[str] = []
    reading.unknown(body, _BODY, "", dropped)
    _refuse_bound(body)
    _refuse_thread(body)
    tools, hosted = _tools(body, dropped)
    choice, parallel = _choice(body, dropped)
    output = reading.record(body, "output_config", "") or {}
    reading.unknown(output, _OUTPUT, "output_config", dropped)
    return Conversation(
        dialect=Dialect.MESSAGES,
        turns=content_reader.read(body, dropped),
        stream=reading.flag(body, "stream", "") or False,
        tools=tools,
        hosted=hosted,
        choice=choice,
        parallel=parallel,
        max_output=_max_tokens(body),
        stop=stopping.bounded(reading.texts(body, "stop_sequences", ""), "stop_sequences"),
        format=_format(body, output, dropped),
        reasoning=_reasoning(body, output, dropped),
        sampling=_sampling(body),
        hints=_hints(body, dropped),
        echo={"model": reading.text(body, "model", "") or ""},
        dropped=tuple(dropped),
    )


def _refuse_bound(body: Json) -> None:
    for name in _BOUND:
        if body.get(name):
            raise Refusal(
                400,
                f"'{name}' cannot be passed on to the provider that serves this model.",
                param=name,
                code="unsupported_value",
            )


def _refuse_thread(body: Json) -> None:
    """Refuse a conversation that the provider would have to keep.

    Dropping it silently would answer the next turn, which comes without the earlier ones, as if it were the
    first. Anthropic's clients look for this code and go on with the whole conversation (SDK: `lib/threads`).
    """
    if body.get("thread"):
        raise Refusal(
            400,
            "'thread' cannot be passed on to the provider that serves this model: send all messages.",
            param="thread",
            code="thread_unsupported_request",
            extra={"details": {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}},
        )


def _max_tokens(body: Json) -> int:
    bound = reading.integer(body, "max_tokens", "", least=0)
    if bound is None:
        raise reading.missing("max_tokens")
    if bound == 0:
        raise Refusal(
            400,
            "'max_tokens' of 0, which only fills a prompt cache, cannot be passed on to the provider that "
            "serves this model.",
            param="max_tokens",
            code="unsupported_value",
        )
    return bound


def _tools(body: Json, dropped: list[str]) -> tuple[tuple[Tool, ...], tuple[Hosted, ...]]:
    tools: list[Tool] = []
    hosted: list[Hosted] = []
    for place, tool in enumerate(reading.records(body, "tools", "")):
        path = f"tools[{place}]"
        kind = reading.text(tool, "type", path)
        if kind is None or kind == "custom":
            tools.append(_tool(tool, path, dropped))
        else:
            hosted.append(Hosted(kind, Dialect.MESSAGES))
    return tuple(tools), tuple(hosted)


def _tool(tool: Json, path: str, dropped: list[str]) -> Tool:
    reading.unknown(tool, _TOOL, path, dropped)
    if tool.get("defer_loading"):
        dropped.append(reading.at(path, "defer_loading"))
    if tool.get("allowed_callers") not in (None, _DIRECT):
        dropped.append(reading.at(path, "allowed_callers"))
    return Tool(
        name=reading.needed(tool, "name", path),
        description=reading.text(tool, "description", path),
        schema=reading.record(tool, "input_schema", path),
        strict=reading.flag(tool, "strict", path),
        cache=content_reader.cache(tool, path),
    )


def _choice(body: Json, dropped: list[str]) -> tuple[Choice | None, bool | None]:
    given = reading.record(body, "tool_choice", "")
    if given is None:
        return None, None
    reading.unknown(given, _CHOICE, "tool_choice", dropped)
    kind = reading.word(given, "type", "tool_choice", tuple(_MODES))
    if kind is None:
        raise reading.missing("tool_choice.type")
    alone = reading.flag(given, "disable_parallel_tool_use", "tool_choice")
    parallel = None if alone is None else not alone
    name = reading.needed(given, "name", "tool_choice") if kind == "tool" else None
    return Choice(_MODES[kind], name), parallel


def _format(body: Json, output: Json, dropped: list[str]) -> Format | None:
    """`output_config.format`, or what it was called before it was generally available."""
    path = "output_config.format"
    given = reading.record(output, "format", "output_config")
    if given is None:
        path = "output_format"
        given = reading.record(body, "output_format", "")
    if given is None:
        return None
    reading.unknown(given, _FORMAT, path, dropped)
    reading.word(given, "type", path, ("json_schema",))
    schema = reading.record(given, "schema", path)
    if schema is None:
        raise reading.missing(reading.at(path, "schema"))
    return Format("json_schema", schema=schema, strict=structured.strict_clean(schema))


def _reasoning(body: Json, output: Json, dropped: list[str]) -> Reasoning:
    """What is thought comes back with the next turn in any case, so it has to be there to come back."""
    effort = reading.word(output, "effort", "output_config", EFFORTS)
    given = reading.record(body, "thinking", "")
    if given is None:
        return Reasoning(effort, encrypted=True)
    reading.unknown(given, _THINKING, "thinking", dropped)
    kind = reading.word(given, "type", "thinking", ("adaptive", "enabled", "disabled", "between_tools"))
    display = reading.word(given, "display", "thinking", ("summarized", "omitted"))
    shown = None if display is None else display == "summarized"
    budget = reading.integer(given, "budget_tokens", "thinking", least=0)
    if kind is None:
        raise reading.missing("thinking.type")
    if kind == "disabled":
        return Reasoning("none", encrypted=True)
    if kind == "between_tools":
        dropped.append("thinking.type")
    return Reasoning(effort, budget if kind == "enabled" else None, shown, encrypted=True)


def _sampling(body: Json) -> Sampling:
    return Sampling(
        temperature=reading.number(body, "temperature", ""),
        top_p=reading.number(body, "top_p", ""),
        top_k=reading.integer(body, "top_k", ""),
    )


def _hints(body: Json, dropped: list[str]) -> Hints:
    metadata = reading.record(body, "metadata", "") or {}
    reading.unknown(metadata, _METADATA, "metadata", dropped)
    tier = reading.word(body, "service_tier", "", tuple(_TIERS))
    return Hints(user=reading.text(metadata, "user_id", "metadata"), tier=_TIERS[tier] if tier else None)
