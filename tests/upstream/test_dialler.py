"""Which address is connected to, and what a failure is called."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence

import pytest
from hostile import Peer, Script, answers, serving, sized
from transports import LOOPS, authority, fault_of, server_context, whole

from proxy.errors import Fault, FaultKind
from proxy.upstream import Call
from proxy.upstream.dialler import Dialler
from proxy.upstream.resolver import Address, Resolver
from proxy.upstream.route import Hop, Way
from proxy.upstream.sessions import ResumingContext, verifying_context
from proxy.upstream.transport import PooledUpstream

_LOOPS = pytest.mark.parametrize("loop", [loop for _, loop in LOOPS], ids=[name for name, _ in LOOPS])


def _dialler(*places: tuple[str, int], tls: ssl.SSLContext | None = None) -> Dialler:
    """One for whom every name is at `places`."""

    async def ask(_host: str, _port: int) -> Sequence[Address]:
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place) for place in places]

    return Dialler(Resolver(ask, lambda: 0.0), tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@_LOOPS
def test_a_dead_address_falls_over_to_the_next(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Whichever is tried first, the one that answers is connected to."""

    async def main() -> None:
        async with serving(answers()) as server:
            dialler = _dialler(("127.0.0.1", _free_port()), ("127.0.0.1", server.port))
            for _ in range(2):
                connection = await dialler.dial(Way(Hop(False, "a", 80), None))
                assert connection.open
                connection.abort()
            await dialler.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


@_LOOPS
@pytest.mark.parametrize("count", [1, 2])
def test_no_address_that_answers_is_a_connect_fault(
    loop: Callable[[], asyncio.AbstractEventLoop], count: int
) -> None:
    """The fault holds the error's name where all failed alike."""

    async def main() -> None:
        dialler = _dialler(*[("127.0.0.1", _free_port()) for _ in range(count)])
        fault = await fault_of(dialler.dial(Way(Hop(False, "a", 80), None)))
        assert (fault.kind, fault.detail) == (FaultKind.CONNECT, "no connection (ECONNREFUSED)")
        assert (await fault_of(_dialler().dial(Way(Hop(False, "a", 80), None)))).kind is FaultKind.DNS

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


async def _acquainted(*names: str) -> ResumingContext:
    """A context with sessions of servers that are called `names`."""
    tls = verifying_context()
    authority().configure_trust(tls)
    async with serving(answers(sized(b"ok")), tls=server_context("127.0.0.1")) as server:
        upstream = PooledUpstream({}, tls=tls)
        await whole(await upstream.send(Call("POST", server.url(), ())))
        await upstream.close()
    known = tls.known.pop("127.0.0.1")
    tls.known.update(dict.fromkeys(names, known))
    return tls


async def _hangs_up(peer: Peer) -> None:
    peer.hang_up()


async def _is_silent(_peer: Peer) -> None:
    pass


async def _does_not_speak_tls(peer: Peer) -> None:
    peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@_LOOPS
@pytest.mark.parametrize("script", [_hangs_up, _is_silent, _does_not_speak_tls])
@pytest.mark.parametrize("proxied", [True, False])
def test_a_dial_that_fails_forgets_the_sessions_it_used(
    loop: Callable[[], asyncio.AbstractEventLoop], script: Script, proxied: bool
) -> None:
    """Of each hop, however it failed, so that the next one begins anew; but not where nobody was reached."""

    async def main() -> None:
        tls = await _acquainted("a", "proxy", "other")
        way = Way(Hop(True, "a", 443), Hop(True, "proxy", 443) if proxied else None)
        with pytest.raises(Fault):
            await _dialler(("127.0.0.1", _free_port()), tls=tls).dial(way)
        assert tls.known.keys() == {"a", "proxy", "other"}
        async with serving(script) as server:
            dialler = _dialler(("127.0.0.1", server.port), tls=tls)
            with pytest.raises((Fault, TimeoutError)):
                async with asyncio.timeout(0.2):
                    await dialler.dial(way)
        assert tls.known.keys() == ({"other"} if proxied else {"proxy", "other"})

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
