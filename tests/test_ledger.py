"""Tests of `proxy.ledger`: ids, what is kept under them, and the configurations that go with it."""

import asyncio
import json
import random
import re
from typing import Any

import pytest
from fakes.chats import delta, reply, request, role, stream
from fakes.clients import BodySource, RecordingSink
from fakes.configs import CLIENT_KEY, MODEL, config
from fakes.exchanges import HEAD, fleet_of, opened
from fakes.providers import HANG, Answer
from fakes.scenes import Scene
from fakes.virtual_loop import run
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import decision
from proxy.clock import ManualClock
from proxy.compaction import Compaction
from proxy.config.settings import Config
from proxy.counting import Counting
from proxy.ends import Kept
from proxy.errors import Refusal
from proxy.exchange import Exchange, Head
from proxy.ledger import ERAS, Address, Ledger, address
from proxy.moment import Came
from proxy.reception import Reception
from proxy.redaction import Redactor
from proxy.snapshot import snapshot
from proxy.sockets import SocketParts, Sockets
from proxy.tenants import Tenants
from proxy.wire import envelope
from proxy.wire.dialects import CODECS
from proxy.wire.model import Dialect, Endpoint

NAME = "0123456789ab"
GOOD = Answer([reply()])


def ledger(slots: int = 1000, size: int = 100_000, seed: int = 1) -> Ledger:
    """A small one."""
    return Ledger(NAME, ManualClock(), random.Random(seed), slots, size)


def refused(made: Config, number: str, error: str = "rate_limit_exceeded") -> Exchange:
    """An exchange of the one client that came to nothing."""
    exchange = opened(made, request())
    exchange.tenant = exchange.snapshot.tenants.named("dev")
    exchange.record.request_id = number
    exchange.record.outcome, exchange.record.status, exchange.record.error = "refused", 429, error
    return exchange


def test_an_id_names_the_replica_and_the_place() -> None:
    """And is distinct by the rest of it."""
    number = ledger().number()
    assert re.fullmatch(r"req_[0-9a-f]{24}", number)
    there = address(number)
    assert there == Address(NAME, int(number[16:20], 16), int(number[20:], 16))


@pytest.mark.parametrize("seed", range(20))
def test_slots_are_dealt_out_once_each_and_not_in_order(seed: int) -> None:
    """All of them before any comes again; two in a row say nothing of how many there were between."""
    made = Ledger(NAME, ManualClock(), random.Random(seed), size=1000)
    slots = [int(made.number()[16:20], 16) for _ in range(50_000)]
    assert sorted(slots) == list(range(50_000))
    assert int(made.number()[16:20], 16) == slots[0]


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "req_",
        "req_" + "0" * 23,
        "req_" + "0" * 25,
        "req_" + "0" * 24 + "\n",
        "req_" + "g" * 24,
        "req_" + "z" * 12 + "0" * 12,
        "req_" + "A" * 24,
        "req_" + "0" * 22 + "_1",
        "req_" + "٣" * 24,
        "resp" + "0" * 24,
        "req_-" + "0" * 23,
        "req_" + "0" * 23 + "\ud800",
    ],
)
def test_what_is_no_id_has_no_address(wrong: str) -> None:
    """Nor is anything found under it."""
    assert address(wrong) is None
    assert ledger().find(wrong) is None


def test_a_decision_is_found_by_its_id() -> None:
    """With the configuration it was made under, and the targets it speaks of."""

    async def main() -> None:
        scene = Scene(config({"a": 1, "b": 1}), {"a": [Answer([], 503)], "b": [GOOD]})
        await scene.ask(request())
        found = scene.ledger.find(scene.last.request_id)
        assert found is not None
        assert found.snapshot is not None
        assert found.snapshot.config is scene.fleet.snapshot.config
        made = found.decision
        assert made.request_id == scene.last.request_id
        assert made.config == scene.fleet.snapshot.config_hash
        assert made.targets == tuple(target.id for target in scene.targets)
        assert [pick.target for pick in made.picks] == [0, 1]
        assert [one.outcome for one in made.tries] == ["status_503", "ok"]
        assert (made.asked, made.client, made.endpoint, made.outcome) == (MODEL, "dev", "chat", "completed")
        assert made.duration == scene.last.duration

    run(main())


