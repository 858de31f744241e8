"""SIGHUP, held from the first act of the program to its last: it ends nothing, and none is lost.

By default it ends a process, and `serve` loads for half a second before it has anything to reload. So its
handler is set before all else, and notes what comes until somebody heeds it. A handler, for what is ignored
stays ignored in every process that is started. The process's own table keeps it, so nobody hands it on.
Commands that nobody asks to reload give the signal back: a closed terminal ends them.
"""

import signal
from collections.abc import Callable
from types import FrameType


class Hangup:
    """The handler of SIGHUP. Of several that came unheeded, one is told."""

    def __init__(self) -> None:
        self._came = False
        self._heed: Callable[[], object] | None = None
        self._former = signal.getsignal(signal.SIGHUP)

    @staticmethod
    def held() -> "Hangup":
        """The one of this process, which holds the signal from here on if none has so far."""
        found = signal.getsignal(signal.SIGHUP)
        if isinstance(found, Hangup):
            return found
        hangup = Hangup()
        signal.signal(signal.SIGHUP, hangup)
        signal.siginterrupt(signal.SIGHUP, False)
        return hangup

    def heeded(self, heed: Callable[[], object]) -> None:
        """Call `heed` at each from here on, within the signal's handler, and now if one has come unheeded."""
        self._heed = heed
        if self._came:
            self._came = False
            heed()

    def released(self) -> None:
        """The signal does again what it did before it was held, for one that has come meanwhile as well."""
        signal.signal(signal.SIGHUP, self._former)
        if self._came:
            signal.raise_signal(signal.SIGHUP)

    def __call__(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  (a handler's signature)
        """One has come."""
        if self._heed is None:
            self._came = True
        else:
            self._heed()
