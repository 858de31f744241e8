"""Tests of `proxy.endpoints`: from ASGI messages to an exchange and back, past a stand-in pipeline."""

import asyncio
import contextlib
import json
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence

import pytest
from fakes.exchanges import numbers
from fakes.virtual_loop import run
from structlog.testing import capture_logs

from metrics.record import Record
from proxy import endpoints
from proxy.clock import ManualClock
from proxy.config.settings import Bounds, Config, Cors
from proxy.cors import CorsPolicy
from proxy.cycle import Awaited
from proxy.endpoints import Application, Edge, EdgeParts, HttpSink, HttpSource, Message, Receive, Scope, Send
from proxy.errors import Refusal
from proxy.exchange import Exchange, Head
from proxy.fleet import Fleet, snapshot
from proxy.intake import Header
from proxy.pipeline import Pipeline
from proxy.reception import Reception
from proxy.redaction import Redactor
from proxy.sockets import Sockets
from proxy.tenants import Tenants
from proxy.wire.codec import Voice
from proxy.wire.model import Dialect, Endpoint

KEY = b"sk-client-0123"
CONFIG = Config.model_validate(
    {
        "clients": [{"name": "tests", "key": KEY.decode()}],
        "bounds": {"body": 1024},
        "cors": {"origins": ["https://app.example.com"]},
    }
)
AUTH = (b"authorization", b"Bearer " + KEY)


class Client:
    """The client's side of an ASGI connection: what it sends, and what came back."""

    def __init__(self, *messages: Message) -> None:
        self._messages = list(messages)
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        """The next message; nothing more ever comes after the last."""
        if not self._messages:
            await asyncio.Event().wait()
        return self._messages.pop(0)

    async def send(self, message: Message) -> None:
        """Take what the application says."""
        self.sent.append(message)

    @property
    def status(self) -> int:
        """The status that was sent."""
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        """The headers that were sent."""
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        """The body that was sent."""
        return b"".join(message.get("body", b"") for message in self.sent[1:])


Work = Callable[[Exchange], Awaitable[None]]


class Stub(Pipeline):
    """A pipeline that does with an exchange what a test wants."""

    def __init__(self, work: Work) -> None:
        self._work = work

    async def handle(self, exchange: Exchange) -> None:
        """Do it."""
        await self._work(exchange)

    async def through(self, exchange: Exchange, serve: Work) -> None:
        """Let `serve` do it."""
        await serve(exchange)


class Plugs(Sockets):
    """WebSockets that are written down, or break."""

    def __init__(self, error: BaseException | None = None) -> None:
        self._error = error
        self.heads: list[Head] = []
        self.welcome: list[bool] = []

    async def serve(self, head: Head, voice: Voice, receive: Receive, send: Send, *, welcome: bool) -> None:
        """Take the handshake."""
        self.heads.append(head)
        self.welcome.append(welcome)
        if self._error is not None:
            raise self._error
        assert voice.dialect is Dialect.RESPONSES
        await send(await receive())


async def _nothing(_exchange: Exchange) -> None:
    raise AssertionError("this was not for the pipeline")


async def _rest(scope: Scope, _receive: Receive, send: Send) -> None:
    assert isinstance(scope["state"]["exchange"], Exchange)
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": b"rest"})


class Entrance:
    """An edge and what has gone through it."""

    def __init__(
        self,
        work: Work = _nothing,
        config: Config = CONFIG,
        aside: Work = _nothing,
        plugs: Plugs | None = None,
        rest: Application = _rest,
    ) -> None:
        clock, draw = ManualClock(), random.Random(3)
        fleet = Fleet(snapshot(config, Tenants(config.clients, b"pepper"), 0), clock, draw)
        self.began = 0
        self.stopping = False
        self.records: list[Record] = []
        self.plugs = plugs or Plugs()
        self.edge = Edge(
            EdgeParts(
                fleet=fleet,
                reception=Reception(fleet, clock, draw, Redactor(()), numbers()),
                pipeline=Stub(work),
                sockets=self.plugs,
                asides=dict.fromkeys(endpoints.ASIDES, aside),
                clock=clock,
                began=self._begin,
                observe=self.records.append,
                cors=CorsPolicy(config.cors) if config.cors else None,
                stopping=lambda: self.stopping,
            ),
            rest,
        )

    def _begin(self) -> None:
        self.began += 1

    def ask(self, method: str, path: str, *headers: tuple[bytes, bytes], body: bytes = b"") -> Client:
        """One request; the client that made it."""
        client = Client(part(body))
        scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
        asyncio.run(self.edge(scope, client.receive, client.send))
        return client


