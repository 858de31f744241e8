"""Tests of `proxy.snapshot`: one view of a configuration, and what is known carried over to the next."""

from fakes.configs import CLIENT_KEY, MODEL, config

from proxy.circuit import Record
from proxy.config import config_hash
from proxy.config.settings import Config
from proxy.health import Health
from proxy.snapshot import Snapshot, snapshot
from proxy.tenants import Tenants

OLD = config({"a": 1}, client={"limits": {"requests_per_minute": 5}})
NEW = config({"b": 1}, health={"failures": 9})


def of(settings: Config) -> Snapshot:
    """The first snapshot of a configuration."""
    return snapshot(settings, Tenants(settings.clients, b"pepper"), 7)


def test_all_of_a_view_follows_from_its_configuration() -> None:
    """Tenants, models, scopes and the bounds of health; at first nothing is known of anybody."""
    view = of(OLD)
    assert (view.config, view.created, list(view.models)) == (OLD, 7, [MODEL])
    assert view.config_hash == config_hash(OLD)
    assert view.tenants.of(CLIENT_KEY.encode()) is not None
    assert view.scopes.of_client("dev", MODEL)
    assert view.health.records == {}


def test_what_is_known_is_carried_over_and_judged_by_new_bounds() -> None:
    """The other view keeps everything that is its own."""
    records = {"a/x@1": Record(version=3)}
    after = of(NEW).knowing(Health(of(OLD).health.rules, records))
    assert after.health.records is records
    assert after.health.rules.failures == 9
    assert (after.config, after.models) == (NEW, of(NEW).models)
    assert after.config_hash == config_hash(NEW)
