"""Reading stored responses back: get, list what was said, delete, cancel; and the events of one that runs.

Every route answers the same 404 for what does not exist and for what is another client's, and 503 where
nobody can know at the moment.
"""

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from starlette.responses import StreamingResponse

from proxy.archive import Archive
from proxy.detached import Detached
from proxy.errors import Refusal
from proxy.exchange import Exchange
from proxy.responses.document import Stored
from proxy.wire.envelope import encode

MOST = 100
"""Items of one page at the most; `FEW` unless asked for."""

FEW = 20

_object = msgspec.json.Decoder(dict[str, Any])


@dataclasses.dataclass(frozen=True, slots=True)
class Retrieval:
    """The routes under `/v1/responses/{id}`."""

    archive: Archive
    detached: Detached

    def attach(self, app: FastAPI) -> None:
        """Add the routes."""
        app.get("/v1/responses/{id_}")(self.get)
        app.delete("/v1/responses/{id_}")(self.delete)
        app.get("/v1/responses/{id_}/input_items")(self.input_items)
        app.post("/v1/responses/{id_}/cancel")(self.cancel)

    async def get(self, request: Request, id_: str) -> Response:
        """The response as it stands, or with `stream=true` the events of one that ran in the background."""
        owner = _owner(request)
        if _flag(request, "stream"):
            return await self._follow(request, owner, id_)
        stored = await self._found(owner, id_)
        return Response(bytes(stored.response), media_type="application/json")

    async def _follow(self, request: Request, owner: str, id_: str) -> Response:
        stored = await self._found(owner, id_)
        if not stored.background:
            raise Refusal(
                400, "Only responses that were made in the background can be streamed again.", param="stream"
            )
        after = _number(request, "starting_after", least=0, most=2**53)
        events = self.detached.events(owner, id_, -1 if after is None else after)
        return StreamingResponse(_flowing(events), media_type="text/event-stream; charset=utf-8")

    async def delete(self, request: Request, id_: str) -> Response:
        """Delete it, and end it if it runs."""
        owner = _owner(request)
        stored = await self._found(owner, id_)
        if stored.running:
            await self.detached.cancel(owner, id_)
        if not await self.archive.shelf.store.delete(owner, id_):
            raise not_found(id_)
        return _json({"id": id_, "object": "response", "deleted": True})

    async def cancel(self, request: Request, id_: str) -> Response:
        """End one that runs in the background; one that has ended is answered as it is."""
        owner = _owner(request)
        stored = await self._found(owner, id_)
        if not stored.background:
            raise Refusal(400, "Only responses that run in the background can be cancelled.")
        if stored.running:
            stored = await self.detached.cancel(owner, id_) or stored
        return Response(bytes(stored.response), media_type="application/json")

    async def input_items(self, request: Request, id_: str) -> Response:
        """A page of what was said to make it, the history before it included."""
        limit = _number(request, "limit", least=1, most=MOST) or FEW
        order = request.query_params.get("order", "desc")
        if order not in ("asc", "desc"):
            raise Refusal(400, "'order' must be 'asc' or 'desc'.", param="order", code="invalid_value")
        owner = _owner(request)
        stored = await self._found(owner, id_)
        chain = await self.archive.shelf.store.chain(owner, id_) or (stored,)
        items = [raw for one in chain[:-1] for raw in (*one.input, *one.output)] + list(chain[-1].input)
        return _json(_page(items, limit, request.query_params.get("after"), newest_first=order == "desc"))

    async def _found(self, owner: str, id_: str) -> Stored:
        stored = await self.archive.shelf.store.load(owner, id_)
        if stored is not None and stored.running:
            stored = await self.detached.checked(owner, stored)
        if stored is None:
            raise not_found(id_)
        return stored


def not_found(id_: str) -> Refusal:
    """The answer for what does not exist, and for what is somebody else's."""
    return Refusal(
        404,
        f"Response with id '{id_[:100]}' not found.",
        code="not_found",
        should_retry=False,
    )


def _page(items: list[msgspec.Raw], limit: int, after: str | None, *, newest_first: bool) -> dict[str, Any]:
    told = [_object.decode(raw) for raw in items]
    if newest_first:
        told.reverse()
    start = next((place + 1 for place, item in enumerate(told) if item.get("id") == after), 0)
    if after is not None and start == 0:
        raise Refusal(400, "'after' is not the id of an item of this list.", param="after")
    page = told[start : start + limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0].get("id") if page else None,
        "last_id": page[-1].get("id") if page else None,
        "has_more": start + limit < len(told),
    }


async def _flowing(events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for block in events:
        yield block
    yield b"data: [DONE]\n\n"


def _owner(request: Request) -> str:
    exchange: Exchange = request.state.exchange
    assert exchange.tenant is not None
    return exchange.tenant.name


def _flag(request: Request, name: str) -> bool:
    return request.query_params.get(name, "").lower() in ("true", "1")


def _number(request: Request, name: str, *, least: int, most: int) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 17 and least <= int(text) <= most):
        raise Refusal(
            400,
            f"'{name}' must be a whole number from {least} to {most}.",
            param=name,
            code="invalid_value",
        )
    return int(text)


def _json(value: object) -> Response:
    return Response(encode(value), media_type="application/json")
