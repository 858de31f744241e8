"""What happened in one life of the cluster, in order, and whether it was allowed to."""

import asyncio
import hashlib
import math

from simulation.settings import CALM, RECONNECT, SKEWED


class BrokenError(AssertionError):
    """A life in which something happened that must not."""


class Ledger:
    """Lines of time, who and what. `troubled_at` is when the store was last away for anybody."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self.lines: list[tuple[float, str, str]] = []
        self.broken: list[str] = []
        self.ended = asyncio.Event()
        self.troubled_at = self._began
        self.stepped_at = -math.inf
        self.losses = 0
        self.lost_at = -math.inf

    @property
    def now(self) -> float:
        """Seconds since the life began."""
        return self._loop.time() - self._began

    def note(self, who: str, what: str) -> None:
        """Something happened."""
        self.lines.append((self._loop.time() - self._began, who, what))

    def broke(self, who: str, what: str) -> None:
        """Something happened that must not; the life ends."""
        self.note(who, f"BROKEN: {what}")
        self.broken.append(f"{self.now:.3f} s, {who}: {what}")
        self.ended.set()

    def troubled(self) -> None:
        """The store is away for somebody, or is not what it was."""
        self.troubled_at = self._loop.time()

    def stepped(self) -> None:
        """The server's clock was set: what is timed by it is not what it was."""
        self.stepped_at = self._loop.time()
        self.troubled()

    def lost(self) -> None:
        """The store has forgotten something."""
        self.losses += 1
        self.lost_at = self._loop.time()

    @property
    def torn(self) -> bool:
        """Whether data was lost and the clock set back: until all have asked, new versions look old."""
        return self.skewed and self._loop.time() - self.lost_at < RECONNECT

    @property
    def skewed(self) -> bool:
        """Whether some replica may still tell the cluster's time by what the server's clock was before."""
        return self._loop.time() - self.stepped_at < SKEWED

    @property
    def calm(self) -> bool:
        """Whether the store has been at hand for everybody, for so long that it alone has decided."""
        return self._loop.time() - self.troubled_at > CALM

    @property
    def digest(self) -> str:
        """The same for the same life."""
        text = "\n".join(f"{at:.6f} {who} {what}" for at, who, what in self.lines)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def told(self, last: int = 0) -> str:
        """The lines for people; only the last so many where that is not 0."""
        return "\n".join(f"{at:9.4f}  {who:<10} {what}" for at, who, what in self.lines[-last:])
