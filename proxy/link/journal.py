"""What the log says of the servers of Redis as they come and go."""

import structlog

from proxy.link.breaker import State
from proxy.link.link import Change


def tell(change: Change) -> None:
    """One line: a warning with the reason where a server is away, and good news where it is back."""
    log, state, server = structlog.get_logger("redis"), change.state.value, change.server
    if change.state is State.CLOSED:
        log.info("redis", state=state, server=server)
    else:
        log.warning("redis", state=state, server=server, reason=change.reason.value, detail=change.detail)
