"""Requests of every kind before providers of every kind, and operators who ask three replicas about them.

`shaky` fails in mixed ways, `claude` speaks Messages alone, `tight` has a key whose limit is full now and
then. What the requests are is drawn from a seed, so that any of them can be sent again.
"""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
from harness import Serve
from providers import Scene, Script, staged
from traffic import CHAT, key_of

PROVIDERS = ("shaky", "claude", "tight")

TURNS = 3
"""How often a question is asked that Redis did not carry in time, as happens on a busy machine."""

PATHS: Mapping[str, str] = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}

SHAKY: Script = {
    "rules": [
        {"match": {"every": 3}, "then": {"status": 503}},
        {"match": {"every": 7}, "then": {"status": 429, "headers": {"retry-after": 1}}},
        {"match": {"stream": True, "every": 5}, "then": {"cut_after_events": 4, "tokens": 8}},
        {"match": {"every": 11}, "then": {"cut_before_headers": True}},
    ],
    "default": {"tokens": 3},
}

CLIENTS: Mapping[str, Mapping[str, object]] = {
    "app": {
        "limits": {"requests_per_minute": 60_000, "tokens_per_minute": 60_000_000, "concurrency": 200},
        "allow_direct": True,
    },
    "other": {},
    "brief": {"limits": {"requests_per_minute": 60, "burst": 3}},
}

ROW, QUICK, LONE = "row", "quick", "lone"


@contextlib.contextmanager
def stage(per_minute: int = 60_000, burst: int = 1_000, ejection: str = "1s") -> Iterator[Scene]:
    """Three replicas before the three providers, which are well. The limit is that of the key of `tight`."""
    keys: dict[str, dict[str, object]] = {name: {"api_key": f"sk-{name}-0"} for name in PROVIDERS}
    keys["claude"]["dialects"] = ["messages"]
    keys["tight"]["limits"] = {"requests_per_minute": per_minute, "burst": burst}
    models = {
        CHAT: {"providers": [{"provider": name} for name in PROVIDERS]},
        ROW: {"providers": [{"provider": name} for name in PROVIDERS], "strategy": "ordered"},
        QUICK: {
            "providers": [{"provider": name} for name in ("claude", "tight")],
            "strategy": "least_latency",
        },
        LONE: {"providers": [{"provider": "claude"}]},
    }
    health = {"ejection": ejection}
    with staged(PROVIDERS, providers=keys, models=models, clients=CLIENTS, health=health) as scene:
        yield scene


@dataclass(frozen=True, slots=True)
class Request:
    """One request as a client sends it."""

    client: str
    dialect: str
    model: str
    stream: bool
    body: bytes


def request(draw: random.Random, client: str, dialect: str, model: str, *, stream: bool) -> Request:
    """A request of some size, with a field now and then that not every dialect has."""
    said = [{"role": "user", "content": "Say something. " * draw.randint(1, 40)}]
    fields: dict[str, object] = {"model": model, "stream": stream}
    fields["input" if dialect == "responses" else "messages"] = said
    fields["max_output_tokens" if dialect == "responses" else "max_tokens"] = draw.choice([32, 400])
    if dialect == "messages":
        fields["system"] = "Be brief."
        if draw.random() < 0.3:
            fields["top_k"] = 3
    elif draw.random() < 0.3:
        fields["temperature" if dialect == "responses" else "seed"] = 1
    return Request(client, dialect, model, stream, json.dumps(fields).encode())


def requests(count: int, seed: int = 8, clients: Sequence[int] = (6, 3, 1)) -> Iterator[Request]:
    """So many of every kind: clients (with these weights), dialects, models, streams and whole replies."""
    draw = random.Random(seed)
    for _ in range(count):
        client = draw.choices(list(CLIENTS), clients)[0]
        model = draw.choices([CHAT, ROW, QUICK, LONE, "odd#tight", "nothing"], (8, 4, 3, 3, 1, 1))[0]
        yield request(draw, client, draw.choice(list(PATHS)), model, stream=draw.random() < 0.5)


