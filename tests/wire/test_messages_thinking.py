import pytest

from proxy.errors import Refusal
from proxy.profiles import Quirks
from proxy.wire.conversation import Effort, Reasoning
from proxy.wire.losses import Losses
from proxy.wire.messages import thinking
from proxy.wire.messages.thinking import Asked, Situation
from proxy.wire.model import Dialect

FREE = Situation(forced=False, unthought=False, bound=None)
FORCED = Situation(forced=True, unthought=False, bound=None)
UNTHOUGHT = Situation(forced=False, unthought=True, bound=None)
ADAPTIVE = Quirks(thinks="adaptive")
BUDGET = Quirks(thinks="budget")


def ask(
    reasoning: Reasoning, situation: Situation = FREE, quirks: Quirks = ADAPTIVE, *, strict: bool = False
) -> tuple[Asked, str]:
    """What is asked, and what was lost of it."""
    losses = Losses(Dialect.MESSAGES, strict=strict)
    return thinking.ask(reasoning, situation, quirks, losses), losses.header()


def bounded(bound: int) -> Situation:
    """A client that set a bound."""
    return Situation(forced=False, unthought=False, bound=bound)


@pytest.mark.parametrize("quirks", [ADAPTIVE, BUDGET, Quirks(thinks="no")])
def test_where_nobody_asks_nothing_is_asked(quirks: Quirks) -> None:
    """The model does as it does; the bound is the usual one."""
    assert ask(Reasoning(), FREE, quirks) == (Asked(32_000), "")
    assert ask(Reasoning(shown=True), bounded(5), quirks) == (Asked(5), "")


@pytest.mark.parametrize(
    ("effort", "sent"), [("minimal", "low"), ("low", "low"), ("high", "high"), ("max", "max")]
)
def test_newer_models_take_an_effort(effort: Effort, sent: str) -> None:
    """And decide themselves."""
    assert ask(Reasoning(effort)) == (Asked(32_000, {"type": "adaptive"}, sent), "")


@pytest.mark.parametrize(("budget", "sent"), [(1024, "low"), (4096, "medium"), (10_000, "high")])
def test_newer_models_take_no_budget(budget: int, sent: str) -> None:
    """The nearest effort stands for it."""
    assert ask(Reasoning(budget=budget))[0].effort == sent


@pytest.mark.parametrize(("shown", "display"), [(True, "summarized"), (False, "omitted")])
def test_whether_thinking_is_shown(shown: bool, display: str) -> None:
    """Asked for where thinking is."""
    asked, _ = ask(Reasoning("low", shown=shown))
    assert asked.thinking == {"type": "adaptive", "display": display}


@pytest.mark.parametrize("quirks", [ADAPTIVE, BUDGET])
def test_no_thinking_is_said(quirks: Quirks) -> None:
    """Some models think unless told not to."""
    asked, lost = ask(Reasoning("none"), FREE, quirks)
    assert (asked.thinking, asked.active, lost) == ({"type": "disabled"}, False, "")


def test_models_that_do_not_think_are_not_asked() -> None:
    """That is a loss, unless nobody wanted it."""
    quirks = Quirks(thinks="no")
    assert ask(Reasoning("none"), FREE, quirks) == (Asked(32_000), "")
    assert ask(Reasoning("high"), FREE, quirks) == (Asked(32_000), "dropped=reasoning.effort")
    with pytest.raises(Refusal):
        ask(Reasoning("high"), FREE, quirks, strict=True)


@pytest.mark.parametrize(("effort", "tokens"), thinking.BUDGETS.items())
def test_older_models_take_a_budget(effort: Effort, tokens: int) -> None:
    """Within the usual bound, with room for an answer."""
    asked, lost = ask(Reasoning(effort), FREE, BUDGET)
    assert asked == Asked(32_000, {"type": "enabled", "budget_tokens": min(tokens, 32_000 - thinking.ROOM)})
    assert lost == ""
    assert asked.active


def test_a_bound_of_ours_gives_way() -> None:
    """Where too little of the thinking would fit; a client's never."""
    small = Quirks(thinks="budget", max_output=8192)
    assert ask(Reasoning("high"), FREE, small)[0].max_tokens == 16_384 + thinking.ROOM
    assert ask(Reasoning("high"), bounded(8192), small)[0].max_tokens == 8192


@pytest.mark.parametrize(
    ("bound", "budget", "lost"),
    [
        (100, None, "dropped=reasoning.effort"),
        (1024, None, "dropped=reasoning.effort"),
        (1025, 1024, "clamped=reasoning.effort"),
        (4000, 3000, "clamped=reasoning.effort"),
        (60_000, 16_384, ""),
    ],
)
def test_a_budget_is_less_than_the_bound(bound: int, budget: int | None, lost: str) -> None:
    """At least 1024 tokens, or no thinking."""
    expected = {"type": "enabled", "budget_tokens": budget} if budget else None
    assert ask(Reasoning("high"), bounded(bound), BUDGET) == (Asked(bound, expected), lost)


def test_a_budget_of_the_clients_own() -> None:
    """Goes before the effort, and is at least 1024."""
    asked, _ = ask(Reasoning("low", budget=5000), bounded(20_000), BUDGET)
    assert asked.thinking == {"type": "enabled", "budget_tokens": 5000}
    asked, _ = ask(Reasoning(budget=1), bounded(20_000), BUDGET)
    assert asked.thinking == {"type": "enabled", "budget_tokens": 1024}


@pytest.mark.parametrize("situation", [FORCED, UNTHOUGHT])
def test_a_budget_and_what_stands_in_its_way(situation: Situation) -> None:
    """A forced call, or a turn to go on from without its thinking, goes before thinking."""
    assert ask(Reasoning("high"), situation, BUDGET) == (Asked(32_000), "dropped=reasoning.effort")


def test_a_forced_call_at_newer_models() -> None:
    """The effort stays; a lost turn of thinking is no matter there."""
    asked, lost = ask(Reasoning("high"), FORCED)
    assert (asked, lost) == (Asked(32_000, None, "high"), "changed=reasoning.effort")
    assert ask(Reasoning("high"), UNTHOUGHT)[0].active
