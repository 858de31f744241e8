"""Which address is connected to, and what a failure is called."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence

import pytest
from hostile import answers, serving
from transports import LOOPS, fault_of

from proxy.errors import FaultKind
from proxy.upstream.dialler import Dialler
from proxy.upstream.resolver import Address, Resolver
from proxy.upstream.route import Hop, Way

_LOOPS = pytest.mark.parametrize("loop", [loop for _, loop in LOOPS], ids=[name for name, _ in LOOPS])


def _dialler(*places: tuple[str, int]) -> Dialler:
    """One for whom every name is at `places`."""

    async def ask(_host: str, _port: int) -> Sequence[Address]:
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place) for place in places]

    return Dialler(Resolver(ask, lambda: 0.0), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


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
