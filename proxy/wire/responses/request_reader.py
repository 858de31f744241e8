"""Reads a client's Responses body as a conversation.

Source: OpenAI's API reference for creating a response, and the Open Responses schema. What the proxy does by
itself is passed over here: storing, following a stored response, running in the background. What only OpenAI
could do (its conversations, its prompt templates) is refused.
"""

from typing import Final, get_args

from proxy.errors import Refusal
from proxy.wire import reading
from proxy.wire.conversation import (
    Conversation,
    Effort,
    Format,
    Hints,
    Json,
    Reasoning,
    Role,
    Sampling,
    Text,
    Turn,
)
from proxy.wire.envelope import Fields
from proxy.wire.model import Dialect
from proxy.wire.responses import input_reader, tools_reader
from proxy.wire.responses.resource import echo

ENCRYPTED: Final = "reasoning.encrypted_content"
"""What a client includes that wants its reasoning back to replay it itself."""

_PROBABILITIES: Final = "message.output_text.logprobs"
_INCLUDED: Final = frozenset(
    [
        ENCRYPTED,
        _PROBABILITIES,
        "file_search_call.results",
        "web_search_call.results",
        "web_search_call.action.sources",
        "message.input_image.image_url",
        "computer_call_output.output.image_url",
        "code_interpreter_call.outputs",
    ]
)
_KNOWN: Final = frozenset(
    [
        "model",
        "input",
        "instructions",
        "stream",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "max_output_tokens",
        "temperature",
        "top_p",
        "presence_penalty",
        "frequency_penalty",
        "top_logprobs",
        "text",
        "reasoning",
        "include",
        "user",
        "safety_identifier",
        "metadata",
        "service_tier",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "store",
        "background",
        "previous_response_id",
        "stream_options",
        "truncation",
        "conversation",
        "prompt",
    ]
)
_FORMAT: Final = frozenset(("type", "name", "description", "schema", "strict"))
_TEXT: Final = frozenset(("format", "verbosity"))
_REASONING: Final = frozenset(("effort", "summary", "generate_summary"))
_SUMMARIES: Final = ("auto", "concise", "detailed", "none")
_EFFORTS: Final[tuple[Effort, ...]] = get_args(Effort)


def read(fields: Fields) -> Conversation:
    """A client's body as a conversation. Raises `Refusal` 400 naming the field that cannot be read."""
    body = reading.opened(fields)
    dropped: list[str] = []
    reading.unknown(body, _KNOWN, "", dropped)
    _refuse_foreign(body)
    _check_echoed(body)
    turns = input_reader.read(body, dropped)
    instructions = reading.text(body, "instructions", "")
    if instructions:
        turns.insert(0, Turn(Role.SYSTEM, (Text(instructions),)))
    if not turns:
        raise reading.missing("input")
    if reading.word(body, "truncation", "", ("auto", "disabled")) == "auto":
        dropped.append("truncation")
    own, hosted = tools_reader.tools(body, dropped)
    included = _included(body, dropped)
    return Conversation(
        dialect=Dialect.RESPONSES,
        turns=tuple(turns),
        stream=reading.flag(body, "stream", "") or False,
        tools=own,
        hosted=hosted,
        choice=tools_reader.choice(body, dropped),
        parallel=reading.flag(body, "parallel_tool_calls", ""),
        max_output=reading.integer(body, "max_output_tokens", "", 1),
        format=_format(body, dropped),
        reasoning=_reasoning(body, included, dropped),
        sampling=_sampling(body, included),
        hints=_hints(body),
        echo=echo(body),
        dropped=tuple(dropped),
    )


def _refuse_foreign(body: Json) -> None:
    for name in ("conversation", "prompt"):
        if body.get(name) is not None:
            raise Refusal(
                400,
                f"'{name}' cannot be passed on to the provider that serves this model.",
                param=name,
                code="unsupported_value",
            )


def _check_echoed(body: Json) -> None:
    """What is read by nobody here is repeated to the client, so it has to be of its type."""
    for name in ("previous_response_id", "prompt_cache_retention"):
        reading.text(body, name, "")
    reading.flag(body, "background", "")
    reading.record(body, "prompt_cache_options", "")
    reading.integer(body, "max_tool_calls", "", 1)


def _included(body: Json, dropped: list[str]) -> frozenset[str]:
    """What is to be included. All but two of the known values are about hosted tools, which are not run."""
    said = reading.texts(body, "include", "")
    dropped += [f"include[{place}]" for place, name in enumerate(said) if name not in _INCLUDED]
    return frozenset(said)


def _format(body: Json, dropped: list[str]) -> Format | None:
    text = reading.record(body, "text", "") or {}
    reading.unknown(text, _TEXT, "text", dropped)
    said = reading.record(text, "format", "text")
    if said is None:
        return None
    path = "text.format"
    reading.unknown(said, _FORMAT, path, dropped)
    kind = reading.word(said, "type", path, ("text", "json_object", "json_schema"))
    if kind is None:
        raise reading.missing(f"{path}.type")
    if kind == "text":
        return None
    if kind == "json_object":
        return Format("json_object")
    schema = reading.record(said, "schema", path)
    if schema is None:
        raise reading.missing(f"{path}.schema")
    return Format(
        "json_schema",
        name=reading.needed(said, "name", path),
        description=reading.text(said, "description", path),
        schema=schema,
        strict=reading.flag(said, "strict", path),
    )


def _reasoning(body: Json, included: frozenset[str], dropped: list[str]) -> Reasoning:
    """Reasoning that nobody stores is the client's to replay: it needs it with or without asking for it."""
    said = reading.record(body, "reasoning", "") or {}
    reading.unknown(said, _REASONING, "reasoning", dropped)
    summary = reading.word(said, "summary", "reasoning", _SUMMARIES)
    summary = summary or reading.word(said, "generate_summary", "reasoning", _SUMMARIES)
    return Reasoning(
        effort=reading.word(said, "effort", "reasoning", _EFFORTS),
        shown=None if summary is None else summary != "none",
        encrypted=ENCRYPTED in included or reading.flag(body, "store", "") is False,
    )


def _sampling(body: Json, included: frozenset[str]) -> Sampling:
    return Sampling(
        temperature=reading.number(body, "temperature", ""),
        top_p=reading.number(body, "top_p", ""),
        presence_penalty=reading.number(body, "presence_penalty", ""),
        frequency_penalty=reading.number(body, "frequency_penalty", ""),
        logprobs=_PROBABILITIES in included,
        top_logprobs=reading.integer(body, "top_logprobs", "", 0) or None,
    )


def _hints(body: Json) -> Hints:
    text = body.get("text") or {}
    return Hints(
        user=reading.text(body, "safety_identifier", "") or reading.text(body, "user", ""),
        metadata=reading.record(body, "metadata", ""),
        tier=reading.text(body, "service_tier", ""),
        verbosity=reading.text(text, "verbosity", "text"),
        cache_key=reading.text(body, "prompt_cache_key", ""),
    )
