"""Tests of `proxy.survey`: what is seen of a replica and of its cluster."""

import asyncio
import dataclasses
import random
from collections.abc import Callable, Sequence

import pytest
from fakes.chats import reply, request
from fakes.configs import MODEL, config, targets_of
from fakes.exchanges import fleet_of
from fakes.providers import Answer
from fakes.scenes import Scene
from fakes.virtual_loop import run
from prometheus_client import CollectorRegistry

from metrics.instruments import Instruments
from metrics.record import Attempt, Record
from proxy import survey
from proxy.allowances import Allowances
from proxy.circuit import Kind as Order
from proxy.clock import ManualClock
from proxy.config.settings import Config
from proxy.fleet import Fleet, snapshot
from proxy.health import Effect, Report
from proxy.ledger import Ledger
from proxy.link import Link, parse
from proxy.overload import Guard
from proxy.prices import PriceList
from proxy.replicas import About
from proxy.routing import Plan
from proxy.status import Shape, Status, Store
from proxy.survey import StatusParts, Survey
from proxy.tasks import Tasks
from proxy.tenants import Tenants
from proxy.vitals import Organs
from proxy.waiting import WaitingRoom
from ratelimit.limiter import Limiter
from ratelimit.memory_store import MemoryStore
from ratelimit.quota import Decision, Dimension, Room
from ratelimit.scope import Kind

NAME = "0123456789ab"
CONFIG = config({"a": 1, "b": 1}, strategy="weighted", entries={"a": {"weight": 3}})
FIRST, SECOND = targets_of(CONFIG)


@dataclasses.dataclass
class Seen:
    """A replica alone, in which nothing has happened. To be made in a running loop."""

    parts: StatusParts
    clock: ManualClock

    @classmethod
    def of(cls, made: Config = CONFIG, fleet: Fleet | None = None, ledger: Ledger | None = None) -> "Seen":
        """Of a configuration."""
        clock, store, fleet = ManualClock(), MemoryStore(ManualClock()), fleet or fleet_of(made)
        organs = Organs(
            clock=clock,
            fleet=fleet,
            waiting=WaitingRoom(fleet, made.queue),
            limiter=Limiter(store, store, clock, lambda: 1, "one"),
            allowances=Allowances(),
            guard=Guard(made.overload),
            prices=PriceList(),
            live=lambda: 3,
            ready=lambda: True,
            dropped=lambda: 0,
            reloads={},
            links={},
        )

        async def members() -> Sequence[About]:
            return About("zz", "1", "x", 5), About(NAME, "1", "x", 6, 2), About("aa", "1", "x", 5)

        instruments = Instruments(CollectorRegistry(), "1.2.3")
        kept = ledger or Ledger(NAME, clock, random.Random(3))
        return cls(StatusParts(organs, instruments, kept, members), clock)

    @property
    def organs(self) -> Organs:
        """What it is made of."""
        return self.parts.organs

    def count(self, outcome: str, times: int) -> None:
        """So many requests have ended so."""
        self.parts.instruments.requests.add(("chat", MODEL, outcome), times)


def look(prepare: Callable[[Seen], None] = lambda _seen: None, made: Config = CONFIG) -> Status:
    """What one look sees of a replica to which something has happened."""

    async def main() -> Status:
        seen = Seen.of(made)
        prepare(seen)
        return await Survey(seen.parts).take()

    return run(main())


def fail(fleet: Fleet, effect: Effect, hint: float | None = None, times: int = 1) -> None:
    """So many attempts on the first target that end so."""
    for _ in range(times):
        turn = fleet.take(FIRST)
        fleet.report(turn, Report(effect, hint))
        fleet.end(turn)


def test_a_replica_in_which_nothing_has_happened() -> None:
    """This one is the first of the members; what nobody has counted yet is not told."""
    seen = look()
    assert (seen.replica, seen.version, seen.ready, seen.live, seen.expected, seen.reckoned) == (
        NAME,
        "1.2.3",
        True,
        3,
        None,
        1,
    )
    assert seen.store is Store.NONE
    assert [one.id for one in seen.members] == [NAME, "aa", "zz"]
    assert (seen.traffic.rate, seen.traffic.errors, seen.traffic.course) == (None, None, ())
    (model,) = seen.models
    assert (model.alias, model.strategy, model.takers) == (MODEL, "weighted", 2)
    assert [target.share for target in model.targets] == [0.75, 0.25]
    assert (seen.limits, seen.failovers, seen.more_targets) == ((), (), 0)


