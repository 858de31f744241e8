"""What the store could not do for a reason that waiting does not mend: counted, and told once.

A poisoned key fails again with every call, so only the first failure is worth a line in the log.
"""

import structlog

from ratelimit.store import StoreError


class Mishaps:
    """How many operations failed with a `StoreError`."""

    def __init__(self) -> None:
        self._log = structlog.get_logger("ratelimit")
        self.count = 0

    def note(self, operation: str, error: StoreError) -> None:
        """`operation` failed, and was given up."""
        self.count += 1
        if self.count == 1:
            self._log.error("limit_store_error", operation=operation, error=str(error))