def test_ids_of_others_lead_nowhere() -> None:
    """Another replica's, another request's that had the slot, a slot that there is not."""
    made = ledger()
    number = made.number()
    made.keep(refused(config({"a": 1}), number))
    assert made.find(number) is not None
    assert made.find(number.replace(NAME, "ba9876543210")) is None
    assert made.find(number[:20] + f"{int(number[20:], 16) ^ 1:08x}") is None
    assert made.find(f"req_{NAME}ffff00000000") is None
    assert made.find(made.number()) is None


def test_the_newest_come_first() -> None:
    """However their slots lie."""
    made, settled = ledger(), config({"a": 1})
    numbers = [made.number() for _ in range(30)]
    for number in numbers:
        made.keep(refused(settled, number))
    assert [kept.decision.request_id for kept in made.latest()] == numbers[::-1]


def test_the_old_give_way() -> None:
    """When slots come round, and when the room does."""
    settled = config({"a": 1})
    for made in (ledger(slots=10), ledger(size=1000)):
        numbers = [made.number() for _ in range(100)]
        for number in numbers:
            made.keep(refused(settled, number))
        there = [number for number in numbers if made.find(number) is not None]
        assert 1 < len(there) <= 10
        assert there == numbers[-len(there) :]
        assert [kept.decision.request_id for kept in made.latest()] == there[::-1]


def test_who_is_nobody_leaves_nothing() -> None:
    """A request without a known key, and one that was answered without a choice."""
    made, settled = ledger(), config({"a": 1})
    unknown = refused(settled, made.number())
    unknown.tenant = None
    answered = refused(settled, made.number())
    answered.record.outcome = "completed"
    for exchange in (unknown, answered):
        made.keep(exchange)
        assert made.find(exchange.request_id) is None
    assert list(made.latest()) == []


def test_configurations_go_with_decisions() -> None:
    """The last few of them; of an older one it is not known any more what its targets were."""
    made = ledger()
    configs = [config({"a": 1}, retry={"attempts": number % 10 + 1}) for number in range(ERAS + 3)]
    numbers = []
    for settled in configs:
        for _ in range(2):
            numbers.append(made.number())
            made.keep(refused(settled, numbers[-1]))
    found = [made.find(number) for number in numbers]
    assert all(found)
    known = [kept.snapshot.config if kept is not None and kept.snapshot else None for kept in found]
    expected = [None] * 3 + configs[3:]
    assert known == [one for one in expected for _ in range(2)]
    old = found[0]
    assert old is not None
    assert (old.decision.request_id, old.decision.config, list(old.decision.targets)) == (numbers[0], "", [])


def test_a_request_that_began_before_a_reload_has_its_own_configuration() -> None:
    """And does not make that of the others another one."""
    made, old, new = ledger(), config({"a": 1}), config({"b": 1})
    begun = [refused(settled, made.number()) for settled in (old, new, old, new, old)]
    first, second = begun[0].snapshot, begun[1].snapshot
    for exchange in begun:
        exchange.snapshot = first if exchange.snapshot.config is old else second
        made.keep(exchange)
    found = [made.find(exchange.request_id) for exchange in begun]
    assert [kept.snapshot for kept in found if kept is not None] == [first, second, first, second, first]


def test_a_configuration_that_is_gone_is_never_taken_for_another() -> None:
    """However many come: a decision may outlive hundreds of them where requests are few."""
    made = ledger()
    number = made.number()
    made.keep(refused(config({"a": 1, "b": 1}), number))
    for _ in range(300):
        made.keep(refused(config({"c": 1}), made.number()))
    kept = made.find(number)
    assert kept is not None
    assert kept.snapshot is None


def test_a_reload_renews_the_configuration_of_the_next() -> None:
    """As the fleet has it: what is known of targets is not a part of it."""

    async def main() -> None:
        scene = Scene(config({"a": 1}), {"a": [GOOD], "b": [GOOD]})
        await scene.ask(request())
        fresh = config({"b": 1})
        scene.fleet.renew(snapshot(fresh, Tenants(fresh.clients, b"pepper"), 1))
        await scene.ask(request())
        kept = list(scene.ledger.latest())
        assert [one.decision.targets[0][:1] for one in kept] == ["b", "a"]

    run(main())


