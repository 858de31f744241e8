"""`apex-proxy demo`."""

import contextlib
import sys

import click
import uvloop

from metrics import logs
from proxy import demo as demos
from proxy import serving
from proxy.clock import SystemClock
from proxy.commands.process import environment, store_of, surroundings_of
from proxy.config.settings import Config
from proxy.embedded import EmbeddedError


@click.command(
    epilog="""\b
Examples:
  apex-proxy demo
  apex-proxy demo --port 8000
""",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port of the proxy."
)
def demo(port: int) -> None:
    """Try the proxy: no config, no key, no server needed.

    Starts scripted providers (one of them fails now and then), a private store and the proxy, prints three
    commands to try, then one line for each request. Ctrl-C ends all of it.
    """
    logs.configure(sys.stderr, "error", SystemClock().wall, pretty=sys.stderr.isatty())
    environ = environment()
    show = demos.Show(_say)
    # The demo's providers are in this process: an HTTP proxy of the environment is not for them.
    surroundings = surroundings_of({}, watch=show.request)
    store = store_of(Config(), environ)
    assert store is not None
    try:
        store.start()
        uvloop.run(demos.run(port, surroundings, store, show))
    except serving.PortTakenError as error:
        raise click.ClickException(
            f"--port: cannot listen on {error.address} ({error.reason}); choose another port: "
            'apex-proxy demo --port 8000, or make demo ARGS="--port 8000"'
        ) from None
    except EmbeddedError as error:
        raise click.ClickException(str(error)) from None
    finally:
        store.stop()
    show.farewell()


def _say(text: str) -> None:
    """Print it, as long as there is a terminal: the demo outlives one that is closed."""
    with contextlib.suppress(OSError):
        click.echo(text)