def test_how_many_replicas_there_should_be() -> None:
    """As it was said; the most there may be are not expected."""
    most = look(made=config({"a": 1}, redis={"min_replicas": 12}))
    assert (most.expected, most.reckoned) == (None, 12)
    assert look(made=config({"a": 1}, redis={"expected_replicas": 4})).expected == 4


def test_replicas_that_differ_are_seen_though_they_do_not_fit() -> None:
    """And go before the others."""

    async def crowd() -> Sequence[About]:
        alike = [About(f"{number:03}", "1", "x", 5) for number in range(2 * survey.MEMBERS)]
        return *alike, About(NAME, "1", "x", 5), About("zz", "2", "x", 5)

    async def main() -> None:
        seen = await Survey(Seen.of().parts._replace(members=crowd)).take()
        assert ([one.id for one in seen.members[:3]], seen.mixed) == ([NAME, "zz", "000"], True)
        assert (len(seen.members), seen.more_members) == (survey.MEMBERS, survey.MEMBERS + 2)

    run(main())
    assert not look().mixed


@pytest.mark.parametrize(
    ("happens", "shape", "lasts"),
    [
        (lambda fleet: fail(fleet, Effect.FAILURE, times=5), Shape.EJECTED, True),
        (lambda fleet: fail(fleet, Effect.QUARANTINE_KEY), Shape.REFUSED, True),
        (lambda fleet: fail(fleet, Effect.BACK_OFF, 7.0), Shape.BACKING_OFF, True),
        (lambda fleet: fleet.order(FIRST, Order.DRAIN), Shape.DRAINED, False),
        (lambda _fleet: None, Shape.READY, False),
    ],
)
def test_how_a_target_stands(happens: Callable[[Fleet], None], shape: Shape, lasts: bool) -> None:
    """In one word, and for how long. The share of who takes nothing is the others'."""
    seen = look(lambda replica: happens(replica.organs.fleet))
    first, second = seen.models[0].targets
    assert (first.shape, first.lasts is not None) == (shape, lasts)
    assert (first.share, second.share) == ((0.75, 0.25) if shape is Shape.READY else (0.0, 1.0))


def test_of_several_circuits_the_one_that_stays_open_longest_is_told() -> None:
    """Its cause with its time, as requests that find the target closed are told."""

    async def main() -> None:
        clock = ManualClock()
        fleet = Fleet(snapshot(CONFIG, Tenants(CONFIG.clients, b"pepper"), 7), clock, random.Random(1))
        watch = Survey(Seen.of(fleet=fleet).parts)

        async def told() -> tuple[Shape, bool, float]:
            target, standing = (await watch.take()).models[0].targets[0], fleet.standing(FIRST)
            lasts = (standing.until - fleet.now()) / 1000
            assert target.lasts == pytest.approx(lasts)
            return target.shape, standing.refused, lasts

        fail(fleet, Effect.QUARANTINE_KEY)
        fail(fleet, Effect.FAILURE, times=5)
        shape, refused, lasts = await told()
        assert (shape, refused) == (Shape.REFUSED, True)
        clock.advance(lasts - 1)
        for _ in range(5):
            turn = fleet.take(FIRST)
            fleet.report(turn, Report(Effect.FAILURE, way=True))
            fleet.end(turn)
        shape, refused, lasts = await told()
        assert (shape, refused) == (Shape.EJECTED, False)
        assert lasts > 1

    run(main())


def test_the_way_back_of_a_target() -> None:
    """Half open, and a slow start after its probe."""

    async def main() -> None:
        clock = ManualClock()
        tenants = Tenants(CONFIG.clients, b"pepper")
        fleet = Fleet(snapshot(CONFIG, tenants, 7), clock, random.Random(1))
        seen = Seen.of(fleet=fleet)
        watch = Survey(seen.parts)
        fail(fleet, Effect.FAILURE, times=5)
        clock.advance(10)
        assert (await watch.take()).models[0].targets[0].shape is Shape.HALF_OPEN
        turn = fleet.pick(Plan(fleet.snapshot.models[MODEL], random.Random(1)))
        assert turn is not None
        fleet.report(turn, Report(Effect.SUCCESS))
        assert (await watch.take()).models[0].targets[0].shape is Shape.SLOW_START

    run(main())


