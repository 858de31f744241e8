"""Runs cells inside one environment: the job comes as JSON on standard input, results go out line by line.

A line is a JSON object: `begin` when a cell starts, then `end` with `error` empty where the check held.
"""

import importlib
import importlib.util
import json
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from cells import APIS, ROWS, Check, Features, Place

HERE = Path(__file__).parent
LIMIT_S = 20
"""Seconds that one cell may take."""

CLIENTS = {"chat": "chat_client", "responses": "responses_client", "messages": "messages_client"}
FRAMEWORKS = ("pydantic_ai", "agents")


class TooLongError(BaseException):
    """A cell that has not ended. No `Exception`, so that no SDK takes it for a broken connection."""


def _too_long(number: int, frame: FrameType | None) -> None:
    raise TooLongError(f"not done in {LIMIT_S} s")


def features(api: str) -> Features:
    """The checks there are for a client API in this environment."""
    found = dict(importlib.import_module(CLIENTS[api]).FEATURES)
    if all(map(importlib.util.find_spec, FRAMEWORKS)):
        found |= importlib.import_module("frameworks").FEATURES[api]
    return found


def run(check: Check, at: Place) -> str:
    """What went wrong, as a traceback; empty if nothing did."""
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        check(at)
    except (Exception, TooLongError):  # noqa: BLE001  (whatever a check raises is the result of its cell)
        return "".join(_told(traceback.TracebackException(*sys.exc_info())))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return ""


def _told(error: traceback.TracebackException) -> Iterator[str]:
    """The lines of a traceback, of which only ours say something, and the exception itself."""
    ours = [frame for frame in error.stack if Path(frame.filename).parent == HERE]
    yield from (f"{Path(frame.filename).name}:{frame.lineno}: {frame.line}\n" for frame in ours[1:])
    yield from error.format_exception_only()


def main() -> None:
    """Run the cells of the job, by client, then provider, then feature."""
    job = json.load(sys.stdin)
    signal.signal(signal.SIGALRM, _too_long)
    for api in APIS:
        checks = features(api)
        for kind in APIS:
            for row in (row for row in ROWS if row in job["rows"] and row in checks):
                cell = {"api": api, "kind": kind, "row": row}
                _say("begin", cell)
                began = time.monotonic()
                error = run(
                    checks[row], Place(job["url"], job["key"], kind, job["ports"], job["environment"])
                )
                _say("end", {**cell, "error": error, "seconds": round(time.monotonic() - began, 3)})


def _say(event: str, fields: dict[str, Any]) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


if __name__ == "__main__":
    main()
