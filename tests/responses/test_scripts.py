"""The scripts against their twin: one random life, equal words, survivors and sums, on the real servers."""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from proxy.responses import keyspace
from proxy.responses.scripts import NAMES, load_scripts
from responses.twin import EACH, EVENT_TTL, LEASE, MOST, OVERHEAD, TTL, Events, Kept, Run, Save, Twin

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

QUOTA, BUDGET = 6_000, 8_000
BEGIN = 1_800_000_000_000
_serial = itertools.count()


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[redis.Redis]:
    """A client of each kind of server."""
    with redis.Redis.from_url(url) as made:
        yield made


class Shelf:
    """The scripts over clients of their own, with the server's clock in the test's hands."""

    def __init__(self, client: redis.Redis, quota: int, budget: int | None = None) -> None:
        self.client: Any = client
        self.run = next(_serial)
        self.quota = quota
        self.budget = budget
        self.now = BEGIN
        self._shas = {}
        for name, script in load_scripts().items():
            text, times = re.subn(r"call\('TIME'\)", "{call('GET', 's'), call('GET', 'us')}", script.text)
            assert times == 1, f"{name} reads the time once"
            self._shas[name] = self.client.script_load(text)
        self.pass_time(0)

    def pass_time(self, ms: int) -> None:
        """Set the server's clock on."""
        self.now += ms
        self.client.mset({"s": self.now // 1000, "us": self.now % 1000 * 1000 + 999})

    def owner(self, name: str) -> str:
        """The client of this name, of this test alone."""
        return f"{name} {self.run}"

    @property
    def all(self) -> str:
        """The index over all clients."""
        return f"{keyspace.ALL}{self.run}"

    def call(self, script: str, owner: str, *args: Any, by: Any = None) -> Any:
        """Run a script."""
        keys = [keyspace.index(self.owner(owner)), *([self.all] if self.budget is not None else [])]
        return (by or self.client).evalsha(self._shas[script], len(keys), *keys, *args)

    def save(self, owner: str, id_: str, save: Save = Save(), by: Any = None) -> str:  # noqa: B008  (frozen)
        """Run responses_save.lua."""
        args = [id_, save.mode, b"d" * save.size, TTL, self.quota, self.budget or 0, save.replica, LEASE]
        args += [EVENT_TTL, MOST, save.last, *told(save.events)]
        said: bytes = self.call("save", owner, *args, by=by)
        return said.decode()

    def append(self, owner: str, id_: str, replica: str = "one", events: Events = ()) -> str:
        """Run responses_append.lua."""
        args = [id_, replica, LEASE, self.quota, self.budget or 0, EVENT_TTL, MOST]
        said: bytes = self.call("append", owner, *args, *told(events))
        return said.decode()

    def read(
        self, owner: str, id_: str, after: int = -1, most: int = 64
    ) -> tuple[str, int, list[tuple[int, int]]]:
        """Run responses_read.lua."""
        state, last, *flat = self.call("read", owner, id_, f"{after + 2}-0", most)
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return state.decode(), last, [(int(name.split(b"-")[0]) - 1, len(event)) for name, event in pairs]

    def delete(self, owner: str, id_: str, *, waits: bool = False) -> int:
        """Run responses_delete.lua."""
        said: int = self.call("delete", owner, id_, 86_400_000, int(waits))
        return said

    def cancel(self, owner: str, id_: str) -> int:
        """Run responses_cancel.lua."""
        said: int = self.call("cancel", owner, id_)
        return said

    def kept(self, owner: str) -> dict[str, Kept]:
        """All that is stored for a client, as it is; sums and index must say the same."""
        index = keyspace.index(self.owner(owner))
        sizes = {name.decode(): int(size) for name, size in self.client.hgetall(f"{index}:sizes").items()}
        total = sizes.pop("@", 0)
        streams = dict(self.client.zrange(f"{index}:streams", 0, -1, withscores=True))
        found: dict[str, Kept] = {}
        for name, expires in self.client.zrange(index, 0, -1, withscores=True):
            id_ = name.decode()
            events = [
                (int(at.split(b"-")[0]) - 1, len(fields[b"e"]))
                for at, fields in self.client.xrange(f"{index}:events:{id_}")
            ]
            found[id_] = Kept(
                self.client.strlen(f"{index}:doc:{id_}"),
                int(expires),
                self._run(f"{index}:run:{id_}", sum(size + EACH for _, size in events)),
                events,
                int(streams.pop(name)) if name in streams else None,
            )
        assert not streams
        assert sizes == {id_: one.counts for id_, one in found.items()}
        assert total == sum(sizes.values())
        return found

    def _run(self, key: str, bytes_: int) -> Run | None:
        run = {name.decode(): value.decode() for name, value in self.client.hgetall(key).items()}
        assert int(run.get("bytes", 0)) == bytes_
        if not run:
            return None
        return Run(run["replica"], int(run["until"]), "cancel" in run, int(run["last"]))

    def ids(self) -> set[str]:
        """The ids under which anything is stored for anybody, but for those of deleted responses."""
        keys = [key.decode() for key in self.client.keys("*:resp_*")]
        return {
            key.rpartition(":")[2] for key in keys if not (":doc:" in key and self.client.strlen(key) == 0)
        }


def told(events: Events) -> Sequence[int | bytes]:
    """Events as arguments."""
    return [part for sequence, size in events for part in (sequence, b"e" * size)]


OWNERS = st.sampled_from(["a", "b"])
IDS = st.sampled_from([f"resp_{number}" for number in range(4)])
REPLICAS = st.sampled_from(["one", "two"])
SIZES = st.integers(1, 2_500)
EVENTS = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 700)), max_size=5).map(
    lambda drawn: [(at + number, size) for number, (at, size) in enumerate(sorted(drawn))]
)


