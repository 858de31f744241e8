import json

import pytest

from proxy.wire.surrogates import Joiner, replaced


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (rb'"plain"', "plain"),
        (rb'"\ud83d\ude00"', "😀"),
        (rb'"a\ud83d"', "a�"),
        (rb'"\ude00b"', "�b"),
        (rb'"\ud83d\ud83d\ude00"', "�😀"),
        (rb'"\\ud83d"', r"\ud83d"),
        (rb'"\\\ud83d"', "\\�"),
        (rb'"\n\u00e9"', "\né"),
    ],
)
def test_a_half_that_is_alone_is_replaced(data: bytes, text: str) -> None:
    """Whole letters and what only looks like an escape stay."""
    assert json.loads(replaced(data)) == text


def test_halves_of_two_events_are_joined() -> None:
    """The first waits for the second, wherever one text ends and the next begins."""
    joiner = Joiner()
    assert joiner.mended(rb'{"a":"Hi \ud83d"}') == b'{"a":"Hi "}'
    assert json.loads(joiner.mended(rb'{"a":"\ude00!"}')) == {"a": "😀!"}


def test_halves_that_do_not_meet_are_replaced() -> None:
    """And one that waited in vain is forgotten."""
    joiner = Joiner()
    assert json.loads(joiner.mended(rb'{"a":"x\ude00"}')) == {"a": "x�"}
    joiner.mended(rb'{"a":"\ud83d"}')
    assert json.loads(joiner.mended(rb'{"a":"x\ude00"}')) == {"a": "x�"}
    assert json.loads(joiner.mended(rb'{"a":"\ude00"}')) == {"a": "�"}
