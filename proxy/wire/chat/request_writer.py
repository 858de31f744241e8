"""Writes a conversation as a chat body for an upstream.

Source: OpenAI's API reference; what other providers take or want instead is in `profiles.Quirks`.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from proxy.profiles import Quirks
from proxy.wire import free_text, naming, schemas, structured, turns
from proxy.wire.chat import messages_writer
from proxy.wire.choices import Choosable, without_tools
from proxy.wire.codec import Facts, Written
from proxy.wire.conversation import (
    NEUTRAL,
    Choice,
    Conversation,
    Effort,
    Format,
    Json,
    Role,
    Sampling,
    Text,
    Tool,
    Turn,
)
from proxy.wire.efforts import effort_of
from proxy.wire.envelope import encode
from proxy.wire.losses import Losses
from proxy.wire.model import Dialect

STOPS: Final = 4
"""The most stop sequences that are taken."""
_DEEPSEEK: Final[Mapping[Effort, str]] = MappingProxyType(
    {"minimal": "low", "low": "low", "medium": "high", "high": "high", "xhigh": "max", "max": "max"}
)
_BUDGETS: Final[Mapping[Effort, int]] = MappingProxyType({"minimal": 1024, "low": 2048})
"""Thinking tokens where less than the model's own measure is wanted."""
_PLAIN_TIERS: Final = ("auto", "default")


def write(conversation: Conversation, facts: Facts, losses: Losses) -> Written:
    """The body, and what has to be undone in its reply. Raises `Refusal` 400 for what cannot be said."""
    quirks = facts.quirks
    asked = _instruction(conversation, quirks, losses)
    said = conversation.turns
    if asked is not None:
        said = _instructed(said, asked)
    body: Json = {"model": facts.model, "messages": messages_writer.write(said, quirks, losses)}
    if conversation.stream or quirks.stream_only:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    _bound(body, conversation, quirks, losses)
    tools = _tools(body, conversation, quirks, losses)
    if conversation.format is not None:
        body["response_format"] = _format(conversation.format, conversation.dialect, quirks)
    _reason(body, conversation, quirks, losses)
    _sample(body, conversation.sampling, quirks, losses)
    _hint(body, conversation, quirks, losses)
    origins = naming.origins(
        (tool.name, tool.namespace, tool.custom and not quirks.custom_tools) for tool in tools
    )
    return Written(body, origins, conversation.stop[STOPS:])


def _instructed(said: tuple[Turn, ...], text: str) -> tuple[Turn, ...]:
    """The turns with one more instruction after those that lead."""
    lead, rest = turns.split(said)
    return (*lead, Turn(Role.SYSTEM, (Text(text),)), *rest)


# --- structured output ------------------------------------------------------------------------------------


def _instruction(conversation: Conversation, quirks: Quirks, losses: Losses) -> str | None:
    """What the prompt has to say of the format, where the format's own field does not do."""
    asked = conversation.format
    if asked is None:
        return None
    if asked.kind == "json_schema" and not quirks.json_schema:
        losses.change("format.json_schema")
        schema = encode(asked.schema or {}).decode()
        return f"Reply with one JSON object, and nothing else, that fits this JSON schema:\n{schema}"
    if quirks.json_word and not any("json" in text.lower() for text in _texts(conversation.turns)):
        return "Reply with one JSON object, and nothing else."
    return None


def _texts(said: Iterable[Turn]) -> Iterator[str]:
    return (block.text for turn in said for block in turn.blocks if isinstance(block, Text))


def _format(asked: Format, dialect: Dialect, quirks: Quirks) -> Json:
    if asked.kind == "json_object" or not quirks.json_schema:
        return {"type": "json_object"}
    schema = asked.schema or {}
    wanted: Json = {"name": asked.name or "response", "schema": schema}
    if asked.description is not None:
        wanted["description"] = asked.description
    if asked.strict is not None:
        wanted["strict"] = asked.strict
    elif dialect is Dialect.MESSAGES:  # where a schema is always kept to; here only a closed one can be
        wanted["strict"] = structured.strict_clean(schema)
    return {"type": "json_schema", "json_schema": wanted}


# --- tools ------------------------------------------------------------------------------------------------


def _tools(body: Json, conversation: Conversation, quirks: Quirks, losses: Losses) -> tuple[Tool, ...]:
    """The tools, and how they are to be used; those that were written."""
    for hosted in conversation.hosted:
        losses.meet("tool.hosted", f"tools.{hosted.type}")
    choice = conversation.choice
    choosable = Choosable(conversation.tools)
    tools = conversation.tools if quirks.openai_hints else choosable.allowed(choice)
    if not tools:
        without_tools(choice, losses)
        return ()
    body["tools"] = [_tool(tool, conversation.dialect, quirks, losses) for tool in tools]
    if choice is not None:
        body["tool_choice"] = _choice(choice, choosable, quirks, losses)
    if conversation.parallel is not None:
        body["parallel_tool_calls"] = conversation.parallel
    return tools


