import dataclasses

import capacity
import capacity_plan as plan
import capacity_report as report
import page
import pytest
from capacity_costs import Life, two_points
from capacity_meter import CONNECTIONS, CPU, PUBLISHED, reading_of
from capacity_model import (
    ABSENT,
    BYTES_IN,
    BYTES_OUT,
    CALLS,
    DELIVERY,
    MEMBER,
    QUANTITIES,
    STAGES,
    Load,
    Observed,
    fitted,
    least_squares,
    stage_of,
    total,
)
from capacity_rig import Stretch, pause_before_silence

LOADS = {
    "idle": Load(0),
    "requests": Load(0, scopes=300.0),
    "stored": Load(0, scopes=30.0, creates=30.0),
    "read": Load(0, reads=30.0),
    "back off": Load(0, scopes=4.0, transitions=4.0),
    "streams": Load(0, held=3.0, leases=180.0),
    "lists": Load(0, listings=20.0),
}
NAMES = [name for stage in STAGES for name in stage]
TRUE = {
    quantity: {
        name: 0.0 if name in ABSENT[quantity] else 1.0 + place for place, name in enumerate(NAMES, scale)
    }
    for scale, quantity in enumerate(QUANTITIES)
}
CORE = dict.fromkeys(NAMES, 10.0)
LIFE = Life(500, 36.0, 36.0 + 500 * TRUE[BYTES_OUT][MEMBER], TRUE[BYTES_OUT][DELIVERY])


def _loads(count: int) -> list[tuple[str, Load]]:
    """Everything with so many replicas: each holds its own leases."""
    return [
        (name, dataclasses.replace(load, replicas=count, held=load.held * count))
        for name, load in LOADS.items()
    ]


def _observed(load: Load) -> Observed:
    amounts = load.amounts(8.0)
    return Observed(amounts, {quantity: total(amounts, TRUE[quantity]) for quantity in QUANTITIES})


def _run(count: int, name: str, load: Load, **wrong: float) -> capacity.Run:
    costs = {**_observed(load).costs, CPU: 1.0, PUBLISHED: 0.0, CONNECTIONS: 1.0 + 4 * count}
    measured = {quantity: cost * wrong.get(quantity, 1.0) for quantity, cost in costs.items()}
    return count, Stretch(name, 8.0, load, measured)


def _document(**wrong: float) -> report.Document:
    runs = [_run(count, name, load) for count in (1, 2, 3) for name, load in _loads(count)]
    runs += [_run(4, name, load, **wrong) for name, load in _loads(4)]
    told = capacity.document(runs, CORE, LIFE)
    return {**told, "taken": "2027-01-01", "machine": {}, "versions": {}, "seconds": 200.0}


def test_messages_and_lists_grow_with_the_replicas() -> None:
    """All else with what happens."""
    small, large = (Load(count, transitions=3.0, listings=2.0).amounts(10.0) for count in (2, 4))
    assert (small["replica"], large["replica"]) == (20, 40)
    assert (small["member"], large["member"]) == (40, 80)
    assert small["listing"] == large["listing"] == 20
    assert (small["delivery"], large["delivery"]) == (60, 120)
    assert small["transition"] == large["transition"] == 30


def test_leases_are_renewed_once_in_ten_seconds() -> None:
    """A call for each limit, with the leases of each."""
    amounts = Load(1, held=3, leases=180).amounts(10.0)
    assert (amounts["beat"], amounts["lease"]) == (3, 180)


def test_a_run_is_evidence_for_the_last_stage_it_has_anything_of() -> None:
    """What comes with it is known by then."""
    assert [stage_of(load.amounts()) for _, load in _loads(1)] == [0, 1, 2, 3, 4, 5, 6]


def test_constants_are_found_again_in_runs_that_were_made_of_them() -> None:
    """Those of one and two replicas are enough."""
    found = fitted([_observed(load) for count in (1, 2) for _, load in _loads(count)], {})
    for quantity in QUANTITIES:
        assert total(dict.fromkeys(found[quantity], 1.0), found[quantity]) == pytest.approx(
            sum(TRUE[quantity].values())
        )
        for name, value in found[quantity].items():
            assert value == pytest.approx(TRUE[quantity][name]), name


def test_what_cannot_cost_anything_is_not_looked_for() -> None:
    """An answer that is longer is no further call."""
    found = fitted([_observed(load) for count in (1, 2) for _, load in _loads(count)], {})
    assert all(ABSENT[quantity].isdisjoint(found[quantity]) for quantity in QUANTITIES)