def test_requests_on_their_way_do_not_disturb_each_other() -> None:
    """Many at once, that end in another order than they began: each has its own decision."""

    async def main() -> None:
        delays = [Answer([float(number % 7), reply()]) for number in range(60)]
        scene = Scene(
            config({"a": 3, "b": 2}, strategy="weighted"), {"a": delays, "b": [Answer([], 503), GOOD]}
        )
        exchanges = [scene.exchange(request(user=f"u{number}" * (number + 1))) for number in range(60)]
        await asyncio.gather(*map(scene.pipeline.handle, exchanges))
        for exchange in exchanges:
            kept = scene.ledger.find(exchange.request_id)
            assert kept is not None
            assert exchange.plan is not None
            made = kept.decision
            assert made.size == exchange.record.bytes_in
            assert list(made.picks) == exchange.plan.picks
            assert made.duration == exchange.record.duration

    run(main())


def direct(name: str) -> tuple[Scene, bytes]:
    """A scene whose client may address providers, and a request for one."""
    provider = "p" * 64
    made = config({provider: 1}, client={"allow_direct": True})
    return Scene(made, {provider: [GOOD]}), request(f"{name}#{provider}")


def test_the_longest_name_that_leads_anywhere_is_whole() -> None:
    """A model of 256 letters at a provider of 64; what is longer is cut, and is nobody's name."""

    async def main() -> None:
        scene, body = direct("m" * 256)
        await scene.ask(body)
        kept = next(scene.ledger.latest())
        assert len(kept.decision.asked) == 321
        assert len(kept.decision.targets) == 1
        scene, body = direct("m" * 257)
        await scene.ask(body)
        kept = next(scene.ledger.latest())
        assert (kept.decision.status, kept.decision.targets) == (404, ())
        sink = await scene.ask(request("x" * 1_000_000))
        kept = next(scene.ledger.latest())
        assert (sink.status, len(kept.decision.asked), kept.decision.targets) == (404, 322, ())

    run(main())


def test_a_model_that_is_not_for_a_client_has_no_targets_for_it() -> None:
    """Nor has one that only others may address directly."""

    async def main() -> None:
        made = config({"a": 1}, client={"models": ["other"]})
        scene = Scene(made, {"a": [GOOD]})
        for name in (MODEL, "m#a"):
            await scene.ask(request(name))
            kept = next(scene.ledger.latest())
            assert (kept.decision.error, kept.decision.targets) == ("model_not_found", ())

    run(main())


def test_a_name_may_be_that_of_a_model_and_lead_elsewhere() -> None:
    """One with `#` that a client may not use, and a provider of the same name that it may address."""

    async def main() -> None:
        made = config(
            {"a": 1, "b": 1},
            clients=[{"name": "dev", "keys": [CLIENT_KEY], "models": ["other"], "allow_direct": True}],
            models={"m#a": {"providers": [{"provider": "b", "model": "m"}, {"provider": "a", "model": "x"}]}},
        )
        scene = Scene(made, {"a": [GOOD], "b": [GOOD]})
        await scene.ask(request("m#a"))
        kept = next(scene.ledger.latest())
        assert scene.upstream.order == ["a:a1"]
        assert kept.decision.targets == ("a/*@" + kept.decision.targets[0][-10:],)

    run(main())


def test_a_failed_compaction_keeps_the_decision_of_the_request_within() -> None:
    """Both have one id; what was tried is told, and not that the one around it tried nothing."""

    async def main() -> None:
        scene = Scene(config({"a": 1}), {"a": [Answer([], 503)]})
        reception = Reception(scene.fleet, scene.clock, random.Random(7), Redactor(()), scene.ledger.number)
        compaction = Compaction(reception, scene.pipeline.handle, lambda: None)
        exchange = scene.exchange(
            json.dumps({"model": MODEL, "input": "Hi"}).encode(), endpoint=Endpoint.RESPONSES
        )
        await scene.pipeline.through(exchange, compaction.answer)
        kept = scene.ledger.find(exchange.request_id)
        assert kept is not None
        assert [one.outcome for one in kept.decision.tries] == ["status_503", "status_503"]
        assert kept.decision.outcome == "failed"

    run(main())


