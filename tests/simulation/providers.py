"""Who answers requests: scripted providers that are ill for a while and well again.

They answer as real ones do: the illness is that of the moment in which a request comes, a 429 names the end
of its window, and who comes into the window all the same is counted.
"""

import asyncio
import dataclasses
import math
import random
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import urlsplit

from fakes import chats
from fakes.providers import HANG, Answer, ScriptedReply, Step

from proxy.errors import Fault, FaultKind
from proxy.targets import Target
from proxy.upstream import Call
from simulation.faults import Episode, Illness
from simulation.invariants import Flights, ReplicaWatch
from simulation.ledger import Ledger

_WHOLE = chats.reply()
_BEGIN = chats.role() + chats.delta("Hello")
_END = chats.delta(" you") + chats.finish() + chats.usage() + chats.DONE
_ERROR = chats.error("Something went wrong.", type="server_error")
_LIMITED = chats.error("Rate limit reached.", type="rate_limit_error", code="rate_limit_exceeded")
_DENIED = chats.error("Incorrect API key provided.", type="authentication_error", code="invalid_api_key")

_SHARES = {Illness.BROWNOUT: 0.3, Illness.SLOW: 0.7, Illness.STALL: 0.5}
"""Of the requests that an illness spoils; the others are answered well."""

_WAYS = {Illness.REFUSED: FaultKind.CONNECT, Illness.RESET: FaultKind.RESET}
_STATUSES = {
    Illness.ERROR: ((500, 502, 503, 529), _ERROR),
    Illness.BROWNOUT: ((500,), _ERROR),
    Illness.DENIED: ((401,), _DENIED),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Reaction:
    """What a provider does: `before` the head, then the answer. `hint`: the wait that a 429 asks for."""

    answer: Answer
    hint: float | None = None


class Provider:
    """One provider with all its keys. `intruders` are calls into a window it had asked to be spared."""

    def __init__(self, name: str, episodes: Iterable[Episode], draw: random.Random) -> None:
        self._episodes = tuple(episodes)
        self._draw = draw
        self._windows: dict[str, float] = {}
        self.name = name
        self.asked = 0
        self.intruders = 0

    def react(self, key: str, now: float, *, stream: bool) -> Reaction:
        """What becomes of a request with `key` that comes `now`, in seconds of this life."""
        self.asked += 1
        if self._windows.get(key, 0.0) > now:
            self.intruders += 1
        for episode in self._episodes:
            if episode.begin <= now < episode.end and episode.key in (None, key):
                ill = self._ill(episode, key, now, stream=stream)
                if ill is not None:
                    return ill
        return Reaction(self._well(stream=stream))

    def _well(self, *, stream: bool) -> Answer:
        draw = self._draw
        if not stream:
            return Answer([_WHOLE], before=[draw.uniform(0.02, 0.25)])
        return Answer([_BEGIN, draw.uniform(0.01, 0.3), _END], before=[draw.uniform(0.02, 0.12)])

    def _ill(self, episode: Episode, key: str, now: float, *, stream: bool) -> Reaction | None:
        """None: this one is answered well all the same."""
        draw, soon = self._draw, self._draw.uniform(0.003, 0.03)
        illness = episode.illness
        if draw.random() >= _SHARES.get(illness, 1.0):
            return None
        if illness in _WAYS:
            return _broken(Fault(_WAYS[illness], "the connection broke"), soon)
        if illness is Illness.LIMITED:
            return self._limited(episode, key, now, soon)
        if illness is Illness.SLOW:
            return self._slow(stream=stream)
        if illness is Illness.STALL:
            return self._stalling(stream=stream)
        statuses, body = _STATUSES[illness]
        return Reaction(Answer([body], draw.choice(statuses), before=[soon]))

    def _limited(self, episode: Episode, key: str, now: float, soon: float) -> Reaction:
        """A window of this key; with `none` for a hint the caller has to guess."""
        if self._windows.get(key, 0.0) <= now:
            self._windows[key] = now + self._draw.uniform(0.3, 4.0)
        left = self._windows[key] - now
        headers: Mapping[str, str] = {}
        hint: float | None = left
        if episode.hints == "seconds":
            hint = float(math.ceil(left))
            headers = {"retry-after": str(math.ceil(left))}
        elif episode.hints == "ms":
            hint = math.ceil(left * 1000) / 1000
            headers = {"retry-after-ms": str(math.ceil(left * 1000))}
        elif episode.hints == "reset":
            hint = math.ceil(left * 1000) / 1000
            headers = {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": f"{math.ceil(left * 1000)}ms",
            }
        else:
            hint = None
            del self._windows[key]
        return Reaction(Answer([_LIMITED], 429, headers, [soon]), hint)

    def _slow(self, *, stream: bool) -> Reaction:
        """No first token for longer than anybody waits, or just not so long."""
        wait = self._draw.choice((self._draw.uniform(0.5, 1.5), HANG))
        if not stream:
            return Reaction(Answer([_WHOLE], before=[wait * 3]))
        return Reaction(Answer([chats.role(), wait, _END], before=[0.02]))

    def _stalling(self, *, stream: bool) -> Reaction:
        """It begins, and then there is silence, or nothing at all."""
        rest: list[Step] = [HANG] if self._draw.random() < 0.7 else []
        if not stream:
            return _broken(Fault(FaultKind.TRUNCATED, "the body ended too soon"), 0.05)
        return Reaction(Answer([_BEGIN, *rest], before=[0.03]))


def _broken(fault: Fault, soon: float) -> Reaction:
    return Reaction(Answer(before=[soon, fault]))


class _Reply(ScriptedReply):
    """A reply that says when it is over."""

    def __init__(self, answer: Answer, over: Callable[[], None]) -> None:
        super().__init__(answer)
        self._over: Callable[[], None] | None = over

    def close(self) -> None:
        """The connection is given back, or closed."""
        super().close()
        over, self._over = self._over, None
        if over is not None:
            over()


class SimUpstream:
    """One replica's `Upstream`: it writes down who is called, and what the replica learns of it."""

    def __init__(
        self, providers: Mapping[str, Provider], targets: Iterable[Target], ledger: Ledger, flights: Flights
    ) -> None:
        self._providers = providers
        self._targets = {_whose(target.urls.values(), target.headers): target for target in targets}
        self._ledger = ledger
        self._flights = flights
        self.name = ""
        self.watch: ReplicaWatch | None = None

    async def send(self, call: Call) -> ScriptedReply:
        """The reply of the provider whose address and key are on the call."""
        provider, key = whose = _whose((call.url,), call.headers)
        target = self._targets[whose]
        assert self.watch is not None
        epochs = self.watch.calls(target)
        stream = b'"stream":true' in call.body
        reaction = self._providers[provider].react(key, self._ledger.now, stream=stream)
        self._ledger.note(self.name, f"asks {target.id}")
        probes = self._flights.begin(self.name, target)
        try:
            await self._before(reaction.answer, target)
        except BaseException:
            self._flights.end(probes)
            raise
        if reaction.answer.status == 429:
            self.watch.refused(target, reaction.hint, epochs)
        elif reaction.answer.status == 401:
            self.watch.denied(target, epochs)
        if reaction.answer.status != 200:
            self._ledger.note(self.name, f"{target.id} says {reaction.answer.status}, {reaction.hint}")
        return _Reply(reaction.answer, lambda: self._flights.end(probes))

    async def _before(self, answer: Answer, target: Target) -> None:
        for step in answer.before:
            if isinstance(step, Fault):
                self._ledger.note(self.name, f"{target.id}: {step.reason}")
                raise step
            if step == HANG:
                await asyncio.Event().wait()
            await asyncio.sleep(step)

    async def close(self) -> None:
        """Nothing to close."""


def _whose(urls: Iterable[str], headers: Iterable[tuple[str, str]]) -> tuple[str, str]:
    """The provider and the key."""
    host = urlsplit(next(iter(urls))).hostname or ""
    return host.partition(".")[0], dict(headers)["authorization"].rpartition(" ")[2]
