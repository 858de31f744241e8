"""Responses and what they follow: a chain is recalled before a request is sent, a reply kept before its end.

State is ours and not the provider's: whatever follows a stored response is sent with its whole history to
whichever provider is chosen, so a chain survives a failover, a rotated key and a provider that is gone.
Without Redis requests are answered all the same: what cannot be stored waits in the outbox, and the
answer says so in `x-apex-store`.
"""

import asyncio
import dataclasses
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from proxy.errors import Refusal
from proxy.exchange import Exchange, Thread
from proxy.link import Link
from proxy.responses.background import BackgroundRuns
from proxy.responses.document import Stored, lineage
from proxy.responses.following import Following
from proxy.responses.store import Outcome, ResponseStore, unavailable
from proxy.wire.envelope import Envelope, Fields, encode, weighing
from proxy.wire.responses.stored import PREFIX, check_outputs, replayable, shown, stored_input

_FOREIGN: Final = ("conversation", "prompt")
"""What only OpenAI knows the content of: a chain would go on without it."""

_OURS = re.compile(r"[a-z]+_([0-9a-f]{24})_i?[0-9]+")
"""The id of an item that was made here. It names the response that the item belongs to."""

_any = msgspec.json.Decoder()
_object = msgspec.json.Decoder(dict[str, Any])
_fields = msgspec.json.Decoder(Fields)

Json = dict[str, Any]


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
        """Put what a response follows in front of its input, and what it refers to in its place.

        Raises `Refusal`: 400 where there is no such response or item, or it is another's; 503 where that
        cannot be known.
        """
        if exchange.detached:
            return  # the request that began it has recalled everything, and gave it the whole input
        envelope = exchange.envelope
        assert envelope is not None
        thread = exchange.thread = _thread(exchange, envelope.fields)
        if not thread.store and bytes(envelope.fields.get("store", b"")) != b"false":
            # By default here: from now on everybody reads it as if it had been said.
            fields = {**envelope.fields, "store": msgspec.Raw(b"false")}
            envelope = exchange.envelope = msgspec.structs.replace(envelope, fields=fields)
        if thread.store:
            thread.outcome = self._foreseen()
        if _kept(thread) or thread.previous is not None:
            _refuse_foreign(envelope.fields)
        elif b'"item_reference"' not in bytes(envelope.fields.get("input", b"")):
            return
        own = stored_input(envelope.fields, exchange.stamp)
        chain = await self._chain(exchange, thread.previous) if thread.previous is not None else ()
        before = [raw for stored in chain for raw in (*stored.input, *stored.output)]
        history = [_fields.decode(raw) for raw in before]
        found = await self._referred(exchange, own, history)
        named = [found.get(item["id"], item) if _refers(item) else item for item in own]
        seen = [_seen(item) for item in history]
        check_outputs([*seen, *named])
        if before or found:
            sent = [_sent(item, of=known, anew=True) for item, known in zip(history, seen, strict=True)]
            sent += [_sent(item, of=item, anew=item["id"] in found) for item in named]
            exchange.envelope = await _grown(envelope, encode(sent))
        if _kept(thread):
            thread.items = tuple(msgspec.Raw(encode(item)) for item in named)
            thread.ancestors = lineage(chain[-1]) if chain else ()
            if thread.local is not None and (not thread.store or thread.previous in thread.local):
                # What only this connection knows can be looked up by nobody: it is carried along.
                thread.items, thread.ancestors = (*before, *thread.items), ()

    def _foreseen(self) -> str | None:
        """What will become of storing a reply, as far as it can be told before there is one."""
        if self._shelf is None:
            return Outcome.FAILED.value
        return None if self._shelf.link.available else Outcome.DEFERRED.value

    async def _chain(self, exchange: Exchange, last: str) -> tuple[Stored, ...]:
        """The response `last` and all before it, the oldest first."""
        assert exchange.tenant is not None
        if exchange.local is not None and last in exchange.local:
            return (exchange.local[last],)
        chain = await self.shelf.store.chain(exchange.tenant.name, last)
        if isinstance(chain, str):
            raise _not_found(last, chain)
        if any(stored.running for stored in chain):
            raise _not_found(last, last)
        return chain

    async def _referred(
        self, exchange: Exchange, own: Sequence[Json], history: Sequence[Fields]
    ) -> dict[str, Json]:
        """The items that `own` refers to, by id: out of the history, or of the responses they belong to."""
        wanted = {item["id"]: place for place, item in enumerate(own) if _refers(item)}
        if not wanted:
            return {}
        found = _by_id(history, wanted)
        for name, place in wanted.items():
            if name not in found and (ours := _OURS.fullmatch(name)):
                items = await self._items(exchange, f"resp_{ours[1]}")
                found |= _by_id(map(_fields.decode, items), wanted)
            if name not in found:
                raise Refusal(
                    400,
                    f"Item with id '{name[:100]}' not found.",
                    param=f"input[{place}].id",
                    code="invalid_value",
                )
        return found

    async def _items(self, exchange: Exchange, id_: str) -> tuple[msgspec.Raw, ...]:
        """All items of one response; none where there is no such response."""
        assert exchange.tenant is not None
        stored = (exchange.local or {}).get(id_) or await self.shelf.store.load(exchange.tenant.name, id_)
        return (*stored.input, *stored.output) if stored is not None else ()

    async def keep(self, exchange: Exchange, kept: bytes | None) -> None:
        """Store a reply that is whole. Never raises: an answer is not lost because it cannot be kept."""
        thread = exchange.thread
        if thread is None or kept is None or not _kept(thread):
            return
        assert exchange.tenant is not None
        response = _object.decode(kept)
        output = response.get("output")
        if not (isinstance(output, list) and all(isinstance(item, dict) for item in output)):
            thread.outcome = Outcome.FAILED.value if thread.store else None
            return
        stored = self.stored(exchange, thread, response)
        if exchange.detached:
            thread.final = stored
            return
        if thread.local is not None and stored.status != "failed":
            thread.local.clear()  # a connection goes on from its newest response
            if not thread.store:
                thread.local[stored.id] = stored
        if thread.store and self._shelf is not None:
            thread.outcome = (await self._shelf.store.save(exchange.tenant.name, stored)).value

    def stored(self, exchange: Exchange, thread: Thread, response: Mapping[str, Any]) -> Stored:
        """A response of this exchange, as it is kept."""
        assert exchange.model is not None
        assert exchange.envelope is not None
        return Stored(
            id=str(response["id"]),
            created=exchange.stamp.created,
            model=exchange.model.alias,
            status=str(response.get("status") or "completed"),
            response=msgspec.Raw(encode(shown(response, exchange.envelope.fields))),
            input=thread.items,
            output=tuple(msgspec.Raw(encode(item)) for item in replayable(response)),
            previous=thread.previous,
            ancestors=thread.ancestors,
            background=thread.background,
        )


