"""The sum of loads that poll.lua keeps, on real servers: what is in it, and what of whom."""

import itertools
import random
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import redis

from proxy import peers
from proxy.peers import OLD, Load, Sum

sys.path.append(str(Path(__file__).with_name("ratelimit")))

from limit_stand_ins import SERVERS, fresh_tag, served

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

TEXT = (Path(peers.__file__).with_name("lua") / "poll.lua").read_text(encoding="utf-8")
BEGIN = 1_800_000_000_000
FRESH = 500
"""Milliseconds for which a sum is answered before it is made anew."""

_V1 = """
local said, loads = redis.call('HGETALL', KEYS[2]), {}
for at = 1, #said, 2 do
  local when, load = string.match(said[at + 1], '^(%d+) (.*)$')
  if not when or math.abs(ARGV[5] - when) > tonumber(ARGV[4]) then
    redis.call('HDEL', KEYS[2], said[at])
  elseif said[at] ~= ARGV[2] then
    loads[#loads + 1] = load
  end
end
if ARGV[3] ~= '' then redis.call('HSET', KEYS[2], ARGV[2], string.format('%.0f ', ARGV[5]) .. ARGV[3]) end
return loads
"""
"""What matters of version 1, which is told the time."""


class LoadV1(msgspec.Struct, frozen=True):
    """A load as the replicas of version 1 write and read it."""

    in_flight: dict[str, int]
    latencies: dict[str, float]


class Heard(NamedTuple):
    """What a replica hears: when the sum was begun, what is in it, and which of its own loads (0: none)."""

    begun: int
    sum: Sum
    own: int


@pytest.fixture(scope="module", params=SERVERS)
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    """A client of a real server, of each kind that there is here."""
    with (
        served(request.param, tmp_path_factory.mktemp("loads")) as path,
        redis.Redis(unix_socket_path=path) as found,
    ):
        yield found


