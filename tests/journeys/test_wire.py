"""HTTP as some clients speak it, and as some should not: trailers, upgrades, and what follows an answer."""

import asyncio
import contextlib
import json

import pytest
from stage import Setting, Stage, play
from wires import KEY, Got, Wire, ask, head, request

from mockprovider import Behaviour

ONE = Setting(providers={"one": Behaviour()})
AUTH = {"authorization": f"Bearer {KEY}"}
CHUNKED = {"transfer-encoding": "chunked", "content-type": "application/json"}
JAVA = {
    "connection": "Upgrade, HTTP2-Settings",
    "upgrade": "h2c",
    "http2-settings": "AAEAAEAAAAIAAAABAAMAAABk",
}
"""What Java's HttpClient adds to a request over plain HTTP."""


def chunks(body: bytes, size: int, trailers: bytes = b"") -> bytes:
    """A chunked body."""
    parts = (body[start : start + size] for start in range(0, len(body), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n" + trailers + b"\r\n"


async def ended(wire: Wire) -> None:
    """Wait until the proxy has closed or reset the connection without another word."""
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(wire.reader.read(), 3) == b""


@pytest.mark.parametrize("at_once", [True, False])
def test_a_trailer_is_no_credential(at_once: bool) -> None:
    """`authorization` behind the body does not let a request in."""

    async def scenario(stage: Stage) -> Got:
        wire = await stage.wire()
        wire.send(head("POST", "/v1/chat/completions", CHUNKED) + b"\r\n")
        if not at_once:
            await asyncio.sleep(0.02)
        wire.send(chunks(json.dumps(ask()).encode(), 1000, b"authorization: Bearer %b\r\n" % KEY.encode()))
        got = await wire.answer()
        assert not stage.seen("one")
        wire.send(request(ask()))
        assert (await wire.answer()).status == 200
        return got

    assert play(ONE, scenario).status == 401


def test_a_trailer_takes_no_header_s_place() -> None:
    """A wrong key in a trailer spoils nothing either, nor does a content encoding."""

    async def scenario(stage: Stage) -> Got:
        trailers = b"authorization: Bearer wrong\r\ncontent-encoding: gzip\r\n"
        body = chunks(json.dumps(ask()).encode(), 10, trailers)
        return await stage.send(head("POST", "/v1/chat/completions", AUTH | CHUNKED) + b"\r\n" + body)

    assert play(ONE, scenario).status == 200


@pytest.mark.parametrize("headers", [AUTH, {}], ids=["wanted", "refused"])
def test_trailers_without_end(headers: dict[str, str]) -> None:
    """A trailer line that never ends is cut off, whether the request was answered or not."""

    async def scenario(stage: Stage) -> None:
        wire = await stage.wire()
        wire.send(head("POST", "/v1/chat/completions", headers | CHUNKED) + b"\r\n")
        if not headers:
            assert (await wire.answer()).status == 401
        wire.send(b"0\r\nx: ")
        await asyncio.sleep(0.02)
        for _ in range(10):
            wire.send(b"y" * 10_000)
        await ended(wire)
        assert not stage.seen("one")

    play(ONE, scenario)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/nothing"])
def test_a_body_that_drips_after_its_refusal(path: str) -> None:
    """It has the time of a body from the end of the answer; then the connection goes."""

    async def scenario(stage: Stage) -> None:
        wire = await stage.wire()
        wire.send(head("POST", path, {"content-length": "100000"}) + b"\r\n")
        assert (await wire.answer()).status == 401

        async def drip() -> None:
            while True:
                wire.send(b"x")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        await ended(wire)
        dripping.cancel()
        await asyncio.wait({dripping})

    play(Setting(providers={"one": Behaviour()}, config={"bounds": {"body_read": 0.2}}), scenario)


@pytest.mark.parametrize("step", [37, 1_000_000])
@pytest.mark.parametrize("chunked", [True, False])
def test_a_java_client(chunked: bool, step: int) -> None:
    """It offers HTTP/2 with every request: it is served over HTTP/1.1, again and again."""

    async def scenario(stage: Stage) -> None:
        wire = await stage.wire()
        body = json.dumps(ask(padding="x" * 1000)).encode()
        if chunked:
            data = head("POST", "/v1/chat/completions", AUTH | CHUNKED | JAVA) + b"\r\n" + chunks(body, 300)
        else:
            data = request(body, headers=JAVA)
        for _ in range(3):
            for start in range(0, len(data), step):
                wire.send(data[start : start + step])
                await asyncio.sleep(0)
            got = await asyncio.wait_for(wire.answer(), 3)
            assert (got.status, got.text != "") == (200, True)
            wire.send(head("GET", "/v1/models", AUTH | JAVA) + b"\r\n")
            assert (await asyncio.wait_for(wire.answer("GET"), 3)).status == 200
        wire.send(request(ask(stream=True), headers=JAVA))
        assert (await asyncio.wait_for(wire.answer(), 3)).events[-1] == b"[DONE]"
        assert len(stage.seen("one")) == 4

    play(ONE, scenario)


def test_an_upgrade_hides_no_request() -> None:
    """What is in a body is not carried out, and what follows it is."""

    async def scenario(stage: Stage) -> None:
        wire = await stage.wire()
        hidden = request(ask())
        wire.send(request(hidden, headers=JAVA) + request(ask(model="no")))
        assert [(await asyncio.wait_for(wire.answer(), 3)).status for _ in range(2)] == [400, 404]
        assert not stage.seen("one")

    play(ONE, scenario)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_websocket_is_refused_in_words(method: str) -> None:
    """Where one is asked for the answer says why there is none."""

    async def scenario(stage: Stage) -> Got:
        asked = {
            "connection": "Upgrade",
            "upgrade": "websocket",
            "sec-websocket-version": "13",
            "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        return await stage.send(head(method, "/v1/chat/completions", AUTH | asked) + b"\r\n", method)

    got = play(ONE, scenario)
    assert (got.status, got.attempts, got.headers["connection"]) == (400, 0, "close")
    assert "WebSocket" in got.error["message"]


def test_a_refusal_at_the_wire_looks_like_all_others() -> None:
    """It says which request it was, and that nobody was asked."""

    async def scenario(stage: Stage) -> list[Got]:
        large = request(b"", headers={"x-large": "y" * 40_000})
        return [await stage.send(data) for data in (b"no HTTP\r\n\r\n", large, b"GET / HTTP/1.1\r\n")]

    setting = Setting(providers={"one": Behaviour()}, config={"bounds": {"header_read": 0.2}})
    for got, status in zip(play(setting, scenario), (400, 431, 408), strict=True):
        assert (got.status, got.attempts) == (status, 0)
        assert got.error["message"]
