"""The command line. The only place that reads the environment and the machine's randomness."""

import asyncio
import os
import random
import sys
from collections.abc import Mapping
from pathlib import Path

import click
import structlog
import uvloop

import mockprovider
from metrics import logs
from mockprovider.desk import DIALECTS
from proxy import __version__, checking, demo, serving
from proxy import config as configs
from proxy.app import Replica, Surroundings
from proxy.clock import SystemClock
from proxy.embedded import Embedded, EmbeddedError, EmbeddedSettings, bundled_server
from proxy.problems import ConfigError
from proxy.settings import Config
from proxy.workers import Crew, Workers, command_of

_EXAMPLES = """\b
Examples:
  apex-proxy demo                        try it: no config, no key, no server needed
  apex-proxy check apex.yaml             what is in this file, and is it right?
  apex-proxy serve --config apex.yaml    serve it on port 8080
  apex-proxy serve --workers 4           four processes on one port
  apex-proxy mock --port 9001            a scripted provider to test against
"""


@click.group(
    epilog=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="apex-proxy")
def main() -> None:
    """One address in front of many LLM providers."""


@main.command(
    epilog="""\b
Examples:
  apex-proxy serve                                     ./apex.yaml, or $APEX_CONFIG
  apex-proxy serve --config apex.yaml --port 8000
  APEX_REDIS_URL=redis://redis:6379 apex-proxy serve   share limits and health with other replicas
"""
)
@click.option("--config", "path", metavar="FILE", help="Configuration; else $APEX_CONFIG, else ./apex.yaml.")
@click.option("--host", help="Address for clients; over `listen.host`.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port for clients; over `listen.port`.")
@click.option(
    "--operations-port", type=click.IntRange(0, 65535), help="Port for operators; over `operations.port`."
)
@click.option(
    "--workers", type=click.IntRange(1, 64), help="Processes that share the port; over `listen.workers`."
)
@click.option("--insecure-no-auth", is_flag=True, help="Answer everybody when no client is configured.")
@click.option("--worker", type=int, hidden=True)
@click.option("--lifeline", type=int, hidden=True)
def serve(  # noqa: PLR0913  (one parameter an option)
    path: str | None,
    host: str | None,
    port: int | None,
    operations_port: int | None,
    workers: int | None,
    *,
    insecure_no_auth: bool,
    worker: int | None,
    lifeline: int | None,
) -> None:
    """Serve the models of a configuration."""
    environ = dict(os.environ)
    config = _with_options(_discovered(path, environ), host, port, operations_port, workers)
    logs.configure(sys.stderr, config.log.level, pretty=_pretty(config))
    open_to_all = insecure_no_auth and not config.clients
    if not config.clients and not open_to_all:
        raise click.ClickException(
            "no client is configured, so nobody could call: add `clients:` to the configuration, "
            "or say --insecure-no-auth to answer everybody"
        )
    if config.listen.workers > 1 and worker is None:
        sys.exit(_parent(config, environ))
    surroundings = _surroundings(environ, open_to_all=open_to_all)
    _serve(config, surroundings, worker, lifeline)


def _serve(config: Config, surroundings: Surroundings, worker: int | None, lifeline: int | None) -> None:
    """Run one replica, with its own embedded store unless it is a worker, which shares its parent's."""
    try:
        ports = serving.open_ports(config, shared=worker is not None, worker=worker or 0)
    except serving.PortTakenError as error:
        raise click.ClickException(str(error)) from None
    store = _store(config, surroundings.environ)
    try:
        if store is not None:
            store.start()

        async def started(_replica: Replica) -> None:
            if lifeline is not None:
                asyncio.get_running_loop().add_reader(lifeline, _orphaned)
            if store is not None:
                structlog.get_logger("serve").info("store_started", store=str(await store.ready()))

        uvloop.run(serving.run(config, surroundings, ports, started))
    except EmbeddedError as error:
        raise click.ClickException(str(error)) from None
    finally:
        ports.close()
        if store is not None:
            store.stop()


def _orphaned() -> None:
    """The parent is gone, so nobody would ever stop this worker."""
    os._exit(1)


def _parent(config: Config, environ: Mapping[str, str]) -> int:
    """Run the workers of one `serve` on one store."""
    command = command_of([*sys.argv[1:], "--port", str(_free_port(config))])
    store = _store(config, environ)
    try:
        extra = {}
        if store is not None:
            store.start()
            extra["APEX_REDIS_URL"] = store.url
        crew = Crew(command, {**environ, **extra}, config.listen.workers)

        async def supervise() -> int:
            if store is not None:
                structlog.get_logger("serve").info("store_started", store=str(await store.ready()))
            return await Workers(crew).run()

        return uvloop.run(supervise())
    except EmbeddedError as error:
        raise click.ClickException(str(error)) from None
    finally:
        if store is not None:
            store.stop()


