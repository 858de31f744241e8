"""The desk: one request in, one act out. It reads, decides, composes and stages, and does no I/O.

Rule: any path ending in a known endpoint is served (so that a deployment in the URL, a version or none all
work), and a fault that a request brings itself goes before the script: the `x-mock-fault` header, then the
body's `x_mock`, then what follows a `#` in the model's name. A proxy lets through at least one of the three.
"""

import functools
import random
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import msgspec

from mockprovider import chat, compaction, embeddings, messages, models, responses
from mockprovider.answer import Answer, Ask, Stamp, Unreadable, compose
from mockprovider.behaviour import Behaviour, Complaint, Flavour
from mockprovider.errors import Fault, anthropic_fault, encoded, openai_fault, refusal
from mockprovider.ledger import key_id
from mockprovider.reading import Terms, unsuffixed
from mockprovider.script import Decider, Decision, Facts, Script, ScriptError, inline
from mockprovider.sse import Event, shortened, spelt
from mockprovider.staging import Act, Reply, stage

DIALECTS = frozenset({"chat", "responses", "messages"})

_POST = re.compile(
    r"/(chat/completions|embeddings|responses(?:/(?:input_tokens|compact))?|messages(?:/count_tokens)?)/?$",
    re.ASCII,
)
_GET = re.compile(r"/(models)(?:/(.+))?$", re.ASCII)
_DEPLOYMENT = re.compile(r"/deployments/([^/]+)/", re.ASCII)
_SPEAKS = {
    "chat/completions": {"chat"},
    "embeddings": {"chat", "responses"},
    "responses": {"responses"},
    "responses/input_tokens": {"responses"},
    "responses/compact": {"responses"},
    "messages": {"messages"},
    "messages/count_tokens": {"messages"},
    "models": DIALECTS,
}
_HTML = (
    b"<html>\r\n<head><title>Bad gateway</title></head>\r\n<body><h1>Bad gateway</h1></body>\r\n</html>\r\n"
)
_NOISE = b"<<< upstream connect error; this is not JSON >>>"
_STORED = 1000
_STREAM_TYPE = "text/event-stream; charset=utf-8"


class Dialect(Protocol):
    """What each wire module can do."""

    def read(self, body: bytes, model: str, terms: Terms) -> Ask:
        """A request body as what it asks. Raises Unreadable."""

    def reply(self, ask: Ask, answer: Answer, stamp: Stamp) -> bytes:
        """The whole reply."""

    def events(self, ask: Ask, answer: Answer, stamp: Stamp) -> list[Event]:
        """The whole stream."""

    def failure(self, ask: Ask, fault: Fault, stamp: Stamp, sent: int) -> list[Event]:
        """The in-band error after `sent` events."""


_DIALECTS: dict[str, Dialect] = {"chat/completions": chat, "responses": responses, "messages": messages}
_COUNTS = {"responses/input_tokens": responses.count, "messages/count_tokens": messages.count}


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the connection read it: header names in lower case, `path` without the query."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    query: str = ""
    reused: bool = False


@dataclass(frozen=True, slots=True)
class Served:
    """What to do, and what the ledger wants to know."""

    act: Act
    key_id: str
    model: str


@dataclass(frozen=True, slots=True)
class _Order:
    """A request as read: what is asked, how the whole reply is made, and which dialect could stream it."""

    ask: Ask
    whole: Callable[[Behaviour, Stamp], bytes]
    dialect: Dialect | None = None


class _Refused(Exception):
    """A request that is answered with a plain error, whatever the script says."""

    def __init__(self, status: int, said: Complaint, param: str | None = None) -> None:
        super().__init__(said.message)
        self.status = status
        self.said = said
        self.param = param


@functools.lru_cache(maxsize=1024)
def route(method: str, path: str) -> tuple[str, str] | None:
    """The endpoint of a path and the model it names; the endpoint is empty if only the method is wrong."""
    posted, got = _POST.search(path), _GET.search(path)
    if posted is None and got is None:
        return None
    if method == "POST" and posted is not None:
        deployment = _DEPLOYMENT.search(path)
        return posted[1], deployment[1] if deployment else ""
    if method == "GET" and got is not None:
        return got[1], got[2] or ""
    return "", ""


