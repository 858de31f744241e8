"""Responses and what they follow: a chain is recalled before a request is sent, a reply kept before its end.

State is ours and not the provider's: whatever follows a stored response is sent with its whole history to
whichever provider is chosen, so a chain survives a failover, a rotated key and a provider that is gone.
Without Redis requests are answered all the same: what cannot be stored waits in the outbox, and the
answer says so in `x-apex-store`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import msgspec

from proxy.errors import Refusal
from proxy.exchange import Exchange, Thread
from proxy.link import Link
from proxy.responses.background import BackgroundRuns
from proxy.responses.document import Stored, lineage
from proxy.responses.following import Following
from proxy.responses.store import Outcome, ResponseStore, unavailable
from proxy.wire.envelope import Envelope, Fields, encode
from proxy.wire.responses.stored import check_outputs, replayable, shown, stored_input

_any = msgspec.json.Decoder()
_object = msgspec.json.Decoder(dict[str, Any])


@dataclasses.dataclass(frozen=True, slots=True)
class Shelf:
    """Where responses are kept: the store, those that run here, and the way to those of all replicas."""

    link: Link
    store: ResponseStore
    runs: BackgroundRuns
    following: Following


class Archive:
    """What the pipeline asks of stored responses. Without a shelf nothing is kept and nothing found."""

    def __init__(self, shelf: Shelf | None) -> None:
        self._shelf = shelf

    @property
    def shelf(self) -> Shelf:
        """Where responses are kept. Raises `Refusal` 503 in a process without any store."""
        if self._shelf is None:
            raise unavailable()
        return self._shelf

    async def recall(self, exchange: Exchange) -> None:
        """Put what a response follows in front of its input.

        Raises `Refusal`: 400 where there is no such response, or it is another's; 503 where that cannot be
        known.
        """
        envelope = exchange.envelope
        assert envelope is not None
        fields = envelope.fields
        thread = Thread(
            store=_boolean(fields, "store", default=exchange.snapshot.config.responses.store_by_default),
            background=_boolean(fields, "background", default=False),
            previous=_previous(fields),
            local=exchange.local,
            asked=fields,
        )
        if thread.background and not thread.store:
            raise Refusal(
                400, "'background' needs 'store': a response nobody keeps cannot be read.", param="background"
            )
        if exchange.detached and exchange.thread is not None:
            thread = exchange.thread  # that of the request which began it: its sink waits for the end there
        exchange.thread = thread
        if thread.store and not (self._shelf is not None and self._shelf.link.available):
            thread.outcome = Outcome.DEFERRED.value
        if thread.previous is None and not thread.store and thread.local is None:
            return
        own = stored_input(fields, exchange.stamp)
        thread.items = tuple(msgspec.Raw(encode(item)) for item in own)
        if thread.previous is None:
            check_outputs(own)
            return
        chain = await self._chain(exchange, thread.previous)
        thread.ancestors = lineage(chain[-1])
        history = [_any.decode(raw) for stored in chain for raw in (*stored.input, *stored.output)]
        whole = [_without_id(item) for item in history] + own
        check_outputs(whole)
        sent = encode(whole)
        grown = len(sent) - len(fields.get("input", b""))
        exchange.envelope = _grown(envelope, sent, grown)

    async def _chain(self, exchange: Exchange, last: str) -> tuple[Stored, ...]:
        assert exchange.tenant is not None
        if exchange.local is not None and last in exchange.local:
            newest = exchange.local[last]
            before = await self._chain(exchange, newest.previous) if newest.previous else ()
            return (*before, newest)
        chain = await self.shelf.store.chain(exchange.tenant.name, last)
        if chain is None or any(stored.running for stored in chain):
            raise Refusal(
                400,
                f"Previous response with id '{last[:100]}' not found.",
                param="previous_response_id",
                code="previous_response_not_found",
                should_retry=False,
            )
        return chain

    async def keep(self, exchange: Exchange, kept: bytes | None) -> None:
        """Store a reply that is whole. Never raises: an answer is not lost because it cannot be kept."""
        thread = exchange.thread
        if thread is None or kept is None or not (thread.store or thread.local is not None):
            return
        assert exchange.tenant is not None
        stored = self.stored(exchange, thread, _object.decode(kept))
        if exchange.detached:
            thread.final = stored
            return
        if thread.store and self._shelf is not None:
            outcome = await self._shelf.store.save(exchange.tenant.name, stored)
            thread.outcome = outcome.value
            if outcome is Outcome.STORED:
                return
        if thread.local is not None:
            thread.local.clear()  # the newest is what a connection goes on from
            thread.local[stored.id] = stored

    def stored(self, exchange: Exchange, thread: Thread, response: Mapping[str, Any]) -> Stored:
        """A response of this exchange, as it is kept."""
        assert exchange.model is not None
        return Stored(
            id=str(response["id"]),
            created=exchange.stamp.created,
            model=exchange.model.alias,
            status=str(response["status"]),
            response=msgspec.Raw(
                encode(shown(response, exchange.envelope.fields if exchange.envelope else {}))
            ),
            input=thread.items,
            output=tuple(msgspec.Raw(encode(item)) for item in replayable(response)),
            previous=thread.previous,
            ancestors=thread.ancestors,
            background=thread.background,
        )


def _grown(envelope: Envelope, sent: bytes, grown: int) -> Envelope:
    """The envelope with the whole history as its input: that is what it will cost."""
    fields = {**envelope.fields, "input": msgspec.Raw(sent)}
    return dataclasses.replace(
        envelope, fields=fields, size=envelope.size + grown, weight=envelope.weight + grown
    )


def _without_id(item: dict[str, Any]) -> dict[str, Any]:
    """An item as it is sent again: its id means something to us alone."""
    return {name: value for name, value in item.items() if name != "id"}


def _boolean(fields: Fields, name: str, *, default: bool) -> bool:
    raw = bytes(fields.get(name, b"null"))
    if raw in (b"true", b"false"):
        return raw == b"true"
    if raw != b"null":
        raise Refusal(400, f"'{name}' must be a boolean.", param=name, code="invalid_type")
    return default


def _previous(fields: Fields) -> str | None:
    value = _any.decode(fields.get("previous_response_id", b"null"))
    if value is None or isinstance(value, str):
        return value or None
    raise Refusal(
        400,
        "'previous_response_id' must be a string.",
        param="previous_response_id",
        code="invalid_type",
    )
