import asyncio
import random
from typing import Any

import pytest
from scripted import Command, Lua, Peer, Scripted, array, bulk, eventually, linked, serving

from proxy.clock import SystemClock
from proxy.link import Change, Link, Reason, ScriptError, Settings, State, Unavailable
from proxy.link.connection import ABANDONED, Batch, Call, Connection, Owner
from proxy.link.script import pack

SCRIPT = Lua("last", "return ARGV[#ARGV]")


def test_calls_of_one_turn_leave_in_one_write() -> None:
    """Calls made in one turn of the loop arrive together, in order, and each gets its own reply."""

    async def scenario() -> None:
        async with serving() as server, linked(server.url) as link:
            server.reads.clear()
            replies = await asyncio.gather(*(link.call("ECHO", [], [f"{n}"]) for n in range(50)))
            assert replies == [f"{n}".encode() for n in range(50)]
            assert server.reads == [[b"ECHO"] * 50]
            assert link.counters.calls == 50
            assert link.counters.batches == 1

    asyncio.run(scenario())


def test_call_many_keeps_errors_in_their_place() -> None:
    """One wrong call among many spoils only itself."""

    def answer(command: Command, peer: Peer) -> bytes | None:
        return b"-ERR wrong\r\n" if command[0] == b"BAD" else None

    async def scenario() -> None:
        async with serving(answer) as server, linked(server.url) as link:
            first, second, third = await link.call_many(
                [("ECHO", [], ["a"]), ("BAD", [], []), ("ECHO", [], ["c"])]
            )
            assert (first, third) == (b"a", b"c")
            assert isinstance(second, ScriptError)
            assert link.counters.script_errors == 1
            await link.close()
            (refused,) = await link.call_many([("ECHO", [], ["a"])])
            assert isinstance(refused, Unavailable)
            assert refused.__traceback__ is None  # nothing waits for the garbage collector

    asyncio.run(scenario())


def test_no_reply_ever_reaches_the_wrong_caller() -> None:
    """Of 10,000 calls cancelled at random moments, no survivor gets a reply that is not its own."""
    draw = random.Random(42)
    wrong = 0
    answered = 0

    async def one(link: Link, number: int) -> None:
        nonlocal wrong, answered
        reply = await link.call(SCRIPT, ["{k}"], [f"caller-{number}"])
        answered += 1
        wrong += reply != f"caller-{number}".encode()

    async def scenario() -> None:
        async with serving() as server, linked(server.url, scripts=[SCRIPT]) as link:
            for burst in range(200):
                calls = [asyncio.create_task(one(link, burst * 50 + n)) for n in range(50)]
                for _ in range(draw.randrange(4)):
                    await asyncio.sleep(0)
                doomed = draw.sample(calls, 40)
                for call in doomed[:20]:
                    call.cancel()
                await asyncio.sleep(draw.choice([0, 0, 0.0005]))
                for call in doomed[20:]:
                    call.cancel()
                await asyncio.wait(calls)
            assert link.state is State.CLOSED
            assert link.counters.connects == 1

    asyncio.run(scenario())
    assert wrong == 0
    assert answered >= 2_000


def test_a_call_goes_on_without_its_caller() -> None:
    """Cancelled before its batch left, a call is sent all the same, and again after NOSCRIPT."""

    async def scenario() -> None:
        async with serving() as server, linked(server.url) as link:
            call = asyncio.create_task(link.call(SCRIPT, [], ["x"]))
            await asyncio.sleep(0)
            call.cancel()
            await eventually(lambda: server.count(b"EVALSHA") == 2)
            assert server.count(b"SCRIPT") == 1
            assert await link.call("ECHO", [], ["mine"]) == b"mine"

    asyncio.run(scenario())


def test_order_holds_over_a_timeout() -> None:
    """A server that answers in order but late: the next caller gets its own reply, not the late one."""
    silent = True
    waiting: list[bytes] = []

    def answer(command: Command, peer: Peer) -> bytes | None:
        if command[0] != b"ECHO":
            return None
        waiting.append(bulk(command[-1]))
        if silent:
            return b""
        late = b"".join(waiting)
        waiting.clear()
        return late

    async def scenario() -> None:
        nonlocal silent
        async with serving(answer) as server, linked(server.url) as link:
            gone = await link.call_many([("ECHO", [], [f"gone-{n}"]) for n in range(3)])
            assert [str(each) for each in gone] == ["timeout"] * 3
            silent = False
            assert await link.call("ECHO", [], ["mine"]) == b"mine"
            assert link.counters.late == 3
            assert link.counters.connects == 1

    asyncio.run(scenario())


