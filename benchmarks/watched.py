"""`apex-proxy` that writes how many asyncio tasks it has into the file `$APEX_WATCHED`, again and again.

Only to be measured: nothing of it is changed.
"""

import asyncio
import gc
import os
import threading
import time
from pathlib import Path
from typing import TypeGuard

from proxy.__main__ import main

EVERY = 1.0
"""Seconds."""


def watch(file: Path) -> None:
    """Count until the process ends, from a thread of its own."""
    loop = None
    while True:
        time.sleep(EVERY)
        # A walk over all objects is dear, so only until there is a task, which knows its loop. While modules
        # are imported it would do harm: it holds tuples that nobody else may hold yet.
        if loop is None and gc.get_freeze_count():
            loop = next((one.get_loop() for one in gc.get_objects() if _is_task(one)), None)
        if loop is not None:
            draft = file.with_suffix(".draft")
            draft.write_text(str(len(asyncio.all_tasks(loop))), encoding="ascii")
            draft.replace(file)


def _is_task(one: object) -> TypeGuard["asyncio.Task[object]"]:
    """By its type alone: asking a proxy object what it is may run code."""
    return issubclass(type(one), asyncio.Task)


if __name__ == "__main__":
    threading.Thread(target=watch, args=(Path(os.environ["APEX_WATCHED"]),), daemon=True).start()
    main()
