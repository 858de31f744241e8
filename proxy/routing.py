"""Which target is tried next: pure decisions over the targets of a model and what is known of them.

A `Plan` belongs to one request. It is asked for one target at a time, so that each pick sees the health
of that moment, including what this request's own attempts have just taught. Its rules, in order:

1. A target tried in this request is not picked again while another is left.
2. A target that is backing off, quarantined or ejected is not picked at all.
3. Targets whose origin failed in this request (transport error or 5xx) come after all others.
4. A lower priority number comes first.
5. Inside a priority the model's strategy decides: `weighted` draws by weight, `ordered` takes the first
   in file order, `least_busy` the one with the fewest requests in flight for its weight (ties are drawn).
"""

import random
from collections.abc import Callable, Mapping, Sequence

from proxy.health import Health
from proxy.targets import Model, Target

InFlight = Mapping[str, int]
"""Requests in flight per target id, as this replica sees them."""


class Plan:
    """The order of tries of one request over the targets that can serve it."""

    def __init__(self, model: Model, draw: random.Random, in_flight: InFlight) -> None:
        self.targets = model.targets
        self._left = list(model.targets)
        self._pick = _STRATEGIES[model.strategy]
        self._draw = draw
        self._in_flight = in_flight
        self._failed_origins: set[str] = set()

    def next(self, health: Health, now: float) -> Target | None:
        """The target to try next, None where none is left that may be tried. Takes it off the plan."""
        ready = [target for target in self._left if health.ready_at(target) <= now]
        if not ready:
            return None
        if self._failed_origins:
            ready = [t for t in ready if t.origin not in self._failed_origins] or ready
        if len(ready) > 1:
            first = min(target.priority for target in ready)
            ready = [target for target in ready if target.priority == first]
        chosen = ready[0] if len(ready) == 1 else self._pick(ready, self._draw, self._in_flight)
        self._left.remove(chosen)
        return chosen

    def demote_origin(self, origin: str) -> None:
        """Put the other targets of `origin` at the end: it has just failed as a whole."""
        self._failed_origins.add(origin)


def earliest(targets: Sequence[Target], health: Health) -> float:
    """When the first of `targets` may be tried again, in monotonic seconds."""
    return min(health.ready_at(target) for target in targets)


def _weighted(ready: Sequence[Target], draw: random.Random, _in_flight: InFlight) -> Target:
    point = draw.random() * sum(target.weight for target in ready)
    for target in ready:
        point -= target.weight
        if point < 0:
            return target
    return ready[-1]


def _ordered(ready: Sequence[Target], draw: random.Random, in_flight: InFlight) -> Target:
    """The first entry; its keys are spread like anybody's."""
    first = ready[0]
    return _weighted(
        [t for t in ready if (t.label, t.origin) == (first.label, first.origin)], draw, in_flight
    )


def _least_busy(ready: Sequence[Target], draw: random.Random, in_flight: InFlight) -> Target:
    loads = [in_flight.get(target.id, 0) / target.weight for target in ready]
    least = min(loads)
    return _weighted([t for t, load in zip(ready, loads, strict=True) if load == least], draw, in_flight)


_STRATEGIES: dict[str, Callable[[Sequence[Target], random.Random, InFlight], Target]] = {
    "weighted": _weighted,
    "ordered": _ordered,
    "least_busy": _least_busy,
}
