"""What was said in one exchange, for the log: kept only where `log.bodies` asks for it.

The beginning of the body that came and of the answer that went, as their bytes pass by. They are made fit for
eyes (`redaction`) by whoever renders the line, which is a thread of its own: not a request's time.
"""

from collections.abc import Mapping
from typing import Protocol

from proxy.exchange import Headers, Sink, Source


class Redact(Protocol):
    """Makes bytes that were said fit to be seen."""

    def __call__(self, said: bytes, *, whole: bool) -> str:
        """`said` as text without secrets. `whole`: nothing of it was cut off."""


class Overheard:
    """What is kept of an exchange: at most `most` bytes each way, and how many there were.

    A line of the log that waits to be written holds this alone, and no body.
    """

    def __init__(self, most: int, redact: Redact) -> None:
        self._most = most
        self._redact = redact
        self._kept: tuple[list[bytes], list[bytes]] = ([], [])
        self._sizes = [0, 0]

    def came(self, data: bytes) -> None:
        """The client has said this."""
        self._note(0, data)

    def went(self, data: bytes) -> None:
        """The client was told this."""
        self._note(1, data)

    def _note(self, way: int, data: bytes) -> None:
        left = self._most - self._sizes[way]
        self._sizes[way] += len(data)
        if data and left > 0:
            self._kept[way].append(data[:left])

    def read(self) -> Mapping[str, str]:
        """`body_in` and `body_out`, whatever there was of them."""
        told = {}
        for name, kept, size in zip(("body_in", "body_out"), self._kept, self._sizes, strict=True):
            if said := b"".join(kept):
                whole = size == len(said)
                text = self._redact(said, whole=whole)
                told[name] = text if whole else f"{text} [cut; {size} bytes]"
        return told


class Transcript:
    """Stands between an exchange and its client, as its source and its sink, and has what it hears kept."""

    def __init__(self, source: Source, sink: Sink, overheard: Overheard) -> None:
        self._source = source
        self._sink = sink
        self._overheard = overheard

    @property
    def started(self) -> bool:
        """As the sink says."""
        return self._sink.started

    async def body(self) -> bytes:
        """The whole body, as the source has it."""
        body = await self._source.body()
        self._overheard.came(body)
        return body

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Pass it on."""
        self._overheard.went(body)
        await self._sink.answer(status, headers, body)

    async def start(self, status: int, headers: Headers) -> None:
        """Pass it on."""
        await self._sink.start(status, headers)

    async def write(self, data: bytes) -> None:
        """Pass it on."""
        self._overheard.went(data)
        await self._sink.write(data)

    def push(self, data: bytes) -> bool:
        """Pass it on, if it goes."""
        if not self._sink.push(data):
            return False
        self._overheard.went(data)
        return True

    async def end(self, data: bytes = b"") -> None:
        """Pass it on."""
        self._overheard.went(data)
        await self._sink.end(data)
