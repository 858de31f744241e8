"""A server of limits whose time is the test's: the link of a `RedisStore`, answered by the scripts' twin."""

import struct
from typing import Any

from ratelimit import bucket
from ratelimit.bucket import Admitted, Replay, State, Ticket
from ratelimit.gauge import SECOND_US, Ask, Change
from ratelimit.store import Clock, Script, Unavailable


class TwinServer:
    """The states of limits by their keys, and what a script does to them. It counts time by `clock`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._states: dict[str, State] = {}

    def run(self, name: str, keys: list[str], args: list[Any]) -> Any:
        """What the script of this name answers."""
        now = int(self._clock.monotonic() * SECOND_US)
        if name == "admit":
            return self._admit(now, keys, *args)
        if name == "settle":
            return self._settle(now, keys, *args)
        (key,) = keys
        if name == "heartbeat":
            return self._heartbeat(now, key, *args)
        if name == "tidy":
            return self._tidy(now, key, *args)
        return self._restore(now, key, *args)

    def _keep(self, key: str, state: State | None) -> None:
        if state is not None:
            self._states[key] = state

    def _admit(self, now: int, keys: list[str], rid: str, lease: int, _: int, *packed: bytes) -> Any:
        asks = [Ask(*struct.unpack("<7q", one)) for one in packed]
        after, answer = bucket.admit([self._states.get(key) for key in keys], asks, Ticket(rid, lease), now)
        for key, state in zip(keys, after, strict=True):
            self._keep(key, state)
        if isinstance(answer, Admitted):
            return b"".join(struct.pack("<5q", *header) for header in answer.headers)
        return [answer.now, *(figure for level in answer.levels for figure in level)]

    def _settle(self, now: int, keys: list[str], rid: str, _: int, *packed: bytes) -> int:
        ended = False
        for key, one in zip(keys, packed, strict=True):
            state, there = bucket.settle(self._states.get(key), rid, Change(*struct.unpack("<4q", one)), now)
            self._keep(key, state)
            ended |= there
        return int(ended)

    def _heartbeat(self, now: int, key: str, lease: int, _: int, *rids: str) -> list[int]:
        state, missing = bucket.heartbeat(self._states.get(key), rids, lease, now)
        self._keep(key, state)
        return [now, *(position for position, rid in enumerate(rids, 1) if rid in missing)]

    def _tidy(self, now: int, key: str, lease: int, *_: int | bytes) -> list[int]:
        state, freed = bucket.tidy(self._states.get(key), lease, now)
        self._keep(key, state)
        return [now, freed]

    def _restore(
        self, now: int, key: str, mark: str, lease: int, _: int, packed: bytes, *held: str
    ) -> list[int]:
        *drains, seen, requests_floor, tokens_floor, requests, tokens, if_older = struct.unpack("<8q", packed)
        floor = requests_floor, tokens_floor
        replay = Replay(mark, requests, tokens, seen, floor, held, bool(if_older))
        state, back = bucket.restore(self._states.get(key), replay, (drains[0], drains[1]), lease, now)
        self._states[key] = state
        return [now, back]


class TwinLink:
    """One replica's way to the server; `away` says that nobody answers."""

    def __init__(self, server: TwinServer) -> None:
        self._server = server
        self.away = False

    async def send(self, script: Script, keys: list[str], args: list[str | int | bytes]) -> Any:
        """Run `script`."""
        if self.away:
            raise Unavailable
        return self._server.run(script.name, keys, args)
