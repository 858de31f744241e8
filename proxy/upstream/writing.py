"""A large request on its way out: in pieces, as the server takes them, with a turn for others between two.

Given all at once, the system would copy megabytes in one call, and every other request would wait for it.
"""

import asyncio

_PIECE = 256 * 1024  # bytes, which are copied in a fraction of a millisecond


class Writing:
    """What has not been written yet to a transport. `paused` while that wants no more."""

    __slots__ = ("_due", "_left", "_loop", "_transport", "paused")

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.WriteTransport) -> None:
        self._loop = loop
        self._transport = transport
        self._left = memoryview(b"")
        self._due = False  # a piece has its turn already, however often there is room again before it
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
        """Write a piece, and another one when others had a turn; nothing more where one is due."""
        if not self._due:
            self._write()

    def _write(self) -> None:
        self._due = False
        if self._left and not self.paused:
            piece, self._left = self._left[:_PIECE], self._left[_PIECE:]
            if self._left:
                self._due = True  # before the write, which may say at once that there is room again
                self._loop.call_soon(self._write)
            self._transport.write(piece)

    def stop(self) -> None:
        """Nothing more is written."""
        self._left = memoryview(b"")
