"""Tests of `proxy.decision`: what is taken of a request that is over."""

import json

import pytest
from fakes.chats import delta, error, reply, request, role, stream
from fakes.configs import Tree, config
from fakes.providers import Answer
from fakes.scenes import Scene
from fakes.virtual_loop import run

from proxy import decision
from proxy.decision import Decision, Limited, Try, decided
from proxy.errors import Fault, FaultKind
from proxy.exchange import Exchange

GOOD = Answer([reply()])
MESSAGE = json.dumps(
    {
        "type": "message",
        "id": "m",
        "role": "assistant",
        "model": "x",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
).encode()


def over(*answers: Answer, body: bytes = b"", **sections: Tree) -> tuple[Exchange, Decision]:
    """A request to `a` and `b`, with these answers one after another, that is over."""

    async def main() -> tuple[Exchange, Decision]:
        listed = {name: [one] for name, one in zip("ab", answers, strict=False)}
        scene = Scene(config(dict.fromkeys(listed, 1), **sections), listed)
        exchange = scene.exchange(body or request())
        await scene.pipeline.handle(exchange)
        return exchange, decided(exchange, 5.0)

    return run(main())


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer([], 503), Try("status_503", 503, 0.0, demotes=True)),
        (Answer([error()], 404), Try("status_404", 404, 0.0)),
        (Answer([], 429, {"retry-after": "9"}), Try("status_429", 429, 0.0, gives_back=True)),
        (Answer([error(code="insufficient_quota")], 429), Try("status_429", 429, 0.0)),
        (Answer([error()], 400), Try("status_400", 400, 0.0, ends=True)),
        (Answer(before=[2.0, Fault(FaultKind.CONNECT, "no")]), Try("connect", 0, 2.0, demotes=True)),
        (Answer([b"<html>"]), Try("not_json", 200, 0.0)),
    ],
)
def test_how_an_attempt_ended_and_what_that_means(answer: Answer, expected: Try) -> None:
    """As the pipeline went on by it."""
    _, made = over(answer, GOOD)
    assert made.tries[0] == expected
    assert len(made.tries) == (1 if expected.ends else 2)
    assert [one.outcome for one in made.tries[1:]] == ["ok"] * (len(made.tries) - 1)


def test_a_fault_after_the_first_content_ends_the_request() -> None:
    """And only that one: those before it did not."""
    cut = Answer([role() + delta("Hel"), Fault(FaultKind.RESET, "cut")])
    _, made = over(Answer([], 503), cut, body=request(stream=True))
    assert [(one.outcome, one.ends) for one in made.tries] == [("status_503", False), ("reset", True)]
    _, made = over(Answer([], 503), Answer([stream("Hello")]), body=request(stream=True))
    assert [(one.outcome, one.ends) for one in made.tries] == [("status_503", False), ("ok", True)]


def test_what_was_asked_is_there_in_figures() -> None:
    """And not in words."""
    body = request(n=3, max_tokens=7, user="secret-of-mine")
    exchange, made = over(GOOD, body=body)
    assert (made.size, made.choices, made.max_output, made.stream) == (len(body), 3, 7, False)
    assert (made.at, made.status, made.outcome, made.supposed) == (5.0, 200, "completed", False)
    assert exchange.envelope is not None
    assert made.weight == exchange.envelope.weight
    assert b"secret" not in decision.encode(made)
    assert b"Hi" not in decision.encode(made)


def test_an_exchange_that_has_not_begun_says_nothing() -> None:
    """No model, no client, no plan."""

    async def main() -> Decision:
        scene = Scene(config({"a": 1}), {"a": [GOOD]})
        return decided(scene.exchange(b""), 5.0, supposed=True)

    made = run(main())
    assert (made.asked, made.client, list(made.picks), list(made.tries)) == ("", "", [], [])
    assert (made.limited, made.outcome, made.supposed) == (None, "crashed", True)


def test_what_limits_said() -> None:
    """With the seconds to wait, where waiting helps."""
    strict: Tree = {"limits": {"requests_per_minute": 60, "burst": 1}}

    async def main(client: Tree, body: bytes) -> Decision:
        scene = Scene(config({"a": 1}, client=client), {"a": [GOOD]})
        for _ in range(2):
            await scene.ask(body)
        return next(scene.ledger.latest()).decision

    made = run(main(strict, request()))
    assert made.limited == Limited("requests", "client dev", 1.0)
    assert (made.status, list(made.picks)) == (429, [])
    large = run(main({"limits": {"tokens_per_minute": 10}}, request(max_tokens=50, user="x" * 4000)))
    assert large.limited is not None
    assert (large.limited.dimension, large.limited.wait) == ("tokens", None)
    assert large.expected > 10


def test_losses_go_with_the_pick_that_answered() -> None:
    """What the translation for it left out."""
    spoken: Tree = {"base_url": "http://b.test", "api_keys": ["b1"], "dialects": ["messages"]}

    async def main() -> Decision:
        scene = Scene(config({"a": 1, "b": spoken}), {"a": [Answer([], 503)], "b": [Answer([MESSAGE])]})
        await scene.ask(request(seed=5))
        return next(scene.ledger.latest()).decision

    made = run(main())
    assert [pick.lost for pick in made.picks] == [(), (("seed", "dropped"),)]


def test_a_decision_is_small() -> None:
    """One target tried where all are well: so much was planned for."""
    _, made = over(GOOD)
    assert len(decision.encode(made)) < 130
