"""Writes a conversation as a Responses body for a provider.

Source: OpenAI's API reference for creating a response. The state is the proxy's: nothing is stored at the
provider, so reasoning is asked for in the sealed form that can be sent again. `strict` is always written, for
a tool without it counts as strict.
"""

from collections.abc import Mapping
from typing import Final

from proxy.wire import naming, schemas
from proxy.wire.choices import Choosable, without_tools
from proxy.wire.codec import Facts, Written
from proxy.wire.conversation import NEUTRAL, Choice, Conversation, Format, Json, Role, Text, Tool, Turn
from proxy.wire.efforts import effort_of
from proxy.wire.losses import Losses
from proxy.wire.model import Dialect
from proxy.wire.responses import input_writer
from proxy.wire.responses.request_reader import ENCRYPTED

LEAST_OUTPUT: Final = 16
"""The smallest bound that is taken, in tokens."""


def write(conversation: Conversation, facts: Facts, losses: Losses) -> Written:
    """The body. Raises `Refusal` 400 for what cannot be said to this provider."""
    if conversation.n > 1:
        losses.meet("n")
    if conversation.stop:
        losses.meet("stop")
    turns = conversation.turns
    body: Json = {"model": facts.model}
    if conversation.dialect is Dialect.MESSAGES:
        turns = _instructions(body, turns, facts)
    body["input"] = input_writer.write(turns, facts, losses)
    body["store"] = False
    if conversation.stream or facts.quirks.stream_only:
        body["stream"] = True
    _write_tools(body, conversation, facts, losses)
    if conversation.max_output is not None:
        if conversation.max_output < LEAST_OUTPUT:
            losses.clamp("max_output")
        body["max_output_tokens"] = max(conversation.max_output, LEAST_OUTPUT)
    if conversation.format is not None:
        body["text"] = {"format": _format(conversation.format)}
    _write_reasoning(body, conversation, facts, losses)
    _write_sampling(body, conversation, facts, losses)
    _write_hints(body, conversation, facts, losses)
    return Written(body, _origins(conversation, losses), conversation.stop)


def _instructions(body: Json, turns: tuple[Turn, ...], facts: Facts) -> tuple[Turn, ...]:
    """A system prompt that stands apart becomes `instructions`, unless a part of it is to be cached."""
    count = next((place for place, turn in enumerate(turns) if turn.role is not Role.SYSTEM), len(turns))
    leading = [block for turn in turns[:count] for block in turn.blocks]
    texts = [block.text for block in leading if isinstance(block, Text)]
    marked = any(isinstance(block, Text) and block.cache for block in leading)
    rest = tuple(
        Turn(Role.DEVELOPER, turn.blocks) if turn.role is Role.SYSTEM else turn for turn in turns[count:]
    )
    if marked and facts.quirks.cache_marks:
        return (Turn(Role.DEVELOPER, tuple(leading)), *rest)
    if any(texts):
        body["instructions"] = "\n\n".join(text for text in texts if text)
    return rest


# --- tools --------------------------------------------------------------------------------------------


def _write_tools(body: Json, conversation: Conversation, facts: Facts, losses: Losses) -> None:
    for hosted in conversation.hosted:
        losses.meet("tool.hosted", f"tools.{hosted.type}")
    choice = conversation.choice
    if not conversation.tools:
        without_tools(choice, losses)
        return
    body["tools"] = [_tool(tool) for tool in conversation.tools]
    if choice is not None:
        if choice.mode in ("required", "named") and not facts.quirks.forced_choice:
            losses.change("tool_choice")
            choice = Choice("auto", allowed=(choice.name,) if choice.name else choice.allowed)
        body["tool_choice"] = _choice(choice, Choosable(conversation.tools))
    if conversation.parallel is not None:
        body["parallel_tool_calls"] = conversation.parallel


