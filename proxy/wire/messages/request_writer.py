"""Writes a conversation as a Messages body for an upstream.

Source: Anthropic's API reference; what a model takes or wants instead is in `profiles.Quirks`.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from proxy.wire import free_text, naming, schemas, structured, turns
from proxy.wire.choices import Choosable, without_tools
from proxy.wire.codec import Facts, Written
from proxy.wire.conversation import (
    NEUTRAL,
    Choice,
    Conversation,
    Json,
    Role,
    Sampling,
    Text,
    Tool,
    ToolUse,
    Turn,
)
from proxy.wire.envelope import encode
from proxy.wire.losses import Losses
from proxy.wire.messages import thinking
from proxy.wire.messages.content_writer import ContentWriter
from proxy.wire.messages.marks import Marks

JSON_ONLY: Final = "Reply with one JSON object, and nothing else."
_MODES: Final[Mapping[str, str]] = MappingProxyType({"auto": "auto", "required": "any", "none": "none"})
_TIERS: Final[Mapping[str, str]] = MappingProxyType({"auto": "auto", "default": "standard_only"})
_FOREIGN: Final = ("seed", "logit_bias", "presence_penalty", "frequency_penalty")
_THOUGHTS: Final = frozenset({"thinking", "redacted_thinking"})


def write(conversation: Conversation, facts: Facts, losses: Losses) -> Written:
    """The body, and what has to be undone in its reply. Raises `Refusal` 400 for what cannot be said."""
    if conversation.n != 1:
        losses.meet("n")
    marks = Marks(taken=facts.quirks.cache_marks)
    tools = _tools(conversation, facts, losses, marks)
    choice = _choice(conversation, facts, losses, any_tools=bool(tools))
    said = _instructed(conversation, facts, losses)
    system, messages = ContentWriter(facts, losses, marks).write(said)
    body: Json = {"model": facts.model, "max_tokens": 0, "messages": messages}
    if system:
        body["system"] = system
    if not tools and (tools := _remembered(conversation.turns)):
        choice = {"type": "none"}
    if tools:
        body["tools"] = tools
    if choice is not None:
        body["tool_choice"] = choice
    marks.place()
    _think(body, conversation, facts, losses)
    _shape(body, conversation, facts, losses)
    _hint(body, conversation, losses)
    if conversation.stream or facts.quirks.stream_only:
        body["stream"] = True
    return _stopped(body, conversation)


def _stopped(body: Json, conversation: Conversation) -> Written:
    """Sequences of white space alone are refused here: the proxy looks for them itself."""
    taken = [sequence for sequence in conversation.stop if sequence.strip()]
    if taken:
        body["stop_sequences"] = taken
    origins = naming.origins((tool.name, tool.namespace, tool.custom) for tool in conversation.tools)
    return Written(body, origins, tuple(s for s in conversation.stop if s and not s.strip()))


# --- structured output ------------------------------------------------------------------------------------


def _instructed(conversation: Conversation, facts: Facts, losses: Losses) -> Sequence[Turn]:
    """The turns; after those that lead, what the format's own field cannot say."""
    asked = conversation.format
    if asked is None or (asked.kind == "json_schema" and facts.quirks.json_schema):
        return conversation.turns
    if asked.kind == "json_object":
        losses.meet("format.json_object")
        words = JSON_ONLY
    else:
        losses.change("format.json_schema")
        words = f"{JSON_ONLY} It has to fit this JSON schema:\n{encode(asked.schema or {}).decode()}"
    lead, rest = turns.split(conversation.turns)
    return (*lead, Turn(Role.SYSTEM, (Text(words),)), *rest)


def _shape(body: Json, conversation: Conversation, facts: Facts, losses: Losses) -> None:
    asked = conversation.format
    if asked is None or asked.kind != "json_schema" or not facts.quirks.json_schema:
        return
    schema, moved = structured.closed(asked.schema or {}, "format.json_schema")
    if moved:
        losses.meet("format.keywords")
    body.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": schema}


# --- tools ------------------------------------------------------------------------------------------------


def _tools(conversation: Conversation, facts: Facts, losses: Losses, marks: Marks) -> list[Json]:
    for hosted in conversation.hosted:
        losses.meet("tool.hosted", f"tools.{hosted.type}")
    allowed = Choosable(conversation.tools).allowed(conversation.choice)
    return [marks.note(_tool(tool, facts, losses), tool.cache) for tool in allowed]


