import pytest

from proxy.errors import Refusal
from proxy.wire import turns
from proxy.wire.conversation import Role, Text, ToolResult, ToolUse, Turn


def said(role: Role, *words: str) -> Turn:
    """A turn of plain texts."""
    return Turn(role, tuple(map(Text, words)))


def user(*words: str) -> Turn:
    """A user, in plain texts."""
    return said(Role.USER, *words)


def calls(*ids: str) -> Turn:
    """An assistant that calls tools."""
    return Turn(Role.ASSISTANT, tuple(ToolUse(name, "f", "{}") for name in ids))


def results(*ids: str) -> Turn:
    """What they gave."""
    return Turn(Role.USER, tuple(ToolResult(name, (Text("1"),)) for name in ids))


def test_leading_instructions_stand_apart() -> None:
    """System and developer alike, up to the first word of anybody else."""
    lead = (said(Role.SYSTEM, "a"), said(Role.DEVELOPER, "b"))
    rest = (user("c"), said(Role.SYSTEM, "d"))
    assert turns.split((*lead, *rest)) == (lead, rest)
    assert turns.split(lead) == (lead, ())
    assert turns.split(rest) == ((), rest)


def test_neighbours_of_one_role_are_one_turn() -> None:
    """Their blocks in the order they had."""
    merged = turns.merged([user("a"), user("b"), said(Role.ASSISTANT, "c"), user("d")])
    assert merged == [user("a", "b"), said(Role.ASSISTANT, "c"), user("d")]


@pytest.mark.timeout(20)
def test_a_great_many_neighbours() -> None:
    """Each is looked at once."""
    assert len(turns.merged([user("a")] * 100_000)[0].blocks) == 100_000


@pytest.mark.parametrize(("phases", "kept"), [(("x", "x"), "x"), (("x", "y"), None), (("x", None), None)])
def test_the_phase_stays_where_it_is_the_same(
    phases: tuple[str | None, str | None], kept: str | None
) -> None:
    """A turn of two phases has none."""
    parts = [Turn(Role.ASSISTANT, (Text("a"),), phase) for phase in phases]
    assert turns.merged(parts)[0].phase == kept


def test_results_come_first_in_their_order() -> None:
    """And so does the rest."""
    one, two = results("a").blocks[0], results("b").blocks[0]
    mixed = Turn(Role.USER, (Text("x"), one, Text("y"), two))
    assert turns.results_first(mixed).blocks == (one, two, Text("x"), Text("y"))
    ordered = Turn(Role.USER, (one, Text("x")))
    assert turns.results_first(ordered) is ordered


def test_every_call_is_answered() -> None:
    """What is complete stays as it is."""
    whole = [user("q"), calls("a", "b"), results("b", "a"), said(Role.ASSISTANT, "done")]
    assert turns.answered(whole) == (whole, [])


def test_a_missing_result_is_made_up() -> None:
    """At the head of the next turn, in a turn of its own, or at the end."""
    made = ToolResult("a", (Text(turns.MISSING),), error=True)
    other = results("b").blocks[0]
    assert turns.answered([calls("a", "b"), results("b")]) == (
        [calls("a", "b"), Turn(Role.USER, (made, other))],
        ["a"],
    )
    alone = Turn(Role.USER, (made,))
    after = said(Role.ASSISTANT, "so")
    assert turns.answered([calls("a"), after]) == ([calls("a"), alone, after], ["a"])
    assert turns.answered([calls("a")]) == ([calls("a"), alone], ["a"])


def test_instructions_do_not_come_between_a_call_and_its_result() -> None:
    """They are nobody's turn."""
    whole = [calls("a"), said(Role.SYSTEM, "s"), results("a")]
    assert turns.answered(whole) == (whole, [])


@pytest.mark.parametrize(
    "orphaned",
    [
        [results("a")],
        [calls("a"), results("b")],
        [calls("a"), results("a"), said(Role.ASSISTANT, "x"), results("a")],
    ],
)
def test_a_result_without_its_call_is_refused(orphaned: list[Turn]) -> None:
    """It has to be that of the turn before."""
    with pytest.raises(Refusal, match="No tool call found") as caught:
        turns.answered(orphaned)
    assert caught.value.status == 400


def test_a_user_begins() -> None:
    """Also where nobody has said anything."""
    filler = user(turns.FILLER)
    assert turns.user_first([said(Role.ASSISTANT, "a")]) == [filler, said(Role.ASSISTANT, "a")]
    assert turns.user_first([]) == [filler]
    assert turns.user_first([user("a")]) == [user("a")]
