"""Background tasks with an owner: the only module that starts one.

A bare `asyncio.create_task` may be garbage collected while it runs and swallows its error. Here every
task belongs to a `Tasks`, which keeps it alive, logs what it died of and can wait for or cancel all.
This is one of the three places that may catch every exception: there is no caller left to tell.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog


class Tasks:
    """The background tasks of one owner (an app, a listener)."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._log = structlog.get_logger("tasks")

    def __len__(self) -> int:
        """How many tasks are running."""
        return len(self._running)

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `work` in the background. Its error, if it ends with one, is logged under `name`."""
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._log.error(
                "background_task_failed", task=task.get_name(), error=type(error).__name__, exc_info=error
            )

    async def drain(self, timeout: float) -> int:  # noqa: ASYNC109  (a bound on waiting, not on the work)
        """Wait up to `timeout` seconds for all tasks to end by themselves; returns how many still run."""
        if self._running:
            await asyncio.wait(set(self._running), timeout=timeout)
        return len(self._running)

    async def close(self) -> None:
        """Cancel all tasks and wait until they are gone."""
        for task in tuple(self._running):
            task.cancel()
        await self.drain(5.0)
