import collections
import random

import pytest
from fakes.configs import MODEL, config

from proxy import health as healths
from proxy.config.settings import Config
from proxy.health import Effect, Health, Report
from proxy.routing import Plan, earliest
from proxy.targets import Target, models

NOW = 1_000.0


def plan(made: Config, seed: int = 1, in_flight: dict[str, int] | None = None) -> Plan:
    """A plan over the one model."""
    return Plan(models(made)[MODEL], random.Random(seed), in_flight or {})


def order(steps: Plan, health: Health | None = None) -> list[str]:
    """The keys of the targets in the order they come."""
    found = []
    while (target := steps.next(health or Health(), NOW)) is not None:
        found.append(key_of(target))
    return found


def key_of(target: Target) -> str:
    """The key of a target."""
    return target.headers[-1][1].removeprefix("Bearer ")


def out(made: Config, *numbers: int) -> Health:
    """Health in which some of the targets back off for a minute, the first of them the longest."""
    health = Health()
    for place, number in enumerate(numbers):
        target = models(made)[MODEL].targets[number]
        report = Report(Effect.BACK_OFF, 60.0 - place)
        health = healths.apply(health, target, report, NOW, random.Random(1))
    return health


@pytest.mark.parametrize("strategy", ["weighted", "ordered", "least_busy"])
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


def test_what_is_out_is_not_picked() -> None:
    """Targets that back off are left out; the next priority takes their place."""
    made = config({"a": 2, "b": 1}, entries={"b": {"priority": 2}})
    assert order(plan(made), out(made, 0)) == ["a2", "b1"]
    assert order(plan(made), out(made, 0, 1)) == ["b1"]
    assert order(plan(made), out(made, 0, 1, 2)) == []


def test_what_recovers_may_still_be_picked() -> None:
    """A target that was out when the request began is not lost for it."""
    made = config({"a": 1})
    steps = plan(made)
    assert steps.next(out(made, 0), NOW) is None
    assert steps.next(out(made, 0), NOW + 61) is not None


def test_a_failed_origin_goes_to_the_end() -> None:
    """Even before its own priority's turn is over, but it is not given up."""
    made = config({"a": 3, "b": 1}, entries={"b": {"priority": 9}})
    steps = plan(made)
    first = steps.next(Health(), NOW)
    assert first is not None
    steps.demote_origin("http://a.test")
    rest = order(steps)
    assert rest[0] == "b1"
    assert sorted([key_of(first), *rest[1:]]) == ["a1", "a2", "a3"]


def test_weights_share_the_requests() -> None:
    """Three to one comes out as about three to one, keys sharing their entry's part evenly."""
    made = config({"a": 2, "b": 1}, entries={"a": {"weight": 3}}, strategy="weighted")
    draw = random.Random(5)
    firsts = collections.Counter(order(Plan(models(made)[MODEL], draw, {}))[0] for _ in range(4_000))
    assert firsts["a1"] / 4_000 == pytest.approx(0.375, abs=0.03)
    assert firsts["a2"] / 4_000 == pytest.approx(0.375, abs=0.03)
    assert firsts["b1"] / 4_000 == pytest.approx(0.25, abs=0.03)


class Highest(random.Random):
    """Draws the highest there is, beyond what the sum of weights can take apart."""

    def random(self) -> float:
        """One, which rounding may yield."""
        return 1.0


def test_rounding_never_leaves_a_draw_without_a_target() -> None:
    """A draw at the very end of the weights is the last target."""
    made = config({"a": 1, "b": 1}, strategy="weighted")
    target = Plan(models(made)[MODEL], Highest(), {}).next(Health(), NOW)
    assert target is not None
    assert target.provider == "b"


def test_least_busy_takes_the_idlest() -> None:
    """The target with the fewest requests in flight comes first."""
    made = config({"a": 1, "b": 1, "c": 1}, strategy="least_busy")
    busy = dict(zip((t.id for t in models(made)[MODEL].targets), (2, 1, 3), strict=True))
    assert order(plan(made, in_flight=busy)) == ["b1", "a1", "c1"]


def test_earliest() -> None:
    """When the first of several targets may be tried again."""
    made = config({"a": 2})
    targets = models(made)[MODEL].targets
    assert earliest(targets, out(made, 0, 1)) == NOW + 59
    assert earliest(targets, out(made, 0)) == 0.0
