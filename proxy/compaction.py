"""A long conversation made short: `POST /v1/responses/compact`, for any provider.

The model that is named writes a summary of the conversation, and the answer holds the user's own messages
and one compaction item with that summary. The item can be put in front of a later request to any model: it
is ours to read, and no provider's. (OpenAI's API reference, and Open Responses of 2026-04-24.)
"""

import dataclasses
from collections.abc import Awaitable, Callable

from proxy.ends import Body, Kept
from proxy.errors import Refusal
from proxy.exchange import Exchange
from proxy.reception import Reception
from proxy.wire.envelope import encode
from proxy.wire.model import Endpoint
from proxy.wire.responses.compacted import compacted, question, summary


@dataclasses.dataclass(frozen=True, slots=True)
class Compaction:
    """Answers requests to compact. `handle` is the pipeline's, `began` counts the request within."""

    reception: Reception
    handle: Callable[[Exchange], Awaitable[None]]
    began: Callable[[], None]

    async def answer(self, exchange: Exchange) -> None:
        """Ask the model for a summary, and answer with it; what goes wrong there is answered as it is.

        Raises `Refusal` 502 where the summary is none: the conversation would be lost with it.
        """
        assert exchange.envelope is not None
        asked = encode(question(exchange.envelope.fields))
        sink = Kept()
        inner = self.reception.open(
            Endpoint.RESPONSES, exchange.voice, exchange.head, Body(asked), sink, exchange
        )
        self.began()
        await self.handle(inner)
        exchange.target = inner.target
        record = exchange.record
        record.status, record.outcome, record.error = sink.status, inner.record.outcome, inner.record.error
        record.waited += inner.record.waited
        body = sink.body
        if sink.status == 200:
            said = summary(body)
            if not said:
                raise Refusal(
                    502, "The model gave no whole summary.", kind="server_error", code="upstream_error"
                )
            assert inner.envelope is not None
            assert inner.used is not None
            body = encode(compacted(said, inner.envelope.fields, inner.used, exchange.stamp))
        await exchange.sink.answer(sink.status, sink.headers, body)
