"""Stored responses: saved, read, followed back and deleted, each only by the client that it belongs to.

One call of a script saves, one GET reads. While Redis is away what is saved waits in a bounded outbox, and
this replica still reads it from there; everything else is refused with 503, for nobody can say then that a
response does not exist. A response of somebody else does not exist.

Give it a link of its own, made with `LINK`: documents are large, and a limit must not wait behind one.
"""

import asyncio
import contextlib
import dataclasses
import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from proxy.config.storage import Responses
from proxy.errors import Refusal
from proxy.link import Argument, Link, Script, ScriptError, Settings, Unavailable
from proxy.responses import document, keyspace
from proxy.responses.document import Stored
from proxy.responses.outbox import Event, Letter, Mode, Outbox
from proxy.responses.sealing import Sealer, SealError

LINK = Settings(deadline_s=0.5, name="apex-responses")
"""Of the link to use: long enough for a document of some megabytes."""

LEASE_S = 15.0
"""How long a background response outlives the last sign of life of its replica."""

DELETED_S = 86_400.0
"""How long nothing may be stored under the id of a deleted response: longer than any outbox waits."""

LARGE = 256 * 1024
"""Bytes from which sealing and opening take so long (1 ms) that a thread does it."""

TOGETHER = 16
"""Documents read with one command: a chain is read in such pieces, to bound what is in memory."""

CHAIN_BYTES = 64 * 1024**2
"""More than any model takes, and less than what a replica has."""

ROUNDS = 100
"""Calls in which a script makes room for one document, 200 responses each."""

FIRST_PAUSE, LAST_PAUSE = 0.25, 2.0
"""Seconds between two looks into the outbox, doubled while Redis refuses."""


