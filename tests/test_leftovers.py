"""What a request leaves behind in memory: nothing that waits for the garbage collector, however it ended.

Such waste is freed some thousand requests later, all at once: until then the process grows by it.
"""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from fakes.chats import delta, error, reply, request, role, stream
from fakes.configs import config
from fakes.providers import HANG, Answer
from fakes.scenes import Scene
from fakes.virtual_loop import run

from proxy.errors import Fault, FaultKind
from proxy.exchange import Exchange

ENDINGS = {
    "a whole answer": (False, Answer([reply()])),
    "a stream": (True, Answer([stream()])),
    "an error status": (False, Answer([error("No.")], 503)),
    "no connection": (True, Answer(before=[Fault(FaultKind.CONNECT, "it broke")])),
    "too late": (True, Answer(before=[HANG])),
    "no JSON": (False, Answer([b"<html>"])),
    "cut before content": (True, Answer([role(), Fault(FaultKind.TRUNCATED, "cut")])),
    "cut after content": (True, Answer([role() + delta("Hi"), Fault(FaultKind.RESET, "cut")])),
    "stalled after content": (True, Answer([role() + delta("Hi"), HANG])),
}


def left() -> int:
    """Exchanges that nobody needs any more, and that are there."""
    return sum(type(one) is Exchange for one in gc.get_objects())


def uncollected(scenario: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """How many more `scenario` has left, where nobody collects garbage."""
    gc.collect()
    before = left()
    gc.disable()
    try:
        return run(scenario()) - before
    finally:
        gc.enable()


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_request_is_gone_when_it_is_over(ending: str) -> None:
    """Its body, its frames and its connection with it."""
    streamed, answer = ENDINGS[ending]

    async def scenario() -> int:
        scene = Scene(config({"a": 1, "b": 1}), {"a": [answer], "b": [answer]})
        await scene.tasks.spawn(scene.ask(request(stream=streamed)), "request")
        await asyncio.sleep(1.0)
        return left()

    assert uncollected(scenario) == 0


@pytest.mark.parametrize("streamed", [False, True])
def test_a_request_is_gone_when_its_client_is(streamed: bool) -> None:
    """It was waiting for its provider."""

    async def scenario() -> int:
        scene = Scene(config({"a": 1}), {"a": [Answer([role() + delta("Hi"), HANG])]})
        await scene.leave(request(stream=streamed), 1.0)
        return left()

    assert uncollected(scenario) == 0
