"""What the limiter knows of a store, and what the Redis store knows of its link.

A store keeps the states of limits. `redis_store` shares them over the cluster, `memory_store` keeps them in
this process; both pass the same conformance tests. Every operation is atomic over the limits it names and
harmless when repeated.
"""

import dataclasses
import hashlib
import importlib.resources
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol, Self

from ratelimit.bucket import Replay
from ratelimit.quota import Decision, Demand
from ratelimit.scope import Limit

LEASE_S = 30
"""How long a reservation outlives its last heartbeat, in seconds; a crash frees it after this at most."""
SCRIPTS = ("admit", "settle", "heartbeat", "tidy", "restore")


class Unavailable(Exception):
    """The store cannot answer now: no connection, too slow, read-only, loading, out of memory.

    `lost`: it may be only the answer that is missing, and the call was carried out.
    """

    lost = True


class StoreError(Exception):
    """The store answered that it cannot do this, now or ever: a bug, or a foreign value under our key.

    It says nothing of other keys, so whoever works for many catches it for each.
    """


class Clock(Protocol):
    """Monotonic time. The store's own time decides; this one only schedules."""

    def monotonic(self) -> float:
        """Seconds since some fixed point, never going back."""


@dataclasses.dataclass(frozen=True, slots=True)
class Script:
    """A Lua script. `sha` is the SHA-1 by which Redis knows it."""

    name: str
    text: str
    sha: str

    @classmethod
    def of(cls, name: str, text: str) -> Self:
        """The script of this text."""
        return cls(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())

    def __repr__(self) -> str:
        """Name and digest: the text is in lua/."""
        return f"<Script {self.name} {self.sha[:10]}>"


def load_scripts() -> Mapping[str, Script]:
    """Every script of lua/ by its name. Reads the package's files: call it once, at the start."""
    folder = importlib.resources.files("ratelimit") / "lua"
    texts = {name: (folder / f"{name}.lua").read_text(encoding="utf-8") for name in SCRIPTS}
    return {name: Script.of(name, text) for name, text in texts.items()}


class Link(Protocol):
    """The connection to Redis, handed in by its owner.

    It pipelines what is called within one tick in the order of the calls, bounds every call in time, sends
    a script again where the server does not know it, and goes on with a call whose caller was cancelled.
    """

    def send(self, script: Script, keys: list[str], args: list[str | int | bytes]) -> Awaitable[Any]:
        """Run `script`; what Redis answers: an int, bytes, or a list of ints.

        It is on its way when this returns, and needs no task. What fails comes with the answer:
        `Unavailable`, or `StoreError` where the server runs it and that fails.
        """


class Store(Protocol):
    """Where the states of limits are kept.

    Every method raises `Unavailable` where it cannot answer, and `StoreError` where that fails for good.
    """

    async def admit(self, rid: str, limits: Sequence[Limit], demand: Demand) -> Decision:
        """Take `demand` and a lease from every limit, or nothing from any. Idempotent by `rid`."""

    async def peek(self, limits: Sequence[Limit], demand: Demand) -> Decision:
        """What `admit` would answer now. Takes nothing."""

    def settle(self, rid: str, limits: Sequence[Limit], reserved: Demand, actual: Demand) -> Awaitable[bool]:
        """End a reservation at what it used; whether it was open. Idempotent by `rid`."""

    async def heartbeat(self, limit: Limit, rids: Sequence[str]) -> Sequence[str]:
        """Renew the leases of `rids`; those that are not there."""

    async def restore(self, limit: Limit, replay: Replay) -> None:
        """Tell a limit what it has missed. Idempotent by the replay's mark."""

    async def lower(self, limit: Limit, requests: int | None, tokens: int | None) -> None:
        """Let no more than `requests` and `tokens` remain, whatever we counted. Never raises what remains."""

    async def upkeep(self) -> None:
        """Do what is due off the path of requests: free lapsed leases, forget what is idle."""
