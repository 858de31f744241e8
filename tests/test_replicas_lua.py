"""replicas.lua against a twin: one random life of a cluster, equal numbers, versions and members."""

import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from proxy import replicas

sys.path.append(str(Path(__file__).with_name("ratelimit")))

from limit_stand_ins import SERVERS, fresh_tag, served

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

LUA = Path(replicas.__file__).with_name("lua") / "replicas.lua"
BEGIN = 1_800_000_000_000
SILENCE = 6_000
IDS = ("one", "two", "three", "four")

_V1 = """
local members = redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return redis.call('HGETALL', KEYS[2])
"""
"""What matters of version 1: it knows no version."""


@pytest.fixture(scope="module", params=SERVERS)
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    """A client of a real server, of each kind that there is here."""
    with (
        served(request.param, tmp_path_factory.mktemp("replicas")) as path,
        redis.Redis(unix_socket_path=path) as found,
    ):
        yield found


class Table:
    """The script over keys of its own, with the server's clock in the test's hands."""

    def __init__(self, client: redis.Redis) -> None:
        tag = fresh_tag()
        self.client: Any = client
        self.keys = f"{{{tag}}}", f"{{{tag}}}:about", f"{{{tag}}}:version"
        self.now = BEGIN
        text, times = re.subn(
            r"call\('TIME'\)", "{call('GET', 's'), call('GET', 'us')}", LUA.read_text(encoding="utf-8")
        )
        assert times == 1, "the time is read once"
        self._sha = client.script_load(text)
        self.pass_time(0)

    def pass_time(self, ms: int) -> None:
        """Set the server's clock on. What is below a millisecond does not count."""
        self.now += ms
        self.client.mset({"s": self.now // 1000, "us": self.now % 1000 * 1000 + 999})

    def say(
        self, id_: str, about: str, *, news: bool = False, listed: bool = False
    ) -> tuple[int, int, dict[str, str]]:
        """Say that a replica lives, or nothing and so goodbye: how many do, the version, the list."""
        args = id_, about, SILENCE, int(news), int(listed)
        count, version, told = self.client.evalsha(self._sha, 3, *self.keys, *args)
        words = [word.decode() for word in told]
        return count, int(version), dict(zip(words[::2], words[1::2], strict=True))


def test_the_list_is_told_to_who_wants_it(client: redis.Redis) -> None:
    """Everybody else hears how many live, and whether the list is still the one it knows."""
    table = Table(client)
    assert table.say("one", "1") == (1, BEGIN, {})
    assert table.say("two", "2") == (2, BEGIN + 1, {})
    assert table.say("one", "1 busy") == (2, BEGIN + 1, {})
    assert table.say("one", "1", listed=True) == (2, BEGIN + 1, {"one": "1", "two": "2"})


def test_goodbye_without_having_been_there_changes_nothing(client: redis.Redis) -> None:
    """Nor does it leave anything."""
    table = Table(client)
    assert table.say("one", "") == (0, 0, {})
    assert not client.exists(*table.keys)


def test_a_version_is_new_even_if_all_was_lost(client: redis.Redis) -> None:
    """It goes by the clock, so a number that somebody knows does not come again with another list."""
    table = Table(client)
    _, known, _ = table.say("one", "1")
    client.delete(*table.keys)
    table.pass_time(1)
    _, version, _ = table.say("two", "2")
    assert version > known


def test_a_replica_of_the_last_version_counts(client: redis.Redis) -> None:
    """It finds the others as it always did, and they find it in their number; the version says nothing."""
    table = Table(client)
    _, known, _ = table.say("new", "1")
    old: Any = client.eval(_V1, 2, *table.keys[:2], "old", "2", table.now)
    assert sorted(old[::2]) == [b"new", b"old"]
    assert table.say("new", "1") == (2, known, {})


def test_nothing_is_left_when_nobody_has_spoken_for_long(client: redis.Redis) -> None:
    """All keys expire by themselves, the version as well."""
    table = Table(client)
    table.say("one", "1")
    table.say("one", "1")
    for key in table.keys:
        assert 0 < table.client.pttl(key) <= SILENCE * 10


class Life(RuleBasedStateMachine):
    """Replicas come, speak, fall silent and leave; everything is done to the script and to its twin."""

    client: redis.Redis

    def __init__(self) -> None:
        super().__init__()
        self._serial = itertools.count()
        self.members: dict[str, tuple[int, str]] = {}
        self.version = 0

    @initialize()
    def begin(self) -> None:
        """An empty table."""
        self.table = Table(self.client)

    def _silent(self) -> bool:
        late = [id_ for id_, (when, _) in self.members.items() if when <= self.table.now - SILENCE]
        for id_ in late:
            del self.members[id_]
        return bool(late)

    def _check(self, told: tuple[int, int, dict[str, str]], *, changed: bool, listed: bool) -> None:
        if changed:
            self.version = max(self.version + 1, self.table.now)
        members = {id_: about for id_, (_, about) in self.members.items()}
        assert told == (len(members), self.version, members if listed else {})

    @rule(id_=st.sampled_from(IDS), news=st.booleans(), listed=st.booleans())
    def speak(self, id_: str, news: bool, listed: bool) -> None:
        """A sign of life, each with other words."""
        about = f"words {next(self._serial)}"
        told = self.table.say(id_, about, news=news, listed=listed)
        changed = self._silent()
        changed |= id_ not in self.members
        self.members[id_] = self.table.now, about
        self._check(told, changed=changed or news, listed=listed)

    @rule(id_=st.sampled_from(IDS), listed=st.booleans())
    def leave(self, id_: str, listed: bool) -> None:
        """A goodbye."""
        told = self.table.say(id_, "", listed=listed)
        changed = self._silent()
        changed |= self.members.pop(id_, None) is not None
        self._check(told, changed=changed, listed=listed)

    @rule(ms=st.sampled_from([0, 1, 2_000, SILENCE - 1, SILENCE, SILENCE + 1]))
    def wait(self, ms: int) -> None:
        """Time passes."""
        self.table.pass_time(ms)

    @invariant()
    def both_keys_speak_of_the_same(self) -> None:
        """Nobody is in one and not in the other."""
        if hasattr(self, "table"):
            ids, about, _ = self.table.keys
            assert set(self.table.client.zrange(ids, 0, -1)) == set(self.table.client.hkeys(about))


def test_a_random_life_is_that_of_the_twin(client: redis.Redis) -> None:
    """Whatever happens in which order."""
    life = type("LifeHere", (Life,), {"client": client})
    run_state_machine_as_test(
        life, settings=settings(max_examples=60, stateful_step_count=30, deadline=None, database=None)
    )
