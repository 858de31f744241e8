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


class Threshold:
    """The least important lines that are written; it may be changed at any time."""

    def __init__(self, level: str) -> None:
        self.change(level)

    def change(self, level: str) -> None:
        """From now on it is `level`."""
        self._least = _LEVELS[level]

    def __call__(
        self, _logger: object, name: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        """As a processor of structlog: drops what is less important."""
        if _LEVELS.get(name, logging.ERROR) < self._least:
            raise structlog.DropEvent
        return event


def configure(stream: TextIO, level: str, *, pretty: bool) -> Threshold:
    """Send all log lines to `stream`: text if `pretty`, in colour on a terminal, else one JSON object a line.

    JSON has the time in UTC, to the second; text has the local time of day. What is returned changes the
    level later: loggers are cached, and would not hear of another configuration.
    """
    threshold = Threshold(level)
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(pad_event_to=0, sort_keys=False, colors=stream.isatty())
        if pretty
        else structlog.processors.JSONRenderer(serializer=lambda event, **_: _encode(event).decode())
    )
    structlog.configure(
        processors=[
            threshold,
            structlog.stdlib.add_log_level if pretty else _level,
            structlog.processors.TimeStamper(
                fmt="%H:%M:%S" if pretty else "%Y-%m-%dT%H:%M:%SZ", utc=not pretty
            ),
            structlog.processors.ExceptionRenderer() if not pretty else _same,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    return threshold


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
        self._unsaid = 0
        self.dropped = 0
        """Lines that did not fit since the start."""
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)

    def start(self) -> None:
        """Start writing."""
        self._thread.start()

    def write(self, record: Record) -> None:
        """Leave the line of `record`. Never waits."""
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1
            self._unsaid += 1

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
            if self._unsaid:
                dropped, self._unsaid = self._unsaid, 0
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
        "trace": record.trace,
    }
    if record.queued:
        fields["queued_ms"] = round(record.queued * 1000, 2)
    if record.ttft is not None:
        fields["ttft_ms"] = round(record.ttft * 1000, 2)
    if record.tokens is not None:
        fields["tokens_in"] = record.tokens.input
        fields["tokens_out"] = record.tokens.output
        fields |= {
            f"tokens_{kind}": count
            for kind in ("cached", "written", "reasoning")
            if (count := getattr(record.tokens, kind))
        }
    if record.cost is not None:
        fields["cost"] = round(record.cost, 8)
    return {name: value for name, value in fields.items() if value not in ("", [])}
