"""READ THIS FIRST: what happens to a request, in order.

    authenticate    whose key is this?                        401
    enter           is there room on this replica?            503
    read            the body, and the little of it we need    400 408 413
    route           the model, and the targets that serve it  404
    recall          what a response follows                   400 503
    reserve         what the client's limits allow            429
    attempt         pick, admit, try; again while it helps    502 503 504
      pick          routing.Plan over the health of this moment; a wait where nobody is free, in fair turns
      say           passages: as it came, or translated; what cannot be said there means the next target
      admit         what the model's and the key's limits allow; a full key means the next target
      try           attempt.Attempts: send, relay, judge
    settle          limits to what was really used
    conclude        the refusal in the caller's dialect, in-band if the stream has begun
    keep            what was decided, so that it can be asked why
    record          one record, rendered once

The pipeline knows no HTTP server: a `Source` gives it the body, a `Sink` takes the answer. A client that
leaves cancels the task that runs it.
"""

import asyncio
import dataclasses
import math
import random
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from metrics import record as records
from metrics.record import Record
from proxy import passages, retry
from proxy.access import authenticate, find_model, unreadable_type
from proxy.admission import Admission
from proxy.answers import (
    answer_headers,
    broken,
    identity_headers,
    refusal_headers,
    status_of,
    stream_headers,
)
from proxy.clock import Clock
from proxy.errors import FaultKind, Refusal
from proxy.exchange import Exchange
from proxy.fleet import Fleet, Turn
from proxy.moment import Came
from proxy.overload import Guard, Room
from proxy.relay import PATIENCE, Outward, Patience, Pulse
from proxy.routing import Plan
from proxy.targets import Target
from proxy.tasks import Tasks
from proxy.verdicts import LEAST_WAIT, Verdicts, unsayable
from proxy.waiting import Place
from proxy.wire import envelope
from proxy.wire.model import Endpoint

PAUSE = 0.1
"""Upper bound, in seconds, of the pause before a last-resort retry on the same target (full jitter)."""

_FORM_TYPES = (b"", b"application/json")


class Waiting(Protocol):
    """Where requests get their turns: see `waiting.WaitingRoom`."""

    def now(self, alias: str, plan: Plan) -> Turn | None:
        """A turn without waiting."""

    async def turn(self, place: Place, plan: Plan, patience: float) -> Turn | None:
        """A turn within `patience` seconds."""


class Remembering(Protocol):
    """What is stored of responses: see `archive.Archive`."""

    async def recall(self, exchange: Exchange) -> None:
        """Put what a response follows in front of it."""

    async def keep(self, exchange: Exchange, kept: bytes | None) -> None:
        """Keep a reply."""