def test_too_many_abandoned_calls_cost_the_connection() -> None:
    """A connection that owes more than its share of replies is replaced."""

    def answer(command: Command, peer: Peer) -> bytes | None:
        return b"" if command[0] == b"ECHO" else None

    async def scenario() -> None:
        async with serving(answer) as server, linked(server.url) as link:
            await link.call_many([("ECHO", [], ["x"])] * (ABANDONED + 1))
            await eventually(lambda: link.counters.connects == 2)

    asyncio.run(scenario())


def test_a_reply_that_nobody_asked_for_costs_the_connection() -> None:
    """Once the order is in doubt the connection is replaced; so it is when the reply is not RESP."""

    async def scenario(said: bytes) -> None:
        async with serving() as server, linked(server.url) as link:
            changes: list[Change] = []
            link.on_change(changes.append)
            server.peers[0].write(said)
            await eventually(lambda: link.counters.connects == 2)
            assert changes[0].reason is Reason.PROTOCOL

    asyncio.run(scenario(b"+HELLO?\r\n"))
    asyncio.run(scenario(b"HTTP/1.1 400 Bad Request\r\n"))


def test_a_forgotten_script_is_loaded_again() -> None:
    """NOSCRIPT is mended within the call, for every call of the batch; the caller does not notice."""

    async def scenario() -> None:
        async with serving() as server, linked(server.url, scripts=[SCRIPT]) as link:
            assert server.count(b"SCRIPT") == 1
            server.scripts.clear()
            replies = await link.call_many([(SCRIPT, ["k"], [f"{n}"]) for n in range(3)])
            assert replies == [b"0", b"1", b"2"]
            assert link.counters.reloads == 3
            unknown = Lua("other", "return 1")
            assert await link.call(unknown, [], ["y"]) == b"y"

    asyncio.run(scenario())


def test_a_script_that_cannot_be_loaded_is_a_bug() -> None:
    """If NOSCRIPT comes again after the load the digest is wrong, and that is not hidden."""

    def answer(command: Command, peer: Peer) -> bytes | None:
        return b"-NOSCRIPT no\r\n" if command[0] == b"EVALSHA" else None

    async def scenario() -> None:
        async with serving(answer) as server, linked(server.url) as link:
            with pytest.raises(ScriptError, match="NOSCRIPT"):
                await link.call(SCRIPT, [], ["x"])
            assert server.count(b"EVALSHA") == 2

    asyncio.run(scenario())


WORDS = ["READONLY", "MOVED", "LOADING", "CLUSTERDOWN", "OOM", "MASTERDOWN", "TRYAGAIN", "BUSY"]


@pytest.mark.parametrize("word", WORDS)
def test_what_the_server_suffers_from_is_unavailability(word: str) -> None:
    """Each state of the server has its reason; a wrong server is left at once."""

    def answer(command: Command, peer: Peer) -> bytes | None:
        return f"-{word} 1 127.0.0.1:1\r\n".encode() if command[0] == b"ECHO" else None

    async def scenario() -> None:
        async with serving(answer) as server, linked(server.url) as link:
            with pytest.raises(Unavailable) as told:
                await link.call("ECHO", [], ["x"])
            assert told.value.reason == word.lower()
            assert link.counters.errors[Reason(word.lower())] == 1
            if word in ("READONLY", "MOVED", "MASTERDOWN"):
                assert link.state is State.OPEN
                await eventually(lambda: link.counters.connects == 2)
            elif word == "TRYAGAIN":
                for _ in range(10):
                    await link.call_many([("ECHO", [], ["x"])])
                assert link.state is State.CLOSED

    asyncio.run(scenario())


