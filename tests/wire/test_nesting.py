import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.nesting import Nesting


def too_deep(body: bytes, limit: int) -> bool:
    """Whether a body that is fed at once is nested deeper than `limit`."""
    nesting = Nesting(limit)
    nesting.feed(body)
    return nesting.too_deep


def deepest(text: str) -> int:
    """How deep the brackets of a JSON text are nested, by reading it letter by letter."""
    depth = most = 0
    inside = escaped = False
    for letter in text:
        if escaped:
            escaped = False
        elif inside:
            escaped = letter == "\\"
            inside = letter != '"'
        elif letter == '"':
            inside = True
        elif letter in "[{":
            depth += 1
            most = max(most, depth)
        elif letter in "]}":
            depth -= 1
    return most


TEXTS = st.text(alphabet='a"\\[]{}ü', max_size=8)
VALUES = st.recursive(
    TEXTS | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=25,
)


@given(VALUES, st.integers(1, 8))
def test_too_deep_agrees_with_a_plain_reader(value: Any, limit: int) -> None:
    """The fast look at nesting says what counting bracket by bracket says, strings and escapes included."""
    text = json.dumps(value, ensure_ascii=False)
    assert too_deep(text.encode(), limit) == (deepest(text) > limit)


@pytest.mark.parametrize(
    ("body", "deep"),
    [
        (b"[" * 4 + b"]" * 4, False),
        (b"[" * 5 + b"]" * 5, True),
        (b"[" * 5, True),
        (b"[]" * 50, False),
        (b"]" * 3 + b"[" * 5, True),
        (b'{"a": "[[[[[[[["}', False),
        (b"[" * 10_000, True),
        (b'["\\\\", [[[[1]]]]]', True),
    ],
)
def test_too_deep(body: bytes, deep: bool) -> None:
    """Four levels are allowed here; what is in strings does not count; what is unbalanced may."""
    assert too_deep(body, 4) == deep


def test_a_long_look_agrees_with_the_short_one() -> None:
    """Beyond a size depth is counted in another way; both say the same at the limit."""
    for depth in (4, 5):
        for times in (1, 50_000):
            body = (b"[" * depth + b"]" * depth) * times
            assert too_deep(body, 4) == (depth > 4)


@given(VALUES, st.integers(1, 8), st.lists(st.integers(1, 12), min_size=1))
def test_nesting_is_the_same_however_a_text_is_cut(value: Any, limit: int, cuts: list[int]) -> None:
    """Cut within strings, behind a backslash, between brackets: pieces say what the whole says."""
    text = json.dumps(value, ensure_ascii=False)
    nesting, left = Nesting(limit), text.encode()
    while left and not nesting.too_deep:
        piece, left = left[: cuts[0]], left[cuts[0] :]
        cuts = [*cuts[1:], cuts[0]]
        nesting.feed(piece)
    assert nesting.too_deep == (deepest(text) > limit)
