"""What commands take from their process: environment, randomness, clock, and the embedded store.

The only place that reads the environment and the machine's randomness; everything below is handed them.
"""

import os
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click

from metrics.record import Record
from proxy import exporting
from proxy.app import Surroundings
from proxy.clock import SystemClock
from proxy.config import REDIS_VARIABLE
from proxy.config.problems import ConfigError, Problem
from proxy.config.redis_url import AddressError, parse
from proxy.config.settings import Config, Redis
from proxy.embedded import Embedded, EmbeddedSettings, bundled_server
from proxy.upstream.egress import Proxies


def environment() -> dict[str, str]:
    """The process's environment at this moment."""
    return dict(os.environ)


def store_of(config: Config, environ: Mapping[str, str]) -> Embedded | None:
    """The embedded store of `config`, not yet started; None where it names a server of its own."""
    redis = config.redis
    if redis.url != "embedded":
        return None
    settings = EmbeddedSettings(
        memory_bytes=redis.embedded_memory,
        temp_dir=Path(environ.get("TMPDIR", "/tmp")),  # noqa: S108  (the store makes its own 0700 folder in it)
        durable_dir=redis.embedded_dir,
    )
    return Embedded(settings, environ=environ, clock=SystemClock(), bundled=bundled_server())


def surroundings_of(
    environ: Mapping[str, str],
    *,
    open_to_all: bool = False,
    watch: Callable[[Record], None] | None = None,
) -> Surroundings:
    """What a replica of this process takes from it; see `app.Surroundings`."""
    draw = random.Random(os.urandom(16))  # noqa: S311  (routing draws are no secrets)
    return Surroundings(SystemClock(), draw, environ, open_to_all, watch)


def check_proxies(environ: Mapping[str, str]) -> None:
    """Refuse an HTTP proxy in the environment that the transport could not use, before anything starts."""
    try:
        Proxies(environ)
    except ValueError as error:
        raise click.ClickException(f"{error}; mend or unset it") from None


def check_extras(config: Config, source: str, environ: Mapping[str, str]) -> None:
    """Raises `ConfigError` where a configuration wants what this machine lacks: a package, a certificate."""
    found = [exporting.missing(config.traces), *_certificates(config.redis, environ)]
    problems = [problem for problem in found if problem is not None]
    if problems:
        raise ConfigError(problems, source)


def _certificates(redis: Redis, environ: Mapping[str, str]) -> Iterator[Problem]:
    """What of the files that the ways to Redis name cannot be used."""
    named = f"${REDIS_VARIABLE}" if environ.get(REDIS_VARIABLE) else "redis.url"
    for place, url in ((named, redis.url), ("redis.responses_url", redis.responses_url)):
        tls = parse(url).tls if url and url != "embedded" else None
        try:
            if tls is not None:
                tls.context()
        except AddressError as error:
            yield Problem(place, str(error), "")


def refused(error: ConfigError) -> click.ClickException:
    """All problems of a configuration as one error of the command line."""
    return click.ClickException(error.report())


def content(name: str) -> bytes:
    """What a file holds that was named to a command; `-` is standard input."""
    try:
        with click.open_file(name, "rb") as file:
            return bytes(file.read())
    except OSError as error:
        raise click.ClickException(f"{name}: no readable file ({error.strerror})") from None
