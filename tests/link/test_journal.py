import pytest
import structlog.testing

from proxy.link import Change, journal
from proxy.link.breaker import State
from proxy.link.failure import Reason


@pytest.mark.parametrize(
    ("state", "line"),
    [
        (State.CLOSED, {"log_level": "info"}),
        (State.OPEN, {"log_level": "warning", "reason": "refused", "detail": "DENIED protected mode"}),
        (State.HALF_OPEN, {"log_level": "warning", "reason": "refused", "detail": "DENIED protected mode"}),
    ],
)
def test_a_turn_is_one_line(state: State, line: dict[str, str]) -> None:
    """With the reason, and what the server said, while it is not as it should be."""
    with structlog.testing.capture_logs() as lines:
        journal.tell(Change(state, "127.0.0.1:6379", Reason.REFUSED, "DENIED protected mode"))
    said = {"event": "redis", "server": "127.0.0.1:6379", "breaker": state.value}
    assert lines == [{**said, "available": state is State.CLOSED, **line}]
