"""A large request on its way out: in pieces, as the server takes them, with a turn for others between two.

Given all at once, the system would copy megabytes in one call, and every other request would wait for it.
"""

import asyncio

_PIECE = 256 * 1024  # bytes, which are copied in a fraction of a millisecond


class Writing:
    """What has not been written yet to a transport. `paused` while that wants no more."""

    __slots__ = ("_left", "_loop", "_transport", "paused")

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.WriteTransport) -> None:
        self._loop = loop
        self._transport = transport
        self._left = memoryview(b"")
        self.paused = False

    @property
    def done(self) -> bool:
        """Whether the transport has all of it."""
        return not self._left

    def begin(self, head: bytes, body: bytes) -> None:
        """Write `head`, and `body` behind it; its first piece at once, unless there is no room."""
        self._transport.write(head)
        self._left = memoryview(body)
        self.go_on()

    def go_on(self) -> None:
        """Write a piece, and another one when others had a turn."""
        if self._left and not self.paused:
            piece, self._left = self._left[:_PIECE], self._left[_PIECE:]
            self._transport.write(piece)
            if self._left:
                self._loop.call_soon(self.go_on)

    def stop(self) -> None:
        """Nothing more is written."""
        self._left = memoryview(b"")