def _tool(tool: Tool) -> Json:
    if tool.custom:
        said: Json = {"type": "custom", "name": tool.name}
        if tool.description is not None:
            said["description"] = tool.description
        if tool.grammar is not None:
            said["format"] = tool.grammar
        return said
    said = {"type": "function", "name": naming.flattened(tool.name, tool.namespace)}
    if tool.description is not None:
        said["description"] = tool.description
    return {**said, "parameters": schemas.arguments(tool.schema), "strict": bool(tool.strict)}


def _choice(choice: Choice, tools: Choosable) -> str | Json:
    if choice.mode == "named":
        return _named(choice.name or "", tools)
    if choice.allowed is None or choice.mode == "none":
        return choice.mode
    allowed = [_named(name, tools) for name in choice.allowed]
    return {"type": "allowed_tools", "mode": choice.mode, "tools": allowed}


def _named(name: str, tools: Choosable) -> Json:
    tool = tools.find(name) or Tool(name)
    if tool.custom:
        return {"type": "custom", "name": tool.name}
    return {"type": "function", "name": naming.flattened(tool.name, tool.namespace)}


def _origins(conversation: Conversation, losses: Losses) -> Mapping[str, naming.Origin]:
    """Free-text tools are said as they are, so only the names of functions may differ."""
    functions = [tool for tool in conversation.tools if not tool.custom]
    found = naming.origins((tool.name, tool.namespace, False) for tool in functions)
    for origin in found.values():
        losses.change("tool.namespace" if origin.namespace else "tool.name")
    return found


# --- how to go on -------------------------------------------------------------------------------------


def _format(wanted: Format) -> Json:
    if wanted.kind == "json_object":
        return {"type": "json_object"}
    said: Json = {"type": "json_schema", "name": naming.legal(wanted.name or "response")}
    if wanted.description is not None:
        said["description"] = wanted.description
    # Messages, which alone gives no name, always holds the model to the schema.
    strict = wanted.name is None if wanted.strict is None else wanted.strict
    return {**said, "schema": wanted.schema or {}, "strict": strict}


def _write_reasoning(body: Json, conversation: Conversation, facts: Facts, losses: Losses) -> None:
    wish = conversation.reasoning
    if facts.quirks.thinks == "no":
        if wish.effort not in (None, "none") or wish.budget is not None:
            losses.drop("reasoning.effort" if wish.effort else "reasoning.budget")
        return
    body["include"] = [ENCRYPTED]
    said: Json = {}
    if wish.effort is not None:
        said["effort"] = wish.effort
    elif wish.budget is not None:
        losses.change("reasoning.budget")
        said["effort"] = effort_of(wish.budget)
    if wish.shown:
        said["summary"] = "auto"
    if said:
        body["reasoning"] = said


def _write_sampling(body: Json, conversation: Conversation, facts: Facts, losses: Losses) -> None:
    wish = conversation.sampling
    for name in ("temperature", "top_p"):
        value = getattr(wish, name)
        if value is None:
            continue
        if facts.quirks.sampling:
            body[name] = value
        elif value != NEUTRAL[name]:
            losses.drop(name)
    for name in ("top_k", "seed", "logit_bias", "presence_penalty", "frequency_penalty", "top_logprobs"):
        value = getattr(wish, name)
        if value is not None and value != {} and value != NEUTRAL.get(name):
            losses.meet(name)
    if wish.logprobs:
        losses.meet("logprobs")


def _write_hints(body: Json, conversation: Conversation, facts: Facts, losses: Losses) -> None:
    """Hints that change nothing of an answer are for those who are known to take them."""
    hints = conversation.hints
    if not facts.quirks.openai_hints:
        for name, value in (("verbosity", hints.verbosity), ("service_tier", hints.tier)):
            if value is not None and value not in ("auto", "default", "medium"):
                losses.drop(name)
        return
    if hints.verbosity is not None:
        body.setdefault("text", {})["verbosity"] = hints.verbosity
    if hints.user is not None:
        body["safety_identifier"] = naming.person(hints.user)
    if hints.metadata:
        body["metadata"] = hints.metadata
    if hints.tier is not None:
        body["service_tier"] = hints.tier
    if hints.cache_key is not None:
        body["prompt_cache_key"] = hints.cache_key
