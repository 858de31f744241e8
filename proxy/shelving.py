"""Where responses are kept, put together out of a configuration: the store, its rules, its keys.

Of a private server stored responses take at most half, the oldest going first, so that limits and health
always have room; a server of the operator's own is the operator's to size, and is looked at for evicting.
"""

import dataclasses
import random
import secrets

from proxy.archive import Shelf
from proxy.clock import Clock
from proxy.config.settings import Config
from proxy.detached import bury
from proxy.link import Address, Link, parse
from proxy.responses import eviction
from proxy.responses.background import BackgroundRuns
from proxy.responses.following import Following
from proxy.responses.scripts import load_scripts
from proxy.responses.sealing import Sealer
from proxy.responses.store import LINK, ResponseStore, Rules
from proxy.tasks import Tasks

SHARE = 2
"""The part of a private server's memory that stored responses may take: one of so many."""


def rules(config: Config, replica: str, *, private: bool) -> Rules:
    """What the store goes by; `private`: it is in the server that was started for this proxy alone."""
    shared = private and config.redis.responses_url is None
    return Rules(config.responses, replica, config.redis.embedded_memory // SHARE if shared else 0)


def sealer(config: Config) -> Sealer:
    """What compresses, and encrypts with the configured keys."""
    return Sealer([(key.id, key.raw()) for key in config.responses.keys], secrets.token_bytes)


@dataclasses.dataclass(frozen=True, slots=True)
class Wiring:
    """What a link of one's own is made with: the tasks that run it, its time and its randomness."""

    clock: Clock
    tasks: Tasks
    draw: random.Random


def shelf(config: Config, shared: Address, rules: Rules, wiring: Wiring) -> Shelf:
    """Where responses are kept, over a link of its own: to their own server, else to the `shared` one.

    Raises `AddressError` for a URL that cannot be used.
    """
    own, scripts, clock = config.redis.responses_url, load_scripts(), wiring.clock
    link = Link(
        parse(own) if own else shared,
        clock=clock,
        tasks=wiring.tasks,
        draw=wiring.draw,
        scripts=list(scripts.values()),
        settings=LINK,
    )
    store = ResponseStore(link, scripts, sealer(config), rules)
    runs = BackgroundRuns(store, link)
    return Shelf(link, store, runs, Following(store, runs, link, clock, bury))


async def look(shared: Link, kept: Shelf, config: Config) -> None:
    """Warn of servers that evict what must not go. One that is away says nothing."""
    await eviction.look(shared, "redis.url")
    if config.redis.responses_url is not None:
        await eviction.look(kept.link, "redis.responses_url")
