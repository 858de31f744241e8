"""What a call can fail of: the store is away, or the script is wrong.

    Unavailable    nobody's request is at fault; the caller decides without the store
    ScriptError    a bug in a script or a command; never swallowed

The rule for error replies: what the state of the servers causes is `Unavailable`, told by the first word
of the reply (https://valkey.io/topics/protocol/#simple-errors); everything else is a bug.
"""

import enum

from ratelimit import store


class Reason(enum.StrEnum):
    """Why the store cannot be had. A closed set: metric labels and log words."""

    STARTING = "starting"
    OPEN = "open"
    CLOSED = "closed"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    PROTOCOL = "protocol"
    AUTH = "auth"
    READONLY = "readonly"
    MOVED = "moved"
    LOADING = "loading"
    CLUSTERDOWN = "clusterdown"
    OOM = "oom"
    MASTERDOWN = "masterdown"
    TRYAGAIN = "tryagain"
    BUSY = "busy"
    REFUSED = "refused"


class Unavailable(store.Unavailable):
    """The store did not do what was asked, or nobody knows whether it did.

    After what is `lost` the call may have taken effect; where nobody says, the reason tells. `detail` names
    a cause for logs.
    """

    def __init__(self, reason: Reason, detail: str = "", *, lost: bool | None = None) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason.value)
        self.reason = reason
        self.detail = detail
        self.lost = reason in _LOST if lost is None else lost


class ScriptError(store.StoreError):
    """The server ran what it was given, and that was wrong. The text is the server's, without arguments."""


_BY_WORD = {
    "READONLY": Reason.READONLY,
    "MOVED": Reason.MOVED,
    "ASK": Reason.MOVED,
    "LOADING": Reason.LOADING,
    "CLUSTERDOWN": Reason.CLUSTERDOWN,
    "OOM": Reason.OOM,
    "MASTERDOWN": Reason.MASTERDOWN,
    "TRYAGAIN": Reason.TRYAGAIN,
    "BUSY": Reason.BUSY,
    "NOREPLICAS": Reason.REFUSED,
    "MISCONF": Reason.REFUSED,
    "NOAUTH": Reason.AUTH,
    "WRONGPASS": Reason.AUTH,
    "NOPERM": Reason.AUTH,
}

_LOST = frozenset({Reason.TIMEOUT, Reason.CONNECTION, Reason.PROTOCOL})

NEUTRAL = frozenset({Reason.TRYAGAIN, Reason.STARTING, Reason.CLOSED})
"""Reasons that say nothing about the health of the server that gave them."""

ELSEWHERE = frozenset({Reason.READONLY, Reason.MOVED, Reason.MASTERDOWN})
"""Reasons that say that another server should have been asked."""


def failure_of(reply: str) -> Unavailable | ScriptError:
    """What the text of an error reply means."""
    word = reply.partition(" ")[0]
    if reason := _BY_WORD.get(word):
        return Unavailable(reason, word)
    if "max number of clients" in reply:
        return Unavailable(Reason.REFUSED, "max number of clients reached")
    return ScriptError(reply.partition(", with args")[0][:300])
