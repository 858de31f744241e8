"""The head of a response: what is read of it, and what is refused; and the exact bytes of a request."""

import hashlib

import pytest
from hostile import Peer, answers, sized
from transports import Bench, Lab, conforms, fault_of, whole

from proxy.errors import FaultKind


@conforms
def test_interim_responses_are_skipped(lab: Lab) -> None:
    """Any number of 1xx responses before the answer are read past, in one segment or several."""

    async def script(peer: Peer) -> None:
        await peer.request()
        interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
        peer.say(interim + sized(b"one"))
        await peer.request()
        await peer.say_slowly(interim + sized(b"two"), split=7)

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(script)
        for expected in (b"one", b"two"):
            reply = await bench.send(server)
            assert reply.status == 200
            assert "link" not in reply.headers
            assert await whole(reply) == expected

    lab.run(scenario)


@conforms
@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"HTTP/1.1 200", 200),
        (b"HTTP/1.1 200 ", 200),
        (b"HTTP/1.1 529 Site is overloaded", 529),
        (b"HTTP/1.1 404 Nicht gefunden \xfc\xff", 404),
        (b"HTTP/1.0 503 Old", 503),
        (b"HTTP/1.1 599 Last", 599),
    ],
)
def test_status_lines(lab: Lab, line: bytes, status: int) -> None:
    """The reason phrase may be missing or anything; the status is what counts."""

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers(line + b"\r\ncontent-length: 2\r\n\r\nok"))
        reply = await bench.send(server)
        assert reply.status == status
        assert await whole(reply) == b"ok"

    lab.run(scenario)


@conforms
@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 600 Beyond\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 099 Below\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/0.9 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n",
        b"<html>not HTTP at all</html>",
        b"\x15\x03\x01\x00\x02\x02\x16",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5x\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx-zero: a\x00b\r\ncontent-length: 0\r\n\r\n",
    ],
)
def test_bad_heads_are_protocol_faults(lab: Lab, response: bytes) -> None:
    """A head that HTTP/1.1 does not allow is PROTOCOL; the connection is closed."""

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers(response))
        assert (await fault_of(bench.send(server))).kind is FaultKind.PROTOCOL
        await server.peers[0].gone()

    lab.run(scenario)


@conforms
@pytest.mark.parametrize(
    "fields",
    [
        b"x-long: " + b"a" * 80_000,
        b"\r\n".join(b"x-%d: %s" % (number, b"a" * 6_000) for number in range(100)),
        b"\r\n".join(b"x-%d: a" % number for number in range(20_000)),
    ],
    ids=["one long field", "long fields", "many fields"],
)
def test_head_beyond_64_kib_is_refused(lab: Lab, fields: bytes) -> None:
    """However it is made up, a head far larger than 64 KiB is PROTOCOL, also on a reused connection."""

    async def scenario(bench: Bench) -> None:
        response = b"HTTP/1.1 200 OK\r\n" + fields + b"\r\ncontent-length: 0\r\n\r\n"
        for earlier in ([], [sized(b"ok")]):
            server = await bench.serve(answers(*earlier, response))
            for _ in earlier:
                assert await whole(await bench.send(server)) == b"ok"
            assert (await fault_of(bench.send(server))).kind is FaultKind.PROTOCOL
            await server.peers[0].gone()

    lab.run(scenario)


@conforms
def test_head_of_32_kib_is_read(lab: Lab) -> None:
    """A head of half the limit is fine, in one field or many."""

    async def scenario(bench: Bench) -> None:
        long = "a" * 32_000
        many = [f"x-{number}: {'a' * 600}" for number in range(50)]
        server = await bench.serve(answers(sized(b"", f"x-long: {long}"), sized(b"", *many)))
        reply = await bench.send(server)
        assert reply.headers["x-long"] == long
        assert await whole(reply) == b""
        reply = await bench.send(server)
        assert len(reply.headers) == 51
        reply.close()

    lab.run(scenario)


@conforms
def test_header_names_are_lower_case_and_repeats_joined(lab: Lab) -> None:
    """Names are found whatever their case; values of one name are joined in order; bytes pass as latin-1."""

    async def scenario(bench: Bench) -> None:
        head = (
            b"HTTP/1.1 200 OK\r\nContent-Type:text/plain\r\nX-REQUEST-ID:  abc \r\nretry-after: 3\r\n"
            b"Vary: a\r\nvary: b\r\nVARY: c, d\r\nx-empty:\r\nx-name: caf\xe9\r\nContent-Length: 0\r\n\r\n"
        )
        server = await bench.serve(answers(head))
        reply = await bench.send(server)
        assert dict(reply.headers) == {
            "content-type": "text/plain",
            "x-request-id": "abc",
            "retry-after": "3",
            "vary": "a, b, c, d",
            "x-empty": "",
            "x-name": "caf\xe9",
            "content-length": "0",
        }
        assert reply.headers.get("X-Request-Id") is None
        reply.close()

    lab.run(scenario)


