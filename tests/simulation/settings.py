"""The configuration of the cluster: bounds so short that a minute holds many ejections and returns.

Four targets of three providers, one of which has two keys, shared by three models with different strategies.
Each target stands in the first priority of some model, for only what is wanted is probed.
"""

import functools
from typing import Any

from proxy import fleet
from proxy.config.settings import Config
from proxy.fleet import Snapshot
from proxy.tenants import Tenants

REPLICAS = 5
TENANTS = {"steady": "sk-steady-0123456789", "bursty": "sk-bursty-0123456789", "hasty": "sk-hasty-0123456789"}
KEYS = {"amber": ("amber-key-one", "amber-key-two"), "birch": ("birch-key",), "cedar": ("cedar-key",)}
TARGETS = sum(map(len, KEYS.values()))
MODELS = ("even", "first", "third")
STRATEGIES = ("least_busy", "least_latency")
"""Of the third model, by lot."""

HEALTH: dict[str, float] = {
    "failures": 3,
    "failure_rate": 0.5,
    "failure_rate_requests": 8,
    "window": 3.0,
    "ejection": 1.0,
    "ejection_cap": 3.0,
    "forgive": 4.0,
    "probe_lease": 2.0,
    "slow_start": 2.0,
    "back_off": 0.5,
    "back_off_cap": 2.0,
    "hint_cap": 3.0,
    "quarantine": 3.0,
}
TIMEOUTS = {"connect": 0.5, "first_token": 0.8, "total": 3.0, "idle": 0.8, "max_stream": 6.0}
MAX_WAIT = 1.0

STEP = 3.0
"""The largest step of the server's clock, in seconds: so much later the end of a window may be."""

RECONNECT = 4.0
"""Until every link, subscription and poll has found the store again, the slowest way."""

SKEWED = 12.0
"""So long after a step of the server's clock all replicas go by it: sixteen answers, and what was in hand."""

CALM = TIMEOUTS["total"] + HEALTH["probe_lease"]
"""So long after the store was last away for anybody, what was decided without it is over."""

SETTLING = (
    RECONNECT
    + STEP
    + max(HEALTH["ejection_cap"] * 1.1, HEALTH["quarantine"], HEALTH["hint_cap"])
    + HEALTH["probe_lease"]
    + HEALTH["slow_start"]
)
"""Seconds after the last fault in which everything gets well: the longest anybody is kept out, as late as
the clocks may differ, a lease that nobody uses, and a slow start."""


@functools.lru_cache(maxsize=len(STRATEGIES))
def snapshot(strategy: str) -> Snapshot:
    """The first snapshot of every replica; it cannot be changed, so all may share it."""
    config = Config.model_validate(_tree(strategy))
    return fleet.snapshot(config, Tenants(config.clients, b"pepper"), 1_800_000_000)


def _tree(strategy: str) -> dict[str, Any]:
    entry = {name: {"provider": name, "model": f"{name}-model"} for name in KEYS}
    return {
        "clients": [{"name": name, "keys": [key], "models": ["*"]} for name, key in TENANTS.items()],
        "providers": {
            name: {"base_url": f"http://{name}.test/v1", "api_keys": list(keys)}
            for name, keys in KEYS.items()
        },
        "models": {
            "even": {"strategy": "weighted", "providers": [{**entry["amber"], "weight": 2}, entry["birch"]]},
            "first": {
                "strategy": "ordered",
                "providers": [entry["birch"], entry["cedar"], {**entry["amber"], "priority": 2}],
            },
            "third": {"strategy": strategy, "providers": [entry["cedar"], entry["amber"]]},
        },
        "health": HEALTH,
        "timeouts": TIMEOUTS,
        "queue": {"max_wait": MAX_WAIT, "max_length": 12},
    }
