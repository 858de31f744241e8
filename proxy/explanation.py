"""A decision, told: who could have served the request, in which order they were tried, and why not otherwise.

Nothing here is remembered of reasons: a decision is made again from what was noted of it, and says why while
it is. `agrees` is the proof that what is told is what was done.
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

from metrics.record import COMPLETED
from proxy.decision import Decision
from proxy.moment import Came, Pick
from proxy.passages import PREFERRED
from proxy.reasons import BY, CAME, TIMED, WHY, WON
from proxy.replaying import OPEN, replayed, served
from proxy.routing import Reason
from proxy.snapshot import Snapshot
from proxy.targets import Model, Target
from proxy.wire.model import DIALECT_OF, Endpoint
from ratelimit.quota import Decision as Allowed
from ratelimit.quota import Quota
from ratelimit.scope import Limit


class Loss(msgspec.Struct, frozen=True):
    """A field of the request that its translation for a target loses, and how it is treated."""

    field: str
    how: str


class Candidate(msgspec.Struct, frozen=True, omit_defaults=True):
    """A target that serves the model. `order` is when it was tried, from 1; None where it was not.

    `speaks` is the dialect it is asked in where the request has to be translated for it. `why` says in words
    what came of it.
    """

    target: str
    label: str
    priority: int
    weight: float
    order: int | None = None
    speaks: str | None = None
    why: str = ""
    lost: tuple[Loss, ...] = ()


class LeftOut(msgspec.Struct, frozen=True, omit_defaults=True):
    """A target that was left out at one pick. `until`: when time will mend that, in ms of the cluster."""

    target: str
    reason: str
    why: str
    until: int | None = None


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """One pick. `chance` is the part of draws that would have fallen as this one did, None without a draw.

    `outcome` is how the attempt ended: `ok`, or the fault; `took` is in seconds.
    """

    picked: str | None
    why: str
    chance: float | None = None
    left_out: tuple[LeftOut, ...] = ()
    came: str = ""
    outcome: str | None = None
    took: float | None = None


class Touched(msgspec.Struct, frozen=True, omit_defaults=True):
    """One limit that the request takes from. `said` is what it would say now, where it was asked."""

    limit: str
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    window: str | None = None
    said: Allowed | None = None


class Explanation(msgspec.Struct, frozen=True, omit_defaults=True):
    """See the module. `supposed`: it was not sent; each attempt was supposed to fail, to name all candidates.

    `guessed`: nobody said whether it is for Chat or for Messages, and it could be for both. `expected` are
    the tokens that were to be reserved. `summary` is one line for people. `waits` are the seconds after which
    the first target could be tried, where none can be now.
    """

    request_id: str
    replica: str
    at: str
    config: str
    summary: str
    endpoint: str
    model: str
    client: str
    stream: bool
    bytes: int
    supposed: bool
    agrees: bool
    guessed: bool = False
    expected: int = 0
    candidates: tuple[Candidate, ...] = ()
    steps: tuple[Step, ...] = ()
    limits: tuple[Touched, ...] = ()
    refused_by: str | None = None
    retry_after: float | None = None
    waits: float | None = None
    status: int | None = None
    outcome: str | None = None
    error: str | None = None
    queued: float | None = None
    duration: float | None = None
    ttft: float | None = None
    answer: Any = None  # as `msgspec.Raw`, a union with None, it could not be read back


Said = Mapping[str, Allowed | None]
"""What limits said, by the key of the limit."""


def explained(
    made: Decision,
    snapshot: Snapshot,
    replica: str,
    *,
    said: Said = MappingProxyType({}),
    waits: float | None = None,
    answer: bytes = b"",
) -> Explanation:
    """`made`, under the configuration of `snapshot`, by which it was made."""
    left_out: dict[int, list[LeftOut]] = {}
    figures: dict[int, list[tuple[Target, Reason, float]]] = {}
    model = served(made, snapshot)
    strategy = model.strategy if model is not None else "weighted"

    def listen(number: int, target: Target, reason: Reason, figure: float) -> None:
        out = _left_out(target, reason, figure, made.picks[number].at, strategy)
        left_out.setdefault(number, []).append(out)
        figures.setdefault(number, []).append((target, reason, figure))

    again = replayed(made, snapshot, listen)
    targets = {target.id: target for target in model.targets} if model is not None else {}
    steps = tuple(_steps(made, targets, left_out, figures))
    refused = made.supposed and not made.tries
    waiting = waits if refused else None
    return msgspec.structs.replace(
        outlined(made, replica),
        summary=_summary(made, targets, waiting),
        agrees=[pick.target for pick in again.picks] == [pick.target for pick in made.picks],
        candidates=tuple(_candidates(made, targets, steps)),
        steps=steps,
        limits=tuple(_limits(made, snapshot, model, said)) if model is not None else (),
        waits=waiting,
        answer=msgspec.Raw(answer) if answer and refused else None,
    )


def outlined(made: Decision, replica: str) -> Explanation:
    """What can be told of `made` without the configuration that it was made under."""
    ended, known = not made.supposed, not made.supposed or not made.tries
    return Explanation(
        request_id=made.request_id,
        replica=replica,
        at=dt.datetime.fromtimestamp(made.at, dt.UTC).isoformat(timespec="milliseconds"),
        config=made.config,
        summary=f"{made.outcome} ({made.status} {made.error}".rstrip() + ")",
        endpoint=made.endpoint.value,
        model=made.asked,
        client=made.client,
        stream=made.stream,
        bytes=made.size,
        supposed=made.supposed,
        agrees=False,
        expected=made.expected,
        refused_by=f"{made.limited.dimension} of {made.limited.limit}" if made.limited else None,
        retry_after=made.limited.wait if made.limited else None,
        status=made.status if known else None,
        outcome=made.outcome if ended else None,
        error=(made.error or None) if known else None,
        queued=made.queued or None,
        duration=made.duration if ended else None,
        ttft=made.ttft,
    )


def _steps(
    made: Decision,
    targets: Mapping[str, Target],
    left_out: Mapping[int, Sequence[LeftOut]],
    figures: Mapping[int, Sequence[tuple[Target, Reason, float]]],
) -> Iterator[Step]:
    tries = iter(made.tries)
    for number, pick in enumerate(made.picks):
        name = made.targets[pick.target] if pick.target >= 0 else None
        tried = next(tries, None) if pick.came is Came.TRIED else None
        chance = _chance(targets.get(name or ""), figures.get(number, ()))
        yield Step(
            picked=name,
            why=_why_picked(pick, figures.get(number, ()), chance),
            chance=chance,
            left_out=tuple(left_out.get(number, ())),
            came=pick.came.value,
            outcome=tried.outcome if tried is not None and not made.supposed else None,
            took=tried.took if tried is not None and not made.supposed else None,
        )


def _chance(picked: Target | None, figures: Sequence[tuple[Target, Reason, float]]) -> float | None:
    """How likely the draw that fell on `picked` was, None where nothing was drawn."""
    others = sum(weight for _, reason, weight in figures if reason is Reason.DRAW)
    return round(picked.weight / (picked.weight + others), 4) if picked is not None and others else None


def _why_picked(pick: Pick, figures: Sequence[tuple[Target, Reason, float]], chance: float | None) -> str:
    if pick.target < 0:
        return "none could be tried at that moment"
    if pick.again:
        return "none was left: the last one once more, for the fault may have been a passing one"
    reasons = {reason for _, reason, _ in figures}
    if Reason.PROBE in reasons:
        return "it was its turn to be probed"
    if chance is not None:
        return f"drawn by weight, with a chance of {chance:.1%}"
    for reason, words in WON.items():
        if reason in reasons:
            return words
    return "the only one left"


def _left_out(target: Target, reason: Reason, figure: float, at: int, strategy: str) -> LeftOut:
    timed = reason in TIMED and figure > at
    words = (BY[strategy] if reason is Reason.STRATEGY else WHY[reason]).format(
        wait=f"{(figure - at) / 1000:.1f} s" if timed else "", figure=f"{figure:.3g}", share=f"{figure:.0%}"
    )
    return LeftOut(target.id, reason.value, words, int(figure) if timed else None)


def _candidates(made: Decision, targets: Mapping[str, Target], steps: Sequence[Step]) -> Iterator[Candidate]:
    """All of them: those that were tried in their order, then the others in that of the file."""
    order = {step.picked: number for number, step in reversed([*enumerate(_tried(steps), 1)])}
    lost = {made.targets[pick.target]: pick.lost for pick in made.picks if pick.target >= 0 and pick.lost}
    for name in sorted(targets, key=lambda name: order.get(name, len(steps) + 1)):
        target = targets[name]
        yield Candidate(
            target=name,
            label=target.label,
            priority=target.priority,
            weight=target.weight,
            order=order.get(name),
            speaks=_speaks(made.endpoint, target),
            why=_fate(name, steps, supposed=made.supposed),
            lost=tuple(Loss(*one) for one in lost.get(name, ())),
        )


def _tried(steps: Sequence[Step]) -> list[Step]:
    return [step for step in steps if step.came == Came.TRIED]


def _fate(name: str, steps: Sequence[Step], *, supposed: bool) -> str:
    """What came of a target, in words: the last that was said of it."""
    mine = [step for step in steps if step.picked == name]
    tried = _tried(mine)
    first = next(iter(_tried(steps)), None)
    if tried and supposed:
        return "would be tried" if tried[0] is first else "would be tried if those before it fail"
    if tried:
        return f"tried: {tried[-1].outcome}"
    if mine:
        return CAME[Came(mine[-1].came)]
    said = [out for step in steps for out in step.left_out if out.target == name]
    if said and said[-1].reason not in _PASSING:
        return said[-1].why
    if first is None:
        return "not reached: the request came to no try"
    return "not reached: as many were tried as one request may try" if supposed else "not needed"


_PASSING: Final = frozenset({Reason.PRIORITY, Reason.STRATEGY, Reason.DRAW, Reason.PROBE, Reason.ORIGIN})
"""Why somebody else was first, which does not say why it was never its turn."""


def _speaks(endpoint: Endpoint, target: Target) -> str | None:
    """The dialect that a request is translated to, None where it passes as it came."""
    own = DIALECT_OF[endpoint]
    if own in target.dialects:
        return None
    return next((spoken.value for spoken in PREFERRED[own] if spoken in target.dialects), None)


def _limits(made: Decision, snapshot: Snapshot, model: Model, said: Said) -> Iterator[Touched]:
    """The client's, the model's, and those of the keys that may be asked for."""
    scopes = snapshot.scopes
    keys = dict.fromkeys(target.key_id for target in model.targets)
    found = [scopes.of_client(made.client, model.alias), scopes.of_model(model.alias)]
    found += map(scopes.of_key, keys)
    for limits in found:
        for limit in limits:
            yield touched(limit, said.get(limit.key))


def touched(limit: Limit, said: Allowed | None = None) -> Touched:
    """A limit, and what it says where it was asked."""
    quota: Quota = limit.quota
    return Touched(
        limit.name,
        quota.requests_per_minute,
        quota.tokens_per_minute,
        quota.concurrency,
        quota.window.value,
        said,
    )


def path(made: Decision) -> str:
    """The way a request took, as `a status_503 > b ok`, and `?` for what nobody knows.

    Where its targets are not known any more it is the end alone.
    """
    tries = iter(made.tries)
    parts = []
    for pick in made.picks if made.targets else ():
        if pick.came is Came.TRIED:
            ended = next(tries, None)
            outcome = "" if ended is None or made.supposed else f" {ended.outcome}"
            parts.append(made.targets[pick.target] + outcome)
    if made.outcome == OPEN:
        last = made.picks[-1] if made.picks else Pick()
        asked = last.target >= 0 and last.came is Came.NOTHING
        parts.append(f"{made.targets[last.target]} ?" if asked else "?")
    elif not parts or made.outcome != COMPLETED:
        parts.append(f"{made.status} {made.error}".rstrip() if made.status else made.outcome)
    return " > ".join(parts)


def _summary(made: Decision, targets: Mapping[str, Target], waits: float | None) -> str:
    tried = [
        targets[made.targets[pick.target]].label + (" once more" if pick.again else "")
        for pick in made.picks
        if pick.came is Came.TRIED and made.targets[pick.target] in targets
    ]
    if made.supposed:
        if not tried and waits is not None:
            return f"would wait for a target, {waits:.1f} s or longer"
        if not tried:
            return f"would be refused: {made.status} {made.error}".rstrip()
        rest = f"; if that fails, {', then '.join(tried[1:])}" if tried[1:] else ""
        return f"would go to {tried[0]}{rest}"
    return f"{made.outcome} ({made.status}): {path(made)}"
