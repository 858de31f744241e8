"""Reads a client's chat body as a conversation.

Source: OpenAI's API reference, with what clients of compatible servers send as well: `reasoning_content`
and `thinking_blocks` of earlier replies, `top_k`, pictures in results of tools. The old `functions`,
`function_call` and role `function` are read as the tools that took their place.
"""

from typing import Final, Literal, get_args

from proxy.errors import Refusal
from proxy.wire import reading, stopping
from proxy.wire.chat import messages_reader
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
from proxy.wire.model import Dialect

_CARRIED: Final = frozenset(
    [
        "model",
        "messages",
        "stream",
        "tools",
        "tool_choice",
        "functions",
        "function_call",
        "parallel_tool_calls",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "n",
        "response_format",
        "reasoning_effort",
        "temperature",
        "top_p",
        "top_k",
        "presence_penalty",
        "frequency_penalty",
        "seed",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "user",
        "safety_identifier",
        "metadata",
        "service_tier",
        "verbosity",
        "prompt_cache_key",
        "prediction",
        "stream_options",
        "modalities",
        "audio",
        "web_search_options",
    ]
)
_HINTS: Final = frozenset(("prompt_cache_options", "prompt_cache_retention"))
"""What changes nothing of an answer and has no place elsewhere."""
_KNOWN: Final = _CARRIED | _HINTS
_TOOL: Final = {"function": frozenset(("type", "function")), "custom": frozenset(("type", "custom"))}
_FUNCTION: Final = frozenset(("name", "description", "parameters", "strict"))
_CUSTOM: Final = frozenset(("name", "description", "format"))
_FORMAT: Final = frozenset(("type", "json_schema"))
_SCHEMA: Final = frozenset(("name", "description", "schema", "strict"))
_OPTIONS: Final = frozenset(("include_usage", "include_obfuscation"))
_MODES: Final[tuple[Literal["auto", "required", "none"], ...]] = ("auto", "required", "none")
_BOUNDS: Final[tuple[Literal["auto", "required"], ...]] = ("auto", "required")
_EFFORTS: Final[tuple[Effort, ...]] = get_args(Effort)


def read(fields: Fields) -> Conversation:
    """A client's body as a conversation. Raises `Refusal` 400 naming the field that cannot be read."""
    body = reading.opened(fields)
    dropped: list[str] = []
    reading.unknown(body, _KNOWN, "", dropped)
    if body.get("store") is False:
        dropped.remove("store")
    _refuse_speech(body)
    legacy = bool(body.get("functions"))
    options = reading.record(body, "stream_options", "") or {}
    reading.unknown(options, _OPTIONS, "stream_options", dropped)
    tools, hosted = _tools(body, dropped)
    cap = reading.integer(body, "max_completion_tokens", "", 1)
    return Conversation(
        dialect=Dialect.CHAT,
        turns=messages_reader.read(body, dropped),
        stream=reading.flag(body, "stream", "") or False,
        tools=tools,
        hosted=hosted,
        choice=_choice(body),
        parallel=False if legacy else reading.flag(body, "parallel_tool_calls", ""),
        max_output=reading.integer(body, "max_tokens", "", 1) if cap is None else cap,
        stop=_stop(body),
        n=reading.integer(body, "n", "", 1) or 1,
        format=_format(body, dropped),
        reasoning=Reasoning(effort=reading.word(body, "reasoning_effort", "", _EFFORTS)),
        sampling=_sampling(body),
        hints=_hints(body),
        echo={
            "model": reading.text(body, "model", ""),
            "include_usage": reading.flag(options, "include_usage", "stream_options") or False,
            "legacy": legacy,
        },
        dropped=tuple(dropped),
    )


def _refuse_speech(body: Json) -> None:
    """A spoken answer cannot be said to a provider of another dialect."""
    spoken = [kind for kind in reading.texts(body, "modalities", "") if kind != "text"]
    param = "modalities" if spoken else "audio"
    if spoken or body.get("audio") is not None:
        raise Refusal(
            400,
            f"'{param}' cannot be passed on to the provider that serves this model.",
            param=param,
            code="unsupported_value",
        )


def _stop(body: Json) -> tuple[str, ...]:
    stop = (body["stop"],) if isinstance(body.get("stop"), str) else reading.texts(body, "stop", "")
    return stopping.bounded(stop, "stop")


def _sampling(body: Json) -> Sampling:
    return Sampling(
        temperature=reading.number(body, "temperature", ""),
        top_p=reading.number(body, "top_p", ""),
        top_k=reading.integer(body, "top_k", ""),
        presence_penalty=reading.number(body, "presence_penalty", ""),
        frequency_penalty=reading.number(body, "frequency_penalty", ""),
        seed=reading.integer(body, "seed", ""),
        logit_bias=reading.record(body, "logit_bias", ""),
        logprobs=reading.flag(body, "logprobs", "") or False,
        top_logprobs=reading.integer(body, "top_logprobs", "", 0),
    )


