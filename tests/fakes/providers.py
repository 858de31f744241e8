"""A scripted transport: who is asked gets the next answer of its list, and everything is written down.

An answer is a head and steps: bytes arrive, numbers are seconds of silence, a `Fault` is raised, `HANG`
waits for ever. `before` are the same for the time before the head.
"""

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from proxy.errors import Fault
from proxy.upstream import Call, Taker

HANG = float("inf")
"""A silence without end."""

Step = bytes | float | Fault


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """One scripted answer to one call."""

    steps: Sequence[Step] = ()
    status: int = 200
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    before: Sequence[float | Fault] = ()


async def _wait(seconds: float) -> None:
    if seconds == HANG:
        await asyncio.Event().wait()
    await asyncio.sleep(seconds)


class ScriptedReply:
    """A `Reply` that plays an answer's steps."""

    def __init__(self, answer: Answer) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self.resent = False
        self.closed = False
        self.reads = 0
        self.poured = 0
        self._steps = list(answer.steps)

    async def read(self) -> bytes:
        """The next bytes; b"" when the script is over."""
        self.reads += 1
        while self._steps:
            step = self._steps.pop(0)
            if isinstance(step, bytes):
                return step
            if isinstance(step, Fault):
                raise step
            await _wait(step)
        return b""

    async def pour(self, taker: Taker) -> None:
        """Hand on what comes, up to a fault or the last of it, which is to be read."""
        while len(self._steps) > 1:
            step = self._steps[0]
            if isinstance(step, Fault):
                return
            self._steps.pop(0)
            if not isinstance(step, bytes):
                await _wait(step)
                continue
            self.poured += 1
            if not taker(step):
                return

    def close(self) -> None:
        """Note it."""
        self.closed = True


class ScriptedUpstream:
    """An `Upstream` whose answers are listed by provider or by `provider:key`; the last of a list repeats.

    A provider is known by the first label of its host. `order` says who was asked, in order.
    """

    def __init__(self, answers: Mapping[str, Sequence[Answer]]) -> None:
        self._answers = {who: list(listed) for who, listed in answers.items()}
        self.calls: list[Call] = []
        self.order: list[str] = []
        self.replies: list[ScriptedReply] = []

    async def send(self, call: Call) -> ScriptedReply:
        """The next answer of who is asked."""
        provider = (urlsplit(call.url).hostname or "").partition(".")[0]
        key = dict(call.headers).get("authorization", "").rpartition(" ")[2]
        self.calls.append(call)
        self.order.append(f"{provider}:{key}" if key else provider)
        listed = self._answers.get(f"{provider}:{key}") or self._answers[provider]
        answer = listed.pop(0) if len(listed) > 1 else listed[0]
        for step in answer.before:
            if isinstance(step, Fault):
                raise step
            await _wait(step)
        reply = ScriptedReply(answer)
        self.replies.append(reply)
        return reply

    async def close(self) -> None:
        """Nothing to close."""
