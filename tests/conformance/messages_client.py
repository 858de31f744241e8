"""Messages with the official `anthropic` SDK: the checks of each feature."""

import asyncio
import functools
from typing import Any

import anthropic
import parts
import upstream
from anthropic.types import Message
from cells import SAID, Features, Fields, Place, eventually, holds, same

Turns = list[Any]
WEATHER: Any = {"name": parts.TOOL, "description": parts.TOOL_TEXT, "input_schema": parts.ARGUMENTS}
CLOCK: Any = {"name": "get_time", "input_schema": {"type": "object", "properties": {}}}
THINKING: Fields = {"thinking": {"type": "adaptive", "display": "summarized"}}


@functools.lru_cache
def _client(url: str, key: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=url, api_key=key, max_retries=0, timeout=10)


def client(at: Place, key: str | None = None) -> anthropic.Anthropic:
    """The SDK's client; it retries nothing by itself."""
    return _client(at.url, key or at.key)


def ask(text: str) -> Turns:
    """A conversation that begins."""
    return [{"role": "user", "content": text}]


def create(at: Place, messages: Turns, behaviour: str = "plain", **more: Any) -> Message:
    """A whole answer."""
    more.setdefault("max_tokens", 4096)
    made = client(at).messages.create(model=at.model(behaviour), messages=messages, **more)
    assert isinstance(made, Message)
    return made


def events_of(at: Place, messages: Turns, behaviour: str = "plain", **more: Any) -> list[Any]:
    """A streamed answer, all of it."""
    more.setdefault("max_tokens", 4096)
    return list(client(at).messages.create(model=at.model(behaviour), messages=messages, stream=True, **more))


def joined(got: list[Any], kind: str = "text") -> str:
    """The text of a stream, or of its thinking."""
    deltas = [event.delta for event in got if event.type == "content_block_delta"]
    return "".join(getattr(delta, kind) for delta in deltas if delta.type == f"{kind}_delta")


def streamed(at: Place, messages: Turns, behaviour: str = "plain", **more: Any) -> Any:
    """A streamed answer as the SDK's helper puts it together."""
    more.setdefault("max_tokens", 4096)
    with client(at).messages.stream(model=at.model(behaviour), messages=messages, **more) as stream:
        return stream.get_final_message()


def text_of(made: Any) -> str:
    """The text of a message."""
    return "".join(block.text for block in made.content if block.type == "text")


def text(at: Place) -> None:
    """A question is answered."""
    made = create(at, ask(at.word))
    same((text_of(made), made.stop_reason, made.role), (SAID + at.word, "end_turn", "assistant"))
    holds(made.id.startswith("msg_"), f"the id is {made.id}")
    holds(made._request_id, "no request-id")


def stream(at: Place) -> None:
    """An answer comes in pieces, with its stop reason and usage before the end."""
    got = events_of(at, ask(at.word))
    same(joined(got), SAID + at.word)
    holds(sum(event.type == "content_block_delta" for event in got) > 2, "it came in one piece")
    (delta,) = (event for event in got if event.type == "message_delta")
    same(delta.delta.stop_reason, "end_turn")
    holds(delta.usage.output_tokens > 0, "no usage")
    holds(got[0].message.usage.input_tokens > 0, "no input tokens at the start")


def stream_helper(at: Place) -> None:
    """The SDK's `.stream()` sees text and the end."""
    with client(at).messages.stream(model=at.model(), messages=ask(at.word), max_tokens=4096) as stream:
        said = "".join(stream.text_stream)
        final = stream.get_final_message()
    same((said, text_of(final), final.stop_reason), (SAID + at.word, SAID + at.word, "end_turn"))


def events_valid(at: Place) -> None:
    """Everything fits the SDK's types and the grammar of streams, text and tools and reasoning."""
    parts.valid(create(at, ask(at.word)))
    for behaviour, prompt in (("plain", ""), ("reasoning", ""), ("parallel", "use a tool"), ("long", "")):
        more: Fields = {"tools": [WEATHER, CLOCK]} if prompt else {}
        got = events_of(at, ask(f"{prompt} {at.word}"), behaviour, **more)
        for event in got:
            parts.valid(event)
        _grammar([event for event in got if event.type != "ping"])


