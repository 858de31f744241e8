import msgspec
import pytest

from ratelimit.quota import Decision, Demand, Dimension, Quota, Room
from ratelimit.refusals import MOST, Refusals
from ratelimit.scope import Kind, Scope

ACME = Scope.of(Kind.CLIENT, "acme", Quota(requests_per_minute=5), {"m": Quota(tokens_per_minute=2)})
LIMITS = ACME.limits("m")


def refused(by: Dimension, retry_after: float) -> Decision:
    """A refusal."""
    return Decision(False, by, "client acme", retry_after)


@pytest.mark.parametrize(
    ("by", "again", "covered"),
    [
        (Dimension.REQUESTS, Demand(2, 1), True),
        (Dimension.REQUESTS, Demand(1, 99), False),
        (Dimension.TOKENS, Demand(1, 50), True),
        (Dimension.TOKENS, Demand(9, 49), False),
        (Dimension.CONCURRENCY, Demand(0, 0), True),
        (Dimension.REQUESTS, Demand(3, 50), False),
        (Dimension.TOKENS, Demand(1, 51), False),
    ],
)
def test_a_refusal_answers_demands_that_wait_as_long(by: Dimension, again: Demand, covered: bool) -> None:
    """A smaller demand may fit, and a larger one waits longer: both have to ask."""
    refusals = Refusals()
    none = Room(60, 0, 60.0)
    decision = msgspec.structs.replace(refused(by, 5.0), requests=none, tokens=none)
    refusals.add(LIMITS, Demand(2, 50), decision, now=10.0)
    assert (refusals.find(LIMITS, again, now=10.05) is not None) == covered


@pytest.mark.parametrize(("tokens", "covered"), [(70, True), (71, False)])
def test_what_did_not_run_out_may_differ_while_it_fits(tokens: int, covered: bool) -> None:
    """A flood of requests of every size costs no call: only what would itself wait has to ask."""
    refusals = Refusals()
    decision = msgspec.structs.replace(refused(Dimension.REQUESTS, 5.0), tokens=Room(100, 70, 18.0))
    refusals.add(LIMITS, Demand(1, 50), decision, now=10.0)
    assert (refusals.find(LIMITS, Demand(1, tokens), now=10.05) is not None) == covered


def test_the_wait_shrinks_while_it_is_told() -> None:
    """Whoever asks later has waited already."""
    refusals = Refusals()
    refusals.add(LIMITS, Demand(), refused(Dimension.REQUESTS, 5.0), now=10.0)
    found = refusals.find(LIMITS, Demand(), now=10.75)
    assert found is not None
    assert found.retry_after == 4.25


@pytest.mark.parametrize(
    ("by", "retry_after", "believed"),
    [(Dimension.REQUESTS, 0.2, 0.2), (Dimension.TOKENS, 60.0, 1.0), (Dimension.CONCURRENCY, 1.0, 0.1)],
)
def test_a_refusal_is_believed_for_a_moment_only(by: Dimension, retry_after: float, believed: float) -> None:
    """Until the demand fits, or a second has passed, or a place may have come free."""
    refusals = Refusals()
    refusals.add(LIMITS, Demand(), refused(by, retry_after), now=0.0)
    assert refusals.find(LIMITS, Demand(), now=believed - 0.001) is not None
    assert refusals.find(LIMITS, Demand(), now=believed) is None
    assert len(refusals) == 0


def test_what_is_given_back_clears_it() -> None:
    """And another set of limits was never refused."""
    refusals = Refusals()
    refusals.add(LIMITS, Demand(), refused(Dimension.REQUESTS, 5.0), now=0.0)
    assert refusals.find(ACME.limits(), Demand(), now=0.0) is None
    refusals.clear(LIMITS)
    assert refusals.find(LIMITS, Demand(), now=0.0) is None


def test_memory_is_bounded() -> None:
    """The oldest refusal goes first."""
    refusals = Refusals()
    for number in range(MOST + 1):
        limits = Scope.of(Kind.CLIENT, f"c{number}", Quota(requests_per_minute=1)).limits()
        refusals.add(limits, Demand(), refused(Dimension.REQUESTS, 5.0), now=0.0)
    assert len(refusals) == MOST
