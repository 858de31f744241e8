"""Names to addresses: looked up off the event loop, shared by all who ask meanwhile, kept for a moment."""

import asyncio
import dataclasses
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence

from proxy.tasks import Tasks

KEPT = 10.0
"""Seconds for which an answer is good: a provider that moves its traffic is followed soon."""

_NAMES = 1024  # as many answers are kept at most

Address = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]
"""What `getaddrinfo` knows of one: family, type, protocol, canonical name, and the address of a socket."""

LookUp = Callable[[str, int], Awaitable[Sequence[Address]]]
"""Asks the system for a name and a port. Raises `OSError` or `UnicodeError`."""


async def look_up(host: str, port: int) -> Sequence[Address]:
    """Ask the system, in a thread."""
    loop = asyncio.get_running_loop()
    return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)


@dataclasses.dataclass(slots=True)
class _Answer:
    addresses: Sequence[Address]
    until: float
    turn: int = 0


class Resolver:
    """Addresses of names. `ask` asks the system, `now` is a clock in seconds."""

    def __init__(self, ask: LookUp, now: Callable[[], float]) -> None:
        self._ask = ask
        self._now = now
        self._answers: dict[tuple[str, int], _Answer] = {}
        self._asked: dict[tuple[str, int], asyncio.Task[_Answer | None]] = {}
        self._tasks = Tasks()

    async def find(self, host: str, port: int) -> Sequence[Address]:
        """Addresses in the order in which to try them, another one first each time; or none."""
        literal = _literal(host, port)
        if literal is not None:
            return [literal]
        key = (host, port)
        answer = self._answers.get(key)
        if answer is None or answer.until <= self._now():
            task = self._asked.get(key)
            if task is None:
                task = self._asked[key] = self._tasks.spawn(self._looked_up(key), "name lookup")
            await asyncio.wait({task})  # others may wait for it too
            answer = None if task.cancelled() else task.result()
            if answer is None:
                return ()
        answer.turn += 1
        return _rotated(answer.addresses, answer.turn - 1)

    async def close(self) -> None:
        """Ask no more."""
        await self._tasks.close()

    async def _looked_up(self, key: tuple[str, int]) -> _Answer | None:
        try:
            addresses = await self._ask(*key)
        except (OSError, UnicodeError):
            return None  # not kept: the next one asks again
        finally:
            del self._asked[key]
        if not addresses:
            return None
        if len(self._answers) >= _NAMES:
            self._answers.clear()
        answer = self._answers[key] = _Answer(addresses, self._now() + KEPT)
        return answer


def _literal(host: str, port: int) -> Address | None:
    """The address that `host` is, if it is one."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if address.version == 4:
        return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))
    numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV  # answers at once; it knows the names of scopes
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=numeric
        )
    except OSError:
        return None
    return found[0]


def _rotated(addresses: Sequence[Address], turn: int) -> Sequence[Address]:
    """Each family's addresses begin with another one; which family comes first is the system's choice."""
    families: dict[int, list[Address]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    return [found[(turn + step) % len(found)] for found in families.values() for step in range(len(found))]