def _tool(tool: Tool, facts: Facts, losses: Losses) -> Json:
    name = naming.flattened(tool.name, tool.namespace)
    if tool.namespace is not None:
        losses.meet("tool.namespace")
    elif name != tool.name:
        losses.meet("tool.name")
    if tool.custom:
        losses.meet("tool.custom")
        return {"name": name, "description": free_text.described(tool), "input_schema": free_text.arguments()}
    made: Json = {"name": name}
    if tool.description:
        made["description"] = tool.description
    schema, changed = schemas.flat(schemas.arguments(tool.schema))
    if changed:
        losses.meet("tool.schema")
    made["input_schema"] = schema
    if not tool.strict:
        return made
    if not facts.quirks.json_schema:
        losses.drop("tool.strict")
        return made
    made["input_schema"], moved = structured.closed(schema, f"tools.{tool.name}")
    made["strict"] = True
    if moved:
        losses.meet("format.keywords")
    return made


def _remembered(said: Sequence[Turn]) -> list[Json]:
    """Tools for a conversation that has calls and no tools any more: calls of the unknown are refused.

    They are declared and forbidden: the client has offered none. (With `none` a model may think as ever.)
    """
    blocks = (block for turn in said for block in turn.blocks)
    names = dict.fromkeys(
        naming.flattened(block.name, block.namespace) for block in blocks if isinstance(block, ToolUse)
    )
    return [{"name": name, "input_schema": schemas.arguments(None)} for name in names]


def _choice(conversation: Conversation, facts: Facts, losses: Losses, *, any_tools: bool) -> Json | None:
    choice = conversation.choice or Choice("auto")
    if not any_tools:
        without_tools(choice, losses)
        return None
    made: Json
    if choice.mode in ("required", "named") and not facts.quirks.forced_choice:
        losses.change("tool_choice")
        made = {"type": "auto"}
    elif choice.mode == "named":
        name = choice.name or ""
        tool = Choosable(conversation.tools).find(name) or Tool(name)
        made = {"type": "tool", "name": naming.flattened(tool.name, tool.namespace)}
    else:
        made = {"type": _MODES[choice.mode]}
    if conversation.parallel is False and choice.mode != "none":
        made["disable_parallel_tool_use"] = True
    return made if conversation.choice is not None or conversation.parallel is False else None


# --- how to go on -----------------------------------------------------------------------------------------


def _think(body: Json, conversation: Conversation, facts: Facts, losses: Losses) -> None:
    """How much to think, how long to answer; and what is drawn freely, for a model that thinks is not."""
    situation = thinking.Situation(
        forced=body.get("tool_choice", {}).get("type") in ("any", "tool"),
        unthought=_unthought(body["messages"]),
        bound=conversation.max_output,
    )
    asked = thinking.ask(conversation.reasoning, situation, facts.quirks, losses)
    body["max_tokens"] = asked.max_tokens
    if asked.thinking is not None:
        body["thinking"] = asked.thinking
    if asked.effort is not None:
        body["output_config"] = {"effort": asked.effort}
    _sample(body, conversation.sampling, losses, free=facts.quirks.sampling and not asked.active)
    if conversation.sampling.top_k is not None:
        if facts.quirks.top_k and not asked.active:
            body["top_k"] = conversation.sampling.top_k
        else:
            losses.drop("top_k")


def _unthought(messages: Sequence[Json]) -> bool:
    """Whether the assistant's turn that is to be gone on from does not begin with its thinking."""
    said = [message for message in messages if message["role"] != "system"]
    last = said[-1]
    if last["role"] == "user":
        if isinstance(last["content"], str) or last["content"][0]["type"] != "tool_result":
            return False
        last = said[-2]
    return isinstance(last["content"], str) or last["content"][0]["type"] not in _THOUGHTS


def _sample(body: Json, sampling: Sampling, losses: Losses, *, free: bool) -> None:
    """Temperature or share, not both, which newer models refuse; never warmer than 1."""
    for name in ("temperature", "top_p"):
        value = getattr(sampling, name)
        if value is None:
            continue
        if not free or "temperature" in body:
            if value != NEUTRAL[name]:
                losses.drop(name)
            continue
        if value > 1:
            losses.clamp(name)
        body[name] = min(value, 1)
    for name in _FOREIGN:
        value = getattr(sampling, name)
        if value is not None and value != NEUTRAL.get(name):
            losses.meet(name)
    if sampling.logprobs or sampling.top_logprobs:
        losses.meet("logprobs")


def _hint(body: Json, conversation: Conversation, losses: Losses) -> None:
    hints = conversation.hints
    if hints.user:
        body["metadata"] = {"user_id": naming.person(hints.user)}
    if hints.metadata:
        losses.meet("metadata")
    if hints.tier is not None and hints.tier in _TIERS:
        body["service_tier"] = _TIERS[hints.tier]
    elif hints.tier == "priority":
        body["service_tier"] = "auto"
        losses.change("service_tier")
    elif hints.tier is not None:
        losses.drop("service_tier")
