"""What a link did, as plain numbers: whoever owns the link renders them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from proxy.link.failure import Reason


@dataclass(slots=True)
class Counters:
    """Sums since the start.

    `calls` were sent, in `batches`; `refused` were not, for the breaker was open. `latency_s` sums the time
    from a batch's write to its last reply; `on_latency` is told each. `errors` counts calls by what became
    of them, `late` replies that nobody waited for any more, `connects` connections made.
    """

    calls: int = 0
    batches: int = 0
    refused: int = 0
    latency_s: float = 0.0
    connects: int = 0
    reloads: int = 0
    redirects: int = 0
    late: int = 0
    script_errors: int = 0
    errors: Counter[Reason] = field(default_factory=Counter)
    on_latency: Callable[[float], None] | None = None

    def measured(self, seconds: float) -> None:
        """Count a batch that was answered in full."""
        self.latency_s += seconds
        if self.on_latency is not None:
            self.on_latency(seconds)
