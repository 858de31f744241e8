"""Responses that nobody waits for: they run here, and their events go where any replica can read them.

The client's own request is answered at once, or follows the events like any other reader. What runs is an
exchange like all others, with a sink of its own that is never gone: its end, the stored response and its last
events, are one write. A replica that stops ends its runs as failed; one that dies leaves a lease behind, and
whoever reads next declares the response failed (`responses.following`).
"""

import asyncio
import dataclasses
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec

from proxy.answers import identity_headers, stream_headers
from proxy.archive import Archive, Shelf
from proxy.ends import Body
from proxy.exchange import Exchange, Headers, Thread
from proxy.reception import Reception
from proxy.responses.background import Standing
from proxy.responses.document import Stored
from proxy.responses.store import Outcome, unavailable
from proxy.tasks import Tasks
from proxy.wire import sse
from proxy.wire.dialects import CODECS
from proxy.wire.envelope import encode
from proxy.wire.model import Dialect, Endpoint
from proxy.wire.responses.resource import failed, lifecycle_event, response

CANCEL_WAIT = 2.0
"""Seconds to wait for a cancelled response to have ended, before it is answered as it stands."""

DONE = b"data: [DONE]\n\n"

_SEQUENCE = re.compile(rb'"sequence_number"\s*:\s*(\d+)')
_object = msgspec.json.Decoder(dict[str, Any])


def bury(stored: Stored, sequence: int) -> tuple[Stored, bytes]:
    """A response whose replica has gone, as failed, and its last event."""
    return _failed(stored, sequence, "server_error", "The replica that ran this response has gone.")


def _failed(stored: Stored, sequence: int, code: str, message: str) -> tuple[Stored, bytes]:
    told = failed(_object.decode(stored.response), code, message)
    event = lifecycle_event("response.failed", told, sequence)
    return msgspec.structs.replace(stored, status="failed", response=msgspec.Raw(encode(told))), event


class RunSink:
    """The `Sink` of a response that nobody waits for."""

    def __init__(self, shelf: Shelf, owner: str, stored: Stored, thread: Thread) -> None:
        self._shelf = shelf
        self._owner = owner
        self._stored = stored
        self._thread = thread
        self._next = 0
        self.started = False
        self.ended = False

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:  # noqa: ARG002  (nobody reads them)
        """It came to nothing: the error of the answer is the response's."""
        error = _object.decode(body).get("error") or {}
        await self.fail(str(error.get("code") or "server_error"), str(error.get("message") or "It failed."))

    async def start(self, status: int, headers: Headers) -> None:  # noqa: ARG002  (nobody reads them)
        """The stream begins."""
        self.started = True

    async def write(self, data: bytes) -> None:
        """Events, to be kept."""
        if not self.ended:
            await self._shelf.runs.append(self._owner, self._stored.id, self._numbered(data))

    async def end(self, data: bytes = b"") -> None:
        """The last events, and with them the response as it ended."""
        if self.ended:
            return
        final = self._thread.final
        if final is None:
            await self.fail("server_error", "The response ended before it was whole.")
            return
        await self._finish(final, self._numbered(data))

    async def fail(self, code: str, message: str) -> None:
        """It ends as failed."""
        if self.ended:
            return
        events = []
        if self._next == 0:
            created = lifecycle_event("response.created", _object.decode(self._stored.response), 0)
            events = [(0, created)]
            self._next = 1
        final, event = _failed(self._stored, self._next, code, message)
        await self._finish(final, [*events, (self._next, event)])

    async def cancelled(self) -> None:
        """It ends because its client wants no more of it."""
        if not self.ended:
            told = {**_object.decode(self._stored.response), "status": "cancelled"}
            final = msgspec.structs.replace(
                self._stored, status="cancelled", response=msgspec.Raw(encode(told))
            )
            await self._finish(final, [])

    async def _finish(self, final: Stored, events: list[tuple[int, bytes]]) -> None:
        self.ended = True
        outcome = await self._shelf.runs.finish(self._owner, final, events)
        if outcome is Outcome.TOO_LARGE:
            last = events[-1][0] if events else self._next
            small, event = _failed(self._stored, last, "server_error", "The response is too large to keep.")
            await self._shelf.runs.finish(self._owner, small, [(last, event)])

    def _numbered(self, data: bytes) -> list[tuple[int, bytes]]:
        found = []
        for event in sse.events(data):
            said = _SEQUENCE.search(event)
            if said is not None:
                found.append((int(said[1]), event))
                self._next = int(said[1]) + 1
        return found


