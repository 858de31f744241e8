"""Who makes requests: tenants with different loads, on all replicas, until they are told to stop."""

import asyncio
import random
from collections.abc import Callable, Mapping

from fakes import chats

from simulation.replica import Replica
from simulation.settings import MODELS, REPLICAS, TENANTS

STEADY = 0.7
"""Requests a second of the steady tenant on each replica."""

HASTY = 0.4
"""The same of one whose clients often leave before they are answered."""

BURST = 6.0
"""Seconds between two bursts of the tenant that sends many at once."""

BODIES = [chats.request(model, stream=stream) for model in MODELS for stream in (True, True, False)]


class Clients:
    """All clients. `firm` tells whether a request that comes now has to succeed."""

    def __init__(
        self, draw: random.Random, replicas: Mapping[int, Replica], firm: Callable[[], bool]
    ) -> None:
        self._draw = draw
        self._replicas = replicas
        self._firm = firm
        self.made = 0

    async def run(self) -> None:
        """Make requests until cancelled: one clock for all loads."""
        rates = {"steady": STEADY * REPLICAS, "hasty": HASTY * REPLICAS, "bursty": 1 / BURST}
        total = sum(rates.values())
        while True:
            await asyncio.sleep(self._draw.expovariate(total))
            tenant = self._draw.choices(list(rates), list(rates.values()))[0]
            replica = self._draw.randrange(REPLICAS)
            for _ in range(self._draw.randint(4, 12) if tenant == "bursty" else 1):
                self._make(tenant, replica)

    def _make(self, tenant: str, number: int) -> None:
        leaves = self._draw.uniform(0.01, 0.9) if tenant == "hasty" and self._draw.random() < 0.6 else None
        body = self._draw.choice(BODIES)
        replica = self._replicas.get(number)
        if replica is not None:  # else nobody listens there
            self.made += 1
            replica.ask(TENANTS[tenant], body, leaves, firm=self._firm())
