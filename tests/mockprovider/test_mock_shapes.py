"""What the scripted provider sends is what the makers' own libraries expect, event by event."""

import json
from typing import Any

import anthropic
import openai
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import CompactedResponse, Response, ResponseStreamEvent
from pydantic import TypeAdapter
from raw_peer import run

from mockprovider import Behaviour, MockProvider, Script, chat, compaction, messages, responses
from mockprovider.answer import Stamp, compose

_SCHEMA = {
    "type": "object",
    "properties": {"q": {"type": "string"}},
    "required": ["q"],
    "additionalProperties": False,
}
_USER = [{"role": "user", "content": "hi"}]
_CHAT: dict[str, Any] = {
    "messages": _USER,
    "tools": [
        {"type": "function", "function": {"name": "f", "parameters": _SCHEMA}},
        {"type": "custom", "custom": {"name": "c"}},
    ],
    "logprobs": True,
    "top_logprobs": 1,
    "stream_options": {"include_usage": True},
}
_MESSAGES: dict[str, Any] = {
    "max_tokens": 50,
    "messages": _USER,
    "tools": [{"name": "f", "input_schema": _SCHEMA}, {"name": "g", "input_schema": _SCHEMA}],
    "stop_sequences": ["END"],
}
_RESPONSES: dict[str, Any] = {
    "input": "hi",
    "tools": [
        {"type": "function", "name": "f", "parameters": _SCHEMA},
        {"type": "custom", "name": "c"},
    ],
    "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
    "top_logprobs": 1,
}
_BEHAVIOURS = [
    Behaviour(),
    Behaviour(text="one END two", reasoning="let me see"),
    Behaviour(tool_calls=2, reasoning="hm"),
    Behaviour(text="one moment", tool_calls=2, interleaved=True),
    Behaviour(declined="I will not"),
    Behaviour(reasoning="hm", redacted=True),
    Behaviour(finish="length", cached_tokens=1, cache_write_tokens=1, prompt_tokens=5),
    Behaviour(finish="content_filter"),
    Behaviour(empty="lifecycle"),
]
behaviours = pytest.mark.parametrize("behaviour", _BEHAVIOURS)


def _body(fields: dict[str, Any]) -> bytes:
    return json.dumps({"model": "m", "stream": True, **fields}).encode()


@behaviours
def test_chat_is_as_published(behaviour: Behaviour) -> None:
    """Completions and chunks."""
    ask = chat.read(_body(_CHAT), "")
    answer = compose(ask, behaviour, "x")
    ChatCompletion.model_validate_json(chat.reply(ask, answer, Stamp(1)), strict=True)
    for event in chat.events(ask, answer, Stamp(1))[:-1]:
        told = json.loads(event.data)
        for choice in told["choices"]:
            calls = choice["delta"].get("tool_calls", [])
            if any("custom" in call for call in calls):  # the library knows no custom tools in streams
                del choice["delta"]["tool_calls"]
        ChatCompletionChunk.model_validate_json(json.dumps(told), strict=True)


@behaviours
def test_messages_are_as_published(behaviour: Behaviour) -> None:
    """Messages and their events."""
    ask = messages.read(_body(_MESSAGES), "")
    answer = compose(ask, behaviour, "x")
    Message.model_validate_json(messages.reply(ask, answer, Stamp(1)), strict=True)
    published: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    for event in messages.events(ask, answer, Stamp(1)):
        if event.name != "ping":
            published.validate_json(event.data, strict=True)


@behaviours
def test_responses_are_as_published(behaviour: Behaviour) -> None:
    """Responses and their events."""
    ask = responses.read(_body(_RESPONSES), "")
    answer = compose(ask, behaviour, "x")
    Response.model_validate_json(responses.reply(ask, answer, Stamp(1)))
    published: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    for event in responses.events(ask, answer, Stamp(1))[:-1]:
        published.validate_json(event.data)


def test_a_compaction_is_as_published() -> None:
    """With usage and its own item; the library has no type for the user's words that are kept."""
    wanted = compaction.read(json.dumps({"model": "m", "input": _USER}).encode(), "")
    told = json.loads(compaction.reply(wanted, "x", Stamp(1)))
    assert told["output"].pop(0)["role"] == "user"
    CompactedResponse.model_validate(told)


@behaviours
def test_openais_library_puts_a_response_together(behaviour: Behaviour) -> None:
    """It checks the order of the events closely."""

    async def test() -> None:
        async with MockProvider(script=Script(default=behaviour)) as mock:
            url = f"http://127.0.0.1:{mock.port}/v1"
            async with openai.AsyncOpenAI(base_url=url, api_key="sk", max_retries=0) as client:
                events = [
                    e async for e in await client.responses.create(model="m", stream=True, **_RESPONSES)
                ]
                final = events[-1].response
                if final.status != "completed":
                    return
                async with client.responses.stream(model="m", **_RESPONSES) as stream:
                    whole = await stream.get_final_response()
                assert [item.type for item in whole.output] == [item.type for item in final.output]
                assert whole.output_text == final.output_text

    run(test())


@behaviours
def test_anthropics_library_puts_a_message_together(behaviour: Behaviour) -> None:
    """And sends it back with the results of its tools, as it came."""

    async def test() -> None:
        async with MockProvider(script=Script(default=behaviour)) as mock:
            url = f"http://127.0.0.1:{mock.port}"
            async with anthropic.AsyncAnthropic(base_url=url, api_key="sk", max_retries=0) as client:
                async with client.messages.stream(model="m", **_MESSAGES) as stream:
                    final = await stream.get_final_message()
                if not final.content:
                    return
                content = [
                    block.model_dump(exclude={"parsed_output"}, exclude_none=True) for block in final.content
                ]
                results = [
                    {"type": "tool_result", "tool_use_id": block.id, "content": "42"}
                    for block in final.content
                    if block.type == "tool_use"
                ]
                more = [
                    *_USER,
                    {"role": "assistant", "content": content},
                    {"role": "user", "content": results or "so?"},
                ]
                reply = await client.messages.create(model="m", **{**_MESSAGES, "messages": more})
                assert reply.type == "message"

    run(test())
