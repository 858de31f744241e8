import dataclasses
from collections import Counter
from pathlib import Path

import goals
import openloop
import page
import proxies
import report
import rounds
import soak
from centiles import centile
from proof import Evidence, LineCount
from rounds import Figures, Level, Series, VoidRoundError
from running import Side

DIRECT, OURS, PEER = Side("direct", ""), Side("ours", ""), Side("LiteLLM", "")


def _silent(line: str) -> None:
    pass


def _level(failing: dict[str, float]) -> Level:
    def measure(side: Side) -> Figures:
        return {"rate": 1.0, "failed": failing.get(side.name, 0.0)}

    return Level("load", "requests/s", measure, [DIRECT, OURS, PEER])


def _series(level: str, name: str, *found: dict[str, float]) -> Series:
    return Series(level, name, rounds=[{side: {name: value} for side, value in one.items()} for one in found])


def test_a_centile_is_a_value_that_was_seen() -> None:
    """The nearest rank, so that nothing is made up between two values."""
    values = [float(number) for number in range(1, 1001)]
    assert (centile(values, 0.5), centile(values, 0.99), centile(values, 0.999)) == (500, 990, 999)
    assert (centile([7.0], 0.001), centile([], 0.5)) == (7.0, 0.0)


def test_ratios_and_differences_are_taken_inside_a_round() -> None:
    """Not of the medians: each round was disturbed alike."""
    series = _series(
        "load", "rate", {"ours": 10, "direct": 5}, {"ours": 90, "direct": 30}, {"ours": 8, "direct": 2}
    )
    assert series.ratio("ours", "direct", "rate") == 3
    assert series.added("ours", "direct", "rate") == 6
    assert series.median("ours", "rate") == 10


def test_good_rounds_are_kept_and_no_more_are_run() -> None:
    """As many as were asked for."""
    (series,) = rounds.run([_level({})], 3, _silent)
    assert (len(series.rounds), series.voided, series.left_out) == (3, [], [])


def test_a_side_that_fails_twice_is_left_out_and_the_others_go_on() -> None:
    """Its failures void the rounds they are in, and are told."""
    (series,) = rounds.run([_level({"LiteLLM": 2.0})], 3, _silent)
    assert series.left_out == ["LiteLLM"]
    assert series.voided == ["LiteLLM: 2 failed"] * 2
    assert series.sides() == ["direct", "ours"]


def test_a_measurement_that_says_nothing_voids_its_round() -> None:
    """With its reason."""
    told = iter(["the store was late"])

    def measure(_: Side) -> Figures:
        for why in told:
            raise VoidRoundError(why)
        return {"rate": 1.0, "failed": 0.0}

    (series,) = rounds.run([Level("load", "requests/s", measure, [OURS])], 1, _silent)
    assert (series.voided, len(series.rounds)) == (["ours: the store was late"], 1)


def test_the_floor_is_never_left_out() -> None:
    """Without it nothing could be said of the others."""
    (series,) = rounds.run([_level({"direct": 1.0})], 2, _silent)
    assert (series.rounds, len(series.voided), series.left_out) == ([], 5, [])


EVIDENCE = Evidence(
    100, 0, requests=100, completed=100, lines=100, decisions=100, scripts=203, alone=0, seconds=1.0
)


def test_equal_counts_prove_that_everything_was_on() -> None:
    """With a slack only for what the load itself has cut."""
    assert EVIDENCE.mismatches() == []
    cut = dataclasses.replace(EVIDENCE, slack=3, requests=103, lines=103, decisions=101)
    assert cut.mismatches() == []


def test_whatever_is_missing_is_said() -> None:
    """Each of the five counts."""
    for field, said in (
        ("requests", "the load counted"),
        ("completed", "ours completed"),
        ("lines", "the log"),
        ("decisions", "apex_limit_decisions_total"),
        ("scripts", "Redis ran"),
    ):
        wrong = dataclasses.replace(EVIDENCE, **{field: 98})
        assert any(said in line for line in wrong.mismatches())


def test_the_slack_of_the_load_is_none_for_what_ours_counts() -> None:
    """A completed request was decided on and ran both scripts, however many the load has cut."""
    cut = dataclasses.replace(EVIDENCE, slack=50, requests=120, completed=115, lines=120, scripts=240)
    assert dataclasses.replace(cut, decisions=115).mismatches() == []
    for wrong in ({"decisions": 114}, {"decisions": 115, "scripts": 229}, {"decisions": 115, "lines": 119}):
        assert len(dataclasses.replace(cut, **wrong).mismatches()) >= 1


def test_each_part_of_a_growing_log_is_counted_once_and_only_whole_lines(tmp_path: Path) -> None:
    """A line that is still being written counts when it ends."""
    log = tmp_path / "log"
    log.write_text('{"event":"request"}\n{"event":"ready"}\n{"event":"re')
    lines = LineCount(log, b'"event":"request"')
    assert lines.count() == 1
    with log.open("a") as more:
        more.write('quest"}\n')
    assert (lines.count(), lines.count()) == (2, 2)


