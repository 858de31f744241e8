from proxy.blunders import KINDS, OTHER, TARGETS, Blunder, Blunders


def test_each_kind_is_counted_and_the_last_comes_first() -> None:
    """Target by target."""
    blunders = Blunders()
    for at, kind in enumerate(("connect", "status_503", "status_503", "reset", "connect"), 10):
        blunders.note("a", kind, at)
    blunders.note("b", "reset", 99)
    assert blunders.of("a") == [
        Blunder("connect", 2, 14),
        Blunder("reset", 1, 13),
        Blunder("status_503", 2, 12),
    ]
    assert blunders.of("c") == []
    assert repr(blunders) == "<Blunders at 2>"


def test_kinds_are_bounded() -> None:
    """A provider that makes statuses up fills no memory; what was known is counted on."""
    blunders = Blunders()
    for number in range(KINDS + 10):
        blunders.note("a", f"status_{number}", number)
    blunders.note("a", "status_0", 1_000)
    found = {one.kind: one.count for one in blunders.of("a")}
    assert len(found) == KINDS + 1
    assert (found[OTHER], found["status_0"]) == (10, 2)


def test_targets_are_bounded() -> None:
    """The one that had no trouble for the longest time is forgotten."""
    blunders = Blunders()
    for number in range(TARGETS):
        blunders.note(str(number), "reset", 1)
    blunders.note("0", "reset", 2)
    blunders.note("new", "reset", 3)
    assert (len(blunders.of("0")), blunders.of("1"), len(blunders.of("new"))) == (1, [], 1)


def test_the_last_words_of_each_kind_are_kept() -> None:
    """A later failure without a word leaves none."""
    blunders = Blunders()
    blunders.note("a", "status_404", 1, "no such model")
    blunders.note("a", "status_401", 2, "an old key")
    blunders.note("a", "status_401", 3)
    assert [(one.kind, one.said) for one in blunders.of("a")] == [
        ("status_401", ""),
        ("status_404", "no such model"),
    ]
