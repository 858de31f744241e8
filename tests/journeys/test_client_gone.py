"""A client may leave at any moment: its provider is let go at once, and nothing is left behind."""

import asyncio
import json
from collections.abc import Callable

import pytest
from stage import Setting, Stage, play
from wires import MODEL, Wire, ask, head, request

from mockprovider import Behaviour

SOON = 0.5
"""Seconds within which a provider must have lost its connection."""

MOMENTS: dict[str, tuple[Behaviour, bool]] = {
    "before the head": (Behaviour(stall_before_headers=True), True),
    "before the first event": (Behaviour(stall_after_events=0), True),
    "after the role": (Behaviour(stall_after_events=1), True),
    "mid-stream": (Behaviour(stall_after_events=3), True),
    "while events come": (Behaviour(tokens=1000, delay_events_s=0.005), True),
    "whole, before the head": (Behaviour(stall_before_headers=True), False),
    "whole, within the body": (Behaviour(stall_after_bytes=50), False),
}


def fin(wire: Wire) -> None:
    """Leave with FIN."""
    wire.writer.close()


def rst(wire: Wire) -> None:
    """Leave with RST."""
    wire.reset()


@pytest.mark.parametrize("leave", [fin, rst])
@pytest.mark.parametrize("moment", MOMENTS)
def test_the_provider_is_let_go(moment: str, leave: Callable[[Wire], None]) -> None:
    """Whenever and however a client leaves, its provider's connection closes within half a second."""
    life, stream = MOMENTS[moment]

    async def scenario(stage: Stage) -> None:
        wire = await stage.wire()
        wire.send(request(ask(stream=stream)))
        await stage.until(lambda: stage.seen("one"))
        await asyncio.sleep(0.03)
        assert (await stage.metrics())["apex_requests_in_flight"] == 1
        left = asyncio.get_running_loop().time()
        leave(wire)
        entry = stage.seen("one")[0]
        await stage.until(lambda: entry.gone_at is not None)
        assert entry.gone_at is not None
        assert entry.gone_at - left < SOON
        await is_clean(stage)
        assert stage.effect("one") == "none"

    play(Setting(providers={"one": life}), scenario)


async def is_clean(stage: Stage) -> None:
    """The request is recorded as left, and nothing of it is still there."""
    await stage.until(lambda: stage.records)
    await stage.until(lambda: not stage.mocks["one"].connections_open)
    assert [record.outcome for record in stage.records] == ["client_gone"]
    assert not stage.replica.fleet.in_flight
    assert len(stage.replica.tasks) == 0
    metrics = await stage.metrics()
    assert metrics["apex_requests_in_flight"] == 0
    assert metrics[f'apex_requests_total{{endpoint="chat",model="{MODEL}",outcome="client_gone"}}'] == 1


@pytest.mark.parametrize("leave", [fin, rst])
@pytest.mark.parametrize("sent", [0, 10, 300_000])
def test_while_uploading(sent: int, leave: Callable[[Wire], None]) -> None:
    """A client that leaves within its own body costs no provider anything."""

    async def scenario(stage: Stage) -> None:
        wire = await stage.wire()
        body = json.dumps(ask(padding="x" * 500_000)).encode()
        wire.send(request(body)[: -len(body) + sent])
        await asyncio.sleep(0.03)
        leave(wire)
        await stage.until(lambda: stage.records)
        assert stage.records[0].outcome == "client_gone"
        assert not stage.seen("one")
        assert (await stage.metrics())["apex_requests_in_flight"] == 0

    play(Setting(providers={"one": Behaviour()}), scenario)


def test_in_the_pause_between_attempts() -> None:
    """A client that leaves while another target is being tried ends that one, and no further one is tried."""

    async def scenario(stage: Stage) -> None:
        wire = await stage.wire()
        wire.send(request(ask()))
        await stage.until(lambda: stage.seen("two"))
        fin(wire)
        entry = stage.seen("two")[0]
        await stage.until(lambda: entry.gone_at is not None)
        await stage.until(lambda: stage.records)
        assert stage.tried == ["one:status_500", "two:cancelled"]
        assert not stage.seen("three")

    lives = {"one": Behaviour(status=500), "two": Behaviour(stall_before_headers=True), "three": Behaviour()}
    play(Setting(providers=lives), scenario)


def test_a_big_request_does_not_hide_the_leaving() -> None:
    """A body beyond the server's buffer must not leave reading paused, or the FIN would not be seen."""

    async def scenario(stage: Stage) -> None:
        wire = await stage.wire()
        wire.send(request(ask(padding="x" * 2_000_000)))
        await stage.until(lambda: stage.seen("one"))
        fin(wire)
        entry = stage.seen("one")[0]
        assert await stage.until(lambda: entry.gone_at is not None) < SOON

    play(Setting(providers={"one": Behaviour(stall_before_headers=True)}), scenario)


def test_a_pipelining_client_leaves() -> None:
    """A client that has queued a second request leaves: the first is let go, the second never begins."""

    async def scenario(stage: Stage) -> None:
        wire = await stage.wire()
        wire.send(request(ask()) * 2)
        await stage.until(lambda: stage.seen("one"))
        fin(wire)
        await stage.until(lambda: stage.records)
        await asyncio.sleep(0.05)
        assert len(stage.seen("one")) == 1

    play(Setting(providers={"one": Behaviour(stall_before_headers=True)}), scenario)


def test_many_leave_at_once() -> None:
    """A hundred clients vanish together: all upstream connections close within half a second."""

    async def scenario(stage: Stage) -> None:
        wires = [await stage.wire() for _ in range(100)]
        for wire in wires:
            wire.send(request(ask(stream=True)))
        await stage.until(lambda: stage.mocks["one"].streams_open == 100, seconds=5)
        for wire in wires:
            rst(wire)
        assert await stage.until(lambda: not stage.mocks["one"].streams_open) < SOON
        await stage.until(lambda: len(stage.records) == 100)
        assert (await stage.metrics())["apex_requests_in_flight"] == 0

    play(Setting(providers={"one": Behaviour(stall_after_events=3)}), scenario)


def test_a_client_that_closes_after_its_request_is_gone() -> None:
    """A head without its end and a FIN: no record, no provider, no leak."""

    async def scenario(stage: Stage) -> None:
        wire = await stage.wire()
        wire.send(head("POST", "/v1/chat/completions", {}))
        fin(wire)
        await asyncio.sleep(0.02)
        assert not stage.records

    play(Setting(providers={"one": Behaviour()}), scenario)
