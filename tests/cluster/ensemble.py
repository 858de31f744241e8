"""A cluster as it runs: replicas, a scripted provider and a store, each a process of its own on loopback.

Not called `harness`, for tests/process has one, on which this is built. What is between the replicas and
their store is here too: `Faults` is the fault proxy on a thread with a loop of its own, so that a busy
client of a test is never a slow network.
"""

import asyncio
import collections
import concurrent.futures
import contextlib
import hashlib
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from fault_proxy import FaultProxy
from harness import Mock, Serve
from stores import Store
from traffic import CHAT, key_of

from ratelimit.gauge import UNIT

REPLICAS = 3

Config = dict[str, object]


def configured(
    mock: Mock, redis_url: str, clients: Mapping[str, Mapping[str, object]], *models: str, **more: object
) -> Config:
    """A replica's configuration. `clients` are settings by name; a client has `key_of` its name."""
    aliases = models or (CHAT,)
    return {
        "listen": {"port": 0},
        "operations": {"port": 0},
        "redis": {"url": redis_url, "min_replicas": 1},
        "clients": [{"name": name, "key": key_of(name), **settings} for name, settings in clients.items()],
        "providers": {
            "mock": {
                "base_url": f"http://127.0.0.1:{mock.port}/v1",
                "api_key": "sk-mock",
                "reserve_output": "max_tokens",
            }
        },
        "models": {alias: {"providers": [{"provider": "mock"}]} for alias in aliases},
        "drain_grace": 0,
        "drain_timeout": 1,
        **more,
    }


@contextlib.contextmanager
def replicas(config: Config, count: int = REPLICAS) -> Iterator[list[Serve]]:
    """So many replicas with one configuration, started together, ready."""
    with contextlib.ExitStack() as stack, concurrent.futures.ThreadPoolExecutor(count) as starting:
        begun = [starting.submit(Serve, config) for _ in range(count)]
        for future in concurrent.futures.as_completed(begun):
            if future.exception() is None:
                stack.enter_context(future.result())
        yield [future.result() for future in begun]


class Faults:
    """The fault proxy before one server, switched from outside its thread."""

    def __init__(self, port: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._proxy = FaultProxy("127.0.0.1", port)

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._proxy.__aenter__(), self._loop).result(5.0)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening and end the thread."""
        asyncio.run_coroutine_threadsafe(self._proxy.__aexit__(), self._loop).result(5.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)
        self._loop.close()

    @property
    def url(self) -> str:
        """The address a replica is given."""
        return f"redis://127.0.0.1:{self._proxy.port}"

    def switch(self, *, hole: bool = False, delay_s: float = 0.0) -> None:
        """From now on this bad, and no worse."""

        def apply() -> None:
            self._proxy.hole = hole
            self._proxy.delay_s = delay_s

        self._loop.call_soon_threadsafe(apply)


@dataclass(frozen=True, slots=True)
class Bucket:
    """What a limit holds: requests and tokens used and not yet drained, and how many leases."""

    requests: float
    tokens: float
    held: int
    leases: Sequence[str]

    def by_replica(self) -> Mapping[str, int]:
        """Leases by the name of the replica that holds them."""
        return collections.Counter(rid.partition(".")[0] for rid in self.leases)


def limit_key(client: str, window: str = "smooth") -> str:
    """Where the limit of a client lives; docs/limits.md draws it."""
    return f"rl:{{client:{hashlib.sha256(client.encode()).hexdigest()[:16]}}}:{window}"


def bucket(store: Store, client: str, window: str = "smooth") -> Bucket:
    """The limit of a client as the store has it now. Strict windows count whole requests and tokens."""
    flat: Sequence[bytes] = store.ask("HGETALL", limit_key(client, window))
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    if b"@" not in fields:
        return Bucket(0.0, 0.0, 0, ())
    _, requests, tokens, held, _ = struct.unpack_from("<5q", fields[b"@"])
    unit = UNIT if window == "smooth" else 1
    leases = [name.decode() for name in fields if name[:1] not in (b"@", b"~")]
    return Bucket(requests / unit, tokens / unit, held, leases)


@dataclass(frozen=True, slots=True)
class Counted:
    """How often a command was run, and the microseconds that took."""

    calls: int
    usec: int

    def since(self, before: "Counted") -> "Counted":
        """What has come to it."""
        return Counted(self.calls - before.calls, self.usec - before.usec)


def counted(store: Store, command: str = "evalsha") -> Counted:
    """What `INFO commandstats` says of a command."""
    for line in store.ask("INFO", "commandstats").decode().splitlines():
        name, _, facts = line.partition(":")
        if name == f"cmdstat_{command}":
            pairs = dict(pair.split("=") for pair in facts.split(","))
            return Counted(int(pairs["calls"]), int(pairs["usec"]))
    return Counted(0, 0)


async def seen(holds: Callable[[], bool], within: float, every: float = 0.02) -> float | None:
    """The seconds until `holds` (asked in a thread), or None if it did not within `within`."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() - began < within:
        with contextlib.suppress(OSError):
            if await asyncio.to_thread(holds):
                return loop.time() - began
        await asyncio.sleep(every)
    return None
