"""What was learned and is not yet told: changes in their order, for whoever carries them to the cluster.

And the names of which more is known here than there, until the cluster has heard of it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import msgspec

from proxy import circuit
from proxy.circuit import Change, Kind, Record, Rules


class Outbox:
    """Changes that wait to be carried. Successes of one name in a row are one change with a count.

    `open` says that somebody carries them; who does opens and closes it. `urgent` says that what is in it
    should leave now; successes alone may wait for each other.
    """

    def __init__(self) -> None:
        self.open = False
        self.urgent = False
        self._changes: list[Change] = []
        self._row: dict[tuple[str, bool], int] = {}
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
        for late in (False, True):
            self._row.pop((change.name, late), None)
        self._changes.append(change)
        if not self.urgent:
            self.urgent = True
            if self._wake is not None:
                self._wake()

    def _succeeded(self, change: Change) -> None:
        at = self._row.get((change.name, change.late))
        if at is None:
            self._row[change.name, change.late] = len(self._changes)
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


class Untold:
    """Names that hold here what the cluster does not know: `dirty` are to be told, others are being told."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._early: Counter[str] = Counter()
        self.dirty: set[str] = set()

    def __repr__(self) -> str:
        """How many of each."""
        return f"<Untold {len(self.dirty)} to tell, {len(self._early)} being told>"

    def leaving(self, changes: Iterable[Change]) -> None:
        """`changes` are on their way; those that keep somebody away hold here already."""
        self._early.update(change.name for change in changes if change.kind in _EARLY)

    def answered(self, changes: Iterable[Change]) -> None:
        """`changes` were carried out, by the cluster or here."""
        self._early.subtract(change.name for change in changes if change.kind in _EARLY)
        self._early = +self._early

    def merges(self, records: Mapping[str, Record]) -> list[Change]:
        """What is to be told, now on its way: it is answered, or marked once more."""
        names = [name for name in sorted(self.dirty) if name in records]
        merges = [Change(Kind.MERGE, name, record=records[name]) for name in names]
        self.leaving(merges)
        self.dirty.clear()
        return merges

    def joined(
        self, name: str, kept: Record | None, told: Record | None, moment: tuple[int, int]
    ) -> Record | None:
        """What the cluster tells of a name, None for nothing, and what is known here beyond it.

        `moment`: the version as of which it is told, and the time. What the cluster must have lost is marked.
        """
        if kept is None:
            return told
        version, now = moment
        base = told or Record(version=version)
        if now < kept.open_until and 0 < base.open_until < kept.open_until and base.reset_at <= kept.reset_at:
            self.dirty.add(name)  # no deadline is ever brought forward
        ordered = circuit.unheard(kept, base, now)
        untold = ordered or name in self.dirty or name in self._early
        joined = circuit.joined(kept, base, self.rules, now, untold=untold)
        if told is None and not ordered and not joined.matters(now):
            return None
        if told is None or (ordered and name not in self._early):
            self.dirty.add(name)
        return joined

    def adopted(
        self, records: Mapping[str, Record], news: Mapping[str, Record | None], moment: tuple[int, int]
    ) -> dict[str, Record]:
        """`records` after what the cluster has decided, None for one that is forgotten; see `joined`."""
        found, version = dict(records), moment[0]
        for name, told in news.items():
            kept = found.pop(name, None)
            if kept is not None and kept.version > (version if told is None else told.version):
                found[name] = kept
            elif (joined := self.joined(name, kept, told, moment)) is not None:
                found[name] = joined
        return found

    def replaced(
        self,
        records: Mapping[str, Record],
        shared: Mapping[str, Record],
        moment: tuple[int, int],
        *,
        lost: bool,
    ) -> dict[str, Record]:
        """All that the cluster knows, and what is known here beyond it. What came by message meanwhile stays.

        `lost`: the cluster has forgotten something. What it has not, and still counts, is marked to be told.
        """
        found, (version, now) = dict(shared), moment
        for name, kept in records.items():
            told = shared.get(name)
            behind = told is None or kept.version > told.version
            if behind and kept.version > version and not lost:
                found[name] = kept
                continue
            if behind and kept.matters(now):
                self.dirty.add(name)
            if (joined := self.joined(name, kept, told, moment)) is not None:
                found[name] = joined
        return found


_EARLY = circuit.ORDERS | {Kind.REFUSE, Kind.MERGE}
"""What holds here before the cluster has heard of it."""
