"""What explaining a request costs, which is nothing, and whether it then goes where it was said to go."""

import asyncio
import contextlib
import itertools
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from figures import Check
from providers import WELL, Scene, play
from questions import PROVIDERS, QUICK, ROW, SHAKY, Caller, Request, calling, requests, stage, tried
from stores import HOST, Store

from ratelimit.store import load_scripts

QUIET_S = 4.0
"""Seconds until all is settled, and every limit is whole again."""

HEALTH = "apex:{health}"
WRITING = frozenset({"HSET", "HDEL", "HINCRBY", "DEL", "UNLINK", "SET", "PEXPIRE", "EXPIRE"})


@dataclass(frozen=True, slots=True)
class Costs:
    """What so many explanations have cost: calls, settlements, writes, and what is otherwise than before."""

    explained: int
    calls: int
    asked: int
    settled: int
    written: int
    changed: Sequence[str]


@dataclass(frozen=True, slots=True)
class Foretold:
    """Costs; and of so many requests that were explained and then sent at once, how many went elsewhere."""

    costs: Costs
    sent: int
    first: dict[str, int]
    otherwise: Sequence[str]

    def checks(self) -> list[Check]:
        """See `Figures`."""
        costs = self.costs
        return [
            Check("explained", str(costs.explained), "> 0", costs.explained > 0),
            _none("calls at providers", costs.calls),
            Check("limits asked (admit without a lease)", str(costs.asked), "> 0", costs.asked > 0),
            _none("limits settled", costs.settled),
            _none("writes to limits and to health", costs.written),
            _none("limits, health, decisions otherwise after it", len(costs.changed)),
            Check("explained, and sent at once", str(self.sent), "> 0", self.sent > 0),
            Check(
                "first ones foretold",
                " ".join(map(str, self.first.values())),
                " ".join(self.first),
                holds=True,
            ),
            _none("went elsewhere", len(self.otherwise)),
            *(Check("", "", f"| {line}", holds=True) for line in self.otherwise[:5]),
        ]


def _none(what: str, figure: int) -> Check:
    return Check(what, str(figure), "= 0", figure == 0)


def foretold(each: int = 100, pairs: int = 60) -> Foretold:
    """`each` explanations on each replica; then `pairs` of one and its request in each of three states."""
    with stage() as scene:
        return asyncio.run(_foretold(scene, each, pairs))


async def _foretold(scene: Scene, each: int, pairs: int) -> Foretold:
    play(scene["shaky"].mock, SHAKY)
    async with calling(scene.running) as caller:
        await caller.send_all(list(requests(60)))
        await asyncio.sleep(QUIET_S)
        costs = await _costs(scene, caller, each)
        play(scene["shaky"].mock, WELL)
        first: Counter[str] = Counter()
        otherwise: list[str] = []
        for number, state in enumerate((_well, _backing_off, _drained)):
            await state(scene, caller)
            for turn, wanted in enumerate(requests(pairs, number, (2, 1, 0))):
                place = turn % len(scene.running)
                said, went = await _both(caller, place, wanted)
                first[said] += 1
                if said != went:
                    otherwise.append(f"{state.__name__} {wanted.model}: {said} foretold, {went}")
    return Foretold(costs, 3 * pairs, dict(first), otherwise)


async def _costs(scene: Scene, caller: Caller, each: int) -> Costs:
    places = range(len(scene.running))
    before = await _standing(scene, caller)
    calls = _calls(scene)
    with overheard(scene.store) as heard:
        for place in places:
            for wanted in requests(each, place):
                told = await caller.explain(place, wanted)
                assert told["supposed"], told
        await asyncio.sleep(0.5)  # a settlement would leave after the answer
    after = await _standing(scene, caller)
    scripts = {script.sha: name for name, script in load_scripts().items()}
    ran = Counter(scripts.get(words[1]) for words in heard if words[0].upper() == "EVALSHA")
    writes = [words[1] for words in heard if words[0].upper() in WRITING]
    return Costs(
        explained=each * len(places),
        calls=_calls(scene) - calls,
        asked=ran["admit"],
        settled=ran["settle"],
        written=sum(key == HEALTH or key.startswith("rl:") for key in writes),
        changed=[name for name, value in after.items() if before.get(name) != value],
    )


