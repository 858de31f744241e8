"""The ledger: what the mock has seen and done, counted always and remembered in detail when asked to.

Rule: counting costs a few dictionary steps, so it is always on; an entry a request is optional and bounded.
A credential is known by its id only. An entry keeps the headers as they came, since tests check what a
provider was sent, but neither shows them in its repr nor hands secrets out over HTTP.
"""

import functools
import hashlib
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

ENTRY_LIMIT = 1000
BODY_LIMIT = 256 * 1024

SECRET_HEADERS = frozenset({"authorization", "x-api-key", "api-key", "cookie", "proxy-authorization"})


@functools.lru_cache(maxsize=1024)
def key_id(key: str) -> str:
    """The public name of a credential: the first 10 hex digits of SHA-256("apex" + key), `-` for none.

    It is the proxy's own rule for provider keys, so the figures of both can be laid side by side.
    """
    return hashlib.sha256(b"apex" + key.encode()).hexdigest()[:10] if key else "-"


@dataclass(slots=True)
class Entry:
    """One request and its fate. Times are in seconds of the provider's clock.

    `body` holds at most BODY_LIMIT bytes, `body_bytes` counts them all. `outcome` is `open` until the reply
    is done (a stall never is), and `client_gone` if the peer left before. `done_at` is when the last byte was
    handed to the transport, `gone_at` when the peer left. `bytes_written` counts what the transport took,
    headers included.
    """

    at: float
    method: str
    path: str
    key_id: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    body_bytes: int = 0
    model: str = ""
    streaming: bool = False
    outcome: str = "open"
    bytes_written: int = 0
    done_at: float | None = None
    gone_at: float | None = None

    def told(self) -> dict[str, object]:
        """The entry as JSON-able fields, credentials replaced by their id."""
        told = {name: getattr(self, name) for name in self.__slots__}
        told["headers"] = {
            name: f"*** ({self.key_id})" if name in SECRET_HEADERS else value
            for name, value in self.headers.items()
        }
        told["body"] = self.body.decode(errors="replace")
        return told


@dataclass(slots=True)
class Ledger:
    """Counters since the last reset, and the newest entries."""

    requests: int = 0
    connections: int = 0
    bytes_written: int = 0
    streams_aborted: int = 0
    aborted: int = 0
    keys: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    paths: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    entries: deque[Entry] = field(default_factory=lambda: deque(maxlen=ENTRY_LIMIT))

    def count(self, path: str, key: str, model: str) -> None:
        """One more request."""
        self.requests += 1
        self.paths[path] += 1
        self.keys[key] += 1
        self.models[model] += 1

    def told(self) -> dict[str, object]:
        """The counters as JSON-able fields."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "entries"}
