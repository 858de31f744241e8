"""Limits on a request's way: reserve before the work, admit at each target, settle once.

The client's scope is reserved first, with what the dearest candidate is expected to cost. Each target
then has to admit the request too: the model's limits once, the key's for every attempt. A full key is no
refusal, only a reason for the next target. Whatever was taken is settled to what was used when the request
ends, however it ends, or released where it came to nothing.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from proxy.allowances import Allowances
from proxy.clock import Clock
from proxy.demand import Estimator, OutputPolicy
from proxy.errors import TIMEOUTS, TRANSPORT, Fault, Refusal
from proxy.exchange import Exchange
from proxy.targets import Target
from proxy.wire.model import Endpoint, Usage
from ratelimit import scope
from ratelimit.quota import LARGEST, Decision, Demand, Dimension, Window


class Limiting(Protocol):
    """The limiter, as far as it is needed here: see `ratelimit.limiter.Limiter`."""

    async def reserve(self, limits: scope.Limits, demand: Demand) -> scope.Reservation | scope.Refusal:
        """Take `demand` from every limit of one scope, or nothing."""

    def settle(self, reservation: scope.Reservation, tokens: int) -> None:
        """End a reservation at what it used."""

    def release(self, reservation: scope.Reservation) -> None:
        """End a reservation that came to nothing."""

    def lower(self, limits: scope.Limits, requests: int | None, tokens: int | None) -> None:
        """No more than this remains."""


class Admission:
    """The limiter as the pipeline uses it."""

    def __init__(self, limits: Limiting, estimator: Estimator, clock: Clock) -> None:
        self._limits = limits
        self._estimator = estimator
        self._clock = clock
        self.allowances = Allowances()

    async def reserve(self, exchange: Exchange) -> None:
        """Take the client's share for this request. Raises `Refusal` 429."""
        assert exchange.tenant is not None
        assert exchange.model is not None
        assert exchange.plan is not None
        wanted = exchange.snapshot.scopes.of_client(exchange.tenant.name, exchange.model.alias)
        if not wanted:
            return
        dearest = self._dearest(exchange, exchange.plan.targets, _bucket(wanted))
        exchange.held.expected = dearest
        taken = await self._limits.reserve(wanted, Demand(1, dearest))
        exchange.limited = taken.decision
        self._note(scope.Kind.CLIENT, exchange.tenant.name, taken)
        if isinstance(taken, scope.Refusal):
            exchange.held.refused = taken.decision
            raise refused(taken, "your")
        exchange.held.client = taken

    async def admit(self, exchange: Exchange, target: Target) -> bool:
        """Take the model's and the key's share for an attempt on `target`; whether the key has room.

        Raises `Refusal` 429 where the model's own limits are reached: no other target would help.
        """
        assert exchange.model is not None
        held, scopes = exchange.held, exchange.snapshot.scopes
        held.crowded = False
        model = scopes.of_model(exchange.model.alias) if held.model is None else ()
        key = scopes.of_key(target.key_id)
        if not model and not key:
            return True
        if model and key:  # two scopes, one round trip
            of_model, of_key = await asyncio.gather(
                self._take_model(exchange, target, model), self._take_key(exchange, target, key)
            )
        else:
            of_model = await self._take_model(exchange, target, model) if model else None
            of_key = await self._take_key(exchange, target, key) if key else None
        if of_model is not None:
            self.attempted(exchange, None)
            held.refused = of_model.decision
            raise refused(of_model, "the model's")
        if of_key is not None:
            held.crowded = of_key.decision.refused_by is Dimension.CONCURRENCY
            held.full.append(math.inf if of_key.decision.never_fits else of_key.decision.retry_after)
        return of_key is None

    async def _take_model(
        self, exchange: Exchange, target: Target, limits: scope.Limits
    ) -> scope.Refusal | None:
        taken = await self._limits.reserve(limits, self._demand(exchange, target, limits))
        assert exchange.model is not None
        self._note(scope.Kind.MODEL, exchange.model.alias, taken)
        if isinstance(taken, scope.Refusal):
            return taken
        exchange.held.model = taken  # noted before anything else can be cancelled, so that it is settled
        return None

    async def _take_key(
        self, exchange: Exchange, target: Target, limits: scope.Limits
    ) -> scope.Refusal | None:
        taken = await self._limits.reserve(limits, self._demand(exchange, target, limits))
        self._note(scope.Kind.KEY, target.key_id, taken)
        if isinstance(taken, scope.Refusal):
            return taken
        exchange.held.key = taken
        return None

    def _demand(self, exchange: Exchange, target: Target, limits: scope.Limits) -> Demand:
        expected = self._expect(exchange, target, _bucket(limits))
        exchange.held.expected = exchange.held.expected or expected
        return Demand(1, expected)

    def _note(self, kind: scope.Kind, name: str, taken: scope.Reservation | scope.Refusal) -> None:
        self.allowances.note(kind, name, taken.decision, self._clock.monotonic())

    def expected(self, exchange: Exchange) -> int:
        """Tokens that a request is expected to take, by its first target."""
        assert exchange.plan is not None
        return self._expect(exchange, exchange.plan.targets[0], LARGEST)

    def prompt(self, exchange: Exchange, target: Target) -> int:
        """Tokens that the prompt alone is expected to take."""
        assert exchange.envelope is not None
        return self._estimator.prompt(target.label, exchange.envelope.weight)

    def attempted(self, exchange: Exchange, fault: Fault | None) -> None:
        """An attempt has failed, or (None) was not made; what the provider was asked counts as a request.

        One that was too slow may have been worked on, and billed: its reservation stands.
        """
        key, exchange.held.key = exchange.held.key, None
        if key is None:
            return
        if fault is None or fault.kind in TRANSPORT:
            self._limits.release(key)
        else:
            self._limits.settle(key, key.demand.tokens if fault.kind in TIMEOUTS else 0)

    def learn(self, exchange: Exchange, target: Target, usage: Usage) -> None:
        """What a request has really cost, for the next expectation."""
        assert exchange.envelope is not None
        self._estimator.learn(target.label, exchange.envelope.weight, usage)

    def settle(self, exchange: Exchange) -> None:
        """The request is over, however it ended; one that reached no provider has used nothing.

        One whose client left while the provider was at work is charged what was reserved for it: nobody
        knows what it has cost, and leaving early must not be a way around a limit.
        """
        held, used = exchange.held, exchange.used
        for taken in (held.client, held.model, held.key):
            if taken is None:
                continue
            if not _reached(exchange):
                self._limits.release(taken)
            elif used is not None:  # a provider may say anything
                self._limits.settle(taken, min(max(used.input + used.output, 0), LARGEST))
            else:
                self._limits.settle(taken, taken.demand.tokens if _left(exchange) else 0)
        held.client = held.model = held.key = None

    def heed(self, exchange: Exchange, target: Target, headers: Mapping[str, str]) -> None:
        """What the provider says is left of its own limits only ever lowers our view of the key."""
        limits = exchange.snapshot.scopes.of_key(target.key_id)
        if not limits:
            return
        requests = _whole(headers.get("x-ratelimit-remaining-requests"))
        tokens = _whole(headers.get("x-ratelimit-remaining-tokens"))
        if requests is not None or tokens is not None:
            self._limits.lower(limits, requests, tokens)

    def seen(self, exchange: Exchange, target: Target, events: int) -> Usage:
        """What a stream without usage has used, as far as can be told: an event is about a token."""
        return Usage(input=self.prompt(exchange, target), output=events)

    def _dearest(self, exchange: Exchange, targets: Sequence[Target], most: int) -> int:
        """What the dearest of `targets` is expected to cost; the keys of one entry cost the same."""
        dearest, label, policy = 0, None, None
        for target in targets:
            if target.label != label or target.output_policy is not policy:
                label, policy = target.label, target.output_policy
                dearest = max(dearest, self._expect(exchange, target, most))
        return dearest

    def _expect(self, exchange: Exchange, target: Target, most: int) -> int:
        """Tokens to charge ahead; `most` is what the limits ever allow at one moment.

        What is only guessed of the output never makes a request too large.
        """
        envelope = exchange.envelope
        assert envelope is not None
        policy = target.output_policy
        cap = envelope.max_output * envelope.choices if envelope.max_output is not None else None
        prompt, output = self._estimator.parts(target.label, envelope.weight, cap, policy)
        if exchange.endpoint is Endpoint.EMBEDDINGS:
            return prompt
        if policy is OutputPolicy.MAX_TOKENS and cap is not None:
            return prompt + output
        return min(prompt + output, max(prompt, most))


