import random

import pytest

from mockprovider.behaviour import Behaviour, Delay
from mockprovider.script import Decider, Facts, Match, Rule, Script, ScriptError, inline, load


def _facts(
    model: str = "gpt-4o",
    key: str = "sk-mock-a",
    stream: bool = False,
    reused: bool = False,
    path: str = "/v1/x",
) -> Facts:
    return Facts(path, model, key, "id-" + key, stream, reused)


def _statuses(script: Script, times: list[float], facts: Facts | None = None, seed: int = 0) -> list[int]:
    decider = Decider(script, random.Random(seed))
    return [decider.decide(facts or _facts(), now).behaviour.status for now in times]


def _script(match: Match) -> Script:
    return Script((Rule(match, Behaviour(status=503)),))


def test_a_script_is_read_from_yaml() -> None:
    """YAML becomes rules, a default and model ids."""
    script = load(
        """
        models: [a, b]
        default: {delay_headers_s: 0.01}
        rules:
          - match: {model: "gpt-*", key: sk-mock-a, every: 3}
            then: {status: 429, headers: {retry-after: 7}}
          - then: {delay_events_s: {from_s: 0.01, to_s: 0.5, over_s: 10}, write_bytes: [1, 2]}
        """
    )
    assert script.models == ("a", "b")
    assert script.default.delay_headers_s == 0.01
    assert script.rules[0] == Rule(
        Match(model="gpt-*", key="sk-mock-a", every=3), Behaviour(status=429, headers={"retry-after": 7})
    )
    assert script.rules[1].then.delay_events_s == Delay(0.01, 0.5, 10)
    assert script.rules[1].then.write_bytes == (1, 2)


@pytest.mark.parametrize("text", ["", '{"rules": []}', "{rules: []}", "rules:\n"[:0]])
def test_json_flow_yaml_and_nothing_are_scripts_too(text: str) -> None:
    """JSON, YAML's flow style and an empty file all load; the default is a healthy provider."""
    assert load(text) == Script()


@pytest.mark.parametrize(
    ("text", "where", "found", "allowed"),
    [
        ("rules: [{then: {stauts: 1}}]", "rules[0].then:", "unknown field 'stauts'", "status, headers"),
        ("rules: [{}, {match: {modle: x}}]", "rules[1].match:", "unknown field 'modle'", "model, path, key"),
        ("rules: [{when: {}}]", "rules[0]:", "unknown field 'when'", "match, then"),
        ("rulez: []", "script:", "unknown field 'rulez'", "rules, default, models"),
        ("rules: [{then: {cut_with: bang}}]", "rules[0].then.cut_with:", "'bang'", "fin, half, rst"),
        (
            "rules: [{then: {delay_events_s: {to: 1}}}]",
            "rules[0].then.delay_events_s:",
            "'to'",
            "from_s, to_s",
        ),
        ("rules: [{then: {status: soon}}]", "rules[0].then.status:", "str", "expected int"),
        ("rules: [{then: {write_bytes: [0]}}]", "rules[0].then.write_bytes[0]:", "", "int >= 1"),
        ("default: {cut_after_events: 1, stall_after_events: 1}", "script.default:", "cut and stall", ""),
        ("rules: 3", "script.rules:", "int", "array"),
        ("[1]", "script:", "array", "object"),
        ("{", "script: line 1: ", "not YAML or JSON at column 2: ", ""),
        ("rules:\n\t- {}", "script: line 2: ", "at column 1: a tab", "spaces"),
        ("--- 1\n--- 2", "script: line 2: ", "at column 1: found another document", ""),
        ("a: \x01", "script: ", "not YAML or JSON: special characters", ""),
    ],
)
def test_a_mistake_is_one_line_that_says_where_and_what(
    text: str, where: str, found: str, allowed: str
) -> None:
    """The error names the path, what was found and what is allowed there."""
    with pytest.raises(ScriptError) as caught:
        load(text)
    message = str(caught.value)
    assert message.startswith(where)
    assert found in message
    assert allowed in message
    assert "\n" not in message


def test_all_mistakes_are_told_at_once() -> None:
    """A line for each, in the order of the script."""
    text = """
        models: 3
        default: {statis: 1, finish: stopp, tokens: 3}
        rules:
          - then: {status: soon, html: 1}
            when: {}
          - {}
          - match: {every: 0, model: 4, stream: true}
            then: {cut_after_events: 1, stall_after_events: 1}
          - 5
    """
    with pytest.raises(ScriptError) as caught:
        load(text)
    told = [line.partition(": ")[0] for line in str(caught.value).splitlines()]
    assert told == [
        "script.models",
        "script.default",
        "script.default.finish",
        "rules[0].then.status",
        "rules[0].then.html",
        "rules[0]",
        "rules[2].match.every",
        "rules[2].match.model",
        "rules[2].then",
        "rules[3]",
    ]
    with pytest.raises(ScriptError) as caught:
        inline("stauts=1; html=3")
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("rules: [{then: {stauts: 1}}]", "; did you mean 'status'?"),
        ("rulez: []", "; did you mean 'rules'?"),
        ("default: {finish: stopp}", "; did you mean 'stop'?"),
        ("default: {zzz: 1}", "write_bytes"),
        ("default: {finish: zzz}", "stop"),
    ],
)
def test_a_slip_is_recognized(text: str, near: str) -> None:
    """The nearest word that is allowed stands at the end, if one is near."""
    with pytest.raises(ScriptError) as caught:
        load(text)
    assert str(caught.value).endswith(near)


