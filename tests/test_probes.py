from proxy.circuit import Change, Kind, Record
from proxy.probes import GRACE, RENEWALS, Probes

NOW = 1_800_000_000_000
LEASE = 10_000


def granted(changes: list[Change], lease: int = LEASE) -> dict[str, Record]:
    """The records after all of these claims were granted at `NOW`."""
    return {one.name: Record(open_until=1, probe=one.token, probe_until=NOW + lease) for one in changes}


def with_grants(*names: str) -> Probes:
    """Probes of which those of `names` are granted."""
    probes = Probes("me")
    claims = probes.ask(names)
    assert probes.answered(claims, granted(claims), NOW)
    return probes


def told(changes: list[Change]) -> list[tuple[Kind, str, str]]:
    """What is told of which name, with which token."""
    return [(one.kind, one.name, one.token) for one in changes]


def test_a_lease_is_asked_for_once() -> None:
    """Not again while the answer is awaited or while it is granted; again where it was not granted."""
    probes = Probes("me")
    claims = probes.ask(["a", "b"])
    assert told(claims) == [(Kind.CLAIM, "a", "me.1"), (Kind.CLAIM, "b", "me.2")]
    assert probes.ask(["a", "b"]) == []
    assert (probes.awaited(["c", "b"]), probes.awaited(["c"])) == (True, False)
    records = {"a": granted(claims)["a"], "b": Record(open_until=1, probe="you.7", probe_until=NOW + 1)}
    assert probes.answered(claims, records, NOW)
    assert not probes.awaited(["a", "b"])
    assert (probes.granted(["a"]), probes.granted(["b"]), probes.granted(["a", "b"])) == (True, False, False)
    assert told(probes.ask(["a", "b"])) == [(Kind.CLAIM, "b", "me.3")]
    assert repr(probes) == "<Probes 1 asked, 1 granted, 0 on their way>"


def test_whether_any_is_granted() -> None:
    """Neither what is only asked for counts, nor what is on its way."""
    probes = Probes("me")
    claims = probes.ask(["a"])
    assert not probes
    probes.answered(claims, granted(claims), NOW)
    assert probes
    probes.begin(["a"])
    assert not probes


def test_only_claims_of_this_replica_are_answered() -> None:
    """What else was told is none, and a name that is forgotten grants nothing."""
    probes = Probes("me")
    (claim,) = probes.ask(["a"])
    others = [Change(Kind.OK, "a"), Change(Kind.RENEW, "a", claim.token), Change(Kind.CLAIM, "b", "you.1")]
    assert not probes.answered(others, granted([claim, *others]), NOW)
    assert probes.ask(["a"]) == []  # still awaited
    assert not probes.answered([claim], {}, NOW)
    assert told(probes.ask(["a"])) == [(Kind.CLAIM, "a", "me.2")]


def test_a_probe_takes_its_tokens_with_it() -> None:
    """All of a target's names at once; then they may be asked for again, by who is not the probe."""
    probes = with_grants("a", "b", "c")
    assert probes.begin(["a", "b"]) == {"a": "me.1", "b": "me.2"}
    assert not probes.granted(["a"])
    assert probes.granted(["c"])
    assert repr(probes) == "<Probes 0 asked, 1 granted, 2 on their way>"
    probes.end({"a": "me.1", "b": "me.2"})
    probes.end({"a": "me.1"})
    assert repr(probes) == "<Probes 0 asked, 1 granted, 0 on their way>"


def test_the_end_of_an_old_probe_ends_no_new_one() -> None:
    """A probe whose lease had lapsed may come back after another of the same name has begun."""
    probes = with_grants("a")
    old = probes.begin(["a"])
    claims = probes.ask(["a"])
    probes.answered(claims, granted(claims), NOW)
    new = probes.begin(["a"])
    probes.end(old)
    assert told(probes.tend(NOW, LEASE)) == [(Kind.RENEW, "a", new["a"])]


def test_a_grant_that_nobody_uses_is_given_up() -> None:
    """After a moment, once; then it may be asked for again."""
    probes = with_grants("a", "b")
    assert probes.tend(NOW + GRACE - 1, LEASE) == []
    assert told(probes.tend(NOW + GRACE, LEASE)) == [(Kind.RELEASE, "a", "me.1"), (Kind.RELEASE, "b", "me.2")]
    assert probes.tend(NOW + GRACE, LEASE) == []
    assert not probes.granted(["a"])
    assert told(probes.ask(["a"])) == [(Kind.CLAIM, "a", "me.3")]


def test_all_grants_may_be_given_up_at_once() -> None:
    """Those on their way are not: they still come to a verdict."""
    probes = with_grants("a", "b", "c")
    probes.begin(["b"])
    assert told(probes.give_up()) == [(Kind.RELEASE, "a", "me.1"), (Kind.RELEASE, "c", "me.3")]
    assert probes.give_up() == []
    assert repr(probes) == "<Probes 0 asked, 0 granted, 1 on their way>"


def test_a_grant_ends_well_before_its_lease() -> None:
    """However short that is: what another replica may claim nobody here may still use."""
    probes = Probes("me")
    claims = probes.ask(["a"])
    probes.answered(claims, granted(claims, lease=400), NOW)
    assert probes.tend(NOW + 199, 400) == []
    assert told(probes.tend(NOW + 200, 400)) == [(Kind.RELEASE, "a", "me.1")]


def test_the_lease_of_a_probe_on_its_way_is_renewed() -> None:
    """Several times in its own time, at once for the first, until it ends; no other is."""
    probes = with_grants("a", "b")
    tokens = probes.begin(["a"])
    renewed = [at for at in range(0, LEASE, 100) if probes.tend(NOW + at, 10 * GRACE)]
    assert renewed == [0, GRACE, 2_500, 5_000, 7_500]  # at GRACE the unused one was given up
    assert len(renewed) == RENEWALS + 1
    probes.end(tokens)
    assert probes.tend(NOW + 2 * LEASE, LEASE) == []


def test_leases_are_renewed_after_the_clock_was_set_back() -> None:
    """The times of a server that took over may be earlier."""
    probes = with_grants("a")
    probes.begin(["a"])
    assert told(probes.tend(NOW, LEASE)) == [(Kind.RENEW, "a", "me.1")]
    assert probes.tend(NOW - 100, LEASE) == []
    assert told(probes.tend(NOW - 60_000, LEASE)) == [(Kind.RENEW, "a", "me.1")]
    assert probes.tend(NOW - 59_000, LEASE) == []
