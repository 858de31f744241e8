"""Responses with the official `openai` SDK: the checks of each feature."""

import asyncio
import json
from typing import Any

import openai
import parts
import upstream
from cells import SAID, Features, Fields, Place, eventually, holds, same
from chat_client import client, failure
from openai.types.responses import Response

Items = list[Any]
WEATHER: Any = {
    "type": "function",
    "name": parts.TOOL,
    "description": parts.TOOL_TEXT,
    "parameters": parts.ARGUMENTS,
    "strict": True,
}
CLOCK: Any = {
    "type": "function",
    "name": "get_time",
    "parameters": {"type": "object", "properties": {}},
    "strict": False,
}
THINKING: Fields = {
    "reasoning": {"effort": "low", "summary": "auto"},
    "include": ["reasoning.encrypted_content"],
    "store": False,
}


def ask(text: str) -> Items:
    """An input of one message."""
    return [{"role": "user", "content": text}]


def create(at: Place, given: str | Items, behaviour: str = "plain", **more: Any) -> Response:
    """A whole answer."""
    made = client(at).responses.create(model=at.model(behaviour), input=given, **more)
    assert isinstance(made, Response)
    return made


def events_of(at: Place, given: str | Items, behaviour: str = "plain", **more: Any) -> list[Any]:
    """A streamed answer, all of it."""
    return list(client(at).responses.create(model=at.model(behaviour), input=given, stream=True, **more))


def joined(got: list[Any], name: str = "response.output_text.delta") -> str:
    """The text of a stream, or of its reasoning."""
    return "".join(event.delta for event in got if event.type == name)


def streamed(at: Place, given: str | Items, behaviour: str = "plain", **more: Any) -> Any:
    """A streamed answer as the SDK's helper puts it together."""
    with client(at).responses.stream(model=at.model(behaviour), input=given, **more) as stream:
        return stream.get_final_response()


def text(at: Place) -> None:
    """A question is answered, asked as a string or as a message."""
    for given in (at.word, ask(at.word)):
        made = create(at, given)
        same((made.output_text, made.status, made.error), (SAID + at.word, "completed", None))
        holds(made.id.startswith("resp_"), f"the id is {made.id}")
        holds(made._request_id, "no x-request-id")


def stream(at: Place) -> None:
    """An answer comes in pieces, and the last event repeats it."""
    got = events_of(at, at.word)
    same(joined(got), SAID + at.word)
    holds(sum(event.type == "response.output_text.delta" for event in got) > 2, "it came in one piece")
    same(got[-1].type, "response.completed")
    same(got[-1].response.output_text, SAID + at.word)
    holds(got[-1].response.usage.output_tokens > 0, "no usage")


def stream_helper(at: Place) -> None:
    """The SDK's `.stream()` sees text and the end."""
    with client(at).responses.stream(model=at.model(), input=at.word) as stream:
        got = list(stream)
        final = stream.get_final_response()
    same(joined(got), SAID + at.word)
    same(final.output_text, SAID + at.word)


def events_valid(at: Place) -> None:
    """Everything fits the SDK's types and the grammar of streams, text and tools and reasoning."""
    parts.valid(create(at, at.word))
    for behaviour, prompt in (("plain", ""), ("reasoning", ""), ("parallel", "use a tool"), ("long", "")):
        more: Fields = {"tools": [WEATHER, CLOCK]} if prompt else {}
        got = events_of(at, f"{prompt} {at.word}", behaviour, **more)
        for event in got:
            parts.valid(event)
        _grammar(got)