def test_a_request_that_only_follows_another_does_not_hide_it() -> None:
    """One that runs in the background has the id of the one that began it, whoever ends first."""
    made, settled = ledger(), config({"a": 1})
    number = made.number()
    outer = refused(settled, number)
    outer.record.outcome = "client_gone"

    async def main() -> None:
        scene = Scene(settled, {"a": [GOOD]})
        inner = scene.exchange(request())
        inner.record.request_id = number
        await scene.pipeline.handle(inner)
        for order in ((outer, inner), (inner, outer), (outer, inner, outer)):
            for exchange in order:
                made.keep(exchange)
            kept = made.find(number)
            assert kept is not None
            assert [pick.came for pick in kept.decision.picks] == [Came.TRIED]

    run(main())


def test_what_is_counted_leaves_nothing() -> None:
    """No choice was made; one that is refused has its decision."""

    async def main() -> None:
        scene = Scene(config({"a": 1}), {"a": [GOOD]})
        counting = Counting(scene.fleet, scene.upstream, scene.estimator, scene.archive, scene.clock)
        for name in (MODEL, "nothing"):
            exchange = scene.exchange(request(name, max_tokens=5), endpoint=Endpoint.MESSAGES)
            await scene.pipeline.through(exchange, counting.answer)
        kept = list(scene.ledger.latest())
        assert [(one.decision.asked, one.decision.error) for one in kept] == [("nothing", "model_not_found")]

    run(main())


def test_each_turn_of_a_socket_has_its_own_decision() -> None:
    """And its own id; the handshake has one that leads to nothing."""

    async def main() -> None:
        scene = Scene(config({"a": 1}), {"a": [Answer([stream("Hello")])]})
        said: list[dict[str, Any]] = []
        turns = [json.dumps({"type": "response.create", "model": MODEL, "input": "Hi"}) for _ in range(3)]
        script: list[dict[str, Any]] = [{"type": "websocket.connect"}]
        script += [{"type": "websocket.receive", "text": text} for text in turns]

        async def receive() -> dict[str, Any]:
            if script:
                return script.pop(0)
            await over.wait()
            return {"type": "websocket.disconnect", "code": 1001}

        async def send(message: Any) -> None:
            said.append(message)
            if sum("response.completed" in str(one.get("text")) for one in said) == len(turns):
                over.set()

        over = asyncio.Event()
        reception = Reception(scene.fleet, scene.clock, random.Random(7), Redactor(()), scene.ledger.number)
        sockets = Sockets(
            SocketParts(
                reception,
                scene.pipeline,
                scene.archive,
                lambda: None,
                scene.records.append,
                scene.clock,
                scene.tasks,
            )
        )
        head = Head(credential=CLIENT_KEY.encode())
        await sockets.serve(head, CODECS[Dialect.RESPONSES], receive, send, welcome=True)
        kept = list(scene.ledger.latest())
        assert len({one.decision.request_id for one in kept}) == 3
        assert {one.decision.outcome for one in kept} == {"completed"}

    run(main())


def test_a_client_that_leaves_is_kept_too() -> None:
    """At its body, while it waits, and in the middle of a stream."""

    async def main() -> None:
        scene = Scene(config({"a": 1}), {"a": [Answer([role() + delta("Hel"), HANG]), Answer([HANG])]})
        await scene.leave(request(stream=True), 1.0)
        await scene.leave(request(), 1.0)
        kept = [one.decision for one in scene.ledger.latest()]
        assert [made.outcome for made in kept] == ["client_gone", "client_gone"]
        assert [[one.outcome for one in made.tries] for made in kept] == [["cancelled"], ["cancelled"]]
        assert all(one.ends for made in kept for one in made.tries)

    run(main())


ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = (
    "messages input n max_tokens max_output_tokens max_completion_tokens stream stream_options system tools "
    "background store odd"
)
BODIES = st.fixed_dictionaries(
    {"model": st.sampled_from([MODEL, "", "x", "m#a", "\U0001f600" * 300, "a\0b"]) | st.text(max_size=30)},
    optional=dict.fromkeys(FIELDS.split(), ODD),
)
BYTES = BODIES.map(lambda body: json.dumps(body).encode()) | st.binary(max_size=40)


