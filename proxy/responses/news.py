"""Who in this replica waits for news of a response."""

import asyncio
import contextlib
from collections.abc import Iterator


class News:
    """Waiters by the name of what they wait for."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def __repr__(self) -> str:
        """Of how many somebody waits for news."""
        return f"<News of {len(self._waiting)}>"

    @contextlib.contextmanager
    def of(self, name: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever there is news of `name`."""
        event = asyncio.Event()
        self._waiting.setdefault(name, set()).add(event)
        try:
            yield event
        finally:
            self._waiting[name].discard(event)
            if not self._waiting[name]:
                del self._waiting[name]

    def tell(self, name: str) -> None:
        """There is news of `name`."""
        for event in self._waiting.get(name, ()):
            event.set()

    def tell_all(self) -> None:
        """There may be news of anything."""
        for name in self._waiting:
            self.tell(name)


async def pause(event: asyncio.Event, seconds: float) -> None:
    """Wait for so long, or until `event` is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