def test_where_priorities_decide_only_the_first_have_a_share() -> None:
    """And where weights do not decide nobody has."""
    ranked = config({"a": 1, "b": 1}, strategy="weighted", entries={"b": {"priority": 2}})
    assert [(one.priority, one.share) for one in look(made=ranked).models[0].targets] == [(1, 1.0), (2, 0.0)]
    ordered = look(made=config({"a": 1, "b": 1}))
    assert [one.share for one in ordered.models[0].targets] == [None, None]


def test_what_went_wrong_last_is_told() -> None:
    """With how long ago it was."""

    def trouble(seen: Seen) -> None:
        fleet = seen.organs.fleet
        for name, ago in ((FIRST.id, 90), (SECOND.id, 3)):
            fleet.blunders.note(name, "status_503", fleet.now() - ago * 1000)

    told = [target.trouble for target in look(trouble).models[0].targets]
    assert told == ["status_503, 2 min ago", "status_503, 3 s ago"]


def test_a_target_with_as_many_requests_as_it_may_have_is_busy() -> None:
    """Nothing is the matter with it."""
    limited = config(
        {"a": {"base_url": "http://a.test/v1", "api_keys": [{"key": "a1", "limits": {"concurrency": 1}}]}}
    )

    def crowd(seen: Seen) -> None:
        fleet = seen.organs.fleet
        (target,) = targets_of(limited)
        fleet.admitted(fleet.take(target))
        fleet.end(fleet.take(target))
        fleet.crowded(target)

    (target,) = look(crowd, limited).models[0].targets
    assert (target.shape, target.takes, target.here) == (Shape.BUSY, True, 1)


def test_models_in_trouble_are_shown_first_where_not_all_fit() -> None:
    """Those that do not fit at all are left out."""
    accounts = {
        name: {"base_url": f"http://{name}.test/v1", "api_keys": [f"{name}{key}" for key in range(count)]}
        for name, count in (("a", survey.TARGETS), ("b", 1))
    }
    models = {name: {"providers": [{"provider": name}]} for name in accounts}
    crowded = Config.model_validate({"providers": accounts, "models": models})

    def drain(seen: Seen) -> None:
        fleet = seen.organs.fleet
        fleet.order(fleet.snapshot.models["b"].targets[0], Order.DRAIN)

    told = [(model.alias, len(model.targets), model.count) for model in look(drain, crowded).models]
    assert told == [("b", 1, 1), ("a", survey.TARGETS - 1, survey.TARGETS)]
    assert [model.alias for model in look(made=crowded).models] == ["a"]


def test_how_many_targets_do_not_fit_is_told() -> None:
    """Of one model as well."""
    many = config({"a": survey.TARGETS + 5, "b": 1})
    seen = look(made=many)
    assert (sum(len(model.targets) for model in seen.models), seen.more_targets) == (survey.TARGETS, 6)


def drained(count: int) -> Callable[[Seen], None]:
    """So many of the last targets of the model take nothing."""

    def drain(seen: Seen) -> None:
        fleet = seen.organs.fleet
        for target in fleet.snapshot.models[MODEL].targets[-count:]:
            fleet.order(target, Order.DRAIN)

    return drain


@pytest.mark.parametrize("out", [80, 120, 199])
def test_what_does_not_fit_counts(out: int) -> None:
    """Neither is all well because what is shown is, nor the other way round; those in trouble are shown."""
    seen = look(drained(out), config({"a": 200}))
    (model,) = seen.models
    assert (seen.totals.targets, seen.totals.takers, seen.totals.out) == (
        200,
        200 - out,
        {Shape.DRAINED: out},
    )
    assert (model.count, model.takers, seen.totals.dark, seen.more_targets) == (200, 200 - out, 0, 80)
    assert sum(not target.takes for target in model.targets) == min(out, survey.TARGETS)


def test_many_models_of_one_target_are_all_counted() -> None:
    """Though not all are shown."""
    accounts = {f"p{number}": {"base_url": "http://a.test/v1", "api_keys": ["k"]} for number in range(300)}
    models = {name: {"providers": [{"provider": name}]} for name in accounts}
    seen = look(made=Config.model_validate({"providers": accounts, "models": models}))
    assert (seen.totals.models, seen.totals.targets, seen.totals.takers) == (300, 300, 300)
    assert (len(seen.models), seen.more_models, seen.more_targets) == (120, 180, 180)


