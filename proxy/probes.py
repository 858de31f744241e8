"""The probes of one replica: those it asked for, those it was granted, those on their way. Pure.

A half-open circuit is tried by one request in the whole cluster. A replica that would send one asks for the
lease; who gets it sends the request there that waits for it, or its next one, soon, or gives the lease up.
While the probe is on its way the lease is renewed, so a long answer holds it and a crash does not. Times
are the cluster's, in ms.
"""

import dataclasses
from collections.abc import Iterable, Mapping

from proxy.circuit import NOTHING, Change, Kind, Record

GRACE = 1_000
"""Milliseconds in which a granted probe must be used, at most half of its lease; then others may have it."""

RENEWALS = 4
"""How often a lease is renewed in its own time."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Grant:
    token: str
    until: int


class Probes:
    """Tokens by name. `replica` makes them different from those of others."""

    def __init__(self, replica: str) -> None:
        self._replica = replica
        self._count = 0
        self._claims: dict[str, str] = {}
        self._grants: dict[str, _Grant] = {}
        self._flying: dict[str, str] = {}
        self._renewed = 0

    def __bool__(self) -> bool:
        """Whether any is granted and not yet used."""
        return bool(self._grants)

    def __repr__(self) -> str:
        """How many of each."""
        asked, granted, flying = len(self._claims), len(self._grants), len(self._flying)
        return f"<Probes {asked} asked, {granted} granted, {flying} on their way>"

    def ask(self, names: Iterable[str]) -> list[Change]:
        """Claims of the leases of `names`, but for those that are asked for or granted already."""
        claims = []
        for name in names:
            if name not in self._claims and name not in self._grants:
                self._count += 1
                self._claims[name] = f"{self._replica}.{self._count}"
                claims.append(Change(Kind.CLAIM, name, self._claims[name]))
        return claims

    def awaited(self, names: Iterable[str]) -> bool:
        """Whether any of `names` is asked for, and that not yet decided."""
        return any(name in self._claims for name in names)

    def answered(self, changes: Iterable[Change], records: Mapping[str, Record], now: int) -> bool:
        """Claims among `changes` were decided on, as `records` say; whether any was granted."""
        granted = False
        for change in changes:
            ours = change.kind is Kind.CLAIM and self._claims.pop(change.name, None) == change.token
            record = records.get(change.name, NOTHING)
            if ours and record.probe == change.token:
                grace = min(GRACE, (record.probe_until - now) // 2)
                self._grants[change.name] = _Grant(change.token, now + grace)
                granted = True
        return granted

    def granted(self, names: Iterable[str]) -> bool:
        """Whether all of `names` may be probed."""
        return all(name in self._grants for name in names)

    def begin(self, names: Iterable[str]) -> dict[str, str]:
        """A probe of all of `names` begins; its tokens."""
        tokens = {name: self._grants.pop(name).token for name in names}
        self._flying |= tokens
        return tokens

    def end(self, tokens: Mapping[str, str]) -> None:
        """It has ended, with or without a verdict."""
        for name, token in tokens.items():
            if self._flying.get(name) == token:
                del self._flying[name]

    def give_up(self) -> list[Change]:
        """Everything that is granted and not used is to be given up."""
        given = [Change(Kind.RELEASE, name, grant.token) for name, grant in self._grants.items()]
        self._grants.clear()
        return given

    def tend(self, now: int, lease: int) -> list[Change]:
        """What is to be told now: leases to renew, and to give up because nobody has used them."""
        changes = []
        for name, grant in tuple(self._grants.items()):
            if grant.until <= now:
                del self._grants[name]
                changes.append(Change(Kind.RELEASE, name, grant.token))
        if self._flying and abs(now - self._renewed) >= lease // RENEWALS:  # the clock may have been set back
            self._renewed = now
            changes += [Change(Kind.RENEW, name, token) for name, token in self._flying.items()]
        return changes
