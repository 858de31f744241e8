"""The pure twin of lua/*.lua: the same states, the same answers, for the same time.

A property test drives both with one random life and demands equality, so whoever reads this file has read
the scripts; what differs is only that a state here is a value and not a hash, and that time is an argument:
`now` in microseconds, on any clock (the scripts count from 2025 on the server's).

What holds: a smooth limit admits at most burst + rate x t in any time t, where what is given back within t
for earlier charges counts once more; a strict one never lets more than its figure into any 60 s.

The state of a limit is None until it is first used. Everything here returns a new state.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from ratelimit.gauge import SECOND_US, WINDOW_S, Ask, Change, Header, Level

MARK = "~"
"""A field that starts with this is a replay already charged, not a reservation."""


class Entry(NamedTuple):
    """What a strict log charged in one whole second."""

    second: int
    requests: int
    tokens: int


class Lease(NamedTuple):
    """An open reservation: the second it lapses, and the second it was charged."""

    lapse: int
    charged: int


class State(msgspec.Struct, frozen=True):
    """One limit. The fields are those of the hash in lua/admit.lua."""

    at: int
    due: int
    requests: int = 0
    tokens: int = 0
    held: int = 0
    log: tuple[Entry, ...] = ()
    leases: Mapping[str, Lease] = msgspec.field(default_factory=dict)

    @property
    def header(self) -> Header:
        """The head that callers see."""
        return Header(self.at, self.requests, self.tokens, self.held, self.due)


class Ticket(NamedTuple):
    """Who asks: the reservation's id ("" only asks, taking nothing) and its lease in whole seconds."""

    id: str
    lease: int


class Admitted(NamedTuple):
    """Every limit took the demand."""

    headers: tuple[Header, ...]


class Refused(NamedTuple):
    """Nothing was taken. How full each limit is without the demand."""

    now: int
    levels: tuple[Level, ...]


class Replay(NamedTuple):
    """What a limit has missed.

    `mark` names the charge so that it is made once ("" charges nothing); `requests` and `tokens` are its
    units. `floor` is the fullest the limit was known to be at `seen` (0: now); with `if_older` it holds only
    where the state is older than that, so the server forgot. `held` are reservations still open.
    """

    mark: str = ""
    requests: int = 0
    tokens: int = 0
    seen: int = 0
    floor: tuple[int, int] = (0, 0)
    held: tuple[str, ...] = ()
    if_older: bool = False


States = tuple[State | None, ...]


def admit(
    states: Sequence[State | None], asks: Sequence[Ask], ticket: Ticket, now: int
) -> tuple[States, Admitted | Refused]:
    """Take the demand and a lease from every limit, or nothing from any. Idempotent by the ticket's id."""
    second = now // SECOND_US
    before = [state or State(now, second + ticket.lease) for state in states]
    after = [_charge(state, ask, now) for state, ask in zip(before, asks, strict=True)]
    known = [ticket.id in state.leases for state in before]
    refused = ticket.id == "" or not all(_fits(state, ask) for state, ask in zip(after, asks, strict=True))
    if refused and not any(known):
        levels = (_level(state, ask, now) for state, ask in zip(after, asks, strict=True))
        stepped = (
            _uncharge(new, ask) if old is not None and _ahead(old, ask, now) else old
            for new, ask, old in zip(after, asks, states, strict=True)
        )
        return tuple(stepped), Refused(now, tuple(levels))
    for i, ask in enumerate(asks):
        if known[i]:
            after[i] = _uncharge(after[i], ask)
        charged = before[i].leases[ticket.id].charged if known[i] and not ask.requests_drain else second
        leases = {**before[i].leases, ticket.id: Lease(second + ticket.lease, charged)}
        after[i] = replace(after[i], leases=leases)
    written = (
        new if not refused or knows else old for new, knows, old in zip(after, known, states, strict=True)
    )
    return tuple(written), Admitted(tuple(state.header for state in after))


