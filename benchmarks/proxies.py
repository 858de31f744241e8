"""Ours as `bench.py` measures it: everything on, or all of it off, with a store in a process of its own.

On: limits on requests, tokens and concurrency, metrics, a log line a request into a file. Off: none of
these. Authentication and health are on in both, for there is no switch.
"""

import contextlib
import json
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import samples
from running import Command, Side, free_port, started
from sides import PATH, ROOT, Bench, Origins
from store import Store

ON = "ours"
OFF = "ours, all off"
OVER_TLS = "bench-tls"
"""The model whose provider is asked over TLS."""

STREAMED = (samples.BURST, samples.PACED, samples.SLOW, samples.LARGE)
"""What `origin.py` answers."""

_PLENTY = {"requests_per_minute": 1_000_000_000, "tokens_per_minute": 1_000_000_000, "concurrency": 100_000}


@dataclass(frozen=True, slots=True)
class Proxy:
    """One of ours that runs: the side, its operations port, its log."""

    side: Side
    operations: int
    log: Path

    def metrics(self) -> str:
        """What it tells Prometheus."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.operations}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
        return text


def counted(metrics: str, name: str, label: str = "") -> float:
    """The sum of a metric over all its children that have the label."""
    found = (line for line in metrics.splitlines() if line.startswith((f"{name}{{", f"{name} ")))
    return sum(float(line.rpartition(" ")[2]) for line in found if label in line)


@dataclass(frozen=True, slots=True)
class Setting:
    """What is behind and beside a proxy, and the sources it is started from."""

    origins: Origins
    store: Store
    tree: Path


def ours(stack: contextlib.ExitStack, bench: Bench, setting: Setting, name: str) -> Proxy:
    """Start one: `ON` or `OFF`."""
    port, operations = free_port(), free_port()
    stem = bench.folder / f"proxy-{port}"
    config = _config(setting, port, operations, limited=name == ON)
    stem.with_suffix(".yaml").write_text(json.dumps(config), encoding="utf-8")
    program = ["-m", "proxy"] if name == ON else [str(ROOT / "benchmarks" / "silent.py")]
    command = Command(
        [sys.executable, *program, "serve", "--config", str(stem.with_suffix(".yaml"))],
        bench.core,
        setting.tree,
        {"PYTHONPATH": str(setting.tree), "SSL_CERT_FILE": str(setting.origins.ca)},
        stem.with_suffix(".log"),
    )
    pid = stack.enter_context(started(command, port))
    return Proxy(Side(name, f"http://127.0.0.1:{port}{PATH}", pid), operations, command.log)


def workers(stack: contextlib.ExitStack, bench: Bench, setting: Setting, count: int) -> Side:
    """Ours with everything on, in so many processes that share both cores."""
    port = free_port()
    stem = bench.folder / f"workers-{count}"
    # No operations: each worker would have a port of its own for them.
    config = _config(setting, port, 0, limited=True)
    stem.with_suffix(".yaml").write_text(json.dumps(config), encoding="utf-8")
    arguments = [sys.executable, "-m", "proxy", "serve", "--config", str(stem.with_suffix(".yaml"))]
    command = Command(
        [*arguments, "--workers", str(count)],
        f"{bench.core},{bench.other}",
        setting.tree,
        {"PYTHONPATH": str(setting.tree)},
        stem.with_suffix(".log"),
    )
    pid = stack.enter_context(started(command, port))
    name = f"{count} worker{'' if count == 1 else 's'}"
    return Side(name, f"http://127.0.0.1:{port}{PATH}", pid, parented=True)


def _config(setting: Setting, port: int, operations: int, *, limited: bool) -> dict[str, object]:
    urls = setting.origins.urls()
    kept = {"api_key": samples.KEY}
    foreign = {"kind": "anthropic", "base_url": urls["streams"], "quirks": {"sampling": True}}
    return {
        "listen": {"host": "127.0.0.1", "port": port},
        "operations": {"port": operations},
        "redis": {"url": setting.store.url},
        "clients": [{"name": "bench", "key": samples.KEY, **({"limits": _PLENTY} if limited else {})}],
        "providers": {
            **{way: {"kind": "generic", "base_url": f"{url}/v1", **kept} for way, url in urls.items()},
            "foreign": {**foreign, **kept},
        },
        "models": {
            samples.WHOLE: _to("plain", samples.WHOLE),
            OVER_TLS: _to("tls", samples.WHOLE),
            **{model: _to("streams", model) for model in STREAMED},
            **{model + samples.TRANSLATED: _to("foreign", model) for model in STREAMED},
        },
        "drain_grace": 0,
        "drain_timeout": 1,
    }


def _to(provider: str, model: str) -> dict[str, object]:
    return {"providers": [{"provider": provider, "model": model}]}
