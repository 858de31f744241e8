"""The way to an origin: names, TLS, time limits, proxies."""

import asyncio
import base64

import pytest
from hostile import HostileServer, Peer, Script, answers, serving, sized
from transports import Bench, Lab, conforms, fault_of, whole

from proxy.errors import FaultKind


@conforms
def test_unknown_name_is_a_dns_fault(lab: Lab) -> None:
    """A name that does not exist, or cannot, is DNS."""

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers())
        for host in ("nowhere.invalid", f"{'a' * 64}.invalid"):
            fault = await fault_of(bench.send(server, url=f"http://{host}/v1", connect_timeout=30.0))
            assert fault.kind is FaultKind.DNS
            assert "invalid" not in fault.detail

    lab.run(scenario)


@conforms
def test_connection_refused_is_a_connect_fault(lab: Lab) -> None:
    """A port that nobody listens on is CONNECT."""

    async def scenario(bench: Bench) -> None:
        async with serving(answers()) as server:
            url = server.url()
        server = await bench.serve(answers())
        assert (await fault_of(bench.send(server, url=url))).kind is FaultKind.CONNECT

    lab.run(scenario)


@conforms
def test_names_are_resolved(lab: Lab) -> None:
    """An origin may be named; the name is what the host header says."""

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers(sized(b"ok")))
        assert await whole(await bench.send(server, url=server.url(host="localhost"))) == b"ok"
        assert f"\r\nhost: localhost:{server.port}\r\n".encode() in server.peers[0].received

    lab.run(scenario)


@conforms
def test_connect_timeout_covers_the_tls_handshake(lab: Lab) -> None:
    """A server that accepts and then says nothing to the handshake is CONNECT_TIMEOUT in that time."""

    async def mute(peer: Peer) -> None:
        await peer.hear(1)

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(mute)
        url = server.url().replace("http:", "https:")
        begun = asyncio.get_running_loop().time()
        fault = await fault_of(bench.send(server, url=url, connect_timeout=0.1))
        assert fault.kind is FaultKind.CONNECT_TIMEOUT
        assert 0.05 < asyncio.get_running_loop().time() - begun < 1.0
        await server.peers[0].gone()

    lab.run(scenario)


@conforms
def test_connect_timeout_does_not_limit_the_wait_for_a_head(lab: Lab) -> None:
    """A server that thinks for longer than the connect timeout is waited for."""

    async def thinks(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(0.1)
        peer.say(sized(b"thought"))

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(thinks)
        assert await whole(await bench.send(server, connect_timeout=0.05)) == b"thought"

    lab.run(scenario)


@conforms
def test_cancelling_within_a_handshake_closes_the_connection(lab: Lab) -> None:
    """A caller that leaves while TLS is being agreed on leaves nothing behind."""

    async def mute(peer: Peer) -> None:
        await peer.hear(1)

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(mute)
        sending = asyncio.ensure_future(bench.send(server, url=server.url().replace("http:", "https:")))
        peer = await server.peer()
        await peer.hear(1)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await peer.gone()

    lab.run(scenario)


@conforms
def test_certificates_are_verified(lab: Lab) -> None:
    """A certificate of an unknown authority is TLS; with that authority's file the call goes through."""

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers(sized(b"ok"), sized(b"reused")), secure=True)
        wary = lab.transport({})
        assert (await fault_of(bench.send(server, upstream=wary))).kind is FaultKind.TLS
        await wary.close()
        trusting = bench.upstream(ca_file=bench.ca_file())
        assert await whole(await bench.send(server, upstream=trusting)) == b"ok"
        assert await whole(await bench.send(server, upstream=trusting)) == b"reused"

    lab.run(scenario)


@conforms
def test_certificate_of_another_host_is_refused(lab: Lab) -> None:
    """A certificate that is trusted but made out to another name is TLS."""

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers(), secure=True, name="elsewhere.example")
        upstream = bench.upstream(ca_file=bench.ca_file())
        assert (await fault_of(bench.send(server, upstream=upstream))).kind is FaultKind.TLS

    lab.run(scenario)


@conforms
def test_plain_server_behind_https_is_a_tls_fault(lab: Lab) -> None:
    """A server that answers a handshake in plain text is TLS."""

    async def plain(peer: Peer) -> None:
        await peer.hear(1)
        peer.say(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(plain)
        url = server.url().replace("http:", "https:")
        assert (await fault_of(bench.send(server, url=url))).kind is FaultKind.TLS

    lab.run(scenario)


@conforms
def test_large_request_and_response_over_tls(lab: Lab) -> None:
    """Megabytes pass unchanged over TLS in both directions."""
    body = bytes(range(256)) * 8_000

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers(sized(body)), secure=True)
        reply = await bench.send(server, body=body, upstream=bench.upstream(ca_file=bench.ca_file()))
        assert await whole(reply) == body
        assert server.peers[0].received.endswith(body)

    lab.run(scenario)


@conforms
def test_http_goes_through_a_proxy_in_absolute_form(lab: Lab) -> None:
    """`HTTP_PROXY` gets the whole URL, its own credentials, and one connection for many calls."""

    async def scenario(bench: Bench) -> None:
        proxy = await bench.serve(answers(sized(b"one"), sized(b"two")))
        upstream = bench.upstream({"HTTP_PROXY": f"http://user:p%40ss@127.0.0.1:{proxy.port}"})
        for expected in (b"one", b"two"):
            reply = await bench.send(proxy, url="http://origin.invalid/v1?a=b", upstream=upstream)
            assert await whole(reply) == expected
        assert len(proxy.peers) == 1
        secret = base64.b64encode(b"user:p@ss")
        assert proxy.peers[0].received.startswith(
            b"POST http://origin.invalid/v1?a=b HTTP/1.1\r\nhost: origin.invalid\r\n"
            b"proxy-authorization: Basic " + secret + b"\r\n"
        )

    lab.run(scenario)


