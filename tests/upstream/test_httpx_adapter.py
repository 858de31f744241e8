"""An httpx client over our pool: what goes out, what comes back, and what a failure is called."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
from hostile import HostileServer, Peer, Script, answers, answers_and_leaves, serving, sized

from proxy.upstream.httpx_adapter import UpstreamTransport
from proxy.upstream.transport import PooledUpstream

Scenario = Callable[[httpx.AsyncClient, HostileServer], Awaitable[None]]


def _play(script: Script, scenario: Scenario, timeout: float | None = 5.0) -> None:
    async def main() -> None:
        async with serving(script) as server:
            upstream = PooledUpstream({})
            transport = UpstreamTransport(upstream)
            async with httpx.AsyncClient(transport=transport, timeout=timeout) as client:
                await scenario(client, server)
            await upstream.close()

    asyncio.run(main())


@pytest.mark.parametrize("timeout", [5.0, None])
def test_requests_share_a_connection(timeout: float | None) -> None:
    """A client's requests and answers are httpx's, the connection is ours."""

    async def scenario(client: httpx.AsyncClient, server: HostileServer) -> None:
        posted = await client.post(server.url("/a?b=c"), json={"d": 1}, headers={"X-Key": "k"})
        assert (posted.status_code, posted.json(), posted.headers["x-a"]) == (200, {"e": 2}, "b")
        assert (await client.get(server.url())).text == "next"
        assert len(server.peers) == 1
        heard = bytes(server.peers[0].received)
        assert heard.startswith(b"POST /a?b=c HTTP/1.1\r\nhost: 127.0.0.1:")
        assert b"\r\nx-key: k\r\n" in heard
        assert heard.count(b"accept-encoding: identity\r\n") == heard.lower().count(b"accept-encoding") == 2
        assert heard.lower().count(b"content-length") == 1

    _play(answers(sized(b'{"e": 2}', "X-A: b"), sized(b"next")), scenario, timeout)


def test_both_bodies_may_be_streams() -> None:
    """A request that is made piece by piece has a length in the end; a response is read as it comes."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async def scenario(client: httpx.AsyncClient, server: HostileServer) -> None:
        async with client.stream("POST", server.url(), content=pieces()) as response:
            parts = [part async for part in response.aiter_raw()]
        assert b"".join(parts) == b"hello"
        assert server.peers[0].received.endswith(b"content-length: 7\r\n\r\none two")

    _play(answers(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), scenario)


def test_leaving_a_stream_closes_its_connection() -> None:
    """Who stops reading is gone for the server."""

    async def scenario(client: httpx.AsyncClient, server: HostileServer) -> None:
        async with client.stream("GET", server.url()) as response:
            assert response.status_code == 200
        await server.peers[0].gone()

    _play(answers(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe"), scenario)


async def _silent(peer: Peer) -> None:
    await peer.request()


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (answers_and_leaves(b""), httpx.ReadError),
        (answers(b"no HTTP\r\n\r\n"), httpx.RemoteProtocolError),
        (answers_and_leaves(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe"), httpx.RemoteProtocolError),
        (_silent, httpx.ReadTimeout),
        (answers(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe"), httpx.ReadTimeout),
    ],
)
def test_faults_are_the_exceptions_that_httpx_has_for_them(
    script: Script, error: type[httpx.TransportError]
) -> None:
    """Before the head and within the body."""

    async def scenario(client: httpx.AsyncClient, server: HostileServer) -> None:
        with pytest.raises(error):
            await client.get(server.url())

    _play(script, scenario, 0.05)


def test_no_connection_is_a_connect_error() -> None:
    """In words without an address."""

    async def scenario(client: httpx.AsyncClient, _: HostileServer) -> None:
        with pytest.raises(httpx.ConnectError, match="no connection"):
            await client.get("http://127.0.0.1:1/")

    _play(answers(), scenario)
