"""The arithmetic of limits as tables of a life, and the bounds it promises for any life."""

import itertools
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimit import bucket
from ratelimit.bucket import Admitted, Replay, State, Ticket
from ratelimit.gauge import UNIT, Gauge, granted, judged
from ratelimit.quota import NOTHING, Decision, Demand, Dimension, Quota, Window
from ratelimit.scope import Limit

S = 1_000_000


class Row(NamedTuple):
    """One moment of a life: what is asked for at `now` seconds, and what is answered."""

    now: float
    requests: int
    tokens: int
    admitted: bool
    remaining: int
    reset: float
    retry: float


class Bucket:
    """One limit, asked like a store."""

    def __init__(self, quota: Quota) -> None:
        self.limit = Limit("t", "k", "client acme", quota)
        self.state: State | None = None
        self.serial = itertools.count()

    def ask(self, now: float, demand: Demand, rid: str | None = None) -> Decision:
        """Admit or refuse `demand` at `now` seconds."""
        ask = self.limit.gauge.ask(demand)
        ticket = Ticket(f"r{next(self.serial)}" if rid is None else rid, 30)
        (self.state,), answer = bucket.admit([self.state], [ask], ticket, round(now * S))
        if isinstance(answer, Admitted):
            return granted([self.limit], [self.limit.gauge], answer.headers)
        return judged([self.limit], [self.limit.gauge], [ask], answer.levels)

    def settle(self, now: float, rid: str, reserved: Demand, actual: Demand) -> bool:
        """End a reservation."""
        change = self.limit.gauge.change(reserved, actual)
        self.state, there = bucket.settle(self.state, rid, change, round(now * S))
        return there

    def live(self, life: list[Row]) -> None:
        """Go through `life`, row by row."""
        for row in life:
            decision = self.ask(row.now, Demand(row.requests, row.tokens))
            room = decision.tokens or decision.requests
            assert room is not None
            answer = decision.admitted, room.remaining, round(room.reset, 3), round(decision.retry_after, 3)
            assert answer == row[3:], row


def test_a_smooth_life() -> None:
    """6 requests a minute with a burst of 3: one drains every 10 s."""
    Bucket(Quota(requests_per_minute=6, burst=3)).live(
        [
            # now  requests tokens admitted remaining reset retry
            Row(0, 1, 0, True, 2, 10, 0),
            Row(0, 1, 0, True, 1, 20, 0),
            Row(0, 1, 0, True, 0, 30, 0),
            Row(0, 1, 0, False, 0, 30, 10),  # a refusal costs nothing: the reset stays
            Row(4, 1, 0, False, 0, 26, 6),
            Row(4, 0, 0, True, 0, 26, 0),  # nothing is always admitted: a peek
            Row(9.999999, 1, 0, False, 0, 20, 0),  # a microsecond too early (its wait rounds to 0 here)
            Row(10, 1, 0, True, 0, 30, 0),
            Row(25, 2, 0, False, 1, 15, 5),
            Row(25, 1, 0, True, 0, 25, 0),
            Row(50, 3, 0, True, 0, 30, 0),
            Row(10_000, 3, 0, True, 0, 30, 0),  # idling saves up no more than the burst
            Row(9_000, 1, 0, False, 0, 30, 10),  # the clock stepped back: nothing drained meanwhile ...
            Row(9_010, 1, 0, True, 0, 30, 0),  # ... and nothing is locked longer than it was
        ]
    )


def test_a_strict_life() -> None:
    """3 requests in any 60 s: a request counts until its whole second is more than 60 s old."""
    Bucket(Quota(requests_per_minute=3, window=Window.STRICT)).live(
        [
            # now  requests tokens admitted remaining reset retry
            Row(0.5, 1, 0, True, 2, 61, 0),
            Row(30.9, 1, 0, True, 1, 61, 0),
            Row(30.9, 1, 0, True, 0, 61, 0),
            Row(59, 1, 0, False, 0, 61, 2),  # the first leaves at 61.0, not at 60.5
            Row(60.999, 1, 0, False, 0, 61, 0.001),
            Row(61, 1, 0, True, 0, 61, 0),
            Row(61, 2, 0, False, 0, 61, 30),  # both of 30.9 have to leave
            Row(91, 2, 0, True, 0, 61, 0),
            Row(80, 1, 0, False, 0, 61, 31),  # the clock stepped back 11 s and the log with it: 61 is 50 now
            Row(111, 1, 0, True, 0, 61, 0),
        ]
    )


