"""What holds the limits, put together: over the cluster where there is a link to it, else here alone."""

from collections.abc import Callable, Mapping

from proxy.clock import Clock
from proxy.config.settings import Config
from proxy.link import Link
from ratelimit.absence import Outage
from ratelimit.limiter import Limiter
from ratelimit.memory_store import MemoryStore
from ratelimit.redis_store import RedisStore
from ratelimit.store import Script

REGROUP = 1.0
"""Seconds after the return of Redis in which all replicas have found it again (`link.node`)."""


def limiter(
    link: Link | None,
    scripts: Mapping[str, Script],
    config: Config,
    clock: Clock,
    live: Callable[[], int],
    name: str,
) -> tuple[Limiter, RedisStore | None]:
    """The limiter, and the store that it shares. `live` says how many replicas there are."""
    if link is None:
        return Limiter(MemoryStore(clock), MemoryStore(clock), clock, lambda: 1, name), None
    store = RedisStore(link, scripts)
    outage = Outage(min_replicas=config.redis.min_replicas, regroup=REGROUP)
    return Limiter(store, MemoryStore(clock), clock, live, name, outage), store
