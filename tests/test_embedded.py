import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
import uvloop
from redis import Redis
from redis.exceptions import OutOfMemoryError

from proxy.clock import SystemClock
from proxy.embedded import (
    SOCKET_PATH_BYTES,
    Description,
    Embedded,
    EmbeddedError,
    EmbeddedSettings,
    bundled_server,
    find_server,
)

MIB = 2**20
ROOT = Path(__file__).parent.parent
SERVER = bundled_server() or Path(shutil.which("valkey-server") or shutil.which("redis-server") or "")

pytestmark = [pytest.mark.process]


class Make:
    """Makes stores under one folder; the fixture stops them."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.made: list[Embedded] = []

    def __call__(
        self,
        *,
        memory_mib: int = 64,
        temp_dir: Path | None = None,
        durable_dir: Path | None = None,
        environ: dict[str, str] | None = None,
        bundled: Path | None = SERVER,
    ) -> Embedded:
        """A store that is not started; nothing is on its PATH unless `environ` says so."""
        settings = EmbeddedSettings(memory_mib * MIB, temp_dir or self.base, durable_dir)
        environ = environ or {"PATH": "/nowhere"}
        self.made.append(Embedded(settings, environ=environ, clock=SystemClock(), bundled=bundled))
        return self.made[-1]


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder short enough for a socket, as pytest's own may not be, with characters that need quoting."""
    with tempfile.TemporaryDirectory(prefix="apex %25 'test' #?") as folder:
        yield Path(folder)


@pytest.fixture
def make(base: Path) -> Iterator[Make]:
    """Makes stores that a test need not stop."""
    maker = Make(base)
    yield maker
    for store in maker.made:
        store.stop()


def up(store: Embedded) -> Description:
    """Start `store` and wait until it is ready."""
    store.start()
    return asyncio.run(store.ready())


@contextlib.contextmanager
def client_of(store: Embedded) -> Iterator[Redis]:
    """Start `store` and connect to it."""
    up(store)
    with Redis.from_url(store.url) as client:
        yield client


def script(folder: Path, text: str) -> Path:
    """An executable that stands in for a server; without a `#!` line a shell script."""
    path = folder / "pretend-server"
    path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n", "utf-8")
    path.chmod(0o700)
    return path


def stores_in(folder: Path) -> list[Path]:
    """The directories of stores in `folder`."""
    return list(folder.glob("apex-store-*"))


@contextlib.contextmanager
def ending(directory: Path) -> Iterator[None]:
    """Leaves the block once neither guard nor server exists: both hold the lock on the log."""
    with (directory / "log").open("rb+") as log:
        yield
        fcntl.flock(log, fcntl.LOCK_EX)


