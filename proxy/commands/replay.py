"""`apex-proxy replay`."""

from collections.abc import Iterator

import click
import msgspec

from proxy import telling
from proxy.commands.operator import Operator, configured
from proxy.commands.process import content, environment
from proxy.decision import Decision, whole
from proxy.rehearsal import viewed
from proxy.replaying import replayed


@click.command(
    epilog="""\b
Examples:
  apex-proxy replay --config next.yaml --from http://127.0.0.1:9090      what would next.yaml have changed?
  apex-proxy replay --config next.yaml --from decisions.jsonl
  curl -s 'localhost:9090/admin/decisions?format=lines&limit=10000' > decisions.jsonl
"""
)
@click.option("--config", "path", metavar="FILE", help="The configuration to replay under; as for `serve`.")
@click.option("--from", "source", metavar="URL|FILE", help="Whose decisions; the configuration's replica.")
@click.option(
    "--limit", type=click.IntRange(1, 50_000), default=1000, show_default=True, help="How many, the newest."
)
@click.option(
    "--json", "as_json", is_flag=True, help="Both decisions of each that would change, a line each."
)
def replay(path: str | None, source: str | None, limit: int, *, as_json: bool) -> None:
    """Make recorded decisions again, under another configuration, and show what would change.

    The same requests meet the same providers in the same state. What a target would have answered
    that was not asked then, nobody knows: the course is shown as far as it is known.
    """
    environ = environment()
    config = configured(path, environ)
    if config is None:
        raise click.ClickException("there is no configuration to replay under: say --config FILE")
    if source is None or "://" in source:
        operator = Operator(config, source, environ, "--from")
        query = {"format": "lines", "limit": str(limit)}
        lines = operator.ask("GET", "/admin/decisions", query).splitlines()
    else:
        lines = content(source).split(b"\n")[:limit]
    view = viewed(config)
    pairs = [(made, replayed(made, view)) for made in _decisions(lines, source or "the replica")]
    found = telling.Replay(pairs)
    if not as_json:
        click.echo(found.report())
        return
    for before, after in found.changed():
        click.echo(msgspec.json.encode({"before": telling.named(before), "after": telling.named(after)}))


def _decisions(lines: list[bytes], source: str) -> Iterator[Decision]:
    read = msgspec.json.Decoder(Decision).decode
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            made = read(line)
            if not whole(made):
                raise msgspec.ValidationError("a pick of no target, or of no try")
            yield made
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise click.ClickException(
                f"{source}, line {number}: no decision ({error}); take them from "
                "/admin/decisions?format=lines of a proxy of this version"
            ) from None
