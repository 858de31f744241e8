"""How many tokens a request would take: the provider's own count where it can be had, else an estimate.

`POST /v1/messages/count_tokens` and `POST /v1/responses/input_tokens`. The first target by priority that
speaks the client's dialect and that nothing stands against is asked, once, for a short time; what it
counts is passed on. What a Responses request follows is part of its prompt and is counted with it.
Anything else (another dialect, a refusal, an old server without that route) leads to the proxy's own
estimate, from what requests of that size have taken at that model, and the answer says so. Asking is an
attempt and recorded as one, but nothing is learned of a provider's health here: a server that cannot
count may serve very well.
"""

import asyncio
import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from metrics import record as records
from metrics.record import Attempt
from proxy import passages
from proxy.answers import identity_headers
from proxy.archive import Archive
from proxy.clock import Clock
from proxy.demand import Estimator
from proxy.errors import Fault, FaultKind
from proxy.exchange import Exchange
from proxy.fleet import Fleet
from proxy.hearsay import heard
from proxy.targets import Target
from proxy.upstream import Call, Upstream, read_whole
from proxy.wire.envelope import Fields, encode
from proxy.wire.model import DIALECT_OF, Endpoint

PATIENCE = 10.0
"""Seconds a provider has to count."""

LARGEST = 64 * 1024
"""Bytes of a counting reply at the most."""

SUFFIX: Final[Mapping[Endpoint, str]] = MappingProxyType(
    {Endpoint.MESSAGES: "/count_tokens", Endpoint.RESPONSES: "/input_tokens"}
)
"""What follows an endpoint's own path where it counts."""

_NOT_COUNTED = frozenset(
    {"max_tokens", "max_output_tokens", "stream", "store", "background", "metadata", "include"}
)
"""Fields of a whole request that the counting routes refuse."""


NO_COUNT: Final = "no_count"
"""The outcome where a provider gives no count, whatever it answers instead.

Many that serve well have no such route: by its status it would look like a failure, or like a wrong model.
"""

_NO_COUNTS: Final = frozenset({FaultKind.STATUS, FaultKind.NOT_JSON})


class _Counted(msgspec.Struct):
    input_tokens: int


_FALSE = msgspec.Raw(b"false")
_counted = msgspec.json.Decoder(_Counted)
_fields = msgspec.json.Decoder(Fields)


@dataclasses.dataclass(frozen=True, slots=True)
class Count:
    """Tokens of a prompt, and whether that is only an estimate."""

    tokens: int
    estimated: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Counting:
    """Counts the tokens of requests."""

    fleet: Fleet
    upstream: Upstream
    estimator: Estimator
    archive: Archive
    clock: Clock

    async def answer(self, exchange: Exchange) -> None:
        """Answer with the number; an estimate says that it is one. Raises `Refusal` 400, 503."""
        envelope = exchange.envelope
        assert envelope is not None
        fields = {name: value for name, value in envelope.fields.items() if name not in _NOT_COUNTED}
        if exchange.endpoint is Endpoint.RESPONSES:
            fields["store"] = _FALSE  # nothing comes of it that could be stored
        exchange.envelope = msgspec.structs.replace(envelope, fields=fields)
        if exchange.endpoint is Endpoint.RESPONSES:
            await self.archive.recall(exchange)
        count = await self.count(exchange)
        body: dict[str, object] = {"input_tokens": count.tokens}
        if exchange.endpoint is Endpoint.RESPONSES:
            body["object"] = "response.input_tokens"
        headers = [(b"content-type", b"application/json"), *identity_headers(exchange)]
        if count.estimated:
            headers.append((b"x-apex-warnings", b"estimated=input_tokens"))
        exchange.record.status, exchange.record.outcome = 200, records.COMPLETED
        await exchange.sink.answer(200, headers, encode(body))

    async def count(self, exchange: Exchange) -> Count:
        """How many tokens the body of `exchange` takes; its envelope and model are known."""
        assert exchange.model is not None
        assert exchange.envelope is not None
        targets = sorted(exchange.model.targets, key=lambda target: target.priority)
        asked = next((target for target in targets if self._may_ask(exchange, target)), None)
        tokens = await self._told(exchange, asked) if asked is not None else None
        if tokens is not None:
            return Count(tokens, estimated=False)
        tokens = self.estimator.prompt(targets[0].label, exchange.envelope.weight)
        return Count(tokens, estimated=True)

    async def _told(self, exchange: Exchange, target: Target) -> int | None:
        """The count of `target`, which has then answered the request; None where it gives none."""
        call = _call(exchange, target)
        record = exchange.record
        attempt = Attempt(target.label, target.provider, self.clock.monotonic())
        record.attempts.append(attempt)
        try:
            async with asyncio.timeout(PATIENCE):
                tokens = await self._ask(call)
        except TimeoutError:
            attempt.outcome = FaultKind.TOTAL_TIMEOUT.value
            return None
        except Fault as fault:
            attempt.outcome = NO_COUNT if fault.kind in _NO_COUNTS else fault.reason
            attempt.said = heard(fault, ()) or fault.detail
            return None
        finally:
            attempt.duration = self.clock.monotonic() - attempt.began
            record.waited += attempt.duration
        attempt.outcome = "ok"
        exchange.target, record.target, record.provider = target, target.label, target.provider
        return tokens

    def _may_ask(self, exchange: Exchange, target: Target) -> bool:
        standing = self.fleet.standing(target)
        return (
            DIALECT_OF[exchange.endpoint] in target.dialects
            and standing.until <= self.fleet.now()
            and not standing.trial
        )

    async def _ask(self, call: Call) -> int:
        """What a provider counts. Raises `Fault`."""
        reply = await self.upstream.send(call)
        try:
            if reply.status != 200:
                raise Fault(FaultKind.STATUS, f"it answered with status {reply.status}", status=reply.status)
            body = await read_whole(reply, LARGEST)
        finally:
            reply.close()
        try:
            return _counted.decode(body or b"").input_tokens
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            raise Fault(FaultKind.NOT_JSON, "the answer was no count", status=200) from None


def _call(exchange: Exchange, target: Target) -> Call:
    """What is asked of `target`. Raises `Refusal` 400 where nothing may be lost, and something would be."""
    way = passages.way(exchange, target, lambda _, __: 1)
    whole = _fields.decode(way.passage.request())
    fields = {name: value for name, value in whole.items() if name not in _NOT_COUNTED}
    path, question, query = target.urls[exchange.endpoint].partition("?")
    return Call(
        "POST",
        path + SUFFIX[exchange.endpoint] + question + query,
        target.headers_of(exchange.endpoint, exchange.head.vendor) + exchange.head.forwarded,
        encode(fields),
        target.timeouts.connect,
    )
