"""`apex-proxy check`."""

from pathlib import Path

import click

from proxy import checking
from proxy import config as configs
from proxy.commands.process import environment, refused
from proxy.config.problems import ConfigError


@click.command(
    epilog="""\b
Examples:
  apex-proxy check apex.yaml
  OPENAI_KEY=sk-... apex-proxy check apex.yaml    a variable that is not set is an error
"""
)
@click.argument("file", type=click.Path())
def check(file: str) -> None:
    """Check a configuration FILE and show what it means.

    Prints each model with its targets in the order they would be tried, or every error at once.
    """
    try:
        config = configs.read(Path(file), environment())
    except ConfigError as error:
        raise refused(error) from None
    click.echo(checking.summary(config, file))
