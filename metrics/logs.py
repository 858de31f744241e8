"""Logging: how lines look, and the one line each request leaves.

Lines are JSON, or coloured text on a terminal. Once the request log has been started, one thread writes all
of them behind a bounded queue, so a slow disk or a full pipe never holds the event loop up; what does not
fit, or cannot be written, is counted and said in the next line that can. Request lines are rendered there.
"""

import collections
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TextIO

import msgspec
import structlog

from metrics.record import BROKEN, CRASHED, FAILED, Attempt, Record, Tokens

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
    rendering: list[structlog.typing.Processor] = [_Json(wall)]
    if pretty:
        rendering = [
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(pad_event_to=0, sort_keys=False, colors=stream.isatty()),
        ]
    structlog.configure(
        processors=[threshold, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=Outlet(stream),
        cache_logger_on_first_use=True,
    )
    return threshold


class Outlet:
    """Where rendered lines go: to a stream at once, or to whoever writes for it in a thread (`through`).

    It is structlog's logger factory and its logger in one.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.through: Callable[[str], None] | None = None

    def __call__(self, *_: object) -> "Outlet":
        """A logger: itself."""
        return self

    def msg(self, text: str) -> None:
        """One line, or several with line ends between them."""
        if self.through is not None:
            self.through(text)
        else:
            self.put(text)

    debug = info = warning = error = critical = msg

    def put(self, text: str) -> None:
        """Write it now, however long that takes. Raises `OSError`, or `ValueError` where it is closed."""
        self._stream.write(text + "\n")
        self._stream.flush()


class _Json:
    """As a processor of structlog, the only one behind the threshold: a line as one JSON object.

    The time is in UTC, to the second; its text is made once for all lines of a second.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._second = 0
        self._text = ""

    def __call__(self, logger: object, name: str, event: structlog.typing.EventDict) -> str:
        second = int(self._now())
        if second != self._second:
            self._text = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
            self._second = second
        event["level"] = name
        event["timestamp"] = self._text
        if "exc_info" in event:
            event = _with_traceback(logger, name, event)
        return _encode(event).decode()


_with_traceback = structlog.processors.ExceptionRenderer()


class RequestLog:
    """The line of each request, and whatever else is logged meanwhile, written by a thread.

    Lines that are there at the same time are rendered and written together: waking the thread for each, and a
    write for each, would take as much of the processor as a third of the request does.
    """

    def __init__(self) -> None:
        self._log = structlog.get_logger("request")
        self._waiting: collections.deque[Record | str] = collections.deque()
        self._filled = threading.Event()
        self._closing = threading.Event()
        self._outlet: Outlet | None = None
        self._unsaid = 0
        self.dropped = 0
        """Lines that did not fit, or could not be written, since the start."""
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)

    def start(self) -> None:
        """Start writing, all that is logged from here on. To be called once logging is set up."""
        outlet = structlog.get_config()["logger_factory"]
        if isinstance(outlet, Outlet):
            self._outlet = outlet
            outlet.through = self._leave
        self._thread.start()

    def write(self, record: Record) -> None:
        """Leave the line of `record`. Never waits."""
        if record.bodies is not None and len(self._waiting) >= _PENDING_BODIES:
            self._lose(1)
        else:
            self._leave(record)

    def _leave(self, line_: Record | str) -> None:
        if len(self._waiting) >= _PENDING:
            self._lose(1)
            return
        self._waiting.append(line_)
        if not self._filled.is_set():
            self._filled.set()

    def _lose(self, count: int) -> None:
        self.dropped += count
        self._unsaid += count

    def close(self) -> None:
        """Write what is queued and stop, within some seconds: a sink that is stuck is left behind.

        From then on whoever logs writes for itself again.
        """
        self._closing.set()
        self._filled.set()
        if self._thread.is_alive():
            self._thread.join(timeout=CLOSING)
        if self._outlet is not None and not self._thread.is_alive():
            self._outlet.through = None

    def _run(self) -> None:
        while not self._closing.is_set():
            self._filled.wait()
            self._closing.wait(TOGETHER)
            self._filled.clear()  # before the look at what waits: whatever comes from here on sets it again
            while self._waiting:
                count = min(len(self._waiting), MOST)
                self._write([self._waiting.popleft() for _ in range(count)])
                if self._unsaid:
                    dropped, self._unsaid = self._unsaid, 0
                    self._log.warning("request_lines_dropped", count=dropped)

    def _write(self, lines: Sequence[Record | str]) -> None:
        """Write `lines`, requests rendered as structlog is set up to, at one go."""
        config = structlog.get_config()
        processors = config["processors"]
        outlet = self._outlet
        try:
            texts = [one if isinstance(one, str) else _rendered(one, processors) for one in lines]
            text = "\n".join([text for text in texts if text is not None])
            if not text:
                return
            if outlet is not None:
                outlet.put(text)
            else:
                config["logger_factory"]().msg(text)
        except (OSError, ValueError):  # a full disk, a closed pipe: it may be mended; or what UTF-8 has not
            self._lose(len(lines))


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
    fields = _what(record)
    fields["total_ms"] = round(record.duration * 1000, 2)
    fields["overhead_ms"] = round(max(0.0, record.duration - record.waited) * 1000, 2)
    if record.queued:
        fields["queued_ms"] = round(record.queued * 1000, 2)
    if record.ttft is not None:
        fields["ttft_ms"] = round(record.ttft * 1000, 2)
    if record.error:
        fields["error"] = record.error
    if record.tokens is not None:
        _count(fields, record.tokens)
    if record.cost is not None:
        fields["cost"] = round(record.cost, 8)
    if record.trace:
        fields["trace"] = record.trace
    if record.bodies is not None:
        fields.update(record.bodies())
    return fields


def _what(record: Record) -> dict[str, object]:
    """Who asked for what, who answered, and how it ended."""
    fields: dict[str, object] = {"id": record.request_id}
    if record.client:
        fields["client"] = record.client
    fields["endpoint"] = record.endpoint
    if record.model:
        fields["model"] = record.model
    fields["stream"] = record.stream
    fields["status"] = record.status
    fields["outcome"] = record.outcome
    if record.target:
        fields["target"] = record.target
    if record.attempts:
        fields["attempts"] = [_told(attempt) for attempt in record.attempts]
        if failures := [_failure(attempt) for attempt in record.attempts if attempt.said]:
            fields["failures"] = failures
    return fields


def _count(fields: dict[str, object], tokens: Tokens) -> None:
    """Tokens by kind; those that not every provider counts only where there were any."""
    fields["tokens_in"] = tokens.input
    fields["tokens_out"] = tokens.output
    if tokens.cached:
        fields["tokens_cached"] = tokens.cached
    if tokens.written:
        fields["tokens_written"] = tokens.written
    if tokens.reasoning:
        fields["tokens_reasoning"] = tokens.reasoning


def _told(attempt: Attempt) -> str:
    return f"{attempt.target} {attempt.outcome} {attempt.duration * 1000:.0f}ms"


def _failure(attempt: Attempt) -> str:
    return f"{attempt.target} {attempt.outcome}: {attempt.said}"