def _grammar(got: list[Any]) -> None:
    """A start; blocks with indexes from 0, each opened, filled and closed before the next; the two ends."""
    same(got[0].type, "message_start")
    same([event.type for event in got[-2:]], ["message_delta", "message_stop"])
    same((got[0].message.content, got[0].message.stop_reason), ([], None))
    place, opened = -1, False
    for event in got[1:-2]:
        if event.type == "content_block_start":
            holds(not opened, "two blocks are open")
            place, opened = place + 1, True
        same(event.index, place)
        holds(opened, f"{event.type} outside of a block")
        opened = event.type != "content_block_stop"
    holds(not opened, "a block is left open")


def system_prompt(at: Place) -> None:
    """The system prompt arrives as one, as a string and as blocks."""
    for system in (f"be brief {at.word}", [{"type": "text", "text": f"be brief {at.word}"}]):
        same(text_of(create(at, ask("Hello"), system=system)), f"{SAID}Hello")
        body = at.asked()[-1]
        same(upstream.system(at.kind, body), f"be brief {at.word}")
        same([pair for pair in upstream.said(at.kind, body) if pair[0] == "user"], [("user", "Hello")])


def several_turns(at: Place) -> None:
    """A conversation with an earlier answer arrives in order."""
    messages = [*ask(f"one {at.word}"), {"role": "assistant", "content": "two"}, *ask("three")]
    same(text_of(create(at, messages)), f"{SAID}three")
    (body,) = at.asked()
    wanted = [("user", f"one {at.word}"), ("assistant", "two"), ("user", "three")]
    same(upstream.said(at.kind, body), wanted)


def _called(made: Any) -> list[Any]:
    return [block for block in made.content if block.type == "tool_use"]


def _named(made: Any) -> list[tuple[str, Any]]:
    return [(block.name, block.input) for block in _called(made)]


def tool_call(at: Place) -> None:
    """A tool is called with an object of arguments, whole and streamed alike."""
    prompt = f"use a tool {at.word}"
    for made in (create(at, ask(prompt), tools=[WEATHER]), streamed(at, ask(prompt), tools=[WEATHER])):
        same((made.stop_reason, _named(made)), ("tool_use", [(parts.TOOL, {"city": prompt})]))
    same([upstream.tools(at.kind, body) for body in at.asked()], [[parts.TOOL]] * 2)


def _answered(made: Any) -> Turns:
    """The message as a client sends it back, with a result for each call."""
    results = [
        {"type": "tool_result", "tool_use_id": call.id, "content": f"result {place}"}
        for place, call in enumerate(_called(made))
    ]
    return [{"role": "assistant", "content": made.content}, {"role": "user", "content": results}]


def _loop(at: Place, behaviour: str, count: int, *, streaming: bool, **more: Any) -> Fields:
    """Call tools, answer them, get text; what the provider was asked in the end."""
    messages = ask(f"use a tool {at.word}")
    tools = [WEATHER, CLOCK][:count]
    make = streamed if streaming else create
    first = make(at, messages, behaviour, tools=tools, **more)
    same(len({call.id for call in _called(first)}), count)
    made = make(at, [*messages, *_answered(first)], behaviour, tools=tools, **more)
    same(text_of(made), f"{SAID}use a tool {at.word}")
    body = at.asked()[-1]
    calls = upstream.calls(at.kind, body)
    same([name for _, name, _ in calls], [parts.TOOL, "get_time"][:count])
    wanted = [(call[0], f"result {place}") for place, call in enumerate(calls)]
    same(upstream.results(at.kind, body), wanted)
    return body


def tool_loop(at: Place) -> None:
    """A tool's result goes back and the answer comes, whole and streamed."""
    _loop(at, "plain", 1, streaming=False)
    _loop(at, "plain", 1, streaming=True)


def parallel_tools(at: Place) -> None:
    """Two calls in one answer have ids of their own, and each gets its result."""
    _loop(at, "parallel", 2, streaming=False)
    _loop(at, "parallel", 2, streaming=True)