def _tunnel_to(server: HostileServer) -> Script:
    """A proxy that tunnels every connection to `server`, wherever it is asked to."""

    async def script(peer: Peer) -> None:
        await peer.request()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        peer.say(b"HTTP/1.1 200 Connection established\r\n\r\n")
        passed = len(peer.received)

        async def back() -> None:
            while part := await reader.read(65_536):
                peer.say(part)
            peer.hang_up()

        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(back())
                while not peer.closed.is_set():
                    await peer.heard_more_than(passed)
                    writer.write(bytes(peer.received[passed:]))
                    passed = len(peer.received)
        finally:
            writer.close()

    return script


@conforms
def test_https_goes_through_a_tunnel(lab: Lab) -> None:
    """`HTTPS_PROXY` is asked to CONNECT, and the origin's certificate is verified through it."""

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers(sized(b"one"), sized(b"two")), secure=True)
        proxy = await bench.serve(_tunnel_to(server))
        environment = {"https_proxy": f"http://user:pass@127.0.0.1:{proxy.port}"}
        upstream = bench.upstream(environment, ca_file=bench.ca_file())
        for expected in (b"one", b"two"):
            assert await whole(await bench.send(server, upstream=upstream)) == expected
        assert len(proxy.peers) == 1
        asked = proxy.peers[0].received.lower()
        assert asked.startswith(f"connect 127.0.0.1:{server.port} http/1.1\r\n".encode())
        assert b"\r\nproxy-authorization: basic " + base64.b64encode(b"user:pass").lower() in asked
        assert b"proxy-authorization" not in server.peers[0].received.lower()
        distrusting = bench.upstream(environment)
        assert (await fault_of(bench.send(server, upstream=distrusting))).kind is FaultKind.TLS

    lab.run(scenario)


@conforms
def test_a_proxy_may_be_secure_itself(lab: Lab) -> None:
    """An https:// proxy is spoken to in TLS, for plain origins and, one TLS in the other, for secure ones."""

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers(sized(b"inner")), secure=True)
        tunnel = await bench.serve(_tunnel_to(server), secure=True)
        plain = await bench.serve(answers(sized(b"forwarded")), secure=True)
        environment = {
            "https_proxy": f"https://127.0.0.1:{tunnel.port}",
            "http_proxy": f"https://127.0.0.1:{plain.port}",
        }
        upstream = bench.upstream(environment, ca_file=bench.ca_file())
        assert await whole(await bench.send(server, upstream=upstream)) == b"inner"
        reply = await bench.send(server, url="http://origin.invalid/v1", upstream=upstream)
        assert await whole(reply) == b"forwarded"
        assert plain.peers[0].received.startswith(b"POST http://origin.invalid/v1 HTTP/1.1\r\n")

    lab.run(scenario)


@conforms
def test_cancelling_while_a_proxy_is_asked_closes_the_connection(lab: Lab) -> None:
    """A caller that leaves before there is a tunnel leaves nothing behind."""

    async def mute(peer: Peer) -> None:
        await peer.request()

    async def scenario(bench: Bench) -> None:
        proxy = await bench.serve(mute)
        upstream = bench.upstream({"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"})
        sending = asyncio.ensure_future(bench.send(proxy, url="https://origin.invalid/", upstream=upstream))
        await (await proxy.peer()).request()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await proxy.peers[0].gone()

    lab.run(scenario)


@conforms
@pytest.mark.parametrize(
    "response", [b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n", b"garbage", b""]
)
def test_proxy_that_makes_no_tunnel_is_a_connect_fault(lab: Lab, response: bytes) -> None:
    """A proxy that refuses to CONNECT, or speaks no HTTP, or leaves, is CONNECT."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.say(response)
        peer.hang_up()

    async def scenario(bench: Bench) -> None:
        proxy = await bench.serve(script)
        upstream = bench.upstream({"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"})
        fault = await fault_of(bench.send(proxy, url="https://origin.invalid/v1", upstream=upstream))
        assert fault.kind is FaultKind.CONNECT
        await proxy.peers[0].gone()

    lab.run(scenario)


@conforms
def test_connect_timeout_covers_the_tunnel(lab: Lab) -> None:
    """A proxy that never answers CONNECT is CONNECT_TIMEOUT."""

    async def mute(peer: Peer) -> None:
        await peer.request()

    async def scenario(bench: Bench) -> None:
        proxy = await bench.serve(mute)
        upstream = bench.upstream({"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"})
        sending = bench.send(proxy, url="https://origin.invalid/", upstream=upstream, connect_timeout=0.1)
        assert (await fault_of(sending)).kind is FaultKind.CONNECT_TIMEOUT
        await proxy.peers[0].gone()

    lab.run(scenario)


@conforms
def test_no_proxy_goes_straight(lab: Lab) -> None:
    """What `NO_PROXY` names is reached without the proxy, in origin form."""

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers(sized(b"straight")))
        upstream = bench.upstream(
            {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "example.com, 127.0.0.0/8"}
        )
        assert await whole(await bench.send(server, upstream=upstream)) == b"straight"
        assert server.peers[0].received.startswith(b"POST /v1/chat HTTP/1.1\r\n")

    lab.run(scenario)


@conforms
def test_other_environment_variables_name_no_proxy(lab: Lab) -> None:
    """Only the proxy of the URL's own scheme is used."""

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers(sized(b"straight")))
        upstream = bench.upstream(
            {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "", "ALL_PROXY": "http://x:9"}
        )
        assert await whole(await bench.send(server, upstream=upstream)) == b"straight"

    lab.run(scenario)
