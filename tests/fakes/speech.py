"""What clients ask and providers say in each dialect, in as few words as a test can say it."""

from typing import Any

Json = dict[str, Any]


# --- requests -----------------------------------------------------------------------------------------


def chat(*messages: Json, **fields: Any) -> Json:
    """A request of a chat client."""
    return {"model": "assistant", "messages": list(messages) or [user("Hi")], **fields}


def messages(*turns: Json, **fields: Any) -> Json:
    """A request of a Messages client."""
    return {"model": "assistant", "max_tokens": 1000, "messages": list(turns) or [user("Hi")], **fields}


def responses(*items: Json, **fields: Any) -> Json:
    """A request of a Responses client."""
    return {"model": "assistant", "input": list(items) or "Hi", **fields}


def plainly(client: str) -> Json:
    """The shortest request of each dialect."""
    return {"chat": chat, "messages": messages, "responses": responses}[client]()


def user(content: Any) -> Json:
    """A user's turn."""
    return {"role": "user", "content": content}


def called(*calls: tuple[str, str, str], **fields: Any) -> Json:
    """An assistant's chat message with calls of (id, name, arguments)."""
    made = [{"id": i, "type": "function", "function": {"name": n, "arguments": a}} for i, n, a in calls]
    return {"role": "assistant", "content": None, "tool_calls": made, **fields}


def result(call: str, content: Any = "ok") -> Json:
    """A tool's chat message."""
    return {"role": "tool", "tool_call_id": call, "content": content}


def use(call: str, name: str = "f", **given: Any) -> Json:
    """A call in Messages."""
    return {"type": "tool_use", "id": call, "name": name, "input": given}


def used(call: str, content: Any = "ok", **fields: Any) -> Json:
    """A result in Messages."""
    return {"type": "tool_result", "tool_use_id": call, "content": content, **fields}


def text(words: str) -> Json:
    """A part of text in Chat or Messages."""
    return {"type": "text", "text": words}


def function(name: str = "f", parameters: Any = None, **fields: Any) -> Json:
    """A tool of a chat client."""
    given = {} if parameters is None else {"parameters": parameters}
    return {"type": "function", "function": {"name": name, **given, **fields}}


def tool(name: str = "f", **schema: Any) -> Json:
    """A tool of a Messages client."""
    return {"name": name, "input_schema": schema or {"type": "object", "properties": {}}}


# --- what chat providers say --------------------------------------------------------------------------


def chunk(finish: str | None = None, **delta: Any) -> Json:
    """An event of a chat stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    head = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**head, "choices": [choice]}


def piece(**fields: Any) -> Json:
    """A chat event with one piece of a call; `name` and `arguments` are the function's."""
    made = {key: fields.pop(key) for key in ("name", "arguments") if key in fields}
    return chunk(tool_calls=[{**fields, "function": made}])


COUNT = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
COUNTED = {
    "id": "c-1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "choices": [],
    "usage": COUNT,
}


def ended(finish: str = "stop") -> list[Any]:
    """How a good chat stream ends."""
    return [chunk(finish), COUNTED, "[DONE]"]


def completion(finish: str = "stop", **said: Any) -> Json:
    """A whole reply of a chat provider."""
    message = {"role": "assistant", "content": None, **said}
    return {
        "id": "c-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": COUNT,
    }


# --- what Anthropic and OpenAI's Responses say ---


def message_stream(start: Json, *pieces: str, stop: str = "tool_use") -> list[Any]:
    """A stream of Anthropic's with one block."""
    kinds = {"tool_use": ("input_json_delta", "partial_json"), "text": ("text_delta", "text")}
    kind, key = kinds[start["type"]]
    usage = {"input_tokens": 9, "output_tokens": 1}
    return [
        {"type": "message_start", "message": {"id": "m", "model": "m", "content": [], "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": start},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": kind, key: one}} for one in pieces),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 4}},
        {"type": "message_stop"},
    ]


def response_of(*items: Json, status: str = "completed") -> Json:
    """A response of OpenAI's."""
    usage = {"input_tokens": 9, "output_tokens": 4, "total_tokens": 13}
    return {
        "id": "resp_u",
        "object": "response",
        "model": "m",
        "status": status,
        "output": list(items),
        "usage": usage,
    }


def response_stream(*items: Json, deltas: bool = False) -> list[Json]:
    """A stream of OpenAI's in which items of calls come without, or with, their deltas."""
    out: list[Json] = [
        {"type": "response.created", "response": {**response_of(status="in_progress"), "usage": None}}
    ]
    for place, item in enumerate(items):
        begun = {**item, "arguments": "", "status": "in_progress"}
        where = {"item_id": item["id"], "output_index": place}
        out.append({"type": "response.output_item.added", "output_index": place, "item": begun})
        if deltas:
            out.append(
                {"type": "response.function_call_arguments.delta", **where, "delta": item["arguments"][:3]}
            )
        out.append({"type": "response.function_call_arguments.done", **where, "arguments": item["arguments"]})
        out.append({"type": "response.output_item.done", "output_index": place, "item": item})
    return [*out, {"type": "response.completed", "response": response_of(*items)}]


def item_call(number: int) -> Json:
    """An item that calls a function."""
    made = {"id": f"fc_{number}", "call_id": f"c{number}", "name": "f", "arguments": f'{{"n":{number}}}'}
    return {"type": "function_call", "status": "completed", **made}