def test_the_first_rule_that_fits_decides() -> None:
    """Order matters; without a fit the default holds."""
    script = Script(
        (
            Rule(Match(model="gpt-*"), Behaviour(status=500)),
            Rule(Match(), Behaviour(status=501)),
        ),
    )
    assert _statuses(script, [0], _facts("gpt-x")) == [500]
    assert _statuses(script, [0], _facts("claude")) == [501]
    assert _statuses(Script(default=Behaviour(status=418)), [0]) == [418]


@pytest.mark.parametrize(
    ("match", "fits", "does_not"),
    [
        (Match(model="gpt-*"), _facts("gpt-x"), _facts("claude")),
        (Match(path="*/x"), _facts(), _facts(path="/v1/y")),
        (Match(key="sk-mock-?"), _facts(), _facts(key="sk-other")),
        (Match(key="id-sk-mock-a"), _facts(), _facts(key="sk-mock-b")),
        (Match(stream=True), _facts(stream=True), _facts()),
        (Match(stream=False), _facts(), _facts(stream=True)),
        (Match(reused=True), _facts(reused=True), _facts()),
    ],
)
def test_each_condition_is_about_its_own_fact(match: Match, fits: Facts, does_not: Facts) -> None:
    """Patterns and flags select the requests they describe and no others."""
    assert match.fits(fits, 0.0)
    assert not match.fits(does_not, 0.0)


@pytest.mark.parametrize(
    ("match", "times", "failing"),
    [
        (Match(after_s=5, before_s=7), [0, 4.9, 5, 6.9, 7], [2, 3]),
        (Match(period_s=10, before_s=2), [0, 1, 3, 11, 13, 20.5], [0, 1, 3, 5]),
        (Match(nth=2), [0] * 4, [1]),
        (Match(every=2), [0] * 5, [1, 3]),
        (Match(after_n=3), [0] * 5, [3, 4]),
        (Match(first_n=2), [0] * 4, [0, 1]),
        (Match(first_n=0), [0] * 2, []),
        (Match(fraction=0.0), [0] * 9, []),
        (Match(fraction=1.0), [0] * 2, [0, 1]),
        (Match(every=2, after_n=2), [0] * 6, [3, 5]),
    ],
)
def test_windows_and_counts_pick_their_requests(match: Match, times: list[float], failing: list[int]) -> None:
    """Time windows, counts and fractions act on exactly the requests they name."""
    statuses = _statuses(_script(match), times)
    assert [place for place, status in enumerate(statuses) if status == 503] == failing


def test_a_fraction_is_close_to_its_share_and_the_same_for_the_same_seed() -> None:
    """The dice give about the share that was asked for, and the seed gives the same life again."""
    script = _script(Match(fraction=0.3))
    life = _statuses(script, [0.0] * 1000, seed=5)
    assert life == _statuses(script, [0.0] * 1000, seed=5)
    assert life != _statuses(script, [0.0] * 1000, seed=6)
    assert 250 < life.count(503) < 350


def test_a_rule_counts_only_what_fits_it_and_reaches_it() -> None:
    """`nth` counts the requests that fit the rule's other conditions and that no earlier rule took."""
    script = Script(
        (
            Rule(Match(key="taken"), Behaviour(status=401)),
            Rule(Match(stream=True, nth=2), Behaviour(status=503)),
        ),
    )
    decider = Decider(script, random.Random(0))
    wanted = [(_facts(stream=True), 200), (_facts(), 200), (_facts(key="taken", stream=True), 401)]
    for facts, status in [*wanted, (_facts(stream=True), 503)]:
        assert decider.decide(facts, 0).behaviour.status == status


def test_a_ramp_starts_with_its_rule() -> None:
    """A delay's elapsed time begins at the rule's `after_s`, and its count is the rule's own."""
    ramp = Delay(0.0, 1.0, over_s=10)
    decider = Decider(Script((Rule(Match(after_s=5), Behaviour(delay_headers_s=ramp)),)), random.Random(0))
    assert decider.decide(_facts(), 1.0).seconds(0.25) == 0.25
    assert decider.decide(_facts(), 10.0).seconds(ramp) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("text", "behaviour"),
    [
        (
            '{"status": 429, "headers": {"retry-after": "7"}}',
            Behaviour(status=429, headers={"retry-after": "7"}),
        ),
        ("status=429; headers.retry-after=7", Behaviour(status=429, headers={"retry-after": 7})),
        ("cut_after_events=2;cut_with=rst;", Behaviour(cut_after_events=2, cut_with="rst")),
        ("html=true", Behaviour(html=True)),
        ("write_bytes=[1,2]", Behaviour(write_bytes=(1, 2))),
        ("delay_events_s.from_s=0.1; delay_events_s.to_s=0.2", Behaviour(delay_events_s=Delay(0.1, 0.2))),
        ("text=plain words", Behaviour(text="plain words")),
    ],
)
def test_a_fault_can_be_written_as_json_or_as_pairs(text: str, behaviour: Behaviour) -> None:
    """The inline forms say the same as a script would."""
    assert inline(text) == behaviour


@pytest.mark.parametrize(
    "text", ["status", "stauts=1", "status=abc", "{]", '{"status": 1}', "status.x=1;status=2;y"]
)
def test_a_wrong_inline_fault_is_an_error(text: str) -> None:
    """A fault that is not understood is never ignored."""
    with pytest.raises(ScriptError):
        inline(text)


def test_facts_do_not_show_the_key() -> None:
    """A credential is not part of a repr."""
    assert "sk-mock-a" not in repr(_facts()).replace("id-sk-mock-a", "")
