"""Everything a request decides by, as one immutable value: made once per configuration, swapped whole."""

import dataclasses
from collections.abc import Mapping

from proxy import bounds, scopes, targets
from proxy.config import config_hash
from proxy.config.settings import Config
from proxy.health import Health
from proxy.scopes import Scopes
from proxy.targets import Model
from proxy.tenants import Tenants


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """One consistent view of everything a request decides by. `created` is Unix time.

    `config_hash` is that of the configuration: worked out once, for a large one takes milliseconds.
    """

    config: Config
    tenants: Tenants
    models: Mapping[str, Model]
    scopes: Scopes
    health: Health
    created: int
    config_hash: str

    def knowing(self, health: Health) -> "Snapshot":
        """The same with what is known in `health`, under rules of its own."""
        return dataclasses.replace(self, health=Health(self.health.rules, health.records))


def snapshot(config: Config, tenants: Tenants, created: int) -> Snapshot:
    """The first snapshot of a configuration: everything healthy."""
    models = targets.models(config)
    health = Health(bounds.rules(config.health))
    view = scopes.scopes(config, models)
    return Snapshot(config, tenants, models, view, health, created, config_hash(config))
