"""Responses that nobody waits for: they run here, and their events go where any replica can read them.

The client's own request is answered at once, or follows the events like any other reader. What runs is an
exchange like all others, with a sink of its own that is never gone: its end, the stored response and its last
events, are one write. A replica that stops ends its runs as failed; one that dies leaves a lease behind, and
whoever reads next declares the response failed (`responses.following`).
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import msgspec

from metrics import record as records
from proxy.answers import identity_headers, stream_headers
from proxy.archive import Archive, Shelf
from proxy.errors import Refusal
from proxy.exchange import Exchange, Headers, Held, Thread
from proxy.reception import Reception
from proxy.relay import Patience
from proxy.responses.document import Stored
from proxy.responses.following import CODE, MESSAGE
from proxy.responses.outbox import Event
from proxy.responses.store import Outcome, unavailable
from proxy.tasks import Tasks
from proxy.wire import sse
from proxy.wire.dialects import CODECS
from proxy.wire.envelope import encode
from proxy.wire.model import Dialect, Endpoint
from proxy.wire.responses.resource import echo, failed, failure_code, lifecycle_event, response
from proxy.wire.responses.voice import DONE, ResponsesVoice, error_event

CANCEL_WAIT = 2.0
"""Seconds to wait for a cancelled response to have ended, before it is answered as it stands."""

_JSON = (b"content-type", b"application/json")
_object = msgspec.json.Decoder(dict[str, Any])


class _Head(msgspec.Struct):
    """As much of an event as tells where it belongs."""

    type: str = ""
    sequence_number: int = -1


_head = msgspec.json.Decoder(_Head)


def bury(stored: Stored, sequence: int) -> tuple[Stored, bytes]:
    """A response whose replica has gone, as failed, and its last event."""
    return _failed(stored, sequence, CODE, MESSAGE)


def not_found(id_: str) -> Refusal:
    """The answer for what does not exist, and for what is somebody else's."""
    return Refusal(404, f"Response with id '{id_[:100]}' not found.", code="not_found", should_retry=False)


def _failed(stored: Stored, sequence: int, code: str, message: str) -> tuple[Stored, bytes]:
    told = failed(_object.decode(stored.response), code, message)
    return _ended(stored, told), lifecycle_event("response.failed", told, sequence)


def _ended(stored: Stored, told: dict[str, Any]) -> Stored:
    return msgspec.structs.replace(stored, status=told["status"], response=msgspec.Raw(encode(told)))


class RunSink:
    """The `Sink` of a response that nobody waits for, and the `Source` of its `request`."""

    def __init__(self, shelf: Shelf, owner: str, stored: Stored, thread: Thread, request: bytes) -> None:
        self._shelf = shelf
        self._owner = owner
        self._stored = stored
        self._thread = thread
        self._request = request
        self._next = 0
        self.ended = False

    @property
    def started(self) -> bool:
        """Whether anything was said of the reply: an error before that is an answer, and says why."""
        return self._next > 1

    async def body(self) -> bytes:
        """The body of the request. With it the response has begun, and its first event is told."""
        event = self._created()
        self._next = 1
        await self._shelf.runs.append(self._owner, self._stored.id, [event])
        return self._request

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:  # noqa: ARG002  (nobody reads them)
        """It came to nothing: the error of the answer is the response's."""
        error = _object.decode(body).get("error") or {}
        refusal = Refusal(status, str(error.get("message") or "It failed."), code=error.get("code"))
        await self.fail(failure_code(refusal), refusal.message)

    async def start(self, status: int, headers: Headers) -> None:
        """A stream begins with its first event."""

    async def write(self, data: bytes) -> None:
        """Events, to be kept."""
        events = self._numbered(data)
        if events and not self.ended:
            await self._shelf.runs.append(self._owner, self._stored.id, events)

    def push(self, data: bytes) -> bool:  # noqa: ARG002  (the seam's signature)
        """Never: the store is awaited."""
        return False

    async def end(self, data: bytes = b"") -> None:
        """The last events, and with them the response as it ended."""
        final = self._thread.final
        if final is None:
            await self.fail("server_error", "The response ended before it was whole.")
        else:
            await self._finish(final, self._numbered(data))

    async def fail(self, code: str, message: str) -> None:
        """It ends as failed, unless it has ended."""
        await self._end_as("response.failed", failed(self._begun, code, message))

    async def cancelled(self) -> None:
        """It ends because its client wants no more of it.

        No published event says so: the last one is `response.incomplete`, with the response's true status.
        """
        await self._end_as("response.incomplete", {**self._begun, "status": "cancelled"})

    async def _end_as(self, kind: str, told: dict[str, Any]) -> None:
        before = [] if self._next else [self._created()]
        number = self._next or 1
        await self._finish(
            _ended(self._stored, told), [*before, (number, lifecycle_event(kind, told, number))]
        )

    @property
    def _begun(self) -> dict[str, Any]:
        return _object.decode(self._stored.response)

    def _created(self) -> Event:
        return 0, lifecycle_event("response.created", self._begun, 0)

    async def _finish(self, final: Stored, events: list[Event]) -> None:
        if self.ended:
            return
        self.ended = True
        outcome = await self._shelf.runs.finish(self._owner, final, events)
        if outcome is Outcome.TOO_LARGE:
            last = events.pop()[0] if events else self._next
            small, event = _failed(self._stored, last, "server_error", "The response is too large to keep.")
            await self._shelf.runs.finish(self._owner, small, [*events, (last, event)])

    def _numbered(self, data: bytes) -> list[Event]:
        """The events of `data` by their numbers, which always grow; what is no event is left out."""
        found = []
        for event in sse.events(data):
            said = sse.data_of(event)
            if said is None or said.strip() == b"[DONE]":
                continue
            try:
                head = _head.decode(said)
            except (msgspec.MsgspecError, RecursionError, UnicodeError):
                head = _Head()  # passed on as it came, like to anybody else
            if head.type != "response.created":
                number = max(head.sequence_number, self._next)
                found.append((number, event))
                self._next = number + 1
        return found


