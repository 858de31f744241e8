"""health.lua against its twin, `proxy.circuit`, and poll.lua: one random life, equal records and messages.

What poll.lua says of loads: see `test_loads_lua`.
"""

import itertools
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import redis
from fakes.published import told
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from test_circuit import BOUNDS, EVENTS, SCENES, Event, cast

from proxy import circuit
from proxy.circuit import NOTHING, Change, Kind, Record, Rules

sys.path.append(str(Path(__file__).with_name("ratelimit")))

from limit_stand_ins import SERVERS, fresh_tag, served

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

LUA = Path(circuit.__file__).with_name("lua")
BEGIN = 1_800_000_000_000
RULES = Rules()
MOST = 10_000
CHANNEL = "news"
NAMES = ("openai/gpt@0123456789", "https://api.test:8443", "openai@0123456789", 'µ/"\\\n\x7f@none')

_serial = itertools.count()


class Server(NamedTuple):
    """A real server: the path of its socket, and a client of it."""

    path: str
    client: redis.Redis

    def as_user(self, *rules: str) -> redis.Redis:
        """A client of a new user who may do anything but what `rules` forbid."""
        name = f"user{next(_serial)}"
        client: Any = self.client
        client.execute_command("ACL", "SETUSER", name, "on", ">x", "~*", "&*", "+@all", *rules)
        return redis.Redis(unix_socket_path=self.path, username=name, password="x")


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server of each kind that there is here."""
    with (
        served(request.param, tmp_path_factory.mktemp("health")) as path,
        redis.Redis(unix_socket_path=path) as client,
    ):
        yield Server(path, client)


class Answer(NamedTuple):
    """What health.lua returned: the time, and the message as it is and as it is read."""

    now: int
    text: bytes

    @property
    def head(self) -> list[int]:
        """Version before, version, time."""
        found: list[int] = json.loads(self.text)[:3]
        return found

    @property
    def news(self) -> list[tuple[str, Record | None]]:
        """Names and their records, None for one that is gone."""
        told = json.loads(self.text)[3:] if self.text else []
        return [(name, read(record)) for name, record in zip(told[::2], told[1::2], strict=True)]


class Polled(NamedTuple):
    """What poll.lua returned."""

    now: int
    version: int
    records: dict[str, Record]


def read(told: Any) -> Record | None:
    """A record out of a message. It is written as msgspec would write it: nothing but what is not 0."""
    if told is False:
        return None
    record = msgspec.convert(told, Record)
    assert json.loads(msgspec.json.encode(record)) == told
    return record


class Cluster:
    """The scripts over one hash, with the server's clock in the test's hands."""

    def __init__(self, client: redis.Redis) -> None:
        tag = fresh_tag()
        self.client = client
        self.hash = f"{{{tag}}}"
        self.now = BEGIN
        self._shas = {}
        for name in ("health", "poll"):
            text, times = re.subn(
                r"call\('TIME'\)",
                "{call('GET', 's'), call('GET', 'us')}",
                (LUA / f"{name}.lua").read_text(encoding="utf-8"),
            )
            assert times == 1, f"{name} reads the time once"
            self._shas[name] = client.script_load(text)
        self.pass_time(0)

    def pass_time(self, ms: int) -> None:
        """Set the server's clock on, or back. What is below a millisecond does not count."""
        self.now += ms
        self.client.mset({"s": self.now // 1000, "us": self.now % 1000 * 1000 + 999})

    def tell(
        self, *changes: Change, rules: Rules = RULES, most: int = MOST, by: redis.Redis | None = None
    ) -> Answer:
        """Run health.lua."""
        told = msgspec.json.encode(rules), most, msgspec.json.encode(changes)
        answer: Any = (by or self.client).evalsha(self._shas["health"], 1, self.hash, CHANNEL, *told)
        return Answer(*answer)

    def poll(self, known: int) -> Polled:
        """Run poll.lua, with no load to tell."""
        keys = self.hash, f"{self.hash}:loads"
        answer: Any = self.client.evalsha(self._shas["poll"], 2, *keys, known, "me", "", 3_000)
        now, version, flat, loads = answer
        assert loads == []
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return Polled(now, int(version), {name.decode(): stored(text) for name, text in pairs})

    def kept(self) -> tuple[int, dict[str, Record]]:
        """The version and all records."""
        found: Any = self.client.hgetall(self.hash)
        version = int(found.pop(b"@", b"0"))
        return version, {name.decode(): stored(text) for name, text in found.items()}


def stored(text: bytes) -> Record:
    """A record as it is stored."""
    record = read(json.loads(text))
    assert record == msgspec.json.decode(text, type=Record)
    assert record is not None
    return record


@pytest.fixture
def cluster(server: Server) -> Cluster:
    """The scripts over a hash of their own."""
    return Cluster(server.client)


class Twin:
    """What the script is to do."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.version = 0
        self.records: dict[str, Record] = {}

    def tell(self, changes: Sequence[Change], now: int) -> list[tuple[str, Record | None]]:
        """Carry `changes` out. What others must know of, in the order in which it was named."""
        before = dict(self.records)
        records = dict(before)
        for one in changes:
            records[one.name] = circuit.apply(records.get(one.name, NOTHING), one, self.rules, now)
        news: list[tuple[str, Record | None]] = []
        version = max(self.version + 1, now)
        for name in dict.fromkeys(one.name for one in changes):
            record = None if circuit.idle(records[name], self.rules, now) else records[name]
            if told(before.get(name), record):
                record = msgspec.structs.replace(record, version=version) if record else None
                news.append((name, record))
            self.records.pop(name, None)
            if record is not None:
                self.records[name] = record
        self.version = version if news else self.version
        return news


PASSED = st.sampled_from([0, 0, 1, 7, 50, 100, 450, 1_000, 30_000, -1, -60, -5_000])
"""What the server's clock did before something happens: it went on, or it was set back."""


class Pair:
    """Script and twin, told the same."""

    def __init__(self, client: redis.Redis, rules: Rules) -> None:
        self.cluster = Cluster(client)
        self.twin = Twin(rules)

    def tell(self, changes: Sequence[Change]) -> None:
        """They answer and keep the same."""
        old, now = self.twin.version, self.cluster.now
        expected = self.twin.tell(changes, now)
        answer = self.cluster.tell(*changes, rules=self.twin.rules)
        assert answer.now == now
        assert answer.news == expected
        if expected:
            assert answer.head == [old, max(old + 1, now), now]
        else:
            assert answer.text == b""
        assert self.cluster.kept() == (self.twin.version, self.twin.records)


class Life(RuleBasedStateMachine):
    """Changes of several names, clock steps and flushes."""

    client: redis.Redis

    @initialize(rules=BOUNDS)
    def begin(self, rules: Rules) -> None:
        """A fresh hash."""
        self.pair = Pair(self.client, rules)

    @rule(passed=PASSED, events=st.lists(st.tuples(EVENTS, st.sampled_from(NAMES)), min_size=1, max_size=5))
    def tell(self, passed: int, events: list[tuple[Event, str]]) -> None:
        """A replica tells several things at once."""
        self.pair.cluster.pass_time(passed + events[0][0].gap)
        now, twin = self.pair.cluster.now, self.pair.twin
        changes: list[Change] = []
        records = dict(twin.records)
        for event, name in events:
            record = records.get(name, NOTHING)
            changes.append(msgspec.structs.replace(cast(event, record, now), name=name))
            records[name] = circuit.apply(record, changes[-1], twin.rules, now)
        self.pair.tell(changes)

    @rule(passed=PASSED, event=EVENTS)
    def tell_one(self, passed: int, event: Event) -> None:
        """A single change of a single name: most of what happens."""
        self.tell(passed, [(event, NAMES[0])])

    @rule(times=st.integers(1, 6))
    def fail(self, times: int) -> None:
        """Failures in a row."""
        self.pair.tell([Change(Kind.FAIL, NAMES[0])] * times)

    @rule()
    def probe(self) -> None:
        """Somebody asks for the probe as soon as it may be had."""
        record = self.pair.twin.records.get(NAMES[0], NOTHING)
        self.pair.cluster.pass_time(max(record.open_until - self.pair.cluster.now, 0))
        self.pair.tell([Change(Kind.CLAIM, NAMES[0], "probe")])

    @rule()
    def flush(self) -> None:
        """The server forgets everything."""
        self.client.delete(self.pair.cluster.hash)
        self.pair.twin = Twin(self.pair.twin.rules)


def test_script_and_twin_live_the_same_life(server: Server) -> None:
    """Whatever happens in whatever order, the script stores and tells exactly what the twin does."""

    class Here(Life):
        """A life on this server."""

        client = server.client

    run_state_machine_as_test(
        Here, settings=settings(max_examples=60, stateful_step_count=40, deadline=None, database=None)
    )


FAIL, OK, BACK_OFF = (Change(kind, "t") for kind in (Kind.FAIL, Kind.OK, Kind.BACK_OFF))
CLAIM = Change(Kind.CLAIM, "t", "mine")
DRAIN, RESTORE, RESET = (Change(kind, "t", epoch=BEGIN) for kind in (Kind.DRAIN, Kind.RESTORE, Kind.RESET))
BROKEN, ENDED = (Change(kind, "t", late=True) for kind in (Kind.FAIL, Kind.OK))
REPEATED = [Change(Kind.FAIL, "t", repeat=True, age=age) for age in (-1, 0, 10_000, 10_001)]
MERGED = Record(ejections=3, back_offs=4, back_off_until=BEGIN + 90_000)
LIVES: Sequence[Sequence[tuple[int, Sequence[Change]]]] = [
    *([(round(at * 1000), [one] if one else []) for at, one in life] for lives in SCENES for life in lives),
    # The window: its ten parts, the oldest of which leaves as a whole.
    [(0, [FAIL]), (1_000, [FAIL, OK]), (9_999, [OK, FAIL]), (10_000, [OK]), (11_000, [OK]), (20_999, [OK])],
    [(0, [FAIL]), (9_999, [OK]), (10_000, [OK])],
    [(0, [FAIL, OK] * 9), (0, [OK, OK, FAIL]), (0, [FAIL])],
    [(0, [FAIL, OK] * 9), (0, [OK]), (0, [FAIL])],
    [(0, [Change(Kind.OK, "t", count=9), FAIL]), (0, [Change(Kind.OK, "t", count=9), *[OK, FAIL] * 9])],
    # Rows of failures and of broken streams, and when they are forgotten.
    [
        (0, [FAIL] * 4),
        (0, [BROKEN] * 4),
        (1, [OK]),
        (1, [FAIL]),
        (1, [ENDED]),
        (1, [BROKEN]),
        (2, [BROKEN] * 4),
    ],
    *([(0, [one]), (59_999, [CLAIM]), (60_000, [CLAIM])] for one in (FAIL, BROKEN)),
    [(0, [ENDED]), (0, [BROKEN] * 4), (0, [Change(Kind.REFUSE, "t")]), (300_000, [CLAIM, BROKEN])],
    [(0, [FAIL] * 5), (5_000, [CLAIM]), (5_000, [ENDED, Change(Kind.FAIL, "t", "mine", late=True)])],
    # Who is asked though a rate has opened it: a row begins when a window without a success is over.
    *(
        [(0, [OK, FAIL] * 10), (9_000, [one]), (10_000, [FAIL] * 6), (at, [FAIL] * row), (at, [CLAIM, last])]
        for one in (OK, BROKEN, Change(Kind.OK, "t", count=3))
        for at, row in ((19_000, 5), (19_001, 4), (19_001, 5))
        for last in (
            FAIL,
            OK,
            BROKEN,
            *REPEATED,
            Change(Kind.FAIL, "t", "mine"),
            Change(Kind.OK, "t", "mine"),
        )
    ),
    # Failures that are the requests' own.
    *([(0, [FAIL]), (1, [OK]), (10_001 + late, [one])] for one in REPEATED for late in (0, 1)),
    # Windows: the end of one, of a row, of what is remembered.
    [(0, [BACK_OFF]), (999, [OK]), (1_000, [OK]), (1_000, [BACK_OFF])],
    [(0, [BACK_OFF]), (1_000, [FAIL]), (60_999, [BACK_OFF])],
    [(0, [FAIL, BACK_OFF]), (61_000, [BACK_OFF])],
    [(0, [BACK_OFF]), (60_999, [OK]), (61_000, [OK])],
    [(at, [BACK_OFF]) for at in (0, 999, 1_000, 2_999, 3_000, 7_000, 15_000, 31_000, 63_000, 123_000)],
    [(0, [Change(Kind.BACK_OFF, "t", hint=hint, jitter=500)]) for hint in (1, 0, 300_000, 300_001)],
    # A lease: too early, just in time, not during a window, taken over when it lapsed.
    [(0, [FAIL] * 5), (4_999, [CLAIM]), (5_000, [CLAIM]), (14_999, [Change(Kind.CLAIM, "t", "yours")])],
    [(0, [FAIL] * 5), (5_000, [CLAIM]), (15_000, [Change(Kind.CLAIM, "t", "yours"), CLAIM])],
    [(0, [*[FAIL] * 5, Change(Kind.BACK_OFF, "t", hint=6_000)]), (5_999, [CLAIM]), (6_000, [CLAIM])],
    [(0, [FAIL] * 5), (5_000, [Change(Kind.CLAIM, "t"), Change(Kind.OK, "t")])],
    [(0, [FAIL] * 5), (5_000, [CLAIM]), (-1, [Change(Kind.FAIL, "t", "mine")])],
    *(
        [(0, [FAIL] * 5), (5_000, [CLAIM]), (6_000, [Change(kind, "t", whose)]), (15_000, [CLAIM, OK])]
        for kind in (Kind.RENEW, Kind.RELEASE, Kind.OK, Kind.FAIL, Kind.BACK_OFF)
        for whose in ("mine", "yours")
    ),
    # Slow start and what is forgotten of ejections.
    *(
        [(0, [FAIL] * 5), (5_000, [CLAIM, Change(Kind.OK, "t", "mine")]), (5_000 + held, [one] * 5)]
        for held in (29_999, 30_000, 59_999, 60_000)
        for one in (FAIL, OK, Change(Kind.REFUSE, "t"))
    ),
    # What was learned without Redis.
    *(
        [(0, before), (20_000, [Change(Kind.MERGE, "t", record=msgspec.structs.replace(MERGED, **more))])]
        for before in (
            [],
            [FAIL],
            [FAIL] * 5,
            [Change(Kind.REFUSE, "t")],
            [Change(Kind.REFUSE, "t"), BACK_OFF],
        )
        for more in (
            {"open_until": BEGIN + 20_000},
            {"open_until": BEGIN + 20_001, "cause": circuit.Cause.RATE},
            {"open_until": BEGIN + 300_001},
            {"open_until": BEGIN + 900_000, "back_off_until": BEGIN + 900_000},
            {"open_until": BEGIN + 19_000},
            {"closed_at": BEGIN + 19_000},
            {"back_off_until": 0},
        )
    ),
    [(0, [Change(Kind.MERGE, "t")])],
    # Orders, and what is told of before a reset.
    [(0, [DRAIN]), (1, [FAIL] * 5), (6_000, [CLAIM]), (6_001, [RESTORE, CLAIM]), (6_002, [DRAIN, RESTORE])],
    [(0, [RESTORE]), (1, [DRAIN, DRAIN]), (2, [RESTORE, RESTORE]), (86_400_000, [OK]), (86_400_002, [OK])],
    [(0, [*[FAIL] * 5, BACK_OFF, DRAIN]), (1, [RESET]), (2, [RESET, FAIL, RESTORE]), (86_400_003, [CLAIM])],
    *(
        [(0, [BACK_OFF, FAIL, Change(Kind.RESET, "t", epoch=BEGIN)]), (1, [one])]
        for kind in Kind
        for epoch in (0, BEGIN - 1, BEGIN, BEGIN + 1)
        for one in (
            Change(kind, "t", "mine", epoch=epoch),
            Change(kind, "t", epoch=epoch, record=msgspec.structs.replace(MERGED, reset_at=epoch)),
        )
    ),
]
"""Moments (ms) and what is told in them: at the very bounds of all rules."""


TIGHT = Rules(failures=3, rate=400, requests=9, window=3_000, ejection_cap=9_000, quarantine=99_000)


def test_script_and_twin_agree_at_every_bound(server: Server) -> None:
    """To the millisecond, the request and the digit."""
    for life, rules in itertools.product(LIVES, (RULES, TIGHT)):
        pair = Pair(server.client, rules)
        for at, changes in life:
            pair.cluster.pass_time(BEGIN + at - pair.cluster.now)
            pair.tell(changes)


def tripped(name: str, count: int = 5) -> list[Change]:
    """Failures in a row."""
    return [Change(Kind.FAIL, name)] * count


def test_what_changed_is_told_to_all(cluster: Cluster) -> None:
    """A subscriber hears what the caller is answered; of what is only counted nobody hears."""
    one, two, three, _ = NAMES
    client: Any = cluster.client
    with client.pubsub() as heard:
        heard.subscribe(CHANNEL)
        assert heard.get_message(timeout=30) is not None
        answers = [
            cluster.tell(*tripped(one), Change(Kind.BACK_OFF, two, hint=500)),
            cluster.tell(Change(Kind.OK, three), Change(Kind.FAIL, two)),  # nothing that others must know of
            cluster.tell(Change(Kind.REFUSE, one)),
        ]
        assert [name for name, _ in answers[0].news] == [one, two]
        assert answers[1].text == b""
        for answer in (answers[0], answers[2]):
            message = heard.get_message(timeout=30)
            assert message is not None
            assert (message["channel"], message["data"]) == (CHANNEL.encode(), answer.text)


def test_a_record_that_is_idle_is_gone(cluster: Cluster) -> None:
    """It is deleted and told as such, once; what never mattered is not even stored."""
    one, two, *_ = NAMES
    cluster.tell(Change(Kind.BACK_OFF, one, hint=500))
    cluster.pass_time(60_000)
    answer = cluster.tell(Change(Kind.OK, one), Change(Kind.OK, two))
    assert answer.news == [(one, None)]
    assert cluster.kept() == (answer.head[1], {})
    assert cluster.tell(Change(Kind.OK, one)).text == b""


@pytest.mark.parametrize("forbidden", ["-publish", "resetchannels"])
def test_publishing_may_be_forbidden(server: Server, cluster: Cluster, forbidden: str) -> None:
    """Then everything else still works; who hears nothing polls."""
    with server.as_user(forbidden) as mute:
        with pytest.raises(redis.exceptions.NoPermissionError):
            mute.publish(CHANNEL, "x")
        answer = cluster.tell(*tripped(NAMES[0]), by=mute)
    version, records = cluster.kept()
    assert answer.news == list(records.items())
    assert answer.head == [0, version, BEGIN]
    assert records[NAMES[0]].open_until > BEGIN


def test_versions_grow_though_all_is_forgotten(cluster: Cluster) -> None:
    """A server that lost everything goes on with the time, which is beyond any number of changes before."""
    seen = []
    for number, passed in enumerate((0, 5, 0, -1_000, 995)):
        cluster.pass_time(passed)
        seen.append(cluster.tell(Change(Kind.REFUSE, f"n{number}")).head[1] - BEGIN)
    cluster.pass_time(50)
    cluster.client.delete(cluster.hash)
    answer = cluster.tell(Change(Kind.REFUSE, NAMES[0]))
    assert seen == [0, 5, 6, 7, 8]
    assert answer.head == [0, BEGIN + 50, BEGIN + 50]


def test_time_is_the_servers(server: Server) -> None:
    """As it is, the script reads the clock of Redis: one time for all replicas."""
    text = (LUA / "health.lua").read_text(encoding="utf-8")

    def time() -> int:
        seconds, us = server.client.time()
        return seconds * 1000 + us // 1000

    before = time()
    answer: Any = server.client.eval(text, 1, fresh_tag(), CHANNEL, msgspec.json.encode(RULES), MOST, b"[]")
    assert before <= answer[0] <= time()
    assert answer[1] == b""


def waiting(count: int, prefix: str = "made-up") -> list[Change]:
    """So many names that a client has made up."""
    return [Change(Kind.BACK_OFF, f"{prefix}/{number}", hint=1_000) for number in range(count)]


def test_what_is_idle_makes_room(cluster: Cluster) -> None:
    """With more than may be kept, what is long over goes; what counts stays, as does what is spoken of."""
    cluster.tell(*waiting(8), Change(Kind.REFUSE, "half"), rules=Rules(quarantine=1_000))
    cluster.pass_time(RULES.hint_cap)
    cluster.tell(Change(Kind.REFUSE, "out"), Change(Kind.BACK_OFF, "busy", hint=300_000), most=1)
    cluster.pass_time(1_000)
    cluster.tell(Change(Kind.REFUSE, "last"), Change(Kind.RELEASE, "half"), most=1)
    assert len(cluster.kept()[1]) == 12  # not over for long enough
    cluster.pass_time(1)
    cluster.tell(Change(Kind.REFUSE, "more"), most=14)
    assert len(cluster.kept()[1]) == 13  # and the version: so many may be kept
    gone: list[str] = []
    while len(gone) < 8:
        answer = cluster.tell(Change(Kind.REFUSE, "more"), Change(Kind.RELEASE, "half"), most=1)
        gone += [name for name, record in answer.news if record is None]
        cluster.pass_time(1)
        assert cluster.now < BEGIN + 400_000
    version, records = cluster.kept()
    assert records.keys() == {"out", "busy", "last", "more", "half"}
    assert version == answer.head[1]


def test_a_flood_of_names_is_bounded(cluster: Cluster) -> None:
    """A large hash is swept bit by bit, and every replica that follows the messages knows what is left."""
    known: dict[str, Record] = {}

    def follow(answer: Answer) -> None:
        for name, record in answer.news:
            known.pop(name, None)
            if record is not None:
                known[name] = record

    follow(cluster.tell(*waiting(1_500)))
    cluster.pass_time(RULES.hint_cap + 2_000)
    calls = 0
    while len(known) > 50:
        calls += 1
        cluster.pass_time(997)
        follow(cluster.tell(Change(Kind.BACK_OFF, "real", hint=1_000), most=50))
        assert calls < 300
    assert cluster.kept()[1] == known
    assert "real" in known


def test_a_poll_tells_all_or_nothing(cluster: Cluster) -> None:
    """Nothing where the version is known, everything where it is another, be it lower or higher."""
    assert cluster.poll(0) == (BEGIN, 0, {})
    cluster.tell(*tripped(NAMES[0]), Change(Kind.BACK_OFF, NAMES[3], hint=500), Change(Kind.FAIL, NAMES[1]))
    version, records = cluster.kept()
    assert len(records) == 3
    for known in (-1, 0, version - 1, version + 1):
        assert cluster.poll(known) == (BEGIN, version, records)
    assert cluster.poll(version) == (BEGIN, version, {})


def test_a_poll_of_a_server_that_forgot_everything(cluster: Cluster) -> None:
    """It has no version, so whoever knows one hears that there is nothing."""
    version = cluster.tell(*tripped(NAMES[0])).head[1]
    cluster.client.delete(cluster.hash)
    assert cluster.poll(version) == (BEGIN, 0, {})
