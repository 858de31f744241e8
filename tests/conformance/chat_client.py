"""Chat Completions with the official `openai` SDK: the checks of each feature."""

import asyncio
import functools
import json
from typing import Any

import openai
import parts
import upstream
from cells import SAID, Features, Fields, Place, eventually, holds, same
from openai.types.chat import ChatCompletion, ChatCompletionChunk

Messages = list[Any]
WEATHER: Any = {
    "type": "function",
    "function": {"name": parts.TOOL, "description": parts.TOOL_TEXT, "parameters": parts.ARGUMENTS},
}
CLOCK: Any = {
    "type": "function",
    "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}},
}


@functools.lru_cache
def _client(url: str, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=10)


def client(at: Place, key: str | None = None) -> openai.OpenAI:
    """The SDK's client; it retries nothing by itself."""
    return _client(at.url, key or at.key)


def ask(text: str) -> Messages:
    """A conversation that begins."""
    return [{"role": "user", "content": text}]


def create(at: Place, messages: Messages, behaviour: str = "plain", **more: Any) -> ChatCompletion:
    """A whole answer."""
    made = client(at).chat.completions.create(model=at.model(behaviour), messages=messages, **more)
    assert isinstance(made, ChatCompletion)
    return made


def chunks(at: Place, messages: Messages, behaviour: str = "plain", **more: Any) -> list[ChatCompletionChunk]:
    """A streamed answer, all of it."""
    stream = client(at).chat.completions.create(
        model=at.model(behaviour), messages=messages, stream=True, **more
    )
    return list(stream)


def joined(got: list[ChatCompletionChunk], name: str = "content") -> str:
    """The text of a stream, or of its reasoning."""
    deltas = [chunk.choices[0].delta for chunk in got if chunk.choices]
    return "".join(getattr(delta, name, None) or "" for delta in deltas)


def streamed(at: Place, messages: Messages, behaviour: str = "plain", **more: Any) -> Any:
    """A streamed answer as the SDK's helper puts it together."""
    with client(at).chat.completions.stream(model=at.model(behaviour), messages=messages, **more) as stream:
        stream.until_done()
        return stream.get_final_completion()


def text(at: Place) -> None:
    """A question is answered."""
    made = create(at, ask(at.word))
    same(made.choices[0].message.content, SAID + at.word)
    same(made.choices[0].finish_reason, "stop")
    holds(made.id.startswith("chatcmpl-"), f"the id is {made.id}")
    holds(made._request_id, "no x-request-id")


def stream(at: Place) -> None:
    """An answer comes in pieces, with one reason to end, and usage for who asks."""
    got = chunks(at, ask(at.word))
    same(joined(got), SAID + at.word)
    holds(sum(bool(joined([chunk])) for chunk in got) > 2, "it came in one piece")
    same([chunk.choices[0].finish_reason for chunk in got][-1], "stop")
    same([chunk.usage for chunk in got if chunk.usage], [])
    last = chunks(at, ask(at.word), stream_options={"include_usage": True})[-1]
    same(last.choices, [])
    holds(last.usage and last.usage.completion_tokens > 0, "no usage")


def stream_helper(at: Place) -> None:
    """The SDK's `.stream()` sees text and the end."""
    with client(at).chat.completions.stream(model=at.model(), messages=ask(at.word)) as stream:
        events = list(stream)
    same("".join(event.delta for event in events if event.type == "content.delta"), SAID + at.word)
    same([event.content for event in events if event.type == "content.done"], [SAID + at.word])


def events_valid(at: Place) -> None:
    """Everything fits the SDK's types and the grammar of streams, text and tools and reasoning."""
    parts.valid(create(at, ask(at.word)))
    for behaviour, prompt in (("plain", ""), ("reasoning", ""), ("parallel", "use a tool"), ("long", "")):
        more: Fields = {"tools": [WEATHER, CLOCK]} if prompt else {}
        got = chunks(
            at, ask(f"{prompt} {at.word}"), behaviour, stream_options={"include_usage": True}, **more
        )
        for chunk in got:
            parts.valid(chunk)
        _grammar(got)


