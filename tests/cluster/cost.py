"""Scenario 5: what limits cost Redis, by its own count.

How often: the store's slow log, with its threshold at nothing, holds every script call with its keys, and
`INFO commandstats` their sum. How much: both it and `INFO cpu` over many calls of one script, with
an empty one taking turns with it, so that a busy machine slows both.
"""

import asyncio
import collections
import random
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import traffic
from ensemble import configured, counted, replicas
from figures import Check
from harness import Mock
from stores import Store, standalone
from traffic import Load

from proxy.clock import SystemClock
from proxy.link import Argument, Link, parse
from proxy.tasks import Tasks
from ratelimit.quota import Demand, Quota
from ratelimit.redis_store import RedisStore
from ratelimit.scope import Kind, Limits, Scope
from ratelimit.store import Script, load_scripts

_SEVEN = {"requests_per_minute": 1_000_000, "tokens_per_minute": 100_000_000, "concurrency": 10_000}
_EMPTY = Script("empty", "return 1", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db")
EACH = 500
"""Calls of one script before the next has its turn; so many reservations are open at one time."""
BATCH = 10
"""Calls in one round trip, as of a busy replica."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Microseconds: executing scripts, and of the processor altogether."""

    calls: int
    executing: float
    processor: float

    def plus(self, other: "Spent") -> "Spent":
        """Both together."""
        calls_ = self.calls + other.calls
        return Spent(calls_, self.executing + other.executing, self.processor + other.processor)

    def each(self, calls_: int) -> "Spent":
        """Of one call."""
        return Spent(1, self.executing / calls_, self.processor / calls_)


@dataclass(frozen=True, slots=True)
class Calls:
    """Script calls for so many requests of each kind, and those made in the same time for other reasons."""

    requests: int
    scopes: int
    admits: int
    settles: int
    others: int
    stats: int
    unlimited: int

    def checks(self) -> list[Check]:
        """See `Figures`."""
        due = self.requests * self.scopes
        logged = self.admits + self.settles + self.others
        return [
            Check(
                f"{self.requests} requests, {self.scopes} scopes: admits",
                str(self.admits),
                f"= {due}",
                self.admits == due,
            ),
            Check("settles", str(self.settles), f"= {due}", self.settles == due),
            Check("EVALSHA of commandstats", str(self.stats), f"= {logged} logged", self.stats == logged),
            Check(
                f"limit calls of {self.requests} unlimited requests",
                str(self.unlimited),
                "= 0",
                self.unlimited == 0,
            ),
        ]


def calls(requests: int = 600) -> Calls:
    """Requests of a client that three scopes limit, then of one that nothing limits, over 3 replicas."""
    with standalone("slowlog-max-len 1000000") as store, Mock() as mock:
        clients: dict[str, dict[str, object]] = {"limited": {"limits": _SEVEN}, "free": {}}
        config = configured(
            mock, f"redis://127.0.0.1:{store.port}", clients, models={
                "chat": {"providers": [{"provider": "mock"}], "limits": _SEVEN},
                "plain": {"providers": [{"provider": "open"}]},
            },
            providers={
                name: {"base_url": f"http://127.0.0.1:{mock.port}/v1", "api_key": f"sk-{name}", **more}
                for name, more in {"mock": {"limits": _SEVEN}, "open": {}}.items()
            },
        )  # fmt: skip
        with replicas(config) as running:
            ports = [replica.port for replica in running]
            limited, before = _count(store, Load("limited", ports, 200.0), requests)
            free, _ = _count(store, Load("free", ports, 200.0, model="plain"), requests)
    names = {script.sha: name for name, script in load_scripts().items()}
    named = collections.Counter(names.get(sha, "replicas") for sha in limited.elements())
    unlimited = sum(count for sha, count in free.items() if sha in names)
    admits, settles = named.pop("admit"), named.pop("settle")
    return Calls(requests, 3, admits, settles, named.total(), before, unlimited)


def _count(store: Store, wanted: Load, requests: int) -> tuple[collections.Counter[str], int]:
    """Script calls by SHA while `requests` are made, and how many the server's statistics have."""
    store.ask("CONFIG", "SET", "slowlog-log-slower-than", 0)
    store.ask("CONFIG", "RESETSTAT")
    store.ask("SLOWLOG", "RESET")
    answers = asyncio.run(_settled(wanted, requests))
    assert traffic.statuses(answers) == {200: requests}, traffic.statuses(answers)
    calls_ = counted(store).calls
    entries = store.ask("SLOWLOG", "GET", -1)
    shas = [entry[3][1].decode() for entry in entries if entry[3][0].upper() == b"EVALSHA"]
    return collections.Counter(shas[len(shas) - calls_ :] if len(shas) > calls_ else shas), calls_


async def _settled(wanted: Load, requests: int) -> list[traffic.Answer]:
    answers = await traffic.run(wanted, (requests - 0.5) / wanted.rate)
    await asyncio.sleep(0.5)  # settlements leave after the answer
    return answers


@dataclass(frozen=True, slots=True)
class Effort:
    """Microseconds of one call: its execution as commandstats has it, and all of the server's processor time.

    The empty script gets the keys and arguments of an admission, and returns.
    """

    calls: int
    empty: Spent
    admit: Spent
    settle: Spent

    def checks(self) -> list[Check]:
        """See `Figures`."""
        return [
            check
            for name, spent in (("admit", self.admit), ("settle", self.settle))
            for check in (
                _times(f"{name}, us executing ({self.calls} calls)", spent.executing, self.empty.executing),
                _times(f"{name}, us of processor time", spent.processor, self.empty.processor),
            )
        ]


def _times(what: str, figure: float, empty: float) -> Check:
    said = f"{figure / empty:.2f} x empty ({empty:.2f}) <= 4 x"
    return Check(what, f"{figure:.2f}", said, figure <= 4 * empty, soft=True)


Doing = Callable[[str], Awaitable[object]]


def effort(calls_: int = 10_000) -> Effort:
    """One script after the other, in turns of `EACH` calls."""
    with standalone() as store:
        return asyncio.run(_effort(store, calls_ // EACH))


async def _effort(store: Store, turns: int) -> Effort:
    scripts, tasks = load_scripts(), Tasks()
    address = parse(f"redis://127.0.0.1:{store.port}")
    link = Link(
        address,
        clock=SystemClock(),
        tasks=tasks,
        draw=random.Random(1),
        scripts=[*scripts.values(), _EMPTY],
    )
    await link.start()
    totals = {name: Spent(0, 0, 0) for name in ("empty", "admit", "settle")}
    doing = _doing(link, RedisStore(link, scripts))
    for turn in range(turns):
        rids = [f"replica.{turn * EACH + number:x}" for number in range(EACH)]
        for name, do in doing.items():
            totals[name] = totals[name].plus(await _measured(store, do, rids))
    await link.close()
    await tasks.close()
    per = {name: total.each(turns * EACH) for name, total in totals.items()}
    return Effort(turns * EACH, per["empty"], per["admit"], per["settle"])


def _doing(link: Link, limits: RedisStore) -> dict[str, Doing]:
    """What is measured, by name."""
    own: Limits = Scope.of(Kind.CLIENT, "measured", Quota(1_000_000, 100_000_000, 10_000)).limits()
    demand, used = Demand(1, 500), Demand(1, 300)
    keys: list[Argument] = [own[0].key]
    rest: list[Argument] = [30, own[0].gauge.keep_ms, struct.pack("<7q", *own[0].gauge.ask(demand))]
    return {
        "empty": lambda rid: link.call(_EMPTY, keys, [rid, *rest]),
        "admit": lambda rid: limits.admit(rid, own, demand),
        "settle": lambda rid: limits.settle(rid, own, demand, used),
    }


async def _measured(store: Store, do: Doing, rids: Sequence[str]) -> Spent:
    processor, before = _processor_us(store), counted(store)
    for at in range(0, len(rids), BATCH):
        await asyncio.gather(*map(do, rids[at : at + BATCH]))
    executing = counted(store).since(before)
    assert executing.calls == len(rids), executing
    return Spent(executing.calls, executing.usec, _processor_us(store) - processor)


def _processor_us(store: Store) -> int:
    """What the server has used of the processor, in microseconds."""
    facts = dict(line.split(":") for line in store.ask("INFO", "cpu").decode().splitlines() if ":" in line)
    return round((float(facts["used_cpu_user"]) + float(facts["used_cpu_sys"])) * 1e6)
