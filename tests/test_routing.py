"""Tests of `proxy.routing`: which target a plan gives next, and when it may give one again."""

import asyncio
import collections
import dataclasses
import random

import pytest
from fakes.chats import error, reply, request
from fakes.configs import MODEL, config
from fakes.providers import Answer
from fakes.scenes import Scene
from fakes.virtual_loop import run

from proxy.config.settings import Config
from proxy.health import READY, Standing
from proxy.routing import Plan
from proxy.targets import Model, Target, models

NOW = 1_000_000
LATER = NOW + 60_000
WAITS = Standing(until=LATER, backing_off=True)
EJECTED = Standing(until=LATER)
RATED = Standing(until=LATER, rate=True)
HALF = Standing(trial=("it",))
PROBED = Standing(trial=("it",), probed_until=LATER)


def key_of(target: Target) -> str:
    """The key of a target."""
    return target.headers[-1][1].removeprefix("Bearer ")


@dataclasses.dataclass
class Known:
    """A `Moment` in which what is known is written down, by key."""

    standings: dict[str, Standing] = dataclasses.field(default_factory=dict)
    filled: set[str] = dataclasses.field(default_factory=set)
    grants: set[str] = dataclasses.field(default_factory=set)
    loads: dict[str, float] = dataclasses.field(default_factory=dict)
    latencies: dict[str, float] = dataclasses.field(default_factory=dict)
    wholes: dict[str, float] = dataclasses.field(default_factory=dict)
    at: int = NOW

    @property
    def calm(self) -> bool:
        """Whether nothing is written down against anybody."""
        return not self.standings and not self.filled

    @property
    def tripped(self) -> bool:
        """Whether a circuit may not be closed."""
        return bool(self.standings)

    def now(self) -> int:
        """The time."""
        return self.at

    def standing(self, target: Target) -> Standing:
        """As written down."""
        return self.standings.get(key_of(target), READY)

    def full(self, target: Target) -> bool:
        """As written down."""
        return key_of(target) in self.filled

    def granted(self, target: Target) -> bool:
        """As written down."""
        return key_of(target) in self.grants

    def load(self, target: Target) -> float:
        """As written down, for its weight."""
        return self.loads.get(key_of(target), 0.0) / target.weight

    def latency(self, target: Target, *, whole: bool) -> float:
        """As written down."""
        return (self.wholes if whole else self.latencies).get(key_of(target), 0.0)


CALM = Known()


def out(*keys: str, standing: Standing = WAITS) -> Known:
    """A moment in which these keys stand so."""
    return Known(dict.fromkeys(keys, standing))


def model(made: Config) -> Model:
    """The one model."""
    return models(made)[MODEL]


def plan(made: Config, seed: int = 1, *, whole: bool = False) -> Plan:
    """A plan over the one model."""
    return Plan(model(made), random.Random(seed), whole=whole)


def order(steps: Plan, moment: Known = CALM) -> list[str]:
    """The keys of the targets in the order they come."""
    found = []
    while (target := steps.next(moment)) is not None:
        found.append(key_of(target))
    return found


def firsts(made: Config, moment: Known, times: int = 4_000) -> dict[str, float]:
    """How often each key comes first, as a share."""
    one, draw = model(made), random.Random(5)
    counted = collections.Counter(
        key_of(target) for _ in range(times) if (target := Plan(one, draw).next(moment)) is not None
    )
    return {key: count / times for key, count in counted.items()}


def take(steps: Plan, key: str, moment: Known = CALM) -> Target:
    """Draw until the target with this key comes; the others are used up."""
    while (target := steps.next(moment)) is not None:
        if key_of(target) == key:
            return target
    raise AssertionError(f"{key} never came")


# Order.


@pytest.mark.parametrize("strategy", ["weighted", "ordered", "least_busy", "least_latency"])
def test_each_target_comes_once(strategy: str) -> None:
    """Whatever the strategy, no target is picked twice and none is left out."""
    made = config({"a": 2, "b": 2}, strategy=strategy)
    assert sorted(order(plan(made))) == ["a1", "a2", "b1", "b2"]