def _grammar(got: list[ChatCompletionChunk]) -> None:
    """One id and time, the role first, one finish reason, then usage alone; ids of calls are said once."""
    same(len({(chunk.id, chunk.created, chunk.model) for chunk in got}), 1)
    same(got[0].choices[0].delta.role, "assistant")
    reasons = [chunk.choices[0].finish_reason for chunk in got[:-1]]
    holds(reasons[-1] and not any(reasons[:-1]), f"finish reasons {reasons}")
    same(got[-1].choices, [])
    holds(got[-1].usage and not any(chunk.usage for chunk in got[:-1]), "usage is not last")
    calls = [call for chunk in got[:-1] for call in chunk.choices[0].delta.tool_calls or []]
    named = [call for call in calls if call.id]
    same([call.index for call in named], list(range(len(named))))
    holds(all(call.function and call.function.name for call in named), "a call without a name")


def system_prompt(at: Place) -> None:
    """The system prompt arrives as one, and nothing of it is said by the user."""
    messages = [{"role": "system", "content": f"be brief {at.word}"}, *ask("Hello")]
    same(create(at, messages).choices[0].message.content, SAID + "Hello")
    (body,) = at.asked()
    same(upstream.system(at.kind, body), f"be brief {at.word}")
    same([pair for pair in upstream.said(at.kind, body) if pair[0] == "user"], [("user", "Hello")])


def several_turns(at: Place) -> None:
    """A conversation with an earlier answer arrives in order."""
    messages = [*ask(f"one {at.word}"), {"role": "assistant", "content": "two"}, *ask("three")]
    same(create(at, messages).choices[0].message.content, SAID + "three")
    (body,) = at.asked()
    wanted = [("user", f"one {at.word}"), ("assistant", "two"), ("user", "three")]
    same(upstream.said(at.kind, body), wanted)


def _called(message: Any) -> list[tuple[str, Any]]:
    return [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []]


def tool_call(at: Place) -> None:
    """A tool is called with arguments that are JSON, whole and streamed alike."""
    prompt = f"use a tool {at.word}"
    for made in (create(at, ask(prompt), tools=[WEATHER]), streamed(at, ask(prompt), tools=[WEATHER])):
        same(made.choices[0].finish_reason, "tool_calls")
        same(_called(made.choices[0].message), [(parts.TOOL, {"city": prompt})])
    same([upstream.tools(at.kind, body) for body in at.asked()], [[parts.TOOL]] * 2)


def _answered(message: Any) -> Messages:
    """An assistant's message as a client sends it back, with a result for each call."""
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": f"result {place}"}
        for place, call in enumerate(message.tool_calls)
    ]
    kept = {
        name: value for name, value in message.to_dict().items() if value is not None and name != "parsed"
    }
    return [kept, *results]


def _loop(at: Place, behaviour: str, count: int, *, streaming: bool, **more: Any) -> Fields:
    """Call tools, answer them, get text; what the provider was asked in the end."""
    messages = ask(f"use a tool {at.word}")
    tools = [WEATHER, CLOCK][:count]
    make: Any = streamed if streaming else create
    message = make(at, messages, behaviour, tools=tools, **more).choices[0].message
    same(len(message.tool_calls), count)
    same(len({call.id for call in message.tool_calls}), count)
    made = make(at, [*messages, *_answered(message)], behaviour, tools=tools, **more)
    same(made.choices[0].message.content, f"{SAID}use a tool {at.word}")
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
    named: Any = {"type": "function", "function": {"name": "get_time"}}
    made = create(at, ask(at.word), tools=tools, tool_choice="required")
    same([name for name, _ in _called(made.choices[0].message)], [parts.TOOL])
    made = create(at, ask(at.word), tools=tools, tool_choice=named)
    same([name for name, _ in _called(made.choices[0].message)], ["get_time"])
    made = create(at, ask(f"use a tool {at.word}"), tools=tools, tool_choice="none")
    same(_called(made.choices[0].message), [])
    wanted = ["required", "get_time", "none"]
    same([upstream.choice(at.kind, body) for body in at.asked()], wanted)


