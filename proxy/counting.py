"""How many tokens a request would take: the provider's own count where it can be had, else an estimate.

`POST /v1/messages/count_tokens` and `POST /v1/responses/input_tokens`. The first target that speaks the
client's dialect and that nothing stands against is asked, once, for a short time; what it answers is passed
on. Anything else (another dialect, a refusal, an old server without that route) leads to the proxy's own
estimate, from what requests of that size have taken at that model, and the answer says so. Nothing is
learned of a provider's health here: a server that cannot count may serve very well.
"""

import asyncio
import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from metrics import record as records
from proxy.answers import identity_headers
from proxy.demand import Estimator, OutputPolicy
from proxy.errors import Fault
from proxy.exchange import Exchange
from proxy.fleet import Fleet
from proxy.targets import Target
from proxy.upstream import Call, Upstream, read_whole
from proxy.wire.envelope import encode
from proxy.wire.model import DIALECT_OF, Endpoint

PATIENCE = 10.0
"""Seconds a provider has to count."""

LARGEST = 64 * 1024
"""Bytes of a counting reply at the most."""

SUFFIX: Final[Mapping[Endpoint, str]] = MappingProxyType(
    {Endpoint.MESSAGES: "/count_tokens", Endpoint.RESPONSES: "/input_tokens"}
)
"""What follows an endpoint's own path where it counts."""

_NOT_COUNTED = frozenset({"max_tokens", "max_output_tokens", "stream", "store", "background", "metadata"})
"""Fields of a whole request that the counting routes refuse."""


class _Counted(msgspec.Struct):
    input_tokens: int


_counted = msgspec.json.Decoder(_Counted)


@dataclasses.dataclass(frozen=True, slots=True)
class Count:
    """Tokens of a prompt, and whether that is only an estimate."""

    tokens: int
    estimated: bool


class Counting:
    """Counts the tokens of requests."""

    def __init__(self, fleet: Fleet, upstream: Upstream, estimator: Estimator) -> None:
        self._fleet = fleet
        self._upstream = upstream
        self._estimator = estimator

    async def answer(self, exchange: Exchange) -> None:
        """Answer with the number; an estimate says that it is one."""
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
        asked = next((target for target in exchange.model.targets if self._may_ask(exchange, target)), None)
        if asked is not None:
            exchange.target = asked
            try:
                async with asyncio.timeout(PATIENCE):
                    return Count(await self._ask(exchange, asked), estimated=False)
            except (Fault, TimeoutError, msgspec.MsgspecError, RecursionError, UnicodeError):
                exchange.target = None
        target = exchange.model.targets[0]
        tokens = self._estimator.expect(target.label, exchange.envelope.weight, None, OutputPolicy.NONE)
        return Count(tokens, estimated=True)

    def _may_ask(self, exchange: Exchange, target: Target) -> bool:
        standing = self._fleet.standing(target)
        return (
            DIALECT_OF[exchange.endpoint] in target.dialects
            and standing.until <= self._fleet.now()
            and not standing.trial
        )

    async def _ask(self, exchange: Exchange, target: Target) -> int:
        assert exchange.envelope is not None
        fields = {n: value for n, value in exchange.envelope.fields.items() if n not in _NOT_COUNTED}
        fields["model"] = target.edits.model
        url = target.urls[exchange.endpoint]
        path, question, query = url.partition("?")
        call = Call(
            "POST",
            path + SUFFIX[exchange.endpoint] + question + query,
            target.headers_of(exchange.endpoint, exchange.head.vendor) + exchange.head.forwarded,
            encode(fields),
            target.timeouts.connect,
        )
        reply = await self._upstream.send(call)
        try:
            body = await read_whole(reply, LARGEST) if reply.status == 200 else None
        finally:
            reply.close()
        return _counted.decode(body or b"").input_tokens
