"""Responses over a WebSocket: the official SDK and a plain client against `serve`."""

import json
import signal
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import openai
import pytest
from harness import KEY, MODEL, Mock, Serve, configured, eventually, fetch
from schemas.validation import problems
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

pytestmark = [
    pytest.mark.process,
    # How the SDK opens a connection is its own affair.
    pytest.mark.filterwarnings("ignore:connect\\(\\) must be used:DeprecationWarning"),
]

SAID = "Hello from mock. You said: "
ORIGIN = "https://app.example.com"
BOUND = 64 * 1024
FAULTS: dict[str, dict[str, object]] = {
    "broken": {"status": 500},
    "refused": {"status": 422, "error": {"message": "too hot", "code": "too_hot"}},
    "cut": {"tokens": 20, "delay_events_s": 0.01, "cut_after_events": 5},
    "slow": {"tokens": 20, "delay_events_s": 0.05},
    "stalling": {"tokens": 20, "stall_after_events": 5},
}


def script() -> dict[str, object]:
    """A provider that fails in a way of its own for each of these models."""
    return {"rules": [{"match": {"model": name}, "then": then} for name, then in FAULTS.items()]}


def setting(mock: Mock, **more: Any) -> dict[str, object]:
    """A configuration in which every model is served by one provider."""
    config = configured(
        mock,
        bounds={"body": BOUND},
        cors={"origins": [ORIGIN]},
        listen={"port": 0, "keep_alive": 1},
        **more,
    )
    models = config["models"]
    assert isinstance(models, dict)
    for name in FAULTS:
        models[name] = {"providers": [{"provider": "mock"}]}
    return config


@pytest.fixture(scope="module")
def mock() -> Iterator[Mock]:
    """A provider."""
    with Mock(script()) as provider:
        yield provider


@pytest.fixture(scope="module")
def proxy(mock: Mock) -> Iterator[Serve]:
    """A proxy before it."""
    with Serve(setting(mock)) as serve:
        yield serve


@pytest.fixture
def client(proxy: Serve) -> Iterator[openai.OpenAI]:
    """The SDK's client; it retries nothing by itself."""
    with openai.OpenAI(base_url=proxy.url, api_key=KEY, max_retries=0) as made:
        yield made


def plain(
    proxy: Serve, headers: Mapping[str, str] | None = None, origin: Any = None
) -> AbstractContextManager[ClientConnection]:
    """A connection without the SDK."""
    sent = {"authorization": f"Bearer {KEY}", **(headers or {})}
    url = f"ws://127.0.0.1:{proxy.port}/v1/responses"
    made: AbstractContextManager[ClientConnection] = connect(url, additional_headers=sent, origin=origin)
    return made


def asking(said: str = "Hi", **fields: object) -> str:
    """A turn."""
    return json.dumps({"type": "response.create", "model": MODEL, "input": said, "store": False, **fields})


def turn(connection: Any) -> list[Any]:
    """The events of the SDK's connection to the end of a turn."""
    got: list[Any] = []
    while not got or got[-1].type not in ("response.completed", "response.failed", "error"):
        got.append(connection.recv())
    return got


def heard(connection: ClientConnection) -> list[dict[str, Any]]:
    """The same of a plain one."""
    got: list[dict[str, Any]] = []
    while not got or got[-1]["type"] not in ("response.completed", "response.failed", "error"):
        got.append(json.loads(connection.recv(timeout=20)))
    return got


def text(events: list[Any]) -> str:
    """What was said."""
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def in_flight(proxy: Serve) -> float:
    """How many requests the proxy says that it serves."""
    lines = metrics(proxy).splitlines()
    return float(next(line for line in lines if line.startswith("apex_requests_in_flight")).split()[1])


def metrics(proxy: Serve) -> str:
    """The page of metrics."""
    with openai.OpenAI(base_url=f"http://127.0.0.1:{proxy.operations}", api_key="-") as made:
        return str(made.get("/metrics", cast_to=str))


