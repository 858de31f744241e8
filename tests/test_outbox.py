import pytest

from proxy.circuit import Cause, Change, Kind, Record, Rules
from proxy.outbox import Outbox, Untold

OK = Change(Kind.OK, "a")
FAIL = Change(Kind.FAIL, "a")


def filled(*changes: Change) -> Outbox:
    """An outbox in which these wait."""
    outbox = Outbox()
    for one in changes:
        outbox.put(one)
    return outbox


def test_it_is_closed_and_empty_at_first() -> None:
    """Nobody carries it, and there is nothing in it."""
    outbox = Outbox()
    assert (outbox.open, outbox.urgent, outbox.carried, len(outbox), outbox.take()) == (
        False,
        False,
        False,
        0,
        [],
    )


def test_successes_in_a_row_are_one_change() -> None:
    """Those of one name, also with those of others between them; each count adds up."""
    other = Change(Kind.OK, "b")
    outbox = filled(OK, other, OK, Change(Kind.OK, "a", count=3), other)
    assert len(outbox) == 2
    assert outbox.take() == [Change(Kind.OK, "a", count=5), Change(Kind.OK, "b", count=2)]
    assert not outbox.urgent


def test_ends_of_streams_are_a_row_of_their_own() -> None:
    """What they say is another thing than a success."""
    late = Change(Kind.OK, "a", late=True)
    two = Change(Kind.OK, "a", count=2)
    assert filled(OK, late, OK, late, FAIL, late).take() == [
        *(two, Change(Kind.OK, "a", count=2, late=True)),
        *(FAIL, late),
    ]


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.OK])
def test_the_order_of_what_happened_to_a_name_is_kept(kind: Kind) -> None:
    """Success, something else, success: the second is not told before what it came after."""
    change, other = Change(kind, "a"), Change(kind, "b")
    assert filled(OK, OK, change, OK, other, OK).take() == [
        *(Change(Kind.OK, "a", count=2), change),
        *(Change(Kind.OK, "a", count=2), other),
    ]


def test_the_success_of_a_probe_is_a_verdict() -> None:
    """It is not added to others, ends their row, and leaves at once."""
    verdict = Change(Kind.OK, "a", "token")
    outbox = filled(OK, verdict, OK, verdict)
    assert outbox.urgent
    assert outbox.take() == [OK, verdict, OK, verdict]


def test_what_is_taken_is_gone() -> None:
    """And what comes then begins a new row."""
    outbox = filled(OK, FAIL)
    assert outbox.take() == [OK, FAIL]
    assert (len(outbox), outbox.urgent) == (0, False)
    outbox.put(OK)
    assert outbox.take() == [OK]


def test_the_carrier_is_woken_for_what_is_urgent() -> None:
    """Once for all that waits; not for successes, which may wait for each other."""
    outbox, woken = Outbox(), []
    outbox.on_urgent(lambda: woken.append(len(outbox)))
    assert outbox.carried
    outbox.put(OK)
    assert (outbox.urgent, woken) == (False, [])
    outbox.put(FAIL)
    outbox.put(FAIL)
    assert (outbox.urgent, woken) == (True, [2])
    outbox.take()
    outbox.put(FAIL)
    assert woken == [2, 1]


NOW = 1_800_000_000_000
VERSION = NOW - 5
REFUSED = Change(Kind.REFUSE, "a")
SHORT = Record(open_until=NOW + 10, cause=Cause.RATE, version=VERSION)
LONG = Record(open_until=NOW + 90, cause=Cause.REFUSED, ejections=2)
PAST = Record(open_until=NOW, cause=Cause.RATE)


def hear(untold: Untold, kept: Record | None, told: Record | None) -> Record | None:
    """What is known of `a` when this is told of it."""
    return untold.joined("a", kept, told, (VERSION, NOW))


def test_what_is_told_holds_where_nothing_else_is_known() -> None:
    """And what is forgotten there is forgotten here, when nothing of it counts any more."""
    untold = Untold(Rules())
    assert hear(untold, None, SHORT) is SHORT
    assert hear(untold, None, None) is None
    assert hear(untold, PAST, SHORT) is SHORT
    assert hear(untold, SHORT, LONG) is LONG
    assert hear(untold, PAST, None) is None
    assert hear(untold, Record(open_until=NOW + 9), None) is None  # its probe has closed it
    assert hear(untold, Record(open_until=NOW + 9), Record(closed_at=NOW)) == Record(closed_at=NOW)
    assert untold.dirty == set()
    assert repr(untold) == "<Untold 0 to tell, 0 being told>"


def test_a_window_that_is_known_outlasts_its_being_forgotten() -> None:
    """It is kept, as of the version that forgot it, and told again."""
    untold = Untold(Rules())
    window = Record(back_offs=1, back_off_until=NOW + 9, version=7)
    assert hear(untold, window, None) == Record(back_off_until=NOW + 9, version=VERSION)
    assert untold.dirty == {"a"}


def test_no_deadline_is_brought_forward() -> None:
    """A circuit that was opened for longer stays open for as long, and the cluster is told."""
    untold = Untold(Rules())
    found = hear(untold, LONG, SHORT)
    assert found == Record(open_until=NOW + 90, cause=Cause.REFUSED, ejections=2, version=VERSION)
    assert untold.dirty == {"a"}


def test_what_was_decided_here_holds_until_it_is_told() -> None:
    """Marked as to be told, its circuit stays open, whatever the cluster says meanwhile."""
    untold = Untold(Rules())
    untold.dirty.add("a")
    kept = hear(untold, LONG, None)
    assert kept is not None
    assert (kept.open_until, kept.version) == (NOW + 90, VERSION)
    closed = hear(untold, LONG, Record(closed_at=NOW - 1, failures=2))
    assert closed is not None
    assert (closed.open_until, closed.failures) == (NOW + 90, 0)
    assert untold.dirty == {"a"}


def test_a_refusal_holds_while_it_is_on_its_way() -> None:
    """From when it leaves until all of its like are answered; nothing else that leaves holds here."""
    untold = Untold(Rules())
    untold.leaving([REFUSED, FAIL, REFUSED])
    assert repr(untold) == "<Untold 0 to tell, 1 being told>"
    untold.answered([FAIL, REFUSED])
    held = hear(untold, LONG, Record(closed_at=NOW))
    assert held is not None
    assert held.open_until == NOW + 90
    untold.answered([REFUSED])
    untold.answered([REFUSED])  # as after an answer that was given up on
    assert hear(untold, LONG, Record(closed_at=NOW)) == Record(closed_at=NOW)
    untold.leaving([REFUSED])
    assert repr(untold) == "<Untold 0 to tell, 1 being told>"


def test_what_is_marked_is_told_as_a_merge() -> None:
    """Each name once, with all that is known of it; until the answer it holds here."""
    untold = Untold(Rules())
    untold.dirty.update(("b", "a", "forgotten"))
    merges = untold.merges({"a": LONG, "b": SHORT, "c": SHORT})
    assert merges == [Change(Kind.MERGE, "a", record=LONG), Change(Kind.MERGE, "b", record=SHORT)]
    assert untold.dirty == set()
    assert repr(untold) == "<Untold 0 to tell, 2 being told>"
    held = hear(untold, LONG, Record(closed_at=NOW))
    assert held is not None
    assert held.open_until == NOW + 90
    untold.answered(merges)
    assert repr(untold) == "<Untold 0 to tell, 0 being told>"
    assert untold.merges({"a": LONG}) == []