def _grammar(got: list[Any]) -> None:
    """Numbered from 0; created, in progress, items one by one, the end; ids and texts agree throughout."""
    same([event.sequence_number for event in got], list(range(len(got))))
    same([event.type for event in got[:2]], ["response.created", "response.in_progress"])
    lifecycle = [event.response for event in (*got[:2], got[-1])]
    same(len({response.id for response in lifecycle}), 1)
    added = {event.output_index: event.item for event in got if event.type == "response.output_item.added"}
    done = {event.output_index: event.item for event in got if event.type == "response.output_item.done"}
    same(sorted(added), list(range(len(added))))
    same(
        [(item.id, item.type) for item in added.values()],
        [(item.id, item.type) for item in done.values()],
    )
    same([item.to_dict() for item in lifecycle[-1].output], [done[place].to_dict() for place in sorted(done)])
    for event in got:
        if hasattr(event, "item_id"):
            same(event.item_id, added[event.output_index].id)
    _fillings(got, "response.output_text", "text")
    _fillings(got, "response.function_call_arguments", "arguments")
    _fillings(got, "response.reasoning_summary_text", "text")


def _fillings(got: list[Any], name: str, whole: str) -> None:
    """What the deltas of an item add up to is what its end says."""
    for end in (event for event in got if event.type == f"{name}.done"):
        deltas = [
            event.delta for event in got if event.type == f"{name}.delta" and event.item_id == end.item_id
        ]
        same("".join(deltas), getattr(end, whole))


def system_prompt(at: Place) -> None:
    """The instructions arrive as the system prompt, and so does a message of the developer."""
    made = create(at, ask("Hello"), instructions=f"be brief {at.word}")
    same((made.output_text, made.instructions), (f"{SAID}Hello", f"be brief {at.word}"))
    same(upstream.system(at.kind, at.asked()[-1]), f"be brief {at.word}")
    create(at, [{"role": "developer", "content": f"be kind {at.word}"}, *ask("Hello")])
    body = at.asked()[-1]
    same(upstream.system(at.kind, body), f"be kind {at.word}")
    same([pair for pair in upstream.said(at.kind, body) if pair[0] == "user"], [("user", "Hello")])


def several_turns(at: Place) -> None:
    """A conversation with an earlier answer arrives in order."""
    given = [*ask(f"one {at.word}"), {"role": "assistant", "content": "two"}, *ask("three")]
    same(create(at, given).output_text, f"{SAID}three")
    (body,) = at.asked()
    wanted = [("user", f"one {at.word}"), ("assistant", "two"), ("user", "three")]
    same(upstream.said(at.kind, body), wanted)


def _called(made: Any) -> list[Any]:
    return [item for item in made.output if item.type == "function_call"]


def _named(made: Any) -> list[tuple[str, Any]]:
    return [(item.name, json.loads(item.arguments)) for item in _called(made)]


def tool_call(at: Place) -> None:
    """A tool is called with arguments that are JSON, whole and streamed alike."""
    prompt = f"use a tool {at.word}"
    for made in (create(at, prompt, tools=[WEATHER]), streamed(at, prompt, tools=[WEATHER])):
        same((made.status, _named(made)), ("completed", [(parts.TOOL, {"city": prompt})]))
    same([upstream.tools(at.kind, body) for body in at.asked()], [[parts.TOOL]] * 2)


def _answered(made: Any) -> Items:
    """The output as a client sends it back, with a result for each call."""
    outputs = [
        {"type": "function_call_output", "call_id": call.call_id, "output": f"result {place}"}
        for place, call in enumerate(_called(made))
    ]
    return [*(_sent_back(item) for item in made.output), *outputs]


def _sent_back(item: Any) -> Fields:
    """An item without what the SDK's helpers have put into it, which no provider knows."""
    told: Fields = item.to_dict()
    told.pop("parsed_arguments", None)
    for part in told.get("content") or ():
        part.pop("parsed", None)
    return told


def _loop(at: Place, behaviour: str, count: int, *, streaming: bool, **more: Any) -> Fields:
    """Call tools, answer them, get text; what the provider was asked in the end."""
    given = ask(f"use a tool {at.word}")
    tools = [WEATHER, CLOCK][:count]
    make = streamed if streaming else create
    first = make(at, given, behaviour, tools=tools, **more)
    same(len({call.call_id for call in _called(first)}), count)
    made = make(at, [*given, *_answered(first)], behaviour, tools=tools, **more)
    same(made.output_text, f"{SAID}use a tool {at.word}")
    return _looped(at, count)


