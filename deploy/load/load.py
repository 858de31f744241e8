"""Life for the cluster of docker-compose.yml: requests of every kind at a constant rate, and their fate.

A request is sent when it is due, whatever came of those before. One that is refused for a limit is counted
as such; one that got no whole good answer has failed, or was cut when its stream had begun. Prints a line
every ten seconds and the sums at the end; the exit status is 1 when any failed or was cut.
"""  # noqa: INP001  (a script, not a package)

import argparse
import asyncio
import collections
import dataclasses
import enum
import json
import random
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import httpx

EVERY = 10.0
"""Seconds between two lines."""

_ASK = ({"role": "user", "content": "How much is the fish?"},)
_TALK = ({"role": "user", "content": "Tell me all about the sea. " * 40},)


class Outcome(enum.StrEnum):
    """What came of a request."""

    OK = "ok"
    REFUSED = "refused"
    FAILED = "failed"
    CUT = "cut"


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """A kind of request. `end` is in an event of every stream that is whole; none is no stream."""

    client: str
    path: str
    body: Mapping[str, object]
    weight: float
    end: str | None = None


def _chat(
    messages: Sequence[object], *, stream: bool = False, model: str = "gpt-4o-mini"
) -> dict[str, object]:
    more = {"stream_options": {"include_usage": True}} if stream else {}
    return {"model": model, "messages": messages, "stream": stream, "max_tokens": 200, **more}


KINDS = (
    Kind("demo", "/chat/completions", _chat(_ASK), 3),
    Kind("demo", "/chat/completions", _chat(_TALK, stream=True), 3, "[DONE]"),
    Kind("demo", "/chat/completions", _chat(_ASK, stream=True, model="gpt-4.1"), 1, "[DONE]"),
    Kind("demo", "/responses", {"model": "gpt-4.1", "input": "Hello!", "store": True}, 1),
    Kind(
        "demo",
        "/responses",
        {"model": "gpt-4o-mini", "input": "Hello!", "stream": True, "store": False},
        1,
        "response.completed",
    ),
    Kind(
        "demo",
        "/messages",
        {"model": "gpt-4o-mini", "messages": _ASK, "max_tokens": 200, "stream": True},
        1,
        "message_stop",
    ),
    Kind("demo", "/embeddings", {"model": "text-embedding-3-small", "input": ["fish", "sea"]}, 1),
    Kind("batch", "/chat/completions", _chat(_ASK), 2),
)


@dataclasses.dataclass(slots=True)
class Tally:
    """How many of each client came to what, and how many were sent again."""

    outcomes: collections.Counter[tuple[str, Outcome]] = dataclasses.field(
        default_factory=collections.Counter
    )
    reasons: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    resent: int = 0

    def line(self) -> str:
        """The sums, as JSON in one line."""
        clients: dict[str, dict[str, int]] = {}
        for (client, outcome), count in sorted(self.outcomes.items()):
            clients.setdefault(client, {})[outcome] = count
        return json.dumps({**clients, "resent": self.resent, "reasons": dict(self.reasons)})

    @property
    def spotless(self) -> bool:
        """Whether none failed or was cut."""
        return not any(outcome in (Outcome.FAILED, Outcome.CUT) for _, outcome in self.outcomes)


class Load:
    """Clients of one proxy, with their `keys` by name. A failed request is sent again `retries` times."""

    def __init__(self, proxy: httpx.AsyncClient, keys: Mapping[str, str], retries: int = 0) -> None:
        self._proxy = proxy
        self._keys = keys
        self._retries = retries
        self.tally = Tally()

    async def ask(self, kind: Kind) -> None:
        """Send one request and count what comes of it."""
        outcome, reason = await self._try(kind)
        for _ in range(self._retries):
            if outcome is not Outcome.FAILED:
                break
            self.tally.resent += 1
            outcome, reason = await self._try(kind)
        self.tally.outcomes[kind.client, outcome] += 1
        if reason:
            self.tally.reasons[reason] += 1

    async def _try(self, kind: Kind) -> tuple[Outcome, str]:
        headers = {"authorization": f"Bearer {self._keys[kind.client]}"}
        begun = False
        try:
            async with self._proxy.stream("POST", kind.path, json=kind.body, headers=headers) as reply:
                if reply.status_code != httpx.codes.OK:
                    await reply.aread()
                    refused = reply.status_code == httpx.codes.TOO_MANY_REQUESTS
                    outcome = Outcome.REFUSED if refused else Outcome.FAILED
                    return outcome, f"{kind.path} {reply.status_code}"
                if kind.end is None:
                    good = not json.loads(await reply.aread()).get("error")
                    return (Outcome.OK, "") if good else (Outcome.FAILED, f"{kind.path} error in a 200")
                whole = False
                async for data in _events(reply):
                    begun = True
                    if data.startswith('{"error"'):
                        return Outcome.CUT, f"{kind.path} error event"
                    whole = whole or kind.end in data
                return (Outcome.OK, "") if whole else (Outcome.CUT, f"{kind.path} no end")
        except httpx.HTTPError as error:
            return Outcome.CUT if begun else Outcome.FAILED, f"{kind.path} {type(error).__name__}"


async def _events(reply: httpx.Response) -> AsyncIterator[str]:
    async for line in reply.aiter_lines():
        if line.startswith("data:"):
            yield line.removeprefix("data:").strip()


async def run(
    load: Load, rate: float, seconds: float, draw: random.Random, say: Callable[[str], None]
) -> None:
    """Send `rate` requests a second for so long, then wait for the last answers."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    told = start
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(start + number / rate - loop.time())
            (kind,) = draw.choices(KINDS, [kind.weight for kind in KINDS])
            group.create_task(load.ask(kind))
            if loop.time() - told >= EVERY:
                told = loop.time()
                say(load.tally.line())
    say(load.tally.line())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8080/v1")
    parser.add_argument("--key", default="sk-apex-demo", help="the key of the client demo")
    parser.add_argument("--batch-key", default="sk-apex-batch", help="the key of the client batch")
    parser.add_argument("--rate", type=float, default=10.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=900.0)
    parser.add_argument("--retries", type=int, default=0, help="the SDKs of OpenAI and Anthropic do 2")
    return parser.parse_args()


async def _main(arguments: argparse.Namespace) -> int:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=50, keepalive_expiry=30.0)
    async with httpx.AsyncClient(
        base_url=arguments.url, timeout=60.0, limits=limits, trust_env=False
    ) as proxy:
        keys = {"demo": arguments.key, "batch": arguments.batch_key}
        load = Load(proxy, keys, arguments.retries)
        draw = random.Random(1)  # noqa: S311  (which kind of request comes next is no secret)
        await run(load, arguments.rate, arguments.seconds, draw, lambda line: print(line, flush=True))  # noqa: T201  (its output)
    return 0 if load.tally.spotless else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(_main(_arguments())))
