"""A decision made again: what was seen, drawn and answered is as it was noted; the configuration may differ.

Under the same configuration the same comes out, to the byte. Under another one the same requests meet the
same providers in the same state: what a target was seen to be and what it answered holds for it, wherever it
comes now. Of a target that was not asked then nobody knows what it would have answered: there the course
ends. What was said in a request is not kept, so what could not be said to a target
then is taken not to be sayable to it now. Limits refuse what they refused: their fill is not replayed.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from proxy import targets
from proxy.access import model_of
from proxy.decision import Decision, Try
from proxy.moment import Came, Pick, Remembered
from proxy.passages import serving
from proxy.routing import Plan, Reason
from proxy.snapshot import Snapshot
from proxy.targets import Model, Target

OPEN: Final = "open"
"""The outcome where nobody knows: it would have gone where it did not go then."""

_UNKNOWN: Final = "model_not_found"

Listener = Callable[[int, Target, Reason, float], None]
"""Hears, at each pick (by number), of the targets that are left out, why, and the figure that decided it."""


class Lots(random.Random):
    """Draws that were made before; from then on one that is no worse than another."""

    def __init__(self) -> None:
        super().__init__(0)
        self._left: Iterator[float] = iter(())

    def again(self, draws: Sequence[float]) -> None:
        """The next draws are these."""
        self._left = iter(draws)

    def random(self) -> float:
        """The next of them."""
        return next(self._left, 0.5)


def replayed(made: Decision, snapshot: Snapshot, listener: Listener | None = None) -> Decision:
    """`made`, decided anew under `snapshot`."""
    tenant = snapshot.tenants.named(made.client)
    if tenant is None:
        return _refused(made, snapshot, 401, "invalid_api_key")
    if not made.targets and made.error != _UNKNOWN:  # what else was wrong with it is not kept
        return msgspec.structs.replace(made, config=snapshot.config_hash)
    model = model_of(tenant, snapshot, made.asked)
    if model is None:
        return _refused(made, snapshot, 404, _UNKNOWN)
    served = serving(model, made.endpoint)
    if not made.targets:
        ids = tuple(target.id for target in served.targets)
        return _open(msgspec.structs.replace(made, config=snapshot.config_hash, targets=ids))
    if not served.targets:
        return _refused(made, snapshot, 400, "unsupported_endpoint")
    return _Course(made, snapshot, served).run(listener)


def _refused(made: Decision, snapshot: Snapshot, status: int, error: str) -> Decision:
    if (made.status, made.error) == (status, error):
        return msgspec.structs.replace(made, config=snapshot.config_hash)
    return msgspec.structs.replace(
        made,
        picks=(),
        tries=(),
        limited=None,
        outcome="refused",
        status=status,
        error=error,
        config=snapshot.config_hash,
        targets=(),
    )


class _Course:
    """One request's way through a plan, by what is known of the way it took."""

    def __init__(self, made: Decision, snapshot: Snapshot, model: Model) -> None:
        self._made = made
        self._snapshot = snapshot
        self._lots = Lots()
        self._plan = Plan(model, self._lots, whole=not made.stream)
        self._ids = tuple(target.id for target in model.targets)
        self._came, self._tried = _by_target(made)
        self._tries: list[Try] = []
        self._last: Target | None = None
        self._unknown = False

    def run(self, listener: Listener | None) -> Decision:
        """The decision that comes out."""
        for number, pick in enumerate(self._made.picks):
            if pick.again:
                if not self._again(pick):
                    break
                continue
            self._lots.again(pick.draws)
            moment = Remembered(pick, self._made.targets, self._snapshot.config.health.max_ejected)
            chosen = self._plan.next(moment, _told(listener, number))
            if chosen is not None and not self._follow(chosen):
                break
        told = msgspec.structs.replace(
            self._made,
            picks=self._plan.picks,
            tries=self._tries,
            config=self._snapshot.config_hash,
            targets=self._ids,
        )
        return _open(told) if self._unknown else told

    def _follow(self, chosen: Target) -> bool:
        """Go on with `chosen`, as far as is known what came of it then; whether the request goes on."""
        left = self._came.get(chosen.id)
        if not left:
            self._unknown = True
            return False
        return self._as(left.pop(0), chosen)

    def _as(self, was: Pick, chosen: Target) -> bool:
        """What came of `chosen` then comes of it now; whether the request goes on."""
        self._plan.came(was.came, was.after)
        self._plan.picks[-1].lost = was.lost
        if was.came is Came.TRIED:
            self._last = chosen
            return self._try(chosen)
        if was.came is Came.CROWDED:
            self._plan.give_back(chosen)
        elif was.came is Came.FULL and was.after:
            self._plan.give_back(chosen, was.after)
        return was.came is not Came.NOTHING

    def _again(self, was: Pick) -> bool:
        """The last one once more, if it is the one that it was then."""
        if self._last is None or self._last.id != self._made.targets[was.target]:
            return False
        self._plan.once_more(self._last)
        return self._as(was, self._last)

    def _try(self, target: Target) -> bool:
        left = self._tried.get(target.id)
        if not left:
            return False
        ended = left.pop(0)
        self._tries.append(ended)
        if ended.demotes:
            self._plan.demote_origin(target.origin)
        if ended.gives_back:
            self._plan.give_back(target)
        return not ended.ends and ended.outcome != "ok"


def _by_target(made: Decision) -> tuple[Mapping[str, list[Pick]], Mapping[str, list[Try]]]:
    """What came of each target, in order, and how its attempts ended."""
    came: dict[str, list[Pick]] = {}
    tried: dict[str, list[Try]] = {}
    tries = iter(made.tries)
    for pick in made.picks:
        if pick.target < 0:
            continue
        name = made.targets[pick.target]
        if not pick.again:
            came.setdefault(name, []).append(pick)
        if pick.came is Came.TRIED and (ended := next(tries, None)) is not None:
            tried.setdefault(name, []).append(ended)
    return came, tried


def _told(listener: Listener | None, number: int) -> Callable[[Target, Reason, float], None] | None:
    if listener is None:
        return None

    def told(target: Target, reason: Reason, figure: float) -> None:
        listener(number, target, reason, figure)

    return told


def _open(told: Decision) -> Decision:
    return msgspec.structs.replace(told, outcome=OPEN, status=0, error="", ttft=None)


def served(made: Decision, snapshot: Snapshot) -> tuple[Target, ...]:
    """The targets that could have served what a decision is about, in the order of their places."""
    model = snapshot.models.get(made.asked)
    if model is None:
        name, _, provider = made.asked.rpartition("#")
        model = targets.direct(snapshot.config, provider, name)
    return serving(model, made.endpoint).targets if model is not None else ()