def _looped(at: Place, count: int) -> Fields:
    """The last thing the provider was asked; it has the calls and their results."""
    body = at.asked()[-1]
    calls = upstream.calls(at.kind, body)
    same([name for _, name, _ in calls], [parts.TOOL, "get_time"][:count])
    wanted = [(call[0], f"result {place}") for place, call in enumerate(calls)]
    same(upstream.results(at.kind, body), wanted)
    return body


def tool_loop(at: Place) -> None:
    """A tool's result goes back and the answer comes: whole, streamed, and by the id of the response."""
    _loop(at, "plain", 1, streaming=False)
    _loop(at, "plain", 1, streaming=True)
    first = create(at, f"use a tool {at.word}", tools=[WEATHER])
    outputs = [item for item in _answered(first) if item["type"] == "function_call_output"]
    made = create(at, outputs, tools=[WEATHER], previous_response_id=first.id)
    same(made.output_text, f"{SAID}use a tool {at.word}")
    _looped(at, 1)


def parallel_tools(at: Place) -> None:
    """Two calls in one answer have ids of their own, and each gets its result."""
    _loop(at, "parallel", 2, streaming=False)
    _loop(at, "parallel", 2, streaming=True)


def forced_tool(at: Place) -> None:
    """A tool is called because the client says so: any, one by name, or none."""
    tools = [WEATHER, CLOCK]
    named: Any = {"type": "function", "name": "get_time"}
    same([name for name, _ in _named(create(at, at.word, tools=tools, tool_choice="required"))], [parts.TOOL])
    same([name for name, _ in _named(create(at, at.word, tools=tools, tool_choice=named))], ["get_time"])
    same(_named(create(at, f"use a tool {at.word}", tools=tools, tool_choice="none")), [])
    wanted = ["required", "get_time", "none"]
    same([upstream.choice(at.kind, body) for body in at.asked()], wanted)


def custom_tool(at: Place) -> None:
    """A tool that takes plain text is called with it, whole and streamed."""
    tool: Any = {"type": "custom", "name": "run_code", "description": parts.TOOL_TEXT}
    prompt = f"use a tool {at.word}"
    answers: list[Any] = [create(at, prompt, tools=[tool]), streamed(at, prompt, tools=[tool])]
    for made in answers:
        (call,) = (item for item in made.output if item.type == "custom_tool_call")
        same((call.name, call.input), ("run_code", prompt))
        result = {"type": "custom_tool_call_output", "call_id": call.call_id, "output": "done"}
        answer = create(at, [*ask(prompt), _sent_back(call), result], tools=[tool])
        same(answer.output_text, SAID + prompt)
    events = events_of(at, prompt, tools=[tool])
    same(joined(events, "response.custom_tool_call_input.delta"), prompt)


def structured_output(at: Place) -> None:
    """The SDK's `parse` and `.stream()` give an object of the class that was asked for."""
    made = client(at).responses.parse(model=at.model("json"), input=at.word, text_format=parts.Weather)
    same(made.output_parsed, parts.PARIS)
    same(streamed(at, at.word, "json", text_format=parts.Weather).output_parsed, parts.PARIS)
    for body in at.asked():
        wanted = upstream.schema(at.kind, body)
        holds(wanted and set(wanted["properties"]) == {"city", "celsius"}, f"the schema is {wanted}")


def _thought(made: Any) -> str:
    items = [item for item in made.output if item.type == "reasoning"]
    return "".join(part.text for item in items for part in item.summary)


