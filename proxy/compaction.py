"""A long conversation made short: `POST /v1/responses/compact`, for any provider.

The model that is named writes a summary of the conversation, and the answer holds the user's own messages
and one compaction item with that summary. The item can be put in front of a later request to any model: it
is ours to read, and no provider's. (OpenAI's API reference, and Open Responses of 2026-04-24.)
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from proxy.answers import identity_headers
from proxy.ends import Body, Kept
from proxy.exchange import Exchange
from proxy.reception import Reception
from proxy.wire.envelope import encode
from proxy.wire.model import Endpoint
from proxy.wire.responses.compacted import compacted, question

_object = msgspec.json.Decoder(dict[str, Any])
_JSON = (b"content-type", b"application/json")
_HEADERS = frozenset({b"x-apex-target", b"x-apex-attempts", b"x-apex-warnings"})


class Compaction:
    """Answers requests to compact. `handle` is the pipeline's, `began` counts the request within."""

    def __init__(
        self,
        reception: Reception,
        handle: Callable[[Exchange], Awaitable[None]],
        began: Callable[[], None],
    ) -> None:
        self._reception = reception
        self._handle = handle
        self._began = began

    async def answer(self, exchange: Exchange) -> None:
        """Ask the model for a summary, and answer with it; what goes wrong there is answered as it is."""
        assert exchange.envelope is not None
        asked = encode(question(exchange.envelope.fields))
        sink = Kept()
        inner = self._reception.open(
            Endpoint.RESPONSES, exchange.voice, exchange.head, Body(asked), sink, exchange.stamp
        )
        self._began()
        await self._handle(inner)
        exchange.target = inner.target
        exchange.record.status = sink.status
        if sink.status != 200:
            exchange.record.error = inner.record.error
            await exchange.sink.answer(sink.status, sink.headers, sink.body)
            return
        assert inner.envelope is not None
        body = compacted(_object.decode(sink.body), inner.envelope.fields, exchange.stamp)
        exchange.record.outcome = inner.record.outcome
        said = [header for header in sink.headers if header[0] in _HEADERS]
        kept = [header for header in identity_headers(exchange) if header[0] not in _HEADERS]
        await exchange.sink.answer(200, [_JSON, *kept, *said], encode(body))