@settings(max_examples=150, deadline=None)
@given(
    body=BYTES, endpoint=st.sampled_from(list(CODECS)), status=st.sampled_from([200, 400, 404, 429, 503, 999])
)
def test_keeping_never_fails(body: bytes, endpoint: Dialect, status: int) -> None:
    """Whatever is asked and answered: it runs at every request's end, and must not take its record away."""

    async def main() -> None:
        answer = Answer([b'{"error": {"message": "No", "code": "' + b"c" * 500 + b'"}}'], status)
        scene = Scene(config({"a": 1}, client={"allow_direct": True}), {"a": [answer]})
        exchange = scene.exchange(body, endpoint=Endpoint(endpoint.value))
        await scene.pipeline.handle(exchange)
        assert scene.records == [exchange.record]
        kept = scene.ledger.find(exchange.request_id)
        assert kept is not None
        made = kept.decision
        assert decision.encode(decision.decode(decision.encode(made))) == decision.encode(made)
        assert len(decision.encode(made)) < 5000

    run(main())


@settings(max_examples=100, deadline=None)
@given(
    choices=st.integers(1, 10**30),
    bound=st.none() | st.integers(1, 10**30),
    weight=st.integers(0, 2**53),
    name=st.text(st.characters(exclude_categories=["Cs"]), max_size=400),
    error=st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
)
def test_figures_of_any_size_are_kept(
    choices: int, bound: int | None, weight: int, name: str, error: str
) -> None:
    """As the largest that there may be."""
    made = ledger()
    exchange = refused(config({"a": 1}), made.number(), error)
    exchange.envelope = envelope.Envelope(name, False, 1, {}, False, choices, bound, weight)
    exchange.held.expected = choices
    made.keep(exchange)
    kept = made.find(exchange.request_id)
    assert kept is not None
    assert kept.decision.asked == name[:322]
    assert kept.decision.choices == min(choices, 2**53)
    assert kept.decision.error == error


def test_what_leads_nowhere_is_kept_without_secrets() -> None:
    """A key may have been sent as the name of a model; the name of one that there is stays as it is."""
    made = Ledger(NAME, ManualClock(), random.Random(1), 1000, 100_000, redact=lambda text: "***" + text[3:])
    settled = config({"a": 1})
    for named, asked in ((MODEL, MODEL), ("sk-key", "***key")):
        exchange = refused(settled, made.number())
        exchange.model = None
        exchange.envelope = envelope.Envelope(named, False, 1, {})
        made.keep(exchange)
        kept = made.find(exchange.request_id)
        assert kept is not None
        assert kept.decision.asked == asked


def test_a_body_that_does_not_come_is_kept() -> None:
    """Nothing is known of what was asked."""

    async def main() -> None:
        scene = Scene(config({"a": 1}), {"a": [GOOD]})
        late = BodySource(Refusal(408, "The request body did not arrive in time.", code="request_timeout"))
        await scene.ask(late, sink=RecordingSink())
        made = next(scene.ledger.latest()).decision
        assert (made.asked, made.error, made.targets, made.size) == ("", "request_timeout", (), 0)

    run(main())


def test_opened_elsewhere_it_has_an_id_of_the_ledger() -> None:
    """Requests for what is not hot too."""
    made = ledger()
    exchange = opened(config({"a": 1}))
    reception = Reception(
        fleet_of(config({"a": 1})), ManualClock(), random.Random(7), Redactor(()), made.number
    )
    for kind in (Endpoint.MODELS, Endpoint.OTHER):
        cold = reception.open(kind, CODECS[Dialect.CHAT], HEAD, exchange.source, Kept())
        there = address(cold.request_id)
        assert there is not None
        assert there.replica == NAME
        assert made.find(cold.request_id) is None
