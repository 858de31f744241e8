"""What is known of targets when one is picked: asked of the fleet, noted on the way, remembered later. Pure.

A pick depends on nothing but the configuration, the draws of a lot, and what was seen of its targets. The
last is noted while it is asked for, so that the same pick can be made again: to say why it fell as it did,
or how it would have fallen under another configuration.
"""

import enum
from collections.abc import Sequence
from typing import Protocol

import msgspec

from proxy.health import Standing
from proxy.targets import Target


class Known(Protocol):
    """What is known of targets."""

    def standing(self, target: Target) -> Standing:
        """How it stands."""


class Moment(Known, Protocol):
    """What is known when a target is picked. Times are the cluster's, in whole milliseconds."""

    @property
    def calm(self) -> bool:
        """Whether nothing at all is known against anybody."""

    @property
    def tripped(self) -> bool:
        """Whether any circuit is not closed."""

    def now(self) -> int:
        """The time."""

    def full(self, target: Target) -> bool:
        """Whether it has as many requests as it may have."""

    def granted(self, target: Target) -> bool:
        """Whether this replica may send it its probe."""

    def load(self, target: Target) -> float:
        """Requests in flight over the cluster, for its weight."""

    def latency(self, target: Target, *, whole: bool) -> float:
        """Seconds to its first content, or to its reply where that is a whole one."""


class Sight(msgspec.Struct, array_like=True):
    """What was seen of one target at one pick, where it was asked for: see `health.Standing` and `Moment`.

    `trial` says only whether any of its names is half open.
    """

    until: int = 0
    backing_off: bool = False
    trial: bool = False
    probed_until: int = 0
    share: float = 1.0
    rate: bool = False
    drained: bool = False
    full: bool = False
    granted: bool = False
    load: float = 0.0
    latency: float = 0.0
    refused: bool = False

    def see(self, standing: Standing) -> None:
        """Note how it stands."""
        self.until = standing.until
        self.backing_off = standing.backing_off
        self.trial = bool(standing.trial)
        self.probed_until = standing.probed_until
        self.share = standing.share
        self.rate = standing.rate
        self.drained = standing.drained
        self.refused = standing.refused

    @property
    def standing(self) -> Standing:
        """How it stood."""
        return Standing(
            self.until,
            self.backing_off,
            _HALF_OPEN if self.trial else (),
            self.probed_until,
            self.share,
            self.rate,
            self.drained,
            self.refused,
        )


_HALF_OPEN = ("half_open",)

Sights = dict[int, Sight]
"""By the place of the target among those of its plan."""


class Came(enum.StrEnum):
    """What became of a target that was picked."""

    NOTHING = ""
    TRIED = "tried"
    UNSAYABLE = "unsayable"
    FULL = "full"
    CROWDED = "crowded"


class Pick(msgspec.Struct, array_like=True):
    """One pick: all that it depended on, what fell to it, and what came of that.

    `target` is a place among those of the plan, -1 where none could be picked. `again`: nothing was picked,
    and the last that was tried gets a second try. `draws` are from [0, 1). `at` is the cluster's time in ms.
    `sights` is what was seen, None where nobody had to look: nothing was known against anybody then, and the
    strategy looks at nothing. `after`: when a full key may be asked again, 0 if never. `lost` is what the
    translation for it lost: field and treatment.
    """

    target: int = -1
    draws: list[float] = msgspec.field(default_factory=list)
    at: int = 0
    calm: bool = True
    sights: Sights | None = None
    came: Came = Came.NOTHING
    after: int = 0
    lost: tuple[tuple[str, str], ...] = ()
    again: bool = False


class Noting:
    """A `Moment` that notes what it tells of `targets`; all of it at one time."""

    def __init__(self, moment: Moment, targets: Sequence[Target]) -> None:
        self._moment = moment
        self._places = {target.id: place for place, target in enumerate(targets)}
        self._standings: dict[str, Standing] = {}
        self._now = moment.now()
        self.calm = moment.calm
        self.tripped = moment.tripped
        self._sights: Sights = {}

    @property
    def sights(self) -> Sights:
        """What was seen; of whom nothing was to be seen is not there, like whom nobody looked at."""
        return {place: sight for place, sight in self._sights.items() if sight != _UNSEEN}

    def now(self) -> int:
        """See `Moment`."""
        return self._now

    def standing(self, target: Target) -> Standing:
        """See `Moment`."""
        found = self._standings.get(target.id)
        if found is None:
            found = self._standings[target.id] = self._moment.standing(target)
            self._of(target).see(found)
        return found

    def full(self, target: Target) -> bool:
        """See `Moment`."""
        found = self._of(target).full = self._moment.full(target)
        return found

    def granted(self, target: Target) -> bool:
        """See `Moment`."""
        found = self._of(target).granted = self._moment.granted(target)
        return found

    def load(self, target: Target) -> float:
        """See `Moment`."""
        found = self._of(target).load = self._moment.load(target)
        return found

    def latency(self, target: Target, *, whole: bool) -> float:
        """See `Moment`."""
        found = self._of(target).latency = self._moment.latency(target, whole=whole)
        return found

    def _of(self, target: Target) -> Sight:
        place = self._places[target.id]
        sight = self._sights.get(place)
        if sight is None:
            sight = self._sights[place] = Sight()
        return sight


class Remembered:
    """The `Moment` of a pick that was noted. Of a target that is not there nothing is known.

    `ids` are those of the plan of that pick, by place; a target that is asked about may be of another plan.
    """

    def __init__(self, pick: Pick, ids: Sequence[str]) -> None:
        self._at = pick.at
        self._sights = {ids[place]: sight for place, sight in (pick.sights or {}).items()}
        self.calm = pick.calm
        self.tripped = any(sight.trial or sight.until > pick.at for sight in self._sights.values())

    def now(self) -> int:
        """See `Moment`."""
        return self._at

    def standing(self, target: Target) -> Standing:
        """See `Moment`."""
        return self._of(target).standing

    def full(self, target: Target) -> bool:
        """See `Moment`."""
        return self._of(target).full

    def granted(self, target: Target) -> bool:
        """See `Moment`."""
        return self._of(target).granted

    def load(self, target: Target) -> float:
        """See `Moment`."""
        return self._of(target).load

    def latency(self, target: Target, *, whole: bool) -> float:  # noqa: ARG002  (it was noted of the one kind)
        """See `Moment`."""
        return self._of(target).latency

    def _of(self, target: Target) -> Sight:
        return self._sights.get(target.id, _UNSEEN)


_UNSEEN = Sight()
