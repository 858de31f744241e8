"""What a caller is told when no target has answered; with a time where coming back may help."""

from proxy import retry
from proxy.admission import full
from proxy.errors import Refusal
from proxy.exchange import Exchange
from proxy.fleet import Fleet
from proxy.health import NEVER
from proxy.routing import Plan

LEAST_WAIT = 0.05
"""Seconds until a key that had no room is asked again, at the least."""

SOON = 1.0
"""Seconds after which to come back where nobody knows when: a place gets free, or a probe is answered."""


def unsayable(exchange: Exchange) -> bool:
    """Whether what is asked can be said to none of the model's targets."""
    return exchange.plan is not None and len(exchange.unsayable) == len(exchange.plan.targets)


class Verdicts:
    """Last words, by what the fleet knows at that moment."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def of(self, exchange: Exchange) -> Refusal:
        """What the caller is told when no target has answered; with a time where coming back may help."""
        assert exchange.plan is not None
        if not exchange.faults and unsayable(exchange):
            return next(reversed(exchange.unsayable.values()))
        if not exchange.faults:
            return self._nobody(exchange, exchange.plan)
        if exchange.committed:
            return retry.refuse_late(exchange.faults[-1])
        refusal = retry.refuse(retry.telling(exchange.faults))
        told = refusal.retry_after is not None or refusal.status >= 500
        if told and not exchange.plan.anybody(self._fleet):  # sooner than this nobody would be asked
            refusal.retry_after = self._until(exchange.plan.back_at(self._fleet))
        elif refusal.retry_after is not None:  # somebody may be asked who was not
            refusal.retry_after = min(refusal.retry_after, SOON)
        return refusal

    def _until(self, when: int) -> float | None:
        """Seconds until the cluster's time is `when`, as clients are told; what hangs on others has no time.

        A key without a free place is asked again in a moment: that says nothing of when one is free. Where
        everything is drained only an operator knows.
        """
        if when >= NEVER:
            return None
        wait = (when - self._fleet.now()) / 1000
        return wait if wait > LEAST_WAIT else SOON

    def _nobody(self, exchange: Exchange, plan: Plan) -> Refusal:
        """Nobody could be asked: limits are reached, ours or the providers', or providers are out."""
        wait, limited = self._until(plan.ready_at(self._fleet)), plan.limited(self._fleet)
        if exchange.held.full and (limited or not plan.open):
            return full([wait] if plan.open and wait is not None else exchange.held.full)
        if limited and wait is not None:
            return Refusal(
                429,
                f"The providers of this model are at their limits. Try again in {wait:.1f} s.",
                kind="rate_limit_error",
                code="rate_limit_exceeded",
                retry_after=wait,
            )
        if self._refused(exchange, plan):  # as it was told when they were
            refusal = retry.credentials_refused()
            refusal.retry_after = wait
            return refusal
        return Refusal(
            503,
            "No provider can take this request at the moment.",
            kind="server_error",
            code="no_target_available",
            retry_after=wait,
        )

    def _refused(self, exchange: Exchange, plan: Plan) -> bool:
        """Whether refused credentials keep away all that could serve: who can be told, and is not drained."""
        told = [target for target in plan.targets if target.id not in exchange.unsayable]
        could = [standing for standing in map(self._fleet.standing, told) if not standing.drained]
        return bool(could) and all(standing.refused for standing in could)
