"""READ THIS FIRST: what happens to a request, in order.

    authenticate    whose key is this?                        401
    enter           is there room on this replica?            503
    read            the body, and the little of it we need    400 408 413
    route           the model, and the targets that serve it  404
    reserve         what the client's limits allow            429
    attempt         pick, admit, try; again while it helps    502 503 504
      pick          routing.Plan over the health of this moment
      admit         what the model's and the key's limits allow; a full key means the next target
      try           attempt.Attempts: send, relay, judge
    settle          limits to what was really used
    conclude        the refusal in the caller's dialect, in-band if the stream has begun
    record          one record, rendered once

The pipeline knows no HTTP server: a `Source` gives it the body, a `Sink` takes the answer. A client that
leaves cancels the task that runs it.
"""

import asyncio
import dataclasses
import random
import re
from collections.abc import Callable

from metrics import record as records
from metrics.record import Record
from proxy import retry, targets
from proxy.admission import Admission, full
from proxy.answers import answer_headers, identity_headers, refusal_headers, stream_headers
from proxy.attempt import Attempts
from proxy.clock import Clock
from proxy.errors import FaultKind, Refusal
from proxy.exchange import Exchange
from proxy.fleet import Fleet
from proxy.overload import Guard, Room
from proxy.relay import PATIENCE, Outward, Patience, Pulse
from proxy.routing import Plan, earliest
from proxy.targets import Model, Target
from proxy.tasks import Tasks
from proxy.wire import envelope
from proxy.wire.model import Endpoint

PAUSE = 0.1
"""Upper bound, in seconds, of the pause before a last-resort retry on the same target (full jitter)."""

_FORM_TYPES = (b"", b"application/json")
_MODEL_NAME = re.compile(r"(?!\.{1,2}$)[\x21-\x7e]{1,256}")
"""What a client may name directly: it ends up in a URL and in a response header."""


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """What the pipeline works with; made by `app`."""

    fleet: Fleet
    admission: Admission
    guard: Guard
    attempts: Attempts
    budget: retry.RetryBudget
    clock: Clock
    draw: random.Random
    tasks: Tasks
    observe: Callable[[Record], None]
    stopping: Callable[[], bool]
    patience: Patience = PATIENCE


