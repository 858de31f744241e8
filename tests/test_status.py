"""Tests of `proxy.status`: what follows from the facts."""

import msgspec
import pytest
from fakes.statuses import EJECTED, MODEL, READY, STATUS, status

from proxy.replicas import About
from proxy.status import Shape


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
