"""The client's side of an exchange: a body that comes, an answer that is written down.

A sink may be slow: `delays` are the seconds its next calls take, `HANG` for one that never ends, nor
do those after it.
"""

import asyncio
import dataclasses
from collections.abc import Iterable

from proxy.errors import Refusal
from proxy.exchange import Headers

from .providers import HANG


class BodySource:
    """A `Source` with a body, or a refusal, after `delay` seconds."""

    def __init__(self, body: bytes | Refusal, delay: float = 0.0) -> None:
        self._body = body
        self._delay = delay

    async def body(self) -> bytes:
        """The body, or the refusal raised."""
        if self._delay:
            await asyncio.sleep(self._delay)
        if isinstance(self._body, Refusal):
            raise self._body
        return self._body


@dataclasses.dataclass(slots=True)
class Written:
    """One call on a sink: which, when (seconds of the loop), and with what."""

    what: str
    at: float
    data: bytes = b""


class RecordingSink:
    """A `Sink` that keeps what it was given."""

    def __init__(self, delays: Iterable[float] = ()) -> None:
        self.started = False
        self.ended = False
        self.status = 0
        self.headers: Headers = []
        self.calls: list[Written] = []
        self._delays = list(delays)
        self._stuck = False

    @property
    def body(self) -> bytes:
        """All that was written."""
        return b"".join(call.data for call in self.calls)

    @property
    def kinds(self) -> list[str]:
        """Which calls there were."""
        return [call.what for call in self.calls]

    def header(self, name: bytes) -> bytes | None:
        """One header of the answer."""
        return dict(self.headers).get(name)

    async def _take(self, what: str, data: bytes = b"") -> None:
        assert not self.ended, f"{what} after the end"
        loop = asyncio.get_running_loop()
        self.calls.append(Written(what, loop.time(), data))
        delay = self._delays.pop(0) if self._delays else 0.0
        if self._stuck or delay == HANG:
            self._stuck = True
            await asyncio.Event().wait()
        if delay:
            await asyncio.sleep(delay)

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer."""
        assert not self.started
        self.started, self.status, self.headers = True, status, headers
        await self._take("answer", body)
        self.ended = True

    async def start(self, status: int, headers: Headers) -> None:
        """The head of a stream."""
        assert not self.started
        self.started, self.status, self.headers = True, status, headers
        await self._take("start")

    async def write(self, data: bytes) -> None:
        """Events."""
        assert self.started
        await self._take("write", data)

    def push(self, data: bytes) -> bool:
        """Events, unless they would have to wait."""
        assert self.started
        assert not self.ended
        if self._stuck or (self._delays and self._delays[0]):
            return False
        if self._delays:
            self._delays.pop(0)
        self.calls.append(Written("write", asyncio.get_running_loop().time(), data))
        return True

    async def end(self, data: bytes = b"") -> None:
        """The last events."""
        assert self.started
        await self._take("end", data)
        self.ended = True