def test_the_breaker_opens_costs_nothing_and_closes_again() -> None:
    """Five timeouts open it; calls then fail without a command; three pings close it; all is told."""
    silent = True

    def answer(command: Command, peer: Peer) -> bytes | None:
        return b"" if silent and command[0] in (b"ECHO", b"PING") else None

    async def scenario() -> None:
        nonlocal silent
        quick = Settings(deadline_s=0.005)
        async with serving(answer) as server, linked(server.url, settings=quick) as link:
            changes: list[Change] = []
            link.on_change(changes.append)
            for _ in range(5):
                with pytest.raises(Unavailable, match="timeout"):
                    await link.call("ECHO", [], ["x"])
            assert link.state is State.OPEN
            assert not link.available
            before = server.count(b"ECHO")
            for _ in range(100):
                with pytest.raises(Unavailable, match="open: timeout"):
                    await link.call("ECHO", [], ["x"])
            assert server.count(b"ECHO") == before
            assert link.counters.refused == 100
            silent = False
            for peer in server.peers:
                peer.close()  # what the silence swallowed will not be answered
            await eventually(lambda: link.available)
            assert await link.call("ECHO", [], ["x"]) == b"x"
            states = [change.state for change in changes]
            assert states[0] is State.OPEN
            assert states[-2:] == [State.HALF_OPEN, State.CLOSED]

    asyncio.run(scenario())


def test_a_silent_connection_is_replaced() -> None:
    """A probe without an answer on a connection that is silent for a second ends it."""
    silent = True

    def answer(command: Command, peer: Peer) -> bytes | None:
        return b"" if silent and command[0] in (b"ECHO", b"PING") else None

    async def scenario() -> None:
        nonlocal silent
        quick = Settings(deadline_s=0.005)
        async with serving(answer) as server, linked(server.url, settings=quick) as link:
            for _ in range(5):
                await link.call_many([("ECHO", [], ["x"])])
            await eventually(lambda: link.counters.connects >= 2)
            silent = False
            await eventually(lambda: link.available)

    asyncio.run(scenario())


def test_start_returns_when_nobody_is_there() -> None:
    """Without a server the link starts, refuses, says why, and connects once there is one."""

    async def scenario() -> None:
        async with serving() as server:
            await server.stop()
            async with linked(server.url, start=False) as link:
                changes: list[Change] = []
                link.on_change(changes.append)
                with pytest.raises(Unavailable, match="open: starting"):
                    await link.call("PING")
                await link.start()
                assert [(each.state, each.reason) for each in changes] == [(State.OPEN, Reason.CONNECTION)]
                with pytest.raises(Unavailable, match="open: connection"):
                    await link.call("PING")
                await server.listen()
                await eventually(lambda: link.available)

    asyncio.run(scenario())


def test_start_waits_no_longer_than_told() -> None:
    """A server that accepts and says nothing does not hold up the start."""

    def answer(command: Command, peer: Peer) -> bytes | None:
        return b""

    async def scenario() -> None:
        async with serving(answer) as server, linked(server.url, start=False) as link:
            await link.start(wait_s=0.01)
            assert not link.available

    asyncio.run(scenario())


def test_another_identity_is_another_generation() -> None:
    """A reconnect to the same server changes nothing; to a restarted one the generation grows."""

    async def scenario() -> None:
        async with serving() as server, linked(server.url) as link:
            server.peers[0].close()
            await eventually(lambda: link.counters.connects == 2)
            assert link.generation == 0
            await eventually(lambda: link.available)
            server.run_id = b"b" * 40
            server.peers[0].close()
            await eventually(lambda: link.counters.connects == 3)
            assert link.generation == 1

    asyncio.run(scenario())


def test_an_identity_that_is_not_told_counts_as_another() -> None:
    """Where INFO is forbidden every reconnect may be a restart."""

    def answer(command: Command, peer: Peer) -> bytes | None:
        return b"-NOPERM no\r\n" if command[0] == b"INFO" else None

    async def scenario() -> None:
        async with serving(answer) as server, linked(server.url) as link:
            assert link.available
            server.peers[0].close()
            await eventually(lambda: link.generation == 1)

    asyncio.run(scenario())


def test_a_lost_connection_fails_what_is_on_its_way_at_once() -> None:
    """Nobody waits for the deadline when the connection is gone."""

    def answer(command: Command, peer: Peer) -> bytes | None:
        if command[0] == b"ECHO":
            peer.close()
            return b""
        return None

    async def scenario() -> None:
        async with serving(answer) as server, linked(server.url, settings=Settings(deadline_s=60)) as link:
            with pytest.raises(Unavailable) as told:
                await link.call("ECHO", [], ["x"])
            assert told.value.reason is Reason.CONNECTION

    asyncio.run(scenario())


