"""What the log says of the servers of Redis as they come and go."""

import structlog

from proxy.link.breaker import State
from proxy.link.link import Change


def tell(change: Change) -> None:
    """One line: a warning with the reason where a server is away, and good news where it is back."""
    log = structlog.get_logger("redis")
    available = change.state is State.CLOSED
    said = {"server": change.server, "available": available, "breaker": change.state.value}
    if available:
        log.info("redis", **said)
    else:
        log.warning("redis", **said, reason=change.reason.value, detail=change.detail)