def forced_tool(at: Place) -> None:
    """A tool is called because the client says so: any, one by name, or none."""
    tools = [WEATHER, CLOCK]
    made = create(at, ask(at.word), tools=tools, tool_choice={"type": "any"})
    same([name for name, _ in _named(made)], [parts.TOOL])
    made = create(at, ask(at.word), tools=tools, tool_choice={"type": "tool", "name": "get_time"})
    same([name for name, _ in _named(made)], ["get_time"])
    made = create(at, ask(f"use a tool {at.word}"), tools=tools, tool_choice={"type": "none"})
    same(_named(made), [])
    wanted = ["required", "get_time", "none"]
    same([upstream.choice(at.kind, body) for body in at.asked()], wanted)


def structured_output(at: Place) -> None:
    """The SDK's `parse` and `.stream()` give an object of the class that was asked for."""
    made = client(at).messages.parse(
        model=at.model("json"), messages=ask(at.word), max_tokens=4096, output_format=parts.Weather
    )
    same(made.parsed_output, parts.PARIS)
    same(streamed(at, ask(at.word), "json", output_format=parts.Weather).parsed_output, parts.PARIS)
    for body in at.asked():
        wanted = upstream.schema(at.kind, body)
        holds(wanted and set(wanted["properties"]) == {"city", "celsius"}, f"the schema is {wanted}")


def _thought(made: Any) -> str:
    return "".join(block.thinking for block in made.content if block.type == "thinking")


def reasoning(at: Place) -> None:
    """Thinking is shown, comes back signed in the next turn, and is no text of anybody."""
    same(joined(events_of(at, ask(at.word), "reasoning", **THINKING), "thinking"), parts.THOUGHT)
    for make in (create, streamed):
        made = make(at, ask(at.word), "reasoning", **THINKING)
        same((_thought(made), text_of(made)), (parts.THOUGHT, SAID + at.word))
        turns = [*ask(at.word), {"role": "assistant", "content": made.content}, *ask("on")]
        same(text_of(create(at, turns, "reasoning", **THINKING)), f"{SAID}on")
        body = at.asked()[-1]
        said = upstream.said(at.kind, body)
        same(said, [("user", at.word), ("assistant", SAID + at.word), ("user", "on")])
        _sealed(at, body, made)


def _sealed(at: Place, body: Fields, made: Any) -> None:
    """The signature came back to where it is from: byte for byte in Messages."""
    seals = upstream.seals(at.kind, body)
    same(len(seals), 0 if at.kind == "chat" else 1)
    if at.kind == "messages":
        same(seals, [block.signature for block in made.content if block.type == "thinking"])


def reasoning_and_tools(at: Place) -> None:
    """A loop of tools in which the assistant has thought before it called."""
    for streaming in (False, True):
        body = _loop(at, "reasoning", 1, streaming=streaming, **THINKING)
        same(len(upstream.seals(at.kind, body)), 0 if at.kind == "chat" else 1)


def other_providers(at: Place) -> None:
    """A conversation with thinking and a call goes on over another kind of provider, unsigned."""
    more: Fields = {"tools": [WEATHER], **THINKING}
    messages = ask(f"use a tool {at.word}")
    first = create(at, messages, "reasoning", **more)
    for other in at.others():
        made = create(other, [*messages, *_answered(first)], "reasoning", **more)
        same(text_of(made), f"{SAID}use a tool {at.word}")
        parts.moved(other)


def image_input(at: Place) -> None:
    """Pictures arrive, by value and by address."""
    data = {"type": "base64", "media_type": "image/png", "data": parts.png()}
    shown = [
        {"type": "image", "source": source} for source in (data, {"type": "url", "url": parts.WEB_IMAGE})
    ]
    messages = [{"role": "user", "content": [*shown, {"type": "text", "text": at.word}]}]
    holds(text_of(create(at, messages)), "nothing was said")
    wanted = [f"data:image/png;base64,{parts.png()}", parts.WEB_IMAGE]
    same(upstream.images(at.kind, at.asked()[-1]), wanted)


def file_input(at: Place) -> None:
    """A PDF arrives."""
    source = {"type": "base64", "media_type": "application/pdf", "data": parts.pdf()}
    given = {"type": "document", "source": source, "title": "paper.pdf"}
    messages = [{"role": "user", "content": [given, {"type": "text", "text": at.word}]}]
    holds(text_of(create(at, messages)), "nothing was said")
    same(upstream.files(at.kind, at.asked()[-1]), [f"data:application/pdf;base64,{parts.pdf()}"])


