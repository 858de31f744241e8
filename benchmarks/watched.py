"""`apex-proxy` that writes how many asyncio tasks it has into the file `$APEX_WATCHED`, again and again.

Only to be measured: nothing of it is changed.
"""

import asyncio
import gc
import os
import threading
import time
from pathlib import Path

import uvloop

from proxy.__main__ import main

EVERY = 1.0
"""Seconds."""


def watch(file: Path) -> None:
    """Count until the process ends, from a thread of its own."""
    loop = None
    while True:
        time.sleep(EVERY)
        # A walk over all objects is dear, so only until there is a loop.
        loop = loop or next((one for one in gc.get_objects() if isinstance(one, uvloop.Loop)), None)
        if loop is not None:
            draft = file.with_suffix(".draft")
            draft.write_text(str(len(asyncio.all_tasks(loop))), encoding="ascii")
            draft.replace(file)


if __name__ == "__main__":
    threading.Thread(target=watch, args=(Path(os.environ["APEX_WATCHED"]),), daemon=True).start()
    main()
