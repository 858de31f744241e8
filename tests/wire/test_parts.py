from typing import Any

import pytest

from proxy.errors import Refusal
from proxy.wire import parts
from proxy.wire.conversation import Audio, CacheFor


@pytest.mark.parametrize(
    ("mark", "cache"),
    [
        (None, None),
        ("odd", None),
        ({"mode": "explicit"}, "short"),
        ({"mode": "explicit", "ttl": "30m"}, "short"),
        ({"mode": "explicit", "ttl": "12h"}, "long"),
    ],
)
def test_for_how_long_a_part_is_cached(mark: Any, cache: CacheFor | None) -> None:
    """What is no mark asks for nothing."""
    assert parts.cache({parts.MARK: mark}) == cache
    assert parts.cache({}) is None


@pytest.mark.parametrize("cache", ["short", "long"])
def test_a_mark_says_what_it_is_read_as(cache: CacheFor) -> None:
    """There and back."""
    assert parts.cache({parts.MARK: parts.mark_of(cache)}) == cache


def test_spoken_input() -> None:
    """With its format."""
    assert parts.audio({"input_audio": {"format": "wav", "data": "UklG"}}, "p") == Audio("wav", "UklG")


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({}, "p.input_audio"),
        ({"input_audio": 5}, "p.input_audio"),
        ({"input_audio": {"data": "UklG"}}, "p.input_audio.format"),
        ({"input_audio": {"format": "wav"}}, "p.input_audio.data"),
    ],
)
def test_what_is_no_spoken_input(part: dict[str, Any], param: str) -> None:
    """Its place is named."""
    with pytest.raises(Refusal) as caught:
        parts.audio(part, "p")
    assert (caught.value.status, caught.value.param) == (400, param)


def test_what_cannot_be_passed_on() -> None:
    """Its place is named."""
    with pytest.raises(Refusal) as caught:
        parts.refuse("messages[0].audio")
    assert (caught.value.status, caught.value.param) == (400, "messages[0].audio")
