"""A WebSocket's connection: uvicorn's, with an end that lets a turn finish and does not wait for ever."""

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from proxy.errors import Refusal
from proxy.sockets import GOING_AWAY, STOPPING
from proxy.wire.chat.voice import ChatVoice

_REFUSAL = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b"
)


class SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, except that a turn which is on may end before the server does.

    And that a client which leaves unread what was written to it does not keep its connection for ever.
    """

    def data_received(self, data: bytes) -> None:
        """Bytes came. A handshake that cannot be read has no other end: it would be waited for for ever."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            body = ChatVoice().refusal(Refusal(400, "The headers of the handshake are too many or too long."))
            self.transport.write(_REFUSAL % (len(body), body))
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone. The parser is a generator of its connection, so that each holds the other.

        With them it has some 40 KB of zlib's, too much to wait for the garbage collector.
        """
        super().connection_lost(exc)
        self.conn.parser.close()

    def shutdown(self) -> None:
        """The server stops: the application is told, and closes when its turn is over."""
        if self.handshake_complete and not self.close_sent:
            told: Any = {"type": "websocket.disconnect", "code": GOING_AWAY, STOPPING: True}
            self.queue.put_nowait(told)
        else:
            super().shutdown()

    def keepalive_timeout(self) -> None:
        """A ping was not answered."""
        super().keepalive_timeout()
        self._give_up_later()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """The application has said all it had to say."""
        super().on_task_complete(task)
        self._give_up_later()

    def _give_up_later(self) -> None:
        self.loop.call_later(self.close_timeout, self.transport.abort)