class Outcome(enum.StrEnum):
    """What became of a response that was to be stored."""

    STORED = "stored"
    DEFERRED = "deferred"
    """Redis is away; it waits in this replica."""
    TOO_LARGE = "too_large"
    GONE = "gone"
    """It was deleted meanwhile, or has ended without us."""
    FAILED = "failed"
    """Neither the store nor the outbox took it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    """What the store goes by.

    `replica` is this one's name. `budget` bounds all clients together, in bytes as stored; 0 for no such
    bound. `chain` bounds what a chain may be, in bytes before compression.
    """

    settings: Responses
    replica: str
    budget: int = 0
    chain: int = CHAIN_BYTES


class ResponseStore:
    """The responses of all clients. `run` empties the outbox, until cancelled."""

    def __init__(self, link: Link, scripts: Mapping[str, Script], sealer: Sealer, rules: Rules) -> None:
        self._link = link
        self._scripts = scripts
        self.sealer = sealer
        self.rules = rules
        self._filled = asyncio.Event()
        self._log = structlog.get_logger("responses")
        self.outbox = Outbox(rules.settings.outbox_entries, rules.settings.outbox_bytes)

    def __repr__(self) -> str:
        """What waits."""
        return f"<ResponseStore {len(self.outbox)} waiting>"

    def renew(self, sealer: Sealer, rules: Rules) -> None:
        """Go by other rules and keys from now on."""
        self.sealer = sealer
        self.rules = rules
        self.outbox.bound(rules.settings.outbox_entries, rules.settings.outbox_bytes)

    # Out.

    async def save(
        self, owner: str, stored: Stored, mode: Mode = Mode.PLAIN, events: Sequence[Event] = ()
    ) -> Outcome:
        """Store a response, at once or as soon as Redis can be reached.

        Modes other than PLAIN, and sealed events, are for those that run in the background.
        """
        data = document.encode(stored)
        if len(data) > self.rules.settings.max_size:
            return Outcome.TOO_LARGE
        sealed = await self.seal(data, keyspace.name(owner, stored.id))
        letter = Letter(owner, stored.id, sealed, mode, tuple(events))
        try:
            outcome = await self.send(letter)
        except Unavailable:
            return self._defer(letter)
        self.outbox.drop(letter.name)
        return outcome

    async def seal(self, data: bytes, name: str) -> bytes:
        """What is stored of the response called `name`."""
        if len(data) < LARGE:
            return self.sealer.seal(data, name.encode())
        return await asyncio.to_thread(self.sealer.seal, data, name.encode())

    async def send(self, letter: Letter) -> Outcome:
        """Store a letter now. Raises `Unavailable`."""
        settings, rules = self.rules.settings, self.rules
        events = [part for event in letter.events for part in event]
        args = [letter.id, letter.mode.value, letter.document, _ms(settings.ttl), settings.client_quota]
        args += [rules.budget, rules.replica, _ms(LEASE_S), _ms(settings.event_ttl), settings.event_bytes]
        args += [letter.last, *events]
        try:
            for _ in range(ROUNDS):
                said = await self.call("save", letter.owner, args)
                if said != b"again":
                    return Outcome(said.decode())
        except ScriptError as error:
            self._log.error("response_not_stored", error=str(error))
        return Outcome.FAILED

    async def call(self, name: str, owner: str, args: Sequence[Argument]) -> Any:
        """Run a script over the responses of `owner`. Raises `Unavailable` and `ScriptError`."""
        over = [keyspace.ALL] if self.rules.budget else []
        return await self._link.call(self._scripts[name], [keyspace.index(owner), *over], args)

    def _defer(self, letter: Letter) -> Outcome:
        if not self.outbox.put(letter):
            self._log.warning("response_not_stored", error="Redis is away and the outbox is full")
            return Outcome.FAILED
        self._filled.set()
        return Outcome.DEFERRED

    async def run(self) -> None:
        """Store what waits as soon as Redis can be reached, until cancelled."""
        pause = FIRST_PAUSE
        while True:
            await self._filled.wait()
            await asyncio.sleep(pause)
            delivered = not self._link.available or await self.flush()
            pause = FIRST_PAUSE if delivered else min(2 * pause, LAST_PAUSE)

    async def flush(self) -> bool:
        """Store what waits, once. False where Redis refuses."""
        for letter in self.outbox.waiting():
            if self.outbox.find(letter.name) is not letter:
                continue
            try:
                outcome = await self.send(letter)
            except Unavailable:
                return False
            if outcome not in (Outcome.STORED, Outcome.GONE):
                self._log.warning("response_not_stored", error=outcome.value)
            self.outbox.delivered(letter)
        if not self.outbox:
            self._filled.clear()
        return True

    # In.

    async def load(self, owner: str, id_: str) -> Stored | None:
        """A response of this client; None where it has none of this id.

        Raises:
            Refusal: 503, Redis is away; 500, what is stored cannot be read.
        """
        found = await self._load(owner, [id_]) if keyspace.is_id(id_) else None
        return found[0] if isinstance(found, list) else None

    async def chain(self, owner: str, id_: str) -> tuple[Stored, ...] | str:
        """A response and all before it, the oldest first; the id of one that is missing, where one is.

        Raises:
            Refusal: as `load`; 400, it is longer than anything a model takes.
        """
        last = await self.load(owner, id_)
        if last is None:
            return id_
        links, size = [last], _size(last)
        while ahead := links[0].ancestors:
            earlier: list[Stored] = []
            for at in range(0, len(ahead), TOGETHER):
                found = await self._load(owner, ahead[at : at + TOGETHER])
                if isinstance(found, str):
                    return found
                earlier += found
                size += sum(map(_size, found))
                if size > self.rules.chain:
                    raise Refusal(
                        400,
                        "The conversation before this response is too long.",
                        code="context_length_exceeded",
                        param="previous_response_id",
                    )
            links = earlier + links
        return tuple(links)

    async def delete(self, owner: str, id_: str) -> bool:
        """Delete a response of this client; whether there was one.

        Raises:
            Refusal: 503, Redis is away, and it may still be there.
        """
        if not keyspace.is_id(id_):
            return False
        name = keyspace.name(owner, id_)
        waits = self.outbox.find(name) is not None
        with reaching():
            there = await self.call("delete", owner, [id_, _ms(DELETED_S), int(waits)])
        return self.outbox.drop(name) or bool(there)

    async def _load(self, owner: str, ids: Sequence[str]) -> list[Stored] | str:
        """The documents of `ids`, in their order; the id of the first that is missing, where one is."""
        waiting = [self.outbox.find(keyspace.name(owner, id_)) for id_ in ids]
        there = [id_ for id_, letter in zip(ids, waiting, strict=True) if letter is None]
        sealed: list[bytes | None] = []
        if there:
            with reaching():
                keys = [keyspace.document(owner, id_) for id_ in there]
                sealed = await self._link.call("MGET", keys)
        stored = iter(sealed)
        documents = [letter.document if letter else next(stored) for letter in waiting]
        found: list[Stored] = []
        for id_, one in zip(ids, documents, strict=True):
            if not one:
                return id_
            found.append(await self._opened(one, keyspace.name(owner, id_)))
        return found

    async def _opened(self, sealed: bytes, name: str) -> Stored:
        try:
            if len(sealed) < LARGE // 4:  # it is up to ten times as large when open
                return document.decode(self.sealer.open(sealed, name.encode()))
            return document.decode(await asyncio.to_thread(self.sealer.open, sealed, name.encode()))
        except (SealError, msgspec.MsgspecError) as error:
            self._log.error("response_unreadable", error=str(error))
            raise unreadable() from error


def unavailable() -> Refusal:
    """What a client is told while nobody can know what is stored."""
    return Refusal(
        503,
        "Stored responses cannot be reached at the moment.",
        kind="server_error",
        code="store_unavailable",
        retry_after=1.0,
    )


def unreadable() -> Refusal:
    """What a client is told where something is stored that we cannot open: an operator's error, or damage."""
    return Refusal(500, "The stored response cannot be read.", kind="server_error", code="store_unreadable")


@contextlib.contextmanager
def reaching() -> Iterator[None]:
    """Turns what the link raises into what the client is told."""
    try:
        yield
    except (Unavailable, ScriptError) as error:
        raise unavailable() from error


def _size(stored: Stored) -> int:
    return len(stored.response) + sum(map(len, stored.input)) + sum(map(len, stored.output))


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