@dataclass(frozen=True, slots=True)
class Sent:
    """What the headers of an answer said. `place` is that of the replica; `target` may be left out."""

    place: int
    request_id: str
    status: int
    attempts: int
    target: str | None


class Caller:
    """Clients and operators of the three replicas, over kept connections.

    `late`: questions that were asked again, for a call of Redis had no answer in its time.
    """

    def __init__(self, running: Sequence[Serve], session: aiohttp.ClientSession) -> None:
        self.running = running
        self.late = 0
        self._session = session

    async def send(self, place: int, wanted: Request) -> Sent:
        """Send it to a replica, and read the answer to its end."""
        url = f"http://127.0.0.1:{self.running[place].port}{PATHS[wanted.dialect]}"
        headers = {"authorization": f"Bearer {key_of(wanted.client)}", "content-type": "application/json"}
        async with self._session.post(url, data=wanted.body, headers=headers) as answer:
            await answer.read()
            said = answer.headers
            return Sent(
                place,
                said["x-request-id"],
                answer.status,
                int(said.get("x-apex-attempts", 0)),
                said.get("x-apex-target"),
            )

    async def send_all(self, wanted: Sequence[Request], callers: int = 6) -> list[Sent]:
        """All of them, over the replicas in turn, so many at one time."""
        left = iter(enumerate(wanted))
        done: list[Sent] = []

        async def call() -> None:
            for number, one in left:
                done.append(await self.send(number % len(self.running), one))

        await asyncio.gather(*(call() for _ in range(callers)))
        return done

    async def ask(self, place: int, path: str, body: bytes | None = None, **query: str) -> tuple[int, bytes]:
        """Status and body of what a replica's operations port says: to a POST where there is a body."""
        url = f"http://127.0.0.1:{self.running[place].operations}/admin/{path}"
        method = "GET" if body is None else "POST"
        async with self._session.request(method, url, data=body, params=query) as answer:
            return answer.status, await answer.read()

    async def read(self, place: int, path: str, body: bytes | None = None, **query: str) -> Any:
        """The JSON of such an answer, which has to be a good one."""
        status, said = await self.ask(place, path, body, **query)
        assert status == 200, said
        return json.loads(said)

    async def order(self, place: int, target: str, order: str, **query: str) -> float:
        """Give an order about a target, by its label; when it was answered."""
        await self.read(place, f"targets/{target}/{order}", b"", **query)
        return time.monotonic()

    async def targets(self, place: int) -> dict[str, Any]:
        """How a replica sees each target, by `provider/model`."""
        rows = (await self.read(place, "targets"))["targets"]
        return {row["target"].partition("@")[0]: row for row in rows}

    async def why(self, place: int, request_id: str) -> tuple[int, bytes]:
        """What a replica says of a decision, asked again where Redis has not carried the question in time."""
        for _ in range(TURNS):
            status, said = await self.ask(place, f"decisions/{request_id}")
            if status != 503 or b"Redis, over which it is asked, is away" not in said:
                break
            self.late += 1
        return status, said

    async def explain(self, place: int, wanted: Request) -> Any:
        """What a replica says would become of a request."""
        return await self.read(place, "explain", wanted.body, client=wanted.client, endpoint=wanted.dialect)


@contextlib.asynccontextmanager
async def calling(running: Sequence[Serve]) -> AsyncIterator[Caller]:
    """A caller, whose connections end with the block."""
    waiting = aiohttp.ClientTimeout(total=60.0)
    async with aiohttp.ClientSession(timeout=waiting, connector=aiohttp.TCPConnector(limit=0)) as session:
        yield Caller(running, session)


def tried(told: Mapping[str, Any]) -> list[str]:
    """The targets that an explanation says were tried, in order."""
    return [step["picked"] for step in told.get("steps", ()) if step.get("came") == "tried"]


def labels(told: Mapping[str, Any]) -> dict[str, str]:
    """The labels of its candidates by their ids."""
    return {one["target"]: one["label"] for one in told.get("candidates", ())}
