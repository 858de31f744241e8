from typing import Any

from proxy.wire.conversation import CacheFor
from proxy.wire.messages.marks import MOST, Marks

SIX: list[CacheFor] = ["short"] * 6
FOUR: list[CacheFor] = ["long"] * MOST
SHORT = {"type": "ephemeral"}
LONG = {"type": "ephemeral", "ttl": "1h"}


def placed(*caches: CacheFor | None, taken: bool = True) -> list[Any]:
    """The marks of blocks that asked for these."""
    marks = Marks(taken=taken)
    blocks = [marks.note({}, cache) for cache in caches]
    marks.place()
    return [block.get("cache_control") for block in blocks]


def test_marks_stand_where_they_were_asked_for() -> None:
    """And nowhere else."""
    assert placed("long", None, "short") == [LONG, None, SHORT]


def test_the_last_four_are_kept() -> None:
    """Each covers all before it."""
    assert placed(*SIX) == [None] * 2 + [SHORT] * MOST


def test_no_long_mark_comes_after_a_short_one() -> None:
    """Anthropic refuses it: the later one lives shorter then."""
    assert placed("long", "short", "long") == [LONG, SHORT, SHORT]


def test_marks_that_fell_out_do_not_count() -> None:
    """A short one that is left out makes no later one short."""
    assert placed("short", *FOUR) == [None, *[LONG] * MOST]


def test_other_providers_get_none() -> None:
    """They would refuse the field."""
    assert placed("long", "short", taken=False) == [None, None]