def credential(headers: Mapping[str, str]) -> str:
    """The provider key of a request, wherever the dialect puts it; empty without one."""
    bearer = headers.get("authorization", "")
    return bearer.removeprefix("Bearer ") or headers.get("x-api-key") or headers.get("api-key", "")


class Desk:
    """Answers requests by one script. Its state is the script's counters, the dice and the ids given out.

    `flavour` goes before the script's own.
    """

    def __init__(
        self,
        name: str,
        script: Script,
        seed: int = 0,
        dialects: Collection[str] = DIALECTS,
        flavour: Flavour | None = None,
    ) -> None:
        unknown = sorted(set(dialects) - DIALECTS)
        if unknown:
            raise ValueError(f"dialects: found {unknown[0]!r}, allowed: {', '.join(sorted(DIALECTS))}")
        self.name = name
        self.script = script
        self._seed = seed
        self._dialects = frozenset(dialects)
        self._flavour = flavour or script.flavour
        self._made = 0
        self._stored: dict[str, None] = {}
        dice = random.Random(seed)  # noqa: S311  (dice that can be thrown again, not secrets)
        self._decider = Decider(script, dice)

    def serve(self, request: Request, elapsed_s: float) -> Served:
        """The act for a request that arrived `elapsed_s` seconds after the script began."""
        self._made += 1
        stamp = Stamp(self._made, self._seed)
        key = credential(request.headers)
        shape = self._shape(request)
        model = ""
        try:
            order, suffix = self._read(request)
            model = order.ask.model
            decision = self._decide(request, order.ask, suffix, elapsed_s)
            self._keep(order, decision.behaviour, stamp)
            reply = self._reply(order, decision.behaviour, stamp, shape)
        except _Refused as refused:
            decision = self._decider.inline(Behaviour(), elapsed_s)
            body = refusal(shape, refused.status, refused.said, stamp.id("req_"), refused.param)
            reply = Reply(refused.status, [body])
        headers = {
            "request-id" if shape == "anthropic" else "x-request-id": stamp.id("req_"),
            "x-mock-name": self.name,
        }
        return Served(stage(replace(reply, headers=headers), decision), key_id(key), model)

    def _shape(self, request: Request) -> str:
        """The shape of errors on this path."""
        found = route(request.method, request.path)
        endpoint = found[0] if found else ""
        if endpoint.startswith("messages"):
            return "anthropic"
        return self._flavour if endpoint.startswith("chat") else "openai"

    def _terms(self, request: Request) -> Terms:
        return Terms(
            name=self.name,
            flavour=self._flavour,
            version=request.headers.get("anthropic-version", ""),
            beta=bool(request.headers.get("anthropic-beta")),
            stored=self._stored,
        )

    def _keep(self, order: _Order, behaviour: Behaviour, stamp: Stamp) -> None:
        """Remember a response that was to be stored: the newest few, so that others may name them."""
        if order.dialect is responses and order.ask.echo["store"] and behaviour.status < 400:
            self._stored[stamp.id("")] = None
            if len(self._stored) > _STORED:
                del self._stored[next(iter(self._stored))]

    def _read(self, request: Request) -> tuple[_Order, str]:
        """The order, and the fault that its model's name carries."""
        found = route(request.method, request.path)
        if found is None or not _SPEAKS.get(found[0], DIALECTS) & self._dialects:
            raise _Refused(404, Complaint(f"Unknown request URL: {request.method} {request.path}."))
        endpoint, model = found
        if not endpoint:
            raise _Refused(405, Complaint(f"Not allowed to {request.method} on {request.path}."))
        try:
            return self._order(endpoint, model, request)
        except Unreadable as error:
            raise _Refused(error.status, Complaint(str(error), code=error.code), error.param) from None

    def _order(self, endpoint: str, model: str, request: Request) -> tuple[_Order, str]:
        if endpoint == "models":
            listing = (
                models.listing if "anthropic-version" not in request.headers else models.anthropic_listing
            )
            body = listing(self.script.models, model)
            return _Order(Ask(model=model), lambda _behaviour, _stamp: body), ""
        if endpoint == "embeddings":
            wanted = embeddings.read(request.body, model)
            ask, suffix = _unsuffixed(wanted.ask)
            wanted = replace(wanted, ask=ask)
            return _Order(
                ask, lambda behaviour, _stamp: embeddings.reply(wanted, behaviour.prompt_tokens)
            ), suffix
        if endpoint == "responses/compact":
            long = compaction.read(request.body, model, self._terms(request))
            ask, suffix = _unsuffixed(long.ask)
            return _Order(ask, lambda _behaviour, stamp: compaction.reply(long, self.name, stamp)), suffix
        if endpoint in _COUNTS:
            counted = _COUNTS[endpoint](request.body, self._terms(request))
            return _Order(Ask(model=model), lambda _behaviour, _stamp: counted), ""
        dialect = _DIALECTS[endpoint]
        ask, suffix = _unsuffixed(dialect.read(request.body, model, self._terms(request)))
        return _Order(
            ask, lambda b, stamp: dialect.reply(ask, compose(ask, b, self.name), stamp), dialect
        ), suffix

    def _decide(self, request: Request, ask: Ask, suffix: str, elapsed_s: float) -> Decision:
        try:
            brought = _brought(request.headers.get("x-mock-fault", ""), ask.fault, suffix)
        except ScriptError as error:
            raise _Refused(400, Complaint(str(error))) from None
        if brought is not None:
            return self._decider.inline(brought, elapsed_s)
        key = credential(request.headers)
        facts = Facts(request.path, ask.model, key, key_id(key), ask.stream, request.reused)
        return self._decider.decide(facts, elapsed_s)

    def _reply(self, order: _Order, behaviour: Behaviour, stamp: Stamp, shape: str) -> Reply:
        status = behaviour.status
        if behaviour.html:
            return Reply(status, [_HTML], "text/html; charset=utf-8")
        streaming = order.ask.stream and order.dialect is not None and status < 400
        if behaviour.body is not None:
            return Reply(
                status, [_raw(behaviour.body)], _STREAM_TYPE if streaming else "application/json", streaming
            )
        if status >= 400:
            return Reply(status, [refusal(shape, status, behaviour.error, stamp.id("req_"))])
        if streaming and order.dialect is not None:
            frames = spelt(self._events(order.ask, order.dialect, behaviour, stamp), behaviour)
            return Reply(status, frames, _STREAM_TYPE, streaming=True)
        return Reply(status, _whole(order, behaviour, stamp, shape))

    def _events(self, ask: Ask, dialect: Dialect, behaviour: Behaviour, stamp: Stamp) -> Sequence[Event]:
        events = dialect.events(ask, compose(ask, behaviour, self.name), stamp)
        if behaviour.error_after_events is not None:
            events = events[: behaviour.error_after_events]
            fault = (
                anthropic_fault(529, behaviour.error)
                if dialect is messages
                else openai_fault(500, behaviour.error)
            )
            events += dialect.failure(ask, fault, stamp, len(events))
        return shortened(events, behaviour)


