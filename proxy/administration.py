"""What operators ask and order: `/admin` on the operations port.

    GET  /admin/targets                        how each target stands, and what its key has left
    POST /admin/targets/{id}/drain             no new requests go there, in the whole cluster
    POST /admin/targets/{id}/restore           they do again
    POST /admin/targets/{id}/reset             what is known against it is forgotten
    POST /admin/targets/{id}/reset?with=       that against its `key` or `origin` too, for all who share it
    GET  /admin/limits/{client}                what a client has left
    POST /admin/explain?client=&endpoint=      what would become of a request
    GET  /admin/decisions                      the last of this replica
    GET  /admin/decisions?format=lines         the same for `apex-proxy replay`
    GET  /admin/decisions/{id}                 why, of any request that any replica took lately

Nothing here is on a request's way. The doorkeeper has let in who asks. Parameters are read off the request:
those that a function declares make FastAPI load all of pydantic.v1, at the start.
"""

import asyncio
import dataclasses
import itertools
import operator
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from proxy import ledger as ledgers
from proxy.circuit import NOTHING, Kind, State
from proxy.cycle import Awaited
from proxy.decision import Decision
from proxy.endpoints import HttpSource, read_head
from proxy.errors import Refusal
from proxy.exchange import Head
from proxy.explanation import Explanation, Touched, explained, outlined, path, touched
from proxy.fleet import Fleet
from proxy.health import names
from proxy.inquiries import Inquiries, Silence
from proxy.ledger import Ledger
from proxy.overview import overview
from proxy.pieces import pieces
from proxy.rehearsal import Rehearsal
from proxy.targets import Target, direct
from proxy.tenants import Tenant
from proxy.wire import envelope
from proxy.wire.envelope import encode
from proxy.wire.model import DIALECT_OF, Endpoint
from ratelimit.limiter import Limiter
from ratelimit.scope import Kind as Kinds
from ratelimit.scope import Limits

FEW: Final = 50
"""Decisions listed unless asked for more."""

LONGEST: Final = 8 * 1024 * 1024
"""The most bytes of an explanation that another replica may give."""

PIECE: Final = 32
"""Decisions read and written in one go: others have their turn between two."""

READERS: Final = 4
"""Lists of decisions that may be on their way at one time."""

LONG: Final = 120.0
"""Seconds that one may take."""

NOTHING_KEPT: Final = (
    "Nothing is kept of that request: its API key was not known (401), it chose no target (a token count, a "
    "list, a stored response that was read), or it is too old."
)

ORDERS: Final = {"drain": Kind.DRAIN, "restore": Kind.RESTORE, "reset": Kind.RESET}

SHARED: Final = {"key": operator.attrgetter("key_id"), "origin": operator.attrgetter("origin")}
"""What else a target is held against, and others with it: a reset takes it in where it is told to."""


