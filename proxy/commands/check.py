"""`apex-proxy check`."""

from pathlib import Path

import click

from proxy import checking
from proxy import config as configs
from proxy.commands.process import check_extras, environment, refused
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
def check(file: str | None) -> None:
    """Check a configuration and show what it means.

    Without FILE it is the one that `serve` would find. Prints
    each model with its targets in the order they would be tried, or every error at once.
    """
    try:
        if file:
            config, source = configs.read(Path(file), environment()), file
        else:
            config, source = configs.discover(None, environment(), Path.cwd())
        check_extras(config, source)
    except ConfigError as error:
        raise refused(error) from None
    click.echo(checking.summary(config, source))
