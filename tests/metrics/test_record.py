from metrics import record
from metrics.record import Attempt, Record, Tokens


def test_a_record_is_pessimistic() -> None:
    """Until something else is known, a request crashed and an attempt was cancelled."""
    made = Record("req_1", "chat", 1.0)
    assert made.outcome == record.CRASHED
    assert Attempt("a/m", "a", 1.0).outcome == "cancelled"
    assert (made.tokens, made.ttft, made.attempts) == (None, None, [])
    assert (made.waited, made.queued) == (0.0, 0.0)
    assert (made.cost, made.events, made.stalled, made.trace) == (None, 0, 0.0, "")
    assert Tokens() == Tokens(0, 0, 0, 0, 0)


def test_outcomes_are_a_closed_set() -> None:
    """They are metric labels."""
    assert len(set(record.OUTCOMES)) == 6
    assert record.COMPLETED in record.OUTCOMES
