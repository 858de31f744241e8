import random
from collections.abc import Callable, Mapping

import pytest
from fakes.chats import request
from fakes.configs import config
from fakes.scenes import Scene
from fakes.virtual_loop import run

from proxy.circuit import Kind
from proxy.errors import Fault, FaultKind, Refusal, Said
from proxy.exchange import Exchange
from proxy.health import Effect, Report
from proxy.routing import Plan
from proxy.verdicts import SOON, Verdicts, unsayable
from proxy.wire import envelope

FAILED = [Report(Effect.FAILURE)] * 5
OUT = [Report(Effect.BACK_OFF, 30.0)]
UNSAYABLE = Refusal(400, "That cannot be said.", code="unsupported_value", param="n")
Change = Callable[[Exchange], None]


def status(number: int, retry_after: float | None = None) -> Fault:
    """A provider's answer with an error."""
    return Fault(
        FaultKind.STATUS, f"it answered with status {number}", status=number, retry_after=retry_after
    )


def verdict(change: Change, reports: Mapping[int, list[Report]] | None = None) -> Refusal:
    """What the caller is told after `change`, while two targets stand as `reports` have left them."""

    async def scenario() -> Refusal:
        scene = Scene(config({"a": 1, "b": 1}), {})
        for number, taught in (reports or {}).items():
            scene.teach(*taught, number=number)
        exchange = scene.exchange(b"")
        exchange.envelope = envelope.read(request(), 16)
        exchange.model = scene.fleet.snapshot.models["small"]
        exchange.plan = Plan(exchange.model, random.Random(1))
        while (turn := scene.fleet.pick(exchange.plan)) is not None:
            scene.fleet.end(turn)
        change(exchange)
        return Verdicts(scene.fleet).of(exchange)

    return run(scenario())


def unsaid(*numbers: int) -> Change:
    """What is asked cannot be said to these targets."""

    def change(exchange: Exchange) -> None:
        assert exchange.plan is not None
        for number in numbers:
            exchange.unsayable[exchange.plan.targets[number].id] = UNSAYABLE
        assert unsayable(exchange) is (len(numbers) == 2)

    return change


def failed(*faults: Fault) -> Change:
    """These attempts were made."""
    return lambda exchange: exchange.faults.extend(faults)


def test_what_can_be_said_to_nobody_is_the_callers_fault() -> None:
    """The refusal names the field, and coming back would not help."""
    assert verdict(unsaid(0, 1)) is UNSAYABLE


def test_where_somebody_could_have_been_told_nobody_was_there() -> None:
    """Who comes back when that one is well again may be served."""
    refusal = verdict(unsaid(0), {1: FAILED})
    assert (refusal.status, refusal.code) == (503, "no_target_available")
    assert unsayable(opened_without_plan()) is False


def opened_without_plan() -> Exchange:
    """An exchange that was refused before there was a plan."""

    async def scenario() -> Exchange:
        return Scene(config({"a": 1}), {}).exchange(b"")

    return run(scenario())


def test_a_fault_says_more_than_what_could_not_be_said() -> None:
    """One target was asked and failed: that is what the caller is told."""

    def change(exchange: Exchange) -> None:
        unsaid(0)(exchange)
        failed(status(500))(exchange)

    assert verdict(change).code == "upstream_error"


@pytest.mark.parametrize(
    ("reports", "after"),
    [({}, SOON), ({0: FAILED}, SOON), ({0: OUT, 1: OUT}, 30.0)],
    ids=["well", "one well", "none"],
)
def test_when_to_come_back_after_a_limit(reports: Mapping[int, list[Report]], after: float) -> None:
    """Soon where another may be asked who was not, else when the first is back."""
    refusal = verdict(failed(status(429, 60.0)), reports)
    assert (refusal.status, refusal.retry_after) == (429, after)


def test_what_broke_after_content_is_the_last_word() -> None:
    """However it is meant, and whatever came before it: the client had a part of this answer."""

    def change(exchange: Exchange) -> None:
        exchange.committed = True
        said = Said("No money.", code="insufficient_quota")
        failed(
            status(503), Fault(FaultKind.ERROR_IN_REPLY, "the stream held an error", status=200, said=said)
        )(exchange)

    assert verdict(change).code == "upstream_credentials"