@dataclasses.dataclass(slots=True)
class _Run:
    """The task of a run, once there is one, and how it is stopped."""

    task: asyncio.Task[None] | None = None

    def stop(self, why: Standing) -> None:  # noqa: ARG002  (gone or not wanted: it ends in either case)
        if self.task is not None:
            self.task.cancel()


@dataclasses.dataclass(frozen=True, slots=True)
class DetachedParts:
    """What runs are made with; made by `app`. `began` counts one, `handle` is the pipeline's."""

    archive: Archive
    reception: Reception
    handle: Callable[[Exchange], Awaitable[None]]
    began: Callable[[], None]
    tasks: Tasks


class Detached:
    """Begins runs, and reads, ends and follows those of every replica."""

    def __init__(self, parts: DetachedParts) -> None:
        self._archive = parts.archive
        self._reception = parts.reception
        self._handle = parts.handle
        self._began = parts.began
        self._tasks = parts.tasks

    async def begin(self, exchange: Exchange) -> None:
        """Run what `exchange` asks for, and answer it: with the response as it begins, or with its events."""
        thread, envelope = exchange.thread, exchange.envelope
        assert thread is not None
        assert envelope is not None
        assert exchange.tenant is not None
        shelf, owner = self._archive.shelf, exchange.tenant.name
        asked = CODECS[Dialect.RESPONSES].read(envelope.fields)
        told = response(asked.echo, exchange.stamp, "in_progress")
        stored = self._archive.stored(exchange, thread, told)
        run = _Run()
        outcome = await shelf.runs.begin(owner, stored, run.stop)
        thread.outcome = outcome.value
        if outcome not in (Outcome.STORED, Outcome.DEFERRED):
            raise unavailable()
        body = encode({**thread.asked, "stream": True})
        sink = RunSink(shelf, owner, stored, thread)
        inner = self._reception.open(
            Endpoint.RESPONSES, exchange.voice, exchange.head, Body(body), sink, exchange.stamp
        )
        inner.detached, inner.thread = True, thread
        self._began()
        run.task = self._tasks.spawn(self._run(inner, sink), "background response")
        exchange.record.status, exchange.record.outcome = 200, "completed"
        if not envelope.stream:
            headers = [(b"content-type", b"application/json"), *identity_headers(exchange)]
            await exchange.sink.answer(200, headers, encode(told))
            return
        await exchange.sink.start(200, stream_headers(exchange))
        async for event in self.events(owner, stored.id, -1):
            await exchange.sink.write(event)
        await exchange.sink.end(DONE)

    async def _run(self, inner: Exchange, sink: RunSink) -> None:
        try:
            await self._handle(inner)
        except asyncio.CancelledError:
            await sink.cancelled()
        finally:
            await sink.fail("server_error", "The proxy failed on this request.")

    async def events(self, owner: str, id_: str, after: int) -> AsyncIterator[bytes]:
        """The events of a response after a sequence number, to the last one."""
        async for _, event in self._archive.shelf.following.read_events(owner, id_, after):
            yield event

    async def checked(self, owner: str, stored: Stored) -> Stored | None:
        """How a response that seems to run really stands."""
        return await self._archive.shelf.following.checked(owner, stored)

    async def cancel(self, owner: str, id_: str) -> Stored | None:
        """End a response, wherever it runs; as it stands then. Raises `Refusal` 503."""
        shelf = self._archive.shelf
        await shelf.runs.cancel(owner, id_)
        return await shelf.following.outcome(owner, id_, CANCEL_WAIT)