class Trying(Protocol):
    """Who makes attempts: see `attempt.Attempts`."""

    async def make(self, exchange: Exchange, turn: Turn, out: Outward) -> bool:
        """One attempt; whether it was the last."""


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """What the pipeline works with; made by `app`."""

    fleet: Fleet
    waiting: Waiting
    admission: Admission
    archive: Remembering
    background: Callable[[Exchange], Awaitable[None]]
    guard: Guard
    attempts: Trying
    budget: retry.RetryBudget
    clock: Clock
    draw: random.Random
    tasks: Tasks
    observe: Callable[[Record], None]
    keep: Callable[[Exchange], None]
    stopping: Callable[[], bool]
    patience: Patience = PATIENCE
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Pipeline:
    """Takes an exchange from its head to its record."""

    def __init__(self, parts: Parts) -> None:
        self._fleet = parts.fleet
        self._waiting = parts.waiting
        self._admission = parts.admission
        self._archive = parts.archive
        self._background = parts.background
        self._guard = parts.guard
        self._attempts = parts.attempts
        self._budget = parts.budget
        self._clock = parts.clock
        self._draw = parts.draw
        self._tasks = parts.tasks
        self._observe = parts.observe
        self._keep = parts.keep
        self._stopping = parts.stopping
        self._patience = parts.patience
        self._sleep = parts.sleep
        self._verdicts = Verdicts(parts.fleet)

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request. Raises only what is a bug, and `CancelledError` when the client is gone."""
        await self.through(exchange, self._serve)

    async def through(self, exchange: Exchange, serve: Callable[[Exchange], Awaitable[None]]) -> None:
        """Take an exchange as far as its model is known, let `serve` answer it, and record what came of it.

        For those who answer otherwise than by one request to a provider. Raises as `handle` does.
        """
        try:
            authenticate(exchange)
            with self._guard.room(_announced(exchange)) as room:
                await self._read(exchange, room)
                self._route(exchange)
                await serve(exchange)
        except Refusal as refusal:
            await self._conclude(exchange, refusal)
        except asyncio.CancelledError:
            if self._stopping():
                await self._conclude(exchange, shutting_down())
                return
            exchange.record.outcome = records.CLIENT_GONE
            exchange.record.status = 499  # never sent; the log's word for a client that left
            raise
        finally:
            self._admission.settle(exchange)
            self._record(exchange)

    async def _serve(self, exchange: Exchange) -> None:
        if exchange.endpoint is Endpoint.RESPONSES:
            await self._archive.recall(exchange)
        if exchange.held.client is None:  # else it runs in the background on what was reserved for it
            await self._admission.reserve(exchange)
        if exchange.thread is not None and exchange.thread.background and not exchange.detached:
            await self._background(exchange)
            return
        await self._attempt(exchange)

    async def _read(self, exchange: Exchange, room: Room) -> None:
        head = exchange.head
        if head.content_type.partition(b";")[0].strip().lower() not in _FORM_TYPES:
            raise unreadable_type(head)
        if head.content_encoding not in (b"", b"identity"):
            raise Refusal(
                400, "Compressed request bodies are not accepted.", code="unsupported_content_encoding"
            )
        body = await exchange.source.body()
        exchange.record.bytes_in = len(body)
        room.grow_to(len(body))
        depth = exchange.snapshot.config.bounds.json_depth
        seen = envelope.read(body, depth) if len(body) <= envelope.PIECE else await _seen(body, depth)
        if seen.stream and exchange.endpoint is Endpoint.EMBEDDINGS:
            seen = msgspec.structs.replace(seen, stream=False)  # no such thing: the reply will be a whole one
        exchange.envelope = seen
        exchange.record.stream = exchange.envelope.stream

    def _route(self, exchange: Exchange) -> None:
        assert exchange.envelope is not None
        model = find_model(exchange, exchange.envelope.model)
        serving = passages.serving(model, exchange.endpoint)
        if not serving.targets:
            raise Refusal(
                400,
                f"The model '{exchange.envelope.model}' does not serve {exchange.endpoint.value}.",
                param="model",
                code="unsupported_endpoint",
            )
        exchange.model = model
        exchange.record.model = model.alias
        exchange.plan = Plan(serving, self._draw, whole=not exchange.envelope.stream)

    async def _attempt(self, exchange: Exchange) -> None:
        """Try targets until one answers, one after another, within one budget and one deadline."""
        assert exchange.envelope is not None
        assert exchange.model is not None
        assert exchange.plan is not None
        latest = exchange.record.began + exchange.model.timeouts.total
        pulse = self._pulse(exchange) if exchange.envelope.stream else None
        keep = self._archive.keep if exchange.thread is not None else None
        out = Outward(self._clock.monotonic, answer_headers, pulse, self._patience.slow, keep)
        self._budget.deposit()
        try:
            while len(exchange.attempts) < exchange.snapshot.config.retry.attempts:
                turn = self._waiting.now(_queue(exchange), exchange.plan) or await self._later(exchange)
                if turn is None:
                    break
                try:
                    if not self._sayable(exchange, turn.target):
                        continue
                    admitted = await self._admission.admit(exchange, turn.target)
                    if admitted:
                        self._fleet.admitted(turn)
                    late = self._clock.monotonic() >= latest
                    over = late or (admitted and await self._attempts.make(exchange, turn, out))
                finally:
                    self._fleet.end(turn)
                if over:
                    break
                if not admitted:
                    self._put_off(exchange, turn.target)
        finally:
            if pulse is not None:
                pulse.stop()
        if exchange.record.outcome != records.COMPLETED:
            exchange.unserved = True
            raise self._verdicts.of(exchange)

    def _pulse(self, exchange: Exchange) -> Pulse:
        every = self._patience.pulse
        return Pulse(exchange.sink, exchange.voice.ping, lambda: stream_headers(exchange), self._tasks, every)

    async def _later(self, exchange: Exchange) -> Turn | None:
        """No target of the plan is free: the last one once more if that may help, else whoever gets free."""
        assert exchange.plan is not None
        turn = await self._again(exchange) if exchange.faults and not exchange.retried else None
        return turn or await self._wait(exchange, exchange.plan)

    def _sayable(self, exchange: Exchange, target: Target) -> bool:
        """Whether the request can be said to `target`; if so, `exchange.way` leads there."""
        assert exchange.plan is not None
        try:
            exchange.way = passages.way(exchange, target, self._admission.prompt)
        except Refusal as refusal:
            exchange.unsayable[target.id] = refusal.bare()
            exchange.plan.came(Came.UNSAYABLE)
            return False
        return True

    def _put_off(self, exchange: Exchange, target: Target) -> None:
        """The key of `target` has no room: it may be asked again when it has."""
        assert exchange.plan is not None
        wait = exchange.held.full[-1]
        if exchange.held.crowded:
            exchange.plan.came(Came.CROWDED)
            self._fleet.crowded(target)
            exchange.plan.give_back(target)
        elif math.isfinite(wait):
            after = self._fleet.now() + round(max(wait, LEAST_WAIT) * 1000)
            exchange.plan.came(Came.FULL, after)
            exchange.plan.give_back(target, after)
        else:
            exchange.plan.came(Came.FULL)

    async def _again(self, exchange: Exchange) -> Turn | None:
        """A last-resort retry where the last fault may have been a passing one."""
        last, fault = exchange.target, exchange.faults[-1]
        assert last is not None
        if not retry.judge(fault).same or not self._ready(last) or not self._budget.withdraw():
            return None
        exchange.retried = True
        pause = self._draw.uniform(0.0, PAUSE)
        await self._sleep(pause)
        exchange.record.waited += pause
        if not self._ready(last):
            return None
        assert exchange.plan is not None
        exchange.plan.once_more(last)
        return self._fleet.take(last)

    def _ready(self, target: Target) -> bool:
        """Whether nothing stands against `target`."""
        standing = self._fleet.standing(target)
        return standing.until <= self._fleet.now() and not standing.trial and not self._fleet.full(target)

    async def _wait(self, exchange: Exchange, plan: Plan) -> Turn | None:
        """A turn that comes within the time that requests may wait, and that this one has left."""
        assert exchange.model is not None
        assert exchange.tenant is not None
        began, record = self._clock.monotonic(), exchange.record
        left = record.began + exchange.model.timeouts.total - began
        patience = min(exchange.snapshot.config.queue.max_wait - record.queued, left)
        place = Place(
            _queue(exchange),
            exchange.tenant.name,
            lambda: self._admission.expected(exchange),
            back=exchange.held.crowded,
        )
        try:
            return await self._waiting.turn(place, plan, patience)
        finally:
            waited = self._clock.monotonic() - began
            record.queued += waited
            record.waited += waited

    async def _conclude(self, exchange: Exchange, refusal: Refusal) -> None:
        """Tell the caller, in its dialect: as an answer, or in-band if the status has gone out."""
        record = exchange.record
        record.status = status_of(exchange, refusal)
        record.error = refusal.code or refusal.kind
        nobody = exchange.unserved and not exchange.faults and not unsayable(exchange)
        mine = nobody or refusal.status >= 500 or any(retry.judge(f).move_on for f in exchange.faults[-1:])
        record.outcome = records.BROKEN if exchange.committed else records.FAILED if mine else records.REFUSED
        if exchange.faults and exchange.faults[-1].kind is FaultKind.SLOW_CLIENT:
            self._given_up(record)
            return
        try:
            async with asyncio.timeout(self._patience.slow):
                await self._tell(exchange, refusal)
        except TimeoutError:
            self._given_up(record)

    async def _tell(self, exchange: Exchange, refusal: Refusal) -> None:
        if exchange.sink.started:
            last = broken(exchange, refusal)
            if exchange.committed and exchange.reply is not None:
                await self._archive.keep(exchange, exchange.reply.kept)
            await exchange.sink.end(last)
        else:
            headers = [*refusal_headers(refusal), *identity_headers(exchange)]
            body = exchange.voice.refusal(refusal, exchange.request_id)
            await exchange.sink.answer(status_of(exchange, refusal), headers, body)

    @staticmethod
    def _given_up(record: Record) -> None:
        """The client reads nothing any more: nothing is said, and the server drops the connection."""
        record.outcome = records.CLIENT_GONE
        record.status = 499
        record.error = FaultKind.SLOW_CLIENT.value

    def _record(self, exchange: Exchange) -> None:
        record = exchange.record
        record.client = exchange.tenant.name if exchange.tenant else ""
        record.duration = self._clock.monotonic() - record.began
        self._keep(exchange)
        self._observe(record)


def shutting_down() -> Refusal:
    """What requests are told that the end of the drain time has cut off."""
    return Refusal(
        503,
        "The proxy is shutting down; try again.",
        kind="server_error",
        code="shutting_down",
        retry_after=1.0,
    )


def _queue(exchange: Exchange) -> str:
    """Who waits together: the requests for one model, or for one that is addressed directly."""
    assert exchange.model is not None
    return exchange.model.alias or exchange.model.targets[0].label


async def _seen(body: bytes, depth: int) -> envelope.Envelope:
    """The envelope of a long body. Others have their turn while it is read."""
    for seen in envelope.reading(body, depth):  # noqa: B007  (the last is the answer)
        await asyncio.sleep(0)
    assert seen is not None
    return seen


def _announced(exchange: Exchange) -> int:
    """Bytes of body to make room for: one beyond the bound is refused for good, and not for now."""
    length = exchange.head.length or 0
    return 0 if length > exchange.snapshot.config.bounds.body else length