def reasoning(at: Place) -> None:
    """Reasoning is shown as a summary, comes back sealed in the next turn, and is no text of anybody."""
    got = events_of(at, at.word, "reasoning", **THINKING)
    same(joined(got, "response.reasoning_summary_text.delta"), parts.THOUGHT)
    for make in (create, streamed):
        made = make(at, at.word, "reasoning", **THINKING)
        same((_thought(made), made.output_text), (parts.THOUGHT, SAID + at.word))
        given = [*ask(at.word), *map(_sent_back, made.output), *ask("on")]
        same(create(at, given, "reasoning", **THINKING).output_text, f"{SAID}on")
        body = at.asked()[-1]
        said = upstream.said(at.kind, body)
        same(said, [("user", at.word), ("assistant", SAID + at.word), ("user", "on")])
        same(len(upstream.seals(at.kind, body)), 0 if at.kind == "chat" else 1)


def reasoning_and_tools(at: Place) -> None:
    """A loop of tools in which the assistant has reasoned before it called."""
    for streaming in (False, True):
        body = _loop(at, "reasoning", 1, streaming=streaming, **THINKING)
        same(len(upstream.seals(at.kind, body)), 0 if at.kind == "chat" else 1)


def other_providers(at: Place) -> None:
    """A chain with reasoning and a call goes on over another kind of provider, unsealed."""
    more: Fields = {"tools": [WEATHER], **THINKING, "store": True}
    first = create(at, f"use a tool {at.word}", "reasoning", **more)
    outputs = [item for item in _answered(first) if item["type"] == "function_call_output"]
    for other in at.others():
        made = create(other, outputs, "reasoning", previous_response_id=first.id, **more)
        same(made.output_text, f"{SAID}use a tool {at.word}")
        parts.moved(other)


def image_input(at: Place) -> None:
    """Pictures arrive, by value and by address."""
    data = f"data:image/png;base64,{parts.png()}"
    shown = [{"type": "input_image", "detail": "auto", "image_url": url} for url in (data, parts.WEB_IMAGE)]
    given = [{"role": "user", "content": [{"type": "input_text", "text": at.word}, *shown]}]
    holds(create(at, given).output_text, "nothing was said")
    same(upstream.images(at.kind, at.asked()[-1]), [data, parts.WEB_IMAGE])


def file_input(at: Place) -> None:
    """A PDF arrives."""
    data = f"data:application/pdf;base64,{parts.pdf()}"
    given = {"type": "input_file", "file_data": data, "filename": "paper.pdf"}
    message = {"role": "user", "content": [{"type": "input_text", "text": at.word}, given]}
    holds(create(at, [message]).output_text, "nothing was said")
    same(upstream.files(at.kind, at.asked()[-1]), [data])


def usage(at: Place) -> None:
    """Numbers mean the same, whole and streamed: cached tokens are part of the input."""
    for got in (create(at, at.word, "usage").usage, events_of(at, at.word, "usage")[-1].response.usage):
        assert got is not None
        same((got.input_tokens, got.output_tokens, got.total_tokens), (120, 30, 150))
        same(got.input_tokens_details.cached_tokens, 40)


def max_tokens(at: Place) -> None:
    """An answer that is cut is incomplete, and says why."""
    made = create(at, at.word, "long", max_output_tokens=20)
    assert made.incomplete_details is not None
    same((made.status, made.incomplete_details.reason), ("incomplete", "max_output_tokens"))
    last = events_of(at, at.word, "long", max_output_tokens=20)[-1]
    same((last.type, last.response.incomplete_details.reason), ("response.incomplete", "max_output_tokens"))


def refusal(at: Place) -> None:
    """An answer that was held back is incomplete, and says why."""
    made = create(at, at.word, "refusing")
    assert made.incomplete_details is not None
    same((made.status, made.incomplete_details.reason), ("incomplete", "content_filter"))
    last = events_of(at, at.word, "refusing")[-1]
    same((last.type, last.response.incomplete_details.reason), ("response.incomplete", "content_filter"))


