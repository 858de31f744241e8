"""The load of a cluster: what it counts as good, refused, failed and cut, and that the cluster serves it."""

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from cluster_files import DEPLOY, config, script, services

LOAD = script(DEPLOY / "load" / "load.py")
WHOLE, STREAM = LOAD.KINDS[0], LOAD.KINDS[1]
GOOD = 'data: {"choices": []}\n\ndata: [DONE]\n\n'

Answer = Callable[[httpx.Request], httpx.Response]


def loaded(answer: Answer, retries: int = 0) -> Any:
    """Clients of a proxy that answers so."""
    client = httpx.AsyncClient(base_url="http://proxy/v1", transport=httpx.MockTransport(answer))
    return LOAD.Load(client, {"demo": "sk-demo", "batch": "sk-batch"}, retries)


def counted(kind: Any, answer: Answer, retries: int = 0) -> dict[str, object]:
    """The sums after one request."""
    load = loaded(answer, retries)
    asyncio.run(load.ask(kind))
    sums: dict[str, object] = json.loads(load.tally.line())
    return sums


def broken(_: httpx.Request) -> httpx.Response:
    """Nobody is there."""
    raise httpx.ConnectError("refused")


@pytest.mark.parametrize(
    ("kind", "status", "body", "outcome"),
    [
        (WHOLE, 200, "{}", "ok"),
        (WHOLE, 200, '{"error": null}', "ok"),
        (WHOLE, 200, '{"error": {"code": "late"}}', "failed"),
        (WHOLE, 429, "{}", "refused"),
        (WHOLE, 503, "{}", "failed"),
        (STREAM, 200, GOOD, "ok"),
        (STREAM, 200, GOOD.removesuffix("data: [DONE]\n\n"), "cut"),
        (STREAM, 200, 'data: {"error": {"code": "late"}}\n\n' + GOOD, "cut"),
        (STREAM, 429, "{}", "refused"),
    ],
)
def test_what_came_of_a_request(kind: Any, status: int, body: str, outcome: str) -> None:
    """A stream is whole only with its end, and without an error before it."""
    assert counted(kind, lambda _: httpx.Response(status, text=body))["demo"] == {outcome: 1}


def test_one_that_found_nobody_has_failed() -> None:
    """And is told of by its reason."""
    sums = counted(WHOLE, broken)
    assert sums["demo"] == {"failed": 1}
    assert sums["reasons"] == {"/chat/completions ConnectError": 1}


def test_what_failed_can_be_sent_again() -> None:
    """As SDKs do; what came of it then is what counts."""
    answers = iter((503, 503, 200))
    sums = counted(WHOLE, lambda _: httpx.Response(next(answers), text="{}"), retries=2)
    assert (sums["demo"], sums["resent"]) == ({"ok": 1}, 2)


def test_a_run() -> None:
    """As many requests as the rate and the time make, by the weights of their kinds; the sums come last."""
    lines: list[str] = []
    load = loaded(lambda _: httpx.Response(200, text="{}"))
    draw = random.Random(1)
    asyncio.run(LOAD.run(load, 10_000.0, 0.01, draw, lines.append))
    sums = json.loads(lines[-1])
    assert sum(sum(sums[client].values()) for client in ("demo", "batch")) == 100
    assert sums["batch"].keys() == {"ok"}


def test_the_cluster_serves_it() -> None:
    """Its clients, their keys and its models are those of the configuration."""
    own = config()
    keys = {client.name: client.keys[0].get_secret_value() for client in own.clients}
    said = dict(word.removeprefix("--").split("=") for word in services()["load"]["command"])
    assert (said["key"], said["batch-key"]) == (keys["demo"], keys["batch"])
    assert {kind.client for kind in LOAD.KINDS} == keys.keys()
    assert {str(kind.body["model"]) for kind in LOAD.KINDS} == set(own.models)
