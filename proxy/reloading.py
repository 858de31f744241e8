"""A reload: the configuration is read anew, checked whole, and taken for the next request, or not at all.

Whatever is wrong with it is told at once, in the words of `apex-proxy check`, and the old one stays. So it is
where it wants other than what is fixed while a replica runs: its ports, its store, its workers, the form of
its log and where its traces go. Each request keeps the snapshot it began with. One reload at a time; who asks
meanwhile waits.
"""

import asyncio
import dataclasses
from collections.abc import Callable

import structlog
from fastapi import FastAPI, Response

from proxy.config import fixed
from proxy.config.problems import ConfigError, Problem, Text
from proxy.config.settings import Config
from proxy.errors import Refusal
from proxy.snapshot import Snapshot
from proxy.wire.envelope import encode

PATH = "/admin/reload"

Reread = Callable[[], tuple[Config, str]]
"""Reads the configuration and says where it is from. Raises `ConfigError`."""


@dataclasses.dataclass(frozen=True, slots=True)
class ReloadParts:
    """What a reload works with; made by `app`.

    `running` is the snapshot of this moment. `reread` and `prepare`, which makes the snapshot of another
    one, run in a thread; `take` swaps it in.
    """

    reread: Reread | None
    running: Callable[[], Snapshot]
    prepare: Callable[[Config], Snapshot]
    take: Callable[[Snapshot], None]


class Reloading:
    """Reloads the configuration of one replica, on demand."""

    def __init__(self, parts: ReloadParts) -> None:
        self._parts = parts
        self._lock = asyncio.Lock()
        self._log = structlog.get_logger("reload")
        self.outcomes = {"taken": 0, "refused": 0}
        """How reloads ended, since the start."""

    @property
    def possible(self) -> bool:
        """Whether there is anything to read."""
        return self._parts.reread is not None

    async def reload(self) -> bool:
        """Take the configuration as it is written now; whether it is another one.

        Raises `ConfigError` with all that is wrong, and the old one stays.
        """
        async with self._lock:
            before = self._parts.running()
            try:
                fresh = await asyncio.to_thread(self._prepared, before.config)
            except ConfigError as error:
                self.outcomes["refused"] += 1
                self._log.error("reload_refused", source=error.source, errors=list(map(str, error.problems)))
                raise
            self._parts.take(fresh)
            self.outcomes["taken"] += 1
            self._log.info("reloaded", config_hash=fresh.config_hash, was=before.config_hash)
            return fresh.config != before.config

    def _prepared(self, before: Config) -> Snapshot:
        if self._parts.reread is None:
            problem = Problem("configuration", "was not read from anywhere, so it cannot be read again", "")
            raise ConfigError([problem])
        config, source = self._parts.reread()
        found = list(fixed.faults(fixed.held(before), dict(config)))
        if found:
            raise ConfigError(map(Text().problem, found), source)
        return self._parts.prepare(config)

    def attach(self, app: FastAPI) -> None:
        """Add the route to an application."""
        app.post(PATH)(self._answer)

    async def _answer(self) -> Response:
        try:
            changed = await self.reload()
        except ConfigError as error:
            raise Refusal(422, error.report(), code="configuration_refused", should_retry=False) from None
        told = {"changed": changed, "config_hash": self._parts.running().config_hash}
        return Response(encode(told), media_type="application/json")