SAVES = st.one_of(
    st.builds(Save, size=SIZES),
    st.builds(Save, st.sampled_from(["begin", "finish"]), SIZES, REPLICAS, EVENTS),
)


class Life(RuleBasedStateMachine):
    """Two clients, two replicas and whatever may happen to four responses of each."""

    client: redis.Redis
    budget: int | None

    @initialize()
    def begin(self) -> None:
        """Nothing is stored."""
        self.client.flushdb()
        self.shelf = Shelf(self.client, QUOTA, self.budget)
        self.twin = Twin(QUOTA, self.budget)
        self.twin.now = self.shelf.now

    @rule(ms=st.sampled_from([0, 1, 5_000, LEASE - 1, LEASE, EVENT_TTL, TTL // 2, TTL]))
    def pass_time(self, ms: int) -> None:
        """Leases lapse, events and responses expire."""
        self.shelf.pass_time(ms)
        self.twin.now = self.shelf.now

    @rule(owner=OWNERS, id_=IDS, save=SAVES)
    def save(self, owner: str, id_: str, save: Save) -> None:
        """A response is stored, begins or ends."""
        expected = self.twin.save(self.shelf.owner(owner), id_, save)
        assert self.shelf.save(owner, id_, save) == expected
        if expected == "stored":
            assert self.twin.total(self.shelf.owner(owner)) <= QUOTA

    @rule(owner=OWNERS, id_=IDS, size=SIZES, off=st.sampled_from([0, 0, 0, 1]))
    def bury(self, owner: str, id_: str, size: int, off: int) -> None:
        """A reader finds one dead, or thinks so."""
        last = self.twin.read(self.shelf.owner(owner), id_, -1)[1] + off
        self.save(owner, id_, Save("bury", size, "two", [(last + 1, 20)], last))

    @rule(owner=OWNERS, id_=IDS, replica=REPLICAS, events=EVENTS)
    def append(self, owner: str, id_: str, replica: str, events: Events) -> None:
        """Something happens."""
        expected = self.twin.append(self.shelf.owner(owner), id_, replica, events)
        assert self.shelf.append(owner, id_, replica, events) == expected

    @rule(owner=OWNERS, id_=IDS)
    def cancel(self, owner: str, id_: str) -> None:
        """Its client wants no more of it."""
        assert self.shelf.cancel(owner, id_) == self.twin.cancel(self.shelf.owner(owner), id_)

    @rule(owner=OWNERS, id_=IDS, waits=st.booleans())
    def delete(self, owner: str, id_: str, waits: bool) -> None:
        """It is deleted."""
        expected = self.twin.delete(self.shelf.owner(owner), id_, waits=waits)
        assert self.shelf.delete(owner, id_, waits=waits) == expected

    @rule(owner=OWNERS, id_=IDS, after=st.integers(-1, 15))
    def read(self, owner: str, id_: str, after: int) -> None:
        """Its events are read."""
        assert self.shelf.read(owner, id_, after) == self.twin.read(self.shelf.owner(owner), id_, after)

    @invariant()
    def the_same_is_kept(self) -> None:
        """In the same state, and with sums that are the truth."""
        total = 0
        for owner in ("a", "b"):
            whose = self.shelf.owner(owner)
            expected = {id_: kept for (one, id_), kept in self.twin.kept.items() if one == whose}
            assert self.shelf.kept(owner) == expected
            total += self.twin.total(whose)
        assert self.shelf.ids() == {id_ for _, id_ in self.twin.kept}
        if self.budget is not None:
            said: Any = self.client.get(f"{self.shelf.all}:bytes")
            assert int(said or 0) == total
            assert self.client.zcard(self.shelf.all) == len(self.twin.kept)


@pytest.mark.parametrize("budget", [None, BUDGET])
def test_scripts_and_twin_live_the_same_life(client: redis.Redis, budget: int | None) -> None:
    """Whatever happens in whatever order: nothing drifts, nothing comes back, nothing is counted twice."""
    bound = budget

    class Here(Life):
        """A life on this server."""

        budget = bound

    Here.client = client
    run_state_machine_as_test(
        Here, settings=settings(max_examples=50, stateful_step_count=40, deadline=None, database=None)
    )


@pytest.fixture
def shelf(client: redis.Redis) -> Shelf:
    """Nothing is stored, and there is much room."""
    client.flushdb()
    return Shelf(client, 1_000_000)


def test_all_scripts_are_there() -> None:
    """With what they share before them."""
    scripts = load_scripts()
    assert set(scripts) == set(NAMES)
    assert {script.name for script in scripts.values()} == {f"responses_{name}" for name in NAMES}


def test_making_room_takes_several_calls(shelf: Shelf) -> None:
    """A script is to be short: it drops 200 responses, and asks to be called again."""
    for number in range(500):
        assert shelf.save("a", f"resp_{number:03}", Save(size=1_000)) == "stored"
        shelf.pass_time(1)
    shelf.quota = 500 * (1_000 + OVERHEAD)
    large = Save(size=400 * (1_000 + OVERHEAD) - OVERHEAD)
    assert [shelf.save("a", "resp_large", large) for _ in range(2)] == ["again", "stored"]
    kept = shelf.kept("a")
    assert sorted(kept) == [f"resp_{number}" for number in range(400, 500)] + ["resp_large"]


def test_expired_ones_are_purged_little_by_little(shelf: Shelf) -> None:
    """Until then they count."""
    for number in range(100):
        shelf.save("a", f"resp_{number}")
    shelf.pass_time(TTL)
    assert [len(shelf.kept("a")) for number in range(4) if shelf.save("a", f"new_{number}")] == [69, 38, 7, 4]


def test_what_can_never_fit_is_too_large(client: redis.Redis) -> None:
    """Be it for the client alone or for all together; nothing is dropped for it."""
    client.flushdb()
    for shelf in (Shelf(client, 2_000), Shelf(client, 10_000, 2_000)):
        assert shelf.save("a", "resp_1") == "stored"
        assert shelf.save("a", "resp_2", Save(size=2_001 - OVERHEAD)) == "too_large"
        assert shelf.save("a", "resp_2", Save("begin", 1_000, events=[(0, 600)])) == "too_large"
        assert set(shelf.kept("a")) == {"resp_1"}
        assert shelf.save("a", "resp_2", Save(size=2_000 - OVERHEAD)) == "stored"
        assert set(shelf.kept("a")) == {"resp_2"}


def test_a_response_does_not_make_room_for_itself(shelf: Shelf) -> None:
    """The oldest of all may grow; the others go, and its events stay."""
    shelf.quota = 5_000
    shelf.save("a", "resp_1", Save("begin", events=[(0, 5)]))
    shelf.pass_time(1)
    shelf.save("a", "resp_2", Save(size=2_000))
    assert shelf.save("a", "resp_1", Save("finish", 4_000, events=[(1, 5)])) == "stored"
    assert set(shelf.kept("a")) == {"resp_1"}
    assert shelf.read("a", "resp_1") == ("ended", 1, [(0, 5), (1, 5)])


def test_events_take_the_room_of_what_is_older(shelf: Shelf) -> None:
    """As responses do."""
    shelf.quota = 2_000
    shelf.save("a", "resp_1", Save(size=400))
    shelf.pass_time(1)
    shelf.save("a", "resp_2", Save("begin"))
    assert shelf.append("a", "resp_2", events=[(0, 600)]) == "running"
    assert set(shelf.kept("a")) == {"resp_2"}


def test_a_budget_may_come_later(shelf: Shelf) -> None:
    """What was stored before it counts once it is stored again."""
    shelf.save("a", "resp_1")
    shelf.budget = 10_000
    shelf.save("a", "resp_2")
    assert int(shelf.client.get(f"{shelf.all}:bytes")) == 10 + OVERHEAD
    shelf.save("a", "resp_1")
    assert int(shelf.client.get(f"{shelf.all}:bytes")) == 2 * (10 + OVERHEAD)
    shelf.delete("a", "resp_1")
    assert int(shelf.client.get(f"{shelf.all}:bytes")) == 10 + OVERHEAD


def test_only_who_runs_a_response_ends_it(shelf: Shelf) -> None:
    """As long as it has not been declared failed; and that is for who has seen its last event."""
    shelf.save("a", "resp_1", Save("begin", replica="one", events=[(0, 5)]))
    assert shelf.save("a", "resp_1", Save("finish", replica="two")) == "gone"
    shelf.pass_time(LEASE)
    assert shelf.save("a", "resp_1", Save("finish", replica="two")) == "gone"
    for last, said in ((-1, "gone"), (1, "gone"), (0, "stored"), (0, "gone")):
        assert shelf.save("a", "resp_1", Save("bury", replica="two", events=[(1, 5)], last=last)) == said
    assert shelf.save("a", "resp_1", Save("finish", replica="one")) == "gone"
    assert shelf.read("a", "resp_1") == ("ended", 1, [(0, 5), (1, 5)])


def test_everything_expires(shelf: Shelf) -> None:
    """The accounts with the last response, so that nothing is left of a client that went away."""
    shelf.save("a", "resp_1", Save("begin", events=[(0, 5)]))
    shelf.save("a", "resp_2")
    for key in shelf.client.keys("apex:*"):
        assert 0 < shelf.client.pttl(key) <= TTL
    shelf.delete("a", "resp_2")
    assert 0 < shelf.client.pttl(keyspace.document(shelf.owner("a"), "resp_2")) <= 86_400_000


def test_a_shorter_life_does_not_take_the_accounts_away(shelf: Shelf) -> None:
    """When the setting is lowered, what is stored longer still counts."""
    shelf.save("a", "resp_1")
    index = keyspace.index(shelf.owner("a"))
    long = shelf.client.pttl(index)
    args = ["resp_2", "plain", b"d", 60_000, 10**6, 0, "one", LEASE, EVENT_TTL, MOST, -1]
    assert shelf.call("save", "a", *args) == b"stored"
    assert shelf.client.pttl(index) > long - 10_000


def test_large_numbers_are_exact(shelf: Shelf) -> None:
    """Sequence numbers up to 2^53, sums beyond 2^32, times in ms."""
    last = 2**53 - 2
    assert shelf.save("a", "resp_1", Save("begin", events=[(last - 1, 1), (last, 1)])) == "stored"
    assert shelf.append("a", "resp_1", events=[(last, 1)]) == "running"
    assert shelf.read("a", "resp_1", last - 1) == ("running", last, [(last, 1)])
    index = keyspace.index(shelf.owner("a"))
    shelf.client.hincrby(f"{index}:sizes", "@", 2**50)
    shelf.quota = 2**51
    shelf.save("a", "resp_2", Save(size=1))
    assert int(shelf.client.hget(f"{index}:sizes", "@")) - 2**50 == sum(
        kept.counts for kept in (Kept(10, 0, events=[(1, 1)] * 2), Kept(1, 0))
    )


def test_accounts_that_a_server_has_evicted_are_begun_anew(shelf: Shelf) -> None:
    """A Redis for responses may evict anything that expires: a client is not locked out by it."""
    index = keyspace.index(shelf.owner("a"))
    shelf.quota = 20_000
    for number in range(10):
        shelf.save("a", f"resp_{number}", Save(size=1_000))
    shelf.client.delete(index)
    assert shelf.save("a", "resp_new", Save(size=10_000)) == "stored"
    assert set(shelf.kept("a")) == {"resp_new"}
    shelf.client.delete(f"{index}:sizes")
    assert shelf.save("a", "resp_newer", Save(size=10_000)) == "stored"


def test_a_run_that_a_server_has_evicted_is_begun_anew(shelf: Shelf) -> None:
    """Its replica is told, and a reader may declare it failed."""
    shelf.save("a", "resp_1", Save("begin"))
    shelf.client.delete(f"{keyspace.index(shelf.owner('a'))}:run:resp_1")
    assert shelf.append("a", "resp_1") == "absent"
    assert shelf.save("a", "resp_1", Save("begin")) == "stored"
    assert shelf.append("a", "resp_1") == "running"


def test_the_newest_events_are_kept(shelf: Shelf) -> None:
    """The last of them however large it is: it is the one that says how it ended."""
    shelf.save("a", "resp_1", Save("begin"))
    size = MOST // 4 - EACH
    shelf.append("a", "resp_1", events=[(number, size) for number in range(6)])
    assert [number for number, _ in shelf.read("a", "resp_1")[2]] == [2, 3, 4, 5]
    shelf.save("a", "resp_1", Save("finish", events=[(6, 2 * MOST)]))
    assert shelf.read("a", "resp_1") == ("ended", 6, [(6, 2 * MOST)])


def test_a_stream_is_bounded_in_events_too(shelf: Shelf) -> None:
    """Each takes more than its bytes."""
    shelf.save("a", "resp_1", Save("begin"))
    for at in range(0, 52_000, 4_000):
        events = told([(number, 1) for number in range(at, at + 4_000)])
        shelf.call("append", "a", "resp_1", "one", LEASE, 10**9, 0, EVENT_TTL, 10**9, *events)
    assert shelf.read("a", "resp_1", most=1) == ("running", 51_999, [(2_000, 1)])


def test_events_are_read_in_pieces(shelf: Shelf) -> None:
    """Each begins where the last one ended."""
    shelf.save("a", "resp_1", Save("begin", events=[(number, 1) for number in range(10)]))
    pieces = [[number for number, _ in shelf.read("a", "resp_1", after, 4)[2]] for after in (-1, 3, 7, 9)]
    assert pieces == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], []]


def test_who_listens_hears_of_ends(shelf: Shelf) -> None:
    """Of those of background responses alone."""
    with shelf.client.pubsub(ignore_subscribe_messages=True) as line:
        line.subscribe(keyspace.CHANNEL)
        shelf.save("a", "resp_0")
        for id_ in ("resp_1", "resp_2", "resp_3"):
            shelf.save("a", id_, Save("begin"))
        shelf.cancel("a", "resp_1")
        shelf.save("a", "resp_1", Save("finish"))
        shelf.delete("a", "resp_2")
        shelf.pass_time(LEASE)
        shelf.save("a", "resp_3", Save("bury"))
        shelf.delete("a", "resp_1")
        shelf.client.publish(keyspace.CHANNEL, "over")
        said = (message["data"].decode() for message in line.listen())
        heard = list(itertools.takewhile(lambda message: message != "over", said))
    name = keyspace.name(shelf.owner("a"), "resp_")
    assert heard == [f"cancel {name}1", f"ended {name}1", f"cancel {name}2", f"ended {name}3"]


def test_publishing_may_be_forbidden(shelf: Shelf) -> None:
    """Then others find out by asking."""
    shelf.client.execute_command("ACL", "SETUSER", "mute", "on", ">x", "~*", "&*", "+@all", "-publish")
    path = shelf.client.connection_pool.connection_kwargs["path"]
    with redis.Redis(unix_socket_path=path, username="mute", password="x") as mute:
        assert shelf.save("a", "resp_1", Save("begin"), by=mute) == "stored"
        assert shelf.save("a", "resp_1", Save("finish"), by=mute) == "stored"
    assert shelf.read("a", "resp_1")[0] == "ended"
