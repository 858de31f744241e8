"""Providers that turn bad and well again, before replicas with a store, without Pub/Sub, or without a store.

What a provider was asked is read from its own ledger, on the clock that all processes of one machine share.
"""

import asyncio
import contextlib
import http.client
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from ensemble import REPLICAS, Config, replicas
from harness import Mock, Serve, fetch
from stores import Store, standalone
from traffic import CHAT, key_of

Script = Mapping[str, object]
WELL: Script = {"default": {"tokens": 3}}
NOTICED_MS = 5.0
"""What this machine adds to a time by itself."""


class Shared(StrEnum):
    """How far replicas hear of each other."""

    ALL = "all"
    DEAF = "deaf"
    """Pub/Sub is cut off."""
    AWAY = "away"
    """Redis is killed when all are up."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request as a provider saw it; monotonic seconds. `done` is 0 where it never was."""

    at: float
    done: float
    key: str
    model: str
    outcome: str


@dataclass(slots=True)
class Watched:
    """A provider whose ledger is read while it is written: it keeps only the newest thousand."""

    mock: Mock
    calls: dict[tuple[float, str, str], Call] = field(default_factory=dict)

    def look(self) -> None:
        """Read the newest."""
        for told in fetch(self.mock.port, "/_mock/requests?last=1000")["requests"]:
            call = Call(told["at"], told["done_at"] or 0.0, told["key_id"], told["model"], told["outcome"])
            self.calls[call.at, call.key, call.model] = call

    async def watch(self, every: float = 0.5) -> None:
        """Read until cancelled."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(every)

    def since(self, when: float) -> list[Call]:
        """What was asked since then, in order."""
        return [call for _, call in sorted(self.calls.items()) if call.at >= when]

    @property
    def requests(self) -> int:
        """How many requests there were, ever."""
        return int(self.mock.stats()["requests"])


def play(mock: Mock, script: Script) -> float:
    """From now on `mock` does this; the monotonic time at which it began."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", mock.port, timeout=10)) as connection:
        connection.request("POST", "/_mock/script", json.dumps(script))
        response = connection.getresponse()
        said = response.read()
        assert response.status == 200, said
    return time.monotonic()


def configured(
    mocks: Mapping[str, Mock],
    store: Store,
    clients: Sequence[str] | Mapping[str, Mapping[str, object]] = ("app",),
    **more: Any,
) -> Config:
    """One model over all `mocks`, weighted evenly. `providers` and `models` in `more` go over the usual.

    `clients` are names, or settings by name.
    """
    settings = clients if isinstance(clients, Mapping) else {name: {} for name in clients}
    providers: dict[str, dict[str, object]] = more.pop("providers", {})
    usual = {
        name: {
            "base_url": f"http://127.0.0.1:{mock.port}/v1",
            **providers.get(name, {"api_key": f"sk-{name}-0"}),
        }
        for name, mock in mocks.items()
    }
    return {
        "listen": {"port": 0},
        "operations": {"port": 0},
        "redis": {"url": f"redis://127.0.0.1:{store.port}"},
        "clients": [{"name": name, "key": key_of(name), **own} for name, own in settings.items()],
        "providers": usual,
        "models": {CHAT: {"providers": [{"provider": name} for name in mocks]}},
        "drain_grace": 0,
        "drain_timeout": 1,
        **more,
    }


class Scene:
    """The replicas, the providers by name, and the store while it lasts."""

    def __init__(self, running: Sequence[Serve], mocks: Mapping[str, Mock], store: Store) -> None:
        self.running = running
        self.ports = [replica.port for replica in running]
        self.watched = {name: Watched(mock) for name, mock in mocks.items()}
        self.store = store

    def __getitem__(self, name: str) -> Watched:
        """A provider."""
        return self.watched[name]

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[Self]:
        """Read all ledgers meanwhile, and once more in the end."""
        tasks = [asyncio.get_running_loop().create_task(watched.watch()) for watched in self.watched.values()]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for watched in self.watched.values():
                await asyncio.to_thread(watched.look)


@contextlib.contextmanager
def staged(
    names: Sequence[str], shared: Shared = Shared.ALL, count: int = REPLICAS, **more: Any
) -> Iterator[Scene]:
    """Replicas before providers that are well."""
    with standalone() as store, contextlib.ExitStack() as stack:
        if shared is Shared.DEAF:
            store.ask("ACL", "SETUSER", "default", "resetchannels")
        mocks = {name: stack.enter_context(Mock(WELL, name)) for name in names}
        running = stack.enter_context(replicas(configured(mocks, store, **more), count))
        time.sleep(1.5)  # each replica has asked for what the others know
        if shared is Shared.AWAY:
            store.kill()
            time.sleep(0.5)
        yield Scene(running, mocks, store)
