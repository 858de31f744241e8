"""A provider of streams that costs next to nothing: every event is rendered before the first request comes.

    python origin.py --port 9001

Chat completions and Messages, by the path. The model says how fast: a burst in one go, an event a write, or
paced, where the first event goes out at once. Large requests get a whole answer when all of them is there,
which nginx would send before. It must not be the wall of what is measured behind a proxy,
and the mock, which renders what it says, would be.
"""

import argparse
import asyncio
from dataclasses import dataclass

import httptools
import samples
import uvloop

_TEXT = "Paris, "
_PACES = {
    samples.BURST: (samples.BURST_TOKENS, 0.0),
    samples.PACED: (samples.PACED_TOKENS, samples.PACED_PAUSE),
    samples.SLOW: (samples.SLOW_TOKENS, samples.SLOW_PAUSE),
}
_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_REPLY = samples.chat_reply()
_WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(_REPLY),
    _REPLY,
)
_NEAR = 300
"""Where the name of a large request's model stands, so that not all of it is searched."""


@dataclass(frozen=True, slots=True)
class Speech:
    """A stream as it is written: what comes at once, each further event, what comes with the last of them."""

    opening: bytes
    event: bytes
    closing: bytes


def chunk(body: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(body), body)


def speeches() -> dict[bool, Speech]:
    """What is said in chat completions (False) and in Messages (True)."""
    end = b"0\r\n\r\n"
    chat = Speech(_HEAD, chunk(samples.chat_event(_TEXT)), chunk(samples.chat_end()) + end)
    messages = Speech(
        _HEAD + chunk(samples.messages_start()),
        chunk(samples.messages_event(_TEXT)),
        chunk(samples.messages_end()) + end,
    )
    return {False: chat, True: messages}


class Origin(asyncio.Protocol):
    """One connection, one stream after another."""

    def __init__(self, said: dict[bool, Speech]) -> None:
        self._said = said
        self._parser = httptools.HttpRequestParser(self)
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as it is called
        """Somebody is there."""
        self._transport = transport
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        """A part of a request."""
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self._body: list[bytes] = []
        self._path = b""

    def on_url(self, url: bytes) -> None:
        """Called by the parser."""
        self._path += url

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Called by the parser: answer."""
        body = b"".join(self._body)
        if f'"{samples.LARGE}"'.encode() in body[:_NEAR]:
            self._transport.write(_WHOLE)
            return
        model = next((model for model in _PACES if f'"{model}'.encode() in body), samples.BURST)
        speech = self._said[self._path.endswith(b"/messages")]
        tokens, pause = _PACES[model]
        self._transport.write(speech.opening)
        if pause:
            self._step(speech, tokens, pause)
            return
        for _ in range(tokens):
            self._transport.write(speech.event)
        self._transport.write(speech.closing)

    def _step(self, speech: Speech, left: int, pause: float) -> None:
        if left == 1:
            self._transport.write(speech.event + speech.closing)
            return
        self._transport.write(speech.event)
        self._timer = self._loop.call_later(pause, self._step, speech, left - 1, pause)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (asyncio's signature)
        """The client has gone."""
        if self._timer is not None:
            self._timer.cancel()


async def serve(port: int) -> None:
    """Answer until the process is ended."""
    said = speeches()
    server = await asyncio.get_running_loop().create_server(
        lambda: Origin(said), "127.0.0.1", port, backlog=4096
    )
    await server.serve_forever()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
