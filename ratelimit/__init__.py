"""How much is allowed: limits that hold over a whole cluster, with Redis and without it.

This room knows no LLM and no HTTP; the Redis link is handed to it. Read in this order: `quota` (the nouns),
`gauge` (their numbers), `bucket` (the arithmetic, twin of lua/*.lua), `scope` (where a limit lives), `store`
(what keeps it), `limiter` (the front).
"""

from ratelimit.absence import Outage
from ratelimit.limiter import Limiter
from ratelimit.memory_store import MemoryStore
from ratelimit.quota import NOTHING, Decision, Demand, Dimension, OnOutage, Quota, Room, Window
from ratelimit.redis_store import RedisStore
from ratelimit.scope import Kind, Limit, Limits, Refusal, Reservation, Scope
from ratelimit.store import LEASE_S, Clock, Link, Script, Store, StoreError, Unavailable, load_scripts

__all__ = [
    "LEASE_S",
    "NOTHING",
    "Clock",
    "Decision",
    "Demand",
    "Dimension",
    "Kind",
    "Limit",
    "Limiter",
    "Limits",
    "Link",
    "MemoryStore",
    "OnOutage",
    "Outage",
    "Quota",
    "RedisStore",
    "Refusal",
    "Reservation",
    "Room",
    "Scope",
    "Script",
    "Store",
    "StoreError",
    "Unavailable",
    "Window",
    "load_scripts",
]