def test_a_crowd_in_trouble_hides_no_trouble_of_another_model() -> None:
    """What takes no requests is shown of every model before what does."""
    accounts = {
        name: {"base_url": f"http://{name}.test/v1", "api_keys": [f"{name}{key}" for key in range(count)]}
        for name, count in (("a", 2 * survey.TARGETS), ("b", 2))
    }
    models = {name: {"providers": [{"provider": name}]} for name in accounts}
    crowded = Config.model_validate({"providers": accounts, "models": models})

    def drain(seen: Seen) -> None:
        for model in seen.organs.fleet.snapshot.models.values():
            seen.organs.fleet.order(model.targets[-1], Order.DRAIN)

    told = {model.alias: [target.takes for target in model.targets] for model in look(drain, crowded).models}
    assert told["a"][:2] == [False, True]
    assert told["b"] == [False]


def test_limits_that_do_not_fit_are_counted() -> None:
    """As well as those that are reached; they go first."""
    clients = [
        {"name": f"c{number:03}", "key": f"sk-{number:020}", "limits": {"requests_per_minute": 60}}
        for number in range(200)
    ]
    crowded = Config.model_validate({**CONFIG.model_dump(mode="json"), "clients": clients})

    def refuse(seen: Seen) -> None:
        told = Decision(False, Dimension.REQUESTS, retry_after=5.0, requests=Room(60, 0, 60.0, 60.0))
        for number in range(100, 200):
            seen.organs.allowances.note(Kind.CLIENT, f"c{number:03}", told, seen.clock.monotonic())

    seen = look(refuse, crowded)
    assert (len(seen.limits), seen.more_limits, seen.totals.reached) == (survey.LIMITS, 160, 100)
    assert all(one.reached for one in seen.limits)
    assert seen.totals.reached_names == ("client c100", "client c101", "client c102")


def test_others_have_their_turn_while_much_is_looked_at() -> None:
    """Nothing waits for all of it."""

    async def main() -> None:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        busy = asyncio.ensure_future(other())
        await Survey(Seen.of(config({"a": 20 * survey.PIECE})).parts).take()
        busy.cancel()
        assert turns >= 20

    run(main())


def test_two_looks_in_a_row_make_no_rate() -> None:
    """The second of them counts for nothing."""

    async def main() -> None:
        seen = Seen.of()
        watch = Survey(seen.parts)
        await watch.take()
        seen.count("completed", 10)
        seen.clock.advance(0.02)
        assert (await watch.take()).traffic.rate is None
        seen.clock.advance(0.98)
        assert (await watch.take()).traffic.rate == pytest.approx(10.0)
        seen.count("completed", 10)
        seen.clock.advance(0.02)
        told = (await watch.take()).traffic
        assert told.rate == pytest.approx(10.0)
        assert len(told.course) == 1

    run(main())


def test_rates_are_those_of_the_last_seconds() -> None:
    """Between looks; after a pause without any they begin anew."""

    async def main() -> None:
        seen = Seen.of()
        watch = Survey(seen.parts)
        await watch.take()
        for _ in range(survey.SPAN + 10):
            seen.clock.advance(1)
            seen.count("completed", 3)
            seen.count("failed", 1)
            told = (await watch.take()).traffic
        assert told.rate == pytest.approx(4.0)
        assert told.errors == pytest.approx(0.25)
        assert len(told.course) == survey.SPAN
        seen.clock.advance(survey.GAP + 1)
        assert (await watch.take()).traffic.rate is None
        seen.clock.advance(1)
        quiet = (await watch.take()).traffic
        assert (quiet.rate, quiet.errors) == (0.0, 0.0)

    run(main())


LIMITED = config(
    {"a": {"base_url": "http://a.test/v1", "api_keys": ["a1"], "limits": {"concurrency": 9}}},
    client={"limits": {"requests_per_minute": 60, "tokens_per_minute": 1000}},
    model={"limits": {"requests_per_minute": 600}},
)


def test_limits_that_nobody_has_met_are_all_there() -> None:
    """Those of clients, models and keys."""
    told = [(one.kind, one.dimension, one.limit, one.left) for one in look(made=LIMITED).limits]
    assert told == [
        ("client", "requests/min", 60, 1.0),
        ("client", "tokens/min", 1000, 1.0),
        ("key", "at one time", 9, 1.0),
        ("model", "requests/min", 600, 1.0),
    ]


