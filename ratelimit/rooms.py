"""What was left of each limit when the shared store last decided: where this replica's share of it begins.

A memory is used once: what a share grants from it is missing in it. Other replicas may have used what is
remembered, so a share may begin with no more than `free` says, whatever was left.
"""

from ratelimit.gauge import SECOND_US
from ratelimit.quota import Decision, Demand
from ratelimit.scope import Limit, Limits

MOST = 10_000
"""Of how many limits it is kept."""


class Rooms:
    """What was left, by the key of the limit. Times are the caller's, in seconds."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[Decision, float]] = {}

    def __len__(self) -> int:
        """Of how many limits it is kept."""
        return len(self._left)

    def note(self, limits: Limits, decision: Decision, now: float) -> None:
        """Remember a decision of the shared store: of each limit at least the tightest's room is left."""
        left = decision, now
        for limit in limits:
            self._left.pop(limit.key, None)
            self._left[limit.key] = left
            if len(self._left) > MOST:
                del self._left[next(iter(self._left))]

    def free(self, limit: Limit, sharers: int, demand: Demand, now: float) -> tuple[int, int]:
        """The units of requests and tokens that are free in a share that begins now; then forget.

        What was left then and has drained since, but at most what drains in a second or what `demand` costs
        a share: so all shares together exceed the limit by that at most. Nothing in a strict window, and
        nothing of a limit that was not asked for since its last share.
        """
        found = self._left.pop(limit.key, None)
        held = limit.gauge
        if found is None or held.strict:
            return 0, 0
        left, at = found
        requests = left.requests.remaining if left.requests else 0
        tokens = left.tokens.remaining if left.tokens else 0
        passed = int((now - at) * SECOND_US)
        most_requests = max(held.requests_drain * SECOND_US, held.request * demand.requests * sharers)
        most_tokens = max(held.tokens_drain * SECOND_US, held.token * demand.tokens * sharers)
        return (
            min(held.request * requests + held.requests_drain * passed, most_requests),
            min(held.token * tokens + held.tokens_drain * passed, most_tokens),
        )
