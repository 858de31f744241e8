"""`apex-proxy mock`."""

import errno
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import click
import uvloop

import mockprovider
from mockprovider.desk import DIALECTS


@click.command(
    epilog="""\b
Examples:
  apex-proxy mock --port 9001
  apex-proxy mock --port 9002 --script faults.yaml    rules: [{match: {every: 3}, then: {status: 429}}]
  curl -s localhost:9001/_mock/stats                  what it has seen
"""
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=9001, show_default=True, help="Port; 0 picks one."
)
@click.option(
    "--dialect",
    type=click.Choice(["chat", "responses", "messages"]),
    help="Speak only this; all three unless given.",
)
@click.option(
    "--flavour",
    type=click.Choice(get_args(mockprovider.Flavour)),
    help="Whose chat endpoint this is: what it refuses and its ways; the script's unless given.",
)
@click.option("--script", metavar="FILE", help="Faults and answers, as YAML or JSON.")
@click.option("--name", default="mock", show_default=True, help="The provider's name in its answers.")
@click.option("--no-record", is_flag=True, help="Count requests but keep none: for load tests.")
def mock(  # noqa: PLR0913  (one parameter an option)
    host: str,
    port: int,
    dialect: str | None,
    flavour: mockprovider.Flavour | None,
    script: str | None,
    name: str,
    *,
    no_record: bool,
) -> None:
    """Run a scripted provider: true wire format, and faults on demand.

    All that a script may say is in docs/mock.md.
    """
    try:
        loaded = (
            mockprovider.load(Path(script).read_text(encoding="utf-8")) if script else mockprovider.Script()
        )
    except OSError as error:
        raise click.ClickException(f"{script}: {(error.strerror or 'cannot be read').lower()}") from None
    except mockprovider.ScriptError as error:
        raise click.ClickException(_all(script, str(error).splitlines())) from None
    dialects = (dialect,) if dialect else DIALECTS

    async def serving_mock() -> None:
        provider = mockprovider.MockProvider(
            name, loaded, dialects=dialects, flavour=flavour, record=not no_record
        )
        await mockprovider.run(provider, host, port, announce=click.echo)

    try:
        uvloop.run(serving_mock())
    except OSError as error:
        reason = (error.strerror or "not available").rpartition(": ")[2].lower()
        foreign = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        option, mend = ("--host", "an address of this machine") if foreign else ("--port", "another port")
        raise click.ClickException(
            f"{option}: cannot listen on {host}:{port} ({reason}); choose {mend}"
        ) from None


def _all(script: str | None, mistakes: Sequence[str]) -> str:
    """All that is wrong with a script."""
    head = f"{script} has {len(mistakes)} errors:"
    return f"{script}: {mistakes[0]}" if len(mistakes) == 1 else "\n  ".join([head, *mistakes])