def _free_port(config: Config) -> int:
    """The client port of all workers, picked here if it is 0. A port that is taken is told once, at once."""
    port = config.listen.port
    try:
        for index in range(config.listen.workers):
            ports = serving.open_ports(config, shared=True, worker=index)
            port = port or int(ports.client.getsockname()[1])
            ports.close()
    except serving.PortTakenError as error:
        raise click.ClickException(str(error)) from None
    return port


def _store(config: Config, environ: Mapping[str, str]) -> Embedded | None:
    redis = config.redis
    if redis.url != "embedded":
        return None
    settings = EmbeddedSettings(
        memory_bytes=redis.embedded_memory,
        temp_dir=Path(environ.get("TMPDIR", "/tmp")),  # noqa: S108  (the store makes its own 0700 folder in it)
        durable_dir=redis.embedded_dir,
    )
    return Embedded(settings, environ=environ, clock=SystemClock(), bundled=bundled_server())


def _surroundings(environ: Mapping[str, str], *, open_to_all: bool) -> Surroundings:
    return Surroundings(SystemClock(), random.Random(os.urandom(16)), environ, open_to_all)  # noqa: S311  (routing draws)


def _discovered(path: str | None, environ: Mapping[str, str]) -> Config:
    try:
        return configs.discover(path, environ, Path.cwd())[0]
    except ConfigError as error:
        raise _refused(error) from None


def _refused(error: ConfigError) -> click.ClickException:
    count = len(error.problems)
    head = f"{error.source or 'the configuration'} has {count} error{'' if count == 1 else 's'}:"
    return click.ClickException("\n  ".join([head, *map(str, error.problems)]))


def _with_options(
    config: Config, host: str | None, port: int | None, operations_port: int | None, workers: int | None
) -> Config:
    given = {"host": host, "port": port, "workers": workers}
    listen = config.listen.model_copy(
        update={name: value for name, value in given.items() if value is not None}
    )
    operations = config.operations
    if operations_port is not None:
        operations = operations.model_copy(update={"port": operations_port})
    return config.model_copy(update={"listen": listen, "operations": operations})


def _pretty(config: Config) -> bool:
    return config.log.format == "console" or (config.log.format == "auto" and sys.stderr.isatty())


@main.command(
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
        config = configs.read(Path(file), dict(os.environ))
    except ConfigError as error:
        raise _refused(error) from None
    click.echo(checking.summary(config, file))


@main.command(
    name="demo",
    epilog="""\b
Examples:
  apex-proxy demo
  apex-proxy demo --port 8000
""",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port of the proxy."
)
def demo_command(port: int) -> None:
    """Try the proxy: no config, no key, no server needed.

    Starts scripted providers (one of them fails now and then), a private store and the proxy, prints three
    commands to try, then one line for each request. Ctrl-C ends all of it.
    """
    logs.configure(sys.stderr, "warning", pretty=sys.stderr.isatty())
    environ = dict(os.environ)
    show = demo.Show(click.echo)
    surroundings = Surroundings(
        SystemClock(),
        random.Random(os.urandom(16)),  # noqa: S311  (routing draws)
        environ,
        watch=show.request,
    )
    store = _store(Config(), environ)
    assert store is not None
    try:
        store.start()
        uvloop.run(demo.run(port, surroundings, store, show))
    except (EmbeddedError, serving.PortTakenError) as error:
        raise click.ClickException(str(error)) from None
    finally:
        store.stop()


@main.command(
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
@click.option("--script", metavar="FILE", help="Faults and answers, as YAML or JSON.")
@click.option("--name", default="mock", show_default=True, help="The provider's name in its answers.")
def mock(host: str, port: int, dialect: str | None, script: str | None, name: str) -> None:
    """Run a scripted provider: true wire format, and faults on demand."""
    try:
        loaded = (
            mockprovider.load(Path(script).read_text(encoding="utf-8")) if script else mockprovider.Script()
        )
    except OSError as error:
        raise click.ClickException(f"{script}: {(error.strerror or 'cannot be read').lower()}") from None
    except mockprovider.ScriptError as error:
        raise click.ClickException(f"{script}: {error}") from None
    dialects = (dialect,) if dialect else DIALECTS

    async def serving_mock() -> None:
        await mockprovider.run(
            mockprovider.MockProvider(name, loaded, dialects=dialects), host, port, announce=click.echo
        )

    try:
        uvloop.run(serving_mock())
    except OSError as error:
        reason = (error.strerror or "not available").rpartition(": ")[2].lower()
        raise click.ClickException(
            f"--port: cannot listen on {host}:{port} ({reason}); choose another port"
        ) from None


if __name__ == "__main__":
    main()
