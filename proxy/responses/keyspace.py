"""The names under which responses are stored in Redis. Pure.

    apex:resp:{<owner>}                 ZSET  the client's index: id -> ms when it expires
    apex:resp:{<owner>}:sizes           HASH  id -> bytes it counts for; `@` -> their sum
    apex:resp:{<owner>}:streams         ZSET  id -> ms when its events expire
    apex:resp:{<owner>}:doc:<id>        the sealed document; empty where it was deleted
    apex:resp:{<owner>}:run:<id>        HASH  the state of a background response
    apex:resp:{<owner>}:events:<id>     STREAM  its sealed events
    apex:resp:{all}, apex:resp:{all}:bytes    the same index and sum over all clients, for an embedded store

The owner is a digest of the client's name in the configuration: a client keeps what is its own when its keys
change, and no name, however odd, is part of a key. As a hash tag it puts all that a client has on one
server, where one script can see it.
"""

import hashlib
import re

ALL = "apex:resp:{all}"
CHANNEL = "apex:responses"
"""Where it is told that a background response has ended (`ended <name>`) or is to end (`cancel <name>`)."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


def is_id(text: str) -> bool:
    """Whether it can be the id of a stored response at all."""
    return _ID.fullmatch(text) is not None


def index(owner: str) -> str:
    """The index of the client named `owner`; its other keys begin with it."""
    digest = hashlib.sha256(b"apex" + owner.encode()).hexdigest()[:32]
    return f"apex:resp:{{{digest}}}"


def name(owner: str, id_: str) -> str:
    """One response of one client, for messages and for what is sealed."""
    return f"{index(owner)}:{id_}"


def document(owner: str, id_: str) -> str:
    """The key of its document."""
    return f"{index(owner)}:doc:{id_}"


def event(of: str, sequence: int) -> bytes:
    """One event of the response called `of`, for what is sealed."""
    return f"{of}#{sequence}".encode()
