"""Real servers for tests: one alone, a Sentinel set, a Cluster. All on 127.0.0.1, ended by pid.

Blocking on purpose: a test starts them before its loop runs, and what it does to them is quick.
"""

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hiredis

from proxy.embedded import bundled_server
from proxy.link.cluster import slot_of

SERVER = bundled_server() or Path(
    shutil.which("valkey-server") or shutil.which("redis-server") or "no-server-here"
)
HOST = "127.0.0.1"
SERVICE = "apex"


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def ask(port: int, *command: str | int | bytes, seconds: float = 2.0) -> Any:
    """The reply to one command; an error reply is raised."""
    reader = hiredis.Reader()
    with socket.create_connection((HOST, port), timeout=seconds) as connection:
        pack: Any = hiredis.pack_command
        connection.sendall(pack(command))
        while (reply := reader.gets()) is False:
            data = connection.recv(65536)
            if not data:
                raise ConnectionResetError("closed before the reply")
            reader.feed(data)
    if isinstance(reply, hiredis.ReplyError):
        raise reply
    return reply


def until(holds: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait until `holds`; errors of servers that are not there yet mean no."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, hiredis.HiredisError):
            if holds():
                return
        time.sleep(0.02)
    raise TimeoutError("it did not come true")


class Store:
    """One server process on a port, which can be killed and started again, empty."""

    def __init__(self, folder: Path, *options: str, port: int = 0, sentinel: bool = False) -> None:
        self.port = port or free_port()
        self.folder = folder / str(self.port)
        self.folder.mkdir()
        self.options = options
        self.sentinel = sentinel
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Store":
        """Start it and wait until it answers."""
        self.launch()
        until(lambda: bool(ask(self.port, "PING")))
        return self

    def launch(self) -> None:
        """Start it without waiting."""
        config = self.folder / "server.conf"
        lines = [f"port {self.port}", f"bind {HOST}", f"dir {self.folder}", *self.options]
        if not self.sentinel:
            lines += ['save ""', "appendonly no", "repl-diskless-sync-delay 0"]
        config.write_text("\n".join(lines) + "\n")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(SERVER), str(config), *(["--sentinel"] if self.sentinel else [])],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def ask(self, *command: str | int | bytes) -> Any:
        """The reply to one command."""
        return ask(self.port, *command)

    def pause(self) -> None:
        """SIGSTOP: connected, and silent."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and wait. Harmless when repeated."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart_empty(self) -> None:
        """Kill it and start it on the same port with no data."""
        self.kill()
        self.start()


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="apex-test-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def standalone(*options: str) -> Iterator[Store]:
    """One server."""
    with _folder() as folder:
        store = Store(folder, *options)
        try:
            yield store.start()
        finally:
            store.kill()


class SentinelSet:
    """A primary, replicas and three sentinels."""

    def __init__(self, folder: Path, replicas: int) -> None:
        self.primary = Store(folder)
        self.replicas = [
            Store(folder, f"replicaof {HOST} {self.primary.port}", "repl-ping-replica-period 1")
            for _ in range(replicas)
        ]
        watch = (
            f"sentinel monitor {SERVICE} {HOST} {self.primary.port} 2",
            f"sentinel down-after-milliseconds {SERVICE} 1000",
            f"sentinel failover-timeout {SERVICE} 3000",
        )
        self.sentinels = [Store(folder, *watch, sentinel=True) for _ in range(3)]

    @property
    def url(self) -> str:
        """The address a client is given."""
        hosts = ",".join(f"{HOST}:{each.port}" for each in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}"

    def start(self) -> None:
        """Start all and wait until the sentinels know each other and the replicas."""
        for store in (self.primary, *self.replicas):
            store.start()
        for replica in self.replicas:
            until(lambda replica=replica: b"master_link_status:up" in replica.ask("INFO", "replication"))  # type: ignore[misc]
        for sentinel in self.sentinels:
            sentinel.start()
        for sentinel in self.sentinels:
            until(lambda sentinel=sentinel: self._complete(sentinel))  # type: ignore[misc]

    def master_port(self) -> int:
        """What the first sentinel says."""
        return int(self.sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])

    def failover(self) -> bool:
        """Order a replica to become the primary. An error reply: none is fit yet, or one is on its way."""
        return bool(self.sentinels[0].ask("SENTINEL", "FAILOVER", SERVICE))

    def stop(self) -> None:
        """Kill all."""
        for store in (*self.sentinels, *self.replicas, self.primary):
            store.kill()

    def _complete(self, sentinel: Store) -> bool:
        raw = sentinel.ask("SENTINEL", "MASTER", SERVICE)
        facts = dict(zip(raw[::2], raw[1::2], strict=True))
        others, slaves = int(facts[b"num-other-sentinels"]), int(facts[b"num-slaves"])
        return others == 2 and slaves == len(self.replicas) and facts[b"flags"] == b"master"


@contextlib.contextmanager
def sentinel_set(replicas: int = 2) -> Iterator[SentinelSet]:
    """A Sentinel set, ready."""
    with _folder() as folder:
        made = SentinelSet(folder, replicas)
        try:
            made.start()
            yield made
        finally:
            made.stop()


class ClusterSet:
    """Three primaries with a third of the slots each, and a replica for the first where asked."""

    def __init__(self, folder: Path, replicas: int) -> None:
        self.nodes = [
            Store(
                folder,
                "cluster-enabled yes",
                "cluster-node-timeout 1000",
                "cluster-replica-validity-factor 0",
                f"cluster-port {free_port()}",
            )
            for _ in range(3 + replicas)
        ]
        self.primaries = self.nodes[:3]
        self.spare = self.nodes[3:]

    @property
    def url(self) -> str:
        """The address a client is given."""
        return "redis+cluster://" + ",".join(f"{HOST}:{each.port}" for each in self.primaries)

    def start(self) -> None:
        """Start all, join them, share out the slots and wait until every node agrees."""
        third = 16384 // 3 + 1
        for index, node in enumerate(self.nodes):
            node.start()
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
        for index, node in enumerate(self.primaries):
            first = index * third
            node.ask("CLUSTER", "ADDSLOTSRANGE", first, min(first + third, 16384) - 1)
        for node in self.nodes[1:]:
            bus = self.nodes[0].options[-1].split()[1]
            node.ask("CLUSTER", "MEET", HOST, self.nodes[0].port, bus)
        until(lambda: all(self._knows(node) for node in self.nodes))
        for replica in self.spare:
            replica.ask("CLUSTER", "REPLICATE", self.id_of(self.primaries[0]))
            until(lambda replica=replica: b"master_link_status:up" in replica.ask("INFO", "replication"))  # type: ignore[misc]
        until(lambda: all(self._well(node) for node in self.nodes))

    def id_of(self, node: Store) -> str:
        """The node's name in the cluster."""
        name: bytes = node.ask("CLUSTER", "MYID")
        return name.decode()

    def owner_of(self, key: str) -> Store:
        """The primary that holds the key's slot, as the first primary sees it."""
        slot = slot_of(key)
        for first, last, primary, *_ in self.primaries[0].ask("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == primary[1])
        raise LookupError(slot)

    def move_slot(self, slot: int, source: Store, target: Store) -> None:
        """Move a slot with its keys while it is in use."""
        self.open_slot(slot, source, target)
        self.carry_keys(slot, source, target)
        self.close_slot(slot, source, target)

    def open_slot(self, slot: int, source: Store, target: Store) -> None:
        """From here on keys that are missing at the source are answered with ASK."""
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))

    def carry_keys(self, slot: int, source: Store, target: Store) -> None:
        """Move the keys."""
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.ask("MIGRATE", HOST, target.port, "", 0, 1000, "KEYS", *keys)

    def close_slot(self, slot: int, source: Store, target: Store) -> None:
        """From here on the source answers with MOVED."""
        name = self.id_of(target)
        for node in (target, source, *self.primaries):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", name)

    def stop(self) -> None:
        """Kill all."""
        for node in self.nodes:
            node.kill()

    def _knows(self, node: Store) -> bool:
        return f"cluster_known_nodes:{len(self.nodes)}".encode() in node.ask("CLUSTER", "INFO")

    def _well(self, node: Store) -> bool:
        return b"cluster_state:ok" in node.ask("CLUSTER", "INFO") and len(node.ask("CLUSTER", "SLOTS")) == 3


@contextlib.contextmanager
def cluster_set(replicas: int = 0) -> Iterator[ClusterSet]:
    """A Cluster, ready."""
    with _folder() as folder:
        made = ClusterSet(folder, replicas)
        try:
            made.start()
            yield made
        finally:
            made.stop()
