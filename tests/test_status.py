"""Tests of `proxy.status`: what follows from the facts."""

import msgspec
import pytest
from fakes.statuses import EJECTED, LIMIT, MODEL, READY, STATUS, status

from proxy.replicas import About
from proxy.status import ModelSeen, Shape, totals


@pytest.mark.parametrize(
    ("shape", "takes"),
    [
        (Shape.READY, True),
        (Shape.SLOW_START, True),
        (Shape.BUSY, True),
        (Shape.BACKING_OFF, False),
        (Shape.HALF_OPEN, False),
        (Shape.EJECTED, False),
        (Shape.REFUSED, False),
        (Shape.DRAINED, False),
    ],
)
def test_who_takes_requests(shape: Shape, takes: bool) -> None:
    """A busy one does when it has room; one that is spared does in spite of everything."""
    assert msgspec.structs.replace(READY, shape=shape).takes == takes
    assert msgspec.structs.replace(READY, shape=shape, spared=True).takes


def test_a_model_counts_its_takers() -> None:
    """And a target is known by its place where its key does not matter."""
    assert MODEL.takers == 1
    assert (READY.place, EJECTED.place) == ("a/small", "b/small")


@pytest.mark.parametrize(
    ("version", "config", "mixed"), [("1.2.3", "abc", False), ("1.2.4", "abc", True), ("1.2.3", "abd", True)]
)
def test_a_cluster_is_mixed_where_replicas_differ(version: str, config: str, mixed: bool) -> None:
    """In what runs, or in what it was told."""
    other = About("two", version, config, 6)
    assert status(members=(STATUS.members[0], other)).mixed == mixed


def test_what_did_not_fit_counts_for_a_model() -> None:
    """A part of it may look otherwise than the whole."""
    cut = ModelSeen("small", "weighted", (EJECTED,), 0, 9, 8)
    assert (cut.count, cut.takers) == (10, 8)


def test_totals_are_of_everything() -> None:
    """Models without any target are not dark: there is nothing that could take requests."""
    dark = [ModelSeen(f"m{number}", "weighted", (EJECTED, EJECTED)) for number in range(5)]
    told = totals([MODEL, *dark, ModelSeen("none", "weighted", ())])
    assert (told.models, told.targets, told.takers, told.out) == (7, 12, 1, {Shape.EJECTED: 11})
    assert (told.dark, told.dark_names) == (5, ("m0", "m1", "m2"))


def test_limits_that_are_reached_are_counted_and_some_are_named() -> None:
    """Those that are not reached are not."""
    reached = msgspec.structs.replace(LIMIT, reached=True)
    told = totals([], [reached] * 5 + [LIMIT], 50)
    assert (told.reached, told.reached_names) == (50, ("client acme",) * 3)
