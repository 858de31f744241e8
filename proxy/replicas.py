"""Who is in the cluster: each replica says every two seconds that it lives, and hears who else does.

The number of the living is what limits are divided by while Redis is away, so it is remembered from the
last time it could be asked. A replica that says nothing for six seconds is gone. A store that was away or was
replaced knows only who has spoken since, so for a while after that the number may grow but not shrink.
"""

import asyncio
import contextlib
import importlib.resources
from collections.abc import Callable, Sequence

import msgspec

from proxy.link import Link, ScriptError, Unavailable
from ratelimit.store import Script

EVERY = 2.0
"""Seconds between two signs of life."""

SILENCE = 6.0
"""Seconds of silence after which a replica is gone."""

STEADY = round((SILENCE + EVERY) / EVERY)
"""Signs of life in a row after which the store has heard from everybody who lives."""

KEYS = ("apex:{replicas}", "apex:{replicas}:about")


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
    """This replica among the others. `about` is asked anew for each sign of life."""

    def __init__(self, link: Link, script: Script, about: Callable[[], About]) -> None:
        self._link = link
        self._script = script
        self._about = about
        self._decode = msgspec.json.Decoder(About)
        self._count = 1
        self._steady = 0
        self._generation = link.generation
        self.members: tuple[About, ...] = ()

    @property
    def live(self) -> int:
        """How many replicas were last seen alive, this one included. Too many rather than too few."""
        return self._count

    async def beat(self) -> None:
        """Say once that this replica lives. While Redis is away nothing is learned and nothing forgotten."""
        about = self._about()
        try:
            reply = await self._say(about.id, msgspec.json.encode(about))
        except (Unavailable, ScriptError):  # an error is our key in foreign hands: as good as away
            self._steady = 0
        else:
            self._heard(reply)

    async def leave(self) -> None:
        """Say goodbye."""
        with contextlib.suppress(Unavailable, ScriptError):
            await self._say(self._about().id, b"")

    async def run(self) -> None:
        """Say it every `EVERY` seconds until cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(EVERY)

    async def _say(self, id_: str, about: bytes) -> Sequence[bytes]:
        reply: Sequence[bytes] = await self._link.call(
            self._script, list(KEYS), [id_, about, round(SILENCE * 1000)]
        )
        return reply

    def _heard(self, reply: Sequence[bytes]) -> None:
        """Note who lives. One whose words cannot be read, of another version, counts all the same."""
        if self._link.generation != self._generation:
            self._generation, self._steady = self._link.generation, 0
        count = max(1, len(reply) // 2)
        self._count = count if self._steady >= STEADY else max(count, self._count)
        self._steady += 1
        self.members = tuple(filter(None, map(self._read, reply[1::2])))

    def _read(self, about: bytes) -> About | None:
        try:
            return self._decode.decode(about)
        except msgspec.MsgspecError:
            return None
