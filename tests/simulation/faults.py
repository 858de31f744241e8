"""What goes wrong in one life and when: drawn from the seed before it begins, and over at `ENDED`.

Not every life has every fault: each draws which kinds it has, so that some have nothing but trouble with
providers and keep the strictest promises, and others have all at once.
"""

import dataclasses
import enum
import math
import random

from proxy.circuit import Kind
from simulation.settings import KEYS, REPLICAS, STEP, STRATEGIES, TARGETS

ENDED = 32.0
"""Seconds after which nothing goes wrong any more."""

FIRST = 1.0
"""Nothing goes wrong before; but a life may begin without a store."""


class Illness(enum.StrEnum):
    """What a provider can have."""

    REFUSED = "refused"
    RESET = "reset"
    ERROR = "error"
    LIMITED = "limited"
    BROWNOUT = "brownout"
    SLOW = "slow"
    STALL = "stall"
    DENIED = "denied"


class Trouble(enum.StrEnum):
    """What can happen between the replicas and the store, and to their clocks."""

    CUT = "cut"
    HUNG = "hung"
    AWAY = "away"
    RESTART = "restart"
    FAILOVER = "failover"
    STEP = "step"
    WALL = "wall"
    CRASH = "crash"


@dataclasses.dataclass(frozen=True, slots=True)
class Episode:
    """One illness of one provider, or of one of its keys. `hints`: how it says when to come back."""

    illness: Illness
    begin: float
    end: float
    key: str | None
    hints: str


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """Something happens at `at`, for `lasting` seconds. `by` is a step of a clock, or what is lost, in s."""

    trouble: Trouble
    at: float
    lasting: float = 0.0
    replica: int = 0
    by: float = 0.0
    silent: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """An operator tells `replica` something of the target of that number; if it is gone, another one.

    `shared`: which of its names that it shares with others a reset takes in.
    """

    kind: Kind
    at: float
    target: int
    replica: int
    shared: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Weather:
    """How the ways to the store are. Delays in seconds; the rest are shares.

    `spikes` are delays that are longer than a call may take. `deaf`: nobody may subscribe.
    """

    delay: tuple[float, float] = (0.0002, 0.002)
    spikes: float = 0.0
    request_lost: float = 0.0
    reply_lost: float = 0.0
    message_lost: float = 0.0
    deaf: bool = False

    def drawn(self, draw: random.Random) -> float:
        """How long one way takes."""
        if self.spikes and draw.random() < self.spikes:
            return draw.uniform(0.03, 0.15)
        return draw.uniform(*self.delay)

    @property
    def calmed(self) -> "Weather":
        """The same without faults."""
        return Weather(self.delay, deaf=self.deaf)


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """All that is decided before a life begins."""

    seed: int
    strategy: str
    weather: Weather
    episodes: dict[str, tuple[Episode, ...]]
    events: tuple[Event, ...]
    without: bool
    orders: tuple[Order, ...] = ()

    def __str__(self) -> str:
        """For people."""
        lines = [f"seed {self.seed}: {self.strategy}, {self.weather}, begins without a store: {self.without}"]
        for name, episodes in self.episodes.items():
            lines += [
                f"  {each.begin:7.3f} to {each.end:7.3f}  {name} {each.key or ''} {each.illness} {each.hints}"
                for each in episodes
            ]
        lines += [
            f"  {each.at:7.3f} for {each.lasting:6.3f}  {each.trouble} of {each.replica} by {each.by:.3f}"
            f"{' silent' if each.silent else ''}"
            for each in self.events
        ]
        lines += [
            f"  {each.at:7.3f} {each.kind} of target {each.target} {each.shared}, told to {each.replica}"
            for each in self.orders
        ]
        return "\n".join(lines)


