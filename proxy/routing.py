"""Which target is tried next: pure decisions over the targets of a model and what is known of them.

A `Plan` belongs to one request. It is asked for one target at a time, so that each pick sees the health
of that moment, including what this request's own attempts have just taught. Its rules, in order:

1. A target tried in this request is not picked again while another may be; one that asked for time, or
   whose key had no room, may be picked again after that.
2. A target that is backing off, ejected, quarantined or full is not picked at all. Circuits that were opened
   for their failure rate keep at most a part of a model's targets away.
3. A half-open target whose probe this replica was granted is picked first: the request is the probe.
4. Targets whose origin failed in this request (transport error or 5xx) come after all others.
5. A lower priority number comes first. A target that starts slowly takes part in its share of the draws.
6. Inside a priority the model's strategy decides: `weighted` draws by weight, `ordered` takes the first
   in file order, `least_busy` the one with the fewest requests in flight for its weight, `least_latency` the
   one with the shortest time to first content, times what is in flight. Ties are drawn.
"""

import bisect
import enum
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from proxy.health import Standing
from proxy.moment import Came, Known, Moment, Noting, Pick
from proxy.targets import Model, Target

MOST: Final = 256
"""Picks that are noted of one request, or two of each target; beyond it a replay is not to the letter."""


class Reason(enum.StrEnum):
    """Why a target was not picked at one moment."""

    LATER = "later"
    FULL = "full"
    DRAINED = "drained"
    BACKING_OFF = "backing_off"
    EJECTED = "ejected"
    REFUSED = "refused"
    HALF_OPEN = "half_open"
    SLOW_START = "slow_start"
    PROBE = "probe"
    ORIGIN = "origin"
    PRIORITY = "priority"
    STRATEGY = "strategy"
    DRAW = "draw"


Told = Callable[[Target, Reason, float], None]
"""Hears of a target that is left out at a pick, why, and the figure that decided it (see `Plan.next`)."""


