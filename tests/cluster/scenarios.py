"""All scenarios by name, each at two lengths: the short one for every change, the full one for the record."""

from collections.abc import Callable, Mapping

import chains
import cost
import crash
import fairness
import foretelling
import limits
import nobody
import orders
import outage
import outages
import overload
import prober
import reasons
import recovery
import restart
import steps
import windows
from figures import Figures
from providers import Shared


def _health(shared: Shared) -> Mapping[str, Callable[[bool], Figures]]:
    """What is promised of providers in trouble, as far as replicas hear of each other."""
    return {
        "health.windows": lambda full: (
            windows.windows(shared) if full else windows.windows(shared, seconds=8.0)
        ),
        "health.down": lambda full: outage.down(shared, outage.Times() if full else outage.SHORT),
        "health.brownout": lambda full: (
            outage.brownout(shared) if full else outage.brownout(shared, 3.0, 200.0)
        ),
        "health.nobody": lambda full: nobody.all_out(shared) if full else nobody.all_out(shared, 8.0, 60.0),
        "health.alone": lambda full: recovery.alone(shared) if full else recovery.alone(shared, every=8),
    }


ALL: Mapping[str, Callable[[bool], Figures]] = {
    "limits.requests": lambda full: limits.by_requests() if full else limits.by_requests(6.0, 1800, 60),
    "limits.tokens": lambda full: limits.by_tokens() if full else limits.by_tokens(6.0, 180_000, 6_000),
    "limits.concurrency": lambda full: (
        limits.by_concurrency() if full else limits.by_concurrency(5.0, delay=0.25)
    ),
    "limits.strict": lambda full: limits.strict() if full else limits.strict(6.0, 150),
    "limits.drift": lambda full: limits.drift() if full else limits.drift(300),
    "cost.calls": lambda full: cost.calls() if full else cost.calls(200),
    "cost.effort": lambda full: cost.effort(100_000) if full else cost.effort(),
    "crash.kill": lambda full: crash.kill() if full else crash.kill(30, 50.0, 2.0),
    "outages.killed": lambda full: outages.killed() if full else outages.killed(outages.SHORT),
    "outages.failover": lambda full: outages.failover() if full else outages.failover(outages.SHORT),
    "outages.hole": lambda full: outages.hole() if full else outages.hole(outages.SHORT),
    "outages.slow": lambda full: outages.slow() if full else outages.slow(outages.SHORT),
    "outages.moved": lambda full: outages.moved() if full else outages.moved(outages.SHORT),
    "clock.step": lambda full: steps.step() if full else steps.step(6.0),
    **{
        f"{name}{suffix}": scenario
        for shared, suffix in ((Shared.ALL, ""), (Shared.DEAF, ".deaf"), (Shared.AWAY, ".away"))
        for name, scenario in _health(shared).items()
        if shared is not Shared.DEAF or name == "health.windows"
    },
    "health.fairness": lambda full: fairness.fairness() if full else fairness.fairness(10.0, 6.0),
    "health.shorter": lambda _full: windows.shorter(),
    "health.prober": lambda full: prober.killed() if full else prober.killed(3.0),
    "responses.chain": lambda _full: chains.chain(),
    "responses.background": lambda _full: chains.background(),
    "responses.away": lambda full: chains.away() if full else chains.away(5),
    "responses.probes": lambda full: chains.probes() if full else chains.probes(2_000),
    "restart.rolling": lambda full: restart.rolling(restart.Times() if full else restart.SHORT),
    "restart.reload": lambda full: restart.reload(restart.Times() if full else restart.SHORT),
    "ask.decisions": lambda full: reasons.decisions() if full else reasons.decisions(60),
    "ask.foretold": lambda full: foretelling.foretold() if full else foretelling.foretold(34, 12),
    "ask.orders": lambda _full: orders.orders(),
    "overload.five": lambda full: overload.five_times() if full else overload.five_times(5.0, 10),
}

GATE = tuple(
    name
    for name in ALL
    if name
    not in {
        "outages.slow",
        "outages.failover",
        "outages.moved",
        "cost.effort",
        "health.shorter",
        "restart.reload",
    }
    and not name.endswith((".deaf", ".away"))
)
"""What every change is tested with, in at most two minutes. Of the rest, test_link_topologies.py and
test_link_stores.py test what is most likely to break, and `make cluster` runs all."""