def test_what_is_left_is_what_was_said_last() -> None:
    """The least first."""

    def half(seen: Seen) -> None:
        now = seen.clock.monotonic()
        told = Decision(True, requests=Room(60, 30, 30.0, 60.0), tokens=Room(1000, 100, 54.0, 60.0))
        seen.organs.allowances.note(Kind.CLIENT, "dev", told, now)

    told = [(one.dimension, one.left, one.reached) for one in look(half, LIMITED).limits][:2]
    assert told == [("tokens/min", pytest.approx(0.1), False), ("requests/min", 0.5, False)]


@pytest.mark.parametrize(("ago", "reached"), [(0, True), (4, True), (6, False)])
def test_a_limit_is_reached_until_the_request_would_fit(ago: float, reached: bool) -> None:
    """By the wait that was told."""

    def refuse(seen: Seen) -> None:
        told = Decision(False, Dimension.REQUESTS, retry_after=5.0, requests=Room(60, 0, 60.0, 60.0))
        seen.organs.allowances.note(Kind.CLIENT, "dev", told, seen.clock.monotonic() - ago)

    first = next(one for one in look(refuse, LIMITED).limits if one.dimension == "requests/min")
    assert (first.limit, first.reached, first.refused) == (60, reached, 1)
    assert first.left == pytest.approx(ago / 60)


def test_a_request_that_never_fits_is_a_refusal_and_hides_nothing() -> None:
    """What was used up before is still used up."""

    def refuse(seen: Seen) -> None:
        now, note = seen.clock.monotonic(), seen.organs.allowances.note
        used = Decision(False, Dimension.TOKENS, retry_after=9.0, tokens=Room(1000, 0, 60.0, 60.0))
        note(Kind.CLIENT, "dev", used, now)
        note(Kind.CLIENT, "dev", Decision(False, Dimension.TOKENS, never_fits=True), now)

    first = look(refuse, LIMITED).limits[0]
    assert (first.dimension, first.left, first.reached, first.refused) == ("tokens/min", 0.0, True, 2)


def test_a_store_that_is_away_is_seen() -> None:
    """Where there is one."""

    async def main() -> Status:
        seen, tasks = Seen.of(), Tasks()
        link = Link(parse("redis://127.0.0.1:1"), clock=ManualClock(), tasks=tasks, draw=random.Random(3))
        organs = dataclasses.replace(seen.organs, links={"shared": link})
        return await Survey(seen.parts._replace(organs=organs)).take()

    assert run(main()).store is Store.AWAY


def test_requests_that_needed_more_than_one_try_are_listed() -> None:
    """The newest first, with their way; those that went well are not, nor those that were refused."""

    async def main() -> None:
        answers = {"a": [Answer([], 503), Answer([], 503)], "b": [Answer([reply()]), Answer([], 500)]}
        scene = Scene(config({"a": 1, "b": 1}), answers)
        watch = Survey(Seen.of(fleet=scene.fleet, ledger=scene.ledger).parts)
        for _ in range(2):
            await scene.ask(request())
            watch.note(scene.last)
        lost, rescued = (await watch.take()).failovers
        assert (rescued.rescued, rescued.status, rescued.model, rescued.client) == (True, 200, MODEL, "dev")
        assert rescued.path.endswith(" ok")
        assert " status_503 > " in rescued.path
        assert not lost.rescued
        assert lost.request_id == scene.last.request_id

    run(main())


def test_only_what_is_worth_a_line_is_remembered() -> None:
    """And not for ever; what the ledger has not kept is left out."""

    async def main() -> None:
        watch = Survey(Seen.of().parts)
        tried = [Attempt("a", "a", 0.0), Attempt("b", "b", 0.0)]
        for record in (
            Record("good", "chat", 0.0, status=200, outcome="completed", attempts=tried[:1]),
            Record("refused", "chat", 0.0, status=429, outcome="refused"),
        ):
            watch.note(record)
        assert not watch._troubled
        for record in (
            Record("rescued", "chat", 0.0, status=200, outcome="completed", attempts=tried),
            Record("broken", "chat", 0.0, status=200, outcome="broken", attempts=tried[:1]),
            Record("failed", "chat", 0.0, status=502, outcome="failed"),
        ):
            watch.note(record)
        assert list(watch._troubled) == ["rescued", "broken", "failed"]
        for number in range(100):
            watch.note(Record(f"{number}", "chat", 0.0, status=500))
        assert len(watch._troubled) == survey.FAILOVERS
        assert (await watch.take()).failovers == ()

    run(main())
