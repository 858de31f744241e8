"""Which connection a call goes out on: pooled, fresh, or fresh in place of a pooled one that had died."""

import asyncio
from collections.abc import Callable

import pytest
from hostile import Peer, answers, answers_and_leaves, sized, turns
from transports import Bench, Lab, conforms, fault_of, leaves_promptly, whole

from proxy.errors import FaultKind


@conforms
def test_sequential_calls_share_one_connection(lab: Lab) -> None:
    """Two hundred calls, one after the other, use one connection."""

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers(*[sized(b"%d" % number) for number in range(200)]))
        for number in range(200):
            reply = await bench.send(server)
            assert (await whole(reply), reply.resent) == (b"%d" % number, False)
        assert len(server.peers) == 1

    lab.run(scenario)


@conforms
def test_simultaneous_calls_have_connections_of_their_own(lab: Lab) -> None:
    """Calls under way at the same time do not wait for each other, and later ones use what they leave."""
    both = asyncio.Barrier(2)

    async def script(peer: Peer) -> None:
        await peer.request()
        await both.wait()
        peer.say(sized(b"%d" % peer.number))
        await peer.request()
        peer.say(sized(b"later"))

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(script)
        replies = await asyncio.gather(bench.send(server), bench.send(server))
        assert {await whole(reply) for reply in replies} == {b"0", b"1"}
        assert await whole(await bench.send(server)) == b"later"
        assert len(server.peers) == 2

    lab.run(scenario)


@conforms
@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ],
)
def test_server_that_will_close_is_not_used_again(lab: Lab, response: bytes) -> None:
    """`connection: close`, or HTTP/1.0, ends the connection with the body although the server lingers.

    So do chunks in HTTP/1.0, whatever is said of the connection (RFC 9112 6.1).
    """

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers(response))
        assert await whole(await bench.send(server)) == b"ok"
        await leaves_promptly(server.peers[0])
        assert await whole(await bench.send(server)) == b"ok"
        assert len(server.peers) == 2

    lab.run(scenario)


@conforms
def test_old_server_may_keep_its_connection(lab: Lab) -> None:
    """HTTP/1.0 with `connection: keep-alive` and a length is used again."""
    response = b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok"

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers(response, response))
        for _ in range(2):
            assert await whole(await bench.send(server)) == b"ok"
        assert len(server.peers) == 1

    lab.run(scenario)


@conforms
def test_connection_closed_while_idle_is_left_alone(lab: Lab) -> None:
    """A pooled connection known to be closed is not tried, so nothing is resent."""

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(answers_and_leaves(sized(b"ok")))
        for _ in range(3):
            reply = await bench.send(server)
            await whole(reply)
            await server.peers[-1].gone()
            await turns()
            assert not reply.resent
        assert len(server.peers) == 3

    lab.run(scenario)


@conforms
@pytest.mark.parametrize("leave", [Peer.hang_up, Peer.reset])
def test_stale_pooled_connection_is_replaced_once_and_visibly(
    lab: Lab, leave: Callable[[Peer], None]
) -> None:
    """A pooled connection that dies under a request is replaced by a fresh one, and the reply says so."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.say(sized(b"%d" % peer.number))
        if peer.number == 0:
            await peer.request()
            leave(peer)

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(script)
        assert await whole(await bench.send(server)) == b"0"
        reply = await bench.send(server, body=b"again")
        assert (await whole(reply), reply.resent) == (b"1", True)
        assert [peer.received.endswith(b"\r\n\r\nagain") for peer in server.peers] == [True, True]

    lab.run(scenario)


@conforms
@pytest.mark.parametrize("leave", [Peer.hang_up, Peer.reset])
def test_request_that_a_server_has_worked_on_is_not_sent_again(
    lab: Lab, leave: Callable[[Peer], None]
) -> None:
    """A pooled connection that dies more than a second after a request was written is RESET."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.say(sized(b"ok"))
        await peer.request()
        await asyncio.sleep(1.1)
        leave(peer)

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(script)
        assert await whole(await bench.send(server)) == b"ok"
        assert (await fault_of(bench.send(server))).kind is FaultKind.RESET
        assert len(server.peers) == 1

    lab.run(scenario)


@conforms
@pytest.mark.parametrize("size", [2, 2_000_000])
def test_close_that_crosses_a_request_is_survived(lab: Lab, size: int) -> None:
    """A server that closes at the moment a request is written costs a fresh connection, whatever the size."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.say(sized(b"%d" % peer.number))

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(script)
        assert await whole(await bench.send(server)) == b"0"
        server.peers[0].hang_up()
        assert await whole(await bench.send(server, body=b"x" * size)) == b"1"
        assert len(server.peers) == 2

    lab.run(scenario)


@conforms
def test_fresh_connection_is_never_tried_twice(lab: Lab) -> None:
    """A fresh connection that dies is RESET, and so is the fresh one that replaced a stale one."""

    async def dies(peer: Peer) -> None:
        await peer.request()
        peer.hang_up()

    async def dies_later(peer: Peer) -> None:
        await peer.request()
        if peer.number == 0:
            peer.say(sized(b"ok"))
            await peer.request()
        peer.hang_up()

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(dies)
        assert (await fault_of(bench.send(server))).kind is FaultKind.RESET
        assert len(server.peers) == 1
        server = await bench.serve(dies_later)
        assert await whole(await bench.send(server)) == b"ok"
        assert (await fault_of(bench.send(server))).kind is FaultKind.RESET
        assert len(server.peers) == 2

    lab.run(scenario)


@conforms
@pytest.mark.parametrize(
    "begun", [b"H", b"HTTP/1.1 200 OK\r\nx-a: b", b"HTTP/1.1 103 Hints\r\n\r\n", b"\r\n"]
)
@pytest.mark.parametrize("leave", [Peer.hang_up, Peer.reset])
def test_response_begun_rules_out_a_resend(lab: Lab, begun: bytes, leave: Callable[[Peer], None]) -> None:
    """Where even one byte of a response came, the request was received: it is RESET, not sent again."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.say(sized(b"ok"))
        await peer.request()
        await peer.say_slowly(begun, split=1000)
        leave(peer)

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(script)
        assert await whole(await bench.send(server)) == b"ok"
        assert (await fault_of(bench.send(server))).kind is FaultKind.RESET
        assert len(server.peers) == 1

    lab.run(scenario)


@conforms
def test_what_replaces_a_stale_connection_is_not_another_stale_one(lab: Lab) -> None:
    """When several pooled connections of an origin have died, the first call to find out succeeds."""
    all_there = asyncio.Barrier(3)

    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number < 3:
            await all_there.wait()
            peer.say(sized(b"ok"))
            await peer.request()
            peer.hang_up()
        else:
            peer.say(sized(b"fresh"))

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(script)
        for reply in await asyncio.gather(*[bench.send(server) for _ in range(3)]):
            assert await whole(reply) == b"ok"
        reply = await bench.send(server)
        assert (await whole(reply), reply.resent) == (b"fresh", True)
        assert len(server.peers) == 4

    lab.run(scenario)


@conforms
def test_server_that_closes_on_accept_is_a_reset(lab: Lab) -> None:
    """A server that takes a connection only to drop it is RESET, tried once a call."""

    async def drops(peer: Peer) -> None:
        (peer.reset if peer.number % 2 else peer.hang_up)()

    async def scenario(bench: Bench) -> None:
        server = await bench.serve(drops)
        for calls in range(1, 7):
            assert (await fault_of(bench.send(server))).kind is FaultKind.RESET
            assert len(server.peers) == calls

    lab.run(scenario)
