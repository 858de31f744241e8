"""Logging: how lines look, and the one line each request leaves.

Lines are JSON, or coloured text on a terminal. The request line is rendered by structlog in a thread of
its own behind a bounded queue, so a slow disk or a full pipe never holds a request up; what does not fit
is counted and said in the next line that does.
"""

import collections
import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, TextIO

import msgspec
import structlog

from metrics.record import BROKEN, CRASHED, FAILED, Attempt, Record

_encode = msgspec.json.Encoder().encode
_PENDING = 10_000
_PENDING_BODIES = 500
"""Lines that wait to be written: fewer where they hold on to bodies."""

CLOSING = 2.0
TOGETHER = 0.02
"""Seconds for which lines wait for others."""

MOST = 50
"""Lines rendered at one go: some hundred microseconds, in which the event loop may wait."""

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


def configure(stream: TextIO, level: str, wall: Callable[[], float], *, pretty: bool) -> Threshold:
    """Send all log lines to `stream`: text if `pretty`, in colour on a terminal, else one JSON object a line.

    JSON has the time in UTC, to the second, as `wall` tells it (Unix time); text has the local time of day.
    What is returned changes the level later: loggers are cached, and would not hear of another configuration.
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
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False) if pretty else _Stamp(wall),
            structlog.processors.ExceptionRenderer() if not pretty else _same,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    return threshold


class _Stamp:
    """The time of a line in UTC, to the second; made once for all lines of a second."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._second = 0
        self._text = ""

    def __call__(
        self, _logger: object, _name: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        second = int(self._now())
        if second != self._second:
            self._text = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
            self._second = second
        event["timestamp"] = self._text
        return event


def _level(_logger: object, name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    event["level"] = name
    return event


def _same(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return event


class RequestLog:
    """The line of each request, written by a thread.

    Lines that are there at the same time are rendered and written together: waking the thread for each, and a
    write for each, would take as much of the processor as a third of the request does.
    """

    def __init__(self) -> None:
        self._log = structlog.get_logger("request")
        self._waiting: collections.deque[Record] = collections.deque()
        self._filled = threading.Event()
        self._closing = threading.Event()
        self._unsaid = 0
        self.dropped = 0
        """Lines that did not fit since the start."""
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)

    def start(self) -> None:
        """Start writing."""
        self._thread.start()

    def write(self, record: Record) -> None:
        """Leave the line of `record`. Never waits."""
        if len(self._waiting) >= (_PENDING if record.bodies is None else _PENDING_BODIES):
            self.dropped += 1
            self._unsaid += 1
            return
        self._waiting.append(record)
        if not self._filled.is_set():
            self._filled.set()

    def close(self) -> None:
        """Write what is queued and stop, within some seconds: a sink that is stuck is left behind."""
        self._closing.set()
        self._filled.set()
        if self._thread.is_alive():
            self._thread.join(timeout=CLOSING)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._filled.wait()
            self._closing.wait(TOGETHER)
            self._filled.clear()  # before the look at what waits: whatever comes from here on sets it again
            while self._waiting:
                count = min(len(self._waiting), MOST)
                _write([self._waiting.popleft() for _ in range(count)])
                if self._unsaid:
                    dropped, self._unsaid = self._unsaid, 0
                    self._log.warning("request_lines_dropped", count=dropped)


def _write(records: Iterable[Record]) -> None:
    """Write the lines of `records`, as structlog is set up to render them, at one go."""
    config = structlog.get_config()
    lines = [text for record in records if (text := _rendered(record, config["processors"])) is not None]
    if lines:
        config["logger_factory"]().msg("\n".join(lines))


def _rendered(record: Record, processors: Iterable[structlog.typing.Processor]) -> str | None:
    """The text of a request's line; None where it is not important enough."""
    event: Any = line(record)
    event["event"] = "request"
    name = "warning" if record.outcome in _BAD else "info"
    try:
        for processor in processors:
            event = processor(None, name, event)
    except structlog.DropEvent:
        return None
    return str(event)


def line(record: Record) -> dict[str, object]:
    """The fields of a request's line. Times in milliseconds; what says nothing is left out."""
    fields: dict[str, object] = {
        "id": record.request_id,
        "client": record.client or None,
        "endpoint": record.endpoint,
        "model": record.model or None,
        "stream": record.stream,
        "status": record.status,
        "outcome": record.outcome,
        "target": record.target or None,
        "attempts": [_told(attempt) for attempt in record.attempts] or None,
        "total_ms": round(record.duration * 1000, 2),
        "overhead_ms": round(max(0.0, record.duration - record.waited) * 1000, 2),
    }
    if record.queued:
        fields["queued_ms"] = round(record.queued * 1000, 2)
    if record.ttft is not None:
        fields["ttft_ms"] = round(record.ttft * 1000, 2)
    if record.error:
        fields["error"] = record.error
    tokens = record.tokens
    if tokens is not None:
        fields["tokens_in"] = tokens.input
        fields["tokens_out"] = tokens.output
        fields["tokens_cached"] = tokens.cached or None
        fields["tokens_written"] = tokens.written or None
        fields["tokens_reasoning"] = tokens.reasoning or None
    if record.cost is not None:
        fields["cost"] = round(record.cost, 8)
    if record.trace:
        fields["trace"] = record.trace
    if record.bodies is not None:
        fields.update(record.bodies())
    return {name: value for name, value in fields.items() if value is not None}


def _told(attempt: Attempt) -> str:
    return f"{attempt.target} {attempt.outcome} {attempt.duration * 1000:.0f}ms"