def usage(at: Place) -> None:
    """Numbers mean the same, whole and streamed: cached tokens are not among the input's."""
    (delta,) = (event for event in events_of(at, ask(at.word), "usage") if event.type == "message_delta")
    for got in (create(at, ask(at.word), "usage").usage, delta.usage):
        same((got.input_tokens, got.cache_read_input_tokens, got.output_tokens), (80, 40, 30))


def max_tokens(at: Place) -> None:
    """An answer that is cut says so."""
    same(create(at, ask(at.word), "long", max_tokens=20).stop_reason, "max_tokens")
    same(streamed(at, ask(at.word), "long", max_tokens=20).stop_reason, "max_tokens")


def stop_sequence(at: Place) -> None:
    """An answer ends before the words that the client named, or the provider was told them."""
    for make in (create, streamed):
        made = make(at, ask(at.word), "halting", stop_sequences=["HALT"])
        if at.kind == "responses" or upstream.stops(at.kind, at.asked()[-1]) != ["HALT"]:
            same((text_of(made), made.stop_reason), ("one two three ", "stop_sequence"))
            same(made.stop_sequence, "HALT")


def refusal(at: Place) -> None:
    """An answer that was held back says so."""
    same(create(at, ask(at.word), "refusing").stop_reason, "refusal")
    same(streamed(at, ask(at.word), "refusing").stop_reason, "refusal")


def beta_api(at: Place) -> None:
    """The beta client, with a beta of its own and `?beta=true`: an answer, a count, a loop of tools."""
    beta = client(at).beta.messages
    given: Any = {"model": at.model(), "messages": ask(at.word), "betas": ["context-management-2025-06-27"]}
    same(text_of(beta.create(max_tokens=4096, **given)), SAID + at.word)
    holds(beta.count_tokens(**given).input_tokens > 0, "nothing counted")
    asked: list[str] = []

    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """Tell the weather of a city."""
        asked.append(city)
        return "sunny"

    prompt = f"use a tool {at.word}"
    tools: Any = [get_weather]
    runner = beta.tool_runner(model=at.model(), messages=ask(prompt), max_tokens=4096, tools=tools)
    same((text_of(runner.until_done()), asked), (SAID + prompt, [prompt]))
    same([text for _, text in upstream.results(at.kind, at.asked()[-1])], ["sunny"])


def count_tokens(at: Place) -> None:
    """The tokens of a conversation are counted before it is sent."""
    counted = client(at).messages.count_tokens(model=at.model(), messages=ask(f"How many? {at.word}"))
    holds(counted.input_tokens > 0, f"counted {counted.input_tokens}")


def models(at: Place) -> None:
    """The aliases are listed and found, as models of Anthropic."""
    listed = list(client(at).models.list())
    holds(at.model() in [model.id for model in listed], f"{at.model()} is not among {listed}")
    found = client(at).models.retrieve(at.model())
    same((found.id, found.type), (at.model(), "model"))
    holds(found.display_name, "no name to show")


def failure(call: Any) -> Any:
    """The error that a call raises; it has the shape of the dialect's errors."""
    try:
        call()
    except anthropic.APIStatusError as error:
        body: Any = error.body
        same((body["type"], {"type", "message"} - set(body["error"])), ("error", set()))
        holds(body.get("request_id"), "no request_id in the body")
        holds(error.request_id, "no request-id")
        return error
    raise AssertionError("no error was raised")


def _failed(at: Place, behaviour: str, kind: type[anthropic.APIStatusError]) -> Any:
    """The error of a whole answer, after that of a stream, which is the same before anything was said."""
    error = failure(lambda: events_of(at, ask(at.word), behaviour))
    holds(isinstance(error, kind), f"raised {error!r}")
    error = failure(lambda: create(at, ask(at.word), behaviour))
    holds(isinstance(error, kind), f"raised {error!r}")
    return error


def _type_of(error: Any) -> str:
    return str(error.body["error"]["type"])


def wrong_key(at: Place) -> None:
    """401 is an `AuthenticationError`."""
    made = client(at, "sk-nobody-knows-this").messages
    error = failure(lambda: made.create(model=at.model(), messages=ask(at.word), max_tokens=64))
    same((type(error), _type_of(error)), (anthropic.AuthenticationError, "authentication_error"))


