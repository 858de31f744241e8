"""Each fault of the scripted provider, whole and streamed, with a healthy target behind or none."""

import json

import pytest
from faults import SHORT, Case, Row, Told, modes, perform

from metrics import record

CASES = [pytest.param(*mode, id=f"{mode[0]}-{'stream' if mode[1] else 'whole'}") for mode in modes()]
SLACK = 2.0
"""Seconds that a busy machine may add."""


@pytest.mark.parametrize(("case", "stream", "told"), CASES)
def test_fault(case: Case, stream: bool, told: Told) -> None:
    """A fault costs the client nothing where another target is left, and is told truly where none is."""
    pair, alone = perform(case, told, stream=stream)
    if told.how == "harmless":
        for row, name in ((pair, "faulty"), (alone, "alone")):
            is_answered(row, [f"{name}:ok"], stream=stream)
            assert row.health == "none"
        return
    assert pair.health == told.health
    assert alone.tried == [f"alone:{told.reason}"] * told.tries
    if told.how == "fails_over":
        is_answered(pair, [f"faulty:{told.reason}", "healthy:ok"], stream=stream)
        assert pair.sent == [1, 1, 0]
    else:
        assert pair.tried == [f"faulty:{told.reason}"]
        is_told(pair, told)
    is_told(alone, told)
    assert alone.sent[2] == told.tries
    assert alone.got.elapsed < SHORT["total"] + SLACK


def is_answered(row: Row, tried: list[str], *, stream: bool) -> None:
    """The client got a whole good answer, and can see who gave it."""
    assert row.tried == tried
    assert row.got.status == 200
    assert row.got.whole
    assert row.got.attempts == len(tried)
    assert row.got.headers["x-apex-target"].split("/")[0] == tried[-1].split(":")[0]
    assert row.outcome == record.COMPLETED
    if stream:
        assert row.got.events[-1] == b"[DONE]"
        assert row.got.events.count(b"[DONE]") == 1
    else:
        assert row.got.json["choices"][0]["finish_reason"] == "stop"


def is_told(row: Row, told: Told) -> None:
    """The client got the error that belongs to the fault, in the form that belongs to the moment."""
    if told.how == "in_band":
        is_told_in_band(row, told)
        return
    assert row.got.status == told.status
    error = row.got.error
    assert error["code"] == told.code
    assert error["message"]
    assert error["type"]
    headers = row.got.headers
    assert headers["x-request-id"] == headers["request-id"]
    assert headers.get("x-should-retry") == told.should_retry
    callers = told.how == "ends" and told.status < 500
    assert row.outcome == (record.REFUSED if callers else record.FAILED)
    if told.retry_after is None:
        assert "retry-after" not in headers
    else:
        # What the provider named is passed on to 100 ms; where it named nothing, the window has its jitter.
        least = 0.5 if told.retry_after == 1.0 else told.retry_after - 0.1
        said = int(headers["retry-after-ms"]) / 1000
        assert least - 0.1 <= said <= told.retry_after
        assert int(headers["retry-after"]) >= said


def is_told_in_band(row: Row, told: Told) -> None:
    """After the commit: whole events, an error event, the end marker, and a whole framing."""
    assert row.got.status == 200
    assert row.got.whole
    assert row.got.attempts == 1
    *before, error, end = row.got.events
    assert before
    assert end == b"[DONE]"
    said = json.loads(error)["error"]
    assert {"message", "type", "param", "code"} <= said.keys()
    assert said["code"] == told.code
    assert row.got.body.endswith(b"\n\n")
    assert row.outcome == record.BROKEN
