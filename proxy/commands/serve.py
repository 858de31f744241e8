"""`apex-proxy serve`."""

import asyncio
import dataclasses
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import click
import structlog
import uvloop

from metrics import logs
from proxy import checking, serving
from proxy import config as configs
from proxy.app import Replica, Surroundings
from proxy.clock import SystemClock
from proxy.commands.process import (
    check_extras,
    check_proxies,
    environment,
    refused,
    store_of,
    surroundings_of,
)
from proxy.config import fixed
from proxy.config.fixed import NOTHING, Held
from proxy.config.problems import ConfigError, Problem
from proxy.config.settings import Config
from proxy.embedded import Description, EmbeddedError
from proxy.link import AddressError
from proxy.workers import Crew, Workers, WorkersError, command_of


@click.command(
    epilog="""\b
Examples:
  apex-proxy serve                                     ./apex.yaml, or $APEX_CONFIG
  apex-proxy serve apex.yaml --port 8000
  APEX_REDIS_URL=redis://redis:6379 apex-proxy serve   share limits and health with other replicas
"""
)
@click.argument("file", required=False)
@click.option("--config", "path", metavar="FILE", help="The same as FILE.")
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
    file: str | None,
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
    """Serve the models of a configuration.

    Without FILE it is $APEX_CONFIG, else ./apex.yaml.
    """
    if file and path and file != path:
        raise click.UsageError(f"FILE is {file} and --config is {path}: name one")
    environ = environment()
    asked = Asked(file or path, host, port, operations_port, workers, insecure_no_auth)
    try:
        config, _ = asked.read(environ)
    except ConfigError as error:
        raise refused(error) from None
    threshold = logs.configure(sys.stderr, config.log.level, SystemClock().wall, pretty=_pretty(config))
    check_proxies(environ)
    if checking.unguarded(config) and worker is None:
        structlog.get_logger("serve").warning("operations_unguarded", hint=checking.GUARD)
    if not config.clients and worker is None:
        structlog.get_logger("serve").warning(
            "no_auth", hint="everybody who can reach this port may use every provider key"
        )
    if config.listen.workers > 1 and worker is None:
        sys.exit(_parent(config, environ))
    kept = asked.kept(config)
    surroundings = dataclasses.replace(
        surroundings_of(environ, open_to_all=insecure_no_auth), reread=lambda: asked.reread(environ, kept)
    )

    async def started(replica: Replica) -> None:
        replica.on_renewal(lambda fresh: threshold.change(fresh.log.level))
        if lifeline is not None:
            asyncio.get_running_loop().add_reader(lifeline, _orphaned)

    _serve(config, surroundings, worker, started)


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says of the configuration. Options go over what is written in it."""

    path: str | None
    host: str | None
    port: int | None
    operations_port: int | None
    workers: int | None
    insecure_no_auth: bool

    def read(self, environ: Mapping[str, str], kept: Held = NOTHING) -> tuple[Config, str]:
        """The configuration to run with, and where it is from. Raises `ConfigError`."""
        config, source = configs.discover(self.path, environ, Path.cwd(), kept)
        check_extras(config, source, environ)
        if not config.clients and not self.insecure_no_auth:
            found = "no client is configured, so nobody could call"
            mend = "add one, or say --insecure-no-auth to answer everybody"
            raise ConfigError([Problem("clients", found, "", mend)], source)
        return self._over(config), source

    def reread(self, environ: Mapping[str, str], kept: Held) -> tuple[Config, str]:
        """The same once more, while it runs. Raises `ConfigError`."""
        config, source = self.read(environ, kept)
        if source == configs.ENVIRONMENT:
            found = "it is in the environment, which is the same as long as this process runs"
            raise ConfigError([Problem("configuration", found, "", "restart")], source)
        return config, source

    def kept(self, config: Config) -> Held:
        """What a file may not change while this runs: of what an option says, it may say anything."""
        said: Held = {
            ("listen", "host"): self.host,
            ("listen", "port"): self.port,
            ("listen", "workers"): self.workers,
            ("operations", "port"): self.operations_port,
        }
        return {path: value for path, value in fixed.held(config).items() if said.get(path) is None}

    def _over(self, config: Config) -> Config:
        given = {"host": self.host, "port": self.port, "workers": self.workers}
        listen = config.listen.model_copy(
            update={name: value for name, value in given.items() if value is not None}
        )
        operations = config.operations
        if self.operations_port is not None:
            operations = operations.model_copy(update={"port": self.operations_port})
        return config.model_copy(update={"listen": listen, "operations": operations})


def _serve(
    config: Config,
    surroundings: Surroundings,
    worker: int | None,
    started: Callable[[Replica], Awaitable[None]],
) -> None:
    """Run one replica, with its own embedded store unless it is a worker, which shares its parent's."""
    try:
        ports = serving.open_ports(config, shared=worker is not None, worker=worker or 0)
    except serving.PortTakenError as error:
        raise click.ClickException(str(error)) from None
    store = store_of(config, surroundings.environ)
    try:
        if store is not None:
            store.start()
            surroundings = dataclasses.replace(surroundings, store_url=store.url)

        async def begun(replica: Replica) -> None:
            await started(replica)
            if store is not None:
                _say_store(await store.ready())

        uvloop.run(serving.run(config, surroundings, ports, begun))
    except (EmbeddedError, AddressError) as error:
        raise click.ClickException(str(error)) from None
    finally:
        ports.close()
        if store is not None:
            store.stop()


def _say_store(store: Description) -> None:
    log = structlog.get_logger("serve")
    log.info("store_started", **store.fields())
    log.debug("store_binary", path=str(store.binary))


def _orphaned() -> None:
    """The parent is gone, so nobody would ever stop this worker."""
    os._exit(1)


def _parent(config: Config, environ: Mapping[str, str]) -> int:
    """Run the workers of one `serve` on one store."""
    command = command_of([*sys.argv[1:], "--port", str(_free_port(config))])
    store = store_of(config, environ)
    try:
        extra = {}
        if store is not None:
            store.start()
            extra["APEX_REDIS_URL"] = store.url
        crew = Crew(command, {**environ, **extra}, config.listen.workers)

        async def supervise() -> int:
            if store is not None:
                _say_store(await store.ready())
            return await Workers(crew).run()

        return uvloop.run(supervise())
    except (EmbeddedError, WorkersError) as error:
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


def _pretty(config: Config) -> bool:
    return config.log.format == "console" or (config.log.format == "auto" and sys.stderr.isatty())
