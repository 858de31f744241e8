"""The whole app on real sockets in one event loop: scripted providers, one replica, and a plain client.

A test describes its providers by scripts and the configuration by what differs from the usual, runs a
scenario on the `Stage` and looks at what the client, the providers and the records saw. Nothing is faked
but the providers; only waits are shorter than in real life.
"""

import asyncio
import contextlib
import dataclasses
import random
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import uvloop
from wires import KEY, MODEL, Got, Tree, Wire, ask, head, request

from metrics.record import Record
from mockprovider import Behaviour, MockProvider, Rule, Script
from mockprovider.ledger import Entry
from proxy.app import Replica, Surroundings, build
from proxy.circuit import Cause
from proxy.circuit import Record as Known
from proxy.clock import SystemClock
from proxy.config.settings import Bounds, Config
from proxy.house import Application
from proxy.listener import Listener, bind
from proxy.relay import PATIENCE, Patience
from proxy.sockets import PATH

OTHER_KEY = "sk-other-0123456789"
_T = TypeVar("_T")


class Stage:
    """What a scenario works with: the providers by name, the replica, and clients."""

    def __init__(self, mocks: Mapping[str, MockProvider], replica: Replica, records: list[Record]) -> None:
        self.mocks = mocks
        self.replica = replica
        self.records = records
        self.port = self.operations_port = 0
        self._wires: list[Wire] = []

    async def wire(self, *, port: int | None = None, receive_buffer: int | None = None) -> Wire:
        """A new client connection."""
        sock = socket.socket()
        sock.setblocking(False)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port or self.port))
        limit = receive_buffer or 64 * 1024 * 1024
        wire = Wire(*await asyncio.open_connection(sock=sock, limit=limit))
        self._wires.append(wire)
        return wire

    async def send(self, request: bytes, method: str = "POST", *, port: int | None = None) -> Got:
        """Send the bytes of one request on a connection of its own, and read the answer."""
        wire = await self.wire(port=port)
        wire.send(request)
        got = await wire.answer(method)
        await wire.close()
        return got

    async def post(
        self,
        body: Tree | bytes | None = None,
        *,
        path: str = "/v1/chat/completions",
        key: str | None = KEY,
        headers: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> Got:
        """Ask something: a plain chat with `fields` over it, unless there is a `body`."""
        return await self.send(request(ask(**fields) if body is None else body, path, key, headers))

    async def get(self, path: str, *, key: str | None = KEY, port: int | None = None) -> Got:
        """Get something."""
        return await self.send(
            head("GET", path, {"authorization": f"Bearer {key}"} if key else {}) + b"\r\n", "GET", port=port
        )

    async def metrics(self) -> dict[str, float]:
        """All samples of `/metrics`, by name and labels as they are printed."""
        got = await self.get("/metrics", key=None, port=self.operations_port)
        lines = got.body.decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    @property
    def tried(self) -> list[str]:
        """The attempts of the last request, as `provider:outcome`."""
        return [f"{attempt.provider}:{attempt.outcome}" for attempt in self.records[-1].attempts]

    def seen(self, name: str) -> list[Entry]:
        """What a provider has been asked."""
        return self.mocks[name].requests

    def health(self, provider: str) -> dict[str, Known]:
        """What is remembered of the targets of a provider, of its keys, and of the way to it."""
        known = self.replica.fleet.health.records
        origin = f"http://127.0.0.1:{self.mocks[provider].port}"
        names = (f"{provider}/", f"{provider}@")
        return {name: record for name, record in known.items() if name == origin or name.startswith(names)}

    def effect(self, provider: str) -> str:
        """What is remembered of a provider, in words."""
        words = set()
        for name, record in self.health(provider).items():
            refused = "quarantined_key" if name.startswith(f"{provider}@") else "quarantined_model"
            failures = record.failures + record.broken
            words |= {f"failures={failures}"} if failures else set()
            words |= {"back_off"} if record.back_off_until else set()
            words |= {refused if record.cause is Cause.REFUSED else "open"} if record.open_until else set()
        return " ".join(sorted(words)) or "none"

    async def until(self, happened: Callable[[], object], seconds: float = 2.0) -> float:
        """Wait until something has happened; how long that took. Fails where it never does."""
        began = _now()
        while not happened():
            assert _now() - began < seconds, "it never happened"
            await asyncio.sleep(0.002)
        return _now() - began

    async def leave(self) -> None:
        """Close all connections of clients."""
        for wire in self._wires:
            wire.writer.transport.abort()
        for wire in self._wires:
            await wire.close()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How a stage is set. `providers` are scripts by name, in the order they are tried.

    `config` goes over the usual configuration, one section at a time; `accounts` over that of single
    providers.
    """

    providers: Mapping[str, Behaviour | Script]
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    accounts: Mapping[str, Tree] = dataclasses.field(default_factory=dict)
    patience: Patience = PATIENCE
    seed: int = 7

    def tree(self, ports: Mapping[str, int]) -> Tree:
        """The configuration, given where the providers listen."""
        accounts = {
            name: {"base_url": f"http://127.0.0.1:{port}/v1", "api_keys": [f"sk-{name}-0123456789"]}
            | self.accounts.get(name, {})
            for name, port in ports.items()
        }
        entries = [{"provider": name, "model": "up"} for name in self.providers]
        usual: Tree = {
            "listen": {"port": 0},
            "operations": {"port": 0},
            "clients": [{"name": "dev", "key": KEY}],
            "providers": accounts,
            "models": {MODEL: {"strategy": "ordered", "providers": entries}},
            "drain_timeout": 0.2,
        }
        return usual | dict(self.config)


def play(setting: Setting, scenario: Callable[[Stage], Awaitable[_T]]) -> _T:
    """Run a scenario. Fails if afterwards a task is left or anything was told to the loop's error handler."""
    unhandled: list[dict[str, Any]] = []

    async def main() -> _T:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: unhandled.append(context))
        async with _Set(setting) as stage:
            done = await scenario(stage)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left
        return done

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        done = runner.run(main())
    assert unhandled == []
    return done


