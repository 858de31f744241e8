"""A serving process: two ports, the signals that stop it, and the order in which it goes.

On SIGTERM or SIGINT a replica stops being ready and stops accepting; what is in flight finishes within
the drain time; then the operations port goes, last, so that the end can be watched. The process exits 0.
A second signal ends it without waiting.
"""

import asyncio
import dataclasses
import signal
import socket
from collections.abc import Awaitable, Callable

import structlog

from proxy.app import Replica, Surroundings, build
from proxy.config.settings import Config
from proxy.listener import Listener, Port, bind
from proxy.tasks import Tasks

_STOPPING = (signal.SIGTERM, signal.SIGINT)


@dataclasses.dataclass(frozen=True, slots=True)
class Ports:
    """The two bound sockets of a replica."""

    client: socket.socket
    operations: socket.socket

    def close(self) -> None:
        """Give both ports up."""
        self.client.close()
        self.operations.close()


class Signals:
    """SIGTERM and SIGINT, heard until the process ends: the first says `stop`, any other says `now`."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.now = asyncio.Event()

    def listen(self) -> None:
        """Hear them from here on, in the running loop."""
        loop = asyncio.get_running_loop()
        for number in _STOPPING:
            loop.add_signal_handler(number, self._heard)

    def _heard(self) -> None:
        (self.now if self.stop.is_set() else self.stop).set()


class PortTakenError(Exception):
    """A port cannot be listened on. The message says which, why, and how to mend it."""


def open_ports(config: Config, *, shared: bool = False, worker: int = 0) -> Ports:
    """Both ports of worker number `worker`. Raises `PortTakenError`."""
    client = _open(config.listen.host, config.listen.port, "listen.port", shared=shared)
    operations = config.operations
    port = operations.port + worker if operations.port else 0
    try:
        return Ports(client, _open(operations.host, port, "operations.port", shared=False))
    except PortTakenError:
        client.close()
        raise


def _open(host: str, port: int, setting: str, *, shared: bool) -> socket.socket:
    try:
        return bind(host, port, shared=shared)
    except OSError as error:
        reason = (error.strerror or "not available").lower()
        raise PortTakenError(
            f"{setting}: cannot listen on {host}:{port} ({reason}); choose another port"
        ) from None


async def run(
    config: Config,
    surroundings: Surroundings,
    ports: Ports,
    started: Callable[[Replica], Awaitable[None]],
) -> None:
    """Serve until a signal says stop. `started` is awaited before the replica calls itself ready."""
    replica = build(config, surroundings)
    tasks = Tasks()
    signals = Signals()
    signals.listen()
    client = _listener(replica.client_app, config)
    operations = _listener(replica.operations_app, config)
    replica.request_log.start()
    serving = tasks.spawn(client.serve([ports.client]), "client port")
    watching = tasks.spawn(operations.serve([ports.operations]), "operations port")
    try:
        await started(replica)
        await replica.start()
        await client.up.wait()
        await operations.up.wait()
        replica.ready = True
        _say_ready(config, ports)
        await signals.stop.wait()
    finally:
        replica.ready = False
        hurry = tasks.spawn(signals.now.wait(), "second signal")
        await _wind_down(client, serving, config.drain_timeout, hurry)
        await _wind_down(operations, watching, 1.0, hurry)
        await replica.close()
        await tasks.close()


def _listener(app: Callable[..., Awaitable[None]], config: Config) -> Listener:
    return Listener(app, Port(config.listen.keep_alive, config.drain_timeout), config.bounds)


async def _wind_down(
    listener: Listener, serving: asyncio.Task[None], patience: float, hurry: asyncio.Task[bool]
) -> None:
    """Stop one port; beyond its patience requests are cancelled, and a moment later the port itself."""
    listener.stop()
    await asyncio.wait({serving, hurry}, timeout=patience + 2.0, return_when=asyncio.FIRST_COMPLETED)
    if not serving.done():
        serving.cancel()


def _say_ready(config: Config, ports: Ports) -> None:
    client, operations = ports.client.getsockname(), ports.operations.getsockname()
    structlog.get_logger("serve").info(
        "ready",
        url=f"http://{_host(client)}:{client[1]}/v1",
        port=client[1],
        operations_port=operations[1],
        models=len(config.models),
        providers=len(config.providers),
        clients=len(config.clients),
    )


def _host(address: tuple[str, int]) -> str:
    return f"[{address[0]}]" if ":" in address[0] else address[0]