def _bucket(limits: scope.Limits) -> int:
    """The most tokens that all of `limits` ever allow at one moment."""
    most = LARGEST
    for limit in limits:
        quota = limit.quota
        burst = quota.burst_tokens if quota.window is Window.SMOOTH else None
        most = min(most, burst or quota.tokens_per_minute or LARGEST)
    return most


def _left(exchange: Exchange) -> bool:
    """Whether the last attempt came to no verdict: its client left while the provider was at work."""
    return len(exchange.attempts) > len(exchange.faults)


def _reached(exchange: Exchange) -> bool:
    """Whether any attempt got as far as a provider."""
    if exchange.used is not None:
        return True
    return len(exchange.attempts) > sum(fault.kind in TRANSPORT for fault in exchange.faults)


def refused(taken: scope.Refusal, whose: str) -> Refusal:
    """What the caller is told of a limit that is reached."""
    decision = taken.decision
    if decision.never_fits:
        return Refusal(
            429,
            f"This request needs about {taken.demand.tokens} tokens: {whose} limit of {_what(decision)} "
            f"never allows more than {_bucket(taken.limits)} at once.",
            kind="rate_limit_error",
            code="rate_limit_exceeded",
            should_retry=False,
        )
    return Refusal(
        429,
        f"Rate limit reached: {whose} {_what(decision)}. Try again in {decision.retry_after:.1f} s.",
        kind="rate_limit_error",
        code="rate_limit_exceeded",
        retry_after=decision.retry_after,
    )


def full(waits: Sequence[float]) -> Refusal:
    """What the caller is told when every key that could be asked has no room."""
    wait = min(waits)
    return Refusal(
        429,
        "The limits of all provider keys for this model are reached."
        if math.isfinite(wait)
        else "This request is larger than the limit of any provider key for this model ever allows.",
        kind="rate_limit_error",
        code="rate_limit_exceeded",
        retry_after=wait if math.isfinite(wait) else None,
        should_retry=None if math.isfinite(wait) else False,
    )


def _what(decision: Decision) -> str:
    return {
        Dimension.REQUESTS: "requests per minute",
        Dimension.TOKENS: "tokens per minute",
        Dimension.CONCURRENCY: "requests at one time",
        Dimension.OUTAGE: "limits, which cannot be counted at the moment",
        None: "limits",
    }[decision.refused_by]


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and len(text) < 16 else None
