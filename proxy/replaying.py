"""A decision made again: what was seen, drawn and answered is as it was noted; the configuration may differ.

Under the same configuration the same comes out, to the byte. Under another one the same requests meet the
same providers in the same state: what a target was seen to be and what it answered holds for it, wherever it
comes now. Of a target that was not asked then nobody knows what it would have answered, nor what becomes of
a request that finds nobody where it found somebody: there the course ends. What was said in a request is not
kept, so what could not be said to a target then is taken not to be sayable to it now. Limits refuse what they
refused: their fill is not replayed.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from metrics.record import FAILED
from proxy.access import model_of
from proxy.decision import Decision, Try
from proxy.moment import Came, Pick, Remembered
from proxy.passages import serving
from proxy.routing import Plan, Reason
from proxy.snapshot import Snapshot
from proxy.targets import Model, Target

OPEN: Final = "open"
"""The outcome where nobody knows: it would have gone where it did not go then, or had to wait."""

_UNKNOWN: Final = "model_not_found"
_UNSERVED: Final = "unsupported_endpoint"

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
    if snapshot.tenants.named(made.client) is None:
        return _refused(made, snapshot, 401, "invalid_api_key")
    if not made.targets and made.error not in (_UNKNOWN, _UNSERVED):  # what else was wrong is not kept
        return msgspec.structs.replace(made, config=snapshot.config_hash)
    model = served(made, snapshot)
    if model is None:
        return _refused(made, snapshot, 404, _UNKNOWN)
    if not model.targets:
        return _refused(made, snapshot, 400, _UNSERVED)
    if not made.targets:
        ids = tuple(target.id for target in model.targets)
        return _open(msgspec.structs.replace(made, config=snapshot.config_hash, targets=ids))
    return _Course(made, snapshot, model).run(listener)


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
        self._over = self._unknown = False

    def run(self, listener: Listener | None) -> Decision:
        """The decision that comes out."""
        most = self._snapshot.config.retry.attempts
        for number, pick in enumerate(self._made.picks):
            on = len(self._tries) < most and self._step(number, pick, listener)
            if not on:
                break
        told = msgspec.structs.replace(
            self._made,
            picks=self._plan.picks,
            tries=self._tries,
            config=self._snapshot.config_hash,
            targets=self._ids,
        )
        return self._ended(told, most - len(self._tries))

    def _ended(self, told: Decision, left: int) -> Decision:
        """`told` with its end, where so many tries would have been left."""
        last = told.picks[-1] if told.picks else Pick()
        if self._over or (self._made.limited is not None and last.came is Came.NOTHING):
            return told
        if not self._unknown:
            more = left > 0 and last.came is Came.TRIED
            if not more and _course(told) == _course(self._made):
                return told
            if left <= 0:  # what it is told hangs on all its faults
                return msgspec.structs.replace(told, outcome=FAILED, status=0, error="", ttft=None)
        return _open(told)

    def _step(self, number: int, pick: Pick, listener: Listener | None) -> bool:
        """What was done at `pick`, done now; whether the request goes on."""
        if pick.again:
            return self._again(pick)
        self._lots.again(pick.draws)
        moment = Remembered(pick, self._made.targets)
        chosen = self._plan.next(moment, _told(listener, number))
        return chosen is None or self._follow(chosen)

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
            self._unknown = True
            return False
        self._plan.once_more(self._last)
        return self._as(was, self._last)

    def _try(self, target: Target) -> bool:
        ended = self._tried[target.id].pop(0)
        self._tries.append(ended)
        if ended.demotes:
            self._plan.demote_origin(target.origin)
        if ended.gives_back:
            self._plan.give_back(target)
        self._over = ended.ends
        return not self._over


def _course(made: Decision) -> list[tuple[str, Came, bool]]:
    """Who was picked, and what came of it."""
    return [
        (made.targets[pick.target] if pick.target >= 0 else "", pick.came, pick.again) for pick in made.picks
    ]


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


def served(made: Decision, snapshot: Snapshot) -> Model | None:
    """The model that a decision is about, with the targets that could serve it, in the order of their places.

    None where there is none for its client.
    """
    tenant = snapshot.tenants.named(made.client)
    model = model_of(tenant, snapshot, made.asked) if tenant is not None else None
    return serving(model, made.endpoint) if model is not None else None
