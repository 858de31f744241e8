"""The composition root: the only module that constructs.

`build` makes one replica out of a configuration and what the process brings along (clock, randomness,
environment). Nothing here runs until it is told to, and nothing anywhere else holds a part it was not
handed.
"""

import dataclasses
import random
import secrets
from collections.abc import Callable, Mapping

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from metrics.instruments import Instruments
from metrics.logs import RequestLog
from metrics.record import Record
from proxy import __version__, fleet, operations
from proxy.clock import Clock
from proxy.config.settings import Config
from proxy.cors import CorsPolicy
from proxy.endpoints import Edge, EdgeParts
from proxy.fleet import Fleet
from proxy.pipeline import Parts, Pipeline
from proxy.redaction import Redactor, secrets_of
from proxy.relay import PATIENCE, Patience
from proxy.retry import RetryBudget
from proxy.tasks import Tasks
from proxy.tenants import Tenants
from proxy.upstream import Upstream
from proxy.upstream.aiohttp_client import AiohttpUpstream


@dataclasses.dataclass(frozen=True, slots=True)
class Surroundings:
    """What a replica takes from its process. `watch` sees each record when its request is over."""

    clock: Clock
    draw: random.Random
    environ: Mapping[str, str]
    open_to_all: bool = False
    watch: Callable[[Record], None] | None = None
    patience: Patience = PATIENCE


class Replica:
    """One running copy of the proxy: two ASGI applications and what they share."""

    def __init__(self, config: Config, surroundings: Surroundings, upstream: Upstream) -> None:
        clock, draw = surroundings.clock, surroundings.draw
        tenants = Tenants(config.clients, secrets.token_bytes(32), open_to_all=surroundings.open_to_all)
        self.fleet = Fleet(fleet.snapshot(config, tenants, int(clock.wall())), clock, draw)
        self.instruments = Instruments(CollectorRegistry(), __version__)
        self.request_log = RequestLog()
        self.tasks = Tasks()
        self.upstream = upstream
        self.ready = False
        self._watch = surroundings.watch
        redactor = Redactor(secrets_of(config))
        pipeline = Pipeline(
            Parts(
                fleet=self.fleet,
                upstream=upstream,
                redactor=redactor,
                budget=RetryBudget(config.retry.budget),
                clock=clock,
                draw=draw,
                tasks=self.tasks,
                observe=self._observe,
                patience=surroundings.patience,
            )
        )
        cors = CorsPolicy(config.cors) if config.cors else None
        self.client_app = Edge(
            EdgeParts(self.fleet, pipeline, clock, draw, self.instruments.began, self._observe, cors),
            operations.client_app(lambda: self.ready),
        )
        self.operations_app: FastAPI = operations.operations_app(lambda: self.ready, self.instruments)

    def _observe(self, record: Record) -> None:
        self.instruments.observe(record)
        self.request_log.write(record)
        if self._watch is not None:
            self._watch(record)

    async def close(self) -> None:
        """End what runs in the background; everything in flight has ended before."""
        await self.tasks.close()
        await self.upstream.close()
        self.request_log.close()


def build(config: Config, surroundings: Surroundings) -> Replica:
    """A replica for `config`. Call it inside the event loop that will run it."""
    return Replica(config, surroundings, AiohttpUpstream(surroundings.environ))