def test_turns_follow_each_other_without_anything_being_stored(client: openai.OpenAI, mock: Mock) -> None:
    """The third is sent with the two before it; nobody can read any of them later."""
    with client.responses.connect() as connection:
        connection.response.create(model=MODEL, input="one", store=False)
        events = turn(connection)
        for said in ("two", "three"):
            last = events[-1].response.id
            connection.response.create(model=MODEL, input=said, store=False, previous_response_id=last)
            events = turn(connection)
            assert text(events) == SAID + said
    sent = json.loads(fetch(mock.port, "/_mock/requests?last=1")["requests"][0]["body"])["messages"]
    assert [one["content"] for one in sent if one["role"] == "user"] == ["one", "two", "three"]
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(events[-1].response.id)


def test_a_stored_response_can_be_followed_elsewhere(client: openai.OpenAI) -> None:
    """Over another connection, and over none."""
    with client.responses.connect() as connection:
        connection.response.create(model=MODEL, input="one")
        first = turn(connection)[-1].response
    with client.responses.connect() as connection:
        connection.response.create(model=MODEL, input="two", previous_response_id=first.id)
        second = turn(connection)[-1].response
    assert client.responses.retrieve(second.id).output_text == SAID + "two"
    assert len(client.responses.input_items.list(second.id).data) == 3


def test_a_turn_may_only_say_something(client: openai.OpenAI) -> None:
    """It is answered with an id to go on from."""
    with client.responses.connect() as connection:
        connection.send({"type": "response.create", "model": MODEL, "input": "one", "generate": False})
        warm = turn(connection)[-1].response
        assert (warm.status, warm.output) == ("completed", [])
        connection.response.create(model=MODEL, input="two", previous_response_id=warm.id)
        assert text(turn(connection)) == SAID + "two"


@pytest.mark.parametrize(
    ("model", "status", "code"), [("broken", 502, "upstream_error"), ("refused", 422, "too_hot")]
)
def test_a_turn_that_fails_is_an_error(client: openai.OpenAI, model: str, status: int, code: str) -> None:
    """With the status of an answer; the connection goes on."""
    with client.responses.connect() as connection:
        connection.response.create(model=model, input="one", store=False)
        (error,) = turn(connection)
        assert (error.type, error.status, error.error.code) == ("error", status, code)
        connection.response.create(model=MODEL, input="two", store=False)
        assert text(turn(connection)) == SAID + "two"


def test_a_turn_that_breaks_has_failed(client: openai.OpenAI) -> None:
    """As its stream would."""
    with client.responses.connect() as connection:
        connection.response.create(model="cut", input="one", store=False)
        events = turn(connection)
        assert (events[-1].type, events[-1].response.status) == ("response.failed", "failed")
        assert text(events)


def test_an_unknown_response_cannot_be_followed(client: openai.OpenAI) -> None:
    """One that was stored nowhere is unknown to any other connection."""
    with client.responses.connect() as connection:
        connection.response.create(model=MODEL, input="one", store=False)
        last = turn(connection)[-1].response.id
    with client.responses.connect() as connection:
        for id_ in (last, "resp_unknown"):
            connection.response.create(model=MODEL, input="two", previous_response_id=id_)
            (error,) = turn(connection)
            assert (error.status, error.error.code) == (400, "previous_response_not_found")
            assert error.error.param == "previous_response_id"


@pytest.mark.parametrize("message", ["no JSON", "{}", '{"type": "response.cancel"}', b"\x00", "[" * 4000])
def test_what_is_no_turn_is_an_error(proxy: Serve, message: str | bytes) -> None:
    """And no end of the connection."""
    with plain(proxy) as connection:
        connection.send(message)
        (error,) = heard(connection)
        assert problems("responses", "socket_error", error) == []
        assert error["status"] == 400
        connection.send(asking())
        assert heard(connection)[-1]["type"] == "response.completed"


def test_a_message_that_is_too_large_ends_the_connection(proxy: Serve) -> None:
    """With the code that the protocol has for it."""
    with plain(proxy) as connection:
        connection.send(asking("x" * BOUND))
        with pytest.raises(ConnectionClosed) as caught:
            connection.recv(timeout=20)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1009