def test_a_life_of_tokens_with_debt() -> None:
    """60 tokens a minute: estimates are corrected, and what was used beyond them is waited for."""
    tokens = Bucket(Quota(tokens_per_minute=60))
    assert tokens.ask(0, Demand(1, 50), "a").tokens is not None
    tokens.live([Row(0, 1, 20, False, 10, 50, 10)])
    assert tokens.settle(0, "a", Demand(1, 50), Demand(1, 20))  # 30 come back
    tokens.live([Row(0, 1, 20, True, 20, 40, 0)])
    tokens.ask(0, Demand(1, 10), "b")
    assert tokens.settle(10, "b", Demand(1, 10), Demand(1, 100))  # 90 more than it said
    tokens.live(
        [
            Row(10, 1, 0, False, 0, 130, 70),  # not even an empty request passes: 70 beyond the capacity
            Row(80, 1, 0, True, 0, 60, 0),
            Row(80, 1, 1, False, 0, 60, 1),
        ]
    )


def test_a_settled_reservation_settles_once() -> None:
    """A repeated settlement gives nothing back twice, and an unknown one nothing at all."""
    one = Bucket(Quota(tokens_per_minute=100))
    one.ask(0, Demand(1, 60), "a")
    one.ask(0, Demand(1, 30), "b")
    assert one.settle(0, "a", Demand(1, 60), NOTHING)
    after = one.state
    assert not one.settle(0, "a", Demand(1, 60), NOTHING)
    assert not one.settle(0, "z", Demand(1, 60), NOTHING)
    assert one.state == after
    assert bucket.settle(None, "a", one.limit.gauge.change(Demand(), NOTHING), 0) == (None, False)


def test_the_same_id_is_charged_once() -> None:
    """A retried call is admitted even where the bucket has no room left for it."""
    for window in Window:
        one = Bucket(Quota(requests_per_minute=1, concurrency=1, window=window))
        assert one.ask(0, Demand(), "a").admitted
        again = one.ask(1, Demand(), "a")
        assert again.admitted
        assert again.requests is not None
        assert again.requests.remaining == 0
        assert one.state is not None
        assert one.state.held == 1


def test_nothing_is_taken_of_one_limit_where_another_refuses() -> None:
    """All or nothing over the limits of a scope."""
    wide, narrow = Gauge.of(Quota(requests_per_minute=60)), Gauge.of(Quota(concurrency=1))
    asks = [wide.ask(Demand()), narrow.ask(Demand())]
    states, _ = bucket.admit([None, None], asks, Ticket("a", 30), 0)
    after, answer = bucket.admit(states, asks, Ticket("b", 30), 5)
    assert after == states
    assert not isinstance(answer, Admitted)


def test_a_crash_frees_the_place_but_not_the_charge() -> None:
    """Within the lease: nobody is left to say what was used."""
    one = Bucket(Quota(tokens_per_minute=100, concurrency=1))
    one.ask(0.7, Demand(1, 60), "a")
    assert one.ask(29, Demand(), "b").refused_by is Dimension.CONCURRENCY
    one.state, freed = bucket.tidy(one.state, 30, 29 * S)
    assert freed == 0
    one.state, freed = bucket.tidy(one.state, 30, 30 * S)
    assert freed == 1
    assert one.ask(30, Demand(1, 100), "b").tokens is not None
    assert one.state is not None
    assert one.state.tokens > 0


def test_a_heartbeat_keeps_a_place() -> None:
    """As long as it comes; what is not there it does not bring back."""
    one = Bucket(Quota(concurrency=1))
    one.ask(0, Demand(), "a")
    one.state, missing = bucket.heartbeat(one.state, ["a", "gone"], 30, 20 * S)
    assert missing == ("gone",)
    one.state, freed = bucket.tidy(one.state, 30, 49 * S)
    assert freed == 0
    one.state, freed = bucket.tidy(one.state, 30, 50 * S)
    assert freed == 1
    assert bucket.heartbeat(None, ["a"], 30, 0) == (None, ("a",))


def test_a_replay_is_charged_once_and_a_floor_only_raises() -> None:
    """So both may be repeated until they are answered."""
    drains = 60, 1 << 20
    replay = Replay("~m", 5 * UNIT, 0, 0, (20 * UNIT, 0), ("a",))
    state, back = bucket.restore(None, replay, drains, 30, 0)
    assert (state.requests, state.held, back) == (25 * UNIT, 1, 1)
    state, back = bucket.restore(state, replay, drains, 30, 0)
    assert (state.requests, state.held, back) == (25 * UNIT, 1, 0)
    # Seen 10 s ago at 40, which has drained to 30 since.
    state, _ = bucket.restore(state, Replay("", 0, 0, S, (40 * UNIT, 0)), drains, 30, 11 * S)
    assert state.requests == 30 * UNIT


def test_a_floor_for_a_server_that_forgot_holds_where_the_state_is_older() -> None:
    """What was given back after it was seen is not taken away; what is missing, or from before, is."""
    drains = 60, 60
    seen = Replay(seen=S, floor=(40 * UNIT, 0), if_older=True)

    def full(state: State | None) -> int:
        return bucket.restore(state, seen, drains, 30, S)[0].requests

    assert full(None) == 40 * UNIT
    assert full(State(S - 1, 30)) == 40 * UNIT
    assert full(State(S, 30)) == 0