def test_no_time_is_named_where_none_is_known() -> None:
    """A failure of one target while others are well says nothing of when to come back."""
    assert verdict(failed(status(500))).retry_after is None
    assert verdict(failed(status(400)), {0: FAILED, 1: FAILED}).retry_after is None


def test_keys_without_room_are_told_with_their_own_waits() -> None:
    """The shortest counts; without any the request is too large for all of them."""

    def full(*waits: float) -> Change:
        return lambda exchange: exchange.held.full.extend(waits)

    refusal = verdict(full(9.0, 4.0))
    assert (refusal.status, refusal.retry_after) == (429, 4.0)
    never = verdict(full(float("inf")))
    assert (never.status, never.retry_after, never.should_retry) == (429, None, False)


REFUSED_KEY = [Report(Effect.QUARANTINE_KEY)]
REFUSED_MODEL = [Report(Effect.QUARANTINE_MODEL)]


def nothing(_exchange: Exchange) -> None:
    """No attempt is made."""


def test_refused_credentials_are_told_as_when_they_were() -> None:
    """Who asks again hears the same reason, and when they will be tried."""
    first = verdict(failed(status(401)), {0: REFUSED_KEY, 1: REFUSED_MODEL})
    again = verdict(nothing, {0: REFUSED_KEY, 1: REFUSED_MODEL})
    for told in (first, again):
        assert (told.status, told.code, told.retry_after) == (502, "upstream_credentials", 300.0)
        assert told.should_retry is False
    assert again.message == first.message


def test_who_cannot_be_told_has_no_part_in_it() -> None:
    """It could not serve, whatever is known of it."""
    refusal = verdict(unsaid(0), {1: REFUSED_KEY})
    assert (refusal.status, refusal.code) == (502, "upstream_credentials")


@pytest.mark.parametrize("other", [FAILED, OUT])
def test_one_that_is_out_for_another_reason_is_worth_waiting_for(other: list[Report]) -> None:
    """It may serve when it is back."""
    refusal = verdict(nothing, {0: REFUSED_KEY, 1: other})
    assert refusal.code in ("no_target_available", "rate_limit_exceeded")
    assert refusal.should_retry is None


def test_who_is_drained_has_no_time() -> None:
    """Where that is everybody, the caller is told no time at all; one that backs off has its own."""

    async def scenario(*drained: int) -> Refusal:
        scene = Scene(config({"a": 1, "b": 1}), {})
        exchange = scene.exchange(b"")
        exchange.envelope = envelope.read(request(), 16)
        exchange.model = scene.fleet.snapshot.models["small"]
        scene.teach(*OUT, number=0)
        for number in drained:
            scene.fleet.order(exchange.model.targets[number], Kind.DRAIN)
        exchange.plan = Plan(exchange.model, random.Random(1))
        assert scene.fleet.pick(exchange.plan) is None
        return Verdicts(scene.fleet).of(exchange)

    nobody = run(scenario(0, 1))
    assert (nobody.status, nobody.code, nobody.retry_after) == (503, "no_target_available", None)
    one = run(scenario(1))
    assert (one.status, one.retry_after) == (429, 30.0)


def test_who_is_drained_has_no_part_in_refused_credentials() -> None:
    """The reason is that of those who would be asked."""

    async def scenario() -> Refusal:
        scene = Scene(config({"a": 1, "b": 1}), {})
        exchange = scene.exchange(b"")
        exchange.envelope = envelope.read(request(), 16)
        exchange.model = scene.fleet.snapshot.models["small"]
        scene.teach(*REFUSED_KEY, number=0)
        scene.fleet.order(exchange.model.targets[1], Kind.DRAIN)
        exchange.plan = Plan(exchange.model, random.Random(1))
        assert scene.fleet.pick(exchange.plan) is None
        return Verdicts(scene.fleet).of(exchange)

    assert run(scenario()).code == "upstream_credentials"
