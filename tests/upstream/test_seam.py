"""The seam's own words: what a call shows of itself, and reading a body whole."""

import asyncio
from collections.abc import Mapping

import pytest

from proxy.upstream import Call, Taker, read_whole


class _Scripted:
    """A reply whose body comes in the given parts."""

    status = 200
    resent = False
    headers: Mapping[str, str] = {}

    def __init__(self, *parts: bytes) -> None:
        self._parts = list(parts)
        self.closed = False

    async def read(self) -> bytes:
        """The next part."""
        return self._parts.pop(0) if self._parts else b""

    async def pour(self, taker: Taker) -> None:
        """It is all to be read."""

    def close(self) -> None:
        """Note that it was called."""
        self.closed = True


@pytest.mark.parametrize(
    ("parts", "limit", "body", "closed"),
    [
        ((), 0, b"", False),
        ((b"abc",), 3, b"abc", False),
        ((b"abc", b"de"), 5, b"abcde", False),
        ((b"abcd",), 3, None, True),
        ((b"abc", b"de"), 4, None, True),
    ],
)
def test_read_whole_stops_at_its_limit(
    parts: tuple[bytes, ...], limit: int, body: bytes | None, closed: bool
) -> None:
    """A body up to the limit is returned; a larger one is None, and its reply is closed."""
    reply = _Scripted(*parts)
    assert asyncio.run(read_whole(reply, limit)) == body
    assert reply.closed is closed


def test_call_shows_no_url_and_no_header() -> None:
    """The repr of a call holds its method and the size of its body, nothing more."""
    call = Call("POST", "https://secret.example/v1", (("authorization", "Bearer sk-1"),), b"12345")
    assert repr(call) == "<Call POST 5 bytes>"
