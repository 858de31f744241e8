import pytest

from ratelimit.quota import UNLIMITED, Demand, Quota, Window
from ratelimit.scope import Kind, Scope, unlimited


def test_a_client_is_limited_by_its_own_limit_and_the_models() -> None:
    """Both live under one hash tag, so one script call admits them together."""
    acme = Scope.of(
        Kind.CLIENT,
        "3fa9",
        Quota(requests_per_minute=60),
        {"gpt-4o": Quota(tokens_per_minute=10, window=Window.STRICT)},
        name="acme",
    )
    assert [limit.key for limit in acme.limits("gpt-4o")] == [
        "rl:{client:3fa9}:smooth",
        "rl:{client:3fa9}:strict:gpt-4o",
    ]
    assert [limit.name for limit in acme.limits("gpt-4o")] == ["client acme", "client acme, model gpt-4o"]
    assert {limit.tag for limit in acme.limits("gpt-4o")} == {"client:3fa9"}
    assert acme.limits("other") == acme.limits() == acme.own
    assert acme.all == acme.limits("gpt-4o")


def test_what_is_not_limited_has_no_limits() -> None:
    """So it costs no call."""
    free = Scope.of(Kind.KEY, "ab12", Quota(), {"gpt-4o": Quota(burst=3)})
    assert free.limits("gpt-4o") == ()
    assert Scope.of(Kind.CLIENT, "x", Quota(), {"m": Quota(concurrency=1)}).limits() == ()


@pytest.mark.parametrize("tag", ["", "a}b", "{a"])
def test_a_tag_that_would_move_the_hash_tag_is_refused(tag: str) -> None:
    """In a Redis Cluster the keys of one scope would land on different servers."""
    with pytest.raises(ValueError, match="no braces"):
        Scope.of(Kind.MODEL, tag, Quota(requests_per_minute=1))


def test_an_unlimited_reservation_holds_nothing() -> None:
    """It can be settled like any other."""
    reservation = unlimited(Demand(1, 5))
    assert (reservation.limits, reservation.decision) == ((), UNLIMITED)