def test_ordered_follows_the_file() -> None:
    """`ordered` tries entries as they are written; the keys of one take turns."""
    made = config({"b": 1, "a": 2, "c": 1})
    orders = {tuple(order(plan(made, seed))) for seed in range(20)}
    assert orders == {("b1", "a1", "a2", "c1"), ("b1", "a2", "a1", "c1")}


def test_priorities_come_first() -> None:
    """A lower number is used up before the next is begun, whatever the strategy."""
    made = config({"a": 1, "b": 2, "c": 1}, entries={"a": {"priority": 2}}, strategy="weighted")
    for seed in range(20):
        assert order(plan(made, seed))[-1] == "a1"


def test_a_failed_origin_goes_to_the_end() -> None:
    """Even before its own priority's turn is over, but it is not given up."""
    made = config({"a": 3, "b": 1}, entries={"b": {"priority": 9}})
    steps = plan(made)
    first = steps.next(CALM)
    assert first is not None
    steps.demote_origin("http://a.test")
    rest = order(steps)
    assert rest[0] == "b1"
    assert sorted([key_of(first), *rest[1:]]) == ["a1", "a2", "a3"]


def test_weights_share_the_requests() -> None:
    """Three to one comes out as about three to one, keys sharing their entry's part evenly."""
    made = config({"a": 2, "b": 1}, entries={"a": {"weight": 3}}, strategy="weighted")
    shares = firsts(made, CALM)
    assert shares["a1"] == pytest.approx(0.375, abs=0.03)
    assert shares["a2"] == pytest.approx(0.375, abs=0.03)
    assert shares["b1"] == pytest.approx(0.25, abs=0.03)


class Highest(random.Random):
    """Draws the highest there is, beyond what the sum of weights can take apart."""

    def random(self) -> float:
        """One, which rounding may yield."""
        return 1.0


def test_rounding_never_leaves_a_draw_without_a_target() -> None:
    """A draw at the very end of the weights is the last target."""
    made = config({"a": 1, "b": 1}, strategy="weighted")
    target = Plan(model(made), Highest()).next(CALM)
    assert target is not None
    assert target.provider == "b"


def test_least_busy_takes_the_idlest() -> None:
    """The target with the fewest requests in flight comes first; ties are drawn by weight."""
    made = config({"a": 1, "b": 1, "c": 1}, strategy="least_busy")
    assert order(plan(made), Known(loads={"a1": 2, "b1": 1, "c1": 3})) == ["b1", "a1", "c1"]
    shares = firsts(config({"a": 1, "b": 1}, entries={"a": {"weight": 3}}, strategy="least_busy"), CALM)
    assert shares["a1"] == pytest.approx(0.75, abs=0.03)


def test_least_busy_goes_by_weight() -> None:
    """Six requests are less for a weight of four than two are for a weight of one."""
    made = config({"a": 1, "b": 1}, entries={"a": {"weight": 4}}, strategy="least_busy")
    assert order(plan(made), Known(loads={"a1": 6, "b1": 2})) == ["a1", "b1"]


def test_least_latency_takes_the_quickest() -> None:
    """Who is unknown is tried first of all, then whose time to first content is the shortest."""
    made = config({"a": 1, "b": 1, "c": 1}, strategy="least_latency")
    assert order(plan(made), Known(latencies={"a1": 0.9, "b1": 0.2})) == ["c1", "b1", "a1"]


def test_least_latency_counts_what_is_there_already() -> None:
    """A quick target with many requests in flight costs more than an idle slow one."""
    made = config({"a": 1, "b": 1}, strategy="least_latency")
    latencies = {"a1": 0.2, "b1": 0.9}
    assert order(plan(made), Known(latencies=latencies, loads={"a1": 3})) == ["a1", "b1"]
    assert order(plan(made), Known(latencies=latencies, loads={"a1": 4})) == ["b1", "a1"]
    heavy = config({"a": 1, "b": 1}, entries={"a": {"weight": 2}}, strategy="least_latency")
    assert order(plan(heavy), Known(latencies=latencies, loads={"a1": 7})) == ["a1", "b1"]


