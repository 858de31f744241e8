"""Minutes of mixed traffic on one replica: does it grow? Prints a line a minute, and whether it was flat.

    python benchmarks/soak.py                 ten minutes
    python benchmarks/soak.py --minutes 3

Whole answers and streams in all three dialects, embeddings, counts, turns over a WebSocket, responses in the
background, requests that are refused; providers that fail, stall and cut, clients that leave. Flat means:
memory, open files and tasks of the last minute are within 5 % of the second's (or a handful, where they are
few). The first minute fills pools and caches. It says nothing of a replica that refuses: at least 80 % of the
answers must be good. What the scripted faults make of the rest is a few in a hundred: most are tried again
elsewhere, and only the model of one provider answers with its faults, or while that one rests.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import samples
import websockets
from running import Command, NotRunningError, Side, free_port, started
from sides import ROOT, Bench
from store import Store, store

CLIENTS = 24
PAUSE = 0.1
"""Seconds a client waits between two requests."""

LEFT = "left early"
AS_IT_SHOULD = "refused as they should be"
EVERY = 2.0
GROWTH = 0.05
HANDFUL = {"RSS MiB": 2.0, "open files": 4.0, "tasks": 4.0}
"""What is not called growth, where 5 % are less."""

GOOD = ("200", LEFT, AS_IT_SHOULD)
LEAST_GOOD = 0.8
"""The share of the answers that must be good, the faults' own included among the others."""

_FAULTS = [
    {"match": {"fraction": 0.02}, "then": {"status": 503}},
    {"match": {"fraction": 0.02}, "then": {"status": 429, "headers": {"retry-after": "1"}}},
    {"match": {"fraction": 0.02}, "then": {"cut_before_headers": True, "cut_with": "rst"}},
    {"match": {"fraction": 0.02, "stream": True}, "then": {"cut_after_events": 4}},
    {"match": {"fraction": 0.01, "stream": True}, "then": {"stall_after_events": 3}},
    {"match": {"fraction": 0.01}, "then": {"garbage": "noise"}},
]
_HEALTHY = {"tokens": 40, "delay_events_s": 0.005}
_QUESTION = [{"role": "user", "content": "What is the capital of France? " * 20}]
_ASKED: dict[str, dict[str, object]] = {
    "chat/completions": {"messages": _QUESTION},
    "responses": {"input": _QUESTION},
    "messages": {"messages": _QUESTION, "max_tokens": 500},
}
_ASIDE: dict[str, dict[str, object]] = {
    "embeddings": {"input": "What is the capital of France?"},
    "messages/count_tokens": {"messages": _QUESTION},
    "responses/input_tokens": {"input": _QUESTION},
}
_REFUSED = ({"model": "nobody's"}, {"model": "passed", "messages": "none"})
_RARE = 0.25
"""The share of what is no answer or stream of the three dialects."""

_OVER = frozenset({"response.completed", "response.incomplete", "response.failed", "error"})

Sample = dict[str, float]


@dataclass(frozen=True, slots=True)
class Subject:
    """The replica: where it answers, its process, and the file with its tasks."""

    url: str
    side: Side
    tasks: Path

    def sample(self) -> Sample:
        """How much it holds at the moment."""
        told = self.tasks.read_text(encoding="ascii") if self.tasks.exists() else ""
        return {
            "RSS MiB": self.side.memory(),
            "open files": float(sum(1 for _ in Path(f"/proc/{self.side.pid}/fd").iterdir())),
            "tasks": float(told or "nan"),
        }


