"""The owner of the snapshot: configuration, tenants, models and health behind one reference.

A request reads `fleet.snapshot` once and keeps it; whoever changes something builds a new one and swaps
it in. What an attempt taught is reported here, and the picks that follow, of this request and all others,
see it. Requests in flight are counted here too; they are the one thing that changes in place.
"""

import dataclasses
import random
from collections.abc import Mapping

from proxy import health as healths
from proxy import scopes, targets
from proxy.clock import Clock
from proxy.config.settings import Config
from proxy.health import Health, Report
from proxy.scopes import Scopes
from proxy.targets import Model, Target
from proxy.tenants import Tenants


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """One consistent view of everything a request decides by. `created` is Unix time."""

    config: Config
    tenants: Tenants
    models: Mapping[str, Model]
    scopes: Scopes
    health: Health
    created: int


class Fleet:
    """Holds the snapshot and is told how attempts end."""

    def __init__(self, snapshot: Snapshot, clock: Clock, draw: random.Random) -> None:
        self.snapshot = snapshot
        self.in_flight: dict[str, int] = {}
        self._clock = clock
        self._draw = draw

    @property
    def health(self) -> Health:
        """The health of this moment, which moves on while a request keeps its snapshot."""
        return self.snapshot.health

    def begin(self, target: Target) -> bool:
        """An attempt on `target` begins; whether it is the probe of a half-open circuit."""
        self.in_flight[target.id] = self.in_flight.get(target.id, 0) + 1
        lease = target.timeouts.first_token + 2.0
        changed = healths.claim(self.health, target, self._clock.monotonic(), lease)
        probe = changed is not self.health
        self._swap(changed)
        return probe

    def end(self, target: Target) -> None:
        """The attempt on `target` is over, however it went."""
        left = self.in_flight[target.id] - 1
        if left:
            self.in_flight[target.id] = left
        else:
            del self.in_flight[target.id]

    def report(self, target: Target, report: Report) -> None:
        """What an attempt on `target` taught."""
        now = self._clock.monotonic()
        self._swap(healths.apply(self.health, target, report, now, self._draw))

    def _swap(self, health: Health) -> None:
        if health is not self.snapshot.health:
            self.snapshot = dataclasses.replace(self.snapshot, health=health)


def snapshot(config: Config, tenants: Tenants, created: int) -> Snapshot:
    """The first snapshot of a configuration: everything healthy."""
    models = targets.models(config)
    return Snapshot(config, tenants, models, scopes.scopes(config, models), Health(), created)