def settle(state: State | None, rid: str, change: Change, now: int) -> tuple[State | None, bool]:
    """End a reservation and correct its charge; whether it was there. An unknown id changes nothing."""
    if state is None or rid not in state.leases:
        return state, False
    leases = {other: lease for other, lease in state.leases.items() if other != rid}
    more = change.requests > 0 or change.tokens > 0
    if change.requests_drain:
        if more:
            state = _drain(state, change.requests_drain, change.tokens_drain, now)
        requests, tokens = max(state.requests + change.requests, 0), max(state.tokens + change.tokens, 0)
        state = replace(state, requests=requests, tokens=tokens)
    else:
        state = _give_back(state, state.leases[rid].charged, min(change.requests, 0), min(change.tokens, 0))
        if more:
            state = _note(_slide(state, now), max(change.requests, 0), max(change.tokens, 0), now)
    return replace(state, held=state.held - 1, leases=leases), True


def heartbeat(
    state: State | None, ids: Sequence[str], lease: int, now: int
) -> tuple[State | None, tuple[str, ...]]:
    """Renew the leases of `ids`; the ids that are not there."""
    if state is None:
        return None, tuple(ids)
    lapse = now // SECOND_US + lease
    there = {rid: Lease(lapse, state.leases[rid].charged) for rid in ids if rid in state.leases}
    missing = tuple(rid for rid in ids if rid not in state.leases)
    return replace(state, leases={**state.leases, **there}), missing


def tidy(state: State | None, lease: int, now: int) -> tuple[State | None, int]:
    """Free the leases that lapsed, if it is time to look; how many. What they were charged stays charged."""
    second = now // SECOND_US
    latest = second + lease
    if state is None or second < state.due <= latest:
        return state, 0
    leases = {
        rid: one._replace(lapse=min(one.lapse, latest))
        for rid, one in state.leases.items()
        if one.lapse > second
    }
    freed = sum(not rid.startswith(MARK) for rid in state.leases if rid not in leases)
    due = min([latest, *(one.lapse for one in leases.values())])
    return replace(state, held=state.held - freed, due=due, leases=leases), freed


def restore(
    state: State | None, replay: Replay, drains: tuple[int, int], lease: int, now: int
) -> tuple[State, int]:
    """Tell a limit what it has missed; how many leases came back. Idempotent by the replay's mark.

    A lease that is there is renewed, even one that has lapsed: nobody could tell its heartbeats meanwhile.
    """
    second = now // SECOND_US
    floor = (0, 0) if replay.if_older and state and state.at >= replay.seen else replay.floor
    state = state or State(now, second + lease)
    requests, tokens = replay.requests, replay.tokens
    if not replay.mark or replay.mark in state.leases:
        requests = tokens = 0
    fresh = Lease(second + lease, second)
    back = sum(rid not in state.leases for rid in replay.held)
    told = {rid: state.leases.get(rid, fresh)._replace(lapse=fresh.lapse) for rid in replay.held}
    leases = {**state.leases, **told}
    if replay.mark:
        leases[replay.mark] = fresh
    state = replace(state, held=state.held + back, leases=leases)
    passed = max(now - replay.seen, 0) if replay.seen else 0
    if drains[0]:
        state = _drain(state, *drains, now)
        requests += max(state.requests, floor[0] - passed * drains[0])
        tokens += max(state.tokens, floor[1] - passed * drains[1])
        return replace(state, at=now, requests=requests, tokens=tokens), back
    state = _slide(state, now)
    if passed < WINDOW_S * SECOND_US:
        requests += max(floor[0] - state.requests, 0)
        tokens += max(floor[1] - state.tokens, 0)
    return replace(_note(state, requests, tokens, now), at=now), back


def _charge(state: State, ask: Ask, now: int) -> State:
    if ask.requests_drain:
        state = _drain(state, ask.requests_drain, ask.tokens_drain, now)
        requests, tokens = state.requests + ask.requests, state.tokens + ask.tokens
        return replace(state, requests=requests, tokens=tokens, held=state.held + 1)
    state = _note(_slide(_step_back(state, now), now), ask.requests, ask.tokens, now)
    return replace(state, at=now, held=state.held + 1)