@dataclasses.dataclass(frozen=True, slots=True)
class Administration:
    """The routes. `inquiries` is None in a process without Redis, whose replica is alone."""

    fleet: Fleet
    limiter: Limiter
    ledger: Ledger
    rehearsal: Rehearsal
    inquiries: Callable[[], Inquiries | None]
    reading: set[object] = dataclasses.field(default_factory=set)

    def attach(self, app: FastAPI) -> None:
        """Add the routes."""
        app.get("/admin/targets")(self.targets)
        app.post("/admin/targets/{name:path}/{order}")(self.order)
        app.get("/admin/limits/{client:path}")(self.limits)
        app.post("/admin/explain")(self.explain)
        app.get("/admin/decisions")(self.decisions)
        app.get("/admin/decisions/{request_id}")(self.decision)

    async def targets(self) -> Response:
        """Every target of every model, as this replica sees it."""
        rows = overview(self.fleet)
        key_of = {target.id: target.key_id for target in self._all()}
        said = await self._asked(dict.fromkeys(key_of[row.target] for row in rows))
        listed = [{**msgspec.to_builtins(row), "limits": said.get(key_of[row.target], ())} for row in rows]
        return _json({"replica": self.fleet.name, "targets": listed})

    async def _asked(self, keys: Iterable[str]) -> dict[str, tuple[Touched, ...]]:
        """What the limits of each key say, where it has any."""
        scopes = self.fleet.snapshot.scopes
        limited = {key: limits for key in keys if (limits := scopes.of_key(key))}
        found = await asyncio.gather(*(self._touched(limits) for limits in limited.values()))
        return dict(zip(limited, found, strict=True))

    async def _touched(self, limits: Limits) -> tuple[Touched, ...]:
        """Each limit with what is left of it now; nothing of that while the store is away."""
        said = await asyncio.gather(*(self.limiter.peek((limit,)) for limit in limits))
        return tuple(touched(limit, one) for limit, one in zip(limits, said, strict=True))

    async def order(self, request: Request) -> Response:
        """Drain, restore or reset a target, by its id; or all of a label, `provider/model`.

        A reset may take in what is `SHARED`: `?with=key&with=origin`.
        """
        name, order = request.path_params["name"], request.path_params["order"]
        kind = ORDERS.get(order)
        if kind is None:
            raise Refusal(404, f"A target can be told to {', '.join(ORDERS)}; not to {self._shown(order)}.")
        wider = _wider(request.query_params.getlist("with"), kind)
        anybody = itertools.chain(self._all(), self._addressed())
        meant = {target.id: target for target in anybody if name in (target.id, target.label)}
        if not meant:
            raise Refusal(404, f"There is no target '{self._shown(name)}'; GET /admin/targets names all.")
        for target in meant.values():
            self.fleet.order(target, kind)
        others = {SHARED[what](target) for target in meant.values() for what in wider}
        for other in others:
            self.fleet.reset(other)
        held = {name: sorted(self._still(target)) for name, target in meant.items()}
        still = {name: by for name, by in held.items() if by}
        told = {"order": order, "targets": list(meant), "with": sorted(others), "still": still}
        caller = request.client.host if request.client is not None else ""
        structlog.get_logger("administration").info("ordered", **told, by=caller)
        return _json(told if kind is Kind.DRAIN else told | _hint(meant, still))

    def _still(self, target: Target) -> Iterator[str]:
        """The names, its origin's and its key's too, under which it is kept away all the same."""
        now, records = self.fleet.now(), self.fleet.health.records
        for name in names(target):
            record = records.get(name, NOTHING)
            if record.drained or record.matters(now) or record.state(now) is not State.CLOSED:
                yield name

    async def limits(self, request: Request) -> Response:
        """What a client has left of each of its limits, over the whole cluster."""
        client = request.path_params["client"]
        self._tenant(client)
        found = await self._touched(self.fleet.snapshot.scopes.of(Kinds.CLIENT, client))
        return _json({"client": client, "limits": found, "known": not self.limiter.away})

    async def explain(self, request: Request) -> Response:
        """What would become of the request in the body. Nothing is sent, taken or learned."""
        asked = read_head(request.headers.raw)
        source = HttpSource(Awaited(request.receive), self.fleet.snapshot.config.bounds, asked.length)
        told = await self.explained(await source.body(), asked, request.query_params)
        return _json(told)

    async def explained(self, body: bytes, asked: Head, query: Mapping[str, str]) -> Explanation:
        """What would become of a request. Raises `Refusal` where nobody can say what is meant."""
        fields = envelope.decode(body, self.fleet.snapshot.config.bounds.json_depth)
        named = query.get("endpoint")
        endpoint = _endpoint(named, fields)
        tenant = self._tenant(query.get("client"))
        head = Head(None, b"application/json", b"", len(body), asked.forwarded, asked.vendor, asked.strict)
        found = await self.rehearsal.of(endpoint, body, tenant, head)
        said = {limit.key: quote.said for quote in found.quotes for limit in quote.limits}
        name, waits, answer = self.fleet.name, found.waits, found.answer
        told = explained(found.decision, found.snapshot, name, said=said, waits=waits, answer=answer)
        either = endpoint is Endpoint.CHAT and "max_tokens" in fields and fields.keys() <= _EITHER
        return msgspec.structs.replace(told, guessed=named is None and either)

    async def decisions(self, request: Request) -> Response:
        """The newest of this replica, one line each; with `format=lines` as `replay` wants them."""
        asked = request.query_params
        limit = asked.get("limit", str(FEW))
        if not limit.isdecimal() or len(limit) > 9:
            raise Refusal(400, "`limit` is a whole number.", param="limit")
        if len(self.reading) >= READERS:
            raise Refusal(503, "As many read decisions as may.", code="overloaded", retry_after=1.0)
        kept = itertools.islice(self.ledger.latest(), int(limit))
        if asked.get("format") == "lines":
            lines = (encode(one.decision) + b"\n" for one in kept if one.snapshot is not None)
            return _Listed(self.reading, _joined(lines), "application/x-ndjson")
        rows = itertools.chain(
            (b'{"replica":' + encode(self.fleet.name) + b',"decisions":[',),
            _separated(encode(_row(one.decision)) for one in kept),
            (b"]}",),
        )
        return _Listed(self.reading, _joined(rows), "application/json")

    async def decision(self, request: Request) -> Response:
        """Why a request went where it went; asked of the replica that took it."""
        request_id = request.path_params["request_id"]
        there = ledgers.address(request_id)
        if there is None:
            raise Refusal(400, "That is no id of a request: `req_` and 24 hex digits.", code="invalid_id")
        if there.replica == self.ledger.name:
            found = self.told(request_id.encode())
        else:
            inquiries = self.inquiries()
            heard = await inquiries.ask(there.replica, request_id.encode()) if inquiries else Silence.NOBODY
            if isinstance(heard, Silence) and heard is not Silence.UNKNOWN:
                raise Refusal(503, _SILENT[heard].format(replica=there.replica), code="replica_silent")
            found = _unpacked(heard) if isinstance(heard, bytes) else None
        if found is None:
            raise Refusal(404, NOTHING_KEPT, code="not_found")
        return Response(found, media_type="application/json")

    def answer(self, request_id: bytes) -> bytes | None:
        """The same for another replica, made small: hundreds of targets that were left out are many words."""
        found = self.told(request_id)
        return zlib.compress(found, 1) if found is not None else None

    def told(self, request_id: bytes) -> bytes | None:
        """The explanation of a decision of this replica, as JSON; None where it is not kept."""
        kept = self.ledger.find(request_id.decode("ascii", "replace"))
        if kept is None:
            return None
        if kept.snapshot is None:
            return encode(outlined(kept.decision, self.ledger.name))
        return encode(explained(kept.decision, kept.snapshot, self.ledger.name))

    def _shown(self, said: str) -> str:
        """What an error repeats of what was asked: a key may have been pasted for a name."""
        return self.rehearsal.redacted(said)[:100]

    def _all(self) -> Iterator[Target]:
        for model in self.fleet.snapshot.models.values():
            yield from model.targets

    def _addressed(self) -> Iterator[Target]:
        """What stands for all models of a provider that clients address and nobody has configured."""
        config = self.fleet.snapshot.config
        for provider in config.providers:
            found = direct(config, provider, "*")
            yield from found.targets if found is not None else ()

    def _tenant(self, name: str | None) -> Tenant:
        tenants = self.fleet.snapshot.tenants
        names = tenants.names()
        wanted = names[0] if name is None and len(names) == 1 else name
        found = tenants.named(wanted) if wanted is not None else None
        if found is None:
            asks = "It hangs on who asks: name the client (`client=NAME`, or `--client NAME`)"
            missing = f"There is no client '{self._shown(name)}'" if name else asks
            raise Refusal(404 if name else 400, f"{missing}; clients are {_some(names)}.", param="client")
        return found