def test_least_latency_keeps_streams_and_whole_replies_apart() -> None:
    """A plan for a whole reply goes by the time to whole replies."""
    made = config({"a": 1, "b": 1}, strategy="least_latency")
    moment = Known(latencies={"a1": 0.1, "b1": 0.2}, wholes={"a1": 9.0, "b1": 4.0})
    assert order(plan(made), moment) == ["a1", "b1"]
    assert order(plan(made, whole=True), moment) == ["b1", "a1"]


# Who is not picked.


@pytest.mark.parametrize("standing", [WAITS, EJECTED, HALF, PROBED])
def test_what_is_out_is_not_picked(standing: Standing) -> None:
    """Who backs off, is ejected or wants a probe is left out; the next priority takes its place."""
    made = config({"a": 2, "b": 1}, entries={"b": {"priority": 2}})
    assert order(plan(made), out("a1", standing=standing)) == ["a2", "b1"]
    assert order(plan(made), out("a1", "a2", standing=standing)) == ["b1"]
    assert order(plan(made), out("a1", "a2", "b1", standing=standing)) == []


def test_what_is_full_is_not_picked() -> None:
    """It has as many requests as it may have."""
    made = config({"a": 2, "b": 1})
    assert order(plan(made), Known(filled={"a1", "b1"})) == ["a2"]


def test_what_recovers_may_still_be_picked() -> None:
    """A target that was out when the request began is not lost for it."""
    steps = plan(config({"a": 1}))
    assert steps.next(out("a1")) is None
    assert steps.open
    assert steps.next(CALM) is not None
    assert not steps.open


def test_a_time_that_has_come_is_no_obstacle() -> None:
    """A window ends in its last millisecond."""
    moment = out("a1")
    moment.at = LATER - 1
    steps = plan(config({"a": 1}))
    assert steps.next(moment) is None
    moment.at = LATER
    assert steps.next(moment) is not None


# Probes.


def test_a_granted_probe_is_picked_first() -> None:
    """The request is the probe, whatever the strategy, the priorities and the origins that failed."""
    made = config({"a": 1, "b": 1}, entries={"b": {"priority": 2, "weight": 0.001}}, strategy="weighted")
    moment = out("b1", standing=HALF)
    moment.grants = {"b1"}
    steps = plan(made)
    steps.demote_origin("http://b.test")
    assert order(steps, moment) == ["b1", "a1"]


@pytest.mark.parametrize(
    ("standings", "wanted"),
    [
        ({}, []),
        ({"b1": HALF}, ["b1"]),
        ({"b1": HALF, "b2": HALF}, ["b1", "b2"]),
        ({"b1": PROBED}, []),
        ({"b1": EJECTED}, []),
        ({"b1": Standing(until=LATER, backing_off=True, trial=("it",))}, []),
        ({"a1": HALF}, ["a1"]),
        ({"a1": HALF, "c1": HALF}, ["a1"]),
        ({"c1": HALF}, []),
        ({"a1": WAITS, "b1": WAITS, "b2": WAITS, "c1": HALF}, ["c1"]),
        ({"a1": HALF, "b1": HALF, "b2": HALF, "c1": HALF}, ["a1", "b1", "b2", "c1"]),
        ({"a1": PROBED, "b1": HALF, "b2": HALF}, ["b1", "b2"]),
    ],
)
def test_which_probes_are_wanted(standings: dict[str, Standing], wanted: list[str]) -> None:
    """Those of half-open targets that nobody probes and that come no later than who may be tried anyway."""
    made = config({"a": 1, "b": 2, "c": 1}, entries={"c": {"priority": 2}})
    assert [key_of(target) for target in plan(made).wanted(Known(standings))] == wanted