def exists(pid: int) -> bool:
    """Whether a process with this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_it_speaks_all_that_the_proxy_uses(
    make: Make, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    """PING, SET, Lua, TIME and Pub/Sub work through redis-py over the unix socket, on both loops."""

    async def work(store: Embedded) -> None:
        store.start()
        await store.ready()
        async with redis.asyncio.Redis.from_url(store.url) as client, client.pubsub() as heard:
            assert await client.ping()
            assert await client.set("a", "1", px=60_000)
            assert await client.eval("return redis.call('incrby', KEYS[1], ARGV[1])", 1, "a", 41) == 42
            assert (await client.time())[0] > 1_700_000_000
            await heard.subscribe("news")
            assert (await heard.get_message(timeout=5))["type"] == "subscribe"
            await client.publish("news", "hello")
            assert (await heard.get_message(timeout=5))["data"] == b"hello"

    run(work(make()))


def test_the_description_says_what_runs(make: Make, base: Path) -> None:
    """The start line names version, binary, socket, memory cap, durability and the time it took."""
    store = make(memory_mib=32)
    with client_of(store) as client:
        told, info = store.describe(), client.info()
    name, version = told.version.split()
    assert info[f"{name}_version"] == version
    assert info["process_id"] == told.pid
    assert told.binary == SERVER
    assert told.socket.is_relative_to(base)
    assert info["maxmemory"] == told.memory_bytes == 32 * MIB
    assert info["maxmemory_policy"] == "noeviction"
    assert told.durable_dir is None
    assert 0 < told.start_s < 10
    assert told.fields() == {
        "version": told.version,
        "pid": told.pid,
        "memory": "32 MiB",
        "socket": str(told.socket),
        "start_ms": round(told.start_s * 1000),
    }


def test_only_this_user_can_reach_it(make: Make) -> None:
    """The directory is 0700, the socket too, and no TCP port is open."""
    store = make()
    with client_of(store) as client:
        path = store.describe().socket
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert client.info("server")["tcp_port"] == 0


def test_the_server_gets_none_of_the_secrets_in_the_environment(make: Make, base: Path) -> None:
    """Guard and server are started with the PATH and the library paths only."""
    wrapped = script(base, f'export -p > "{base}/seen"; exec "{SERVER}" "$@"')
    up(make(environ={"PATH": "/nowhere", "OPENAI_KEY": "canary"}, bundled=wrapped))
    seen = (base / "seen").read_text("utf-8")
    assert "/nowhere" in seen
    assert "canary" not in seen


def test_a_full_store_refuses_writes_and_lives(make: Make) -> None:
    """At the memory cap a write fails with OOM, nothing is evicted, and room made is usable again."""
    with client_of(make(memory_mib=8)) as client:
        client.set("first", "kept")
        written = 0
        with contextlib.suppress(OutOfMemoryError):
            while client.set(f"key{written}", b"x" * 65_536):
                written += 1
        with pytest.raises(OutOfMemoryError):
            client.set("more", b"x" * 65_536)
        assert 1 < written < 128
        assert client.get("first") == b"kept"
        assert client.dbsize() == 1 + written
        client.delete(*(f"key{number}" for number in range(written)))
        assert client.set("again", "1")


def test_stop_leaves_no_process_and_no_directory(make: Make, base: Path) -> None:
    """After `stop` guard and server are gone, and so is the directory; stopping again is harmless."""
    store = make()
    told = up(store)
    with (told.socket.parent / "log").open("rb+") as log:
        store.stop()
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert not exists(told.pid)
    assert stores_in(base) == []
    store.stop()
    with pytest.raises(RuntimeError):
        store.describe()


def test_it_can_be_started_again_after_stop_but_not_twice(make: Make, base: Path) -> None:
    """One store runs once at a time; it can be stopped before it is ready."""
    store = make()
    with pytest.raises(RuntimeError):
        _ = store.url
    for _ in range(2):
        store.start()
        with pytest.raises(RuntimeError):
            store.start()
        store.stop()
        assert stores_in(base) == []


PARENT = """
import asyncio, sys
from pathlib import Path
from urllib.parse import unquote
from proxy.clock import SystemClock
from proxy.embedded import Embedded, EmbeddedSettings
server, temporary, *durable = map(Path, sys.argv[1:])
settings = EmbeddedSettings(8 * 2**20, temporary, *durable)
store = Embedded(settings, environ={}, clock=SystemClock(), bundled=server)
store.start()
print(unquote(store.url.removeprefix("unix://")), flush=True)
told = asyncio.run(store.ready())
print(told.pid, flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def a_parent(*folders: Path) -> Iterator[tuple["subprocess.Popen[bytes]", Path, Callable[[], int]]]:
    """A process that starts a store: it, the socket, and a call that waits for the server's pid."""
    command = [sys.executable, "-c", PARENT, str(SERVER), *map(str, folders)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        out = parent.stdout
        assert out is not None
        try:
            yield parent, Path(os.fsdecode(out.readline().rstrip())), lambda: int(out.readline())
        finally:
            parent.kill()


def test_it_ends_with_its_parent_even_when_that_is_killed(base: Path) -> None:
    """After `kill -9` of the parent guard, server and directory are gone within a second."""
    with a_parent(base) as (parent, path, server_pid):
        pid = server_pid()
        assert exists(pid)
        with ending(path.parent):
            parent.kill()
            killed = time.monotonic()
        assert time.monotonic() - killed < 1.0
    assert not exists(pid)
    assert stores_in(base) == []


def test_it_ends_with_a_parent_killed_before_it_is_ready(base: Path) -> None:
    """A kill just after `start` leaves no server: the guard was there before it."""
    with a_parent(base) as (parent, path, _), ending(path.parent):
        parent.kill()
    assert stores_in(base) == []


def test_a_terminal_interrupt_does_not_reach_it(base: Path) -> None:
    """Ctrl-C signals the terminal's process group; the store is in another and outlives the drain."""
    with a_parent(base) as (parent, path, server_pid), socket.socket(socket.AF_UNIX) as client:
        assert os.getpgid(server_pid()) != os.getpgid(parent.pid)
        client.settimeout(5)
        client.connect(str(path))
        client.sendall(b"PING\r\n")
        assert client.recv(64) == b"+PONG\r\n"


def test_stop_ends_the_server_though_its_guard_was_killed(make: Make, base: Path) -> None:
    """The guard is a process like another; without it `stop` still finds the server."""
    store = make()
    told = up(store)
    with ending(told.socket.parent):
        os.kill(os.getsid(told.pid), signal.SIGKILL)
        store.stop()
    assert stores_in(base) == []


def test_a_directory_left_behind_is_removed_at_the_next_start(make: Make, base: Path) -> None:
    """What nobody holds is swept; a store that runs, and a directory just being made, are left alone."""
    left, being_made = base / "apex-store-left", base / "apex-store-new"
    for directory, log in ((left, "log"), (being_made, "log.new")):
        directory.mkdir()
        (directory / log).write_bytes(b"")
    first, second = make(), make()
    first.start()
    second.start()
    assert not left.exists()
    assert being_made.exists()
    assert len(stores_in(base)) == 3
    asyncio.run(first.ready())


def test_without_any_server_the_error_says_what_to_install(make: Make) -> None:
    """No binary in the package and none on the PATH: one line that says how to mend it."""
    assert bundled_server("a_package_that_is_missing") is None
    with pytest.raises(EmbeddedError, match=r"install valkey-server, or set redis\.url") as caught:
        make(bundled=None).start()
    assert "\n" not in str(caught.value)


def test_a_server_on_the_path_serves_where_the_package_has_none(make: Make, base: Path) -> None:
    """redis-server or valkey-server of the machine takes over."""
    installed = base / "redis-server"
    installed.symlink_to(SERVER)
    store = make(bundled=None, environ={"PATH": str(base)})
    with client_of(store) as client:
        assert client.eval("return 7", 0) == 7
    assert store.describe().binary == installed


def test_valkey_on_the_path_is_preferred_and_the_bundled_one_most(base: Path) -> None:
    """The order is: bundled, valkey-server, redis-server."""
    for name in ("redis-server", "valkey-server"):
        script(base, "exit 0").rename(base / name)
        assert find_server({"PATH": str(base)}, None) == base / name
    assert find_server({"PATH": str(base)}, Path("/bundled")) == Path("/bundled")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "echo first; echo 'bad option'; echo; exit 3",
            r"code 3 \(its last log line: bad option\); set redis",
        ),
        ("kill -9 $$", r"ended with exit code 137 \(it logged nothing\)"),
        ("#!/no/such/interpreter", r"ended with exit code 1 \(.*No such file or directory"),
        ("exec /bin/sleep 50", r"did not answer within 0\.2 s \(it logged nothing\)"),
    ],
)
def test_a_server_that_does_not_come_up_is_one_line(make: Make, base: Path, text: str, expected: str) -> None:
    """Exit code (a signal as 128 plus its number), the last log line, the remedy; nothing is left."""
    store = make(bundled=script(base, text))
    store.start()
    with pytest.raises(EmbeddedError, match=expected) as caught:
        asyncio.run(store.ready(0.2 if "sleep" in text else 10))
    assert "\n" not in str(caught.value)
    assert stores_in(base) == []


