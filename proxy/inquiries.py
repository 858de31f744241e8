"""Questions between replicas, for operators: what is asked of one and another knows. Over Redis' Pub/Sub.

Every replica listens to a channel of its own name; a question says to whose channel its answer is to go.
Pub/Sub reaches all nodes of a Cluster, and the primary that a Sentinel names, and it keeps nothing: who is
not there does not answer. Nothing of this is on a request's way: questions are few, and answers are small.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Protocol

import msgspec
import structlog

from proxy.clock import Clock
from proxy.link import Argument, Script, ScriptError, Unavailable
from proxy.tasks import Tasks

CHANNEL = "apex:inquiries:"
"""And the name of who listens to it."""

PATIENCE = 2.0
"""Seconds until an answer is not waited for any more."""

DEAF = 0.5
"""The same where the server says that nobody listens: a node of a Cluster knows only of its own."""

LARGEST = 128 * 1024
"""The most bytes of a question or an answer; what is larger is not sent, and not read."""

MOST = 64
"""The most questions of one replica that wait for answers."""

TRIES = 2
"""How often a letter is sent that Redis did not take in time: one late call does not mean that it is away.

One that was carried all the same is heard twice, and its second answer is dropped.
"""

RATE = 50
"""The most questions answered within a second; what is asked beyond is not heard."""


class Silence(StrEnum):
    """Why there is no answer."""

    AWAY = "away"
    """Redis is away, or forbids Pub/Sub."""
    NOBODY = "nobody"
    """The replica is gone, or too busy."""
    UNKNOWN = "unknown"
    """It does not know."""
    BUSY = "busy"
    """Too much is asked already, or the question is too large."""


class Letter(msgspec.Struct, frozen=True, array_like=True):
    """A question, with who asks; or the answer to one, without. `body` is None where it is not known."""

    id: int
    asker: str
    body: bytes | None


class Listening(Protocol):
    """A channel that is listened to."""

    subscribed: bool


class Link(Protocol):
    """The link, as far as it is needed here."""

    def subscribe(self, channel: str, handler: Callable[[bytes], None]) -> Listening:
        """Give every payload of `channel` to `handler`."""

    async def call(self, what: Script | str, keys: Sequence[Argument], args: Sequence[Argument]) -> Any:
        """The reply to a command. Raises `Unavailable` and `ScriptError`."""


class Inquiries:
    """This replica's questions to others, and theirs to it.

    `answer` is given what is asked, and is not to take long: it runs in the event loop. It returns None for
    what is not known here.
    """

    def __init__(
        self, link: Link, name: str, clock: Clock, tasks: Tasks, answer: Callable[[bytes], bytes | None]
    ) -> None:
        self._link = link
        self._name = name
        self._clock = clock
        self._tasks = tasks
        self._answer = answer
        self._read = msgspec.msgpack.Decoder(Letter)
        self._last = int(clock.wall() * 1000)
        self._waiting: dict[int, asyncio.Future[bytes | None]] = {}
        self._heard: deque[float] = deque(maxlen=RATE)
        self._listening: Listening | None = None

    def __repr__(self) -> str:
        """Whose, and how many wait."""
        return f"<Inquiries of {self._name}, {len(self._waiting)} waiting>"

    def start(self) -> None:
        """Listen, for as long as the link lives."""
        self._listening = self._link.subscribe(CHANNEL + self._name, self.hear)

    async def ask(self, name: str, question: bytes) -> bytes | Silence:
        """What the replica of that name answers. One's own answer needs no Redis."""
        if name == self._name:
            own = self._answer(question)
            return Silence.UNKNOWN if own is None else own
        if len(self._waiting) >= MOST or len(question) > LARGEST:
            return Silence.BUSY
        if self._listening is None or not self._listening.subscribed:
            return Silence.AWAY
        self._last += 1
        number = self._last
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            heard_by = await self._send(name, Letter(number, self._name, question))
            if heard_by is None:
                return Silence.AWAY
            async with asyncio.timeout(PATIENCE if heard_by else DEAF):
                found = await waiting
        except TimeoutError:
            return Silence.NOBODY
        else:
            return Silence.UNKNOWN if found is None else found
        finally:
            del self._waiting[number]

    def hear(self, message: bytes) -> None:
        """A letter has come: a question, or an answer that somebody here waits for. Others are dropped."""
        if len(message) > LARGEST + 1024:
            return
        try:
            letter = self._read.decode(message)
        except (msgspec.MsgspecError, UnicodeError):  # another version's, or nobody's we know
            return
        if letter.asker:
            self._asked(letter)
            return
        waiting = self._waiting.get(letter.id)
        if waiting is not None and not waiting.done():
            waiting.set_result(letter.body)

    def _asked(self, letter: Letter) -> None:
        now = self._clock.monotonic()
        if letter.body is None or (len(self._heard) == RATE and now - self._heard[0] < 1.0):
            return
        self._heard.append(now)
        self._tasks.spawn(self._reply(letter, letter.body), "inquiry")

    async def _reply(self, letter: Letter, question: bytes) -> None:
        answer = self._answer(question)
        if answer is not None and len(answer) > LARGEST:
            structlog.get_logger("inquiries").warning("answer_too_large", bytes=len(answer))
            answer = None
        await self._send(letter.asker, Letter(letter.id, "", answer))

    async def _send(self, name: str, letter: Letter) -> int | None:
        """How many were seen to listen; None where it could not be sent."""
        message: list[Argument] = [CHANNEL + name, msgspec.msgpack.encode(letter)]
        for _ in range(TRIES):
            try:
                return int(await self._link.call("PUBLISH", [], message))
            except Unavailable:  # where its breaker is open the next try is refused at once
                continue
            except ScriptError:
                break
        return None