def test_no_probe_is_wanted_of_what_cannot_be_picked() -> None:
    """Neither of a full target, nor of one tried already, nor of one whose key has no room yet."""
    made = config({"a": 1})
    moment = out("a1", standing=HALF)
    assert plan(made).wanted(moment)
    moment.filled = {"a1"}
    assert plan(made).wanted(moment) == []
    moment.filled = set()
    steps = plan(made)
    target = take(steps, "a1")
    assert steps.wanted(moment) == []
    steps.give_back(target, after=NOW + 1)
    assert steps.wanted(moment) == []
    moment.at = NOW + 1
    assert [key_of(found) for found in steps.wanted(moment)] == ["a1"]


# Slow start.


def test_a_slow_start_is_a_share_of_the_draws() -> None:
    """A target that came back gets so much of what it will get; the rest goes to who stands beside it."""
    made = config({"a": 1, "b": 1}, strategy="weighted")
    shares = firsts(made, out("a1", standing=Standing(share=0.1)))
    assert shares["a1"] == pytest.approx(0.05, abs=0.01)
    assert shares["b1"] == pytest.approx(0.95, abs=0.01)


def test_a_slow_start_spares_the_next_priority_no_request() -> None:
    """What a slow one is left out of goes where it would have gone without it."""
    made = config({"a": 1, "b": 1}, entries={"b": {"priority": 2}})
    shares = firsts(made, out("a1", standing=Standing(share=0.4)))
    assert shares["a1"] == pytest.approx(0.4, abs=0.03)


def test_a_slow_start_alone_takes_everything() -> None:
    """With nobody else there, no lot is drawn; nobody else is tried twice for its sake either."""
    moment = out("a1", "a2", standing=Standing(share=0.1))
    assert sorted(order(plan(config({"a": 2})), moment)) == ["a1", "a2"]
    steps = plan(config({"a": 1, "b": 1}))
    steps.give_back(take(steps, "a1", Known()))
    assert order(steps, out("b1", standing=Standing(share=0.0))) == ["b1", "a1"]


# Failure rates.


@pytest.mark.parametrize(
    ("keys", "most", "rated", "left"),
    [
        (1, 0.5, "a1", "a1"),
        (2, 0.5, "a1", "a2"),
        (2, 0.5, "a1 a2", "a2"),
        (3, 0.5, "a1 a2", "a2 a3"),
        (3, 0.5, "a1 a2 a3", "a2 a3"),
        (4, 0.5, "a1 a2 a3", "a3 a4"),
        (4, 0.5, "a1 a2 a3 a4", "a3 a4"),
        (4, 0.0, "a1 a2 a3 a4", "a1 a2 a3 a4"),
        (4, 1.0, "a1 a2 a3 a4", ""),
    ],
)
def test_rates_keep_only_a_part_away(keys: int, most: float, rated: str, left: str) -> None:
    """At most that part of a model's targets, half by default, and the worst of them; never the only one."""
    standings = {key: Standing(until=LATER - place, rate=True) for place, key in enumerate(rated.split(" "))}
    made = config({"a": keys}, health={"max_ejected": most})
    assert sorted(order(plan(made), Known(standings))) == left.split()


def test_the_id_decides_between_two_alike() -> None:
    """So that all replicas spare the same one."""
    made = config({"a": 2})
    first, second = sorted(model(made).targets, key=lambda target: target.id)
    for seed in range(5):
        moment = out("a1", "a2", standing=RATED)
        assert order(plan(made, seed), moment) == [key_of(second)]
    assert key_of(first) != key_of(second)


@pytest.mark.parametrize("standing", [EJECTED, WAITS, HALF])
def test_who_is_out_for_another_reason_counts(standing: Standing) -> None:
    """With half of the targets out for their failures in a row, a failure rate keeps nobody away."""
    made = config({"a": 4})
    moment = Known({"a1": standing, "a2": standing, "a3": RATED})
    assert sorted(order(plan(made), moment)) == ["a3", "a4"]


def test_those_tried_already_count_as_well() -> None:
    """What a request has behind it does not change how many may be away."""
    steps = plan(config({"a": 2}))
    take(steps, "a1", out("a2"))
    assert order(steps, out("a2", standing=RATED)) == []


