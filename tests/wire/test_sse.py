import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Fault, FaultKind
from proxy.wire import sse

EVENTS = [b"data: one\n\n", b"data: two\r\n\r\n", b": note\n\n", b"event: x\rdata: three\r\r", b"data:\n\r\n"]


def chunked(stream: bytes, cuts: list[int]) -> list[bytes]:
    """`stream` cut at the given places."""
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(places)]


def fed(pieces: list[bytes]) -> tuple[list[bytes], bytes]:
    """All blocks that come out of a splitter, and what it keeps."""
    splitter = sse.Splitter()
    return [block for piece in pieces if (block := splitter.whole(piece))], splitter.rest


@given(st.lists(st.sampled_from(EVENTS), max_size=12), st.lists(st.integers(0, 400), max_size=30))
def test_chunking_changes_no_event(parts: list[bytes], cuts: list[int]) -> None:
    """However a stream is cut up, the same events come out and not a byte is lost or changed."""
    stream = b"".join(parts) + b": end\n\n"
    blocks, rest = fed(chunked(stream, cuts))
    assert b"".join(blocks) + rest == stream
    assert rest == b""
    assert [event for block in blocks for event in sse.events(block)] == [*parts, b": end\n\n"]


@given(st.lists(st.sampled_from([b"\r", b"\n", b"a", b"data: "]), max_size=40), st.lists(st.integers(0, 99)))
def test_no_byte_is_lost_of_whatever_comes(parts: list[bytes], cuts: list[int]) -> None:
    """Blocks and rest together are what came, and each block ends with an empty line."""
    stream = b"".join(parts)
    blocks, rest = fed(chunked(stream, cuts))
    assert b"".join(blocks) + rest == stream
    assert all(re.search(rb"(\r\n|\n|\r)(\r\n|\n|\r)\Z", block) for block in blocks)


@pytest.mark.parametrize(
    ("pieces", "blocks", "rest"),
    [
        ([b"data: a\n\n"], [b"data: a\n\n"], b""),
        ([b"data: a\n", b"\n"], [b"data: a\n\n"], b""),
        ([b"data: a\n\ndata: b\n\nda", b"ta: c\n\n"], [b"data: a\n\ndata: b\n\n", b"data: c\n\n"], b""),
        ([b"data: a\r\n\r", b"\ndata: b\r\n\r\n"], [b"data: a\r\n\r\ndata: b\r\n\r\n"], b""),
        ([b"data: a\r\r", b"data: b\n"], [b"data: a\r\r"], b"data: b\n"),
        ([b"data: a\n\ndata: b\r\n\r\nda"], [b"data: a\n\ndata: b\r\n\r\n"], b"da"),
        ([b"data: a"], [], b"data: a"),
        ([b""], [], b""),
    ],
)
def test_whole(pieces: list[bytes], blocks: list[bytes], rest: bytes) -> None:
    """Whole events come out as soon as it is certain where they end; the beginning of one waits."""
    assert fed(pieces) == (blocks, rest)


def test_an_event_has_a_largest_size() -> None:
    """More than 16 MiB without an empty line is a fault and no reason to use up the memory."""
    splitter = sse.Splitter()
    splitter.whole(b"data: " + b"x" * (sse.MAX_EVENT - 6))
    with pytest.raises(Fault) as caught:
        splitter.whole(b"x")
    assert caught.value.kind is FaultKind.PROTOCOL


@pytest.mark.parametrize(
    ("event", "found"),
    [
        (b"data: x\n\n", True),
        (b"data\n\n", True),
        (b": note\n\n", True),
        (b"id: 1\r\n\r\n", True),
        (sse.BOM + b"retry: 5\n\n", True),
        (b"other: x\nevent: x\n\n", True),
        (b"\n\n", True),
        (b"<html>\n\n", False),
        (b"<p>data: x</p>\n\n", False),
        (b"other: x\n\n", False),
    ],
)
def test_is_event(event: bytes, found: bool) -> None:
    """One line of the grammar makes an event; a paragraph of a page has none."""
    assert sse.is_event(event) is found


def test_events_keep_what_has_no_end() -> None:
    """A block may end with an event without its empty line."""
    assert sse.events(b": a\n\ndata: b") == [b": a\n\n", b"data: b"]


@pytest.mark.parametrize(
    ("event", "data", "name"),
    [
        (b"data: x\n\n", b"x", b""),
        (b"data:x\n\n", b"x", b""),
        (b"data:  x\n\n", b" x", b""),
        (b"data: x\r\n\r\n", b"x", b""),
        (b"data: x\r\r", b"x", b""),
        (b"data: a\ndata: b\n\n", b"a\nb", b""),
        (b"data\n\n", b"", b""),
        (b"data:\n\n", b"", b""),
        (b"event: error\ndata: x\n\n", b"x", b"error"),
        (b"event: a\nevent: b\n\n", None, b"b"),
        (b"id: 1\nretry: 5\ndata: x\n\n", b"x", b""),
        (b": data: x\n\n", None, b""),
        (b"database: x\n\n", None, b""),
        (sse.BOM + b"data: x\n\n", b"x", b""),
    ],
)
def test_fields(event: bytes, data: bytes | None, name: bytes) -> None:
    """An event's fields are read by the standard's grammar."""
    assert sse.data_of(event) == data
    assert sse.name_of(event) == name


def number(event: bytes) -> bool:
    """Whether an event's data is one digit."""
    return sse.line_of(event).strip().isdigit()


@pytest.mark.parametrize(
    ("block", "count", "size"),
    [
        (b"data: 1\n\n", 1, 9),
        (b"data:1\n\nevent: a\ndata: 2\n\n", 2, 26),
        (b"data: 1\r\n\r\nevent: a\r\ndata: 2\r\n\r\n", 2, 32),
        (b"data: 1\n\ndata: x\n\ndata: 3\n\n", 1, 9),
        (b"data: x\n\ndata: 1\n\n", 0, 0),
        (b"data: 1\r\r", 0, 0),
        (b"data: 1\n\ndata: 2\r\n\r\n", 0, 0),
        (b"data: 1\n\n: \xff\n\n", 0, 0),
        ("data: 1\n\n: ü\n\n".encode(), 1, 9),
        (b": 1\n\n", 0, 0),
    ],
)
def test_plain_events(block: bytes, count: int, size: int) -> None:
    """Those at the head of a block, as far as each is plain and ends as the block does."""
    assert sse.plain(block, number) == (count, size)


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"a": [1, "x"]}\n\n',
        b'data: {"a": NaN, "b": "\\ud83d"}\n\n',
        "data: {}\n: ü\n\n".encode(),
        b"data:  [DONE] \n\n",
        b"data:\n\n",
        b": ping\n\n",
        b"event: note\nid: 1\n\n",
        b"data: {\ndata: }\n\n",
    ],
)
def test_what_clients_can_read(event: bytes) -> None:
    """Whole JSON in text, and what says nothing."""
    sse.check(event, sse.data_of(event))


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"a": [1, "x"\n\n',
        b'data: {"a": {"b": 1}\n\n',
        b'data: {"a": 1}}\n\n',
        b'data: {"a": "\xff"}\n\n',
        b": \xff\n\n",
        b"data: busy\n\n",
        b"data: {\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
    ],
)
def test_what_no_client_can_read(event: bytes) -> None:
    """Cut JSON, bytes that are no text, words."""
    with pytest.raises(Fault) as caught:
        sse.check(event, sse.data_of(event))
    assert (caught.value.kind, caught.value.status) == (FaultKind.NOT_JSON, 200)