def test_a_server_that_ends_while_others_leftovers_are_swept_is_not_one_of_them(
    make: Make, base: Path
) -> None:
    """Sweeping takes longer here than the server lives; what it logged is still there to be told."""
    for number in range(300):
        left = base / f"apex-store-{number}"
        left.mkdir()
        for name in ("log", *map(str, range(9))):
            (left / name).touch()
    store = make(bundled=script(base, "echo 'bad option'; exit 3"))
    store.start()
    with pytest.raises(EmbeddedError, match="bad option"):
        asyncio.run(store.ready(10))
    assert stores_in(base) == []


PRETEND = """
import os, signal, socket, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[sys.argv.index("--unixsocket") + 1])
listener.listen()
info = f"redis_version:6.2\\r\\nprocess_id:{os.getpid()}\\r\\n"
whole = f"+PONG\\r\\n${len(info)}\\r\\n{info}\\r\\n"
for answer in ("-LOADING data\\r\\n", "", "+PONG\\r\\n", "+PONG\\r\\n$99\\r\\ncut", whole):
    connection = listener.accept()[0]
    connection.recv(99)
    connection.sendall(answer.encode())
    connection.close()
while True:
    signal.pause()
"""


def test_a_loading_server_is_waited_for_and_a_stubborn_one_killed(make: Make, base: Path) -> None:
    """LOADING and broken answers mean "not yet"; SIGTERM without effect is followed by SIGKILL."""
    store = make(bundled=script(base, f"#!{sys.executable} -IS\n{PRETEND}"))
    told = up(store)
    assert told.version == "redis 6.2"
    began = time.monotonic()
    store.stop()
    assert 1.9 < time.monotonic() - began < 10
    assert not exists(told.pid)
    assert stores_in(base) == []


