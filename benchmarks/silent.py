"""`apex-proxy` that says nothing of its requests: no metric is counted, no line written. Only to be measured.

What is left out is what `app.Replica` does with a record; that one is filled all the same.
"""

from metrics.instruments import Instruments
from proxy.__main__ import main
from proxy.app import Replica


def _nothing(*_: object) -> None:
    """What is done with a request that begins, and with its record."""


if __name__ == "__main__":
    setattr(Instruments, "began", _nothing)  # noqa: B010  (there is no switch for it, on purpose)
    setattr(Replica, "_observe", _nothing)  # noqa: B010  (as above)
    main()
