"""What is wrong with a request itself: every refusal in the shape that clients read, none of them a 500."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from schemas.validation import problems
from stage import Setting, Stage, play
from wires import KEY, Got, ask, head, request

from mockprovider import Behaviour

ONE = Setting(providers={"one": Behaviour()})
AUTH = {"authorization": f"Bearer {KEY}"}
SHAPE = {"message", "type", "param", "code"}

NESTED = b'{"model":"chat","x":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
UNBALANCED = b'{"model":"chat","x":' + b"[" * 10_000
BODIES: dict[str, tuple[bytes, str | None]] = {
    "empty": (b"", None),
    "not JSON": (b"hello", None),
    "cut": (b'{"model": "chat", "mess', None),
    "an array": (b'["model"]', None),
    "a string": (b'"model"', None),
    "null": (b"null", None),
    "10,000 brackets": (NESTED, None),
    "10,000 open brackets": (UNBALANCED, None),
    "10,000 brackets alone": (b"[" * 10_000, None),
    "bad UTF-8": (b'{"model":"chat","messages":"\xff\xfe"}', None),
    "half a character": (b'{"model":"chat","messages":"\xe2\x82"}', None),
    "two models": (b'{"model":"chat","messages":[],"model":"other"}', "model"),
    "model: 5": (b'{"model":5}', "model"),
    "model: null": (b'{"model":null}', "model"),
    "model: empty": (b'{"model":""}', "model"),
    "no model": (b'{"messages":[]}', "model"),
    "stream: 1": (b'{"model":"chat","stream":1}', "stream"),
    "UTF-16": ('{"model":"chat"}'.encode("utf-16"), None),
    "a lone surrogate": (b'{"model":"\\ud800"}', None),
    "a huge number": (b'{"model":1e999999}', "model"),
    "NaN": (b'{"model":"chat","x":NaN}', None),
}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/embeddings"])
@pytest.mark.parametrize("name", BODIES)
def test_bad_bodies(name: str, path: str) -> None:
    """A body that cannot be is a 400 that says what is wrong, and no provider hears of it."""
    body, param = BODIES[name]

    async def scenario(stage: Stage) -> Got:
        got = await stage.send(request(body, path))
        assert not stage.seen("one")
        assert stage.records[0].outcome == "refused"
        return got

    got = play(ONE, scenario)
    assert got.status == 400
    assert got.json["error"].keys() == SHAPE
    assert got.error["type"] == "invalid_request_error"
    assert got.error["param"] == param
    assert got.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
@pytest.mark.parametrize("name", BODIES)
def test_bad_bodies_of_messages(name: str, path: str) -> None:
    """The same in Anthropic's shape, in which no field has a place of its own."""

    async def scenario(stage: Stage) -> Got:
        return await stage.send(request(BODIES[name][0], path))

    got = play(ONE, scenario)
    assert got.status == 400
    assert problems("messages", "error", got.json) == []
    assert got.json["error"]["type"] == "invalid_request_error"
    assert got.json["request_id"] == got.headers["request-id"]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"content-type": "text/plain"}, "unsupported_content_type"),
        ({"content-type": "multipart/form-data; boundary=x"}, "unsupported_content_type"),
        ({"content-type": "application/json; charset=utf-8"}, None),
        ({"content-type": "APPLICATION/JSON"}, None),
        ({"content-encoding": "gzip"}, "unsupported_content_encoding"),
        ({"content-encoding": "identity"}, None),
    ],
    ids=str,
)
def test_content_types(headers: Mapping[str, str], code: str | None) -> None:
    """JSON as it is, and nothing else."""

    async def scenario(stage: Stage) -> Got:
        return await stage.post(headers=headers)

    got = play(ONE, scenario)
    assert got.status == (400 if code else 200)
    if code:
        assert got.error["code"] == code


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("POST", "/v1/files", 404, "not_found"),
        ("GET", "/metrics", 404, "not_found"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("PUT", "/v1/embeddings", 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("DELETE", "/v1/models/chat", 405, "method_not_allowed"),
        ("OPTIONS", "/v1/models", 405, "method_not_allowed"),
        ("HEAD", "/v1/models", 405, None),
        ("HEAD", "/v1/nothing", 404, None),
    ],
)
def test_routes_and_methods(method: str, path: str, status: int, code: str | None) -> None:
    """What is not there is a 404 and what cannot be done a 405, in the same shape and with our headers."""

    async def scenario(stage: Stage) -> Got:
        return await stage.send(head(method, path, AUTH | {"content-length": "0"}) + b"\r\n", method)

    got = play(ONE, scenario)
    assert got.status == status
    assert got.headers["x-request-id"] == got.headers["request-id"]
    assert got.headers["x-should-retry"] == "false"
    assert (status == 405) == ("allow" in got.headers)
    if code is not None:
        assert got.json["error"].keys() == SHAPE
        assert got.error["code"] == code


