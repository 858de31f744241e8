import pytest

from proxy.circuit import Change, Kind
from proxy.outbox import Outbox

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
