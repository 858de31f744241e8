"""One try on one target: send, relay, and judge what came of it.

What an attempt teaches is reported to the fleet, whatever way it ends: a verdict, or none where the client
left meanwhile. What it has used of limits is settled, and of what it was expected to use is learned.
"""

import asyncio
import dataclasses

import msgspec

from metrics import record as records
from metrics.record import Attempt, Tokens
from proxy import passages, retry
from proxy.admission import Admission
from proxy.clock import Clock
from proxy.deadline import Deadline
from proxy.errors import TRANSPORT, Fault, FaultKind, Refusal, Said
from proxy.exchange import Exchange
from proxy.fleet import Fleet, Turn
from proxy.health import Effect, Report
from proxy.hearsay import heard
from proxy.prices import PriceList
from proxy.redaction import Redactor
from proxy.relay import Outward, Relay
from proxy.targets import Target
from proxy.tracing import Tracer
from proxy.upstream import Call, Reply, Upstream, read_whole
from proxy.wire.codec import Passage
from proxy.wire.model import Usage
from proxy.wire.said import said as said_in

ERROR_BODY = 64 * 1024
"""How much of a provider's error body is read, in bytes."""

ERROR_READ = 5.0
"""Seconds a provider may take to send its error body; the status counts without it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Means:
    """What attempts are made with; made by `app`. `tracer` is there where traces are kept."""

    fleet: Fleet
    upstream: Upstream
    admission: Admission
    redactor: Redactor
    clock: Clock
    prices: PriceList = dataclasses.field(default_factory=PriceList)
    tracer: Tracer | None = None


class Attempts:
    """Makes attempts."""

    def __init__(self, means: Means) -> None:
        self._fleet = means.fleet
        self._upstream = means.upstream
        self._admission = means.admission
        self._redactor = means.redactor
        self._clock = means.clock
        self._prices = means.prices
        self._tracer = means.tracer

    async def make(self, exchange: Exchange, turn: Turn, out: Outward) -> bool:
        """One attempt at the target of `turn`; whether it was the last, for better or for worse."""
        target = turn.target
        attempt = Attempt(target.label, target.provider, self._clock.monotonic())
        exchange.attempts.append(attempt)
        exchange.target = target
        assert exchange.plan is not None
        exchange.plan.tried()
        exchange.record.target = target.label
        exchange.record.provider = target.provider
        try:
            await self._exchange(exchange, turn, out)
        except Fault as fault:
            return self._failed(exchange, turn, fault)
        else:
            self._succeeded(exchange, turn)
            attempt.outcome = "ok"
            losses = exchange.way.passage.losses if exchange.way is not None else None
            if losses is not None:
                exchange.record.losses = tuple((name, how.value) for name, how in losses.fields.items())
            exchange.record.outcome = records.COMPLETED
            exchange.record.status = 200
            return True
        finally:
            attempt.duration = self._clock.monotonic() - attempt.began

    def _succeeded(self, exchange: Exchange, turn: Turn) -> None:
        """Content has come: that is a success of a stream as well. How that ends is told when it does."""
        assert exchange.envelope is not None
        if turn.told:
            self._fleet.report(turn, Report(Effect.SUCCESS, late=True))
            return
        answered = self._clock.monotonic() - exchange.attempts[-1].began
        if exchange.record.ttft is not None:
            answered = exchange.record.began + exchange.record.ttft - exchange.attempts[-1].began
        whole = not exchange.envelope.stream
        self._fleet.report(turn, Report(Effect.SUCCESS, answered=answered, whole=whole))

    def _failed(self, exchange: Exchange, turn: Turn, fault: Fault) -> bool:
        """Learn from `fault`; whether it ends the request."""
        assert exchange.envelope is not None
        if fault.said is not None:
            fault.said = self._redactor.said(fault.said)
        repeat = retry.server_error(fault) and bool(exchange.errored - {turn.target.id})
        if retry.server_error(fault):
            exchange.errored.add(turn.target.id)
        exchange.faults.append(fault.bare())
        attempt = exchange.attempts[-1]
        names = (turn.target.label, turn.target.provider, turn.target.model)
        attempt.outcome, attempt.said = fault.reason, heard(fault, names)
        self._fleet.blunders.note(turn.target.id, fault.reason, self._fleet.now(), attempt.said)
        verdict = retry.judge(fault, begun=exchange.committed)
        if not exchange.committed:
            self._admission.attempted(exchange, fault)
        slow = fault.kind is FaultKind.FIRST_TOKEN_TIMEOUT
        report = Report(
            verdict.effect,
            fault.retry_after,
            way=fault.kind in TRANSPORT,
            repeat=repeat,
            overload=verdict.overload,
            late=turn.told,
            reached=fault.status > 0,
            answered=self._clock.monotonic() - turn.began if slow else None,
            whole=not exchange.envelope.stream,
        )
        self._fleet.report(turn, report)
        assert exchange.plan is not None
        if verdict.whole_origin:
            exchange.plan.demote_origin(turn.target.origin)
        if verdict.effect is Effect.BACK_OFF:
            exchange.plan.give_back(turn.target)
        return exchange.committed or not verdict.move_on

    async def _exchange(self, exchange: Exchange, turn: Turn, out: Outward) -> None:
        """Send to the target of `turn` and pass its answer on. Raises `Fault`.

        What clients carry tells no maker: where its seals cannot be opened it is sent once more without.
        """
        try:
            await self._send(exchange, turn, out)
        except Fault as fault:
            if exchange.committed or not retry.unopened(fault) or not self._unseal(exchange, turn.target):
                raise
        else:
            return
        await self._send(exchange, turn, out)

    def _unseal(self, exchange: Exchange, target: Target) -> bool:
        """Lead `exchange.way` to `target` without sealed reasoning; whether there is any, and it may go."""
        assert exchange.way is not None
        sent = exchange.way.passage.request()
        blind = dataclasses.replace(target, facts=dataclasses.replace(target.facts, opens=False))
        try:
            exchange.way = passages.way(exchange, blind, self._admission.prompt)
        except Refusal:
            return False
        return exchange.way.passage.request() != sent

    async def _send(self, exchange: Exchange, turn: Turn, out: Outward) -> None:
        """Send once, and pass the answer on. Raises `Fault`."""
        assert exchange.envelope is not None
        assert exchange.way is not None
        target, way = turn.target, exchange.way
        forwarded, span = exchange.head.forwarded, exchange.record.span
        if self._tracer is not None and span is not None:
            forwarded = self._tracer.onward(span, exchange.attempts[-1], target, way.endpoint, forwarded)
        call = Call(
            "POST",
            target.urls[way.endpoint],
            target.headers_of(way.endpoint, exchange.head.vendor if way.native else ()) + forwarded,
            way.passage.request(),
            target.timeouts.connect,
        )
        with Deadline() as deadline:
            self._bound(exchange, target, deadline)
            began = self._clock.monotonic()
            try:
                reply = await self._upstream.send(call)
            finally:
                exchange.record.waited += self._clock.monotonic() - began
            try:
                self._admission.heed(exchange, target, reply.headers)
                if reply.status != 200:
                    raise await self._refused(exchange, reply)
                relay = Relay(exchange, reply, deadline, out, lambda: self._succeeded(exchange, turn))
                await self._relay(exchange, way.passage, relay, target)
            finally:
                reply.close()

    def _bound(self, exchange: Exchange, target: Target, deadline: Deadline) -> None:
        """How long an attempt may take to its reply, or for a stream to its first content."""
        assert exchange.envelope is not None
        assert exchange.model is not None
        now, own = self._clock.monotonic(), target.timeouts
        patience = min(own.total, own.first_token) if exchange.envelope.stream else own.total
        total = exchange.model.timeouts.total
        latest = exchange.record.began + total
        if now + patience < latest:
            deadline.move(now + patience, FaultKind.FIRST_TOKEN_TIMEOUT)
        elif latest - now >= total / 2:
            deadline.move(latest, FaultKind.TOTAL_TIMEOUT)
        else:  # others have used the time up: no fault of this target
            deadline.move(latest, FaultKind.OUT_OF_TIME)

    async def _relay(self, exchange: Exchange, passage: Passage, relay: Relay, target: Target) -> None:
        assert exchange.envelope is not None
        if not exchange.envelope.stream:
            most = exchange.snapshot.config.bounds.reply
            await relay.whole(passage, most, lambda usage: self._used(exchange, target, usage, 1))
            return
        stream = exchange.reply = passage.stream()
        whole = False
        try:
            await relay.stream(stream, target.timeouts)
            whole = True
        finally:
            if exchange.committed:  # what was seen of a stream counts, however it ended
                exchange.record.events = stream.events
                usage = stream.usage if whole else _cut(stream.usage, stream.events)
                self._used(exchange, target, usage, stream.events, learn=whole)

    def _used(
        self, exchange: Exchange, target: Target, usage: Usage | None, events: int, *, learn: bool = True
    ) -> None:
        """Note what the reply has cost; what a provider did not count is estimated and not learned from."""
        if usage is not None:
            exchange.record.cost = self._prices.cost(target.label, usage)
            if learn:
                self._admission.learn(exchange, target, usage)
            exchange.record.tokens = Tokens(
                usage.input, usage.output, usage.cached, usage.reasoning, usage.written
            )
        exchange.used = usage or self._admission.seen(exchange, target, events)

    async def _refused(self, exchange: Exchange, reply: Reply) -> Fault:
        """A reply that is not a 200, as a fault with what its body and headers say."""
        said: Said | None = None
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(ERROR_READ):
                body = await read_whole(reply, ERROR_BODY)
            said = said_in(body) if body else None
        except (Fault, TimeoutError):
            pass  # the status alone says enough
        finally:
            exchange.record.waited += self._clock.monotonic() - began
        return Fault(
            FaultKind.STATUS,
            f"it answered with status {reply.status}",
            status=reply.status,
            retry_after=retry.hint(reply.headers, self._clock.wall()),
            said=said,
        )


def _cut(usage: Usage | None, events: int) -> Usage | None:
    """What a cut stream has used: some count at its beginning only, and an event is about a token."""
    return msgspec.structs.replace(usage, output=max(usage.output, events)) if usage is not None else None