def test_a_lease_that_lapsed_while_nobody_could_tell_is_renewed() -> None:
    """Its stream still runs: the next look must not free the place. When it was charged stays."""
    one = Bucket(Quota(concurrency=1))
    one.ask(0, Demand(), "a")
    one.state, back = bucket.restore(one.state, Replay(held=("a",)), (60, 60), 30, 40 * S)
    assert back == 0
    one.state, freed = bucket.tidy(one.state, 30, 41 * S)
    assert freed == 0
    assert one.ask(41, Demand()).refused_by is Dimension.CONCURRENCY
    assert one.state is not None
    assert one.state.leases == {"a": (70, 0)}


class Event(NamedTuple):
    """One request of a random life: after `gap`, for `tokens`, of which `used` are settled after `hold`."""

    gap: int
    tokens: int
    used: int
    hold: int


GAPS = st.integers(0, 3 * S) | st.sampled_from([0, 0, 1, S - 1, S, 20 * S, 60 * S, 61 * S])
LIVES = st.lists(
    st.builds(Event, GAPS, st.integers(0, 40), st.integers(0, 40), GAPS), min_size=1, max_size=60
)
QUOTAS = st.builds(
    Quota,
    requests_per_minute=st.integers(1, 90),
    tokens_per_minute=st.integers(40, 400),
    concurrency=st.integers(1, 5),
    burst=st.none() | st.integers(1, 9),
    burst_tokens=st.none() | st.integers(40, 90),
)


class Ledger(NamedTuple):
    """What a life used: (when admitted, reserved, used) and (when given back, how many), in us and tokens."""

    admitted: list[tuple[int, int, int]]
    back: list[tuple[int, int]]
    most_held: int


def lived(quota: Quota, life: list[Event]) -> Ledger:
    """Run `life` against one limit. Nobody uses more than was reserved."""
    one, now = Bucket(quota), 0
    ledger = Ledger([], [], 0)
    ends: list[tuple[int, str, Event]] = []
    for number, event in enumerate(life):
        now += event.gap
        for end in sorted(end for end in ends if end[0] <= now):
            ends.remove(end)
            one.settle(
                end[0] / S, end[1], Demand(1, end[2].tokens), Demand(1, min(end[2].used, end[2].tokens))
            )
            ledger.back.append((end[0], end[2].tokens - min(end[2].used, end[2].tokens)))
        if one.ask(now / S, Demand(1, event.tokens), f"r{number}").admitted:
            ends.append((now + event.hold, f"r{number}", event))
            ledger.admitted.append((now, event.tokens, min(event.used, event.tokens)))
            ledger = ledger._replace(most_held=max(ledger.most_held, len(ends)))
    return ledger


@settings(max_examples=150, deadline=None, database=None)
@given(quota=QUOTAS, life=LIVES)
def test_smooth_never_admits_more_than_burst_and_rate(quota: Quota, life: list[Event]) -> None:
    """In any time t: at most burst + rate x t, tokens given back in t counting for it once more."""
    ledger = lived(quota, life)
    held = Limit("t", "k", "", quota).gauge
    assert quota.concurrency is not None
    assert ledger.most_held <= quota.concurrency
    for first, (begin, _, _) in enumerate(ledger.admitted):
        requests = tokens = 0
        for end, reserved, _ in ledger.admitted[first:]:
            requests, tokens = requests + held.request, tokens + held.token * reserved
            back = sum(given for when, given in ledger.back if begin <= when <= end)
            assert requests <= held.requests_cap + held.requests_drain * (end - begin)
            assert tokens <= held.tokens_cap + held.tokens_drain * (end - begin) + held.token * back


@settings(max_examples=150, deadline=None, database=None)
@given(quota=QUOTAS, life=LIVES)
def test_strict_never_lets_more_than_the_limit_into_a_window(quota: Quota, life: list[Event]) -> None:
    """No 60 s, wherever they begin, hold more requests or used tokens than the limit: overshoot is 0."""
    ledger = lived(Quota(quota.requests_per_minute, quota.tokens_per_minute, window=Window.STRICT), life)
    assert quota.requests_per_minute is not None
    assert quota.tokens_per_minute is not None
    for begin, _, _ in ledger.admitted:
        window = [used for when, _, used in ledger.admitted if begin <= when <= begin + 60 * S]
        assert len(window) <= quota.requests_per_minute
        assert sum(window) <= quota.tokens_per_minute


@pytest.mark.parametrize("window", Window)
def test_a_saturated_limit_is_used_up(window: Window) -> None:
    """Someone who asks whenever told to gets at least 98 % of the limit (a strict window may wait 61 s)."""
    one, now, admitted = Bucket(Quota(requests_per_minute=600, burst=1, window=window)), 0.0, 0
    while now < 610:
        decision = one.ask(now, Demand())
        admitted += decision.admitted
        now += decision.retry_after
    assert 0.98 * 6100 <= admitted <= 6100 + 600
