"""Tools by the names by which a client chooses them.

A choice has no place for a namespace: a name means the tool that stands in none, else the one that has that
name flattened (`docs__find`), else the only one of that name in any namespace.
"""

from collections.abc import Sequence

from proxy.errors import Refusal
from proxy.wire.conversation import Choice, Tool
from proxy.wire.losses import Losses
from proxy.wire.naming import flattened


class Choosable:
    """The tools of one request."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = tools
        self._exact: dict[str, Tool] = {}
        self._bare: dict[str, list[Tool]] = {}
        for tool in tools:
            if tool.namespace is None:
                self._exact[tool.name] = tool
            else:
                self._exact.setdefault(flattened(tool.name, tool.namespace), tool)
                self._bare.setdefault(tool.name, []).append(tool)

    def find(self, name: str) -> Tool | None:
        """The tool that `name` means. Raises `Refusal` 400 where it may mean several."""
        exact = self._exact.get(name)
        found = self._bare.get(name, ())
        if exact is not None or not found:
            return exact
        if len(found) > 1:
            several = ", ".join(f"'{flattened(tool.name, tool.namespace)}'" for tool in found)
            raise Refusal(
                400,
                f"Tool choice '{name[:100]}' may mean any of {several[:500]}.",
                param="tool_choice",
                code="invalid_value",
            )
        return found[0]

    def allowed(self, choice: Choice | None) -> tuple[Tool, ...]:
        """The tools that may be called; all where a choice does not say."""
        if choice is None or choice.allowed is None:
            return tuple(self._tools)
        found = [self.find(name) for name in choice.allowed]
        kept = {(tool.name, tool.namespace) for tool in found if tool is not None}
        return tuple(tool for tool in self._tools if (tool.name, tool.namespace) in kept)


def without_tools(choice: Choice | None, losses: Losses) -> None:
    """No tool is left: a call that was asked for cannot be had."""
    if choice is not None and choice.mode in ("required", "named"):
        losses.change("tool_choice")
