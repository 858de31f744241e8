"""Who may call: from the key a client sends to the tenant it belongs to.

Keys are kept as digests (BLAKE2b in its keyed mode, RFC 7693 2.9) under a pepper made anew by each process,
and looked up by digest: nothing in memory can be sent back as a key, and the time a lookup takes says nothing
of a key's letters.
"""

import dataclasses
import fnmatch
import hashlib
import re
from collections.abc import Iterable

from proxy.config.settings import Client


@dataclasses.dataclass(frozen=True, slots=True)
class Tenant:
    """A client of the proxy. `settings` is None for the one client of a proxy without authentication."""

    name: str
    allow_direct: bool
    settings: Client | None
    models: re.Pattern[str] | None = dataclasses.field(repr=False)

    def may_use(self, alias: str) -> bool:
        """Whether it may use the model `alias`; None for `models` stands for all of them."""
        return self.models is None or self.models.match(alias) is not None


ANONYMOUS = Tenant("anonymous", allow_direct=False, settings=None, models=None)
"""Everybody, where the operator has switched authentication off."""


class Tenants:
    """All tenants by the digest of each of their keys."""

    def __init__(self, clients: Iterable[Client], pepper: bytes, *, open_to_all: bool = False) -> None:
        self._pepper = pepper
        self._open = open_to_all
        self._by_digest: dict[bytes, Tenant] = {}
        self._by_name = {ANONYMOUS.name: ANONYMOUS} if open_to_all else {}
        for client in clients:
            tenant = _tenant(client)
            for key in client.keys:
                self._by_digest[self._digest(key.get_secret_value().encode())] = tenant
                self._by_name[tenant.name] = tenant

    def of(self, key: bytes | None) -> Tenant | None:
        """The tenant that `key` belongs to; None for an unknown key or none."""
        if self._open:
            return ANONYMOUS
        return self._by_digest.get(self._digest(key)) if key else None

    def named(self, name: str) -> Tenant | None:
        """The tenant of that name; None where there is none."""
        return self._by_name.get(name)

    def names(self) -> list[str]:
        """All of them, in the order of the configuration."""
        return list(self._by_name)

    def _digest(self, key: bytes) -> bytes:
        return hashlib.blake2b(key, key=self._pepper, digest_size=32).digest()


def _tenant(client: Client) -> Tenant:
    everything = "*" in client.models
    pattern = "|".join(fnmatch.translate(glob) for glob in client.models)
    return Tenant(
        name=client.name,
        allow_direct=client.allow_direct,
        settings=client,
        models=None if everything else re.compile(pattern),
    )