def _thread(exchange: Exchange, fields: Fields) -> Thread:
    """What a request says of its place. Raises `Refusal` 400."""
    by_default = exchange.snapshot.config.responses.store_by_default
    thread = Thread(
        store=_boolean(fields, "store", default=by_default),
        background=_boolean(fields, "background", default=False),
        previous=_previous(fields),
        local=exchange.local,
    )
    if thread.background and not thread.store:
        raise Refusal(
            400, "'background' needs 'store': a response nobody keeps cannot be read.", param="background"
        )
    return thread


def _not_found(last: str, missing: str) -> Refusal:
    """What is told where `last` cannot be followed, for `missing` is not there: itself, or one before it."""
    before = "" if missing == last else f" in the chain of '{last[:100]}'"
    return Refusal(
        400,
        f"Previous response with id '{missing[:100]}' not found{before}.",
        param="previous_response_id",
        code="previous_response_not_found",
        should_retry=False,
    )


def _kept(thread: Thread) -> bool:
    """Whether the reply is to be kept anywhere."""
    return thread.store or thread.local is not None


def _refuse_foreign(fields: Fields) -> None:
    for name in _FOREIGN:
        if bytes(fields.get(name, b"null")) != b"null":
            raise Refusal(
                400,
                f"'{name}' is known to its vendor alone and cannot be part of a stored response; "
                "send the request with 'store': false.",
                param=name,
                code="unsupported_value",
            )


async def _grown(envelope: Envelope, sent: bytes) -> Envelope:
    """The envelope with the whole history as its input: that is what it will cost."""
    before = bytes(envelope.fields.get("input", b""))
    fields = {**envelope.fields, "input": msgspec.Raw(sent)}
    size = envelope.size + len(sent) - len(before)
    weight = envelope.weight + await _weight_of(sent) - await _weight_of(before)
    return msgspec.structs.replace(envelope, fields=fields, size=size, weight=weight)


async def _weight_of(body: bytes) -> int:
    """What a body counts as. Others have their turn while a long one is weighed."""
    steps = weighing(body)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return int(end.value)
        await asyncio.sleep(0)


def _refers(item: Json) -> bool:
    return bool(item["type"] == "item_reference")


def _by_id(items: Iterable[Fields], wanted: Container[str]) -> dict[str, Json]:
    """Those of the items that are wanted, by their ids."""
    names = ((_any.decode(item.get("id", b"null")), item) for item in items)
    return {
        name: _object.decode(encode(item)) for name, item in names if isinstance(name, str) and name in wanted
    }


def _seen(item: Fields) -> Json:
    """As much of an item as tells what it is, and which call it is or answers."""
    return {name: _any.decode(item[name]) for name in ("type", "id", "call_id") if name in item}


def _sent(item: Mapping[str, Any], *, of: Json, anew: bool) -> Json:
    """An item as it is sent, without an id that means something to us alone: one made here, or known anew.

    `of` is what is seen of it; `anew`: it comes out of what is stored, and not of the request itself.
    """
    name = of.get("id")
    theirs = isinstance(name, str) and _OURS.fullmatch(name) is None
    if theirs and not (anew and str(of.get("type")) in PREFIX):
        return dict(item)
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
