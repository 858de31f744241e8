"""What the tests of stored responses share: responses, and replicas that store them."""

import asyncio
import contextlib
import dataclasses
import itertools
import random
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from proxy.clock import ManualClock, SystemClock
from proxy.config.storage import Responses
from proxy.link import Link, parse
from proxy.responses import keyspace
from proxy.responses.background import BackgroundRuns, Standing
from proxy.responses.document import Stored, lineage
from proxy.responses.following import STEADY, Following
from proxy.responses.scripts import load_scripts
from proxy.responses.sealing import Sealer
from proxy.responses.store import LINK, Outcome, ResponseStore, Rules
from proxy.tasks import Tasks

SCRIPTS = load_scripts()
SETTINGS = Responses()
PATIENT = dataclasses.replace(LINK, deadline_s=20.0, connect_s=20.0)
"""So that a busy machine is not taken for an outage."""

_owners = itertools.count()


def fresh_owner() -> str:
    """A client that no other test uses."""
    return f"client {next(_owners)}"


def raw(value: object) -> msgspec.Raw:
    """As JSON."""
    return msgspec.Raw(msgspec.json.encode(value))


def response(id_: str, previous: Stored | None = None, size: int = 0, **more: Any) -> Stored:
    """A response that says little, or so many random letters: they do not get smaller than that."""
    text = "".join(random.Random(id_).choices("0123456789abcdef", k=2 * size))
    return msgspec.structs.replace(
        Stored(
            id=id_,
            created=1_800_000_000,
            model="gpt",
            status="completed",
            response=raw({"id": id_, "object": "response"}),
            input=(raw({"id": "msg_in", "type": "message"}),),
            output=(raw({"id": "msg_out", "type": "message", "text": text}),),
            previous=previous.id if previous else None,
            ancestors=lineage(previous),
        ),
        **more,
    )


class Dice:
    """Random bytes that are the same every time, and never the same twice."""

    def __init__(self) -> None:
        self._random = random.Random(5)

    def __call__(self, count: int) -> bytes:
        """So many."""
        return self._random.randbytes(count)


def sealer(*ids: str) -> Sealer:
    """A sealer with a key for each id."""
    return Sealer([(id_, id_.encode().ljust(32)) for id_ in ids], Dice())


def bury(stored: Stored, sequence: int) -> tuple[Stored, bytes]:
    """A response that was left behind, failed, and the event that says so."""
    return msgspec.structs.replace(stored, status="failed"), b"failed %d" % sequence


class Replica:
    """A store on a link of its own, with nothing in the background.

    Readers on it judge leases at once: Redis was there for long.
    """

    def __init__(
        self, url: str, settings: Responses = SETTINGS, *, name: str = "one", budget: int = 0
    ) -> None:
        self.tasks = Tasks()
        self.link = Link(
            parse(url),
            clock=SystemClock(),
            tasks=self.tasks,
            draw=random.Random(name),
            scripts=SCRIPTS.values(),
            settings=PATIENT,
        )
        self.store = ResponseStore(self.link, SCRIPTS, sealer("a"), Rules(settings, name, budget, 2**20))
        self.runs = BackgroundRuns(self.store, self.link)
        self.clock = ManualClock()
        self.following = Following(self.store, self.runs, self.link, self.clock, bury)
        self.stops: list[tuple[str, Standing]] = []
        self._changed = asyncio.Event()
        self.link.on_change(lambda _: self._changed.set())

    async def begin(self, owner: str, stored: Stored) -> Outcome:
        """Run it here, and note when it is to stop."""
        return await self.runs.begin(owner, stored, lambda why: self.stops.append((stored.id, why)))

    def listen(self) -> None:
        """Hear of the others."""
        self.link.subscribe(keyspace.CHANNEL, self.runs.hear, self.runs.missed)

    async def until(self, *, available: bool) -> None:
        """Wait until the store is there, or is not."""
        async with asyncio.timeout(20):
            while self.link.available is not available:
                self._changed.clear()
                await self._changed.wait()


@contextlib.asynccontextmanager
async def replicas(
    url: str, *names: str, settings: Responses = SETTINGS, budget: int = 0
) -> AsyncIterator[list[Replica]]:
    """Replicas, connected."""
    made = [Replica(url, settings, name=name, budget=budget) for name in names or ("one",)]
    for one in made:
        await one.link.start(20.0)
        one.clock.advance(STEADY)
    try:
        yield made
    finally:
        for one in made:
            await one.tasks.close()
            await one.link.close()


class Line(Link):
    """A link that answers with what it is given, one after the other; errors are raised."""

    def __init__(self, *answers: object) -> None:
        self._answers = list(answers)
        self.said: list[tuple[object, list[object], list[object]]] = []

    def on_change(self, listener: object) -> None:
        """Nothing ever changes."""

    @property
    def available(self) -> bool:
        """Always."""
        return True

    async def call(self, what: object, keys: Any = (), args: Any = ()) -> Any:
        """Answer."""
        self.said.append((what, list(keys), list(args)))
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer
