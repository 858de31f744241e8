"""A shelf for stored responses over a real server, and what is on it."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from responses.shelves import SETTINGS, replicas

from proxy.archive import Shelf
from proxy.config.storage import Responses
from proxy.detached import bury
from proxy.responses.document import Stored
from proxy.responses.following import STEADY, Following

Json = dict[str, Any]


@contextlib.asynccontextmanager
async def shelves(url: str, *names: str, settings: Responses = SETTINGS) -> AsyncIterator[list[Shelf]]:
    """The shelves of replicas on one server. They judge leases at once: Redis was there for long."""
    async with replicas(url, *names, settings=settings) as made:
        found = []
        for one in made:
            one.listen()
            following = Following(one.store, one.runs, one.link, one.clock, bury)
            one.clock.advance(STEADY)
            found.append(Shelf(one.link, one.store, one.runs, following))
        yield found


def items(stored: Stored | None) -> tuple[list[Json], list[Json]]:
    """The input and the output of a stored response."""
    assert stored is not None
    return [json.loads(bytes(raw)) for raw in stored.input], [json.loads(bytes(raw)) for raw in stored.output]


def shown(stored: Stored | None) -> Json:
    """A stored response as its client sees it."""
    assert stored is not None
    told: Json = json.loads(bytes(stored.response))
    return told