class FakeDirect(Awaited):
    """A connection on which the `body` came along with its head, or none; `takes`: answers at once."""

    def __init__(self, receive: Receive, body: bytes | None = None, *, takes: bool = False) -> None:
        super().__init__(receive)
        self._body = body
        self._takes = takes
        self.said: list[object] = []

    def _take(self, *said: object) -> bool:
        if self._takes:
            self.said.append(said)
        return self._takes

    def whole(self) -> bytes | None:
        """What came."""
        return self._body

    def begin(self, status: int, headers: Sequence[Header]) -> bool:
        """Keep it, if it is taken."""
        return self._take(status, *headers)

    def push(self, data: bytes, *, last: bool = False) -> bool:
        """Keep it, if it is taken."""
        return self._take(data, "last") if last else self._take(data)

    def answer(self, status: int, headers: Sequence[Header], body: bytes) -> bool:
        """Keep it, if it is taken."""
        return self._take(status, *headers, body)


def part(body: bytes, *, more: bool = False) -> Message:
    """A message with a part of a request's body."""
    return {"type": "http.request", "body": body, "more_body": more}


GONE: Message = {"type": "http.disconnect"}


def read(source_messages: tuple[Message, ...], announced: int | None = None, **bounds: object) -> bytes:
    """The body that a source makes of these messages."""
    limits = Bounds.model_validate({"body": 1024, **bounds})
    return asyncio.run(HttpSource(Awaited(Client(*source_messages).receive), limits, announced).body())


# The body.


@pytest.mark.parametrize(
    ("messages", "body"),
    [
        ((part(b"all"),), b"all"),
        ((part(b""),), b""),
        (({"type": "http.request"},), b""),
        ((part(b"a", more=True), part(b"b", more=True), part(b"c")), b"abc"),
        ((part(b"x" * 1024),), b"x" * 1024),
        ((part(b"x" * 1000, more=True), part(b"y" * 24)), b"x" * 1000 + b"y" * 24),
    ],
)
def test_a_body_is_joined(messages: tuple[Message, ...], body: bytes) -> None:
    """In however many parts it comes, up to and with the bound."""
    assert read(messages) == body


def test_the_wait_for_a_body_is_the_clients() -> None:
    """However it ends; a body that came along with its head was not waited for, and no clock is read."""

    async def slowly() -> Message:
        await asyncio.sleep(2.0)
        return part(b"all")

    async def waited(whole: bytes | None, patience: float) -> float:
        record = Record("req_1", "chat", 0.0)
        source = HttpSource(FakeDirect(slowly, whole), Bounds(body_read=patience), None)
        source.record = record
        with contextlib.suppress(Refusal):
            await source.body()
        return record.waited

    assert (run(waited(None, 10.0)), run(waited(None, 1.0)), run(waited(b"all", 10.0))) == (2.0, 1.0, 0.0)


def test_the_record_has_the_wait_for_the_body() -> None:
    """Whoever reads it."""
    waits = []

    async def work(exchange: Exchange) -> None:
        exchange.record.waited = -1.0
        await exchange.source.body()
        waits.append(exchange.record.waited)

    Entrance(work).ask("POST", "/v1/chat/completions", AUTH)
    assert waits[0] > -1.0


@pytest.mark.parametrize(
    ("messages", "announced"),
    [
        ((), 1025),
        ((part(b"x" * 1025),), None),
        ((part(b"x" * 1000, more=True), part(b"y" * 25, more=True)), None),
    ],
)
def test_a_body_beyond_the_bound_is_refused_while_it_is_read(
    messages: tuple[Message, ...], announced: int | None
) -> None:
    """By its announced length before a byte is read, or with the part that is too much."""
    with pytest.raises(Refusal) as caught:
        read(messages, announced)
    assert (caught.value.status, caught.value.code) == (413, "request_too_large")
    assert caught.value.should_retry is False


