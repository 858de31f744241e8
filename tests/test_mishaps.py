from proxy.mishaps import KINDS, OTHER, TARGETS, Mishap, Mishaps


def test_each_kind_is_counted_and_the_last_comes_first() -> None:
    """Target by target."""
    mishaps = Mishaps()
    for at, kind in enumerate(("connect", "status_503", "status_503", "reset", "connect"), 10):
        mishaps.note("a", kind, at)
    mishaps.note("b", "reset", 99)
    assert mishaps.of("a") == [Mishap("connect", 2, 14), Mishap("reset", 1, 13), Mishap("status_503", 2, 12)]
    assert mishaps.of("c") == []
    assert repr(mishaps) == "<Mishaps at 2>"


def test_kinds_are_bounded() -> None:
    """A provider that makes statuses up fills no memory; what was known is counted on."""
    mishaps = Mishaps()
    for number in range(KINDS + 10):
        mishaps.note("a", f"status_{number}", number)
    mishaps.note("a", "status_0", 1_000)
    found = {one.kind: one.count for one in mishaps.of("a")}
    assert len(found) == KINDS + 1
    assert (found[OTHER], found["status_0"]) == (10, 2)


def test_targets_are_bounded() -> None:
    """The one that had no trouble for the longest time is forgotten."""
    mishaps = Mishaps()
    for number in range(TARGETS):
        mishaps.note(str(number), "reset", 1)
    mishaps.note("0", "reset", 2)
    mishaps.note("new", "reset", 3)
    assert (len(mishaps.of("0")), mishaps.of("1"), len(mishaps.of("new"))) == (1, [], 1)
