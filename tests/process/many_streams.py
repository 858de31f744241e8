"""200 streams at once through `serve`: the bytes of each, the memory they take, how fast they are let go.

Run `python tests/process/many_streams.py [streams]`: it prints the figures and fails when a stream takes
more than 64 KiB. Clients are bare sockets, so what they get is what was sent.
"""

import asyncio
import dataclasses
import json
import re
import signal
import sys
import time

from harness import KEY, MODEL, Child, Mock, Serve, configured, eventually, rss

STREAMS = 200
LIMIT = 64 * 1024
"""Bytes of memory a stream may take above an idle proxy."""

STEADY = {"default": {"tokens": 30, "delay_events_s": 0.05}}
STALLING = {"default": {"tokens": 30, "stall_after_events": 5}}
_ID = re.compile(rb"chatcmpl-[0-9a-f]+")
_WITHHELD = re.compile(rb'data: \{[^\n]*"choices":\[\],"usage":\{[^\n]*\n\n')


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """Bytes of memory: of the idle proxy, and with all streams open. Seconds: of all streams together."""

    idle: int
    busy: int
    streams: int
    seconds: float

    @property
    def each(self) -> float:
        """Bytes a stream."""
        return (self.busy - self.idle) / self.streams


def request(word: str, *, usage: bool = False) -> bytes:
    """A whole HTTP request for a stream whose words tell it from all others."""
    body = json.dumps(
        {
            "model": MODEL,
            "messages": [{"role": "user", "content": word}],
            "stream": True,
            "stream_options": {"include_usage": usage},
        }
    )
    head = (
        "POST /v1/chat/completions HTTP/1.1",
        "host: 127.0.0.1",
        "content-type: application/json",
        f"authorization: Bearer {KEY}",
        "connection: close",
        f"content-length: {len(body)}",
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body.encode()


async def stream(port: int, word: str, *, usage: bool = False) -> bytes:
    """The body of one stream, out of its chunks."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request(word, usage=usage))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        parts = []
        while size := int(await reader.readline(), 16):
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
        return b"".join(parts)
    finally:
        writer.close()


def expected(sample: bytes, received: bytes, word: str) -> bytes:
    """What the provider sent for `received`: the same as the sample but for its id and its word."""
    ours, theirs = _ID.search(sample), _ID.search(received)
    assert ours is not None
    assert theirs is not None
    return sample.replace(ours[0], theirs[0]).replace(b"stream-0000", word.encode())


async def sampled(mock: Mock) -> bytes:
    """A stream as the provider sends it to the proxy, less the usage chunk that is withheld."""
    body = await stream(mock.port, "stream-0000", usage=True)
    assert len(_WITHHELD.findall(body)) == 1
    return _WITHHELD.sub(b"", body)


async def watched(proxy: Serve, mock: Mock, count: int) -> Figures:
    """Run `count` streams at once; every byte of each is compared."""
    sample = await sampled(mock)
    await stream(proxy.port, "stream-warm")
    idle = rss(proxy.pid)
    words = [f"stream-{number:04d}" for number in range(1, count + 1)]
    began = time.monotonic()
    running = asyncio.gather(*(stream(proxy.port, word) for word in words))
    await asyncio.to_thread(eventually, lambda: running.done() or mock.stats()["streams_open"] == count)
    busy = rss(proxy.pid)
    bodies = await running
    seconds = time.monotonic() - began
    for word, body in zip(words, bodies, strict=True):
        assert body == expected(sample, body, word), word
    assert len({_ID.findall(body)[0] for body in bodies}) == count
    return Figures(idle, busy, count, seconds)


def run(count: int) -> Figures:
    """Bytes and memory of `count` streams."""
    with Mock(STEADY) as mock, Serve(configured(mock)) as proxy:
        return asyncio.run(watched(proxy, mock, count))


async def hold(port: int, count: int) -> None:
    """Open `count` streams, say so, and read for ever: what a client process does until it is killed."""

    async def reading(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(f"stream-{number:04d}"))
        while await reader.read(4096):
            pass

    await asyncio.gather(*(reading(number) for number in range(count)))


def left(count: int) -> float:
    """Seconds until the provider has lost all of `count` streams after their client was killed."""
    with (
        Mock(STALLING) as mock,
        Serve(configured(mock)) as proxy,
        Child(sys.executable, __file__, "hold", str(proxy.port), str(count)) as clients,
    ):
        eventually(lambda: mock.stats()["streams_open"] == count)
        clients.signal(signal.SIGKILL)
        # The connection that asks for the statistics is open itself.
        return eventually(lambda: mock.stats()["open_connections"] == 1)


def main(arguments: list[str]) -> None:
    """Print the figures, or be the client that is to be killed."""
    if arguments[:1] == ["hold"]:
        asyncio.run(hold(int(arguments[1]), int(arguments[2])))
        return
    count = int(arguments[0]) if arguments else STREAMS
    figures = run(count)
    print(f"{count} streams, every byte as the provider sent it, in {figures.seconds:.1f} s")
    print(f"idle {figures.idle / 2**20:.1f} MiB, with all open {figures.busy / 2**20:.1f} MiB")
    print(f"{figures.each / 1024:.1f} KiB a stream (at most {LIMIT // 1024})")
    print(f"all upstream connections closed {left(count):.2f} s after the clients were killed")
    assert figures.each <= LIMIT


if __name__ == "__main__":
    main(sys.argv[1:])