class Plan:
    """The order of tries of one request over the targets that serve it. `whole`: it asks for no stream.

    `picks` are those that were made, and what came of them: with these the same plan can be made again. What
    changed nothing is not among them: the waiting of a request may be long, and its picks many. Beyond `MOST`
    only the last of those that came to no try is.
    """

    def __init__(self, model: Model, draw: random.Random, *, whole: bool = False) -> None:
        self.targets = model.targets
        self._most_ejected = model.most_ejected
        self.picks: list[Pick] = []
        self._left = list(model.targets)
        self._again: list[Target] = []
        self._repeated = False
        self._after: dict[str, int] = {}
        self._costs = _COSTS[model.strategy]
        self._draw = draw
        self._draws: list[float] = []
        self.whole = whole
        self._failed_origins: set[str] = set()

    def next(self, moment: Moment, told: Told | None = None) -> Target | None:
        """The target to try next, None where none is left that may be tried now. Takes it off the plan.

        `told` hears of each that is left out: with a deadline (cluster's ms) where time will mend that, with
        its share, priority, cost or weight where that decided.
        """
        looks, calm = self._costs in _LOOKING, moment.calm
        noting = Noting(moment, self.targets) if looks or self._after or not calm else None
        self._draws = []
        repeated, self._repeated = self._repeated, False
        chosen = self._next(noting or moment, told, calm=calm)
        pick = Pick(_place(chosen, self.targets), self._draws)
        if noting is not None:
            pick.at, pick.calm, pick.sights = noting.now(), noting.calm, noting.sights
        self._note(pick, repeated=repeated)
        return chosen

    def _note(self, pick: Pick, *, repeated: bool) -> None:
        """`repeated`: the last one fell to a target that had been given back."""
        last = self.picks[-1] if self.picks else None
        if last is not None and last.came is not Came.TRIED:
            unchanged = last.target < 0 or (repeated and last.came is Came.CROWDED)
            if unchanged or len(self.picks) >= max(MOST, 2 * len(self.targets)):
                self.picks[-1] = pick
                return
        self.picks.append(pick)

    def came(self, how: Came, after: int = 0) -> None:
        """What came of the last pick."""
        self.picks[-1].came, self.picks[-1].after = how, after

    def tried(self) -> None:
        """An attempt is made on what was picked last."""
        self.picks[-1].came = Came.TRIED

    def once_more(self, target: Target) -> None:
        """One that was tried is tried again, as a last resort."""
        self._repeated = False
        self.picks.append(Pick(_place(target, self.targets), again=True))

    def _next(self, moment: Moment, told: Told | None, *, calm: bool) -> Target | None:
        for untried in (self._left, self._again):
            ready = untried if calm and not self._after else self._ready(untried, moment, told)
            if ready:
                chosen = ready[0] if len(ready) == 1 else self._choose(ready, moment, told, calm=calm)
                untried.remove(chosen)
                self._repeated = untried is self._again
                return chosen
        return None

    def wanted(self, moment: Moment) -> list[Target]:
        """Half-open targets that this request would have taken, if somebody were to probe them."""
        now = moment.now()
        spared = self._spared(moment, now) if moment.tripped else frozenset()
        halves: list[tuple[Target, Standing]] = []
        ready: list[tuple[Target, Standing]] = []
        for target in (*self._left, *self._again):
            standing = moment.standing(target)
            if self._earliest(target, moment, now, spared) > now or moment.full(target):
                continue
            if standing.trial and standing.until <= now:
                halves.append((target, standing))
            if not standing.trial or target.id in spared:
                ready.append((target, standing))
        best = min((target.priority for target, _ in ready), default=None)
        return [
            target
            for target, standing in halves
            if standing.probed_until <= now and (best is None or target.priority <= best)
        ]

    def give_back(self, target: Target, after: int = 0) -> None:
        """`target` may be picked again: at `after` (cluster's ms), and when its window is over."""
        bisect.insort(self._again, target, key=lambda other: _place(other, self.targets))
        if after:
            self._after[target.id] = after

    def demote_origin(self, origin: str) -> None:
        """Put the other targets of `origin` at the end: it has just failed as a whole."""
        self._failed_origins.add(origin)

    @property
    def open(self) -> bool:
        """Whether any target is left that may be tried some day."""
        return bool(self._left or self._again)

    def ready_at(self, moment: Moment) -> int:
        """When the first of those left may be tried: now, where that hangs on others and not on time."""
        now = moment.now()
        spared, left = self._spared(moment, now), (*self._left, *self._again)
        return min((self._earliest(target, moment, now, spared) for target in left), default=now)

    def next_at(self, moment: Moment) -> int | None:
        """When time alone will next change something: a target may be tried, or its probe has lapsed."""
        now = moment.now()
        spared, left = self._spared(moment, now), (*self._left, *self._again)
        times = [self._earliest(target, moment, now, spared) for target in left]
        times += [moment.standing(target).probed_until for target in left]
        return min((time for time in times if time > now), default=None)

    def back_at(self, moment: Moment) -> int:
        """When the first of all its targets may be tried: then another request has a chance."""
        now = moment.now()
        spared = self._spared(moment, now)
        return min(self._earliest(target, moment, now, spared) for target in self.targets)

    def anybody(self, moment: Moment) -> bool:
        """Whether any of all its targets may be tried now."""
        now = moment.now()
        spared = self._spared(moment, now)
        return any(self._free(target, moment, now, spared) for target in self.targets)

    def limited(self, moment: Moment) -> bool:
        """Whether it is a limit, a provider's or its key's, that keeps the first of those left away."""
        now = moment.now()
        spared, left = self._spared(moment, now), (*self._left, *self._again)
        first = min(left, key=lambda target: self._earliest(target, moment, now, spared), default=None)
        if first is None:
            return False
        return moment.standing(first).backing_off or self._after.get(first.id, 0) > now

    def _spared(self, moment: Moment, now: int) -> frozenset[str]:
        return spared_by_rate(self.targets, moment, now, self._most_ejected)

    def _earliest(self, target: Target, moment: Moment, now: int, spared: frozenset[str]) -> int:
        until = 0 if target.id in spared else moment.standing(target).until
        return max(until, self._after.get(target.id, 0), now)

    def _ready(self, targets: Sequence[Target], moment: Moment, told: Told | None) -> list[Target]:
        """Those that may be tried now. Who starts slowly is left out by lot, if others are there."""
        now = moment.now()
        spared = self._spared(moment, now)
        ready: list[Target] = []
        slow: list[Target] = []
        for target in targets:
            standing = self._free(target, moment, now, spared)
            if standing is None:
                if told is not None:
                    told(target, *self._barred(target, moment, now))
                continue
            late = standing.share < 1.0 and self._random() >= standing.share
            (slow if late else ready).append(target)
        if ready and told is not None:
            for target in slow:
                told(target, Reason.SLOW_START, moment.standing(target).share)
        return ready or slow

    def _free(self, target: Target, moment: Moment, now: int, spared: frozenset[str]) -> Standing | None:
        """How it stands; None where it may not be tried now."""
        if self._after.get(target.id, 0) > now or moment.full(target):
            return None
        standing = moment.standing(target)
        barred = standing.until > now or (standing.trial and not moment.granted(target))
        return None if barred and target.id not in spared else standing

    def _barred(self, target: Target, moment: Moment, now: int) -> tuple[Reason, float]:
        """Why it may not be tried now, and until when where that is known."""
        after, standing = self._after.get(target.id, 0), moment.standing(target)
        if after > now:
            return Reason.LATER, after
        if moment.full(target):
            return Reason.FULL, 0
        if standing.drained:
            return Reason.DRAINED, 0
        if standing.until > now:
            if standing.backing_off:
                return Reason.BACKING_OFF, standing.until
            return (Reason.REFUSED if standing.refused else Reason.EJECTED), standing.until
        return Reason.HALF_OPEN, standing.probed_until

    def _choose(self, ready: Sequence[Target], moment: Moment, told: Told | None, *, calm: bool) -> Target:
        if not calm:
            probes = [target for target in ready if moment.granted(target)]
            if probes:
                _tell(told, ready, probes[:1], Reason.PROBE, lambda _: 0)
                return probes[0]
        if self._failed_origins:
            others = [target for target in ready if target.origin not in self._failed_origins] or ready
            _tell(told, ready, others, Reason.ORIGIN, lambda _: 0)
            ready = others
        first = min([target.priority for target in ready])
        best = [target for target in ready if target.priority == first]
        _tell(told, ready, best, Reason.PRIORITY, lambda target: target.priority)
        return best[0] if len(best) == 1 else self._cheapest(best, moment, told)

    def _cheapest(self, ready: Sequence[Target], moment: Moment, told: Told | None) -> Target:
        costs = self._costs(self, ready, moment)
        least = min(costs)
        ties = [target for target, cost in zip(ready, costs, strict=True) if cost == least]
        chosen = self._drawn(ties)
        if told is not None:
            cost_of = {target.id: cost for target, cost in zip(ready, costs, strict=True)}
            _tell(told, ready, ties, Reason.STRATEGY, lambda target: cost_of[target.id])
            _tell(told, ties, [chosen], Reason.DRAW, lambda target: target.weight)
        return chosen

    def _drawn(self, ties: Sequence[Target]) -> Target:
        """One of them, by weight."""
        point = self._random() * sum([target.weight for target in ties])
        for target in ties:
            point -= target.weight
            if point < 0:
                return target
        return ties[-1]

    def _random(self) -> float:
        drawn = self._draw.random()
        self._draws.append(drawn)
        return drawn


