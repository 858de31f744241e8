"""Real processes for tests: `serve`, `mock` and whatever else the command line can do.

Rule: every process is a child in a session of its own, known by its pid, and gone when its `with` block
ends, however that ends. Ports are picked by the kernel and read from what the child says, so any number of
tests can run at once.
"""

import contextlib
import http.client
import json
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Self, TypeVar

KEY = "sk-client-of-tests"
MODEL = "gpt-4o-mini"
EMBEDDING = "text-embedding-ada-002"
PATIENCE = 20.0
"""Seconds until something that should have happened long ago is called missing."""

_OURS = ("APEX_", "PROVIDER_CONFIG", "MODEL_PROVIDER_CONFIG", "SERVICE_API_KEY")

_T = TypeVar("_T")
Line = dict[str, Any]


def environment(**extra: str) -> dict[str, str]:
    """The environment for a child: this process's, without what would configure a proxy, and `extra`."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OURS)} | extra


class Child:
    """A running process whose output is read line by line as it comes."""

    def __init__(
        self, *command: str, environ: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self.out: list[str] = []
        self.err: list[str] = []
        self._news: queue.Queue[None] = queue.Queue()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environ) if environ is not None else environment(),
            cwd=cwd,
            text=True,
            start_new_session=True,
        )
        self._readers = [
            threading.Thread(target=self._read, args=(pipe, lines), daemon=True)
            for pipe, lines in ((self._process.stdout, self.out), (self._process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, pipe: IO[str], lines: list[str]) -> None:
        with pipe:
            for line in pipe:
                lines.append(line.rstrip("\n"))
                self._news.put(None)
        self._news.put(None)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def until(self, found: Callable[[], _T | None]) -> _T:
        """What `found` returns once it is not None. Fails if the process ends or is silent before that."""
        deadline = time.monotonic() + PATIENCE
        while (result := found()) is None:
            try:
                self._news.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"nothing came: {self.out} {self.err}") from None
            ended = self._process.poll() is not None and not any(
                map(threading.Thread.is_alive, self._readers)
            )
            if ended and (result := found()) is None:
                raise AssertionError(f"it ended with {self._process.returncode}: {self.out} {self.err}")
        return result

    def event(self, name: str, number: int = 1) -> Line:
        """The `number`th JSON line of the log with this event; waits for it."""
        return self.until(lambda: next(iter(self.events(name)[number - 1 :]), None))

    def events(self, name: str) -> list[Line]:
        """The JSON lines of the log with this event so far."""
        lines = [json.loads(line) for line in tuple(self.err) if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this process alone."""
        self._process.send_signal(number)

    def ended(self, timeout: float = PATIENCE) -> int:
        """Wait for its end; the exit status. All output has been read then."""
        status = self._process.wait(timeout)
        for reader in self._readers:
            reader.join(PATIENCE)
        return status

    def stop(self) -> int:
        """Ask it to stop and wait; the exit status."""
        self.signal(signal.SIGTERM)
        return self.ended()

    def __enter__(self) -> Self:
        """Nothing to do: it runs since it was made."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it, kindly at first so that it can write what it has measured."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self.ended()


def apex(*arguments: str, environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> Child:
    """`apex-proxy` with these arguments, as a child."""
    return Child(sys.executable, "-m", "proxy", *arguments, environ=environ, cwd=cwd)


class Mock(Child):
    """A scripted provider."""

    def __init__(self, script: Mapping[str, object] | None = None, name: str = "mock") -> None:
        options: list[str] = []
        with contextlib.ExitStack() as temporary:
            if script is not None:
                file = temporary.enter_context(tempfile.NamedTemporaryFile("w", suffix=".yaml"))
                json.dump(script, file)
                file.flush()
                options = ["--script", file.name]
            super().__init__(sys.executable, "-m", "proxy", "mock", "--port", "0", "--name", name, *options)
            address = self.until(lambda: next(iter(self.out), None))
        self.port = int(address.rpartition(":")[2])
        self.name = name

    def stats(self) -> Line:
        """What it has counted."""
        return fetch(self.port, "/_mock/stats")


class Serve(Child):
    """The proxy, ready to be called."""

    def __init__(
        self, config: Mapping[str, object], *options: str, environ: Mapping[str, str] | None = None
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.file = written(Path(self._folder.name), config)
        command = [sys.executable, "-m", "proxy", "serve", "--config", str(self.file)]
        super().__init__(*command, *options, environ=environ)
        try:
            ready = self.event("ready")
        except AssertionError:
            self.__exit__()
            raise
        self.url = str(ready["url"])
        self.port = int(ready["port"])
        self.operations = int(ready["operations_port"])

    def __exit__(self, *_: object) -> None:
        """End it; its file stays until then, for a worker that is replaced reads it anew."""
        super().__exit__()
        self._folder.cleanup()

    def rewrite(self, config: object) -> None:
        """Put another configuration in the place of its own; it is not told."""
        written(self.file.parent, config, "new.yaml").replace(self.file)

    @property
    def store(self) -> int:
        """The process id of its embedded store."""
        return int(self.event("store_started")["pid"])


def written(folder: Path, config: object, name: str = "apex.yaml") -> Path:
    """A configuration file (JSON is YAML)."""
    file = folder / name
    file.write_text(json.dumps(config), "utf-8")
    return file


def configured(*mocks: Mock, keys: int = 1, **more: object) -> dict[str, object]:
    """A configuration in which each mock is a provider with so many keys, and serves both models.

    Without a mock there is one provider that nobody listens for.
    """
    providers: dict[str, dict[str, object]] = {
        mock.name: {
            "base_url": f"http://127.0.0.1:{mock.port}/v1",
            "api_keys": [f"sk-{mock.name}-{number}" for number in range(keys)],
        }
        for mock in mocks
    }
    providers = providers or {"nobody": {"base_url": "http://127.0.0.1:9/v1"}}
    entries = [{"provider": name} for name in providers]
    return {
        "listen": {"port": 0},
        "operations": {"port": 0},
        "drain_grace": 0,
        "clients": [{"name": "tests", "key": KEY}],
        "providers": providers,
        "models": {MODEL: {"providers": entries}, EMBEDDING: {"providers": entries}},
        **more,
    }


def fetch(port: int, path: str) -> Line:
    """The JSON of a GET."""
    status, body = get(port, path)
    assert status == 200, body
    value: Line = json.loads(body)
    return value


def get(port: int, path: str) -> tuple[int, bytes]:
    """Status and body of a GET without a key. Raises `OSError` where nobody listens."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()


def two_free_ports() -> int:
    """A port that is free and has a free neighbour above it, below those that the kernel gives to others."""
    draw = random.SystemRandom()
    while True:
        port = draw.randrange(20_000, 30_000)
        with socket.socket() as first, socket.socket() as second, contextlib.suppress(OSError):
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 1))
            return port


def eventually(holds: Callable[[], bool], within: float = PATIENCE) -> float:
    """Wait until `holds`; the seconds it took. Fails when it takes longer than `within`."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < within, "it did not come to pass"
        time.sleep(0.01)
    return time.monotonic() - began


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def descendants(pid: int) -> list[int]:
    """All processes that `pid` has started and that still run, theirs included."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text("ascii", "replace").rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found: list[int] = []
    todo = [pid]
    while todo:
        todo += (born := children.get(todo.pop(), []))
        found += born
    return found


def rss(pid: int) -> int:
    """Resident memory of a process, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no such process")