@pytest.mark.parametrize("messages", [(), (part(b"x", more=True),)])
def test_a_body_that_does_not_come_is_given_up(messages: tuple[Message, ...]) -> None:
    """The deadline is for all of the body, the first byte included."""
    with pytest.raises(Refusal) as caught:
        read(messages, body_read=0.01)
    assert (caught.value.status, caught.value.code) == (408, "request_timeout")


@pytest.mark.parametrize("messages", [(GONE,), (part(b"x", more=True), GONE)])
def test_a_client_that_leaves_with_its_body_unsent_cancels(messages: tuple[Message, ...]) -> None:
    """There is nobody left to be told."""
    with pytest.raises(asyncio.CancelledError):
        read(messages)


# The answer.


def test_a_whole_answer_has_its_length_and_the_extra_headers() -> None:
    """Status, headers, body, in two messages."""
    client = Client()
    sink = HttpSink(client.send, [(b"vary", b"origin")], Awaited(client.receive))
    started = [sink.started]
    asyncio.run(sink.answer(201, [(b"a", b"b")], b"body"))
    assert [*started, sink.started] == [False, True]
    assert client.sent == [
        {
            "type": "http.response.start",
            "status": 201,
            "headers": [(b"a", b"b"), (b"vary", b"origin"), (b"content-length", b"4")],
        },
        {"type": "http.response.body", "body": b"body"},
    ]


@pytest.mark.parametrize("takes", [True, False])
def test_a_whole_answer_is_one_call_where_it_need_not_wait(takes: bool) -> None:
    """The connection says its length itself; where it would have to wait, it gets the two messages."""
    client = Client()
    direct = FakeDirect(client.receive, takes=takes)
    sink = HttpSink(client.send, [(b"vary", b"origin")], direct)
    asyncio.run(sink.answer(201, [(b"a", b"b")], b"body"))
    assert sink.started
    assert direct.said == ([(201, (b"a", b"b"), (b"vary", b"origin"), b"body")] if takes else [])
    assert len(client.sent) == (0 if takes else 2)


@pytest.mark.parametrize("takes", [True, False])
def test_a_stream_is_said_by_plain_calls_where_it_need_not_wait(takes: bool) -> None:
    """Head, events and end; each goes the other way where it would wait. After the end nothing is said."""

    async def main() -> None:
        await sink.start(200, [(b"a", b"b")])
        await sink.write(b"one")
        await sink.end(b"two")
        await sink.write(b"late")
        await sink.end(b"later")

    client = Client()
    direct = FakeDirect(client.receive, takes=takes)
    sink = HttpSink(client.send, [(b"vary", b"origin")], direct)
    asyncio.run(main())
    assert sink.started
    said = [(200, (b"a", b"b"), (b"vary", b"origin")), (b"one",), (b"two", "last")]
    assert direct.said == (said if takes else [])
    assert len(client.sent) == (0 if takes else 3)


def test_a_stream_ends_once() -> None:
    """After the end nothing is written, whoever still tries."""

    async def main() -> Client:
        client = Client()
        sink = HttpSink(client.send, [], Awaited(client.receive))
        await sink.start(200, [])
        assert sink.started
        await sink.write(b"one")
        await sink.end(b"two")
        await sink.write(b"late")
        await sink.end(b"later")
        return client

    client = asyncio.run(main())
    assert client.sent[1:] == [
        {"type": "http.response.body", "body": b"one", "more_body": True},
        {"type": "http.response.body", "body": b"two"},
    ]


# The head.


@pytest.mark.parametrize(
    ("headers", "credential"),
    [
        ([(b"authorization", b"Bearer sk-1")], b"sk-1"),
        ([(b"authorization", b"bearer  sk-1 ")], b"sk-1"),
        ([(b"authorization", b"Basic c2s=")], None),
        ([(b"authorization", b"Bearer ")], None),
        ([(b"x-api-key", b"sk-2")], b"sk-2"),
        ([(b"api-key", b"sk-3")], b"sk-3"),
        ([(b"api-key", b"sk-3"), (b"authorization", b"Bearer sk-1")], b"sk-1"),
        ([(b"api-key", b"sk-3"), (b"authorization", b"Basic c2s=")], b"sk-3"),
        ([], None),
    ],
)
def test_a_key_is_found_in_three_places(headers: list[tuple[bytes, bytes]], credential: bytes | None) -> None:
    """A bearer token goes before the other two; other schemes are none of ours."""
    head = endpoints.read_head(headers)
    assert (head.credential or None) == credential
    assert "sk-" not in repr(head)