def _tool(tool: Tool, dialect: Dialect, quirks: Quirks, losses: Losses) -> Json:
    name = naming.flattened(tool.name, tool.namespace)
    if tool.namespace is not None:
        losses.meet("tool.namespace")
    elif name != tool.name:
        losses.meet("tool.name")
    made: Json = {"name": name}
    if tool.custom:
        if quirks.custom_tools:
            return {"type": "custom", "custom": {**made, **_custom(tool)}}
        losses.change("tool.custom")
        made.update(description=free_text.described(tool), parameters=free_text.arguments())
        return {"type": "function", "function": made}
    if tool.description is not None:
        made["description"] = tool.description
    made["parameters"] = schemas.arguments(tool.schema)
    strict = tool.strict
    if strict is None and dialect is Dialect.RESPONSES:  # where leaving it out means true
        strict = quirks.json_schema and structured.strict_clean(made["parameters"])
    if strict:
        made["strict"] = True
    return {"type": "function", "function": made}


def _custom(tool: Tool) -> Json:
    made: Json = {}
    if tool.description is not None:
        made["description"] = tool.description
    shape = tool.grammar
    if shape is not None and shape.get("type") == "grammar":
        rest = {key: value for key, value in shape.items() if key != "type"}
        made["format"] = {"type": "grammar", "grammar": rest.get("grammar", rest)}
    elif shape is not None:
        made["format"] = shape
    return made


def _choice(choice: Choice, tools: Choosable, quirks: Quirks, losses: Losses) -> str | Json:
    mode = choice.mode
    if mode in ("required", "named") and not quirks.forced_choice:
        losses.change("tool_choice")
        mode = "auto"
    if mode == "named":
        return _named(choice.name or "", tools, quirks)
    if choice.allowed is not None and quirks.openai_hints and mode != "none":
        allowed = [_named(name, tools, quirks) for name in choice.allowed]
        return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": allowed}}
    return mode


def _named(name: str, tools: Choosable, quirks: Quirks) -> Json:
    """A tool by the name that the provider knows it by."""
    tool = tools.find(name) or Tool(name)
    kind = "custom" if tool.custom and quirks.custom_tools else "function"
    return {"type": kind, kind: {"name": naming.flattened(tool.name, tool.namespace)}}


# --- how to go on -----------------------------------------------------------------------------------------


def _bound(body: Json, conversation: Conversation, quirks: Quirks, losses: Losses) -> None:
    if conversation.max_output == 0:
        losses.refuse(
            "max_output", "An answer of no tokens can be asked of Messages only.", param="max_tokens"
        )
    if conversation.max_output is not None:
        body[quirks.output_cap] = conversation.max_output
    if conversation.stop:
        body["stop"] = list(conversation.stop[:STOPS])
    if conversation.n != 1:
        body["n"] = conversation.n


def _reason(body: Json, conversation: Conversation, quirks: Quirks, losses: Losses) -> None:
    """How much to think, in the words of this provider."""
    effort, budget = conversation.reasoning.effort, conversation.reasoning.budget
    if effort is None and budget is None:
        return
    if quirks.thinks == "dashscope":
        _dashscope(body, effort, budget, losses)
        return
    if quirks.thinks not in ("effort", "deepseek"):
        if effort != "none":
            losses.drop("reasoning.effort" if budget is None else "reasoning.budget")
        return
    if effort is None:
        losses.meet("reasoning.budget")
        effort = effort_of(budget or 0)
    if quirks.thinks == "effort":
        body["reasoning_effort"] = effort
        return
    body["thinking"] = {"type": "disabled" if effort == "none" else "enabled"}
    if effort != "none":
        body["reasoning_effort"] = _DEEPSEEK[effort]
        if _DEEPSEEK[effort] != effort:
            losses.change("reasoning.effort")


def _dashscope(body: Json, effort: Effort | None, budget: int | None, losses: Losses) -> None:
    body["enable_thinking"] = effort != "none"
    if effort == "none":
        return
    tokens = _BUDGETS.get(effort) if budget is None and effort is not None else budget
    if tokens is not None:
        body["thinking_budget"] = tokens
    elif effort != "high":
        losses.change("reasoning.effort")


def _sample(body: Json, sampling: Sampling, quirks: Quirks, losses: Losses) -> None:
    for name, taken in (
        ("temperature", quirks.sampling),
        ("top_p", quirks.sampling),
        ("top_k", quirks.top_k),
        ("presence_penalty", quirks.seed_and_penalties),
        ("frequency_penalty", quirks.seed_and_penalties),
        ("seed", quirks.seed_and_penalties),
        ("logit_bias", quirks.seed_and_penalties),
    ):
        value = getattr(sampling, name)
        if value is None:
            continue
        if taken:
            body[name] = value
        elif value != NEUTRAL.get(name):
            losses.drop(name)
    if sampling.logprobs or sampling.top_logprobs:
        losses.meet("logprobs")


def _hint(body: Json, conversation: Conversation, quirks: Quirks, losses: Losses) -> None:
    """Hints of OpenAI's; others are told of the user alone. `metadata` would need the answer stored there."""
    hints = conversation.hints
    if hints.user:
        body["safety_identifier" if quirks.openai_hints else "user"] = naming.person(hints.user)
    if not quirks.openai_hints:
        if hints.verbosity not in (None, "medium"):
            losses.drop("verbosity")
        if hints.tier not in (None, *_PLAIN_TIERS):
            losses.drop("service_tier")
        return
    for name, value in (
        ("service_tier", hints.tier),
        ("verbosity", hints.verbosity),
        ("prompt_cache_key", hints.cache_key),
        ("prediction", hints.prediction),
    ):
        if value is not None:
            body[name] = value
