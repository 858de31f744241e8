from structlog.testing import capture_logs

from ratelimit.mishaps import Mishaps
from ratelimit.store import StoreError


def test_every_mishap_is_counted_and_the_first_is_told() -> None:
    """A poisoned key fails with every call: that must not fill the log."""
    with capture_logs() as told:
        mishaps = Mishaps()
        for _ in range(3):
            mishaps.note("settle", StoreError("WRONGTYPE"))
    assert mishaps.count == 3
    assert told == [
        {
            "event": "limit_store_error",
            "log_level": "error",
            "operation": "settle",
            "error": "WRONGTYPE",
        }
    ]