def _wider(asked: list[str], kind: Kind) -> list[str]:
    """What else an order is about. Raises `Refusal` where that makes no sense."""
    if not SHARED.keys() >= set(asked):
        raise Refusal(400, f"`with` is one of {', '.join(SHARED)}.", param="with")
    if asked and kind is not Kind.RESET:
        raise Refusal(400, "`with` is for `reset` alone.", param="with")
    return asked


def _hint(meant: Mapping[str, Target], still: Mapping[str, list[str]]) -> dict[str, str]:
    """The way to lift what keeps targets away that they share; none where nothing of that does."""
    what = [one for one, of in SHARED.items() if any(of(meant[name]) in by for name, by in still.items())]
    if not what:
        return {}
    asked, said = "&".join(f"with={one}" for one in what), " and its ".join(what)
    return {"hint": f"`reset?{asked}` also forgets what is held against its {said}, for all who share that."}


class _Listed(StreamingResponse):
    """A list of decisions: one of those that are `reading`, until it has been read or takes too long."""

    def __init__(self, reading: set[object], pieces: AsyncIterator[bytes], kind: str) -> None:
        super().__init__(pieces, media_type=kind)
        self._reading = reading

    async def __call__(self, *asgi: Any, **named: Any) -> None:
        self._reading.add(self)
        try:
            async with asyncio.timeout(LONG):
                await super().__call__(*asgi, **named)
        except TimeoutError:
            return  # the answer is not whole, so its connection is closed
        finally:
            self._reading.discard(self)