def test_a_spared_one_is_probed_as_well() -> None:
    """Half open, it serves without a probe, and one that is granted is what it takes to close it."""
    moment = out("a1", standing=Standing(trial=("it",), rate=True))
    steps = plan(config({"a": 1}))
    assert [key_of(target) for target in steps.wanted(moment)] == ["a1"]
    assert order(steps, moment) == ["a1"]


def test_who_dies_of_its_brownout_is_spared_no_more() -> None:
    """Its requests are refused at once but for the probes: that it was better than none is over."""

    async def scenario() -> None:
        brownout = [Answer([reply()]), Answer([error("No.")], 500)] * 10
        dead = [Answer([error("No.")], 500)] * 200
        made = config({"a": 1}, retry={"attempts": 1}, queue={"max_wait": "0s"})
        scene = Scene(made, {"a": brownout + dead})
        for _ in range(20):
            assert (await scene.ask(request())).status in (200, 500, 502)
        for minute, most in enumerate((20, 4, 3)):
            before = len(scene.upstream.calls)
            for _ in range(60):
                await scene.ask(request())
                await asyncio.sleep(1.0)
            assert 0 < len(scene.upstream.calls) - before <= most, minute

    run(scenario())


def test_a_spared_one_is_no_reason_to_probe_a_lesser_one() -> None:
    """It may be tried, so nobody of a higher priority number is wanted in its stead."""
    made = config({"a": 1, "b": 1}, entries={"b": {"priority": 2}})
    moment = Known({"a1": RATED, "b1": HALF})
    assert plan(made).wanted(moment) == []


# Once more.


def test_who_is_given_back_comes_after_who_is_left() -> None:
    """Even at a lower priority number; and once only."""
    made = config({"a": 1, "b": 1}, entries={"b": {"priority": 2}})
    steps = plan(made)
    steps.give_back(take(steps, "a1"))
    assert order(steps) == ["b1", "a1"]
    assert not steps.open


def test_a_key_without_room_is_asked_after_its_time() -> None:
    """Not before, however calm it is, and from that millisecond on."""
    steps = plan(config({"a": 1}))
    steps.give_back(take(steps, "a1"), after=NOW + 500)
    assert steps.next(CALM) is None
    assert steps.open
    assert steps.next(Known(at=NOW + 499)) is None
    assert order(steps, Known(at=NOW + 500)) == ["a1"]


def test_who_asked_for_time_is_asked_after_its_window() -> None:
    """What is known of it says when."""
    steps = plan(config({"a": 1}))
    steps.give_back(take(steps, "a1"))
    moment = out("a1")
    assert steps.next(moment) is None
    moment.at = LATER
    assert order(steps, moment) == ["a1"]


# When.


def test_ready_at_is_the_first_of_those_left() -> None:
    """Windows, ejections and keys without room alike; what was tried and not given back does not count."""
    moment = Known({"a1": WAITS, "a2": Standing(until=NOW + 9_000)})
    steps = plan(config({"a": 2}))
    assert steps.ready_at(moment) == NOW + 9_000
    first = take(steps, "a2", out("a1"))
    assert steps.ready_at(moment) == LATER
    steps.give_back(first, after=NOW + 20_000)
    assert steps.ready_at(moment) == NOW + 20_000
    steps.give_back(first, after=NOW + 1)
    assert steps.ready_at(moment) == NOW + 9_000


@pytest.mark.parametrize("standing", [READY, HALF, PROBED, Standing(until=NOW - 5)])
def test_what_hangs_on_others_is_ready_now(standing: Standing) -> None:
    """A probe that somebody makes and a place that gets free have no time of their own."""
    moment = Known({"a1": WAITS, "a2": standing}, filled={"a2"})
    steps = plan(config({"a": 2}))
    assert (steps.ready_at(moment), steps.back_at(moment)) == (NOW, NOW)