class Table:
    """The script over keys of its own, with the server's clock in the test's hands.

    `told` are the loads of each replica by their numbers.
    """

    def __init__(self, client: redis.Redis, step: int = 2000) -> None:
        tag = fresh_tag()
        self.client: Any = client
        self.health, self.loads = f"{{{tag}}}", f"{{{tag}}}:loads"
        self.sum, self.next = f"{{{tag}}}:loads:sum", f"{{{tag}}}:loads:next"
        self.told: dict[str, dict[int, Load]] = {}
        self.now = BEGIN
        text = TEXT
        for what, instead in (
            (r"call\('TIME'\)", "{call('GET', 's'), call('GET', 'us')}"),
            (r"STEP = 500, 2000", f"STEP = 500, {step}"),
        ):
            text, times = re.subn(what, instead, text)
            assert times == 1
        self._sha = client.script_load(text)
        self._numbers = itertools.count(1)
        self.pass_time(0)

    def pass_time(self, ms: int) -> None:
        """Set the server's clock on, or back. What is below a millisecond does not count."""
        self.now += ms
        self.client.mset({"s": self.now // 1000, "us": self.now % 1000 * 1000 + 999})

    def poll(self, id_: str, load: bytes) -> list[Any]:
        """What the script answers on loads."""
        keys = (self.health, self.loads, *((self.sum, self.next) if load else ()))
        now, version, records, told = self.client.evalsha(self._sha, len(keys), *keys, 0, id_, load, OLD)
        assert (now, version, records) == (self.now, b"0", [])
        return list(told)

    def say(self, id_: str, busy: Mapping[str, int], slow: Mapping[str, float] | None = None) -> Heard | None:
        """Tell a load; None where no sum is made yet."""
        load = Load(dict(busy), dict(slow or {}), next(self._numbers))
        self.told.setdefault(id_, {})[load.number] = load
        told = self.poll(id_, msgspec.json.encode(load))
        if not told:
            return None
        begun, text, number = told
        return Heard(begun, msgspec.json.decode(text, type=Sum), int(number or 0))

    def busy(self, id_: str, count: int) -> dict[str, int]:
        """What is in the sum that a replica hears of when it tells that it has so many in flight."""
        heard = self.say(id_, {"t": count})
        assert heard is not None
        return heard.sum.in_flight

    def counted(self) -> dict[str, int]:
        """Which load of whom is in the sum, as it is kept."""
        kept = self.client.hgetall(self.sum)
        return {id_.decode(): int(number) for id_, number in kept.items() if id_ != b"@"}

    def speakers(self) -> set[str]:
        """Whose loads are kept."""
        return {id_.decode() for id_ in self.client.hkeys(self.loads)}


@pytest.fixture
def table(client: redis.Redis) -> Table:
    """The script over keys of its own."""
    return Table(client)


def total(loads: list[Load]) -> Sum:
    """The sum that they come to."""
    busy: dict[str, int] = {}
    slow: dict[str, tuple[float, int]] = {}
    for load in loads:
        for name, count in load.in_flight.items():
            busy[name] = busy.get(name, 0) + count
        for name, seconds in load.latencies.items():
            known = slow.get(name, (0.0, 0))
            slow[name] = known[0] + seconds, known[1] + 1
    return Sum(busy, slow)


def same(one: Sum, other: Sum) -> bool:
    """Whether they are equal, but for the last digits of what is no whole number."""
    rounded = [
        {name: (round(value, 6), count) for name, (value, count) in each.latencies.items()}
        for each in (one, other)
    ]
    return one.in_flight == other.in_flight and rounded[0] == rounded[1]


def test_the_sum_of_all_loads_is_told(table: Table) -> None:
    """By target what is in flight; of latencies the sum who knows one; and which load is one's own."""
    table.say("one", {"a": 1, "b": 2}, {"a": 0.5})
    table.pass_time(FRESH)
    table.say("two", {"b": 3}, {"a": 0.25, "b": 4.0})
    assert table.say("one", {"a": 9}) == Heard(
        BEGIN + FRESH, Sum({"a": 1, "b": 5}, {"a": (0.75, 2), "b": (4.0, 1)}), 1
    )
    assert table.say("new", {"a": 9}) == Heard(
        BEGIN + FRESH, Sum({"a": 1, "b": 5}, {"a": (0.75, 2), "b": (4.0, 1)}), 0
    )
    assert table.counted() == {"one": 1, "two": 2}


def test_a_sum_is_made_anew_after_half_a_second(table: Table) -> None:
    """Not before, whoever comes; also where the clock was set back by as much."""
    assert table.busy("one", 1) == {"t": 1}
    table.pass_time(FRESH - 1)
    assert table.busy("one", 2) == {"t": 1}
    assert table.busy("two", 4) == {"t": 1}
    table.pass_time(1)
    assert table.busy("three", 8) == {"t": 14}
    table.pass_time(1 - FRESH)
    assert table.busy("three", 9) == {"t": 14}
    table.pass_time(-1)
    assert table.busy("three", 9) == {"t": 15}


def test_what_is_told_in_one_millisecond_is_not_mistaken(table: Table) -> None:
    """Which load is in the sum hangs on no time: before it was made, in the same call, after it."""
    table.say("one", {"t": 1})
    table.pass_time(FRESH)
    assert [table.say(id_, {"t": 2}) for id_ in ("one", "one", "two", "one")] == [
        Heard(table.now, Sum({"t": 2}, {}), number) for number in (2, 2, 0, 2)
    ]
    assert table.told["one"].keys() == {1, 2, 3, 5}


def test_who_is_silent_is_forgotten(table: Table) -> None:
    """After its time, before or after a step of the clock; so is one's own load from before."""
    table.say("one", {"t": 1})
    table.pass_time(OLD)
    assert table.busy("two", 2) == {"t": 3}
    table.pass_time(FRESH)
    assert table.busy("three", 4) == {"t": 6}
    assert table.speakers() == {"two", "three"}
    assert table.say("one", {"t": 8}) == Heard(table.now, Sum({"t": 6}, {}), 0)
    table.pass_time(-3_600_000)
    assert table.busy("three", 4) == {"t": 4}
    assert table.speakers() == {"three"}


def odd(busy: str = '{"t": 1}', slow: str = '{"t": 0.5}', rest: str = "") -> str:
    """A load of these parts."""
    return f'{{"in_flight": {busy}, "latencies": {slow}{rest}}}'


@pytest.mark.parametrize(
    "load",
    [
        *("", "{", "7", "null", "[]", "{}", '{"in_flight": 7}', '{"in_flight": {"t": 1}}'),
        *(odd(busy) for busy in ("null", "7", "[1]", '{"t": null}', '{"t": "1"}', '{"t": {}}', '{"t": 0.5}')),
        *(odd(busy) for busy in ('{"t": -1}', '{"t": 1e15}', '{"t": NaN}', '{"t": 1, "u": [1]}')),
        *(odd(slow=slow) for slow in ("null", "7", "[1]", '{"t": null}', '{"t": [1, 1]}', '{"t": 1e999}')),
        *(odd(rest=f', "number": {number}') for number in ("null", '"1"', "1.5", "-1", "{}", "Infinity")),
    ],
)
def test_what_nobody_can_read_does_not_count(table: Table, load: str) -> None:
    """A load is in the sum whole or not at all, and no sum is told that nobody can read."""
    table.client.hset(table.loads, "odd", f"{BEGIN} {load}")
    assert table.say("one", {"u": 2}) == Heard(BEGIN, Sum({"u": 2}, {}), 1)
    assert table.counted() == {"one": 1}
    assert table.speakers() == {"one", "odd"}


def test_what_has_no_time_is_removed(table: Table) -> None:
    """Nobody could say when it is old."""
    table.client.hset(table.loads, "odd", odd())
    assert table.say("one", {"u": 2}) == Heard(BEGIN, Sum({"u": 2}, {}), 1)
    assert table.speakers() == {"one"}


def test_large_numbers_are_told_exactly(table: Table) -> None:
    """A sum of the largest that count is still a whole number."""
    for number in range(50):
        table.client.hset(table.loads, f"r{number}", f"{BEGIN} " + odd('{"t": 999999999}', "{}"))
    assert table.busy("one", 1) == {"t": 50 * 999_999_999 + 1}


@pytest.mark.parametrize("odd", ["", "x", "1 1800000000000 {}", "3 1800000000000 {}", "2 {}"])
def test_a_sum_of_another_version_is_made_anew(table: Table, odd: str) -> None:
    """As is one that is only begun."""
    for key in (table.sum, table.next):
        table.client.hset(key, mapping={"@": odd, "one": "77"})
    assert table.say("one", {"t": 2}) == Heard(BEGIN, Sum({"t": 2}, {}), 1)
    assert not table.client.exists(table.next)


def test_a_server_that_forgot_everything_begins_anew(table: Table) -> None:
    """At once, and what was told before is in no sum any more."""
    table.say("one", {"t": 1})
    table.say("two", {"t": 2})
    table.client.delete(table.loads, table.sum)
    assert table.say("two", {"t": 3}) == Heard(BEGIN, Sum({"t": 3}, {}), 3)
    assert table.say("one", {"t": 1}) == Heard(BEGIN, Sum({"t": 3}, {}), 0)


def test_who_has_no_load_to_tell_costs_nothing(table: Table) -> None:
    """No key is made; none is read, though others tell theirs."""
    assert table.poll("mute", b"") == []
    assert table.client.exists(table.loads, table.sum, table.next) == 0
    table.say("one", {"t": 1})
    table.client.hset(table.loads, "odd", "no time")
    table.pass_time(FRESH)
    assert table.poll("mute", b"") == []
    assert table.speakers() == {"one", "odd"}


def test_nothing_outlives_the_cluster_for_long(client: redis.Redis) -> None:
    """Everything has an end, also what is only begun."""
    table = Table(client, step=1)
    table.say("one", {"t": 1})
    table.pass_time(FRESH)
    table.say("two", {"t": 1})
    assert 0 < table.client.pttl(table.loads) <= OLD * 10
    assert 0 < table.client.pttl(table.sum) <= OLD
    assert 0 < table.client.pttl(table.next) <= OLD


def test_many_loads_are_added_step_by_step(client: redis.Redis) -> None:
    """No poll adds more than a step; the last sum is told meanwhile; each load is added as it is by then."""
    table = Table(client, step=4)  # that are two loads of one number
    ids = [f"r{number}" for number in range(6)]
    for id_ in ids:
        client.hset(table.loads, id_, f"{BEGIN} " + msgspec.json.encode(Load({"t": 1}, {}, 90)).decode())
    assert [table.say("r0", {"t": 1}) for _ in range(2)] == [None, None]
    heard = table.say("r0", {"t": 1})
    assert heard is not None
    assert heard.sum.in_flight == {"t": 6}
    assert heard.own in (90, *table.told["r0"])
    table.pass_time(FRESH)
    for id_ in ids[:2]:
        assert table.busy(id_, 10) == {"t": 6}
    late = table.say("r5", {"t": 10})
    assert late is not None
    counted = table.counted()
    assert late.begun == table.now
    assert late.sum == total([table.told.get(id_, {}).get(counted[id_], Load({"t": 1}, {})) for id_ in ids])


def test_replicas_of_the_version_before_hear_and_are_heard(table: Table) -> None:
    """In a rolling update both tell their loads in the same place."""

    def say_v1(id_: str, load: LoadV1) -> list[LoadV1]:
        keys = table.health, table.loads
        told = table.client.eval(_V1, 2, *keys, 0, id_, msgspec.json.encode(load), OLD, table.now)
        return [msgspec.json.decode(one, type=LoadV1) for one in told]

    table.say("new", {"t": 1}, {"t": 0.5})
    assert say_v1("old", LoadV1({"t": 2}, {"t": 1.5})) == [LoadV1({"t": 1}, {"t": 0.5})]
    table.pass_time(FRESH)
    assert table.say("new", {"t": 4}) == Heard(table.now, Sum({"t": 6}, {"t": (1.5, 1)}), 2)
    assert table.counted() == {"new": 2}
    table.pass_time(OLD + 1)
    assert say_v1("old", LoadV1({"t": 2}, {})) == []


@pytest.mark.parametrize("step", [1, 5, 2000])
@pytest.mark.parametrize("seed", range(4))
def test_a_sum_is_what_it_says_that_it_is(client: redis.Redis, seed: int, step: int) -> None:
    """Whatever happens: it is exactly the loads that are noted, so what is left without one's own is exact.

    Made in one poll it has the last load of everybody who has spoken.
    """
    draw, table, heard = random.Random(seed), Table(client, step), 0
    last: dict[str, tuple[int, int]] = {}
    for _ in range(400):
        table.pass_time(draw.choice([0, 0, 0, 1, 99, 250, 500, draw.choice([-400, -5_000, OLD])]))
        if draw.random() < 0.02:
            lost = draw.sample([table.loads, table.sum, table.next], draw.randrange(1, 4))
            client.delete(*lost)
            last = {} if table.loads in lost else last
        id_ = draw.choice("abcdefg")
        busy = {name: draw.randrange(1, 9) for name in draw.sample("tuvw", draw.randrange(4))}
        slow = {name: round(draw.random(), 6) for name in draw.sample("tuvw", draw.randrange(4))}
        told = table.say(id_, busy, slow)
        last[id_] = table.now, max(table.told[id_])
        if told is None:
            continue
        heard += 1
        counted = table.counted()
        assert told.own == counted.get(id_, 0)
        assert same(told.sum, total([table.told[who][number] for who, number in counted.items()]))
        own = table.told[id_].get(told.own, Load({}, {}))
        others = [table.told[who][number] for who, number in counted.items() if who != id_]
        assert same(told.sum.without(own), total(others))
        if step == 2000 and told.own == last[id_][1]:  # it was made just now
            last = {who: (at, number) for who, (at, number) in last.items() if abs(table.now - at) <= OLD}
            assert counted == {who: number for who, (_, number) in last.items()}
    assert heard > 100
