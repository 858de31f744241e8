"""The composition root: the only module that constructs.

`build` makes one replica out of a configuration and what the process brings along (clock, randomness,
environment). Nothing here runs until it is told to, and nothing anywhere else holds a part it was not
handed.
"""

import asyncio
import dataclasses
import random
import secrets
from collections.abc import Callable, Mapping, Sequence

import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from metrics.instruments import Instruments
from metrics.logs import RequestLog
from metrics.record import Record
from proxy import __version__, fleet, link, operations, peers
from proxy.admission import Admission
from proxy.archive import Archive, Shelf
from proxy.attempt import Attempts, Means
from proxy.clock import Clock
from proxy.compaction import Compaction
from proxy.config import config_hash
from proxy.config.settings import Config
from proxy.cors import CorsPolicy
from proxy.counting import Counting
from proxy.demand import Estimator
from proxy.detached import Detached, DetachedParts, bury
from proxy.endpoints import Edge, EdgeParts
from proxy.fleet import Fleet
from proxy.link import Address, Change, Link, parse
from proxy.overload import Guard
from proxy.overview import overview
from proxy.peers import CHANNEL, Peers
from proxy.pipeline import Parts, Pipeline
from proxy.reception import Reception
from proxy.redaction import Redactor, secrets_of
from proxy.relay import PATIENCE, Patience
from proxy.replicas import About, Replicas, load_script
from proxy.responses import keyspace
from proxy.responses.background import BackgroundRuns
from proxy.responses.following import Following
from proxy.responses.scripts import load_scripts as load_response_scripts
from proxy.responses.sealing import Sealer
from proxy.responses.store import LINK as STORE_LINK
from proxy.responses.store import ResponseStore, Rules
from proxy.retrieval import Retrieval
from proxy.retry import RetryBudget
from proxy.sockets import SocketParts, Sockets
from proxy.tasks import Tasks
from proxy.tenants import Tenants
from proxy.upstream import Upstream
from proxy.upstream.aiohttp_client import AiohttpUpstream
from proxy.waiting import WaitingRoom
from ratelimit.absence import Outage
from ratelimit.limiter import Limiter
from ratelimit.memory_store import MemoryStore
from ratelimit.redis_store import RedisStore
from ratelimit.store import Script, load_scripts