def _unpacked(answer: bytes) -> bytes | None:
    """What another replica made small; None for what none of this version has said."""
    unpacking = zlib.decompressobj()
    try:
        found = unpacking.decompress(answer, LONGEST)
    except zlib.error:
        return None
    return found if unpacking.eof else None


def _row(made: Decision) -> dict[str, object]:
    return {
        "request_id": made.request_id,
        "at": made.at,
        "model": made.asked,
        "client": made.client,
        "outcome": made.outcome,
        "status": made.status,
        "path": path(made),
    }


def _separated(rows: Iterable[bytes]) -> Iterator[bytes]:
    for number, row in enumerate(rows):
        yield b",\n" + row if number else row


async def _joined(rows: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Rows, a few at a time: there may be tens of thousands, and each takes a tenth of a millisecond."""
    async for piece in pieces(rows, PIECE):
        yield b"".join(piece)


def _endpoint(named: str | None, fields: envelope.Fields) -> Endpoint:
    """The endpoint that a body is meant for: as it is said, else by the fields that only one has."""
    if named is not None:
        found = {endpoint.value: endpoint for endpoint in DIALECT_OF}.get(named)
        if found is None:
            raise Refusal(400, f"`endpoint` is one of {', '.join(one.value for one in DIALECT_OF)}.")
        return found
    if "input" in fields:
        return Endpoint.RESPONSES
    messages = "max_tokens" in fields and not _ANTHROPIC.isdisjoint(fields)
    return Endpoint.MESSAGES if messages else Endpoint.CHAT


_ANTHROPIC: Final = frozenset({"system", "thinking", "stop_sequences", "anthropic_version"})
"""Fields that the Messages API has and Chat has not."""

_EITHER: Final = frozenset(
    {"model", "messages", "max_tokens", "stream", "temperature", "top_p", "top_k", "tools", "tool_choice"}
    | {"metadata", "service_tier"}
)
"""Fields that a body for either of the two may have: where there are no others, nobody knows which it is."""


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:20])
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown or "none"


_SILENT: Final = {
    Silence.AWAY: "Replica {replica} decided that, and Redis, over which it is asked, is away.",
    Silence.NOBODY: "Replica {replica} decided that, and does not answer: it may be gone.",
    Silence.BUSY: "Too much is asked of other replicas at the moment.",
}


def _json(value: object) -> Response:
    return Response(encode(value), media_type="application/json")