def test_a_wrong_key_opens_nothing(proxy: Serve) -> None:
    """The SDK sees a handshake that was refused, the log a request."""
    made = openai.OpenAI(base_url=proxy.url, api_key="sk-unknown-key", max_retries=0)
    with made, pytest.raises(InvalidStatus) as caught, made.responses.connect():
        raise AssertionError("it is open")
    response = caught.value.response
    assert response.status_code == 401
    told = json.loads(response.body)
    assert problems("responses", "error", told) == []
    assert told["error"]["code"] == "invalid_api_key"
    assert response.headers["x-request-id"].startswith("req_")
    proxy.until(lambda: next((line for line in proxy.events("request") if line["status"] == 401), None))


@pytest.mark.parametrize(
    ("origin", "opens"), [(ORIGIN, True), ("https://evil.example.com", False), (None, True)]
)
def test_a_page_may_connect_where_it_may_call(proxy: Serve, origin: str | None, opens: bool) -> None:
    """A browser says whose page it is, and asks nobody else."""
    if opens:
        with plain(proxy, origin=origin) as connection:
            connection.send(asking())
            assert heard(connection)[-1]["type"] == "response.completed"
        return
    with pytest.raises(InvalidStatus) as caught, plain(proxy, origin=origin):
        raise AssertionError("it is open")
    assert caught.value.response.status_code == 403


def test_a_client_that_leaves_stops_its_provider(proxy: Serve, mock: Mock) -> None:
    """In the middle of a turn: the provider's meter stops, and nothing is left of the turn."""
    before = mock.stats()["outcomes"].get("client_gone", 0)
    with plain(proxy) as connection:
        connection.send(asking(model="stalling"))
        connection.recv(timeout=20)
        assert in_flight(proxy) == 1
    assert eventually(lambda: mock.stats()["outcomes"].get("client_gone", 0) == before + 1) < 1.0
    eventually(lambda: in_flight(proxy) == 0)


def test_a_connection_outlives_the_patience_for_idle_ones(proxy: Serve) -> None:
    """Keep-alive is HTTP's; here a ping is answered, and so is the next turn."""
    with plain(proxy) as connection:
        assert connection.ping().wait(5.0)
        with pytest.raises(TimeoutError):
            connection.recv(timeout=2.5)
        assert connection.ping().wait(5.0)
        connection.send(asking())
        assert heard(connection)[-1]["type"] == "response.completed"


@pytest.mark.parametrize("headers", [{"x-long": "x" * 10_000}, {f"x-{number}": "x" for number in range(200)}])
def test_a_handshake_that_is_too_large_is_refused(proxy: Serve, headers: dict[str, str]) -> None:
    """At once, and without a line in the log that speaks of a bug."""
    with pytest.raises(InvalidStatus) as caught, plain(proxy, headers):
        raise AssertionError("it is open")
    assert caught.value.response.status_code == 400
    assert problems("responses", "error", json.loads(caught.value.response.body)) == []
    assert not [line for line in proxy.err if "Traceback" in line or '"level":"error"' in line]


def test_a_server_that_stops_lets_a_turn_finish(mock: Mock) -> None:
    """And then closes; an idle connection goes at once."""
    with Serve(setting(mock)) as proxy, plain(proxy) as idle, plain(proxy) as busy:
        busy.send(asking(model="slow"))
        first = json.loads(busy.recv(timeout=20))
        proxy.signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as caught:
            idle.recv(timeout=5)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1012
        events = [first, *heard(busy)]
        assert events[-1]["type"] == "response.completed"
        assert sum(event["type"] == "response.output_text.delta" for event in events) == 20
        with pytest.raises(ConnectionClosed) as caught:
            busy.recv(timeout=5)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1012
        assert proxy.ended() == 0
        assert [line["outcome"] for line in proxy.events("request")] == ["completed"]
        assert "Traceback" not in "\n".join(proxy.err)


def test_a_turn_that_is_cut_is_told_so(mock: Mock) -> None:
    """It would never have ended."""
    with Serve(setting(mock, drain_timeout=0.5)) as proxy, plain(proxy) as connection:
        connection.send(asking(model="stalling"))
        first = json.loads(connection.recv(timeout=20))
        proxy.signal(signal.SIGTERM)
        events = [first, *heard(connection)]
        assert events[-1]["type"] == "response.failed"
        assert proxy.ended() == 0
        assert "Traceback" not in "\n".join(proxy.err)