def _uncharge(state: State, ask: Ask) -> State:
    """Undo `_charge` for a reservation that was charged before."""
    log = state.log
    if not ask.requests_drain:
        last = log[-1]
        log = (*log[:-1], Entry(last.second, last.requests - ask.requests, last.tokens - ask.tokens))
    requests, tokens = state.requests - ask.requests, state.tokens - ask.tokens
    return replace(state, requests=requests, tokens=tokens, held=state.held - 1, log=log)


def _fits(state: State, ask: Ask) -> bool:
    return state.requests <= ask.requests_cap and state.tokens <= ask.tokens_cap and state.held <= ask.most


def _level(state: State, ask: Ask, now: int) -> Level:
    """How full `state` was before the charge; for a strict log also when enough of it will have left."""
    requests_over, tokens_over = state.requests - ask.requests_cap, state.tokens - ask.tokens_cap
    requests_wait = tokens_wait = 0
    for entry in state.log:
        leaves = (entry.second + WINDOW_S + 1) * SECOND_US - now
        requests_wait = leaves if requests_over > 0 else requests_wait
        tokens_wait = leaves if tokens_over > 0 else tokens_wait
        requests_over, tokens_over = requests_over - entry.requests, tokens_over - entry.tokens
    requests, tokens = state.requests - ask.requests, state.tokens - ask.tokens
    return Level(requests, tokens, state.held - 1, state.due, requests_wait, tokens_wait)


def _drain(state: State, requests_drain: int, tokens_drain: int, now: int) -> State:
    """A clock that stepped back drains nothing, and draining goes on from where it is now."""
    passed = max(now - state.at, 0)
    requests = max(state.requests - passed * requests_drain, 0)
    tokens = max(state.tokens - passed * tokens_drain, 0)
    return replace(state, at=now, requests=requests, tokens=tokens)


def _ahead(state: State, ask: Ask, now: int) -> bool:
    """Whether the clock stepped back behind `state`: it is then written even where nothing was taken."""
    if ask.requests_drain:
        return state.at > now
    return bool(state.log) and state.log[-1].second > now // SECOND_US


def _step_back(state: State, now: int) -> State:
    """A clock that stepped back takes the log with it, so that nothing in it lives longer than a window."""
    ahead = state.log[-1].second - now // SECOND_US if state.log else 0
    if ahead <= 0:
        return state
    moved = tuple(entry._replace(second=entry.second - ahead) for entry in state.log)
    return replace(state, log=moved)


def _slide(state: State, now: int) -> State:
    """Drop what left the window. The second 60 s ago counts whole: then no 60 s ever hold too much."""
    oldest = now // SECOND_US - WINDOW_S
    gone = 0
    while gone < len(state.log) and state.log[gone].second < oldest:
        gone += 1
    requests = state.requests - sum(entry.requests for entry in state.log[:gone])
    tokens = state.tokens - sum(entry.tokens for entry in state.log[:gone])
    return replace(state, requests=requests, tokens=tokens, log=state.log[gone:])


def _note(state: State, requests: int, tokens: int, now: int) -> State:
    """Charge a strict log in the present second, or in its last where the clock is behind that."""
    entry, log = Entry(now // SECOND_US, requests, tokens), state.log
    if log and log[-1].second >= entry.second:
        last = log[-1]
        entry, log = Entry(last.second, last.requests + requests, last.tokens + tokens), log[:-1]
    requests, tokens = state.requests + requests, state.tokens + tokens
    return replace(state, requests=requests, tokens=tokens, log=(*log, entry))


def _give_back(state: State, charged: int, requests: int, tokens: int) -> State:
    """Add `requests` and `tokens`, both 0 or less, to what the second `charged` used, never below nothing."""
    log = list(state.log)
    for i, old in enumerate(log):
        if old.second == charged:
            log[i] = new = Entry(charged, max(old.requests + requests, 0), max(old.tokens + tokens, 0))
            requests, tokens = new.requests - old.requests, new.tokens - old.tokens
            state = replace(state, requests=state.requests + requests, tokens=state.tokens + tokens)
    return replace(state, log=tuple(log))