class _Run:
    """The task of a run, and how it is stopped."""

    def __init__(self) -> None:
        self.unwanted = False
        self._task: asyncio.Task[None] | None = None

    def began(self) -> None:
        """This task is it. A task that is cancelled before it began would never run at all."""
        self._task = asyncio.current_task()
        if self._task is not None and self.unwanted:
            self._task.cancel()

    def stop(self, _: object) -> None:
        """Its client wants no more of it, or it was deleted: it ends in either case."""
        self.unwanted = True
        if self._task is not None:
            self._task.cancel()


@dataclasses.dataclass(frozen=True, slots=True)
class DetachedParts:
    """What runs are made with; made by `app`.

    `handle` is the pipeline's, `began` counts a request, `running` are the runs, `readers` those who follow
    events.
    """

    archive: Archive
    reception: Reception
    handle: Callable[[Exchange], Awaitable[None]]
    began: Callable[[], None]
    running: Tasks
    readers: Tasks
    patience: Patience


class Detached:
    """Begins runs, and reads, ends and follows those of every replica."""

    def __init__(self, parts: DetachedParts) -> None:
        self._archive = parts.archive
        self._reception = parts.reception
        self._handle = parts.handle
        self._began = parts.began
        self._running = parts.running
        self._readers = parts.readers
        self._patience = parts.patience

    async def begin(self, exchange: Exchange) -> None:
        """Run what `exchange` asks for, and answer it: with the response as it begins, or with its events.

        What was reserved of limits goes over to the run. Raises `Refusal`: 413 too large to be stored, 503.
        """
        thread, tenant = exchange.thread, exchange.tenant
        assert thread is not None
        assert tenant is not None
        exchange.record.endpoint = Endpoint.OTHER.value  # the request to a model is the run
        shelf = self._archive.shelf
        stored = self._archive.stored(exchange, thread, _begun(exchange))
        run = _Run()
        outcome = await shelf.runs.begin(tenant.name, stored, run.stop)
        thread.outcome = outcome.value
        if outcome is Outcome.TOO_LARGE:
            raise Refusal(413, "The input is too large to be stored.", code="request_too_large")
        if outcome not in (Outcome.STORED, Outcome.DEFERRED):
            raise unavailable()
        assert exchange.envelope is not None
        request = encode({**exchange.envelope.fields, "stream": True})
        sink = RunSink(shelf, tenant.name, stored, thread, request)
        self._running.spawn(self._run(run, self._within(exchange, sink), sink), "background response")
        await self._answer(exchange, stored)

    def _within(self, exchange: Exchange, sink: RunSink) -> Exchange:
        """The exchange that runs: with all that is known of the one that began it."""
        inner = self._reception.open(Endpoint.RESPONSES, exchange.voice, exchange.head, sink, sink, exchange)
        inner.detached, inner.thread = True, exchange.thread
        inner.limited, inner.conversation = exchange.limited, exchange.conversation
        inner.held, exchange.held = exchange.held, Held()
        return inner

    async def _answer(self, exchange: Exchange, stored: Stored) -> None:
        assert exchange.envelope is not None
        assert exchange.tenant is not None
        exchange.record.status, exchange.record.outcome = 200, records.COMPLETED
        if not exchange.envelope.stream:
            headers = [_JSON, *identity_headers(exchange)]
            await exchange.sink.answer(200, headers, bytes(stored.response))
            return
        exchange.committed = True
        await exchange.sink.start(200, stream_headers(exchange))
        async with contextlib.aclosing(self.events(exchange.tenant.name, stored.id, -1)) as events:
            async for event in events:
                try:
                    async with asyncio.timeout(self._patience.slow):
                        await exchange.sink.write(event)
                except TimeoutError:  # it reads nothing any more
                    raise asyncio.CancelledError from None
        await exchange.sink.end()

    async def _run(self, run: _Run, inner: Exchange, sink: RunSink) -> None:
        """Run it to its end. However early it is stopped, the pipeline settles and records it."""
        run.began()
        self._began()
        try:
            await self._handle(inner)
        except asyncio.CancelledError:
            if run.unwanted:
                await sink.cancelled()
        finally:
            await sink.fail("server_error", "The proxy ended before the response did.")

    async def events(self, owner: str, id_: str, after: int) -> AsyncGenerator[bytes, None]:
        """The events of a response after a sequence number, to the last one and the end marker.

        While none come there is a keep-alive now and then.
        """
        async with contextlib.aclosing(self._told(owner, id_, after)) as told:
            coming: asyncio.Task[bytes | None] | None = None
            try:
                while True:
                    coming = coming or self._readers.spawn(_next(told), "reader")
                    await asyncio.wait({coming}, timeout=self._patience.pulse)
                    if not coming.done():
                        yield ResponsesVoice.ping
                        continue
                    event, coming = coming.result(), None
                    yield DONE if event is None else event
                    if event is None:
                        return
            finally:
                if coming is not None:
                    coming.cancel()
                    await asyncio.wait({coming})

    async def _told(self, owner: str, id_: str, after: int) -> AsyncGenerator[bytes, None]:
        """The events alone; where there is no true end to tell, an error."""
        try:
            async for sequence, event in self._archive.shelf.following.read_events(owner, id_, after):
                after = sequence
                yield event
            await self._check_told(owner, id_, after)
        except Refusal as refusal:
            yield error_event(refusal, after + 1)

    async def _check_told(self, owner: str, id_: str, last: int) -> None:
        """Raises `Refusal` where events that end with this number were not all there was to tell."""
        if await self._archive.shelf.store.load(owner, id_) is None:
            raise not_found(id_)
        if last < 0:
            raise Refusal(404, "The events of this response are no longer kept.", code="not_found")

    async def checked(self, owner: str, stored: Stored) -> Stored | None:
        """How a response that seems to run really stands."""
        return await self._archive.shelf.following.checked(owner, stored)

    async def cancel(self, owner: str, id_: str) -> Stored | None:
        """End a response, wherever it runs; as it stands then. Raises `Refusal` 503."""
        shelf = self._archive.shelf
        await shelf.runs.cancel(owner, id_)
        return await shelf.following.outcome(owner, id_, CANCEL_WAIT)


def _begun(exchange: Exchange) -> dict[str, Any]:
    """The response as it begins. Raises `Refusal` 400 where nobody could answer what is asked."""
    envelope, model, thread = exchange.envelope, exchange.model, exchange.thread
    assert envelope is not None
    assert model is not None
    assert thread is not None
    try:
        asked = CODECS[Dialect.RESPONSES].read(envelope.fields)
    except Refusal:
        if not any(Dialect.RESPONSES in target.dialects for target in model.targets):
            raise
        # What we cannot read passes as it came; of the rest this much is known.
        known = {"model": envelope.model, "background": True, "previous_response_id": thread.previous}
        return response(echo(known), exchange.stamp, "in_progress")
    exchange.conversation = msgspec.structs.replace(asked, stream=True)
    return response(asked.echo, exchange.stamp, "in_progress")


async def _next(events: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(events, None)