def _calls(scene: Scene) -> int:
    return sum(watched.requests for watched in scene.watched.values())


async def _standing(scene: Scene, caller: Caller) -> dict[str, Any]:
    """All that a request would change: what is left of limits, what is known of targets, what is decided."""
    found: dict[str, Any] = {}
    for place in range(len(scene.running)):
        for client in ("app", "other", "brief"):
            found[f"{client} {place}"] = await caller.read(place, f"limits/{client}")
        for name, row in (await caller.targets(place)).items():
            found[f"{name} {place}"] = row.get("limits"), row.get("in_flight"), row.get("troubles", ())[2:]
        found[f"decisions {place}"] = await caller.read(place, "decisions", limit="50000")
    for key in scene.store.ask("KEYS", "rl:*"):
        found[f"{key}"] = sorted(scene.store.ask("HGETALL", key))
    found["health"] = scene.store.ask("HGETALL", HEALTH)
    return found


@contextlib.contextmanager
def overheard(store: Store) -> Iterator[list[list[str]]]:
    """The words of every command that the store runs in the block, those that scripts run among them."""
    heard: list[list[str]] = []
    with socket.create_connection((HOST, store.port)) as line, line.makefile("rb") as lines:
        line.sendall(b"MONITOR\r\n")
        assert lines.readline() == b"+OK\r\n"

        def listen() -> None:
            for said in lines:
                _, _, words = said.decode("latin-1").partition('] "')
                heard.append(words.rstrip().removesuffix('"').split('" "'))

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        yield heard
        line.shutdown(socket.SHUT_RDWR)
        listener.join()


async def _both(caller: Caller, place: int, wanted: Request) -> tuple[str, str]:
    """Where a request would go first, and where it goes; or the status of its refusal."""
    told = await caller.explain(place, wanted)
    sent = await caller.send(place, wanted)
    made = await caller.read(place, f"decisions/{sent.request_id}")
    return _first(told), _first(made)


def _first(told: Any) -> str:
    went = tried(told)
    return went[0].partition("@")[0] if went else str(told["status"])


async def _well(scene: Scene, caller: Caller) -> None:
    """Nothing is known against anybody."""
    for name, model in itertools.product(PROVIDERS, ("chat", ROW)):
        await caller.order(0, f"{name}/{model}", "reset")
    await asyncio.sleep(1.5)


async def _backing_off(scene: Scene, caller: Caller) -> None:
    """The first of a row has asked for time."""
    play(scene["shaky"].mock, {"default": {"status": 429, "headers": {"retry-after": 60}}})
    for wanted in requests(200, 1, (0, 1, 0)):
        if wanted.model == ROW:
            await caller.send(0, wanted)
            break
    await everywhere(caller, f"shaky/{ROW}", lambda row: row.get("back_off_for", 0) > 0)


async def _drained(scene: Scene, caller: Caller) -> None:
    """The one before the last of a row is drained too, and one that answers fast."""
    for model in (ROW, QUICK):
        await caller.order(1, f"tight/{model}", "drain")
        await everywhere(caller, f"tight/{model}", lambda row: row.get("drained", False))


async def everywhere(caller: Caller, target: str, holds: Any, within: float = 5.0) -> float:
    """Seconds until it holds of a target on every replica. Fails when it takes longer than `within`."""
    began = time.monotonic()
    for place in range(len(caller.running)):
        while not holds((await caller.targets(place))[target]):
            assert time.monotonic() - began < within, (target, await caller.targets(place))
            await asyncio.sleep(0.01)
    return time.monotonic() - began