def test_what_is_known_is_not_fitted() -> None:
    """The rest is found beside it."""
    loads = _loads(1)
    runs = [_observed(load) for _, load in (loads[0], loads[-1])]
    found = fitted(runs, {BYTES_OUT: {MEMBER: TRUE[BYTES_OUT][MEMBER]}, CALLS: {}})
    names = ("replica", "listing", "member")
    assert found[BYTES_OUT] == pytest.approx({name: TRUE[BYTES_OUT][name] for name in names})


def test_least_squares_goes_between_what_does_not_agree() -> None:
    """One column, then two."""
    assert least_squares([[1.0], [1.0]], [2.0, 4.0]) == [3.0]
    assert least_squares([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]], [1.0, 3.0, 5.0]) == [1.0, 2.0]


def test_what_each_adds_is_the_slope_between_few_and_many() -> None:
    """Neither part is ever below nothing."""
    assert two_points((1, 12.0), (101, 212.0)) == (10.0, 2.0)
    assert two_points((1, 12.0), (101, 11.0)) == (12.0, 0.0)


INFO = """# Stats
total_net_input_bytes:1000
total_net_output_bytes:9000
connected_clients:5
used_cpu_sys:0.25
used_cpu_user:0.5
cmdstat_evalsha:calls=40,usec=900,usec_per_call=22.50
cmdstat_ping:calls=10,usec=1,usec_per_call=0.1
cmdstat_hget:calls=400,usec=1,usec_per_call=0.1
cmdstat_publish:calls=3,usec=1,usec_per_call=0.1
"""


def test_the_meters_own_bytes_and_connection_do_not_count() -> None:
    """Nor do commands that run inside scripts; CPU is in microseconds."""
    assert reading_of(INFO, 100, 8000).counted == {
        CALLS: 50,
        PUBLISHED: 3,
        BYTES_IN: 900,
        BYTES_OUT: 1000,
        CPU: 750_000,
        CONNECTIONS: 4,
    }


def test_a_stretch_begins_in_the_middle_of_the_longest_silence() -> None:
    """Of what recurs, seen from now."""
    assert pause_before_silence([0.5], 2.0) == pytest.approx(0.5)
    assert pause_before_silence([0.0, 0.5], 2.0) == pytest.approx(0.75)
    assert pause_before_silence([1.9, 1.0], 2.0) == pytest.approx(1.55)


def test_the_model_holds_where_nothing_is_off_by_more_than_a_tenth() -> None:
    """Of calls and bytes, in the runs that it was not fitted on."""
    assert report.wrong(_document()) == []
    assert report.wrong(_document(calls=1.08)) == []
    found = report.wrong(_document(calls=1.2))
    assert len(found) == len(LOADS)
    assert found[0] == "4 replicas, idle: calls -16.7%"


def test_connections_are_what_a_further_replica_adds() -> None:
    """Whatever else is connected."""
    assert _document()["connections"] == {"replica": 4.0}


CONSTANTS = {**TRUE, CPU: CORE}


def test_one_redis_carries_a_cluster_until_a_core_or_the_network_is_full() -> None:
    """The first of both ends it."""
    small = plan.need(CONSTANTS, 4, plan.load(10, 500))
    assert small.fits
    assert plan.shards(small) == 1
    assert small.connections == 40
    large = plan.need(CONSTANTS, 4, plan.load(10, 100_000))
    assert (large.fits, large.bound) == (False, "CPU")
    assert (plan.shards(large) or 0) > plan.LEAST_SHARDS


def test_more_shards_do_not_help_what_has_one_hash_tag() -> None:
    """Lists of very many replicas."""
    crowd = plan.need(CONSTANTS, 4, plan.load(100_000, 0))
    assert plan.shards(crowd) is None


def test_ends_are_the_last_that_fit() -> None:
    """One more would not."""
    ends = {end.what: end for end in plan.ends(CONSTANTS, 4)}
    most = ends["one Redis, 10 replicas"].at
    assert plan.need(CONSTANTS, 4, plan.load(10, most)).fits
    assert not plan.need(CONSTANTS, 4, plan.load(10, most + 1)).fits
    assert plan.largest(lambda number: number <= 7) == 7
    assert plan.largest(lambda number: number < 0) == 0


def test_nothing_is_renewed_for_streams_that_nobody_has() -> None:
    """A cluster without requests has replicas, that come and leave, and nothing else."""
    assert plan.load(60, 0) == Load(60, listings=1.0)


def test_the_page_has_the_same_tables_without_the_runs_that_were_fitted() -> None:
    """With the sizes of the plan, and the place where it ends."""
    text = "\n".join(page.capacity_section(_document()))
    assert text.count("| 4 | idle |") == 1
    assert "(fitted)" not in text
    assert "(fitted)" in report.text(_document())
    assert "| 1,000 | 2,000 |" in text
    assert "off by more" not in text
    assert "off by more" in "\n".join(page.capacity_section(_document(calls=1.2)))
