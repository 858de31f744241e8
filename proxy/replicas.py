"""Who is in the cluster: each replica says every two seconds that it lives, and hears how many others do.

The number of the living is what limits are divided by while Redis is away, so it is remembered from the
last time it could be asked. A replica that says nothing for six seconds is gone. A store that was away or was
replaced knows only who has spoken since, so for a while after that the number may grow but not shrink.

Who they are is a list as long as the cluster is large, so a sign of life is not answered with it: what all
replicas were told together would grow with the square of their number. An operator who asks is told by Redis.
What is shown while Redis is away is asked for only when the version of the list is another, and at moments
that the replicas spread over a minute.
"""

import asyncio
import contextlib
import importlib.resources
import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from proxy.link import Link, ScriptError, Unavailable
from proxy.link.script import Argument
from ratelimit.store import Script

EVERY = 2.0
"""Seconds between two signs of life."""

SILENCE = 6.0
"""Seconds of silence after which a replica is gone."""

STEADY = round((SILENCE + EVERY) / EVERY)
"""Signs of life in a row after which the store has heard from everybody who lives."""

RELIST = 30
"""Signs of life, in the mean, between two that may be answered with the list of the members."""

KEYS = ("apex:{replicas}", "apex:{replicas}:about", "apex:{replicas}:version")


class About(msgspec.Struct, frozen=True):
    """What a replica says of itself. `started` is Unix time in seconds."""

    id: str
    version: str
    config_hash: str
    started: int
    in_flight: int = 0


def load_script() -> Script:
    """The script from the package's files."""
    text = (importlib.resources.files("proxy") / "lua" / "replicas.lua").read_text(encoding="utf-8")
    return Script.of("replicas", text)


class Replicas:
    """This replica among the others. `about` is asked anew for each sign of life.

    `members` are those that lived when their list was last told.
    """

    def __init__(self, link: Link, script: Script, about: Callable[[], About], draw: random.Random) -> None:
        self._link = link
        self._script = script
        self._about = about
        self._draw = draw
        self._decode = msgspec.json.Decoder(About)
        self._count = 1
        self._steady = 0
        self._generation = link.generation
        self._said: About | None = None
        self._seen: tuple[int, bytes] | None = None
        self._listed: tuple[int, bytes] | None = None
        self._relist = 0
        self._gone = False
        self.members: tuple[About, ...] = ()

    @property
    def live(self) -> int:
        """How many replicas were last seen alive, this one included. Too many rather than too few."""
        return self._count

    async def beat(self) -> None:
        """Say once that this replica lives. While Redis is away nothing is learned and nothing forgotten."""
        try:
            count = await self._say(listed=self._due())
        except (Unavailable, ScriptError):  # an error is our key in foreign hands: as good as away
            self._steady = 0
        else:
            self._heard(count)

    async def ask(self) -> tuple[About, ...]:
        """Who lives, as each has last said; while Redis is away, as it was last told.

        What is said of this replica itself is what holds now. One that has left tells nobody that it lives.
        """
        if not self._gone:
            with contextlib.suppress(Unavailable, ScriptError):
                await self._say(listed=True)
        own = self._about()
        told = self.members
        if all(member.id != own.id for member in told):
            return (own, *told)
        return tuple(own if member.id == own.id else member for member in told)

    async def leave(self) -> None:
        """Say goodbye. Whoever asks from now on does not bring it back."""
        self._gone = True
        with contextlib.suppress(Unavailable, ScriptError):
            await self._call(self._about().id, b"", news=False, listed=False)

    async def run(self) -> None:
        """Say it every `EVERY` seconds until cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(EVERY)

    def _due(self) -> bool:
        """Whether this sign of life asks for the list: it is another, and it is this replica's moment.

        All replicas hear of a change within two seconds: asking at once they would fill Redis' network.
        """
        self._relist -= 1
        if self._relist > 0:
            return False
        self._relist = self._draw.randrange(1, 2 * RELIST)
        return self._listed is None or self._listed != self._seen

    async def _say(self, *, listed: bool) -> int:
        """Say that this replica lives; how many do. Raises `Unavailable` and `ScriptError`."""
        about = self._about()
        lasting = msgspec.structs.replace(about, in_flight=0)
        news = lasting != self._said
        reply = await self._call(about.id, msgspec.json.encode(about), news=news, listed=listed)
        count: int = max(1, reply[0])
        self._said = lasting
        self._seen = count, reply[1]
        if listed:
            self._listed = self._seen
            self.members = tuple(filter(None, map(self._read, reply[2][1::2])))
        return count

    async def _call(self, id_: str, about: bytes, *, news: bool, listed: bool) -> Sequence[Any]:
        args: list[Argument] = [id_, about, round(SILENCE * 1000), int(news), int(listed)]
        reply: Sequence[Any] = await self._link.call(self._script, list(KEYS), args)
        return reply

    def _heard(self, count: int) -> None:
        """Note how many live, those included whose words cannot be read here, being of another version."""
        if self._link.generation != self._generation:
            self._generation, self._steady = self._link.generation, 0
        self._count = count if self._steady >= STEADY else max(count, self._count)
        self._steady += 1

    def _read(self, about: bytes) -> About | None:
        try:
            return self._decode.decode(about)
        except msgspec.MsgspecError:
            return None