def test_a_long_temporary_path_is_replaced_by_a_short_one(make: Make, base: Path) -> None:
    """A socket path has a limit of about a hundred bytes; /tmp is used where the given one is too long."""
    store = make(temp_dir=base / ("x" * 80))
    told = up(store)
    assert len(os.fsencode(told.socket)) <= SOCKET_PATH_BYTES
    assert told.socket.is_relative_to("/tmp")
    store.stop()
    assert not told.socket.parent.exists()


def test_an_error_of_the_system_is_one_line_with_its_path(make: Make, base: Path) -> None:
    """A missing temporary folder, and an `embedded_dir` below a file, are told by name."""
    (base / "file").write_bytes(b"")
    with pytest.raises(EmbeddedError, match=r"No such file or directory: .*/missing/.*set redis\.url"):
        make(temp_dir=base / "missing").start()
    with pytest.raises(EmbeddedError, match=r"Not a directory: .*/file/data"):
        make(durable_dir=base / "file" / "data").start()
    assert stores_in(base) == []


def test_a_durable_store_remembers(make: Make, base: Path) -> None:
    """With `durable_dir` a value survives a stop, and another `serve` that was killed."""
    durable = base / "data"
    store = make(durable_dir=durable)
    with client_of(store) as client:
        client.set("kept", "yes")
        assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
        assert store.describe().fields()["durable_dir"] == str(durable)
    store.stop()
    assert stat.S_IMODE(durable.stat().st_mode) == 0o700
    with a_parent(base, durable) as (parent, path, server_pid), ending(path.parent):
        assert server_pid()
        parent.kill()
    with client_of(make(durable_dir=durable)) as client:
        assert client.get("kept") == b"yes"


def test_two_serves_cannot_share_a_durable_folder(make: Make, base: Path) -> None:
    """The second is told so at `start`; once the first has ended the folder is free."""
    first, second = make(durable_dir=base / "data"), make(durable_dir=base / "data")
    first.start()
    with pytest.raises(EmbeddedError, match=r"data is in use by another serve; .*redis\.embedded_dir"):
        second.start()
    assert len(stores_in(base)) == 1
    first.stop()
    up(second)
