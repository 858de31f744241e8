"""Prompt-cache marks as Anthropic takes them: at most four, and none that lives longer after a shorter one.

Source: Anthropic's documentation of prompt caching. The last marks are kept: each covers all that is before
it.
"""

from typing import Final

from proxy.wire.conversation import CacheFor, Json

MOST: Final = 4


class Marks:
    """The marks of one request, in the order of its prompt: tools, system, messages."""

    def __init__(self, *, taken: bool) -> None:
        self._taken = taken
        self._found: list[tuple[Json, CacheFor]] = []

    def note(self, block: Json, cache: CacheFor | None) -> Json:
        """A block that may bear a mark; the block itself."""
        if cache is not None and self._taken:
            self._found.append((block, cache))
        return block

    def place(self) -> None:
        """Put the marks on their blocks."""
        short = False
        for block, cache in self._found[-MOST:]:
            short = short or cache == "short"
            block["cache_control"] = {"type": "ephemeral"} if short else {"type": "ephemeral", "ttl": "1h"}