def test_what_is_routed_by_is_what_is_sent() -> None:
    """A second `model` in disguise (an escape in its name) cannot make the provider read another one."""

    async def scenario(stage: Stage) -> bytes:
        got = await stage.send(
            request(b'{"model":"other","messages":[{"role":"user","content":"Hi"}],"mod\\u0065l":"chat"}')
        )
        assert got.status == 200
        return stage.seen("one")[0].body

    sent = play(ONE, scenario)
    assert json.loads(sent, object_pairs_hook=list)[0] == ("model", "up")
    assert sent.count(b"mod") == 1


def test_a_large_body_passes() -> None:
    """20 MB go through unharmed."""

    async def scenario(stage: Stage) -> Got:
        got = await stage.post(padding="x" * 20_000_000)
        assert stage.seen("one")[0].body_bytes > 20_000_000
        return got

    assert play(ONE, scenario).status == 200


@pytest.mark.parametrize("announced", [True, False])
def test_a_larger_one_is_refused_while_it_is_read(announced: bool) -> None:
    """40 MB are refused with 413 before they have come; the rest is dropped, and the connection goes on."""

    async def scenario(stage: Stage) -> None:
        wire = await stage.wire()
        framing = {"content-length": "40000000"} if announced else {"transfer-encoding": "chunked"}
        wire.send(head("POST", "/v1/chat/completions", AUTH | framing) + b"\r\n")
        part = b"x" * 1_000_000
        sent = 0
        if not announced:
            part = b"%x\r\n%b\r\n" % (len(part), part)
            for _ in range(34):
                wire.send(part)
                sent += 1
        got = await asyncio.wait_for(wire.answer(), 10)
        assert got.status == 413
        assert got.error["code"] == "request_too_large"
        assert got.headers["x-should-retry"] == "false"
        for _ in range(40 - sent):
            wire.send(part)
        wire.send(b"" if announced else b"0\r\n\r\n")
        wire.send(request(ask()))
        assert (await asyncio.wait_for(wire.answer(), 10)).status == 200

    play(ONE, scenario)


def bounded(**bounds: float) -> Setting:
    """A stage with bounds of its own."""
    return Setting(providers={"one": Behaviour()}, config={"bounds": bounds})


def closes(got: Got, status: int) -> None:
    """The server refused at the wire, in the usual shape, and closes."""
    assert got.status == status
    assert got.json["error"].keys() == SHAPE
    assert got.headers["connection"] == "close"
    assert got.headers["x-request-id"] == got.headers["request-id"]


@pytest.mark.parametrize("step", [50_000, 1000])
def test_a_large_header_block(step: int) -> None:
    """A block of headers beyond 32 KiB is a 431, come at once or bit by bit, and before its end."""

    async def scenario(stage: Stage) -> None:
        wire = await stage.wire()
        block = head("GET", "/v1/models", AUTH | {f"x-{place}": "y" * 1000 for place in range(40)})
        for start in range(0, 33_000, step):
            wire.send(block[start : start + step])
            await asyncio.sleep(0.001)
        closes(await wire.answer(), 431)
        assert await wire.reader.read() == b""

    play(ONE, scenario)


def test_slow_headers() -> None:
    """Headers have one deadline, which a byte now and then does not move."""

    async def scenario(stage: Stage) -> None:
        wire = await stage.wire()

        async def drip() -> None:
            for byte in b"GET /v1/models HTTP/1.1\r\n" * 100:
                wire.send(bytes([byte]))
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        closes(await asyncio.wait_for(wire.answer(), 3), 408)
        dripping.cancel()
        await asyncio.wait({dripping})

    play(bounded(header_read=0.15), scenario)


