"""A serving process: two ports, the signals that it hears, and the order in which it goes.

On SIGTERM a replica says that it is not ready, and answers on until load balancers have noticed; each answer
ends its connection. Then it stops accepting, and what is in flight finishes within the drain time; what does
not is told so, in its own dialect. The operations port goes last, so that the end can be watched, and the
process exits 0. SIGINT leaves the first of this out, and a second signal all the waiting. SIGHUP reads the
configuration anew, where it was read from somewhere.
"""

import asyncio
import contextlib
import dataclasses
import errno
import signal
import socket
from collections.abc import Awaitable, Callable

import structlog

from proxy import heap
from proxy.app import Replica, Surroundings, build
from proxy.config.problems import ConfigError
from proxy.config.settings import Config
from proxy.hangup import Hangup
from proxy.house import Application
from proxy.listener import LAST_WORDS, Listener, bind
from proxy.sockets import PATH as SOCKET_PATH
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
    """SIGTERM and SIGINT, heard until the process ends: the first says `stop`, any other says `now`.

    `first` is what said stop.
    """

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.now = asyncio.Event()
        self.first = signal.SIGTERM

    def listen(self, hangup: Callable[[], None] | None = None) -> None:
        """Hear them from here on, in the running loop, and call `hangup` at each SIGHUP.

        At once, if one has come that nobody heeded. SIGHUP stays held when the loop has ended.
        """
        loop = asyncio.get_running_loop()
        for number in _STOPPING:
            loop.add_signal_handler(number, self._heard, number)
        if hangup is not None:
            Hangup.held().heeded(lambda: loop.is_closed() or loop.call_soon_threadsafe(hangup))

    def _heard(self, number: signal.Signals) -> None:
        if self.stop.is_set():
            self.now.set()
            return
        self.first = number
        self.stop.set()


class PortTakenError(Exception):
    """A port cannot be listened on. The message says which, why, and how to mend it.

    `section` is its section of the configuration, `reason` what the system said and `foreign` whether the
    address is the trouble, not the port.
    """

    def __init__(self, section: str, address: str, error: OSError | UnicodeError) -> None:
        self.section = section
        self.address = address
        self.foreign = isinstance(error, socket.gaierror | UnicodeError) or error.errno == errno.EADDRNOTAVAIL
        self.reason = (getattr(error, "strerror", None) or "not a valid name").lower()
        setting, mend = ("host", "an address of this machine") if self.foreign else ("port", "another port")
        super().__init__(f"{section}.{setting}: cannot listen on {address} ({self.reason}); choose {mend}")


def open_ports(config: Config, *, shared: bool = False, worker: int = 0) -> Ports:
    """Both ports of worker number `worker`. Raises `PortTakenError`."""
    client = _open(config.listen.host, config.listen.port, "listen", shared=shared)
    operations = config.operations
    port = operations.port + worker if operations.port else 0
    try:
        return Ports(client, _open(operations.host, port, "operations", shared=False))
    except PortTakenError:
        client.close()
        raise


def _open(host: str, port: int, section: str, *, shared: bool) -> socket.socket:
    try:
        return bind(host, port, shared=shared)
    except (OSError, UnicodeError) as error:
        raise PortTakenError(section, f"{host}:{port}", error) from None


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
    hangup = asyncio.Event()
    signals.listen(hangup.set if replica.reloading.possible else None)
    client = _listener(replica.client_app, config, frozenset({SOCKET_PATH}))
    operations = _listener(replica.operations_app, config)
    for listener in (client, operations):
        replica.on_renewal(listener.renew)
    replica.request_log.start()
    serving = tasks.spawn(client.serve([ports.client]), "client port")
    watching = tasks.spawn(operations.serve([ports.operations]), "operations port")
    hurry = tasks.spawn(signals.now.wait(), "second signal")
    try:
        await started(replica)
        await replica.start()
        await client.up.wait()
        await operations.up.wait()
        heap.calm_collector()
        heap.give_back()
        replica.ready = True
        _say_ready(config, ports)
        tasks.spawn(_reload(replica, hangup), "reload")
        await signals.stop.wait()
        replica.ready = False
        await _take_leave(replica, client, signals.first, hurry)
    finally:
        replica.ready = False
        await _end(replica, client, serving, hurry)
        replica.console.stop()
        await _wind_down(operations, watching, 1.0, hurry)
        await replica.close()
        await tasks.close()
    structlog.get_logger("serve").info("stopped")


async def _reload(replica: Replica, hangup: asyncio.Event) -> None:
    """Read the configuration anew whenever `hangup` is set, until cancelled."""
    while True:
        await hangup.wait()
        hangup.clear()
        with contextlib.suppress(ConfigError):  # all of it has been logged, and the old one stays
            await replica.reloading.reload()


async def _take_leave(
    replica: Replica, client: Listener, first: signal.Signals, hurry: asyncio.Task[bool]
) -> None:
    """Answer on while load balancers find out that this replica is not ready any more.

    Whoever presses Ctrl-C has none, and does not want to wait.
    """
    config = replica.fleet.snapshot.config
    grace = config.drain_grace if first == signal.SIGTERM else 0.0
    client.leave()
    _say_stopping(first, len(client.server_state.tasks), grace, config.drain_timeout)
    await asyncio.wait({hurry}, timeout=grace)


async def _end(
    replica: Replica, client: Listener, serving: asyncio.Task[None], hurry: asyncio.Task[bool]
) -> None:
    """Take no more connections, and let what is in flight finish within the drain time.

    What then still runs in the background ends first: its last event is for those who follow it.
    """
    loop = asyncio.get_running_loop()
    patience = replica.fleet.snapshot.config.drain_timeout
    until = loop.time() + patience
    client.stop()
    await asyncio.wait({serving, hurry}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
    failed = await replica.drain(max(0.0, until - loop.time()), hurry)
    await _wind_down(client, serving, LAST_WORDS if failed else 0.0, hurry)


def _listener(app: Application, config: Config, sockets: frozenset[str] = frozenset()) -> Listener:
    return Listener(app, config.listen.keep_alive, config.bounds, sockets)


async def _wind_down(
    listener: Listener, serving: asyncio.Task[None], patience: float, hurry: asyncio.Task[bool]
) -> None:
    """Stop one port; what is in flight beyond its patience is told so and cut, then the port goes."""
    listener.stop()
    await asyncio.wait({serving, hurry}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
    await listener.cut()
    await asyncio.wait({serving}, timeout=1.0)
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


def _say_stopping(first: signal.Signals, in_flight: int, grace: float, patience: float) -> None:
    said = {"hint": "a second Ctrl-C ends it at once"} if first == signal.SIGINT else {}
    structlog.get_logger("serve").info(
        "stopping", in_flight=in_flight, grace_s=grace, at_most_s=grace + patience, **said
    )


def _host(address: tuple[str, int]) -> str:
    return f"[{address[0]}]" if ":" in address[0] else address[0]