def _hints(body: Json) -> Hints:
    return Hints(
        user=reading.text(body, "safety_identifier", "") or reading.text(body, "user", ""),
        metadata=reading.record(body, "metadata", ""),
        tier=reading.text(body, "service_tier", ""),
        verbosity=reading.text(body, "verbosity", ""),
        cache_key=reading.text(body, "prompt_cache_key", ""),
        prediction=reading.record(body, "prediction", ""),
    )


def _format(body: Json, dropped: list[str]) -> Format | None:
    asked = reading.record(body, "response_format", "")
    if asked is None:
        return None
    reading.unknown(asked, _FORMAT, "response_format", dropped)
    kind = reading.word(asked, "type", "response_format", ("text", "json_object", "json_schema"))
    if kind is None:
        raise reading.missing("response_format.type")
    if kind == "text":
        return None
    if kind == "json_object":
        return Format("json_object")
    path = "response_format.json_schema"
    wanted = reading.record(asked, "json_schema", "response_format")
    if wanted is None:
        raise reading.missing(path)
    reading.unknown(wanted, _SCHEMA, path, dropped)
    return Format(
        "json_schema",
        name=reading.text(wanted, "name", path),
        description=reading.text(wanted, "description", path),
        schema=reading.record(wanted, "schema", path),
        strict=reading.flag(wanted, "strict", path),
    )


def _tools(body: Json, dropped: list[str]) -> tuple[tuple[Tool, ...], tuple[Hosted, ...]]:
    tools: list[Tool] = []
    hosted: list[Hosted] = []
    for place, tool in enumerate(reading.records(body, "tools", "")):
        path = f"tools[{place}]"
        kind = reading.needed(tool, "type", path)
        known = _TOOL.get(kind)
        if known is None:
            hosted.append(Hosted(kind, Dialect.CHAT))
            continue
        reading.unknown(tool, known, path, dropped)
        inner = reading.record(tool, kind, path)
        if inner is None:
            raise reading.missing(f"{path}.{kind}")
        make = _function if kind == "function" else _custom
        tools.append(make(inner, f"{path}.{kind}", dropped))
    for place, function in enumerate(reading.records(body, "functions", "")):
        tools.append(_function(function, f"functions[{place}]", dropped))
    if reading.record(body, "web_search_options", "") is not None:
        hosted.append(Hosted("web_search_options", Dialect.CHAT))
    return tuple(tools), tuple(hosted)


def _function(function: Json, path: str, dropped: list[str]) -> Tool:
    reading.unknown(function, _FUNCTION, path, dropped)
    return Tool(
        reading.needed(function, "name", path),
        description=reading.text(function, "description", path),
        schema=reading.record(function, "parameters", path),
        strict=reading.flag(function, "strict", path),
    )


def _custom(tool: Json, path: str, dropped: list[str]) -> Tool:
    """A tool with free text as its input; its grammar in the flat form that Responses has."""
    reading.unknown(tool, _CUSTOM, path, dropped)
    shape = reading.record(tool, "format", path)
    if shape is not None and isinstance(shape.get("grammar"), dict):
        shape = {"type": "grammar", **shape["grammar"]}
    return Tool(
        reading.needed(tool, "name", path),
        description=reading.text(tool, "description", path),
        custom=True,
        grammar=shape,
    )


def _choice(body: Json) -> Choice | None:
    key = "tool_choice" if body.get("tool_choice") is not None else "function_call"
    asked = body.get(key)
    if asked is None:
        return None
    if isinstance(asked, str):
        mode = reading.word(body, key, "", _MODES)
        return Choice(mode) if mode is not None else None
    if not isinstance(asked, dict):
        raise reading.wrong(key, "a string or an object", asked)
    if key == "function_call":
        return Choice("named", reading.needed(asked, "name", key))
    kind = reading.word(asked, "type", key, ("function", "custom", "allowed_tools"))
    if kind is None:
        raise reading.missing(f"{key}.type")
    inner = reading.record(asked, kind, key)
    path = f"{key}.{kind}"
    if inner is None:
        raise reading.missing(path)
    if kind != "allowed_tools":
        return Choice("named", reading.needed(inner, "name", path))
    mode = reading.word(inner, "mode", path, _BOUNDS) or "auto"
    allowed = [
        reading.needed(
            reading.record(tool, str(tool.get("type")), f"{path}.tools") or {}, "name", f"{path}.tools"
        )
        for tool in reading.records(inner, "tools", path)
    ]
    return Choice(mode, allowed=tuple(allowed))
