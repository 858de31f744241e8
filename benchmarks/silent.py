"""`apex-proxy` that says nothing of its requests: no metric is counted, no line written. Only to be measured.

What is left out is what `app.Replica` does with a record; that one is filled all the same.
"""

from metrics.instruments import Instruments
from metrics.record import Record
from proxy.__main__ import main
from proxy.app import Replica


class _Silent(Instruments):
    """Counts nothing."""

    def began(self) -> None:
        """A request began."""

    def observe(self, record: Record) -> None:
        """A request ended."""


def _observe(_replica: Replica, _record: Record) -> None:
    """What a replica does with the record of a request."""


if __name__ == "__main__":
    Instruments.began = _Silent.began  # type: ignore[method-assign]  # there is no switch for it, on purpose
    Replica._observe = _observe  # type: ignore[method-assign]  # noqa: SLF001  (as above)
    main()