class Pipeline:
    """Takes an exchange from its head to its record."""

    def __init__(self, parts: Parts) -> None:
        self._fleet = parts.fleet
        self._admission = parts.admission
        self._guard = parts.guard
        self._attempts = parts.attempts
        self._budget = parts.budget
        self._clock = parts.clock
        self._draw = parts.draw
        self._tasks = parts.tasks
        self._observe = parts.observe
        self._stopping = parts.stopping
        self._patience = parts.patience

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request. Raises only what is a bug, and `CancelledError` when the client is gone."""
        try:
            authenticate(exchange)
            with self._guard.room(_announced(exchange)) as room:
                await self._read(exchange, room)
                self._route(exchange)
                await self._admission.reserve(exchange)
                await self._attempt(exchange)
        except Refusal as refusal:
            await self._conclude(exchange, refusal)
        except asyncio.CancelledError:
            if self._stopping():
                await self._conclude(exchange, _shutting_down())
                return
            exchange.record.outcome = records.CLIENT_GONE
            exchange.record.status = 499  # never sent; the log's word for a client that left
            raise
        finally:
            self._admission.settle(exchange)
            self._record(exchange)

    async def _read(self, exchange: Exchange, room: Room) -> None:
        head = exchange.head
        if head.content_type.partition(b";")[0].strip().lower() not in _FORM_TYPES:
            raise Refusal(400, "The content type must be application/json.", code="unsupported_content_type")
        if head.content_encoding not in (b"", b"identity"):
            raise Refusal(
                400, "Compressed request bodies are not accepted.", code="unsupported_content_encoding"
            )
        body = await exchange.source.body()
        exchange.record.bytes_in = len(body)
        room.grow_to(len(body))
        seen = envelope.read(body, exchange.snapshot.config.bounds.json_depth)
        if seen.stream and exchange.endpoint is Endpoint.EMBEDDINGS:
            seen = dataclasses.replace(seen, stream=False)  # no such thing: the reply will be a whole one
        exchange.envelope = seen
        exchange.record.stream = exchange.envelope.stream

    def _route(self, exchange: Exchange) -> None:
        assert exchange.envelope is not None
        model = find_model(exchange, exchange.envelope.model)
        serving = [target for target in model.targets if target.serves(exchange.endpoint)]
        if not serving:
            raise Refusal(
                400,
                f"The model '{exchange.envelope.model}' does not serve {exchange.endpoint.value}.",
                param="model",
                code="unsupported_endpoint",
            )
        exchange.model = model
        exchange.record.model = model.alias
        exchange.plan = Plan(
            dataclasses.replace(model, targets=tuple(serving)), self._draw, self._fleet.in_flight
        )

    async def _attempt(self, exchange: Exchange) -> None:
        """Try targets until one answers, one after another, within one budget and one deadline."""
        assert exchange.envelope is not None
        assert exchange.model is not None
        latest = exchange.record.began + exchange.model.timeouts.total
        pulse = self._pulse(exchange) if exchange.envelope.stream else None
        out = Outward(self._clock.monotonic, answer_headers, pulse, self._patience.slow)
        self._budget.deposit()
        try:
            while len(exchange.attempts) < exchange.snapshot.config.retry.attempts:
                target = await self._pick(exchange)
                if target is None:
                    break
                if not await self._admission.admit(exchange, target):
                    continue
                if self._clock.monotonic() >= latest:
                    break
                if await self._attempts.make(exchange, target, out):
                    break
        finally:
            if pulse is not None:
                pulse.stop()
        if exchange.record.outcome != records.COMPLETED:
            raise self._verdict(exchange)

    def _pulse(self, exchange: Exchange) -> Pulse:
        every = self._patience.pulse
        return Pulse(exchange.sink, exchange.codec.ping, lambda: stream_headers(exchange), self._tasks, every)

    async def _pick(self, exchange: Exchange) -> Target | None:
        """The next target of the plan; with none left, the last one once more if that may help."""
        assert exchange.plan is not None
        target = exchange.plan.next(self._fleet.health, self._clock.monotonic())
        if target is not None or not exchange.faults or exchange.retried:
            return target
        last, fault = exchange.target, exchange.faults[-1]
        assert last is not None
        if not retry.judge(fault).same or not self._ready(last) or not self._budget.withdraw():
            return None
        exchange.retried = True
        await asyncio.sleep(self._draw.uniform(0.0, PAUSE))
        return last

    def _ready(self, target: Target) -> bool:
        return self._fleet.health.ready_at(target) <= self._clock.monotonic()

    def _verdict(self, exchange: Exchange) -> Refusal:
        """What the caller is told when no target has answered."""
        assert exchange.plan is not None
        wait = earliest(exchange.plan.targets, self._fleet.health) - self._clock.monotonic()
        if exchange.held.full and not exchange.faults:
            return full(exchange.held.full)
        if exchange.faults:
            refusal = retry.refuse(retry.telling(exchange.faults))
            if refusal.retry_after is not None and wait > 0:
                refusal.retry_after = wait  # sooner than this nobody would be asked
            return refusal
        return Refusal(
            503,
            "No provider can take this request at the moment.",
            kind="server_error",
            code="no_target_available",
            retry_after=max(wait, 0.1),
        )

    async def _conclude(self, exchange: Exchange, refusal: Refusal) -> None:
        """Tell the caller, in its dialect: as an answer, or in-band if the status has gone out."""
        record = exchange.record
        record.status = refusal.status
        record.error = refusal.code or refusal.kind
        mine = refusal.status >= 500 or any(retry.judge(fault).move_on for fault in exchange.faults[-1:])
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
            await exchange.sink.end(exchange.codec.broken(refusal))
        else:
            headers = [*refusal_headers(refusal), *identity_headers(exchange)]
            await exchange.sink.answer(refusal.status, headers, exchange.codec.refusal(refusal))

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
        self._observe(record)


def _shutting_down() -> Refusal:
    return Refusal(
        503,
        "The proxy is shutting down; try again.",
        kind="server_error",
        code="shutting_down",
        retry_after=1.0,
    )


def _announced(exchange: Exchange) -> int:
    """Bytes of body to make room for: one beyond the bound is refused for good, and not for now."""
    length = exchange.head.length or 0
    return 0 if length > exchange.snapshot.config.bounds.body else length


def authenticate(exchange: Exchange) -> None:
    """Find the tenant of the exchange's key. Raises `Refusal` 401."""
    exchange.tenant = exchange.snapshot.tenants.of(exchange.head.credential)
    if exchange.tenant is None:
        raise Refusal(
            401,
            "You did not provide a valid API key."
            if exchange.head.credential
            else "You did not provide an API key.",
            code="invalid_api_key",
            should_retry=False,
        )


def find_model(exchange: Exchange, name: str) -> Model:
    """The model that `name` stands for. Raises the same `Refusal` 404 for unknown and forbidden ones."""
    tenant, snapshot = exchange.tenant, exchange.snapshot
    assert tenant is not None
    model = snapshot.models.get(name)
    if model is not None and tenant.may_use(name):
        return model
    if tenant.allow_direct and "#" in name:
        upstream_model, _, provider = name.rpartition("#")
        named = _MODEL_NAME.fullmatch(upstream_model)
        found = targets.direct(snapshot.config, provider, upstream_model) if named else None
        if found is not None:
            return found
    raise Refusal(
        404,
        f"The model '{name[:200]}' does not exist.",
        code="model_not_found",
        param="model",
        should_retry=False,
    )