@pytest.mark.parametrize("first", [b"", b'{"model":'])
def test_a_slow_body(first: bytes) -> None:
    """A body that does not come, or not on, is a 408."""

    async def scenario(stage: Stage) -> Got:
        wire = await stage.wire()
        wire.send(head("POST", "/v1/chat/completions", AUTH | {"content-length": "100"}) + b"\r\n" + first)
        return await asyncio.wait_for(wire.answer(), 3)

    got = play(bounded(body_read=0.15), scenario)
    assert got.status == 408
    assert got.error["code"] == "request_timeout"


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /\xc3\xa9 HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
    ids=str,
)
def test_malformed_http(data: bytes) -> None:
    """What is not HTTP, or not for us, is refused in JSON, and the connection closes."""

    async def scenario(stage: Stage) -> Got:
        got = await asyncio.wait_for(stage.send(data), 3)
        assert not stage.seen("one")
        return got

    got = play(ONE, scenario)
    assert got.status in (400, 401)
    assert got.json["error"].keys() == SHAPE


def test_a_refused_upload_does_not_spoil_the_connection() -> None:
    """A body that arrives after its refusal is no header: the connection serves the next request."""

    async def scenario(stage: Stage) -> None:
        wire = await stage.wire()
        data = request(ask(padding="x" * 300_000), key=None)
        wire.send(data[:1000])
        assert (await wire.answer()).status == 401
        wire.send(data[1000:200_000])
        await asyncio.sleep(0.3)
        wire.send(data[200_000:])
        await asyncio.sleep(0.3)
        wire.send(request(ask()))
        assert (await asyncio.wait_for(wire.answer(), 3)).status == 200

    play(bounded(header_read=0.2), scenario)


def test_a_connection_left_idle_after_a_refused_upload_is_closed() -> None:
    """Whatever a client left unfinished, its connection does not stay for ever."""

    async def scenario(stage: Stage) -> None:
        wire = await stage.wire()
        data = request(ask(padding="x" * 300_000), key=None)
        wire.send(data[:1000])
        assert (await wire.answer()).status == 401
        wire.send(data[1000:100_000])
        assert await asyncio.wait_for(wire.reader.read(), 4) == b""

    config = {"listen": {"port": 0, "keep_alive": 1}}
    play(Setting(providers={"one": Behaviour()}, config=config), scenario)


def test_pipelined_requests() -> None:
    """Requests sent ahead are answered one after another, with big bodies and many headers in between."""

    async def scenario(stage: Stage) -> list[int]:
        wire = await stage.wire()
        more = {f"x-{place}": "y" * 500 for place in range(20)}
        wire.send(
            request(ask(padding="x" * 200_000)) * 2 + request(ask(), headers=more) + request(ask(model="no"))
        )
        return [(await asyncio.wait_for(wire.answer(), 5)).status for _ in range(4)]

    assert play(Setting(providers={"one": Behaviour(delay_headers_s=0.03)}), scenario) == [200, 200, 200, 404]


def test_nothing_follows_a_refusal_at_the_wire() -> None:
    """A request sent right behind one with too large headers is not carried out."""

    async def scenario(stage: Stage) -> None:
        large = request(b"", headers={"x-large": "y" * 40_000})
        got = await stage.send(large + request(ask()))
        closes(got, 431)
        await asyncio.sleep(0.05)
        assert not stage.seen("one")

    play(ONE, scenario)


def test_an_expected_continue_is_given_to_what_is_wanted() -> None:
    """`expect: 100-continue` is answered before a body that will be read, and not before a refused one."""

    async def scenario(stage: Stage) -> None:
        body = json.dumps(ask()).encode()
        wire = await stage.wire()
        sent: dict[str, Any] = AUTH | {"content-length": str(len(body)), "expect": "100-continue"}
        wire.send(head("POST", "/v1/chat/completions", sent) + b"\r\n")
        assert (await wire.head())[0] == 100
        wire.send(body)
        assert (await wire.answer()).status == 200
        refused = await stage.wire()
        refused.send(head("POST", "/v1/chat/completions", sent | {"content-length": "40000000"}) + b"\r\n")
        assert (await refused.answer()).status == 413

    play(ONE, scenario)


def test_the_name_of_a_model_is_not_repeated_without_end() -> None:
    """A megabyte of a model's name does not come back."""

    async def scenario(stage: Stage) -> Got:
        return await stage.post(model="m" * 1_000_000)

    got = play(ONE, scenario)
    assert got.status == 404
    assert len(got.body) < 1000
