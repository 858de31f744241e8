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

from prometheus_client import CollectorRegistry

from metrics.instruments import Instruments
from metrics.logs import RequestLog
from metrics.record import Record
from proxy import __version__, cors, exporting, fleet, limiting, link, operations, peers, shelving
from proxy.admission import Admission
from proxy.allowances import Allowances
from proxy.archive import Archive, Shelf
from proxy.attempt import Attempts, Means
from proxy.clock import Clock
from proxy.compaction import Compaction
from proxy.config.settings import Config
from proxy.console import Backstage, console
from proxy.counting import Counting
from proxy.demand import Estimator
from proxy.detached import Detached, DetachedParts
from proxy.endpoints import Edge, EdgeParts
from proxy.fleet import Fleet, Snapshot
from proxy.ledger import Ledger
from proxy.link import Address, Change, Link, journal, parse
from proxy.overload import Guard
from proxy.peers import CHANNEL, Peers
from proxy.pipeline import Parts, Pipeline
from proxy.prices import PriceList
from proxy.pricing import Pricing
from proxy.reception import Reception
from proxy.redaction import Redactor, secrets_of
from proxy.rehearsal import Stock
from proxy.relay import PATIENCE, Patience
from proxy.reloading import Reloading, ReloadParts, Reread
from proxy.replicas import About, Replicas, load_script
from proxy.responses import keyspace
from proxy.responses.census import Census
from proxy.retrieval import Retrieval
from proxy.retry import RetryBudget
from proxy.sockets import SocketParts, Sockets
from proxy.tasks import Tasks
from proxy.tenants import Tenants
from proxy.upstream import Upstream
from proxy.upstream.transport import PooledUpstream
from proxy.vitals import Organs
from proxy.waiting import WaitingRoom
from ratelimit.store import load_scripts


@dataclasses.dataclass(frozen=True, slots=True)
class Surroundings:
    """What a replica takes from its process. `watch` sees each record when its request is over.

    `open_to_all`: where no client is configured, everybody is answered. `reread` is how a reload reads.
    `store_url` is where the embedded store is, if one was started.
    """

    clock: Clock
    draw: random.Random
    environ: Mapping[str, str]
    open_to_all: bool = False
    watch: Callable[[Record], None] | None = None
    patience: Patience = PATIENCE
    reread: Reread | None = None
    store_url: str | None = None


