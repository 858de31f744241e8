"""A Valkey that the measured proxies share their state in, and what it says it has done."""

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from running import Command, Side, free_port, started
from sides import Bench

from proxy.embedded import bundled_server

SCRIPTS = "evalsha"


@dataclass(frozen=True, slots=True)
class Totals:
    """What the server has done so far: calls by command, bytes in and out, seconds of CPU time."""

    calls: dict[str, int]
    read: int
    written: int
    cpu: float

    def since(self, before: "Totals") -> "Totals":
        """What it did between two moments."""
        calls = {name: count - before.calls.get(name, 0) for name, count in self.calls.items()}
        return Totals(
            {name: count for name, count in calls.items() if count},
            self.read - before.read,
            self.written - before.written,
            self.cpu - before.cpu,
        )


class Store:
    """A server in its own process, on the core of the provider and the load."""

    def __init__(self, port: int, pid: int) -> None:
        self.url = f"redis://127.0.0.1:{port}/0"
        self.side = Side("store", self.url, pid)
        self._client: Any = redis.Redis(port=port)

    def totals(self) -> Totals:
        """What it has done so far, less this question."""
        told = self._client.info("all")
        calls = {
            name.removeprefix("cmdstat_"): figures["calls"]
            for name, figures in told.items()
            if name.startswith("cmdstat_") and name != "cmdstat_info"
        }
        cpu = told["used_cpu_user"] + told["used_cpu_sys"]
        return Totals(calls, told["total_net_input_bytes"], told["total_net_output_bytes"], cpu)

    def version(self) -> str:
        """Its name and version."""
        told = self._client.info("server")
        return str(told.get("valkey_version") and f"Valkey {told['valkey_version']}") or str(
            told["redis_version"]
        )


def program() -> Path | None:
    """The server's program: the one that comes with the embedded store, else one that is installed."""
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    return bundled_server() or (Path(found) if found else None)


def store(stack: contextlib.ExitStack, bench: Bench) -> Store:
    """Start one that keeps nothing."""
    port, server = free_port(), program()
    if server is None:
        raise FileNotFoundError("valkey-server")
    arguments = [str(server), "--port", str(port), "--save", "", "--bind", "127.0.0.1"]
    arguments += ["--dir", str(bench.folder)]
    command = Command(arguments, bench.other, bench.folder, {}, bench.folder / "store.log")
    return Store(port, stack.enter_context(started(command, port)))