def test_what_is_on_its_way_to_the_wrong_server_may_have_been_done() -> None:
    """A refusal by one call gives up the connection; what the others became nobody knows."""

    def answer(command: Command, peer: Peer) -> bytes | None:
        return {b"ECHO": b"", b"SET": b"-READONLY You can't write against a replica.\r\n"}.get(command[0])

    async def scenario() -> None:
        async with serving(answer) as server, linked(server.url, settings=Settings(deadline_s=60)) as link:
            calls = link.call("SET", ["k"], ["v"]), link.call("ECHO", [], ["x"])
            told: tuple[Any, ...] = await asyncio.gather(*calls, return_exceptions=True)
            assert [(each.reason, each.lost) for each in told] == [
                (Reason.READONLY, False),
                (Reason.READONLY, True),
            ]

    asyncio.run(scenario())


def test_an_ended_connection_fails_what_it_was_not_answered() -> None:
    """A call that was answered is whoever's took it over; one that comes too late was never sent."""

    class Redirecting(Owner):
        def on_error(self, batch: Batch, call: Call, text: str) -> None:
            """Leave the call to another connection."""

    def answer(command: Command, peer: Peer) -> bytes | None:
        return {b"GET": b"-MOVED 1 elsewhere:1\r\n", b"ECHO": b""}.get(command[0])

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with serving(answer) as server:
            _, connection = await loop.create_connection(
                lambda: Connection(Redirecting(), SystemClock()), "127.0.0.1", server.port
            )
            moved, pending, late = (loop.create_future() for _ in range(3))
            sent = Batch([Call(pack("GET", "k"), moved), Call(pack("ECHO", "x"), pending)], loop.time() + 60)
            connection.send(sent)
            await eventually(lambda: sent.answered == 1)
            connection.abort(Reason.CONNECTION, "cut")
            connection.send(Batch([Call(pack("PING"), late)], loop.time() + 60))
            await connection.closed
            assert not moved.done()
            failures = [each.exception() for each in (pending, late)]
            assert [isinstance(each, Unavailable) and each.lost for each in failures] == [True, False]

    asyncio.run(scenario())


def test_a_replica_is_not_used() -> None:
    """A server that says it is a replica is no primary; the link stays open."""

    async def scenario() -> None:
        async with serving() as server:
            server.role = b"replica"
            async with linked(server.url) as link:
                assert not link.available
                assert link.counters.errors[Reason.READONLY] == 1
                server.role = b"master"
                await eventually(lambda: link.available)

    asyncio.run(scenario())


GREETINGS = [
    (b"-WRONGPASS invalid username-password pair\r\n", Reason.AUTH),
    (b"-ERR max number of clients reached\r\n", Reason.REFUSED),
    (b"-ERR unknown command 'HELLO', with args beginning with: 'SECRET'\r\n", Reason.REFUSED),
]


@pytest.mark.parametrize(("greeting", "reason"), GREETINGS)
def test_a_refused_greeting_is_told_without_the_password(greeting: bytes, reason: Reason) -> None:
    """The credentials go out in HELLO; nothing that is printed afterwards holds the password."""

    def answer(command: Command, peer: Peer) -> bytes | None:
        return greeting if command[0] == b"HELLO" else None

    async def scenario() -> None:
        async with serving(answer) as server:
            url = server.url.replace("//", "//joe:SECRET@") + "/3"
            async with linked(url, start=False) as link:
                changes: list[Change] = []
                link.on_change(changes.append)
                await link.start()
                assert changes[0].reason is reason
                assert server.commands[0][2:5] == [b"AUTH", b"joe", b"SECRET"]
                assert "SECRET" not in f"{link!r}{changes}{link.counters}"
                with pytest.raises(Unavailable) as told:
                    await link.call("PING")
                assert "SECRET" not in f"{told.value}{told.value!r}"

    asyncio.run(scenario())


def test_the_database_is_selected() -> None:
    """/3 is said in the greeting."""

    async def scenario() -> None:
        async with serving() as server, linked(f"{server.url}/3"):
            assert [b"SELECT", b"3"] in server.commands

    asyncio.run(scenario())


def test_latency_is_told() -> None:
    """Each batch that was answered has its time counted and handed on."""

    async def scenario() -> None:
        async with serving() as server, linked(server.url) as link:
            told: list[float] = []
            link.counters.on_latency = told.append
            await link.call("PING")
            assert len(told) == 1
            assert link.counters.latency_s == told[0] > 0.0

    asyncio.run(scenario())


