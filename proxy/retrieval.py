"""Reading stored responses back: get, list what was said, delete, cancel; and the events of one that runs.

Every route answers the same 404 for what does not exist and for what is another client's, and 503 where
nobody can know at the moment.
"""

import dataclasses
from collections.abc import Sequence
from itertools import chain

import msgspec
from fastapi import FastAPI, Request, Response
from starlette.responses import StreamingResponse

from proxy.archive import Archive
from proxy.detached import Detached, not_found
from proxy.errors import Refusal
from proxy.exchange import Exchange
from proxy.responses.document import Stored
from proxy.wire.envelope import encode

MOST = 100
"""Items of one page at the most; `FEW` unless asked for."""

FEW = 20

_STREAMED = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class _Item(msgspec.Struct):
    id: object = None


_item = msgspec.json.Decoder(_Item)


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

    async def get(self, request: Request) -> Response:
        """The response as it stands, or with `stream=true` the events of one that ran in the background."""
        owner, id_ = _owner(request), _id(request)
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
        return StreamingResponse(events, media_type="text/event-stream", headers=_STREAMED)

    async def delete(self, request: Request) -> Response:
        """Delete it, and end it if it runs."""
        owner, id_ = _owner(request), _id(request)
        stored = await self._found(owner, id_)
        if stored.running:
            await self.detached.cancel(owner, id_)
        if not await self.archive.shelf.store.delete(owner, id_):
            raise not_found(id_)
        return _json({"id": id_, "object": "response", "deleted": True})

    async def cancel(self, request: Request) -> Response:
        """End one that runs in the background; one that has ended is answered as it is."""
        owner, id_ = _owner(request), _id(request)
        stored = await self._found(owner, id_)
        if not stored.background:
            raise Refusal(400, "Only responses that run in the background can be cancelled.")
        if stored.running:
            stored = await self.detached.cancel(owner, id_) or stored
        return Response(bytes(stored.response), media_type="application/json")

    async def input_items(self, request: Request) -> Response:
        """A page of what was said to make it, the history before it included."""
        limit = _number(request, "limit", least=1, most=MOST) or FEW
        order = request.query_params.get("order", "desc")
        if order not in ("asc", "desc"):
            raise Refusal(400, "'order' must be 'asc' or 'desc'.", param="order", code="invalid_value")
        owner, id_ = _owner(request), _id(request)
        stored = await self._found(owner, id_)
        found = await self.archive.shelf.store.chain(owner, id_) if stored.ancestors else ()
        before = () if isinstance(found, str) else found[:-1]
        told = [*chain.from_iterable((*one.input, *one.output) for one in before), *stored.input]
        if order == "desc":
            told.reverse()
        return _json(_page(told, limit, request.query_params.get("after")))

    async def _found(self, owner: str, id_: str) -> Stored:
        stored = await self.archive.shelf.store.load(owner, id_)
        if stored is not None and stored.running:
            stored = await self.detached.checked(owner, stored)
        if stored is None:
            raise not_found(id_)
        return stored


def _page(told: Sequence[msgspec.Raw], limit: int, after: str | None) -> dict[str, object]:
    """So many items of a list, from the one behind `after`. Raises `Refusal` 400."""
    start = 0
    if after is not None:
        places = (place for place, raw in enumerate(told) if _item.decode(raw).id == after)
        start = next(places, -1) + 1
        if start == 0:
            raise Refusal(
                400, "'after' is not the id of an item of this list.", param="after", code="invalid_value"
            )
    page = told[start : start + limit]
    return {
        "object": "list",
        "data": page,
        "first_id": _item.decode(page[0]).id if page else None,
        "last_id": _item.decode(page[-1]).id if page else None,
        "has_more": start + limit < len(told),
    }


def _id(request: Request) -> str:
    """As it stands in the path. As a parameter of the route it would have FastAPI import `pydantic.v1`."""
    found: str = request.path_params["id_"]
    return found


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
