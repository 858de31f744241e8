"""Logging: how lines look, and the one line each request leaves.

Lines are JSON, or coloured text on a terminal. The request line is rendered by structlog in a thread of
its own behind a bounded queue, so a slow disk or a full pipe never holds a request up; what does not fit
is counted and said in the next line that does.
"""

import contextlib
import logging
import queue
import threading
from typing import TextIO

import msgspec
import structlog

from metrics.record import BROKEN, CRASHED, FAILED, Record

_encode = msgspec.json.Encoder().encode
_PENDING = 10_000
CLOSING = 2.0
_BAD = frozenset({FAILED, BROKEN, CRASHED})
"""Outcomes that are nobody's wish and not the caller's fault: their lines are warnings."""
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(stream: TextIO, level: str, *, pretty: bool) -> None:
    """Send all log lines to `stream`: text if `pretty`, in colour on a terminal, else one JSON object a line.

    JSON has the time in UTC, to the second; text has the local time of day.
    """
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(pad_event_to=0, sort_keys=False, colors=stream.isatty())
        if pretty
        else structlog.processors.JSONRenderer(serializer=lambda event, **_: _encode(event).decode())
    )
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level if pretty else _level,
            structlog.processors.TimeStamper(
                fmt="%H:%M:%S" if pretty else "%Y-%m-%dT%H:%M:%SZ", utc=not pretty
            ),
            structlog.processors.ExceptionRenderer() if not pretty else _same,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )


def _level(_logger: object, name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    event["level"] = name
    return event


def _same(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return event


class RequestLog:
    """The line of each request, written by a thread."""

    def __init__(self) -> None:
        self._log = structlog.get_logger("request")
        self._queue: queue.Queue[Record | None] = queue.Queue(_PENDING)
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)

    def start(self) -> None:
        """Start writing."""
        self._thread.start()

    def write(self, record: Record) -> None:
        """Leave the line of `record`. Never waits."""
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Write what is queued and stop, within some seconds: a sink that is stuck is left behind."""
        if self._thread.is_alive():
            with contextlib.suppress(queue.Full):
                self._queue.put(None, timeout=CLOSING)
                self._thread.join(timeout=CLOSING)

    def _run(self) -> None:
        while (record := self._queue.get()) is not None:
            say = self._log.warning if record.outcome in _BAD else self._log.info
            say("request", **line(record))
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                self._log.warning("request_lines_dropped", count=dropped)


def line(record: Record) -> dict[str, object]:
    """The fields of a request's line. Times in milliseconds; empty fields are left out."""
    fields: dict[str, object] = {
        "id": record.request_id,
        "client": record.client,
        "endpoint": record.endpoint,
        "model": record.model,
        "stream": record.stream,
        "status": record.status,
        "outcome": record.outcome,
        "target": record.target,
        "attempts": [
            f"{attempt.target} {attempt.outcome} {attempt.duration * 1000:.0f}ms"
            for attempt in record.attempts
        ],
        "total_ms": round(record.duration * 1000, 2),
        "overhead_ms": round(max(0.0, record.duration - record.waited) * 1000, 2),
        "error": record.error,
    }
    if record.ttft is not None:
        fields["ttft_ms"] = round(record.ttft * 1000, 2)
    if record.tokens is not None:
        fields["tokens_in"] = record.tokens.input
        fields["tokens_out"] = record.tokens.output
    return {name: value for name, value in fields.items() if value not in ("", [])}