class _Set:
    """A stage while it stands."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._things = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Stage:
        setting = self._setting
        mocks = {name: MockProvider(name, script=_script(life)) for name, life in setting.providers.items()}
        ports = {name: await mock.start() for name, mock in mocks.items()}
        config = Config.model_validate(setting.tree(ports))
        records: list[Record] = []
        replica = build(
            config,
            Surroundings(
                SystemClock(),
                random.Random(setting.seed),
                {},
                watch=records.append,
                patience=setting.patience,
            ),
        )
        stage = Stage(mocks, replica, records)
        for mock in mocks.values():
            self._things.push_async_callback(mock.close)
        self._things.push_async_callback(replica.close)
        await replica.start()
        stage.operations_port = await self._listen(replica.operations_app, config, frozenset())
        stage.port = await self._listen(replica.client_app, config, frozenset({PATH}))
        self._things.push_async_callback(stage.leave)  # first of all: no listener waits for a client
        replica.ready = True
        return stage

    async def _listen(self, app: Application, config: Config, sockets: frozenset[str]) -> int:
        sock = bind("127.0.0.1", 0, shared=False)
        listener = _Prompt(app, config.listen.keep_alive, config.bounds, sockets)
        serving = asyncio.create_task(listener.serve([sock]))

        async def end() -> None:
            listener.stop()
            await serving
            sock.close()

        self._things.push_async_callback(end)
        await listener.up.wait()
        return int(sock.getsockname()[1])

    async def __aexit__(self, *error: object) -> None:
        await self._things.aclose()


class _Prompt(Listener):
    """A listener that ends as soon as nothing is left: uvicorn's own looks ten times a second."""

    def __init__(
        self,
        app: Application,
        keep_alive: float,
        bounds: Bounds,
        sockets: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(app, keep_alive, bounds, sockets)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End."""
        super().stop()
        self._stopping.set()

    async def main_loop(self) -> None:
        """Accept until told to stop."""
        await self.on_tick(0)
        await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close, and wait for requests whose clients have left."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await asyncio.sleep(0.002)  # time for the clients' leaving to arrive; uvicorn waits in tenths
        await self._wait_tasks_to_complete()
        for server in self.servers:
            await server.wait_closed()


def _script(life: Behaviour | Script) -> Script:
    return life if isinstance(life, Script) else Script(default=life)


def rules(*rules: Rule, default: Behaviour | None = None) -> Script:
    """A script of these rules."""
    return Script(rules=rules, default=default or Behaviour())


def _now() -> float:
    return asyncio.get_running_loop().time()
