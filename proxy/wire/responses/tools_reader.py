"""Reads the tools of a client's body, and which of them may or must be called.

Source: OpenAI's API reference. A namespace is a group of tools; those of a hosted type are known by it alone.
"""

from typing import Final, Literal

from proxy.errors import Refusal
from proxy.wire import reading
from proxy.wire.conversation import Choice, Hosted, Json, Tool
from proxy.wire.model import Dialect

_FUNCTION: Final = frozenset(("type", "name", "description", "parameters", "strict"))
_CUSTOM: Final = frozenset(("type", "name", "description", "format"))
_NAMESPACE: Final = frozenset(("type", "name", "description", "tools"))
_NAMED: Final = frozenset(("type", "name"))
_ALLOWED: Final = frozenset(("type", "mode", "tools"))
_MODES: Final[tuple[Literal["auto", "required", "none"], ...]] = ("auto", "required", "none")


def tools(body: Json, dropped: list[str]) -> tuple[tuple[Tool, ...], tuple[Hosted, ...]]:
    """The client's own tools, and those that its vendor would run. Raises `Refusal` 400."""
    own: list[Tool] = []
    hosted: list[Hosted] = []
    for place, tool in enumerate(reading.records(body, "tools", "")):
        path = f"tools[{place}]"
        kind = reading.needed(tool, "type", path)
        if kind == "namespace":
            own += _namespace(tool, path, dropped)
        elif kind in ("function", "custom"):
            own.append(_tool(tool, path, None, dropped))
        else:
            hosted.append(Hosted(kind, Dialect.RESPONSES))
    return tuple(own), tuple(hosted)


def _namespace(group: Json, path: str, dropped: list[str]) -> list[Tool]:
    reading.unknown(group, _NAMESPACE, path, dropped)
    name = reading.needed(group, "name", path)
    return [
        _tool(tool, f"{path}.tools[{place}]", name, dropped)
        for place, tool in enumerate(reading.records(group, "tools", path))
    ]


def _tool(tool: Json, path: str, namespace: str | None, dropped: list[str]) -> Tool:
    name = reading.needed(tool, "name", path)
    description = reading.text(tool, "description", path)
    kind = reading.word(tool, "type", path, ("function", "custom"))
    if kind == "custom":
        reading.unknown(tool, _CUSTOM, path, dropped)
        grammar = reading.record(tool, "format", path)
        return Tool(name, description, custom=True, grammar=grammar, namespace=namespace)
    reading.unknown(tool, _FUNCTION, path, dropped)
    return Tool(
        name,
        description,
        schema=reading.record(tool, "parameters", path),
        strict=reading.flag(tool, "strict", path),
        namespace=namespace,
    )


def choice(body: Json, dropped: list[str]) -> Choice | None:
    """`tool_choice`. Raises `Refusal` 400, also for a hosted tool that would have to be called."""
    said = body.get("tool_choice")
    if said is None:
        return None
    if type(said) is str:
        mode = reading.word(body, "tool_choice", "", _MODES)
        return Choice(mode) if mode is not None else None
    if type(said) is not dict:
        raise reading.wrong("tool_choice", "a string or an object", said)
    kind = reading.needed(said, "type", "tool_choice")
    if kind == "allowed_tools":
        return _allowed(said, dropped)
    if kind in ("function", "custom"):
        reading.unknown(said, _NAMED, "tool_choice", dropped)
        return Choice("named", reading.needed(said, "name", "tool_choice"))
    raise Refusal(
        400,
        f"A tool choice of '{kind[:100]}' cannot be passed on to the provider that serves this model.",
        param="tool_choice",
        code="unsupported_value",
    )


def _allowed(said: Json, dropped: list[str]) -> Choice:
    reading.unknown(said, _ALLOWED, "tool_choice", dropped)
    mode = reading.word(said, "mode", "tool_choice", _MODES) or "auto"
    names = []
    for place, tool in enumerate(reading.records(said, "tools", "tool_choice")):
        path = f"tool_choice.tools[{place}]"
        if tool.get("type", "function") in ("function", "custom"):
            names.append(reading.needed(tool, "name", path))
        else:
            dropped.append(path)
    return Choice(mode, allowed=tuple(names))
