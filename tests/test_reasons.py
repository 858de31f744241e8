from proxy.moment import Came
from proxy.reasons import BY, CAME, TIMED, WHY
from proxy.routing import _COSTS, Reason


def test_there_are_words_for_all_of_it() -> None:
    """Each reason, each strategy and each end of a pick."""
    assert set(WHY) | {Reason.STRATEGY} == set(Reason)
    assert set(BY) == set(_COSTS)
    assert set(CAME) | {Came.TRIED} == set(Came)


def test_what_time_mends_says_when() -> None:
    """And nothing else does."""
    assert {reason for reason, words in WHY.items() if "{wait}" in words} == TIMED