REGROUP = 1.0
"""Seconds after the return of Redis in which all replicas have found it again (`link.node`)."""


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

    def __init__(
        self, config: Config, surroundings: Surroundings, upstream: Upstream, address: Address | None = None
    ) -> None:
        clock, draw = surroundings.clock, surroundings.draw
        self.name = f"{draw.getrandbits(48):012x}"
        tenants = Tenants(config.clients, secrets.token_bytes(32), open_to_all=surroundings.open_to_all)
        self.fleet = Fleet(
            fleet.snapshot(config, tenants, int(clock.wall())), clock, draw, self.name, self._live
        )
        self.instruments = Instruments(CollectorRegistry(), __version__)
        self.request_log = RequestLog()
        self.tasks = Tasks()
        self._background = Tasks()
        self._running = Tasks()
        self._link_tasks = Tasks()
        self._generation = 0
        self.upstream = upstream
        self.ready = False
        self.stopping = False
        self._watch = surroundings.watch
        self.guard = Guard(config.overload)
        scripts = load_scripts()
        says = load_script()
        shares = peers.load_scripts()
        known = [says, *shares.values(), *scripts.values()]
        self.link = self._linked(address, surroundings, known) if address else None
        self.shelf = self._shelved(config, address, surroundings)
        self.archive = Archive(self.shelf)
        self.replicas = Replicas(self.link, says, self._about) if self.link is not None else None
        self.peers = Peers(self.link, shares, self.fleet, draw) if self.link is not None else None
        self.waiting = WaitingRoom(self.fleet, config.queue)
        self.limiter, self._store = self._limits(clock, scripts)
        estimator = Estimator()
        reception = Reception(self.fleet, clock, draw)
        pipeline = self._pipeline(config, surroundings, Admission(self.limiter, estimator))
        self.detached = Detached(
            DetachedParts(self.archive, reception, pipeline.handle, self.instruments.began, self._running)
        )
        counting = Counting(self.fleet, upstream, estimator)
        self.client_app = self._edge(config, clock, reception, pipeline, counting)
        self.operations_app: FastAPI = operations.operations_app(
            lambda: self.ready, self.instruments, self._stand
        )

    def _pipeline(self, config: Config, surroundings: Surroundings, admission: Admission) -> Pipeline:
        """What takes a request from its head to its record."""
        redactor = Redactor(secrets_of(config))
        attempts = Attempts(Means(self.fleet, self.upstream, admission, redactor, surroundings.clock))
        return Pipeline(
            Parts(
                fleet=self.fleet,
                waiting=self.waiting,
                admission=admission,
                archive=self.archive,
                background=lambda exchange: self.detached.begin(exchange),  # noqa: PLW0108  (made later)
                guard=self.guard,
                attempts=attempts,
                budget=RetryBudget(config.retry.budget),
                clock=surroundings.clock,
                draw=surroundings.draw,
                tasks=self.tasks,
                observe=self._observe,
                stopping=lambda: self.stopping,
                patience=surroundings.patience,
            )
        )

    def _edge(
        self, config: Config, clock: Clock, reception: Reception, pipeline: Pipeline, counting: Counting
    ) -> Edge:
        """The application of the client port, with all that is answered otherwise than by the pipeline."""
        handle, began = pipeline.handle, self.instruments.began
        asides = {
            "/v1/messages/count_tokens": counting.answer,
            "/v1/responses/input_tokens": counting.answer,
            "/v1/responses/compact": Compaction(reception, handle, began).answer,
        }
        parts = EdgeParts(
            fleet=self.fleet,
            reception=reception,
            pipeline=pipeline,
            sockets=Sockets(SocketParts(reception, handle, began, clock, self.tasks)),
            asides=asides,
            clock=clock,
            began=began,
            observe=self._observe,
            cors=CorsPolicy(config.cors) if config.cors else None,
        )
        return Edge(parts, operations.client_app(lambda: self.ready, Retrieval(self.archive, self.detached)))

    def _observe(self, record: Record) -> None:
        self.instruments.observe(record)
        self.request_log.write(record)
        if self._watch is not None:
            self._watch(record)

    def _linked(self, address: Address, surroundings: Surroundings, scripts: Sequence[link.Script]) -> Link:
        return Link(
            address, clock=surroundings.clock, tasks=self._link_tasks, draw=surroundings.draw, scripts=scripts
        )

    def _shelved(self, config: Config, address: Address | None, surroundings: Surroundings) -> Shelf | None:
        """Where responses are kept, over a link of its own; nowhere in a process without any store."""
        if address is None:
            return None
        own = config.redis.responses_url
        scripts = load_response_scripts()
        connection = Link(
            parse(own) if own else address,
            clock=surroundings.clock,
            tasks=self._link_tasks,
            draw=surroundings.draw,
            scripts=list(scripts.values()),
            settings=STORE_LINK,
        )
        keys = [(key.id, key.raw()) for key in config.responses.keys]
        sealer = Sealer(keys, secrets.token_bytes)
        store = ResponseStore(connection, scripts, sealer, Rules(config.responses, self.name))
        runs = BackgroundRuns(store, connection)
        return Shelf(connection, store, runs, Following(store, runs, connection, surroundings.clock, bury))

    def _limits(self, clock: Clock, scripts: Mapping[str, Script]) -> tuple[Limiter, RedisStore | None]:
        """The limiter: over the cluster where there is a link, else in this process alone."""
        local = MemoryStore(clock)
        if self.link is None:
            return Limiter(MemoryStore(clock), local, clock, lambda: 1, self.name), None
        store = RedisStore(self.link, scripts)
        outage = Outage(min_replicas=self.fleet.snapshot.config.redis.min_replicas, regroup=REGROUP)
        return Limiter(store, local, clock, self._live, self.name, outage), store

    def _live(self) -> int:
        """How many replicas there are."""
        return self.replicas.live if self.replicas is not None else 1

    def _stand(self) -> operations.Stand:
        members = self.replicas.members if self.replicas is not None else ()
        return operations.Stand(
            members or (self._about(),), self.limiter.away, self.name, lambda: overview(self.fleet)
        )

    def _about(self) -> About:
        """What this replica says of itself to the others."""
        snapshot = self.fleet.snapshot
        return About(
            self.name, __version__, config_hash(snapshot.config), snapshot.created, self.guard.in_flight
        )

    def _link_changed(self, change: Change) -> None:
        """The link came or went. A server that may have forgotten is told what it had."""
        log = structlog.get_logger("redis")
        log.warning("redis", state=change.state.value, server=change.server, reason=change.reason.value)
        if self.link is not None and self._store is not None and self.link.generation != self._generation:
            self._generation = self.link.generation
            self._store.doubt()

    async def start(self) -> None:
        """Connect, and start what runs in the background. Redis being away is no reason not to."""
        if self.link is not None and self.replicas is not None:
            await self.link.start()
            self._generation = self.link.generation
            self.link.on_change(self._link_changed)
            self._background.spawn(self.replicas.run(), "replicas")
            await self._share(self.link)
        if self.shelf is not None:
            await self._open(self.shelf)
        self._background.spawn(self.fleet.run(), "fleet")
        self._background.spawn(self.limiter.run(), "limiter")
        self._background.spawn(self.guard.watch(), "guard")

    async def _share(self, link: Link) -> None:
        """Hear what the cluster knows of providers, and tell it what is learned here."""
        assert self.peers is not None
        await self.peers.poll()
        link.subscribe(CHANNEL, self.peers.hear, self.peers.missed)
        self._background.spawn(self.peers.tell(), "peers-tell")
        self._background.spawn(self.peers.listen(), "peers-listen")

    async def _open(self, shelf: Shelf) -> None:
        """Connect to where responses are kept."""
        await shelf.link.start()
        shelf.link.subscribe(keyspace.CHANNEL, shelf.runs.hear, shelf.runs.missed)
        self._background.spawn(shelf.store.run(), "responses")
        self._background.spawn(shelf.runs.run(), "background responses")

    async def drain(self, patience: float, hurry: asyncio.Task[bool]) -> None:
        """Wait until no response runs in the background, as long as that; what still does ends as failed."""
        done = self._background.spawn(self._running.drain(patience), "drain")
        await asyncio.wait({done, hurry}, return_when=asyncio.FIRST_COMPLETED)
        await self._running.close()

    async def close(self) -> None:
        """End what runs in the background; everything in flight has ended before."""
        await self.tasks.close()
        await self._background.close()
        await self.limiter.flush()
        if self.link is not None and self.replicas is not None and self.peers is not None:
            self.fleet.retire()
            await self.peers.flush()
            await self.replicas.leave()
            await self.link.close()
        if self.shelf is not None:
            await self.shelf.store.flush()
            await self.shelf.link.close()
        await self._link_tasks.close()
        await self.upstream.close()
        self.request_log.close()


def build(config: Config, surroundings: Surroundings) -> Replica:
    """A replica for `config`. Call it inside the event loop that will run it.

    Raises `AddressError` for a Redis URL that cannot be used. Where `redis.url` is still `embedded`, nobody
    has started a store, and limits hold in this process alone.
    """
    upstream = AiohttpUpstream(surroundings.environ)
    url = config.redis.url
    return Replica(config, surroundings, upstream, parse(url) if url != "embedded" else None)
