"""Counters agree with what a load of known size did, to the last one, over two replicas."""

import asyncio
import collections
import contextlib
import dataclasses
import json
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest
from harness import Mock, Serve, eventually, two_free_ports
from lively import KEY, TIGHT_KEY, TOKEN, Operations
from prometheus_client.parser import text_string_to_metric_families

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

WHOLE, STREAMS, TIGHT, WRONG = 120, 60, 40, 10
INPUT, OUTPUT, CACHED = 30, 12, 10
FLAKY = {
    "rules": [{"match": {"every": 4}, "then": {"status": 503}}],
    "default": {
        "tokens": OUTPUT,
        "prompt_tokens": INPUT,
        "completion_tokens": OUTPUT,
        "cached_tokens": CACHED,
    },
}
GOOD = {"default": FLAKY["default"]}
PRICE = {"input": 2.0, "output": 8.0, "cached": 0.5}
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
COST = ((INPUT - CACHED) * 2.0 + OUTPUT * 8.0 + CACHED * 0.5) / 1_000_000


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """What all replicas have counted, and what happened: statuses, attempts, and calls by provider."""

    samples: Samples
    statuses: Counter[int]
    attempts: int
    costs: float
    calls: dict[str, int]

    @property
    def good(self) -> int:
        """How many were answered."""
        return self.statuses[200]

    @property
    def limited(self) -> int:
        """How many met a limit."""
        return self.statuses[429]

    def sum(self, metric: str, /, **labels: str) -> float:
        """The sum of a metric over replicas and all labels but these."""
        wanted = set(labels.items())
        return sum(
            value for (found, having), value in self.samples.items() if found == metric and wanted <= having
        )


async def _load(url: str) -> tuple[Counter[int], int, float]:
    """The statuses of all answers, the attempts that they tell of, and what they say they have cost."""
    statuses: Counter[int] = Counter()
    attempts, costs = 0, 0.0

    async def one(key: str, model: str, *, stream: bool) -> None:
        nonlocal attempts, costs
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}
        answer = await client.post("/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})
        statuses[answer.status_code] += 1
        attempts += int(answer.headers["x-apex-attempts"])
        costs += float(answer.headers.get("x-apex-cost", 0))

    async with httpx.AsyncClient(base_url=url, timeout=30, limits=httpx.Limits(max_connections=10)) as client:
        wanted = [one(KEY, "chat", stream=False) for _ in range(WHOLE)]
        wanted += [one(KEY, "chat", stream=True) for _ in range(STREAMS)]
        wanted += [one(TIGHT_KEY, "chat", stream=False) for _ in range(TIGHT)]
        wanted += [one(KEY, "nothing", stream=False) for _ in range(WRONG)]
        await asyncio.gather(*wanted)
    return statuses, attempts, costs


def _read(pages: list[str]) -> Samples:
    found: Samples = collections.defaultdict(float)
    for page in pages:
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                found[sample.name, frozenset(sample.labels.items())] += sample.value
    return found


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    """What two replicas tell after the load."""
    base = two_free_ports()
    with contextlib.ExitStack() as stack:
        mocks = {
            name: stack.enter_context(Mock(script, name))
            for name, script in (("flaky", FLAKY), ("good", GOOD))
        }
        entries = [{"provider": name, "price": PRICE} for name in mocks]
        config = {
            "listen": {"port": 0},
            "operations": {"port": base, "token": TOKEN},
            "drain_grace": 0,
            "clients": [
                {"name": "app", "key": KEY},
                {"name": "tight", "key": TIGHT_KEY, "limits": {"requests_per_minute": 1, "burst": 10}},
            ],
            "providers": {
                name: {"base_url": f"http://127.0.0.1:{mock.port}/v1", "api_key": f"sk-{name}"}
                for name, mock in mocks.items()
            },
            "models": {"chat": {"strategy": "ordered", "providers": entries}},
            "costs": {"header": True},
        }
        proxy = stack.enter_context(Serve(config, "--workers", "2"))
        proxy.event("ready", 2)
        statuses, attempts, costs = asyncio.run(_load(proxy.url))
        operations = Operations((base, base + 1))
        everything = sum(statuses.values())
        eventually(lambda: _ended(_read(operations.metrics())) == everything)
        calls = {name: int(mock.stats()["requests"]) for name, mock in mocks.items()}
        yield Told(_read(operations.metrics()), statuses, attempts, costs, calls)


def _ended(samples: Samples) -> float:
    return sum(value for (name, _), value in samples.items() if name == "apex_requests_total")


def test_requests(told: Told) -> None:
    """Each of them, by how it ended, and nobody is left."""
    assert told.statuses.keys() == {200, 404, 429}
    assert told.good + told.limited == WHOLE + STREAMS + TIGHT
    assert TIGHT - 10 <= told.limited <= TIGHT
    assert told.sum("apex_requests_total") == sum(told.statuses.values())
    assert told.sum("apex_requests_total", outcome="completed", model="chat") == told.good
    assert told.sum("apex_requests_total", outcome="refused", model="chat") == told.limited
    assert told.sum("apex_requests_total", outcome="refused", model="other") == WRONG
    assert told.sum("apex_request_duration_seconds_count") == sum(told.statuses.values())
    assert told.sum("apex_time_to_first_token_seconds_count") == STREAMS
    assert told.sum("apex_inter_token_gap_seconds_count") == STREAMS
    assert told.sum("apex_requests_in_flight") == 0


def test_attempts(told: Told) -> None:
    """As providers counted them, and as answers told; each that failed was followed by another."""
    for name, calls in told.calls.items():
        assert told.sum("apex_upstream_attempts_total", provider=name) == calls
    assert told.sum("apex_upstream_attempts_total") == told.attempts
    failed = told.sum("apex_upstream_attempts_total", outcome="status_503")
    assert failed == told.calls["flaky"] // 4 > 0
    assert told.sum("apex_failovers_total", provider="flaky", reason="status_503") == failed
    assert told.sum("apex_upstream_attempts_total", outcome="ok") == told.good


def test_tokens_and_costs(told: Told) -> None:
    """Of every answer, at its price, and as the headers of those said that are no streams."""
    for kind, count in (("input", INPUT), ("output", OUTPUT), ("cached", CACHED)):
        assert told.sum("apex_tokens_total", kind=kind) == told.good * count
    assert told.sum("apex_cost_dollars_total") == pytest.approx(told.good * COST)
    assert told.costs == pytest.approx((told.good - STREAMS) * COST, rel=0.01)


def test_refusals(told: Told) -> None:
    """Limits and errors, each where it belongs."""
    assert told.sum("apex_limit_decisions_total", name="tight", decision="requests") == told.limited
    assert told.sum("apex_limit_decisions_total", name="tight", decision="admitted") == TIGHT - told.limited
    assert told.sum("apex_refusals_total", reason="rate_limit_exceeded") == told.limited
    assert told.sum("apex_refusals_total", reason="model_not_found") == WRONG


def test_labels_are_closed_sets(told: Told) -> None:
    """What clients made up is in none of them."""
    labels = json.dumps([sorted(having) for _, having in told.samples])
    assert "nothing" not in labels
    assert KEY not in labels