def test_with_nobody_left_there_is_no_time() -> None:
    """Then it is not by waiting that anything comes."""
    steps = plan(config({"a": 1}))
    take(steps, "a1")
    assert (steps.open, steps.ready_at(out("a1"))) == (False, NOW)
    assert not steps.limited(out("a1"))


@pytest.mark.parametrize(
    ("standings", "found"),
    [
        ({}, None),
        ({"a1": HALF}, None),
        ({"a1": WAITS}, LATER),
        ({"a1": WAITS, "a2": Standing(until=NOW + 9_000)}, NOW + 9_000),
        ({"a1": PROBED}, LATER),
        ({"a1": WAITS, "a2": Standing(trial=("it",), probed_until=NOW + 9_000)}, NOW + 9_000),
        ({"a1": Standing(until=NOW), "a2": Standing(trial=("it",), probed_until=NOW)}, None),
        ({"a1": RATED, "a2": RATED}, LATER),
    ],
)
def test_next_at_is_when_time_alone_changes_something(
    standings: dict[str, Standing], found: int | None
) -> None:
    """A window, an ejection or the lease of a probe is over; what is ready already is no change."""
    assert plan(config({"a": 2})).next_at(Known(standings)) == found


def test_next_at_knows_when_a_key_may_be_asked() -> None:
    """That too comes by itself."""
    steps = plan(config({"a": 1}))
    steps.give_back(take(steps, "a1"), after=NOW + 500)
    assert steps.next_at(CALM) == NOW + 500


def test_back_at_is_the_first_of_all() -> None:
    """Those tried already count too: another request may try them."""
    moment = Known({"a1": WAITS, "a2": Standing(until=NOW + 9_000)})
    steps = plan(config({"a": 2}))
    take(steps, "a2", out("a1"))
    assert (steps.ready_at(moment), steps.back_at(moment)) == (LATER, NOW + 9_000)


@pytest.mark.parametrize(
    ("standings", "limited"),
    [
        ({"a1": WAITS, "a2": Standing(until=LATER + 1)}, True),
        ({"a1": Standing(until=LATER + 1, backing_off=True), "a2": EJECTED}, False),
        ({"a1": WAITS, "a2": HALF}, False),
        ({"a1": EJECTED, "a2": EJECTED}, False),
        ({}, False),
    ],
)
def test_whether_it_is_a_limit_that_keeps_the_first_away(
    standings: dict[str, Standing], limited: bool
) -> None:
    """What ends first says what the whole is kept waiting by."""
    assert plan(config({"a": 2})).limited(Known(standings)) is limited


def test_a_key_without_room_is_a_limit() -> None:
    """As long as it has none, and nobody else comes sooner."""
    steps = plan(config({"a": 1, "b": 1}))
    steps.give_back(take(steps, "a1", out("b1")), after=NOW + 500)
    assert steps.limited(out("b1", standing=EJECTED))
    assert not steps.limited(out("b1", standing=Standing(until=NOW + 400)))
    assert not steps.limited(CALM)


def test_a_spared_one_is_ready_now() -> None:
    """Its failure rate keeps it from nothing: if it is full, a place is what is waited for."""
    moment = Known({"a1": RATED}, filled={"a1"})
    steps = plan(config({"a": 1}))
    assert (steps.ready_at(moment), steps.back_at(moment), steps.limited(moment)) == (NOW, NOW, False)


@pytest.mark.parametrize(
    ("moment", "found"),
    [
        (CALM, True),
        (out("a1"), True),
        (out("a1", "a2"), False),
        (Known({"a1": HALF, "a2": WAITS}), False),
        (Known({"a1": HALF, "a2": WAITS}, grants={"a1"}), True),
        (Known({"a1": WAITS}, filled={"a2"}), False),
        (Known({"a1": RATED, "a2": EJECTED}), True),
    ],
)
def test_anybody_is_whoever_may_be_tried_now(moment: Known, found: bool) -> None:
    """Of all targets, those that this request has tried as well."""
    steps = plan(config({"a": 2}))
    assert steps.anybody(moment) is found
    assert len(order(steps)) == 2
    assert steps.anybody(moment) is found