def test_closing_tells_whoever_waits() -> None:
    """A call on its way and one that comes later both fail; closing twice is harmless."""

    def answer(command: Command, peer: Peer) -> bytes | None:
        return b"" if command[0] == b"ECHO" else None

    async def scenario() -> None:
        async with serving(answer) as server, linked(server.url, settings=Settings(deadline_s=60)) as link:
            call = asyncio.create_task(link.call("ECHO", [], ["x"]))
            await eventually(lambda: server.count(b"ECHO"))
            queued = asyncio.create_task(link.call("ECHO", [], ["y"]))
            await asyncio.sleep(0)
            await link.close()
            for each, lost in ((call, True), (queued, False)):
                with pytest.raises(Unavailable, match="closed") as told:
                    await each
                assert told.value.lost is lost  # the server may have done what was sent
            with pytest.raises(Unavailable, match="closed"):
                await link.call("PING")

    asyncio.run(scenario())


def test_a_subscription_gets_messages_and_comes_back() -> None:
    """Payloads reach the handler; after a cut the channel is subscribed again and that is told."""

    def answer(command: Command, peer: Peer) -> bytes | None:
        if command[0] == b"SUBSCRIBE":
            return array(b"subscribe", command[1], 1) + array(b"message", command[1], b"hello")
        return array(b"pong", b"") if command[0] == b"PING" and len(peer.server.peers) > 1 else None

    async def scenario() -> None:
        async with serving(answer) as server, linked(server.url) as link:
            got: list[bytes] = []
            subscribed: list[int] = []
            subscription = link.subscribe("news", got.append, lambda: subscribed.append(len(got)))
            await eventually(lambda: got == [b"hello"])
            assert subscription.subscribed
            server.peers[-1].close()
            await eventually(lambda: got == [b"hello"] * 2)
            assert subscribed == [0, 1]

    asyncio.run(scenario())


def test_sentinels_are_asked_in_turn() -> None:
    """A sentinel that is gone or ignorant is passed over; the primary it names is used."""

    async def scenario() -> None:
        async with serving() as server:

            def knows(command: Command, peer: Peer) -> bytes | None:
                return array(b"127.0.0.1", str(server.port).encode()) if command[0] == b"SENTINEL" else None

            def ignorant(command: Command, peer: Peer) -> bytes | None:
                return b"*-1\r\n" if command[0] == b"SENTINEL" else None

            async with serving() as gone, serving(ignorant) as one, serving(knows) as other:
                await gone.stop()
                url = f"redis+sentinel://:pw@127.0.0.1:{gone.port},127.0.0.1:{one.port},127.0.0.1:{other.port}/svc"
                async with linked(url + "?sentinel_password=x") as link:
                    assert await link.call("ECHO", [], ["x"]) == b"x"
                    assert [b"AUTH", b"x"] in other.commands
                    assert [b"AUTH", b"pw"] not in other.commands

    asyncio.run(scenario())


def test_moved_and_ask_are_followed_in_a_cluster() -> None:
    """MOVED corrects the map and resends; ASK resends once with ASKING and changes nothing."""
    key = "{k}"

    async def scenario() -> None:
        one, other = Scripted(), Scripted()
        mode = b""

        def slots() -> bytes:
            return array(
                array(0, 16000, array(b"", one.port, b"id1")),
                array(16001, 16383, array(b"127.0.0.1", other.port, b"id2")),
            )

        def at_one(command: Command, peer: Peer) -> bytes | None:
            if command[0] == b"CLUSTER":
                return slots()
            if command[0] == b"EVALSHA" and mode:
                return b"-%s 7629 127.0.0.1:%d\r\n" % (mode, other.port)
            return None

        def at_other(command: Command, peer: Peer) -> bytes | None:
            return slots() if command[0] == b"CLUSTER" else None

        one.answer, other.answer = at_one, at_other
        await one.listen()
        await other.listen()
        try:
            async with linked(f"redis+cluster://127.0.0.1:{one.port}") as link:
                await eventually(lambda: link.state is State.CLOSED)
                assert await link.call(SCRIPT, [key], ["a"]) == b"a"
                assert other.count(b"EVALSHA") == 0
                mode = b"ASK"
                assert await link.call(SCRIPT, [key], ["b"]) == b"b"
                assert other.count(b"ASKING") == 2  # the script had to be loaded there: asked twice
                assert one.count(b"EVALSHA") == 3
                mode = b"MOVED"
                assert await link.call(SCRIPT, [key], ["c"]) == b"c"
                assert await link.call("PING") == b"PONG"
                assert link.counters.redirects >= 2
        finally:
            await one.stop()
            await other.stop()

    asyncio.run(scenario())
