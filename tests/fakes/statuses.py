"""Moments of a cluster as the status page is given them."""

import msgspec

from proxy.replicas import About
from proxy.status import (
    Failover,
    Holder,
    ModelSeen,
    Shape,
    Status,
    Store,
    TargetSeen,
    Totals,
    Traffic,
    differ,
    totals,
)

READY = TargetSeen("a/small@0123456789", Shape.READY, here=2, first_content=0.25, share=0.75)
EJECTED = TargetSeen("b/small@abcdef0123", Shape.EJECTED, lasts=42.0, trouble="status_503, 3 s ago")
MODEL = ModelSeen("small", "weighted", (READY, EJECTED))
LIMIT = Holder("client", "acme", "requests/min", 600, 0.5)
FAILOVER = Failover(
    "req_0", 1_800_000_000.0, "small", "acme", "b status_503 > a ok", 200, "completed", 1.5, rescued=True
)
STATUS = Status(
    at=1_800_000_000.0,
    replica="one",
    version="1.2.3",
    config_hash="abc",
    ready=True,
    store=Store.SHARED,
    traffic=Traffic(3, 0, 12.5, 0.01, (1.0, 2.0, 12.5)),
    models=(ModelSeen("small", "weighted", (READY,)),),
    members=(About("one", "1.2.3", "abc", 5, 3), About("two", "1.2.3", "abc", 6)),
    live=2,
    expected=2,
    reckoned=2,
    totals=Totals(1, 1, 1),
    limits=(LIMIT,),
    failovers=(FAILOVER,),
)
"""All is well."""


def status(**changes: object) -> Status:
    """The same with changes, and with what follows from them."""
    made = msgspec.structs.replace(STATUS, **changes)
    told = {
        "totals": totals(made.models, made.limits, sum(limit.reached for limit in made.limits)),
        "mixed": differ(made.members),
    }
    return msgspec.structs.replace(made, **{**told, **changes})
