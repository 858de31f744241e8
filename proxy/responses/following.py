"""How responses that run in the background stand, and their events, for readers in any replica.

Who finds a response running whose lease has lapsed declares it failed: one script call decides, so it fails
once for all readers, with one last event. Streams are polled, for the link takes no call that blocks; of the
end of one Pub/Sub tells.
"""

import enum
from collections.abc import AsyncGenerator, Callable

from proxy.clock import Clock
from proxy.link import Change, Link, ScriptError, Unavailable
from proxy.responses import document, keyspace
from proxy.responses.background import BackgroundRuns
from proxy.responses.document import Stored
from proxy.responses.news import pause
from proxy.responses.outbox import Event, Letter, Mode
from proxy.responses.sealing import SealError
from proxy.responses.store import ResponseStore, reaching, unreadable

STEADY = 7.0
"""Seconds for which Redis must have been there before a lease that lapsed says anything of its replica."""

SOON, LATER = 0.1, 0.25
"""Seconds between two looks at a stream: while events come, and while none do."""

PATIENCE = 30.0
"""Seconds for which somebody who follows a stream waits for Redis to come back."""

TOGETHER = 64
"""Events read with one call."""

CODE = "server_error"
MESSAGE = "The replica that ran this response has gone."
"""What the error of a response says that was declared failed."""

Bury = Callable[[Stored, int], tuple[Stored, bytes]]
"""From a response that was left behind, and the number of its next event, to it failed, and that event."""


class _State(enum.StrEnum):
    """How a response stands: the words of responses_read.lua."""

    RUNNING = "running"
    LAPSED = "lapsed"
    ENDED = "ended"
    ABSENT = "absent"


class Following:
    """The way to what runs here or elsewhere."""

    def __init__(
        self, store: ResponseStore, runs: BackgroundRuns, link: Link, clock: Clock, bury: Bury
    ) -> None:
        self._store = store
        self._runs = runs
        self._link = link
        self._clock = clock
        self._bury = bury
        self._since = clock.monotonic()
        link.on_change(self._changed)

    async def load(self, owner: str, id_: str) -> Stored | None:
        """As `ResponseStore.load`, and never running where nobody runs it any more."""
        stored = await self._store.load(owner, id_)
        return await self.checked(owner, stored) if stored is not None else None

    async def checked(self, owner: str, stored: Stored) -> Stored | None:
        """How a response really stands: failed, if its replica has gone. Raises `Refusal`."""
        here = self._runs.here(keyspace.name(owner, stored.id))
        if here or not (stored.running and stored.background):
            return stored
        with reaching():
            state, last, _ = await self._read(owner, stored.id, -1, 0)
        if state is _State.RUNNING:
            return stored
        if state is not _State.ENDED:
            if self._clock.monotonic() - self._since < STEADY:
                return stored
            await self._declare_failed(owner, stored, last)
        return await self._store.load(owner, stored.id)

    async def outcome(self, owner: str, id_: str, seconds: float) -> Stored | None:
        """A response once it has ended, or as it stands after so many seconds. Raises `Refusal`."""
        until = self._clock.monotonic() + seconds
        with self._runs.news.of(keyspace.name(owner, id_)) as news:
            while True:
                news.clear()
                stored = await self.load(owner, id_)
                left = until - self._clock.monotonic()
                if stored is None or not stored.running or left <= 0:
                    return stored
                await pause(news, min(left, LATER))

    async def read_events(self, owner: str, id_: str, after: int = -1) -> AsyncGenerator[Event, None]:
        """The events after a sequence number, those to come included, until the last one.

        A number that is skipped was dropped, for there were too many. Raises `Refusal` 503 where Redis is
        away at the beginning, or later for `PATIENCE` seconds.
        """
        name, heard, wait = keyspace.name(owner, id_), float("-inf"), SOON
        with self._runs.news.of(name) as news:
            while True:
                news.clear()
                try:
                    state, _, events = await self._read(owner, id_, after, TOGETHER)
                except (Unavailable, ScriptError):
                    with reaching():
                        if self._clock.monotonic() - heard > PATIENCE:
                            raise
                    await pause(news, LATER)
                    continue
                heard = self._clock.monotonic()
                for sequence, sealed in events:
                    yield sequence, self._opened(name, sequence, sealed)
                    after = sequence
                if len(events) == TOGETHER:
                    continue
                if await self._over(owner, id_, state):
                    return
                wait = SOON if events else min(1.2 * wait, LATER)
                await pause(news, wait)

    async def _over(self, owner: str, id_: str, state: _State) -> bool:
        """Whether no event follows those that were read."""
        if state in (_State.RUNNING, _State.ENDED):
            return state is _State.ENDED
        stored = await self._store.load(owner, id_)
        if stored is None:
            return True
        if stored.running:
            await self.checked(owner, stored)
            return False
        return state is _State.ABSENT and not self._runs.here(keyspace.name(owner, id_))

    async def _declare_failed(self, owner: str, stored: Stored, last: int) -> None:
        failed, event = self._bury(stored, last + 1)
        name = keyspace.name(owner, stored.id)
        sealed = await self._store.seal(document.encode(failed), name)
        told = (last + 1, self._store.sealer.seal(event, keyspace.event(name, last + 1)))
        with reaching():
            await self._store.send(Letter(owner, stored.id, sealed, Mode.BURY, (told,), last))

    async def _read(self, owner: str, id_: str, after: int, most: int) -> tuple[_State, int, list[Event]]:
        """State, number of the last event, and the sealed events after a number."""
        first = f"{max(after, -1) + 2}-0"
        state, last, *found = await self._store.call("read", owner, [id_, first, most])
        numbers = [int(entry.partition(b"-")[0]) - 1 for entry in found[::2]]
        return _State(state.decode()), last, list(zip(numbers, found[1::2], strict=True))

    def _opened(self, name: str, sequence: int, sealed: bytes) -> bytes:
        try:
            return self._store.sealer.open(sealed, keyspace.event(name, sequence))
        except SealError as error:
            raise unreadable() from error

    def _changed(self, _: Change) -> None:
        """Redis came or went: those that run something are given time to say so."""
        self._since = self._clock.monotonic()
