"""Every script of lua/ against its pure twin: one random life, equal answers, equal states."""

import dataclasses
import re
import struct
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from limit_stand_ins import SERVERS, fresh_tag, served

from ratelimit import bucket
from ratelimit.bucket import Admitted, Entry, Lease, Refused, Replay, State, Ticket
from ratelimit.gauge import Ask, Gauge, Header, Level
from ratelimit.quota import Demand, Quota, Window
from ratelimit.store import load_scripts

IDS = st.sampled_from([f"r{number}" for number in range(8)])
FIGURES = st.sampled_from([7, 60, 700, 600_000])
QUOTAS = st.builds(
    Quota,
    requests_per_minute=st.none() | FIGURES,
    tokens_per_minute=st.none() | FIGURES,
    concurrency=st.none() | st.integers(1, 6),
    burst=st.none() | st.integers(2, 9),
    burst_tokens=st.none() | FIGURES,
    window=st.sampled_from(Window),
)
DEMANDS = st.builds(
    Demand, requests=st.sampled_from([1, 1, 0, 2]), tokens=st.sampled_from([0, 1, 5, 40, 900])
)
STEPS = [0, 999, 400_000, 1_000_000, 1_000_000, 2_000_000, 7_300_000, 31_000_000, 61_000_000, 3_600_000_000]
PASSED = st.sampled_from([*STEPS, -1, -1_700_000, -400_000_000])
SOON = st.sampled_from([0, 999, 400_000, 1_000_000, 3_000_000, 17_000_000])
"""What the server's clock did before something happens: it went on, or it was set back."""


@pytest.fixture(scope="module", params=SERVERS)
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    """A client of a real server."""
    with (
        served(request.param, tmp_path_factory.mktemp("lua")) as path,
        redis.Redis(unix_socket_path=path) as client,
    ):
        yield client


