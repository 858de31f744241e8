"""What was decided of one request: all that its course depended on, small enough to keep by the ten thousand.

Nothing here was said by a client or a provider but the name of a model, and the code of an error that the
caller was told; no secret is in it. With the configuration that it was decided under it can be told in full
(`explanation`), and with another it can be decided anew (`replaying`).
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from proxy import retry
from proxy.errors import Fault
from proxy.exchange import Exchange
from proxy.health import Effect
from proxy.moment import Came, Pick
from proxy.wire.model import MOST_TOKENS, Endpoint

NAME: Final = 256 + 1 + 64 + 1
"""Letters kept of the name of a model, which may be of any length: one more than the longest that leads
anywhere, `model#provider`."""


class Try(msgspec.Struct, frozen=True, array_like=True):
    """How one attempt ended, and what that means for those after it.

    `outcome` is `ok`, the fault's reason, or `cancelled`; `status` the provider's, 0 where it gave none.
    `demotes` its origin, `gives_back` the target for later, `ends` the request. `took` is in seconds.
    """

    outcome: str
    status: int = 0
    took: float = 0.0
    demotes: bool = False
    gives_back: bool = False
    ends: bool = False


class Limited(msgspec.Struct, frozen=True, array_like=True):
    """What refused it: the dimension that ran out, the limit's name, and the seconds to wait, if any help."""

    dimension: str
    limit: str
    wait: float | None


class Decision(msgspec.Struct, frozen=True, array_like=True):
    """See the module. Sizes are in bytes, durations in seconds, `at` is Unix time.

    `asked` is the model as the request named it, `weight` what its size counts as, `expected` the tokens that
    were to be reserved for it. `picks` are in order, and so are `tries`, one for each pick that came to one.
    `supposed`: it was never sent, and `tries` are what was supposed. `targets` are those that `picks` speak
    of, by place: their ids. They and `config`, the hash of the configuration, are filled in when it is read.
    """

    endpoint: Endpoint
    asked: str
    client: str
    at: float
    stream: bool
    size: int
    weight: int
    choices: int
    max_output: int | None
    expected: int
    picks: Sequence[Pick]
    tries: Sequence[Try]
    limited: Limited | None
    outcome: str
    status: int
    error: str
    queued: float
    duration: float
    ttft: float | None
    supposed: bool = False
    request_id: str = ""
    config: str = ""
    targets: Sequence[str] = ()


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Decision).decode


def whole(made: Decision) -> bool:
    """Whether all that it speaks of is there: the target of each pick, the try of each that came to one."""
    known = range(len(made.targets))
    places = [place for pick in made.picks for place in (pick.sights or {})]
    places += [pick.target for pick in made.picks if pick.target >= 0]
    tried = sum(pick.came is Came.TRIED for pick in made.picks)
    return all(place in known for place in places) and tried == len(made.tries)


def decided(
    exchange: Exchange, at: float, redact: Callable[[str], str] = str, *, supposed: bool = False
) -> Decision:
    """The decision on a request that is over, at `at`. `redact` takes secrets out of what names no model."""
    record, seen, plan = exchange.record, exchange.envelope, exchange.plan
    picks = plan.picks if plan is not None else ()
    if record.losses and picks:
        picks[-1].lost = record.losses
    return Decision(
        endpoint=exchange.endpoint,
        asked=_asked(exchange, redact),
        client=exchange.tenant.name if exchange.tenant is not None else "",
        at=at,
        stream=record.stream,
        size=record.bytes_in,
        weight=seen.weight if seen is not None else 0,
        choices=min(seen.choices, MOST_TOKENS) if seen is not None else 1,
        max_output=min(seen.max_output, MOST_TOKENS) if seen is not None and seen.max_output else None,
        expected=min(exchange.held.expected, MOST_TOKENS),
        picks=picks,
        tries=_tries(exchange) if picks else (),  # who counts tokens is asked without a pick
        limited=_limited(exchange),
        outcome=record.outcome,
        status=record.status,
        error=record.error,
        queued=record.queued,
        duration=record.duration,
        ttft=record.ttft,
        supposed=supposed,
    )


def _asked(exchange: Exchange, redact: Callable[[str], str]) -> str:
    """The model as it was named; what leads nowhere may be anything, and has been somebody's key."""
    named = exchange.envelope.model if exchange.envelope is not None else ""
    known = exchange.model is not None or named in exchange.snapshot.models
    return (named if known else redact(named))[:NAME]


def _tries(exchange: Exchange) -> list[Try]:
    """Each attempt but the last has failed, and has its fault."""
    found = _failures(exchange) if exchange.faults else []
    tried = exchange.attempts[len(found) :]
    return found + [Try(one.outcome, 0, one.duration, ends=True) for one in tried]


def _failures(exchange: Exchange) -> list[Try]:
    tried, faults = exchange.attempts, exchange.faults
    broke = exchange.committed and len(faults) == len(tried)
    cut = len(faults) if broke else 0  # the fault after which nobody else could be tried
    return [
        _failed(fault, one.duration, cut=number == cut)
        for number, (fault, one) in enumerate(zip(faults, tried, strict=False), 1)
    ]


def _failed(fault: Fault, took: float, *, cut: bool) -> Try:
    verdict = retry.judge(fault)
    back_off = verdict.effect is Effect.BACK_OFF
    return Try(fault.reason, fault.status, took, verdict.whole_origin, back_off, cut or not verdict.move_on)


def _limited(exchange: Exchange) -> Limited | None:
    refused = exchange.held.refused
    if refused is None or refused.refused_by is None:
        return None
    wait = None if refused.never_fits else refused.retry_after
    return Limited(refused.refused_by.value, refused.limit, wait)