def test_a_metric_is_summed_over_its_children_and_not_over_others() -> None:
    """By its whole name, and a label where one is asked for."""
    text = '# HELP a x\na{k="1"} 2\na{k="2"} 3\nab{k="1"} 9\na_total 5\n'
    assert proxies.counted(text, "a") == 5
    assert proxies.counted(text, "a", 'k="2"') == 3


def test_requests_at_a_rate_have_their_moments_from_the_start() -> None:
    """Warm-up included."""
    assert openloop.Plan(rate=4, seconds=1, warm=0.5).moments() == [0, 0.25, 0.5, 0.75, 1.0, 1.25]


SCALE = {"rounds": 3, "requests": 60_000}


def _goals(section: str, *series: Series) -> dict[str, goals.Goal]:
    document = {"scale": SCALE, "sections": {section: [dataclasses.asdict(one) for one in series]}}
    return {goal.what: goal for goal in goals.goals(document)}


def test_goals_are_met_or_missed_by_the_figures_of_the_run() -> None:
    """And one without figures is missed, where its section was asked for."""
    one = _series("64 connections", "rate", {"ours": 4000, "nginx": 30_000, "LiteLLM": 40})
    found = _goals("saturation", one)
    assert {what: goal.met for what, goal in found.items()} == {
        "64 connections, ours / LiteLLM": True,
        "64 connections, ours / Portkey": False,
        "64 connections, ours / nginx": False,
        "256 connections / 64 connections": False,
    }
    assert str(found["64 connections, ours / Portkey"]).endswith("not measured (at least 6)")


def test_every_section_has_its_goals_without_a_single_level() -> None:
    """All of them missed."""
    for section in ("saturation", "open", "streams", "bodies", "memory", "start", "workers"):
        found = _goals(section)
        assert found
        assert not any(goal.met for goal in found.values())


def test_a_side_that_did_not_have_its_core_is_compared_by_cpu_time() -> None:
    """Its rate says what the rig allows."""
    took = {"p50_us": 1.0, "p99_us": 1.0}
    rounds_made = [
        {
            "ours": {"rate": 4000, "busy": 1.0, "cpu_us": 250, **took},
            "nginx": {"rate": 10_000, "busy": 0.5, "cpu_us": 20, **took},
        }
    ]
    one = Series("64 connections", "requests/s", rounds=rounds_made, wall=True)
    found = _goals("saturation", one)
    goal = found["64 connections, ours / nginx, by CPU time"]
    assert (goal.value, goal.met) == (0.08, False)
    document = {"remarks": [], "sections": {"tls": [dataclasses.asdict(one)]}}
    rows = report.grids("tls", document)[0][1]
    assert [row[2:6] for row in rows][1] == ["10,000 (rig-bound)", "10,000-10,000", "rig-bound", "0.08 x"]


def test_too_few_requests_at_the_fixed_rate_are_no_proof_of_no_failure() -> None:
    """What is missing is said; what failed counts."""
    figures = {"p50_us": 1.0, "p99_us": 1.0, "p999_us": 1.0, "requests": 60_000.0, "failed": 0.0}
    for made, failed, met in ((60_000.0, 0.0, True), (40_000.0, 0.0, False), (59_999.0, 1.0, False)):
        ours = {**figures, "requests": made, "failed": failed}
        one = Series("1,000 requests/s", "requests/s", rounds=[{"direct": figures, "ours": ours}])
        assert _goals("open", one)["failed of 60,000 at 1,000 requests/s"].met is met


def test_two_workers_are_held_against_one_by_what_a_request_costs() -> None:
    """Twice the workers, each request a fifth dearer."""
    one = _series("1,500 requests/s", "cpu_us", {"1 worker": 250, "2 workers": 300})
    (goal,) = _goals("workers", one).values()
    assert goal.value is not None
    assert round(goal.value, 3) == 1.667


def test_a_level_without_a_good_round_has_no_row_but_a_remark() -> None:
    """Nothing is told of a load that nobody stood."""
    document = {"remarks": [], "sections": {"tls": [dataclasses.asdict(Series("load", "requests/s"))]}}
    assert report.grids("tls", document)[0][1] == []
    assert report.remarks("tls", document) == ["load: no good round"]


def test_a_page_table_is_markdown() -> None:
    """Figures to the right."""
    assert page.markdown(["a", "b", "c"], [["1", "2", "3"]]) == (
        "| a | b | c |\n| --- | --- | ---: |\n| 1 | 2 | 3 |\n"
    )


def test_growth_is_what_the_last_minute_has_more_than_the_second() -> None:
    """Less is no growth, nor is what came before."""
    level = dict.fromkeys(soak.HANDFUL, 100.0)
    assert soak.growth([[level]] * 3) == []
    assert soak.growth([[level], [level], [{**level, "RSS MiB": 106.0}]]) == ["RSS MiB 100.0 -> 106.0"]
    assert soak.growth([[{**level, "tasks": 1.0}], [level], [level]]) == []


def test_a_soak_in_which_most_was_refused_is_not_flat() -> None:
    """Who leaves early was answered; nobody asked is nothing shown."""
    assert soak.refused(Counter({"200": 70, "left early": 10, "503": 20})) == []
    assert soak.refused(Counter({"200": 70, "left early": 9, "ReadError": 21})) == ["79 good answers of 100"]
    assert soak.refused(Counter()) == ["0 good answers of 0"]