def test_only_the_allowed_headers_are_kept() -> None:
    """Everything else of a client's headers stays here, its key and its cookies first of all."""
    head = endpoints.read_head(
        [
            (b"content-type", b"application/json"),
            (b"content-encoding", b"GZIP"),
            (b"content-length", b"17"),
            (b"traceparent", b"00-1"),
            (b"openai-beta", b"assistants=v2"),
            (b"idempotency-key", b"caf\xe9"),
            (b"anthropic-version", b"2023-06-01"),
            (b"anthropic-beta", b"one,two"),
            (b"x-apex-strict", b"1"),
            (b"cookie", b"secret"),
            (b"x-forwarded-for", b"10.0.0.1"),
            (b"openai-organization", b"org-client"),
        ]
    )
    assert (head.content_type, head.content_encoding, head.length) == (b"application/json", b"gzip", 17)
    assert head.forwarded == (
        ("traceparent", "00-1"),
        ("openai-beta", "assistants=v2"),
        ("idempotency-key", "café"),
    )
    assert head.vendor == (("anthropic-version", "2023-06-01"), ("anthropic-beta", "one,two"))
    assert head.strict


@pytest.mark.parametrize(
    ("value", "strict"), [(b"1", True), (b" True ", True), (b"0", False), (b"", False), (None, False)]
)
def test_a_client_may_ask_for_all_or_nothing(value: bytes | None, strict: bool) -> None:
    """Nothing may then be lost in a translation."""
    assert endpoints.read_head([(b"x-apex-strict", value)] if value is not None else []).strict is strict


# The edge.


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/v1/chat/completions", Endpoint.CHAT),
        ("/v1/responses", Endpoint.RESPONSES),
        ("/v1/messages", Endpoint.MESSAGES),
        ("/v1/embeddings", Endpoint.EMBEDDINGS),
    ],
)
def test_hot_endpoints_go_straight_to_the_pipeline(path: str, endpoint: Endpoint) -> None:
    """With the head read, the body to come, and an id of the request's own."""
    seen: list[Exchange] = []

    async def work(exchange: Exchange) -> None:
        seen.append(exchange)
        await exchange.sink.answer(200, [], await exchange.source.body())

    entrance = Entrance(work)
    client = entrance.ask("POST", path, AUTH, body=b"{}")
    assert (client.status, client.body, entrance.began) == (200, b"{}", 1)
    assert seen[0].endpoint is endpoint
    assert seen[0].head.credential == KEY
    assert seen[0].request_id.startswith("req_")
    assert len(seen[0].request_id) == 28