def main() -> int:
    """The command line; 0 if all was flat, and answered."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=int, default=10, help="at least 3 (10)")
    parser.add_argument("--tree", type=Path, default=ROOT, help="the sources of ours (these)")
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="apex-soak-")))
        bench = Bench(cores[0], cores[-1], folder)
        try:
            subject = _subject(stack, bench, given.tree.resolve())
        except NotRunningError as error:
            print(error)
            return 1
        samples_taken, outcomes = asyncio.run(_soak(subject, max(given.minutes, 3) * 60.0))
    wrong = growth(samples_taken) + refused(outcomes)
    print("\nAnswers: " + ", ".join(f"{count:,} {name}" for name, count in outcomes.most_common()))
    print("Flat." if not wrong else "NOT FLAT: " + "; ".join(wrong))
    return 1 if wrong else 0


def _subject(stack: contextlib.ExitStack, bench: Bench, tree: Path) -> Subject:
    mocks = [free_port(), free_port()]
    for number, mock in enumerate(mocks):
        script = bench.folder / f"mock-{number}.json"
        script.write_text(json.dumps({"rules": _FAULTS, "default": _HEALTHY}), encoding="utf-8")
        arguments = [sys.executable, "-m", "proxy", "mock", "--port", str(mock), "--no-record"]
        arguments += ["--script", str(script)]
        command = Command(arguments, bench.other, ROOT, {}, bench.folder / f"mock-{number}.log")
        stack.enter_context(started(command, mock))
    port, tasks, file = free_port(), bench.folder / "tasks", bench.folder / "soak.json"
    file.write_text(json.dumps(_config(port, mocks, store(stack, bench))), encoding="utf-8")
    program = str(ROOT / "benchmarks" / "watched.py")
    command = Command(
        [sys.executable, program, "serve", "--config", str(file)],
        bench.core,
        tree,
        {"PYTHONPATH": str(tree), "APEX_WATCHED": str(tasks)},
        bench.folder / "soak.log",
    )
    pid = stack.enter_context(started(command, port))
    return Subject(f"http://127.0.0.1:{port}/v1", Side("ours", "", pid), tasks)


def _config(port: int, mocks: Sequence[int], kept: Store) -> dict[str, object]:
    limits = {"requests_per_minute": 100_000, "tokens_per_minute": 100_000_000, "concurrency": 1000}
    spoken = ["chat", "responses", "messages"]
    providers = {
        f"mock-{number}": {"kind": "generic", "base_url": f"http://127.0.0.1:{mock}/v1", "dialects": spoken}
        for number, mock in enumerate(mocks)
    }
    foreign = {"kind": "anthropic", "base_url": f"http://127.0.0.1:{mocks[0]}", "api_key": samples.KEY}
    return {
        "listen": {"host": "127.0.0.1", "port": port},
        "operations": {"port": 0},
        "redis": {"url": kept.url},
        "clients": [{"name": "soak", "key": samples.KEY, "limits": limits}],
        "providers": {**providers, "foreign": foreign},
        "models": {
            "passed": {"providers": [{"provider": name} for name in providers]},
            "translated": {"providers": [{"provider": "foreign"}]},
        },
        "timeouts": {"idle": 1.0},
        "responses": {"ttl": 60.0, "event_ttl": 60.0},
        "health": {"ejection": 1.0, "ejection_cap": 2.0},
        "drain_grace": 0,
        "drain_timeout": 1,
    }


async def _soak(subject: Subject, seconds: float) -> tuple[list[list[Sample]], Counter[str]]:
    """The samples of each minute, and how requests ended."""
    outcomes: Counter[str] = Counter()
    over = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=None)
    headers = {"authorization": f"Bearer {samples.KEY}"}
    minutes: list[list[Sample]] = []
    async with (
        httpx.AsyncClient(headers=headers, limits=limits, timeout=30.0, trust_env=False) as client,
        asyncio.TaskGroup() as group,
    ):
        for number in range(CLIENTS):
            one = Client(client, subject.url, random.Random(number))
            group.create_task(one.run(over, outcomes))
        heads = ["minute", *HANDFUL, "answers"]
        print("  ".join(heads), flush=True)
        while time.monotonic() < over - EVERY:
            minutes.append(await _minute(subject, min(over, time.monotonic() + 60.0)))
            figures = [f"{middle(minutes[-1], name):.1f}" for name in HANDFUL]
            row = [str(len(minutes)), *figures, f"{outcomes.total():,}"]
            cells = (cell.rjust(len(head)) for cell, head in zip(row, heads, strict=True))
            print("  ".join(cells), flush=True)
    return minutes, outcomes


async def _minute(subject: Subject, until: float) -> list[Sample]:
    found = []
    while time.monotonic() < until - EVERY / 2:
        await asyncio.sleep(EVERY)
        found.append(subject.sample())
    return found


class Client:
    """One of those that ask; it writes down how its requests ended."""

    def __init__(self, client: httpx.AsyncClient, url: str, dice: random.Random) -> None:
        self._client = client
        self._url = url
        self._dice = dice

    async def run(self, over: float, outcomes: Counter[str]) -> None:
        """One request after another, of any kind."""
        rare = [self._aside, self._turns, self._background, self._refused]
        while time.monotonic() < over:
            ask = self._dice.choice(rare) if self._dice.random() < _RARE else self._ask
            try:
                outcomes[await ask()] += 1
            except (httpx.HTTPError, websockets.WebSocketException) as error:
                outcomes[type(error).__name__] += 1
            await asyncio.sleep(PAUSE * self._dice.random() * 2)

    def _leaves(self) -> bool:
        return self._dice.random() < 0.1

    async def _ask(self) -> str:
        path, asked = self._dice.choice(sorted(_ASKED.items(), key=str))
        model = self._dice.choice(["passed", "passed", "translated"])
        body = {**asked, "model": model, "stream": self._dice.random() < 0.6}
        leaves = self._leaves()
        async with self._client.stream("POST", f"{self._url}/{path}", json=body) as answer:
            async for _ in answer.aiter_raw():
                if leaves:
                    return LEFT
            return str(answer.status_code)

    async def _aside(self) -> str:
        path, asked = self._dice.choice(sorted(_ASIDE.items(), key=str))
        answer = await self._client.post(f"{self._url}/{path}", json={**asked, "model": "passed"})
        return str(answer.status_code)

    async def _refused(self) -> str:
        body = self._dice.choice(_REFUSED)
        answer = await self._client.post(f"{self._url}/chat/completions", json=body)
        return AS_IT_SHOULD if 400 <= answer.status_code < 500 else str(answer.status_code)

    async def _turns(self) -> str:
        """Two, on one WebSocket."""
        url = f"{self._url}/responses".replace("http", "ws", 1)
        headers = {"authorization": f"Bearer {samples.KEY}"}
        turn = json.dumps({"type": "response.create", "model": "passed", **_ASKED["responses"]})
        async with websockets.connect(url, additional_headers=headers, proxy=None) as opened:
            for leaves in (self._leaves(), self._leaves()):
                await opened.send(turn)
                async for event in opened:
                    if leaves:
                        return LEFT
                    if json.loads(event)["type"] in _OVER:
                        break
        return "200"

    async def _background(self) -> str:
        """A response that goes on by itself, and is followed."""
        body = {"model": "passed", "background": True, "store": True, **_ASKED["responses"]}
        begun = await self._client.post(f"{self._url}/responses", json=body)
        if begun.status_code != 200:
            return str(begun.status_code)
        leaves = self._leaves()
        url = f"{self._url}/responses/{begun.json()['id']}"
        async with self._client.stream("GET", url, params={"stream": "true"}) as answer:
            async for _ in answer.aiter_raw():
                if leaves:
                    return LEFT
            return str(answer.status_code)


def middle(taken: Sequence[Sample], name: str) -> float:
    """The median of one figure."""
    return statistics.median(one[name] for one in taken)


def refused(outcomes: Counter[str]) -> list[str]:
    """That too few answers were good, where they were."""
    good, total = sum(outcomes[name] for name in GOOD), outcomes.total()
    return [] if total and good >= LEAST_GOOD * total else [f"{good:,} good answers of {total:,}"]


def growth(minutes: Sequence[Sequence[Sample]]) -> list[str]:
    """What the last minute holds more of than the second, beyond what is flat."""
    found = []
    for name, handful in HANDFUL.items():
        first, last = middle(minutes[1], name), middle(minutes[-1], name)
        if not last - first <= max(GROWTH * first, handful):
            found.append(f"{name} {first:.1f} -> {last:.1f}")
    return found


if __name__ == "__main__":
    sys.exit(main())