def custom_tool(at: Place) -> None:
    """A tool that takes plain text is called with it, whole and streamed."""
    tool: Any = {"type": "custom", "custom": {"name": "run_code", "description": parts.TOOL_TEXT}}
    prompt = f"use a tool {at.word}"
    made = create(at, ask(prompt), tools=[tool])
    calls: Any = made.choices[0].message.tool_calls
    same(
        [(call.type, call.custom.name, call.custom.input) for call in calls], [("custom", "run_code", prompt)]
    )
    result = {"role": "tool", "tool_call_id": calls[0].id, "content": "done"}
    asked = {"role": "assistant", "tool_calls": [calls[0].to_dict()]}
    made = create(at, [*ask(prompt), asked, result], tools=[tool])
    same(made.choices[0].message.content, SAID + prompt)
    got = [chunk.choices[0].delta.tool_calls for chunk in chunks(at, ask(prompt), tools=[tool])]
    deltas: list[Any] = [call for calls in got for call in calls or ()]
    same([call.type for call in deltas if call.id], ["custom"])
    same("".join(call.custom.get("input", "") for call in deltas), prompt)


def legacy_functions(at: Place) -> None:
    """The functions of before there were tools."""
    functions: Any = [WEATHER["function"]]
    prompt = f"use a tool {at.word}"
    made = create(at, ask(prompt), functions=functions)
    same(made.choices[0].finish_reason, "function_call")
    called: Any = made.choices[0].message.function_call
    same((called.name, json.loads(called.arguments)), (parts.TOOL, {"city": prompt}))
    result = {"role": "function", "name": parts.TOOL, "content": "sunny"}
    asked = {"role": "assistant", "content": None, "function_call": called.to_dict()}
    made = create(at, [*ask(prompt), asked, result], functions=functions)
    same(made.choices[0].message.content, SAID + prompt)


def structured_output(at: Place) -> None:
    """The SDK's `parse` and `.stream()` give an object of the class that was asked for."""
    made = client(at).chat.completions.parse(
        model=at.model("json"), messages=ask(at.word), response_format=parts.Weather
    )
    same(made.choices[0].message.parsed, parts.PARIS)
    made = streamed(at, ask(at.word), "json", response_format=parts.Weather)
    same(made.choices[0].message.parsed, parts.PARIS)
    for body in at.asked():
        wanted = upstream.schema(at.kind, body)
        holds(wanted and set(wanted["properties"]) == {"city", "celsius"}, f"the schema is {wanted}")


def reasoning(at: Place) -> None:
    """Reasoning is shown, and what comes back in the next turn is no text of anybody."""
    messages = ask(at.word)
    message = create(at, messages, "reasoning", reasoning_effort="low").choices[0].message
    same(getattr(message, "reasoning_content", None), parts.THOUGHT)
    same(message.content, SAID + at.word)
    got = chunks(at, messages, "reasoning", reasoning_effort="low")
    same(joined(got, "reasoning_content"), parts.THOUGHT)
    same(joined(got), SAID + at.word)
    kept = {name: value for name, value in message.to_dict().items() if value is not None}
    made = create(at, [*messages, kept, *ask("on")], "reasoning", reasoning_effort="low")
    same(made.choices[0].message.content, f"{SAID}on")
    said = upstream.said(at.kind, at.asked()[-1])
    same(said, [("user", at.word), ("assistant", SAID + at.word), ("user", "on")])


def reasoning_and_tools(at: Place) -> None:
    """A loop of tools in which the assistant has reasoned before it called."""
    _loop(at, "reasoning", 1, streaming=False, reasoning_effort="low")
    _loop(at, "reasoning", 1, streaming=True, reasoning_effort="low")


def other_providers(at: Place) -> None:
    """A conversation with reasoning and a call goes on over another kind of provider, unsealed."""
    messages = ask(f"use a tool {at.word}")
    message = create(at, messages, "reasoning", tools=[WEATHER]).choices[0].message
    for other in at.others():
        made = create(other, [*messages, *_answered(message)], "reasoning", tools=[WEATHER])
        same(made.choices[0].message.content, f"{SAID}use a tool {at.word}")
        parts.moved(other)