def unknown_model(at: Place) -> None:
    """404 is a `NotFoundError`."""
    made = client(at).messages
    error = failure(lambda: made.create(model="nothing", messages=ask(at.word), max_tokens=64))
    same((type(error), _type_of(error)), (anthropic.NotFoundError, "not_found_error"))


def bad_request(at: Place) -> None:
    """400 is a `BadRequestError`, in the provider's words or the proxy's."""
    error = _failed(at, "refused", anthropic.BadRequestError)
    same(_type_of(error), "invalid_request_error")
    holds("too strange a question" in error.message, error.message)
    error = failure(lambda: create(at, []))
    same((type(error), _type_of(error)), (anthropic.BadRequestError, "invalid_request_error"))


def rate_limit(at: Place) -> None:
    """429 is a `RateLimitError` that says when to come back."""
    error = _failed(at, at.pausing("limited", "messages"), anthropic.RateLimitError)
    same(_type_of(error), "rate_limit_error")
    holds(1 <= int(error.response.headers["retry-after"]) <= 7, "no time to come back")


def server_error(at: Place) -> None:
    """What fails at all attempts is an `InternalServerError`."""
    error = _failed(at, "broken", anthropic.InternalServerError)
    same((error.status_code, _type_of(error)), (502, "api_error"))


def overloaded(at: Place) -> None:
    """A provider that has too much to do is a 529."""
    error = failure(lambda: create(at, ask(at.word), at.pausing("overloaded", "messages")))
    same((error.status_code, _type_of(error)), (529, "overloaded_error"))


def broken_stream(at: Place) -> None:
    """A stream that breaks raises after what was said; it never just ends."""
    for behaviour in ("erring", "cut"):
        got: list[Any] = []
        made = client(at).messages.create(
            model=at.model(behaviour), messages=ask(at.word), max_tokens=4096, stream=True
        )
        try:
            got.extend(made)
        except anthropic.APIStatusError as error:
            body: Any = error.body
            same(body["type"], "error")
            holds(joined(got), "nothing was said before")
        else:
            raise AssertionError(f"{behaviour}: it ended after {joined(got)!r}")


def async_client(at: Place) -> None:
    """The asynchronous client: an answer and a stream at one time."""

    async def main() -> None:
        async with anthropic.AsyncAnthropic(
            base_url=at.url, api_key=at.key, max_retries=0, timeout=10
        ) as made:

            async def spoken() -> str:
                stream = await made.messages.create(
                    model=at.model(), messages=ask(at.word), max_tokens=4096, stream=True
                )
                return joined([event async for event in stream])

            whole, pieces = await asyncio.gather(
                made.messages.create(model=at.model(), messages=ask(at.word), max_tokens=4096), spoken()
            )
            same((text_of(whole), pieces), (SAID + at.word, SAID + at.word))

    asyncio.run(main())


def cancelled_stream(at: Place) -> None:
    """A client that leaves ends the provider's stream as well."""
    with client(at).messages.create(
        model=at.model("slow"), messages=ask(at.word), max_tokens=4096, stream=True
    ) as made:
        said = ""
        while not said:
            said = joined([next(made)])
    eventually(
        lambda: [entry["outcome"] for entry in at.entries()] == ["client_gone"],
        "the provider went on talking",
    )


FEATURES: Features = {
    "text": text,
    "stream": stream,
    "stream helper": stream_helper,
    "events valid": events_valid,
    "system prompt": system_prompt,
    "several turns": several_turns,
    "tool call": tool_call,
    "tool loop": tool_loop,
    "parallel tools": parallel_tools,
    "forced tool": forced_tool,
    "structured output": structured_output,
    "reasoning": reasoning,
    "reasoning and tools": reasoning_and_tools,
    "other providers": other_providers,
    "image input": image_input,
    "file input": file_input,
    "usage": usage,
    "max tokens": max_tokens,
    "stop sequence": stop_sequence,
    "refusal": refusal,
    "beta API": beta_api,
    "count tokens": count_tokens,
    "models": models,
    "wrong key": wrong_key,
    "unknown model": unknown_model,
    "bad request": bad_request,
    "rate limit": rate_limit,
    "server error": server_error,
    "overloaded": overloaded,
    "broken stream": broken_stream,
    "async client": async_client,
    "cancelled stream": cancelled_stream,
}
