"""What was learned and is not yet told: changes in their order, for whoever carries them to the cluster."""

from collections.abc import Callable

import msgspec

from proxy.circuit import Change, Kind


class Outbox:
    """Changes that wait to be carried. Successes of one name in a row are one change with a count.

    `open` says that somebody carries them; who does opens and closes it. `urgent` says that what is in it
    should leave now; successes alone may wait for each other.
    """

    def __init__(self) -> None:
        self.open = False
        self.urgent = False
        self._changes: list[Change] = []
        self._row: dict[str, int] = {}
        self._wake: Callable[[], None] | None = None

    def __len__(self) -> int:
        """How many wait."""
        return len(self._changes)

    @property
    def carried(self) -> bool:
        """Whether there is anybody who carries it when the cluster can be reached."""
        return self._wake is not None

    def on_urgent(self, wake: Callable[[], None]) -> None:
        """Call `wake` when something should leave now."""
        self._wake = wake

    def put(self, change: Change) -> None:
        """Add a change."""
        if change.kind is Kind.OK and not change.token:
            self._succeeded(change)
            return
        self._row.pop(change.name, None)
        self._changes.append(change)
        if not self.urgent:
            self.urgent = True
            if self._wake is not None:
                self._wake()

    def _succeeded(self, change: Change) -> None:
        at = self._row.get(change.name)
        if at is None:
            self._row[change.name] = len(self._changes)
            self._changes.append(change)
        else:
            row = self._changes[at]
            self._changes[at] = msgspec.structs.replace(row, count=row.count + change.count)

    def take(self) -> list[Change]:
        """All of them, in their order; the outbox is empty then."""
        taken, self._changes = self._changes, []
        self._row.clear()
        self.urgent = False
        return taken