def stored_chain(at: Place) -> None:
    """Three turns by id, each with the whole history; then the last one is read, and deleted."""
    first = create(at, f"one {at.word}")
    second = streamed(at, "two", previous_response_id=first.id)
    third = create(at, ask("three"), previous_response_id=second.id)
    same((third.output_text, third.previous_response_id), (f"{SAID}three", second.id))
    history = [("user", f"one {at.word}"), ("assistant", first.output_text), ("user", "two")]
    history += [("assistant", second.output_text), ("user", "three")]
    same(upstream.said(at.kind, at.asked()[-1]), history)
    responses = client(at).responses
    for made in (first, second, third):
        found = responses.retrieve(made.id)
        parts.valid(found)
        same((found.id, found.output_text, found.status), (made.id, made.output_text, "completed"))
    _input_items(at, third.id)
    responses.delete(third.id)
    same(type(failure(lambda: responses.retrieve(third.id))), openai.NotFoundError)
    error = failure(lambda: create(at, "four", previous_response_id=third.id))
    same((type(error), error.code), (openai.BadRequestError, "previous_response_not_found"))
    kept = create(at, at.word, store=False)
    same(type(failure(lambda: responses.retrieve(kept.id))), openai.NotFoundError)


def _input_items(at: Place, name: str) -> None:
    """The input of the third turn: listed newest first, or oldest first, page by page."""
    made = client(at).responses.input_items
    newest = list(made.list(name))
    holds(all(item.id for item in newest if hasattr(item, "id")), "an item without an id")
    oldest = list(made.list(name, order="asc", limit=1))
    same([item.to_dict() for item in oldest], [item.to_dict() for item in reversed(newest)])
    holds(any("three" in str(item.to_dict()) for item in newest), "the question is not there")


def background(at: Place) -> None:
    """A response in the background is polled, streamed from its middle, and cancelled."""
    responses = client(at).responses
    made = create(at, at.word, background=True)
    holds(made.status in ("queued", "in_progress"), f"it begins as {made.status}")
    eventually(lambda: responses.retrieve(made.id).status == "completed", "it is never completed")
    same(responses.retrieve(made.id).output_text, SAID + at.word)
    got = events_of(at, at.word, background=True)
    same(joined(got), SAID + at.word)
    again: list[Any] = list(responses.retrieve(got[0].response.id, stream=True, starting_after=3))
    same([event.to_dict() for event in again], [event.to_dict() for event in got[4:]])
    slow = create(at, at.word, "slow", background=True)
    same(responses.cancel(slow.id).status, "cancelled")
    same(responses.retrieve(slow.id).status, "cancelled")


def compaction(at: Place) -> None:
    """A conversation is made short, and goes on from there."""
    given = [*ask(f"one {at.word}"), {"role": "assistant", "content": "two"}, *ask("three")]
    made = client(at).responses.compact(model=at.model(), input=given)
    same((made.object, made.output[-1].type), ("response.compaction", "compaction"))
    said = create(at, [*map(_sent_back, made.output), *ask("four")]).output_text
    holds(said.endswith("four"), said)


def web_socket(at: Place) -> None:
    """Turns over a WebSocket, the second going on from the first."""
    with client(at).responses.connect() as connection:
        connection.response.create(model=at.model(), input=f"one {at.word}")
        first = _turn(connection)
        same(joined(first), f"{SAID}one {at.word}")
        connection.response.create(
            model=at.model(), input="two", previous_response_id=first[-1].response.id, store=False
        )
        same(joined(_turn(connection)), f"{SAID}two")
    texts = [text for role, text in upstream.said(at.kind, at.asked()[-1]) if role == "user"]
    same(texts, [f"one {at.word}", "two"])


def _turn(connection: Any) -> list[Any]:
    got: list[Any] = []
    while not got or got[-1].type != "response.completed":
        got.append(connection.recv())
        holds(got[-1].type != "error", f"{got[-1]!r}")
    return got


def count_tokens(at: Place) -> None:
    """The tokens of an input are counted before it is sent."""
    counted = client(at).responses.input_tokens.count(model=at.model(), input=f"How many? {at.word}")
    holds(counted.input_tokens > 0, f"counted {counted.input_tokens}")