@conforms
def test_request_bytes(lab: Lab) -> None:
    """A request is its line, host, the call's headers in order, accept-encoding, content-length, the body."""

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers(sized(b""), sized(b"")))
        headers = (
            ("content-type", "application/json"),
            ("authorization", "Bearer k"),
            ("x-b", "\xe9"),
            ("x-a", ""),
        )
        url = server.url("/v1/models/gemini:generate?alt=sse&q=a%20b#part")
        await whole(await bench.send(server, body=b'{"a":1}', url=url, headers=headers))
        await whole(await bench.send(server, body=b"", method="GET", url=server.url("")))
        assert bytes(server.peers[0].received) == (
            b"POST /v1/models/gemini:generate?alt=sse&q=a%%20b HTTP/1.1\r\n"
            b"host: 127.0.0.1:%(port)d\r\n"
            b"content-type: application/json\r\n"
            b"authorization: Bearer k\r\n"
            b"x-b: \xe9\r\n"
            b"x-a: \r\n"
            b"accept-encoding: identity\r\n"
            b"content-length: 7\r\n"
            b"\r\n"
            b'{"a":1}'
            b"GET / HTTP/1.1\r\nhost: 127.0.0.1:%(port)d\r\naccept-encoding: identity\r\n\r\n"
        ) % {b"port": server.port}

    lab.run(scenario)


@conforms
def test_empty_post_has_a_length(lab: Lab) -> None:
    """A POST without a body says so."""

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers(sized(b"")))
        await whole(await bench.send(server, body=b""))
        assert b"\r\ncontent-length: 0\r\n\r\n" in server.peers[0].received

    lab.run(scenario)


@conforms
def test_body_of_20_mb_arrives_unchanged(lab: Lab) -> None:
    """A large body is sent whole."""
    body = hashlib.shake_128(b"seed").digest(1_000_000) * 20

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers(sized(b"thanks"), sized(b"again")))
        assert await whole(await bench.send(server, body=body)) == b"thanks"
        assert server.peers[0].received.endswith(b"\r\n\r\n" + body)
        assert await whole(await bench.send(server)) == b"again"
        assert len(server.peers) == 1

    lab.run(scenario)


@conforms
@pytest.mark.parametrize(
    "header",
    [
        ("x-a", "b\r\nx-injected: 1"),
        ("x-a", "b\nx-injected: 1"),
        ("x-a", "b\r"),
        ("x-a", "b\x00"),
        ("x-a\r\nx-injected", "1"),
        ("x-a", "\u65e5\u672c"),
    ],
)
def test_header_injection_is_refused_before_sending(lab: Lab, header: tuple[str, str]) -> None:
    """A header that would break out of its line, or has no bytes, is PROTOCOL, and nothing is sent."""

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers(sized(b"fine")))
        assert (await fault_of(bench.send(server, headers=(header,)))).kind is FaultKind.PROTOCOL
        assert await whole(await bench.send(server)) == b"fine"
        assert [b"x-a" in peer.received for peer in server.peers if peer.received] == [False]

    lab.run(scenario)


@conforms
@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/", "http://", "127.0.0.1:80/v1", "http://u:p@127.0.0.1/", "http://a:b/"]
)
def test_unusable_url_is_refused(lab: Lab, url: str) -> None:
    """A URL that names no plain HTTP origin is PROTOCOL, in words without it."""

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers())
        assert (await fault_of(bench.send(server, url=url))).kind is FaultKind.PROTOCOL

    lab.run(scenario)


@conforms
def test_redirects_are_not_followed_and_cookies_not_kept(lab: Lab) -> None:
    """A redirect is a response like any other, and set-cookie has no effect on the next request."""

    async def scenario(bench: Bench) -> None:
        redirect = sized(b"", "location: /there", "set-cookie: a=b; Path=/").replace(b"200 OK", b"307 Go")
        server = await bench.serve(answers(redirect, sized(b"")))
        reply = await bench.send(server)
        assert (reply.status, reply.headers["location"]) == (307, "/there")
        await whole(reply)
        await whole(await bench.send(server))
        assert server.peers[0].received.count(b"POST ") == 2
        assert b"cookie" not in server.peers[0].received.lower()

    lab.run(scenario)
