"""The command line: which commands there are, and where each is.

A command's module is imported when the command is called (click's lazy loading), so none pays for another.
"""

import gc
import importlib
from types import ModuleType
from typing import Final

import click

from proxy import __version__
from proxy.hangup import Hangup

COMMANDS: Final = {
    "demo": "Try the proxy: no config, no key, no server needed.",
    "serve": "Serve the models of a configuration.",
    "check": "Check a configuration and show what it means.",
    "explain": "Ask where a request would go, or why one went where it went.",
    "replay": "Make recorded decisions again, under another configuration.",
    "mock": "Run a scripted provider: true wire format, and faults on demand.",
}


LASTING: Final = ("demo", "serve")
"""Those that outlive a terminal."""


class Commands(click.Group):
    """The commands of `proxy.commands`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        """Their names, in the order a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  (the same)
        """The command of that name; None where there is none."""
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in LASTING:
            Hangup.held().released()
        found = getattr(_imported(f"proxy.commands.{cmd_name}"), cmd_name)
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  (the same)
        """What each command is for, told without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _imported(name: str) -> ModuleType:
    """The module of that name, with what it makes out of the garbage collector's sight.

    All of that stays until the process ends. To walk it over and over while it grows, and once more before
    the proxy is ready, takes a tenth of the start and finds next to nothing.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()
        if collecting:
            gc.enable()


_EXAMPLES = """\b
Examples:
  apex-proxy demo                        try it: no config, no key, no server needed
  apex-proxy check apex.yaml             what is in this file, and is it right?
  apex-proxy serve --config apex.yaml    serve it on port 8080
  apex-proxy serve --workers 4           four processes on one port
  apex-proxy explain request.json        where would this go, and why?
  apex-proxy replay --config next.yaml   what would another configuration have changed?
  apex-proxy mock --port 9001            a scripted provider to test against
"""


@click.group(
    cls=Commands,
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="apex-proxy")
def main() -> None:
    """One address in front of many LLM providers."""
