from ratelimit.held import Held, OpenReservations
from ratelimit.quota import UNLIMITED, Demand, Quota
from ratelimit.scope import Kind, Limits, Reservation, Scope

ACME = Scope.of(Kind.CLIENT, "acme", Quota(concurrency=5), {"m": Quota(concurrency=2)})


def held(rid: str, limits: Limits, since: float = 0.0) -> Held:
    """An open reservation."""
    return Held(Reservation(rid, limits, Demand(), UNLIMITED), since)


def test_a_reservation_is_taken_once() -> None:
    """Whoever comes second finds nothing, and settles nothing."""
    open_ = OpenReservations()
    one = held("a", ACME.limits("m"))
    open_.add(one)
    assert len(open_) == 1
    assert "a" in open_
    assert open_.take("a") is one
    assert open_.take("a") is None
    assert open_.of(ACME.own[0]) == ()


def test_a_limit_knows_who_holds_it() -> None:
    """Both limits of a scope are held by a request for the model."""
    open_ = OpenReservations()
    open_.add(held("a", ACME.limits("m")))
    open_.add(held("b", ACME.limits()))
    own, model = ACME.limits("m")
    assert open_.of(own) == ("a", "b")
    assert open_.of(model) == ("a",)


def test_only_what_is_old_enough_needs_a_heartbeat() -> None:
    """Most requests end before their lease has to be renewed."""
    open_ = OpenReservations()
    open_.add(held("old", ACME.limits("m"), since=1.0))
    open_.add(held("new", ACME.limits(), since=8.0))
    own, model = ACME.limits("m")
    assert open_.by_limit(5.0) == ((own, ["old"]), (model, ["old"]))
