"""`apex-proxy demo`: the whole thing on one machine, with nothing configured and nothing to install.

Two scripted providers, one of which fails now and then, the embedded store, and the real proxy in front of
them: what it shows is what a cluster does, on a small scale. Everything lives in this process and its
store, so the end of one is the end of all.
"""

import json
import secrets
from collections.abc import Callable

import click

import mockprovider
from metrics.record import COMPLETED, REFUSED, Attempt, Record
from proxy import serving
from proxy.app import Replica, Surroundings
from proxy.config.settings import Config
from proxy.embedded import Embedded

MODEL = "gpt-4o-mini"
EMBEDDINGS = "text-embedding-3-small"

_UNSTEADY = """
rules:
  - match: {every: 3}
    then: {status: 503, delay_headers_s: 0.05}
default: {delay_headers_s: 0.12, delay_events_s: 0.03}
"""
_STEADY = "default: {delay_headers_s: 0.2, delay_events_s: 0.04}"


class Show:
    """What the demo prints."""

    def __init__(self, echo: Callable[[str], None]) -> None:
        self._echo = echo
        self._seen = 0

    def welcome(self, port: int, key: str, page: int) -> None:
        """How to try it: three commands that can be copied as they stand, and a page to look at."""
        address = f"http://127.0.0.1:{port}/v1"
        auth = f"-H 'Authorization: Bearer {key}'"
        ask = {"model": MODEL, "messages": [{"role": "user", "content": "Hello!"}]}
        self._echo(
            click.style("Apex AI Proxy demo", bold=True) + ": two scripted providers, one of them unsteady."
        )
        self._echo(f"\nAddress {address}   key {key}   (any OpenAI SDK works with these two)\n")
        self._command("A chat", f"curl -s -w '\\n' {address}/chat/completions {auth} \\", _body(ask))
        self._command(
            "A stream",
            f"curl -sN -w '\\n' {address}/chat/completions {auth} \\",
            _body({**ask, "stream": True}),
        )
        self._command("The models", f"curl -s -w '\\n' {address}/models {auth}")
        self._echo(f"Look at it: http://127.0.0.1:{page}/\n")
        self._echo(
            "Each request leaves a line here: who answered it, and who failed before. Ctrl-C ends it all.\n"
        )

    def _command(self, title: str, *lines: str) -> None:
        self._echo(click.style(f"# {title}", dim=True))
        self._echo("\n".join(lines) + "\n")

    def request(self, record: Record) -> None:
        """One line for a request that is over."""
        self._seen += 1
        good = record.outcome == COMPLETED
        mark = click.style(record.status or "---", fg="green" if good else "red")
        name = f"{record.model or '-'} {'stream' if record.stream else record.endpoint}"
        tries = " -> ".join(map(_told, record.attempts)) or record.error
        end = "" if good or record.outcome == REFUSED else click.style(f"  {record.outcome}", fg="red")
        self._echo(f"{mark} {name:<18} {record.duration * 1000:>5.0f} ms  {tries}{end}")

    def farewell(self) -> None:
        """The last line."""
        count = f"{self._seen} request{'' if self._seen == 1 else 's'}"
        self._echo(f"\nThe demo has ended after {count}: proxy, providers and store are gone.")


def _told(attempt: Attempt) -> str:
    """An attempt in two words: the provider, and `ok` or what was wrong."""
    good = attempt.outcome == "ok"
    outcome = click.style(attempt.outcome.removeprefix("status_"), fg="green" if good else "yellow")
    return f"{attempt.provider} {outcome}"


def _body(value: object) -> str:
    return f"  -H 'Content-Type: application/json' -d '{json.dumps(value)}'"


async def run(port: int, surroundings: Surroundings, store: Embedded, show: Show) -> None:
    """Run the demo until a signal ends it. Raises `PortTakenError`, `EmbeddedError`."""
    key = "sk-demo-" + secrets.token_hex(8)
    unsteady = mockprovider.MockProvider("unsteady", script=mockprovider.load(_UNSTEADY), record=False)
    steady = mockprovider.MockProvider("steady", script=mockprovider.load(_STEADY), record=False)
    async with unsteady, steady:
        config = _config(port, key, unsteady.port, steady.port)
        ports = serving.open_ports(config)

        async def started(_replica: Replica) -> None:
            await store.ready()
            show.welcome(ports.client.getsockname()[1], key, ports.operations.getsockname()[1])

        try:
            await serving.run(config, surroundings, ports, started)
        finally:
            ports.close()


def _config(port: int, key: str, unsteady: int, steady: int) -> Config:
    both = [{"provider": "unsteady", "weight": 2}, {"provider": "steady"}]
    return Config.model_validate(
        {
            "listen": {"port": port},
            "operations": {"port": 0},
            "clients": [{"name": "demo", "key": key}],
            "providers": {
                "unsteady": {"base_url": f"http://127.0.0.1:{unsteady}/v1", "api_key": "sk-demo-unsteady"},
                "steady": {"base_url": f"http://127.0.0.1:{steady}/v1", "api_key": "sk-demo-steady"},
            },
            "models": {MODEL: {"providers": both}, EMBEDDINGS: {"providers": both}},
            "drain_grace": 0,
            "drain_timeout": 2,
        }
    )
