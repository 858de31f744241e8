import errno
import io
import json
import re
import threading
from collections.abc import Iterator

import msgspec
import pytest
import structlog

from metrics import logs
from metrics.record import COMPLETED, OUTCOMES, Attempt, Record, Tokens

NOW = 1_800_000_000.7


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Logging is set up once per process; each test gives it back as it was."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def full() -> Record:
    """A record with everything in it."""
    return Record(
        "req_1",
        "chat",
        0.0,
        client="dev",
        model="small",
        stream=True,
        target="a/m",
        attempts=[
            Attempt("b/m", "b", 0.0, 0.02, "status_503", said="busy"),
            Attempt("a/m", "a", 0.0, 0.0123, "ok"),
        ],
        tokens=Tokens(10, 5, reasoning=3),
        status=200,
        outcome=COMPLETED,
        duration=0.1234567,
        waited=0.1,
        ttft=0.05,
        queued=0.01,
        cost=0.000125,
        trace="0af7651916cd43dd8448eb211c80319c",
    )


def test_a_line_tells_the_request() -> None:
    """Times in milliseconds, each attempt in a few words."""
    assert logs.line(full()) == {
        "id": "req_1",
        "client": "dev",
        "endpoint": "chat",
        "model": "small",
        "stream": True,
        "status": 200,
        "outcome": "completed",
        "target": "a/m",
        "attempts": ["b/m status_503 20ms", "a/m ok 12ms"],
        "failures": ["b/m status_503: busy"],
        "total_ms": 123.46,
        "overhead_ms": 23.46,
        "queued_ms": 10.0,
        "ttft_ms": 50.0,
        "tokens_in": 10,
        "tokens_out": 5,
        "tokens_reasoning": 3,
        "cost": 0.000125,
        "trace": "0af7651916cd43dd8448eb211c80319c",
    }


def test_empty_fields_are_left_out() -> None:
    """What is not known takes no room."""
    assert set(logs.line(Record("req_1", "chat", 0.0))) == {
        "id",
        "endpoint",
        "stream",
        "status",
        "outcome",
        "total_ms",
        "overhead_ms",
    }


def test_lines_are_json() -> None:
    """One object a line, with level and time; an error with its traceback as text."""
    out = io.StringIO()
    logs.configure(out, "info", lambda: NOW, pretty=False)
    log = structlog.get_logger("test")
    log.debug("unseen")
    log.info("seen", count=1)
    try:
        int("bad")
    except ValueError:
        log.exception("failed")
    first, second = map(json.loads, out.getvalue().splitlines())
    assert (first["event"], first["level"], first["count"]) == ("seen", "info", 1)
    assert first["timestamp"] == "2027-01-15T08:00:00Z"
    assert second["level"] == "error"
    assert "ValueError: invalid literal" in second["exception"]


def test_a_json_line_is_what_structlogs_own_processors_make_of_it() -> None:
    """The same fields in the same order, escaped alike, with the traceback where there is one."""
    out = io.StringIO()
    logs.configure(out, "info", lambda: NOW, pretty=False)
    log = logs.RequestLog()
    log.start()
    record = full()
    record.client = 'a "b"\\\n\u2028\u00e9\U0001f600'
    log.write(record)
    log.close()
    error = ValueError("no\nnumber")
    structlog.get_logger("test").error("failed", what="<b>", exc_info=error)
    structlog.get_logger("test").info("went well", exc_info=None)
    expected = [
        own_line("info", logs.line(record) | {"event": "request"}),
        own_line("error", {"what": "<b>", "exc_info": error, "event": "failed"}),
        own_line("info", {"exc_info": None, "event": "went well"}),
    ]
    assert out.getvalue() == "".join(expected)


def own_line(level: str, event: structlog.typing.EventDict) -> str:
    """A line by structlog's processors, one for each thing."""
    event = structlog.stdlib.add_log_level(None, level, event)
    event["timestamp"] = "2027-01-15T08:00:00Z"
    event = structlog.processors.ExceptionRenderer()(None, level, event)
    render = structlog.processors.JSONRenderer(
        serializer=lambda told, **_: msgspec.json.encode(told).decode()
    )
    return f"{render(None, level, event)!s}\n"


def test_lines_are_text_on_a_terminal() -> None:
    """People read words."""
    out = io.StringIO()
    logs.configure(out, "debug", lambda: NOW, pretty=True)
    structlog.get_logger("test").debug("seen", second=2, first=1)
    assert re.fullmatch(r"\d\d:\d\d:\d\d \[debug +\] seen second=2 first=1\n", out.getvalue())


