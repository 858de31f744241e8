import asyncio
import contextlib
import random
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop
from fault_proxy import FaultProxy
from stores import HOST, Store, standalone

from proxy.clock import SystemClock
from proxy.link import Change, Link, Reason, ScriptError, State, Unavailable, parse
from proxy.tasks import Tasks

pytestmark = [pytest.mark.process]

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a scenario on either loop: they order timers and reads differently."""
    return uvloop.run if request.param == "uvloop" else asyncio.run


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    """One server with a unix socket, for tests that do not harm it."""
    with standalone("unixsocket store.sock") as made:
        made.ask("ACL", "SETUSER", "joe", "on", ">SECRET", "~*", "&*", "+@all")
        made.ask(
            "ACL", "SETUSER", "poor", "on", ">SECRET", "~*", "-@all", "+hello", "+ping", "+echo", "+select"
        )
        yield made


@contextlib.asynccontextmanager
async def linked(url: str, draw: int = 1) -> AsyncIterator[Link]:
    """A link on real time, started and closed."""
    tasks = Tasks()
    link = Link(parse(url), clock=SystemClock(), tasks=tasks, draw=random.Random(draw))
    await link.start()
    try:
        yield link
    finally:
        await link.close()
        assert len(tasks) == 0
        await asyncio.sleep(0)


async def until(holds: Callable[[], Any], seconds: float) -> float:
    """Seconds until `holds`."""
    since = time.monotonic()
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  (what is waited for has no event)
            await asyncio.sleep(0.005)
    return time.monotonic() - since


async def outcome(link: Link) -> tuple[str, float]:
    """How one call ends, and how long that took."""
    since = time.monotonic()
    try:
        await link.call("ECHO", [], ["x"])
    except Unavailable as error:
        return error.reason.value, time.monotonic() - since
    return "ok", time.monotonic() - since


@pytest.mark.parametrize(
    "form",
    [
        "redis://127.0.0.1:{port}",
        "redis://localhost:{port}/2",
        "redis://joe:SECRET@127.0.0.1:{port}",
        "redis://poor:SECRET@127.0.0.1:{port}/1",
        "unix://{folder}/store.sock",
        "unix://joe:SECRET@{folder}/store.sock?db=1",
    ],
)
def test_every_form_reaches_the_server(store: Store, run: Run, form: str) -> None:
    """Each URL form connects, and none shows its password."""

    async def scenario() -> None:
        async with linked(form.format(port=store.port, folder=store.folder)) as link:
            assert await link.call("ECHO", [], ["x"]) == b"x"
            assert "SECRET" not in repr(link)

    run(scenario())


def test_a_wrong_password_is_unavailability(store: Store, run: Run) -> None:
    """The link starts, stays open and says why."""

    async def scenario() -> None:
        async with linked(f"redis://joe:WRONG@127.0.0.1:{store.port}") as link:
            assert (await outcome(link))[0] == "open"
            assert link.counters.errors[Reason.AUTH] == 1

    run(scenario())


def test_what_a_script_does_wrong_is_told(store: Store, run: Run) -> None:
    """A type error inside a call is the caller's bug, and the connection stays."""

    async def scenario() -> None:
        async with linked(f"redis://127.0.0.1:{store.port}") as link:
            await link.call("SET", ["{t}s"], ["x"])
            with pytest.raises(ScriptError, match="WRONGTYPE"):
                await link.call("HGET", ["{t}s"], ["f"])
            assert (await outcome(link))[0] == "ok"
            assert link.counters.connects == 1

    run(scenario())


@contextlib.contextmanager
def _certificates() -> Iterator[tuple[Path, ssl.SSLContext, dict[str, Path]]]:
    """A CA file, a server context for `localhost` that wants a client certificate, and the client's files."""
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    client = ca.issue_cert("client@example.org")
    with (
        ca.cert_pem.tempfile() as ca_file,
        client.cert_chain_pems[0].tempfile() as cert,
        client.private_key_pem.tempfile() as key,
    ):
        yield Path(ca_file), context, {"cert": Path(cert), "key": Path(key)}


def test_tls_verifies_both_sides(store: Store, run: Run) -> None:
    """The CA and the client's certificate do; another name, no CA or no certificate do not."""

    async def scenario() -> None:
        with _certificates() as (ca, context, client):
            async with FaultProxy(HOST, store.port, tls=context) as proxy:
                mine = f"cert={client['cert']}&key={client['key']}"
                async with linked(f"rediss://localhost:{proxy.port}?ca={ca}&{mine}") as link:
                    assert await link.call("ECHO", [], ["x"]) == b"x"
                for host, query in [
                    ("127.0.0.1", f"ca={ca}&{mine}"),
                    ("localhost", mine),
                    ("localhost", f"ca={ca}"),
                ]:
                    async with linked(f"rediss://{host}:{proxy.port}?{query}") as link:
                        assert not link.available

    run(scenario())