def _failed(at: Place, behaviour: str, kind: type[openai.APIStatusError]) -> Any:
    """The error of a whole answer, after that of a stream, which is the same before anything was said."""
    error = failure(lambda: events_of(at, at.word, behaviour))
    same(type(error), kind)
    error = failure(lambda: create(at, at.word, behaviour))
    same(type(error), kind)
    return error


def wrong_key(at: Place) -> None:
    """401 is an `AuthenticationError`."""
    made = client(at, "sk-nobody-knows-this").responses
    error = failure(lambda: made.create(model=at.model(), input=at.word))
    same((type(error), error.code), (openai.AuthenticationError, "invalid_api_key"))


def unknown_model(at: Place) -> None:
    """404 is a `NotFoundError` that names the parameter."""
    error = failure(lambda: client(at).responses.create(model="nothing", input=at.word))
    same((type(error), error.code, error.param), (openai.NotFoundError, "model_not_found", "model"))


def bad_request(at: Place) -> None:
    """400 is a `BadRequestError`, in the provider's words or the proxy's."""
    error = _failed(at, "refused", openai.BadRequestError)
    same(error.type, "invalid_request_error")
    holds("too strange a question" in error.message, error.message)
    wrong: Any = 5
    error = failure(lambda: create(at, wrong))
    same((type(error), error.type), (openai.BadRequestError, "invalid_request_error"))


def rate_limit(at: Place) -> None:
    """429 is a `RateLimitError` that says when to come back."""
    error = _failed(at, at.pausing("limited", "responses"), openai.RateLimitError)
    same(error.code, "rate_limit_exceeded")
    holds(1 <= int(error.response.headers["retry-after"]) <= 7, "no time to come back")


def server_error(at: Place) -> None:
    """What fails at all attempts is an `InternalServerError`."""
    error = _failed(at, "broken", openai.InternalServerError)
    same((error.status_code, error.type), (502, "server_error"))


def overloaded(at: Place) -> None:
    """A provider that has too much to do is a 503."""
    error = failure(lambda: create(at, at.word, at.pausing("overloaded", "responses")))
    same((type(error), error.status_code), (openai.InternalServerError, 503))
    same(error.code, "overloaded")


def broken_stream(at: Place) -> None:
    """A stream that breaks ends as a failed response, or raises; it never just ends."""
    for behaviour in ("erring", "cut"):
        got: list[Any] = []
        made = client(at).responses.create(model=at.model(behaviour), input=at.word, stream=True)
        try:
            got.extend(made)
        except openai.APIError as error:
            holds(not isinstance(error, openai.APIStatusError), f"{error!r}")
        else:
            same(got[-1].type, "response.failed")
            holds(got[-1].response.error.code, "no code")
        holds(joined(got), "nothing was said before")


def async_client(at: Place) -> None:
    """The asynchronous client: an answer and a stream at one time."""

    async def main() -> None:
        async with openai.AsyncOpenAI(
            base_url=f"{at.url}/v1", api_key=at.key, max_retries=0, timeout=10
        ) as made:

            async def spoken() -> str:
                stream = await made.responses.create(model=at.model(), input=at.word, stream=True)
                return joined([event async for event in stream])

            whole, pieces = await asyncio.gather(
                made.responses.create(model=at.model(), input=at.word), spoken()
            )
            same((whole.output_text, pieces), (SAID + at.word, SAID + at.word))

    asyncio.run(main())


def cancelled_stream(at: Place) -> None:
    """A client that leaves ends the provider's stream as well."""
    with client(at).responses.create(model=at.model("slow"), input=at.word, stream=True) as made:
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
    "structured output": structured_output,
    "reasoning": reasoning,
    "reasoning and tools": reasoning_and_tools,
    "other providers": other_providers,
    "image input": image_input,
    "file input": file_input,
    "usage": usage,
    "max tokens": max_tokens,
    "refusal": refusal,
    "stored chain": stored_chain,
    "background": background,
    "compaction": compaction,
    "web socket": web_socket,
    "count tokens": count_tokens,
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