def test_everything_else_is_authenticated_and_goes_on() -> None:
    """With a key to the application behind, which finds the exchange; without one no further."""
    entrance = Entrance()
    client = entrance.ask("GET", "/v1/models", AUTH)
    assert (client.status, client.body, entrance.began) == (299, b"rest", 1)
    [record] = entrance.records
    assert (record.endpoint, record.status, record.outcome) == ("models", 299, "completed")
    assert client.headers[b"x-request-id"] == client.headers[b"request-id"]
    refused = entrance.ask("GET", "/v1/models")
    assert refused.status == 401
    assert json.loads(refused.body)["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("path", sorted(endpoints.PROBES))
def test_probes_need_no_key(path: str) -> None:
    """Those who ask for health have none."""
    assert Entrance().ask("GET", path).status == 299


@pytest.mark.parametrize(
    ("stopping", "begun", "told"),
    [
        (False, False, (499, "client_gone", "", 0)),
        (False, True, (499, "client_gone", "", 200)),
        (True, False, (503, "failed", "shutting_down", 503)),
        (True, True, (200, "broken", "shutting_down", 200)),
    ],
)
def test_who_is_cut_off_is_no_bug(*, stopping: bool, begun: bool, told: tuple[int, str, str, int]) -> None:
    """A client that leaves, and one that hears that the replica ends, or no more."""

    async def rest(_scope: Scope, _receive: Receive, send: Send) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise asyncio.CancelledError

    entrance = Entrance(rest=rest)
    entrance.stopping = stopping
    client = entrance.ask("GET", "/v1/models", AUTH)
    (record,) = entrance.records
    sent = client.status if client.sent else 0
    assert (record.status, record.outcome, record.error, sent) == told


@pytest.mark.parametrize(("path", "endpoint"), endpoints.ASIDES.items())
def test_what_is_answered_otherwise_goes_through_the_pipeline(path: str, endpoint: Endpoint) -> None:
    """It is authenticated, read and routed like a request, but is no such one in the metrics."""
    seen: list[Exchange] = []

    async def aside(exchange: Exchange) -> None:
        seen.append(exchange)
        await exchange.sink.answer(200, [], await exchange.source.body())

    entrance = Entrance(aside=aside)
    client = entrance.ask("POST", path, AUTH, body=b"{}")
    assert (client.status, client.body, entrance.began) == (200, b"{}", 1)
    assert (seen[0].endpoint, seen[0].record.endpoint) == (endpoint, endpoints.RECORDED[path].value)


def test_counts_are_told_from_other_requests() -> None:
    """In logs and metrics; compaction is one more request to `responses`, which has its own record."""
    told = {path.rpartition("/")[2]: endpoint.value for path, endpoint in endpoints.RECORDED.items()}
    assert told == {"count_tokens": "count_tokens", "input_tokens": "count_tokens", "compact": "other"}


@pytest.mark.parametrize(
    ("path", "headers", "anthropic"),
    [
        ("/v1/models", [], False),
        ("/v1/models", [(b"anthropic-version", b"2023-06-01")], True),
        ("/v1/nothing", [(b"anthropic-version", b"2023-06-01")], True),
        ("/v1/messages/batches", [], True),
        ("/v1/responses/resp_1", [], False),
    ],
)
def test_errors_are_in_the_shape_that_the_clients_sdk_knows(
    path: str, headers: list[tuple[bytes, bytes]], anthropic: bool
) -> None:
    """Anthropic's for what its SDK asks."""
    refused = json.loads(Entrance().ask("GET", path, *headers).body)
    assert (refused.get("type") == "error") is anthropic
    assert refused["error"]["type"] == ("authentication_error" if anthropic else "invalid_request_error")


def test_what_is_neither_http_nor_a_socket_is_left_alone() -> None:
    """A lifespan scope is nobody's business here."""
    client = Client()
    asyncio.run(Entrance().edge({"type": "lifespan"}, client.receive, client.send))
    assert client.sent == []


def plugged(
    error: BaseException | None = None, *headers: tuple[bytes, bytes], config: Config = CONFIG
) -> tuple[Plugs, Client]:
    """What became of a WebSocket."""
    plugs, client = Plugs(error), Client({"type": "websocket.connect"})
    scope: Scope = {"type": "websocket", "path": "/v1/responses", "headers": [AUTH, *headers]}
    with capture_logs() as lines:
        asyncio.run(Entrance(plugs=plugs, config=config).edge(scope, client.receive, client.send))
    assert [line["event"] for line in lines] == (["socket_crashed"] if type(error) is LookupError else [])
    return plugs, client


def test_a_socket_is_served_by_those_who_can() -> None:
    """With the head that was read of its handshake."""
    plugs, client = plugged()
    assert [head.credential for head in plugs.heads] == [KEY]
    assert client.sent == [{"type": "websocket.connect"}]


def test_a_page_may_open_a_socket_where_it_may_call() -> None:
    """Browsers ask nobody before they open one, and always say whose page it is; other clients do not."""
    here, elsewhere = (b"origin", b"https://app.example.com"), (b"origin", b"https://evil.example.com")
    assert plugged()[0].welcome == [True]
    assert plugged(None, here)[0].welcome == [True]
    assert plugged(None, elsewhere)[0].welcome == [False]
    assert plugged(None, here, config=CONFIG.model_copy(update={"cors": None}))[0].welcome == [False]


@pytest.mark.parametrize("error", [asyncio.CancelledError(), LookupError("a bug")])
def test_a_socket_that_breaks_ends_quietly(error: BaseException) -> None:
    """The client or the server has gone, or a bug is a line in the log: the task ends in either case."""
    assert plugged(error)[1].sent == []


def test_a_bug_is_an_answer_and_a_line_in_the_log() -> None:
    """A 500 in the caller's shape that says nothing of the bug; the log says all, with the request's id."""

    async def work(_exchange: Exchange) -> None:
        raise LookupError("a bug with a secret")

    with capture_logs() as lines:
        client = Entrance(work).ask("POST", "/v1/chat/completions", AUTH)
    assert client.status == 500
    error = json.loads(client.body)["error"]
    assert (error["code"], error["type"]) == ("internal_error", "server_error")
    assert b"secret" not in client.body
    assert [line["event"] for line in lines] == ["request_crashed"]
    assert lines[0]["id"] == client.headers[b"x-request-id"].decode()


def test_a_bug_in_a_stream_is_told_in_the_stream() -> None:
    """A stream that has begun ends with an error event, never as if it were whole."""

    async def work(exchange: Exchange) -> None:
        await exchange.sink.start(200, [])
        await exchange.sink.write(b"data: {}\n\n")
        raise LookupError("a bug")

    with capture_logs():
        client = Entrance(work).ask("POST", "/v1/chat/completions", AUTH)
    events = client.body.split(b"\n\n")
    assert json.loads(events[1].removeprefix(b"data: "))["error"]["code"] == "internal_error"
    assert client.sent[-1].get("more_body", False) is False


def test_a_cancelled_request_ends_quietly() -> None:
    """The client has left, or the drain time is over: no line, no answer."""

    async def work(_exchange: Exchange) -> None:
        raise asyncio.CancelledError

    with capture_logs() as lines:
        client = Entrance(work).ask("POST", "/v1/chat/completions", AUTH)
    assert client.sent == []
    assert lines == []


ORIGIN = (b"origin", b"https://app.example.com")
PREFLIGHT = (b"access-control-request-method", b"POST")


def test_a_preflight_needs_no_key() -> None:
    """It is answered with what the page may do, on every route; another page is told nothing."""
    client = Entrance().ask("OPTIONS", "/v1/chat/completions", ORIGIN, PREFLIGHT)
    assert client.status == 204
    assert client.headers[b"access-control-allow-origin"] == ORIGIN[1]
    assert b"authorization" in client.headers[b"access-control-allow-headers"]
    other = Entrance().ask("OPTIONS", "/v1/models", (b"origin", b"https://evil.example.com"), PREFLIGHT)
    assert other.status == 204
    assert b"access-control-allow-origin" not in other.headers


def test_every_answer_to_a_page_may_be_read_by_it() -> None:
    """Hot, cold and refused answers alike carry the headers that let the page see them."""

    async def work(exchange: Exchange) -> None:
        await exchange.sink.answer(200, [], b"")

    entrance = Entrance(work)
    answers: Mapping[str, Client] = {
        "hot": entrance.ask("POST", "/v1/chat/completions", AUTH, ORIGIN),
        "cold": entrance.ask("GET", "/v1/models", AUTH, ORIGIN),
        "refused": entrance.ask("GET", "/v1/models", ORIGIN),
    }
    for name, client in answers.items():
        assert client.headers[b"access-control-allow-origin"] == ORIGIN[1], name
        assert b"x-apex-target" in client.headers[b"access-control-expose-headers"], name


def test_without_cors_nothing_is_said_of_it() -> None:
    """Off unless configured: an OPTIONS request is one like any other, and needs a key."""
    entrance = Entrance(config=CONFIG.model_copy(update={"cors": None}))
    assert entrance.ask("OPTIONS", "/v1/models", ORIGIN, PREFLIGHT).status == 401
    answer = entrance.ask("GET", "/v1/models", AUTH, ORIGIN)
    assert not [name for name in answer.headers if name.startswith(b"access-control")]


def test_the_cors_settings_are_the_configurations() -> None:
    """A `*` lets every page in."""
    config = CONFIG.model_copy(update={"cors": Cors.model_validate({"origins": ["*"]})})
    client = Entrance(config=config).ask("GET", "/v1/models", AUTH, (b"origin", b"https://any.example"))
    assert client.headers[b"access-control-allow-origin"] == b"*"