class Scripts:
    """The scripts on a real server, with the server's clock in the test's hands."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._shas = {}
        for script in load_scripts().values():
            text, times = re.subn(
                r"(redis\.)?call\('TIME'\)", "{redis.call('GET', 's'), redis.call('GET', 'us')}", script.text
            )
            assert times == 1, f"{script.name} reads the time once"
            self._shas[script.name] = client.script_load(text)

    def at(self, now: int) -> None:
        """Set the server's clock: microseconds since 2025."""
        self.client.mset({"s": now // 1_000_000 + 1_735_689_600, "us": now % 1_000_000})

    def run(self, name: str, keys: list[str], *args: Any) -> Any:
        """Run a script."""
        return self.client.evalsha(self._shas[name], len(keys), *keys, *args)

    def states(self, keys: list[str]) -> list[State | None]:
        """The hashes of the limits as the twin writes them. Every key will end by itself."""
        with self.client.pipeline(transaction=False) as calls:
            for key in keys:
                calls.hgetall(key)
                calls.pttl(key)
            answers: list[Any] = calls.execute()
        found = []
        for fields, ttl in zip(answers[::2], answers[1::2], strict=True):
            assert ttl > 0 or not fields
            found.append(self.state(fields))
        return found

    def state(self, fields: dict[bytes, bytes]) -> State | None:
        """A state from its hash."""
        if not fields:
            return None
        value = fields.pop(b"@")
        at, requests, tokens, held, due = struct.unpack("<5q", value[:40])
        log = tuple(Entry(*entry) for entry in struct.iter_unpack("<IIQ", value[40:]))
        leases = {rid.decode(): Lease(*struct.unpack("<II", lease)) for rid, lease in fields.items()}
        return State(at, due, requests, tokens, held, log, leases)

    def admit(self, keys: list[str], asks: list[Ask], ticket: Ticket) -> Admitted | Refused:
        """Run admit.lua."""
        answer = self.run(
            "admit", keys, ticket.id, ticket.lease, 120_000, *(struct.pack("<7q", *ask) for ask in asks)
        )
        if isinstance(answer, bytes):
            return Admitted(tuple(Header(*head) for head in struct.iter_unpack("<5q", answer)))
        return Refused(answer[0], tuple(Level(*answer[at : at + 6]) for at in range(1, len(answer), 6)))


class Life(RuleBasedStateMachine):
    """Admissions, settlements, crashes, clock steps, flushes and config changes of one scope."""

    scripts: Scripts

    def __init__(self) -> None:
        super().__init__()
        self.now = 40_000_000_000_000
        self.keys: list[str] = []
        self.gauges: list[Gauge] = []
        self.states: list[State | None] = []
        self.reserved: dict[str, Demand] = {}

    @initialize(quotas=st.lists(QUOTAS, min_size=1, max_size=2))
    def begin(self, quotas: list[Quota]) -> None:
        """A fresh scope."""
        tag = fresh_tag()
        self.keys = [f"{{{tag}}}:{number}" for number in range(len(quotas))]
        self.gauges = [Gauge.of(quota) for quota in quotas]
        self.states = [None] * len(quotas)

    def pass_time(self, us: int) -> None:
        """Set the server's clock on, or back."""
        self.now += us
        self.scripts.at(self.now)

    def check(self) -> None:
        """The server's state is the twin's."""
        assert self.scripts.states(self.keys) == self.states

    @rule(passed=PASSED, rid=IDS | st.just(""), demand=DEMANDS, lease=st.sampled_from([30, 30, 2, 0]))
    def admit(self, passed: int, rid: str, demand: Demand, lease: int) -> None:
        """A request is admitted, refused, sent again, or only asks; its replica may crash at once."""
        self.pass_time(passed)
        asks = [held.ask(demand) for held in self.gauges]
        ticket = Ticket(rid, lease)
        states, expected = bucket.admit(self.states, asks, ticket, self.now)
        assert self.scripts.admit(self.keys, asks, ticket) == expected
        self.states = list(states)
        if isinstance(expected, Admitted):
            self.reserved.setdefault(rid, demand)
        self.check()

    @rule(passed=SOON, rid=IDS, demand=DEMANDS)
    def admit_soon(self, passed: int, rid: str, demand: Demand) -> None:
        """The same in close succession, which is most of a life."""
        self.admit(passed, rid, demand, 30)

    @rule(passed=SOON, rids=st.lists(IDS, min_size=2, max_size=4), demand=DEMANDS)
    def admit_burst(self, passed: int, rids: list[str], demand: Demand) -> None:
        """Several at once."""
        for rid in rids:
            self.admit(passed, rid, demand, 30)

    @rule(passed=SOON, actual=DEMANDS, which=st.integers(0, 7))
    def settle_soon(self, passed: int, actual: Demand, which: int) -> None:
        """A reservation ends soon."""
        self.settle(passed, actual, which)

    @rule(passed=PASSED, actual=DEMANDS, which=st.integers(0, 7))
    def settle(self, passed: int, actual: Demand, which: int) -> None:
        """A reservation ends, for the first time or again, with less or more than it reserved."""
        self.pass_time(passed)
        rid = sorted(self.reserved)[which % len(self.reserved)] if self.reserved else f"r{which}"
        changes = [held.change(self.reserved.pop(rid, Demand()), actual) for held in self.gauges]
        both = zip(self.states, changes, strict=True)
        results = [bucket.settle(state, rid, change, self.now) for state, change in both]
        timed = any(
            there and max(change[:2]) > 0 for (_, there), change in zip(results, changes, strict=True)
        )
        packed = [struct.pack("<4q", *change) for change in changes]
        answer = self.scripts.run("settle", self.keys, rid, 120_000, *packed)
        assert answer == (self.now if timed else int(any(there for _, there in results)))
        self.states = [state for state, _ in results]
        self.check()

    @rule(passed=PASSED, rids=st.lists(IDS, min_size=1, max_size=5, unique=True))
    def heartbeat(self, passed: int, rids: list[str]) -> None:
        """A replica renews its leases, and learns which are gone."""
        self.pass_time(passed)
        for i, key in enumerate(self.keys):
            self.states[i], missing = bucket.heartbeat(self.states[i], rids, 30, self.now)
            answer = self.scripts.run("heartbeat", [key], 30, 120_000, *rids)
            assert answer[0] == self.now
            assert tuple(rids[position - 1] for position in answer[1:]) == missing
        self.check()

    @rule(passed=PASSED)
    def tidy(self, passed: int) -> None:
        """Lapsed leases are freed."""
        self.pass_time(passed)
        for i, key in enumerate(self.keys):
            self.states[i], freed = bucket.tidy(self.states[i], 30, self.now)
            drains = struct.pack("<2q", self.gauges[i].requests_drain, self.gauges[i].tokens_drain)
            assert self.scripts.run("tidy", [key], 30, 120_000, drains) == [self.now, freed]
        self.check()

    @rule(
        passed=PASSED,
        mark=st.sampled_from(["", "~a", "~b"]),
        share=st.sampled_from([0, 0.1, 0.3, 1.2]),
        age=st.sampled_from([None, 0, 2_000_000, 90_000_000]),
        rids=st.lists(IDS, max_size=3, unique=True),
        if_older=st.booleans(),
    )
    def restore(
        self, passed: int, mark: str, share: float, age: int | None, rids: list[str], if_older: bool
    ) -> None:
        """A replica replays what was used meanwhile and what the server may have forgotten."""
        self.pass_time(passed)
        for i, key in enumerate(self.keys):
            held = self.gauges[i]
            used = int(share * held.full[0]), int(share * held.full[1])
            seen = 0 if age is None else self.now - age
            drains = held.requests_drain, held.tokens_drain
            replay = Replay(mark, *used, seen, used, tuple(rids), if_older)
            self.states[i], back = bucket.restore(self.states[i], replay, drains, 30, self.now)
            packed = struct.pack("<8q", *drains, seen, *used, *used, if_older)
            assert self.scripts.run("restore", [key], mark, 30, 120_000, packed, *rids) == [self.now, back]
        self.check()

    @precondition(lambda self: len(self.reserved) > 4)
    @rule()
    def flush(self) -> None:
        """The server loses everything."""
        self.scripts.client.delete(*self.keys)
        self.states = [None] * len(self.keys)

    @rule(quota=QUOTAS)
    def change_config(self, quota: Quota) -> None:
        """A limit's figures change under a running scope; its window does not."""
        window = Window.STRICT if self.gauges[0].strict else Window.SMOOTH
        self.gauges[0] = Gauge.of(dataclasses.replace(quota, window=window))


def test_scripts_and_twin_live_the_same_life(client: redis.Redis) -> None:
    """Whatever happens in whatever order, the scripts answer and store exactly what the twin does."""

    class Here(Life):
        """A life on this server."""

        scripts = Scripts(client)

    run_state_machine_as_test(
        Here,
        settings=settings(max_examples=60, stateful_step_count=50, deadline=None, database=None),
    )