class Replica:
    """One running copy of the proxy: two ASGI applications and what they share."""

    def __init__(
        self, config: Config, surroundings: Surroundings, upstream: Upstream, address: Address | None = None
    ) -> None:
        clock, draw = surroundings.clock, surroundings.draw
        self.name = f"{draw.getrandbits(48):012x}"
        self._surroundings = surroundings
        self._private = surroundings.store_url is not None
        self._created = int(clock.wall())
        self.fleet = Fleet(self._prepared(config), clock, draw, self.name, self._live)
        self.instruments = Instruments(CollectorRegistry(), __version__)
        self.request_log = RequestLog()
        self.prices = PriceList()
        self._pricing = Pricing(self.prices, surroundings.environ)
        self.tasks = Tasks()
        self._background = Tasks()
        self._running = Tasks()
        self._link_tasks = Tasks()
        self._generation = 0
        self.upstream = upstream
        self.ready = False
        self.stopping = False
        self._lots = random.Random(draw.getrandbits(64))  # noqa: S311  (of routing alone, so that a copy foretells it)
        self.ledger = Ledger(self.name, clock, draw)
        self.traces = exporting.traces(config.traces, self.name, __version__, clock)
        self._tracer = exporting.tracer(config.traces, draw)
        told = (self.traces.observe if self.traces is not None else None, surroundings.watch)
        self._watching = [watch for watch in told if watch is not None]
        self.guard = Guard(config.overload)
        self._budget = RetryBudget(config.retry.budget)
        self._redactor = Redactor(secrets_of(config))
        self._on_renewal: list[Callable[[Config], None]] = []
        self._over_redis(config, address)
        self.waiting = WaitingRoom(self.fleet, config.queue)
        estimator = Estimator()
        self.ledger = Ledger(self.name, clock, draw, redact=self._redactor.text)
        reception = Reception(self.fleet, clock, draw, self._redactor, self.ledger.number, self._tracer)
        admission = Admission(self.limiter, estimator, clock)
        pipeline = self._pipeline(surroundings, admission)
        self.detached = Detached(
            DetachedParts(
                archive=self.archive,
                reception=reception,
                handle=pipeline.handle,
                began=self.instruments.began,
                running=self._running,
                readers=self.tasks,
                patience=surroundings.patience,
            )
        )
        counting = Counting(self.fleet, upstream, estimator, self.archive, clock)
        self.client_app = self._edge(config, clock, reception, pipeline, counting)
        self.reloading = Reloading(
            ReloadParts(surroundings.reread, lambda: self.fleet.snapshot, self._prepared, self._renew)
        )
        self.console = console(self._backstage(clock, admission, estimator), config)
        self.operations_app = self.console.app
        self.reloading.attach(self.operations_app)

    def _over_redis(self, config: Config, address: Address | None) -> None:
        """What is shared with other replicas, and what stands for it in a process that is alone."""
        surroundings = self._surroundings
        clock, draw = surroundings.clock, surroundings.draw
        scripts = load_scripts()
        says = load_script()
        shares = peers.load_scripts()
        known = [says, *shares.values(), *scripts.values()]
        self.link = self._linked(address, surroundings, known) if address else None
        self.shelf = self._shelved(config, address, surroundings)
        self.archive = Archive(self.shelf)
        self.replicas = Replicas(self.link, says, self._about, draw) if self.link is not None else None
        self.peers = Peers(self.link, shares, self.fleet, draw) if self.link is not None else None
        said = (scripts, config, clock, self._live, self.name)
        self.limiter, self._store = limiting.limiter(self.link, *said)

    def _prepared(self, config: Config) -> Snapshot:
        """The snapshot of a configuration, with nothing known of anybody."""
        open_to_all = self._surroundings.open_to_all and not config.clients
        tenants = Tenants(config.clients, secrets.token_bytes(32), open_to_all=open_to_all)
        return fleet.snapshot(config, tenants, self._created)

    def _renew(self, fresh: Snapshot) -> None:
        """Take another configuration: those that keep a part of it are told, then the snapshot is swapped."""
        config = fresh.config
        self._redactor.renew(secrets_of(config), self._surroundings.clock.monotonic())
        self._budget.ratio = config.retry.budget
        self.guard.bounds = config.overload
        self.waiting.settings = config.queue
        self.client_app.cors = cors.policy(config.cors)
        self.limiter.forget()
        if self.shelf is not None:
            rules = shelving.rules(config, self.name, private=self._private)
            self.shelf.store.renew(shelving.sealer(config), rules)
        for told in self._on_renewal:
            told(config)
        self.fleet.renew(fresh)
        self._background.spawn(self._pricing.learn(self.fleet.snapshot), "prices")
        if self.replicas is not None:
            self._background.spawn(self.replicas.beat(), "replicas")

    def on_renewal(self, told: Callable[[Config], None]) -> None:
        """Call `told` with each configuration that takes the place of another."""
        self._on_renewal.append(told)

    def _pipeline(self, surroundings: Surroundings, admission: Admission) -> Pipeline:
        """What takes a request from its head to its record."""
        clock, redactor = surroundings.clock, self._redactor
        attempts = Attempts(
            Means(self.fleet, self.upstream, admission, redactor, clock, self.prices, self._tracer)
        )
        return Pipeline(
            Parts(
                fleet=self.fleet,
                waiting=self.waiting,
                admission=admission,
                archive=self.archive,
                background=lambda exchange: self.detached.begin(exchange),  # noqa: PLW0108  (made later)
                guard=self.guard,
                attempts=attempts,
                budget=self._budget,
                clock=surroundings.clock,
                draw=self._lots,
                tasks=self.tasks,
                observe=self._observe,
                keep=self.ledger.keep,
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
            sockets=Sockets(
                SocketParts(reception, pipeline, self.archive, began, self._observe, clock, self.tasks)
            ),
            asides=asides,
            clock=clock,
            began=began,
            observe=self._observe,
            cors=cors.policy(config.cors),
            stopping=lambda: self.stopping,
        )
        return Edge(parts, operations.client_app(lambda: self.ready, Retrieval(self.archive, self.detached)))

    def _observe(self, record: Record) -> None:
        self.instruments.observe(record)
        self.request_log.write(record)
        for watch in self._watching:
            watch(record)

    def _linked(self, address: Address, surroundings: Surroundings, scripts: Sequence[link.Script]) -> Link:
        return Link(
            address, clock=surroundings.clock, tasks=self._link_tasks, draw=surroundings.draw, scripts=scripts
        )

    def _shelved(self, config: Config, address: Address | None, surroundings: Surroundings) -> Shelf | None:
        """Where responses are kept, over a link of its own; nowhere in a process without any store."""
        if address is None:
            return None
        rules = shelving.rules(config, self.name, private=self._private)
        wiring = shelving.Wiring(surroundings.clock, self._link_tasks, surroundings.draw)
        return shelving.shelf(config, address, rules, wiring)

    def _live(self) -> int:
        """How many replicas there are."""
        return self.replicas.live if self.replicas is not None else 1

    async def _members(self) -> Sequence[About]:
        """Who lives."""
        return await self.replicas.ask() if self.replicas is not None else (self._about(),)

    def _backstage(self, clock: Clock, admission: Admission, estimator: Estimator) -> Backstage:
        """What of it operators get to see."""
        return Backstage(
            organs=self._organs(clock, admission.allowances),
            stock=Stock(
                fleet=self.fleet,
                limiter=self.limiter,
                estimator=estimator,
                archive=self.archive,
                budget=self._budget,
                redactor=self._redactor,
                clock=clock,
                lots=self._lots,
            ),
            ledger=self.ledger,
            instruments=self.instruments,
            traces=self.traces,
            members=self._members,
            link=self.link,
            tasks=self.tasks,
            watching=self._watching,
        )

    def _organs(self, clock: Clock, allowances: Allowances) -> Organs:
        """What is read off at each scrape."""
        links = {"shared": self.link, "responses": self.shelf.link if self.shelf is not None else None}
        present = {name: reached for name, reached in links.items() if reached is not None}
        for name, reached in present.items():
            reached.counters.on_latency = self.instruments.redis(name).observe
        shelf, budget = self.shelf, self.shelf is not None and self.shelf.store.rules.budget > 0
        return Organs(
            clock=clock,
            fleet=self.fleet,
            waiting=self.waiting,
            limiter=self.limiter,
            allowances=allowances,
            guard=self.guard,
            prices=self.prices,
            live=self._live,
            ready=lambda: self.ready,
            dropped=lambda: self.request_log.dropped,
            reloads=self.reloading.outcomes,
            links=present,
            store=shelf.store if shelf is not None else None,
            census=Census(shelf.link, clock.monotonic, budget=budget) if shelf is not None else None,
        )

    def _about(self) -> About:
        """What this replica says of itself to the others."""
        snapshot = self.fleet.snapshot
        in_flight = self.guard.in_flight
        return About(self.name, __version__, snapshot.config_hash, snapshot.created, in_flight)

    def _link_changed(self, change: Change) -> None:
        """The link came or went. A server that may have forgotten is told what it had."""
        journal.tell(change)
        if self.link is not None and self._store is not None and self.link.generation != self._generation:
            self._generation = self.link.generation
            self._store.doubt()

    async def start(self) -> None:
        """Connect, and start what runs in the background. Redis being away is no reason not to."""
        if self.link is not None and self.replicas is not None:
            self.link.on_change(self._link_changed)
            await self.link.start()
            self._generation = self.link.generation
            self._background.spawn(self.replicas.run(), "replicas")
            await self._share(self.link)
        if self.shelf is not None and self.link is not None:
            await self._open(self.shelf)
            config = self.fleet.snapshot.config
            self._background.spawn(shelving.look(self.link, self.shelf, config), "eviction")
        if self.traces is not None:
            self.traces.start()
        self._background.spawn(self.fleet.run(), "fleet")
        self._background.spawn(self.limiter.run(), "limiter")
        self._background.spawn(self.guard.watch(), "guard")
        self._background.spawn(self._pricing.learn(self.fleet.snapshot), "prices")

    async def _share(self, link: Link) -> None:
        """Hear what the cluster knows of providers, and tell it what is learned here."""
        assert self.peers is not None
        await self.peers.poll()
        link.subscribe(CHANNEL, self.peers.hear, self.peers.missed)
        self.console.start()
        self._background.spawn(self.peers.tell(), "peers-tell")
        self._background.spawn(self.peers.listen(), "peers-listen")

    async def _open(self, shelf: Shelf) -> None:
        """Connect to where responses are kept."""
        if self.fleet.snapshot.config.redis.responses_url:  # else the other link says so already
            shelf.link.on_change(journal.tell)
        await shelf.link.start()
        shelf.link.subscribe(keyspace.CHANNEL, shelf.runs.hear, shelf.runs.missed)
        self._background.spawn(shelf.store.run(), "responses")
        self._background.spawn(shelf.runs.run(), "background responses")

    async def drain(self, patience: float, hurry: asyncio.Task[bool]) -> bool:
        """Wait until no response runs in the background, as long as that; what still does ends as failed.

        From then on whoever is cancelled is told that the proxy stops. Returns whether any did.
        """
        done = self._background.spawn(self._running.drain(patience), "drain")
        await asyncio.wait({done, hurry}, return_when=asyncio.FIRST_COMPLETED)
        self.stopping = True
        running = len(self._running) > 0
        await self._running.close()
        return running

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
        if self.traces is not None:
            await asyncio.to_thread(self.traces.close)
        self.request_log.close()


def build(config: Config, surroundings: Surroundings) -> Replica:
    """A replica for `config`. Call it inside the event loop that will run it.

    Raises `AddressError` for a Redis URL that cannot be used. Where it is `embedded` and nobody has started a
    store, limits hold in this process alone.
    """
    upstream = PooledUpstream(surroundings.environ)
    url = surroundings.store_url or config.redis.url
    return Replica(config, surroundings, upstream, parse(url) if url != "embedded" else None)
