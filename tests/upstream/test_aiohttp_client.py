"""What is particular to the aiohttp transport: its proxies table, its limits. The rest is conformance."""

import asyncio
import ssl

import aiohttp
import pytest
from hostile import Peer, answers, serving, sized, turns
from transports import authority, fault_of, server_context, whole
from yarl import URL

from proxy.errors import FaultKind
from proxy.upstream import Call
from proxy.upstream.aiohttp_client import AiohttpUpstream, _Proxies, _Wire


@pytest.mark.parametrize(
    ("no_proxy", "url", "straight"),
    [
        ("", "http://example.com/", False),
        ("*", "http://example.com/", True),
        ("example.com", "http://example.com/", True),
        ("example.com", "http://EXAMPLE.com/", True),
        ("Example.com", "http://example.com/", True),
        ("example.com", "http://api.example.com/", True),
        (".example.com", "http://api.example.com/", True),
        ("*.example.com", "http://api.example.com/", True),
        ("example.com", "http://notexample.com/", False),
        ("example.com", "http://example.com.evil.org/", False),
        ("other, example.com ,third", "http://example.com/", True),
        ("example.com:8080", "http://example.com:8080/", True),
        ("example.com:8080", "http://example.com/", False),
        ("example.com:80", "http://example.com/", True),
        ("10.0.0.0/8", "http://10.1.2.3/", True),
        ("10.0.0.0/8", "http://11.1.2.3/", False),
        ("10.1.2.3", "http://10.1.2.3:99/", True),
        ("fd00::/8", "http://[fd00::1]/", True),
        ("::1", "http://[::1]/", True),
        ("[::1]:8080", "http://[::1]:8080/", True),
        ("[::1]:8080", "http://[::1]/", False),
        ("10.0.0.0/8", "http://example.com/", False),
        (",,", "http://example.com/", False),
        (".", "http://example.com/", False),
    ],
)
def test_no_proxy_names_hosts_domains_ports_and_ranges(no_proxy: str, url: str, straight: bool) -> None:
    """Each form of entry matches what it should and no more."""
    for name in ("no_proxy", "NO_PROXY"):
        proxies = _Proxies({"HTTP_PROXY": "http://proxy:3128", name: no_proxy})
        assert (proxies.of(URL(url)) is None) is straight


def test_proxy_variables() -> None:
    """Lower case comes first, a scheme may be left out, each scheme has its own."""
    proxies = _Proxies(
        {"http_proxy": "one:1", "HTTP_PROXY": "http://two:2", "HTTPS_PROXY": "https://three:3"}
    )
    assert proxies.of(URL("http://a/")) == URL("http://one:1")
    assert proxies.of(URL("https://a/")) == URL("https://three:3")
    assert _Proxies({}).of(URL("http://a/")) is None


@pytest.mark.parametrize(
    "value", ["socks5://user:secret@proxy:1080", "http://", "://", "http://secret@[x", "http://a:secret"]
)
def test_proxy_that_speaks_no_http_is_refused_by_name(value: str) -> None:
    """A proxy that cannot be used is an error that names the variable and not its value."""
    with pytest.raises(ValueError, match="HTTPS_PROXY") as caught:
        _Proxies({"HTTPS_PROXY": value})
    assert "secret" not in str(caught.value)


def test_full_pool_counts_as_connecting() -> None:
    """With a limit of one, a second call waits for the first one's connection, and not for ever."""

    async def main() -> None:
        async with serving(answers(sized(b"one"), sized(b"two"))) as server:
            upstream = AiohttpUpstream({}, limit=1)
            call = Call("POST", server.url(), (), connect_timeout=0.05)
            reply = await upstream.send(call)
            assert (await fault_of(upstream.send(call))).kind is FaultKind.CONNECT_TIMEOUT
            waiting = asyncio.ensure_future(upstream.send(call))
            await turns()
            assert await whole(reply) == b"one"
            assert await whole(await waiting) == b"two"
            assert len(server.peers) == 1
            await upstream.close()

    asyncio.run(main())


def test_idle_connection_expires() -> None:
    """A connection idle for longer than `keep_alive` is not used again."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.say(sized(b"%d" % peer.number))

    async def main() -> None:
        async with serving(script) as server:
            upstream = AiohttpUpstream({}, keep_alive=0.001)
            call = Call("POST", server.url(), ())
            assert await whole(await upstream.send(call)) == b"0"
            await server.peers[0].gone()
            assert await whole(await upstream.send(call)) == b"1"
            await upstream.close()

    asyncio.run(main())


def test_own_tls_context_is_used() -> None:
    """A context given by the caller decides what is trusted."""

    async def main() -> None:
        async with serving(answers(sized(b"ok")), tls=server_context("127.0.0.1")) as server:
            tls = ssl.create_default_context()
            authority().configure_trust(tls)
            upstream = AiohttpUpstream({}, tls=tls)
            assert await whole(await upstream.send(Call("POST", server.url(), ()))) == b"ok"
            await upstream.close()

    asyncio.run(main())


def test_closed_transport_connects_no_more() -> None:
    """A call after `close` is CONNECT."""

    async def main() -> None:
        async with serving(answers()) as server:
            upstream = AiohttpUpstream({})
            await upstream.close()
            assert (await fault_of(upstream.send(Call("POST", server.url(), ())))).kind is FaultKind.CONNECT

    asyncio.run(main())


def test_connection_lost_while_handed_over_reads_as_lost() -> None:
    """A connection that died between the connector and the request ends the wait for its head."""

    async def main() -> None:
        wire = _Wire(asyncio.get_running_loop())
        wire.connection_lost(None)
        wire.speak(b"POST / HTTP/1.1\r\n\r\n", b"")
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await wire.hear()

    asyncio.run(main())
