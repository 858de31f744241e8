"""`apex-proxy check`."""

import datetime as dt
from pathlib import Path

import click

from proxy import appraiser, checking
from proxy import config as configs
from proxy.clock import SystemClock
from proxy.commands.process import check_extras, check_proxies, environment, refused
from proxy.config.problems import ConfigError


@click.command(
    epilog="""\b
Examples:
  apex-proxy check                                what `serve` would find: $APEX_CONFIG, else ./apex.yaml
  apex-proxy check apex.yaml
  OPENAI_KEY=sk-... apex-proxy check apex.yaml    a variable that is not set is an error
"""
)
@click.argument("file", required=False)
@click.option("--config", "path", metavar="FILE", help="The same as FILE.")
def check(file: str | None, path: str | None) -> None:
    """Check a configuration and show what it means.

    Without FILE it is the one that `serve` would find. Prints
    each model with its targets in the order they would be tried, or every error at once.
    """
    if file and path and file != path:
        raise click.UsageError(f"FILE is {file} and --config is {path}: name one")
    environ = environment()
    try:
        if named := file or path:
            config, source = configs.read(Path(named), environ), named
        else:
            config, source = configs.discover(None, environ, Path.cwd())
        check_extras(config, source, environ)
    except ConfigError as error:
        raise refused(error) from None
    check_proxies(environ)
    today = dt.datetime.fromtimestamp(SystemClock().wall(), dt.UTC)
    click.echo(checking.summary(config, source, appraiser.find(checking.sought(config), today)))