def _unsuffixed(ask: Ask) -> tuple[Ask, str]:
    model, suffix = unsuffixed(ask.model)
    return replace(ask, model=model), suffix


def _brought(header: str, raw: bytes, suffix: str) -> Behaviour | None:
    """The behaviour that a request asks for itself. Raises ScriptError."""
    text = header or _field_text(raw) or suffix
    return inline(text) if text else None


def _field_text(raw: bytes) -> str:
    """The `x_mock` field: an object as its JSON, a string as its text, null as nothing."""
    text = raw.decode()
    return str(msgspec.json.decode(text)) if text.startswith('"') else text.removeprefix("null")


def _raw(body: str | dict[str, object]) -> bytes:
    return body.encode() if isinstance(body, str) else encoded(body)


def _whole(order: _Order, behaviour: Behaviour, stamp: Stamp, shape: str) -> list[bytes]:
    """The body of a reply that is no stream; no frame at all when it is empty."""
    if behaviour.empty in {"body", "stream", "opening"}:
        return []
    if behaviour.error_after_events is not None:
        status = 529 if shape == "anthropic" else 500
        return [refusal(shape, status, behaviour.error, stamp.id("req_"))]
    body = order.whole(behaviour, stamp)
    if behaviour.garbage is not None:
        return [_NOISE if behaviour.garbage == "noise" else body[: len(body) // 2]]
    return [body]