def _place(chosen: Target | None, targets: Sequence[Target]) -> int:
    for place, target in enumerate(targets):
        if target is chosen:
            return place
    return -1


def _tell(
    told: Told | None,
    before: Sequence[Target],
    after: Sequence[Target],
    reason: Reason,
    figure: Callable[[Target], float],
) -> None:
    """Tell of those that are not there any more."""
    if told is None or len(after) == len(before):
        return
    kept = {id(target) for target in after}
    for target in before:
        if id(target) not in kept:
            told(target, reason, figure(target))


def spared_by_rate(targets: Sequence[Target], known: Known, now: int, most: float) -> frozenset[str]:
    """Targets that stay in use although their failure rate is high: too many would be out at once.

    `most` is the part of them that may be out. The worst stay out, which are those that have to for the
    longest; of two alike the id decides.
    """
    standings = [(target, known.standing(target)) for target in targets]
    rated = [(target, standing) for target, standing in standings if standing.rate]
    if not rated:
        return frozenset()
    out = sum(
        not standing.rate and (standing.until > now or bool(standing.trial)) for _, standing in standings
    )
    room = max(int(len(targets) * most) - out, 0)
    rated.sort(key=lambda one: (-one[1].until, one[0].id))
    return frozenset(target.id for target, _ in rated[room:])


def _weighted(_plan: Plan, ready: Sequence[Target], _moment: Moment) -> list[float]:
    return [0.0] * len(ready)


def _ordered(_plan: Plan, ready: Sequence[Target], _moment: Moment) -> list[float]:
    """The first entry; its keys are spread like anybody's."""
    first = (ready[0].label, ready[0].origin)
    return [float((target.label, target.origin) != first) for target in ready]


def _least_busy(_plan: Plan, ready: Sequence[Target], moment: Moment) -> list[float]:
    return [moment.load(target) for target in ready]


def _least_latency(plan: Plan, ready: Sequence[Target], moment: Moment) -> list[float]:
    """Finagle's cost: what a request takes, times how many are there already.

    Who is unknown is tried by one request; until that has its answer it counts as the slowest: it may hang.
    """
    known = [moment.latency(target, whole=plan.whole) for target in ready]
    slowest = max(known) or 1.0
    return [
        (seconds or (slowest if moment.load(target) else 0.0)) * (moment.load(target) + 1.0 / target.weight)
        for seconds, target in zip(known, ready, strict=True)
    ]


_COSTS: Mapping[str, Callable[[Plan, Sequence[Target], Moment], list[float]]] = {
    "weighted": _weighted,
    "ordered": _ordered,
    "least_busy": _least_busy,
    "least_latency": _least_latency,
}
"""What a strategy takes a target for; the lowest is picked, and ties are drawn by weight."""

_LOOKING = frozenset({_least_busy, _least_latency})
"""Strategies that look at the targets even where nothing is known against any."""
