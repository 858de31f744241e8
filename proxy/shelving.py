"""Where responses are kept, put together out of a configuration: the store, its rules, its keys.

Of a private server stored responses take at most half, the oldest going first, so that limits and health
always have room; a server of the operator's own is the operator's to size, and is looked at for evicting.
"""

import secrets
from collections.abc import Mapping

from proxy.archive import Shelf
from proxy.clock import Clock
from proxy.config.settings import Config
from proxy.detached import bury
from proxy.link import Link, Script
from proxy.responses import eviction
from proxy.responses.background import BackgroundRuns
from proxy.responses.following import Following
from proxy.responses.sealing import Sealer
from proxy.responses.store import ResponseStore, Rules

SHARE = 2
"""The part of a private server's memory that stored responses may take: one of so many."""


def rules(config: Config, replica: str, *, private: bool) -> Rules:
    """What the store goes by; `private`: it is in the server that was started for this proxy alone."""
    shared = private and config.redis.responses_url is None
    return Rules(config.responses, replica, config.redis.embedded_memory // SHARE if shared else 0)


def sealer(config: Config) -> Sealer:
    """What compresses, and encrypts with the configured keys."""
    return Sealer([(key.id, key.raw()) for key in config.responses.keys], secrets.token_bytes)


def shelf(link: Link, scripts: Mapping[str, Script], config: Config, rules: Rules, clock: Clock) -> Shelf:
    """Where responses are kept, over `link`."""
    store = ResponseStore(link, scripts, sealer(config), rules)
    runs = BackgroundRuns(store, link)
    return Shelf(link, store, runs, Following(store, runs, link, clock, bury))


async def look(shared: Link, kept: Shelf, config: Config) -> None:
    """Warn of servers that evict what must not go. One that is away says nothing."""
    await eviction.look(shared, "redis.url")
    if config.redis.responses_url is not None:
        await eviction.look(kept.link, "redis.responses_url")