def test_a_late_loop_reads_before_it_gives_up(store: Store, run: Run) -> None:
    """The loop is blocked for longer than the deadline; the reply, long there, is still the call's."""

    async def scenario() -> None:
        async with linked(f"redis://127.0.0.1:{store.port}") as link:
            for _ in range(5):
                call = asyncio.create_task(link.call("ECHO", [], ["x"]))
                for _ in range(3):
                    await asyncio.sleep(0)
                time.sleep(0.09)  # noqa: ASYNC251  (blocking the loop is the point)
                assert await call == b"x"
            assert link.state is State.CLOSED

    run(scenario())


def test_killed_and_restarted_empty(run: Run) -> None:
    """While it is gone calls fail at once; 3 s after it is back they pass, in a new generation."""

    async def scenario(store: Store) -> None:
        async with linked(f"redis://127.0.0.1:{store.port}") as link:
            store.kill()
            await until(lambda: not link.available, 1.0)
            ends = [await outcome(link) for _ in range(200)]
            assert {reason for reason, _ in ends} == {"open"}
            assert sum(seconds for _, seconds in ends) < 0.1
            store.start()
            assert await until(lambda: link.available, 5.0) < 3.0
            assert link.generation == 1
            assert (await outcome(link))[0] == "ok"

    with standalone() as store:
        run(scenario(store))


def test_a_black_hole_costs_one_deadline_and_is_left(store: Store, run: Run) -> None:
    """Nothing waits longer than the deadline; few wait at all; it recovers within 3 s after it ends."""

    async def scenario() -> None:
        async with FaultProxy(HOST, store.port) as proxy, linked(f"redis://127.0.0.1:{proxy.port}") as link:
            proxy.hole = True
            ends = [await outcome(link) for _ in range(100)]
            assert [reason for reason, _ in ends] == ["timeout"] * 5 + ["open"] * 95
            assert max(seconds for _, seconds in ends) < 0.1
            await asyncio.sleep(0.5)
            proxy.hole = False
            assert await until(lambda: link.available, 5.0) < 3.0
            assert (await outcome(link))[0] == "ok"
            assert link.generation == 0

    run(scenario())


def test_a_slow_server_is_left_alone_until_it_is_fast(store: Store, run: Run) -> None:
    """200 ms each way: the breaker opens, stays open, and closes when the delay is gone."""

    async def scenario() -> None:
        async with FaultProxy(HOST, store.port) as proxy, linked(f"redis://127.0.0.1:{proxy.port}") as link:
            proxy.delay_s = 0.2
            ends = [await outcome(link) for _ in range(50)]
            assert [reason for reason, _ in ends] == ["timeout"] * 5 + ["open"] * 45
            await asyncio.sleep(0.6)
            assert not link.available
            proxy.delay_s = 0.0
            assert await until(lambda: link.available, 5.0) < 3.0
            assert (await outcome(link))[0] == "ok"

    run(scenario())


def test_cut_reset_and_refused(store: Store, run: Run) -> None:
    """FIN and RST are noticed at once; while connections are refused it dials at most twice a second."""

    async def scenario() -> None:
        async with FaultProxy(HOST, store.port) as proxy, linked(f"redis://127.0.0.1:{proxy.port}") as link:
            changes: list[Change] = []
            link.on_change(changes.append)
            for harm in (proxy.cut, proxy.reset):
                harm()
                await until(lambda: not link.available, 1.0)
                await until(lambda: link.available, 3.0)
            assert [each.state for each in changes] == [State.OPEN, State.HALF_OPEN, State.CLOSED] * 2
            proxy.refusing = True
            before = proxy.accepted
            proxy.cut()
            await asyncio.sleep(1.2)
            assert 1 <= proxy.accepted - before <= 4
            proxy.refusing = False
            await until(lambda: link.available, 3.0)

    run(scenario())


def test_little_bandwidth(store: Store, run: Run) -> None:
    """What does not fit into the deadline times out, and no reply is mistaken for another afterwards."""

    async def scenario() -> None:
        async with FaultProxy(HOST, store.port) as proxy, linked(f"redis://127.0.0.1:{proxy.port}") as link:
            proxy.bandwidth = 20_000
            with pytest.raises(Unavailable, match="timeout"):
                await link.call("ECHO", [], ["x" * 10_000])
            proxy.bandwidth = None
            await asyncio.sleep(0.6)
            assert await link.call("ECHO", [], ["mine"]) == b"mine"
            assert link.counters.late == 1

    run(scenario())


def test_messages_travel(store: Store, run: Run) -> None:
    """What is published by a call reaches the handler; after a cut, too."""

    async def scenario() -> None:
        async with FaultProxy(HOST, store.port) as proxy, linked(f"redis://127.0.0.1:{proxy.port}") as link:
            got: list[bytes] = []
            times: list[None] = []
            link.subscribe("news", got.append, lambda: times.append(None))
            await until(lambda: len(times) == 1, 3.0)
            assert await link.call("PUBLISH", [], ["news", "one"]) == 1
            await until(lambda: got == [b"one"], 1.0)
            proxy.reset()
            await until(lambda: len(times) == 2 and link.available, 5.0)
            await link.call("PUBLISH", [], ["news", "two"])
            await until(lambda: got == [b"one", b"two"], 1.0)

    run(scenario())