def plan(seed: int) -> Plan:
    """What goes wrong in the life of `seed`."""
    draw = random.Random(f"plan {seed}")
    troubled = draw.random() < 0.75
    return Plan(
        seed=seed,
        strategy=draw.choice(STRATEGIES),
        weather=_weather(draw, lossy=troubled and draw.random() < 0.5),
        episodes={name: tuple(_episodes(draw, name)) for name in KEYS},
        events=tuple(_events(draw)) if troubled else (),
        without=troubled and draw.random() < 0.1,
        orders=tuple(_orders(random.Random(f"orders {seed}"))),
    )


def _weather(draw: random.Random, *, lossy: bool) -> Weather:
    slowest = draw.choice((0.002, 0.008, 0.02))
    deaf = draw.random() < 0.1
    lost = draw.choice((0.0, 0.0, 0.1, 0.6))
    if not lossy:
        return Weather((slowest / 10, slowest), message_lost=lost, deaf=deaf)
    return Weather(
        delay=(slowest / 10, slowest),
        spikes=draw.choice((0.0, 0.01, 0.05)),
        request_lost=draw.choice((0.0, 0.005, 0.03)),
        reply_lost=draw.choice((0.0, 0.005, 0.03)),
        message_lost=lost,
        deaf=deaf,
    )


def _episodes(draw: random.Random, name: str) -> list[Episode]:
    """One after another, with health between."""
    found: list[Episode] = []
    ill = draw.sample(list(Illness), draw.randint(1, len(Illness)))
    gap = draw.choice((1.0, 3.0, 8.0))
    at = FIRST + draw.expovariate(1 / gap)
    while at < ENDED:
        illness = draw.choice(ill)
        end = min(at + draw.choice((draw.uniform(0.2, 1.0), draw.uniform(1.0, 7.0))), ENDED)
        one = illness is Illness.DENIED or (illness is Illness.LIMITED and draw.random() < 0.7)
        key = draw.choice(KEYS[name]) if one else None
        found.append(Episode(illness, at, end, key, draw.choice(("seconds", "ms", "reset", "none"))))
        at = end + draw.expovariate(1 / gap)
    return found


_SHARED = ((), ("key_id",), ("origin",), ("key_id", "origin"))


def _orders(draw: random.Random) -> list[Order]:
    """Resets, and drains that are ended by whoever is asked then. Some lives have none."""
    found = []
    for _ in range(draw.choice((0, 2, 6))):
        at, target = draw.uniform(FIRST, ENDED - 0.5), draw.randrange(TARGETS)
        if draw.random() < 0.5:
            found.append(Order(Kind.RESET, at, target, draw.randrange(REPLICAS), draw.choice(_SHARED)))
            continue
        end = min(at + draw.choice((draw.uniform(0.0, 0.1), draw.uniform(0.5, 6.0))), ENDED)
        found.append(Order(Kind.DRAIN, at, target, draw.randrange(REPLICAS)))
        found.append(Order(Kind.RESTORE, end, target, draw.randrange(REPLICAS)))
    return sorted(found, key=lambda order: order.at)


def _events(draw: random.Random) -> list[Event]:
    """Of each kind that this life has, some."""
    kinds = draw.sample(list(Trouble), draw.randint(1, len(Trouble)))
    found = []
    for trouble in kinds:
        for _ in range(draw.randint(1, 3)):
            at = draw.uniform(FIRST, ENDED - 0.5)
            longest = 2.0 if trouble is Trouble.HUNG else 8.0
            lasting = min(draw.choice((draw.uniform(0.05, 0.6), draw.uniform(0.6, longest))), ENDED - at)
            far = 10.0 if trouble is Trouble.WALL else 2.0
            by = draw.uniform(0.2, STEP if trouble is Trouble.STEP else far)
            if trouble in (Trouble.STEP, Trouble.WALL):
                by = math.copysign(by, draw.random() - 0.5)
            replica, silent = draw.randrange(REPLICAS), draw.random() < 0.5
            found.append(Event(trouble, at, lasting, replica, by, silent))
    return sorted(found, key=lambda event: event.at)
