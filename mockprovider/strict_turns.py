"""What Anthropic refuses in the order of a conversation: who begins, who ends, and which call has its result.

Rule: the results of all tools called in one message stand at the very beginning of the next one, which is the
user's; what follows is read after them. A result without its call, and a call without its result, is refused.
"""

from collections.abc import Mapping, Sequence

from mockprovider import claude
from mockprovider.answer import Unreadable
from mockprovider.strict_blocks import Blocks, said
from mockprovider.wording import invalid, lacking, one_of, only

Message = Mapping[str, object]
Block = Mapping[str, object]


def check(messages: Sequence[Message], blocks: Blocks, *, thinks: bool) -> None:
    """Refuse what is wrong with a conversation; `thinks` is thinking by a budget. Raises Unreadable."""
    for place, message in enumerate(messages):
        _check_message(message, f"messages.{place}", blocks, last=place == len(messages) - 1)
    _check_roles(messages, blocks.model)
    seen: set[str] = set()
    for place, message in enumerate(messages):
        before = messages[place - 1] if place else {}
        after = messages[place + 1] if place + 1 < len(messages) else {}
        _check_calls(place, message, after, seen)
        _check_results(place, before, message)
    _check_end(messages[-1], blocks.model)
    if thinks:
        _check_thought(messages)


def _check_message(message: Message, path: str, blocks: Blocks, *, last: bool) -> None:
    for name in ("role", "content"):
        if name not in message:
            raise lacking(f"{path}.{name}")
    only(f"{path}.", message, "role content")
    role, content = message["role"], message["content"]
    if role not in ("user", "assistant", "system"):
        raise one_of(f"{path}.role", ("user", "assistant"))
    if not isinstance(content, str | list):
        raise invalid(f"{path}.content", "Input should be a valid string or list")
    if not content and not (last and role == "assistant"):
        raise invalid(
            path, "all messages must have non-empty content except for the optional final assistant message"
        )
    if isinstance(content, str):
        if content:
            said(content, path)
        return
    for place, block in enumerate(content):
        blocks.check(block, f"{path}.content.{place}", str(role))


def _check_roles(messages: Sequence[Message], model: str) -> None:
    if messages[0]["role"] == "system":
        raise invalid("messages.0", "use the top-level 'system' parameter for the initial system prompt")
    if messages[0]["role"] != "user":
        raise Unreadable('messages: first message must use the "user" role', "messages")
    for place, message in enumerate(messages):
        if message["role"] == "system" and not claude.hears_system(model):
            raise invalid(f"messages.{place}", "role 'system' is not supported on this model")
        if message["role"] == "system" and messages[place - 1]["role"] != "user":
            raise invalid(f"messages.{place}", "role 'system' must follow a 'user' message")


def blocks_of(message: Message) -> list[Block]:
    """The content of a message as blocks; a string has none."""
    content = message.get("content")
    return content if isinstance(content, list) else []


def _ids(message: Message, kind: str, name: str) -> list[str]:
    return [str(block[name]) for block in blocks_of(message) if block.get("type") == kind]


def _check_calls(place: int, message: Message, after: Message, seen: set[str]) -> None:
    path = f"messages.{place}"
    called = _ids(message, "tool_use", "id")
    for identity in called:
        if identity in seen:
            raise invalid(path, "`tool_use` ids must be unique")
        seen.add(identity)
    first = []
    for block in blocks_of(after) if after.get("role") == "user" else ():
        if block.get("type") != "tool_result":
            break
        first.append(block["tool_use_id"])
    left = [identity for identity in called if identity not in first]
    if left:
        raise invalid(
            path,
            "`tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(left)}. Each `tool_use` block must have a corresponding `tool_result` block "
            "in the next message.",
        )


def _check_results(place: int, before: Message, message: Message) -> None:
    called = _ids(before, "tool_use", "id")
    answered: set[object] = set()
    for part, block in enumerate(blocks_of(message)):
        if block.get("type") != "tool_result":
            continue
        identity = block["tool_use_id"]
        if identity not in called:
            raise invalid(
                f"messages.{place}.content.{part}",
                f"unexpected `tool_use_id` found in `tool_result` blocks: {identity}. Each `tool_result` "
                "block must have a corresponding `tool_use` block in the previous message.",
            )
        if identity in answered:
            raise invalid(
                f"messages.{place}.content.{part}",
                "each tool_use must have a single result. Found multiple `tool_result` blocks "
                f"with id: {identity}",
            )
        answered.add(identity)


def _check_end(message: Message, model: str) -> None:
    if message["role"] != "assistant":
        return
    if not claude.prefills(model):
        raise Unreadable(
            "This model does not support assistant message prefill. "
            "The conversation must end with a user message.",
            "messages",
        )
    content = message["content"]
    final = content if isinstance(content, str) else ""
    for block in blocks_of(message)[-1:]:
        if block["type"] in ("thinking", "redacted_thinking"):
            raise invalid("messages", "The final block in an assistant message cannot be `thinking`.")
        final = str(block.get("text", ""))
    if final != final.rstrip():
        raise Unreadable("messages: final assistant content cannot end with trailing whitespace", "messages")


def _check_thought(messages: Sequence[Message]) -> None:
    """With a budget for thinking, the turn whose tools were just answered begins with what was thought."""
    place = len(messages) - 1
    while place and (messages[place]["role"] == "assistant" or _ids(messages[place], "tool_result", "type")):
        place -= 1
    if place + 1 >= len(messages):
        return
    place += 1
    kind = blocks_of(messages[place])[0]["type"]
    if kind not in ("thinking", "redacted_thinking"):
        raise invalid(
            f"messages.{place}.content.0.type",
            f"Expected `thinking` or `redacted_thinking`, but found `{kind}`. When `thinking` is enabled, "
            "a final `assistant` message must start with a thinking block (preceeding the lastmost set of "
            "`tool_use` and `tool_result` blocks).",
        )
