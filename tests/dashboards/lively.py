"""A small cluster to which everything happens that dashboards show, watched by a real Prometheus.

Two replicas (workers of one `serve`, each with an operations port of its own) before scripted providers that
answer, refuse, break and ask for time; clients that stay, leave and ask for too much; and a store that is
away for a moment.
"""

import asyncio
import contextlib
import dataclasses
import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import httpx
from harness import PATIENCE, Child, Mock, Serve, two_free_ports

TOKEN = "sk-token-of-operators"
KEY = "sk-client-of-dashboards"
TIGHT_KEY = "sk-client-with-limits"
SCRAPED = 1
"""Seconds between two scrapes."""

UNSTEADY = {
    "rules": [
        {"match": {"every": 3}, "then": {"status": 503}},
        {"match": {"every": 7}, "then": {"status": 429, "headers": {"retry-after": 1}}},
        {"match": {"every": 11}, "then": {"cut_before_headers": True}},
    ],
    "default": {"delay_headers_s": 0.02, "delay_events_s": 0.01, "tokens": 12},
}
STEADY = {"default": {"delay_headers_s": 0.05, "delay_events_s": 0.02, "tokens": 12}}
BUSY = {
    "rules": [{"match": {"every": 2}, "then": {"status": 429, "headers": {"retry-after-ms": 400}}}],
    "default": {"delay_headers_s": 0.02},
}
DOWN = {"default": {"status": 500}}

Answer = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Operations:
    """The operations ports of the replicas."""

    ports: Sequence[int]

    def get(self, port: int, path: str, **headers: str) -> bytes:
        """The body of a GET with the token."""
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        ) as connection:
            connection.request("GET", path, headers={"authorization": f"Bearer {TOKEN}", **headers})
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, (path, answer.status, body)
            return body

    def metrics(self) -> list[str]:
        """The metrics of each replica."""
        return [self.get(port, "/metrics").decode() for port in self.ports]


class Prometheus(Child):
    """The real one, from Debian, over `operations` and with our rules."""

    def __init__(self, folder: Path, operations: Operations, rules: Path) -> None:
        self.port = _free_port()
        (folder / "token").write_text(TOKEN, "utf-8")
        targets = [f"127.0.0.1:{port}" for port in operations.ports]
        config = {
            "global": {"scrape_interval": f"{SCRAPED}s", "evaluation_interval": f"{SCRAPED}s"},
            "rule_files": [str(rules)],
            "scrape_configs": [
                {
                    "job_name": "apex",
                    "authorization": {"credentials_file": str(folder / "token")},
                    "static_configs": [{"targets": targets}],
                }
            ],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config), "utf-8")
        super().__init__(
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--enable-feature=exemplar-storage",
        )
        self.until(lambda: next((line for line in self.err if "ready to receive web requests" in line), None))

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API."""
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        ) as connection:
            connection.request("GET", f"/api/v1/{path}?{urlencode(parameters)}")
            answer: Answer = json.loads(connection.getresponse().read())
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]

    def over(self, query: str, began: float, ended: float) -> dict[str, list[float]]:
        """The numbers of a query between two Unix times, by the labels of the series."""
        data = self.ask("query_range", query=query, start=f"{began}", end=f"{ended}", step="1")
        return {
            json.dumps(series["metric"], sort_keys=True): [
                float(value) for _, value in series["values"] if value != "NaN"
            ]
            for series in data["result"]
        }


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Cluster:
    """The cluster, started."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        mocks = {
            name: stack.enter_context(Mock(script, name))
            for name, script in (("steady", STEADY), ("unsteady", UNSTEADY), ("busy", BUSY), ("down", DOWN))
        }
        base = two_free_ports()
        self.proxy = stack.enter_context(Serve(_config(base, mocks), "--workers", "2"))
        self.proxy.event("ready", 2)
        self.operations = Operations((base, base + 1))

    @classmethod
    @contextlib.contextmanager
    def started(cls) -> Iterator[Self]:
        """A cluster that ends with the block."""
        with contextlib.ExitStack() as stack:
            yield cls(stack)

    @contextlib.contextmanager
    def without_store(self) -> Iterator[None]:
        """The store does not answer for the time of the block."""
        os.kill(self.proxy.store, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.proxy.store, signal.SIGCONT)


def _config(base: int, mocks: Mapping[str, Mock]) -> dict[str, object]:
    def at(name: str, **more: object) -> dict[str, object]:
        return {"base_url": f"http://127.0.0.1:{mocks[name].port}/v1", "api_key": f"sk-{name}-0", **more}

    roomy = {"requests_per_minute": 60_000, "tokens_per_minute": 10_000_000, "concurrency": 500}
    price = {"input": 2.5, "output": 10, "cached": 1.25}
    both = [{"provider": "unsteady", "price": price}, {"provider": "steady", "price": price}]
    return {
        "listen": {"port": 0},
        "operations": {"port": base, "token": TOKEN},
        "drain_grace": 0,
        "clients": [
            {"name": "app", "key": KEY, "limits": roomy},
            {"name": "tight", "key": TIGHT_KEY, "limits": {"requests_per_minute": 60, "burst": 5}},
        ],
        "providers": {
            "unsteady": at("unsteady", limits=roomy),
            "steady": at("steady"),
            "busy": at("busy"),
            "down": at("down"),
            "claude": at("steady", kind="anthropic"),
        },
        "models": {
            "chat": {"providers": both, "limits": roomy},
            "embed": {"providers": [{"provider": "steady", "price": {"input": 0.02}}]},
            "claude": {"providers": [{"provider": "claude", "price": price}]},
            "busy": {"providers": [{"provider": "busy", "price": price}]},
            "down": {"strategy": "ordered", "providers": [{"provider": "down"}, {"provider": "steady"}]},
            "out": {"providers": [{"provider": "down", "model": "out"}]},
        },
        "health": {"ejection": "2s"},
    }


async def load(url: str, seconds: float) -> None:
    """Requests of every kind for so long. Nobody minds what comes of them."""
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    async with httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {KEY}", **trace}) as client:
        await asyncio.gather(*(_again(kind, client, seconds) for kind in _KINDS for _ in range(2)))


async def _again(
    kind: Callable[[httpx.AsyncClient], Awaitable[object]], client: httpx.AsyncClient, seconds: float
) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(httpx.HTTPError):
            await kind(client)
        await asyncio.sleep(0.05)


def _chat(model: str, **more: object) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "How much is the fish?"}], **more}


def _post(path: str, body: Mapping[str, object], **headers: str) -> Callable[[httpx.AsyncClient], Any]:
    async def post(client: httpx.AsyncClient) -> None:
        await client.post(path, json=body, headers=headers)

    return post


async def _leave(client: httpx.AsyncClient) -> None:
    async with client.stream("POST", "/chat/completions", json=_chat("chat", stream=True)) as answer:
        async for _ in answer.aiter_lines():
            return


_KINDS = (
    _post("/chat/completions", _chat("chat")),
    _post("/chat/completions", _chat("chat", stream=True)),
    _post("/chat/completions", _chat("claude", seed=1)),
    _post("/messages", {**_chat("chat"), "max_tokens": 50}),
    _post("/responses", {"model": "chat", "input": "Hello!", "store": True}),
    _post("/embeddings", {"model": "embed", "input": "fish"}),
    _post("/chat/completions", _chat("busy")),
    _post("/chat/completions", _chat("down")),
    _post("/chat/completions", _chat("out")),
    _post("/chat/completions", _chat("nothing")),
    _post("/chat/completions", _chat("chat"), authorization=f"Bearer {TIGHT_KEY}"),
    _leave,
)
