"""Which way a request takes to a target: as it is where the target speaks its dialect, else translated. Pure.

A target may speak several dialects; the best for a client's is tried first, another only where the first
cannot say the request, or would lose something of it.
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from proxy.errors import Refusal
from proxy.exchange import Exchange, Way
from proxy.targets import Model, Target
from proxy.wire.bypass import Bypass
from proxy.wire.conversation import Conversation
from proxy.wire.dialects import CODECS, native
from proxy.wire.losses import Losses
from proxy.wire.model import DIALECT_OF, Dialect, Endpoint
from proxy.wire.translation import Translation

ENDPOINT_OF: Final[Mapping[Dialect, Endpoint]] = MappingProxyType(
    {
        Dialect.CHAT: Endpoint.CHAT,
        Dialect.RESPONSES: Endpoint.RESPONSES,
        Dialect.MESSAGES: Endpoint.MESSAGES,
    }
)

PREFERRED: Final[Mapping[Dialect, tuple[Dialect, ...]]] = MappingProxyType(
    {
        Dialect.CHAT: (Dialect.RESPONSES, Dialect.MESSAGES),
        Dialect.RESPONSES: (Dialect.CHAT, Dialect.MESSAGES),
        Dialect.MESSAGES: (Dialect.RESPONSES, Dialect.CHAT),
    }
)
"""What a client's dialect is translated to, the best first: Responses carries reasoning, Chat does not."""

_HOSTED: Final = frozenset({"tool.hosted"})
_NONE: Final[frozenset[str]] = frozenset()


def serving(model: Model, endpoint: Endpoint) -> Model:
    """`model` with the targets that can answer `endpoint` in any way. Embeddings are not translated."""
    if endpoint is not Endpoint.EMBEDDINGS:
        return model
    spoken = DIALECT_OF[endpoint]
    return dataclasses.replace(model, targets=tuple(t for t in model.targets if spoken in t.dialects))


def way(exchange: Exchange, target: Target, prompt: Callable[[Exchange, Target], int]) -> Way:
    """The way to `target`. Raises `Refusal` 400 where what is asked cannot be said to it, or not whole.

    `prompt` estimates the tokens of the prompt, for who says them before the provider does.
    """
    assert exchange.envelope is not None
    dialect = DIALECT_OF[exchange.endpoint]
    if dialect in target.dialects:
        passing = native(
            dialect,
            exchange.envelope,
            exchange.stamp,
            target.facts,
            include_usage=target.edits.include_usage,
        )
        losses = _losses(exchange, dialect)
        return Way(exchange.endpoint, Bypass(exchange.envelope, target.edits, passing, losses), native=True)
    ways = [spoken for spoken in PREFERRED[dialect] if spoken in target.dialects]
    found: Way | None = None
    refused: Refusal | None = None
    for spoken in ways:
        try:
            other = Way(
                ENDPOINT_OF[spoken],
                _translated(exchange, target, spoken, prompt(exchange, target)),
                native=False,
            )
        except Refusal as refusal:
            refused = refused or refusal
            continue
        if not _lossy(other):
            return other
        found = found or other
    if found is None:
        assert refused is not None
        raise refused
    return found


def _lossy(found: Way) -> bool:
    """Whether its dialect loses something; what nobody but the client's knows is lost in any other."""
    return found.passage.losses is not None and found.passage.losses.written


def _translated(exchange: Exchange, target: Target, spoken: Dialect, prompt: int) -> Translation:
    client = CODECS[DIALECT_OF[exchange.endpoint]]
    return Translation(
        _conversation(exchange),
        client=client,
        upstream=CODECS[spoken],
        facts=target.facts,
        edits=target.edits,
        stamp=msgspec.structs.replace(exchange.stamp, prompt_tokens=prompt),
        losses=_losses(exchange, spoken),
    )


def _losses(exchange: Exchange, spoken: Dialect) -> Losses:
    settings = exchange.snapshot.config.translation
    lenient = _HOSTED if settings.drop_hosted_tools else _NONE
    return Losses(spoken, strict=exchange.head.strict or settings.strict, lenient=lenient)


def _conversation(exchange: Exchange) -> Conversation:
    """The request, decoded once however many targets are tried."""
    if exchange.conversation is None:
        assert exchange.envelope is not None
        exchange.conversation = CODECS[DIALECT_OF[exchange.endpoint]].read(exchange.envelope.fields)
    return exchange.conversation