def image_input(at: Place) -> None:
    """Pictures arrive, by value and by address."""
    data = f"data:image/png;base64,{parts.png()}"
    shown = [{"type": "image_url", "image_url": {"url": url}} for url in (data, parts.WEB_IMAGE)]
    messages = [{"role": "user", "content": [{"type": "text", "text": at.word}, *shown]}]
    holds(create(at, messages).choices[0].message.content, "nothing was said")
    same(upstream.images(at.kind, at.asked()[-1]), [data, parts.WEB_IMAGE])


def file_input(at: Place) -> None:
    """A PDF arrives."""
    data = f"data:application/pdf;base64,{parts.pdf()}"
    given = {"type": "file", "file": {"file_data": data, "filename": "paper.pdf"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": at.word}, given]}]
    holds(create(at, messages).choices[0].message.content, "nothing was said")
    same(upstream.files(at.kind, at.asked()[-1]), [data])


def usage(at: Place) -> None:
    """Numbers mean the same, whole and streamed: cached tokens are part of the prompt."""
    whole = create(at, ask(at.word), "usage").usage
    last = chunks(at, ask(at.word), "usage", stream_options={"include_usage": True})[-1].usage
    for got in (whole, last):
        assert got is not None
        assert got.prompt_tokens_details is not None
        same((got.prompt_tokens, got.completion_tokens, got.total_tokens), (120, 30, 150))
        same(got.prompt_tokens_details.cached_tokens, 40)


def max_tokens(at: Place) -> None:
    """An answer that is cut says so."""
    made = create(at, ask(at.word), "long", max_completion_tokens=20)
    same(made.choices[0].finish_reason, "length")
    got = chunks(at, ask(at.word), "long", max_tokens=20)
    same([chunk.choices[0].finish_reason for chunk in got][-1], "length")


def stop_sequence(at: Place) -> None:
    """An answer ends before the words that the client named, or the provider was told them."""
    made = create(at, ask(at.word), "halting", stop=["HALT"])
    told = [upstream.stops(at.kind, body) for body in at.asked()]
    said = joined(chunks(at, ask(at.word), "halting", stop=["HALT"]))
    if at.kind == "responses" or told != [["HALT"]]:
        same((made.choices[0].message.content, made.choices[0].finish_reason), ("one two three ", "stop"))
        same(said, "one two three ")


def refusal(at: Place) -> None:
    """An answer that was held back says so."""
    same(create(at, ask(at.word), "refusing").choices[0].finish_reason, "content_filter")
    same(chunks(at, ask(at.word), "refusing")[-1].choices[0].finish_reason, "content_filter")


def embeddings(at: Place) -> None:
    """Numbers for texts, or an error where the provider has none: they belong to the dialect of chats."""
    if at.kind != "chat":
        error = failure(lambda: client(at).embeddings.create(model=at.model(), input="a"))
        holds(400 <= error.status_code < 500, f"status {error.status_code}")
        return
    packed = client(at).embeddings.create(model=at.model(), input=["a", "b"])
    plain = client(at).embeddings.create(model=at.model(), input=["a", "b"], encoding_format="float")
    same([item.index for item in packed.data], [0, 1])
    holds(len(packed.data[0].embedding) > 100, "too few numbers")
    apart = zip(packed.data[0].embedding, plain.data[0].embedding, strict=True)
    holds(all(abs(one - other) < 1e-6 for one, other in apart), "the encodings differ")


def models(at: Place) -> None:
    """The aliases are listed and found."""
    listed = [model.id for model in client(at).models.list()]
    holds(at.model() in listed, f"{at.model()} is not among {listed}")
    same(client(at).models.retrieve(at.model()).id, at.model())


def failure(call: Any) -> Any:
    """The error that a call raises; it has the four keys of the dialect's error object."""
    try:
        call()
    except openai.APIStatusError as error:
        body: Any = error.body
        same({"message", "type", "param", "code"} - set(body), set())
        holds(error.request_id, "no x-request-id")
        return error
    raise AssertionError("no error was raised")


def _failed(at: Place, behaviour: str, kind: type[openai.APIStatusError]) -> Any:
    """The error of a whole answer, after that of a stream, which is the same before anything was said."""
    error = failure(lambda: chunks(at, ask(at.word), behaviour))
    same(type(error), kind)
    error = failure(lambda: create(at, ask(at.word), behaviour))
    same(type(error), kind)
    return error


def wrong_key(at: Place) -> None:
    """401 is an `AuthenticationError`."""
    made = client(at, "sk-nobody-knows-this").chat.completions
    error = failure(lambda: made.create(model=at.model(), messages=ask(at.word)))
    same((type(error), error.code), (openai.AuthenticationError, "invalid_api_key"))


def unknown_model(at: Place) -> None:
    """404 is a `NotFoundError` that names the parameter."""
    error = failure(lambda: client(at).chat.completions.create(model="nothing", messages=ask(at.word)))
    same((type(error), error.code, error.param), (openai.NotFoundError, "model_not_found", "model"))


def bad_request(at: Place) -> None:
    """400 is a `BadRequestError`, in the provider's words or the proxy's."""
    error = _failed(at, "refused", openai.BadRequestError)
    same(error.type, "invalid_request_error")
    holds("too strange a question" in error.message, error.message)
    error = failure(lambda: create(at, []))
    same((type(error), error.type), (openai.BadRequestError, "invalid_request_error"))


def rate_limit(at: Place) -> None:
    """429 is a `RateLimitError` that says when to come back."""
    error = _failed(at, at.pausing("limited", "chat"), openai.RateLimitError)
    same(error.code, "rate_limit_exceeded")
    holds(1 <= int(error.response.headers["retry-after"]) <= 7, "no time to come back")


def server_error(at: Place) -> None:
    """What fails at all attempts is an `InternalServerError`."""
    error = _failed(at, "broken", openai.InternalServerError)
    same((error.status_code, error.type), (502, "server_error"))


def overloaded(at: Place) -> None:
    """A provider that has too much to do is a 503."""
    error = failure(lambda: create(at, ask(at.word), at.pausing("overloaded", "chat")))
    same((type(error), error.status_code), (openai.InternalServerError, 503))
    same(error.code, "overloaded")


def broken_stream(at: Place) -> None:
    """A stream that breaks raises after what was said; it never just ends."""
    for behaviour in ("erring", "cut"):
        said: list[str] = []
        made = client(at).chat.completions.create(
            model=at.model(behaviour), messages=ask(at.word), stream=True
        )
        try:
            said.extend(joined([chunk]) for chunk in made)
        except openai.APIError as error:
            holds(not isinstance(error, openai.APIStatusError), f"{error!r}")
            holds("".join(said), "nothing was said before")
        else:
            raise AssertionError(f"{behaviour}: it ended after {''.join(said)!r}")


def async_client(at: Place) -> None:
    """The asynchronous client: an answer and a stream at one time."""

    async def main() -> None:
        async with openai.AsyncOpenAI(
            base_url=f"{at.url}/v1", api_key=at.key, max_retries=0, timeout=10
        ) as made:

            async def spoken() -> str:
                stream = await made.chat.completions.create(
                    model=at.model(), messages=ask(at.word), stream=True
                )
                return joined([chunk async for chunk in stream])

            whole, pieces = await asyncio.gather(
                made.chat.completions.create(model=at.model(), messages=ask(at.word)), spoken()
            )
            same((whole.choices[0].message.content, pieces), (SAID + at.word, SAID + at.word))

    asyncio.run(main())


def cancelled_stream(at: Place) -> None:
    """A client that leaves ends the provider's stream as well."""
    with client(at).chat.completions.create(
        model=at.model("slow"), messages=ask(at.word), stream=True
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
    "custom tool": custom_tool,
    "legacy functions": legacy_functions,
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
    "embeddings": embeddings,
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
