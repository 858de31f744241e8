"""Names: asked for once, kept for a moment, each address first in its turn."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

from proxy.upstream.resolver import KEPT, Address, Resolver


def _address(ip: str) -> Address:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (ip, 80))


class _System:
    """Knows `names`; counts how often it was asked."""

    def __init__(self, **names: list[str]) -> None:
        self.names = names
        self.asked = 0
        self.now = 0.0
        self.free = asyncio.Event()
        self.free.set()
        self.resolver = Resolver(self.ask, lambda: self.now)

    async def ask(self, host: str, _port: int) -> Sequence[Address]:
        """See `LookUp`."""
        self.asked += 1
        await self.free.wait()
        if host not in self.names:
            raise socket.gaierror
        return [_address(ip) for ip in self.names[host]]

    async def find(self, host: str) -> list[object]:
        """Where `host` is."""
        return [address[4][0] for address in await self.resolver.find(host, 80)]


def _run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(5):
            await main()

    asyncio.run(bounded())


def test_each_address_comes_first_in_its_turn() -> None:
    """Within its family: which family comes first is the system's choice."""

    async def main() -> None:
        system = _System(a=["::1", "::2", "1.1.1.1", "2.2.2.2", "3.3.3.3"])
        assert await system.find("a") == ["::1", "::2", "1.1.1.1", "2.2.2.2", "3.3.3.3"]
        assert await system.find("a") == ["::2", "::1", "2.2.2.2", "3.3.3.3", "1.1.1.1"]
        assert await system.find("a") == ["::1", "::2", "3.3.3.3", "1.1.1.1", "2.2.2.2"]
        assert system.asked == 1

    _run(main)


def test_an_answer_is_kept_for_a_moment_and_a_failure_not_at_all() -> None:
    """A name that moves is followed; one that was missing is asked for again."""

    async def main() -> None:
        system = _System(a=["1.1.1.1"])
        await system.find("a")
        system.now = KEPT - 0.1
        await system.find("a")
        assert system.asked == 1
        system.now = KEPT
        system.names["a"] = ["2.2.2.2"]
        assert await system.find("a") == ["2.2.2.2"]
        assert (await system.find("b"), await system.find("b"), system.asked) == ([], [], 4)
        system.names["c"] = []
        assert await system.find("c") == []

    _run(main)


def test_those_who_ask_at_the_same_time_share_one_question() -> None:
    """And one of them may leave."""

    async def main() -> None:
        system = _System(a=["1.1.1.1"])
        system.free.clear()
        asking = [asyncio.ensure_future(system.find("a")) for _ in range(3)]
        await asyncio.sleep(0)
        asking[0].cancel()
        system.free.set()
        assert (await asking[1], await asking[2], system.asked) == (["1.1.1.1"], ["1.1.1.1"], 1)

    _run(main)


def test_addresses_are_not_asked_for() -> None:
    """Neither IPv4 nor IPv6."""

    async def main() -> None:
        system = _System()
        assert await system.find("127.0.0.1") == ["127.0.0.1"]
        assert await system.find("::1") == ["::1"]
        assert system.asked == 0

    _run(main)


def test_no_more_than_a_thousand_answers_are_kept() -> None:
    """Then all are forgotten."""

    async def main() -> None:
        system = _System(**{f"n{number}": ["1.1.1.1"] for number in range(1025)})
        for name in system.names:
            await system.find(name)
        await system.find("n0")
        assert system.asked == 1026

    _run(main)


def test_closing_ends_a_question() -> None:
    """Who waits for it finds nothing."""

    async def main() -> None:
        system = _System(a=["1.1.1.1"])
        system.free.clear()
        asking = asyncio.ensure_future(system.find("a"))
        await asyncio.sleep(0)
        await system.resolver.close()
        assert await asking == []

    _run(main)
