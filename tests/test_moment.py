"""Tests of `proxy.moment`: what is seen at a pick is noted, and can be seen again."""

import random

import msgspec
from fakes.configs import MODEL, config

from proxy.health import READY, Standing
from proxy.moment import Moment, Noting, Pick, Remembered, Sight
from proxy.routing import Plan
from proxy.targets import Model, Target, models

NOW = 1_800_000_000_000
WAITS = Standing(until=NOW + 5000, backing_off=True)
HALF = Standing(trial=("x", "y"), probed_until=NOW + 20, share=0.25)
DRAINED = Standing(until=1 << 53, drained=True)
RATED = Standing(until=NOW + 10, rate=True)


class Seen:
    """A moment in which time goes on, and in which things change from one look to the next."""

    calm = False
    tripped = True

    def __init__(self, *standings: Standing) -> None:
        self._standings = standings
        self.looks: list[str] = []

    def now(self) -> int:
        """A millisecond later each time."""
        self.looks.append("now")
        return NOW + self.looks.count("now") - 1

    def standing(self, target: Target) -> Standing:
        """The next of them, for whoever is asked about."""
        self.looks.append(target.id)
        return self._standings[(self.looks.count(target.id) - 1) % len(self._standings)]

    def full(self, target: Target) -> bool:
        """Whether its key ends so."""
        return target.key_id.endswith("f")

    def granted(self, target: Target) -> bool:
        """The same."""
        return not self.full(target)

    def load(self, target: Target) -> float:
        """A figure of its own."""
        return target.weight * 3

    def latency(self, target: Target, *, whole: bool) -> float:
        """Another."""
        return 1.5 if whole else 0.5


def model(keys: int = 3) -> Model:
    """One with as many targets."""
    return models(config({"a": keys}, strategy="least_latency"))[MODEL]


def test_all_of_a_pick_is_at_one_time() -> None:
    """And each target is looked at once, however often it is asked about."""
    seen, targets = Seen(WAITS, READY), model().targets
    noting = Noting(seen, targets)
    assert noting.now() == noting.now() == NOW
    assert noting.standing(targets[0]) == noting.standing(targets[0]) == WAITS
    assert seen.looks == ["now", targets[0].id]
    assert (noting.calm, noting.tripped) == (False, True)
    assert list(noting.sights) == [0]


def test_what_was_seen_can_be_seen_again() -> None:
    """All of it, of each target that was looked at; of a half-open one not which names are."""
    targets = model().targets
    for standing in (WAITS, HALF, DRAINED, RATED, READY):
        seen = Seen(standing)
        noting = Noting(seen, targets)
        moments: list[Moment] = [noting]
        told = [[_look(moment, target) for target in targets] for moment in moments]
        pick = msgspec.msgpack.decode(
            msgspec.msgpack.encode(Pick(0, [], noting.now(), noting.calm, noting.sights)), type=Pick
        )
        again = Remembered(pick, [target.id for target in targets])
        assert [[_look(again, target) for target in targets]] == told
        assert (again.now(), again.calm) == (NOW, False)
        assert again.tripped == (standing != READY)


def _look(moment: Moment, target: Target) -> tuple[object, ...]:
    standing = moment.standing(target)
    return (
        msgspec.structs.replace(_sight(standing)),
        moment.full(target),
        moment.granted(target),
        moment.load(target),
        moment.latency(target, whole=True),
    )


def _sight(standing: Standing) -> Sight:
    sight = Sight()
    sight.see(standing)
    return sight


def test_where_nothing_is_to_be_seen_nothing_is_noted() -> None:
    """One target in trouble for weeks does not make every decision as long as all targets."""
    targets = model().targets
    noting = Noting(Seen(READY), targets)
    for target in targets:
        noting.standing(target)
        assert not noting.full(target)
    assert noting.sights == {}
    assert noting.granted(targets[1])
    assert noting.sights == {1: Sight(granted=True)}


def test_of_whom_nobody_looked_at_nothing_is_known() -> None:
    """Nor of targets of another plan."""
    (first, second) = model(2).targets
    pick = Pick(0, [], NOW, calm=False, sights={0: Sight(until=NOW + 1)})
    moment = Remembered(pick, [first.id, second.id])
    (other,) = models(config({"z": 1}))[MODEL].targets
    for target in (second, other):
        assert moment.standing(target) == READY
        assert not moment.full(target)
        assert not moment.granted(target)
        assert (moment.load(target), moment.latency(target, whole=False)) == (0.0, 0.0)
    calm = Remembered(Pick(0), [first.id])
    assert (calm.calm, calm.tripped, calm.standing(first)) == (True, False, READY)


def test_the_same_pick_falls_the_same_way() -> None:
    """From what was noted and drawn, for any moment."""
    chosen = model(5)
    for seed in range(50):
        plan = Plan(chosen, random.Random(seed))
        first = plan.next(Seen(*random.Random(seed).choices([WAITS, HALF, RATED, READY], k=4)))
        (pick,) = plan.picks
        draw = random.Random(seed)
        again = Plan(chosen, draw).next(Remembered(pick, [target.id for target in chosen.targets]))
        assert again is first