def test_what_went_wrong_is_a_warning() -> None:
    """Of the ways a request can end, those that an operator should see stand out."""
    out = io.StringIO()
    logs.configure(out, "warning", lambda: NOW, pretty=False)
    log = logs.RequestLog()
    log.start()
    for outcome in OUTCOMES:
        log.write(Record("req_1", "chat", 0.0, outcome=outcome))
    log.close()
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(line["outcome"], line["level"]) for line in lines] == [
        ("failed", "warning"),
        ("broken", "warning"),
        ("crashed", "warning"),
    ]


def test_the_request_log_writes_in_the_background() -> None:
    """Every line queued before the end is written by the end."""
    out = io.StringIO()
    logs.configure(out, "info", lambda: NOW, pretty=False)
    log = logs.RequestLog()
    log.start()
    for _ in range(20):
        log.write(full())
    log.close()
    log.close()
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["request"] * 20


def test_what_does_not_fit_is_counted() -> None:
    """A log that cannot keep up drops lines, never requests, and says how many."""
    out = io.StringIO()
    logs.configure(out, "info", lambda: NOW, pretty=False)
    log = logs.RequestLog()
    for _ in range(logs._PENDING + 3):
        log.write(full())
    log.start()
    log.close()
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    dropped = [line["count"] for line in lines if line["event"] == "request_lines_dropped"]
    assert dropped == [3]
    assert log.dropped == 3
    assert len(lines) == logs._PENDING + 1


def test_the_level_can_be_changed_for_loggers_that_have_spoken() -> None:
    """They are cached, and hear of it all the same."""
    stream = io.StringIO()
    threshold = logs.configure(stream, "warning", lambda: NOW, pretty=False)
    log = structlog.get_logger("any")
    for level in ("info", "debug", "error"):
        log.info("said", level_then=level)
        log.error("always")
        threshold.change(level)
    log.info("said", level_then="error")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["always", "said", "always", "said", "always"]


def test_what_was_said_is_in_the_line_only_where_it_was_kept() -> None:
    """It is made fit for the log when the line is rendered."""
    record = full()
    assert "body_in" not in logs.line(record)
    record.bodies = lambda: {"body_in": "hello", "body_out": "hi"}
    assert (logs.line(record)["body_in"], logs.line(record)["body_out"]) == ("hello", "hi")


class Stuck(io.StringIO):
    """A sink whose reader does not read, until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = threading.Event()

    def write(self, text: str) -> int:
        """Wait for the reader."""
        self.reads.wait(10)
        return super().write(text)


def test_a_sink_that_is_stuck_holds_nobody_up() -> None:
    """Neither a request nor whoever else has something to say; all of it is written later."""
    out = Stuck()
    logs.configure(out, "info", lambda: NOW, pretty=False)
    log = logs.RequestLog()
    log.start()
    log.write(full())
    structlog.get_logger("redis").warning("away")
    assert out.getvalue() == ""
    out.reads.set()
    log.close()
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["request", "away"]
    structlog.get_logger("serve").info("stopped")
    assert json.loads(out.getvalue().splitlines()[-1])["event"] == "stopped"


class Full(io.StringIO):
    """A sink on a disk that is full for its first write."""

    full = True

    def write(self, text: str) -> int:
        """Fail once."""
        if self.full:
            self.full = False
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_lines_that_cannot_be_written_are_counted_and_the_log_goes_on() -> None:
    """A full disk may have room again."""
    out = Full()
    logs.configure(out, "info", lambda: NOW, pretty=False)
    log = logs.RequestLog()
    for _ in range(logs.MOST + 1):
        log.write(full())
    log.start()
    log.close()
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["request", "request_lines_dropped"]
    assert lines[1]["count"] == log.dropped == logs.MOST


def test_a_line_that_no_bytes_can_say_is_counted() -> None:
    """Half of a surrogate pair: it ends no thread."""
    out = io.StringIO()
    logs.configure(out, "info", lambda: NOW, pretty=False)
    log = logs.RequestLog()
    log.write(Record("req_1", "chat", 0.0, model="\ud800"))
    log.start()
    log.close()
    (line,) = [json.loads(line) for line in out.getvalue().splitlines()]
    assert (line["event"], line["count"], log.dropped) == ("request_lines_dropped", 1, 1)
