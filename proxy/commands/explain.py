"""`apex-proxy explain`."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import click
import msgspec

from proxy import telling
from proxy.app import build
from proxy.commands.operator import Operator, configured
from proxy.commands.process import content, environment, surroundings_of
from proxy.config.settings import Config
from proxy.errors import Refusal
from proxy.exchange import Head
from proxy.explanation import Explanation


@click.command(
    epilog="""\b
Examples:
  apex-proxy explain request.json --client acme          ask the proxy that runs with ./apex.yaml
  apex-proxy explain - --url http://10.0.0.7:9090 < request.json
  apex-proxy explain request.json --offline              what this configuration says, nothing running
  apex-proxy explain req_5f0c1e9a77b300aedb5b5fab        why a request went where it went
"""
)
@click.argument("what", metavar="FILE|REQUEST_ID")
@click.option("--config", "path", metavar="FILE", help="The configuration; the one that `serve` would find.")
@click.option("--url", help="The operations port of a replica, instead of the configuration's.")
@click.option("--client", metavar="NAME", help="Who asks; may be left out where there is one client only.")
@click.option(
    "--endpoint",
    type=click.Choice(["chat", "responses", "messages", "embeddings"]),
    help="What it is sent to; else as its fields look.",
)
@click.option(
    "--offline", is_flag=True, help="Ask the configuration alone: all targets well, all limits unused."
)
@click.option("--json", "as_json", is_flag=True, help="All of it, as JSON.")
def explain(  # noqa: PLR0913  (one parameter an option)
    what: str,
    path: str | None,
    url: str | None,
    client: str | None,
    endpoint: str | None,
    *,
    offline: bool,
    as_json: bool,
) -> None:
    """Ask where a request would go, or why one went where it went.

    FILE holds the body of a request, in any dialect (`-` reads it from standard input). Nothing is sent to a
    provider, and no limit is used. A REQUEST_ID is that of an answer (`x-request-id`), of any replica.
    """
    environ = environment()
    config = configured(path, environ)
    query = {name: value for name, value in (("client", client), ("endpoint", endpoint)) if value}
    if what.startswith("req_") and not _there(what):
        answer = Operator(config, url, environ).ask("GET", f"/admin/decisions/{quote(what, safe='')}", {})
    elif offline:
        answer = _offline(config, content(what), query, environ)
    else:
        answer = Operator(config, url, environ).ask("POST", "/admin/explain", query, content(what))
    try:
        told = msgspec.json.decode(answer, type=Explanation)
    except (msgspec.MsgspecError, UnicodeError):
        raise click.ClickException("that was no answer of an operations port of this version") from None
    click.echo(msgspec.json.format(answer, indent=2).decode() if as_json else telling.explanation(told))


def _there(name: str) -> bool:
    """Whether there is such a file."""
    try:
        return Path(name).exists()
    except OSError:  # it is longer than the name of any
        return False


def _offline(
    config: Config | None, body: bytes, query: Mapping[str, str], environ: Mapping[str, str]
) -> bytes:
    """What a replica of that configuration would say that has just started: all well, and no limit used."""
    if config is None:
        raise click.ClickException("there is no configuration: say --config FILE")
    alone = config.model_copy(update={"redis": type(config.redis)()})

    async def asked() -> bytes:
        replica = build(alone, surroundings_of(environ, open_to_all=True))
        try:
            told = await replica.console.administration.explained(body, Head(), query)
            return msgspec.json.encode(told)
        finally:
            await replica.close()

    try:
        return asyncio.run(asked())
    except Refusal as refusal:
        raise click.ClickException(refusal.message) from None
