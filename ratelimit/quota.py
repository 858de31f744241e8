"""The nouns of rate limiting: what is allowed, what is wanted, and what was decided.

All are frozen values without behaviour that costs time or I/O. A limit that is not set is None and is
never checked; numbers are whole, so that the arithmetic on them is exact.
"""

import dataclasses
import enum

import msgspec

LARGEST = 1_000_000_000
"""The largest figure a quota may hold: a thousand million a minute."""


class Window(enum.StrEnum):
    """How a per-minute figure is read.

    `SMOOTH` drains evenly: at most burst + rate x t in any time t. `STRICT` never lets more than the
    figure into any 60 s, at the price of waiting up to one second longer than the minute.
    """

    SMOOTH = "smooth"
    STRICT = "strict"


class OnOutage(enum.StrEnum):
    """What holds while the shared store is away: this replica's share, nothing at all, or no limit."""

    SHARE = "share"
    DENY = "deny"
    ALLOW = "allow"


class Dimension(enum.StrEnum):
    """What ran out. `OUTAGE`: nothing did, but the store is away and the limit says deny."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    CONCURRENCY = "concurrency"
    OUTAGE = "outage"


@dataclasses.dataclass(frozen=True, slots=True)
class Quota:
    """What one holder may use. None means no limit.

    `burst` and `burst_tokens` are the most that may be used at one moment by a holder that was idle; they
    default to the per-minute figure and have no meaning in a strict window. Raises `ValueError` where a
    figure is below 1 or above `LARGEST`.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    burst: int | None = None
    burst_tokens: int | None = None
    window: Window = Window.SMOOTH
    on_outage: OnOutage = OnOutage.SHARE

    def __post_init__(self) -> None:
        for field in ("requests_per_minute", "tokens_per_minute", "concurrency", "burst", "burst_tokens"):
            figure = getattr(self, field)
            if figure is not None and not 1 <= figure <= LARGEST:
                raise ValueError(f"{field} must be between 1 and {LARGEST}, not {figure}")

    @property
    def unlimited(self) -> bool:
        """Whether nothing is limited, so that nothing has to be asked."""
        return (
            self.requests_per_minute is None and self.tokens_per_minute is None and self.concurrency is None
        )


class Demand(msgspec.Struct, frozen=True):
    """What one request wants to use: itself, and the tokens it is expected to take. Neither is below 0."""

    requests: int = 1
    tokens: int = 0


NOTHING = Demand(requests=0)
"""What a released reservation has used."""


class Room(msgspec.Struct, frozen=True):
    """What is left of one dimension.

    `limit` is the per-minute figure (or the most at once, for concurrency), `remaining` what a request may
    still take now, `reset` the seconds until all of it is free again if nothing more is used (for a strict
    window at most; 0 for concurrency, where nobody knows). `drains` are the seconds in which it drains
    when all of it is used up, 0 where it does not drain evenly: in a strict window, and for concurrency.
    """

    limit: int
    remaining: int
    reset: float
    drains: float = 0.0


class Decision(msgspec.Struct, frozen=True):
    """The answer to a demand.

    Where it is refused: `refused_by` is the dimension with the longest wait and `limit` the name of the
    limit it belongs to. `retry_after` is the exact number of seconds after which the demand fits if nothing
    else is used; for concurrency, where nobody knows, a fixed guess. `never_fits`: the demand is larger than
    the limit ever allows, and no waiting helps. The rooms are those of the tightest limit of each dimension,
    None where nothing limits it.
    """

    admitted: bool
    refused_by: Dimension | None = None
    limit: str = ""
    retry_after: float = 0.0
    never_fits: bool = False
    requests: Room | None = None
    tokens: Room | None = None
    concurrency: Room | None = None


UNLIMITED = Decision(admitted=True)
"""The decision where nothing limits the demand."""
