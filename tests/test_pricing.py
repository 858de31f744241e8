import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from fakes.configs import Tree, config
from fakes.exchanges import fleet_of
from structlog.testing import capture_logs

from proxy.config.settings import Config
from proxy.prices import Price, PriceList, Rates, Wanted
from proxy.pricing import COMMAND, Pricing
from proxy.wire.model import Usage

MILLION = Usage(1_000_000)
SOLD: Tree = {"base_url": "https://a.test/v1", "api_keys": ["a1"]}
TELLS = """
import json, sys
asked = json.load(sys.stdin)
print("asked", [one["label"] for one in asked], file=open(sys.argv[1], "a"))
print(json.dumps({one["label"]: {"rates": {"input": 3.0, "output": 9.0}} for one in asked}))
"""


FAILS_FIRST = """
import os, sys
if not os.path.exists(sys.argv[1]):
    sys.exit(open(sys.argv[1], "w").write("failed "))
"""


def learned(*made: Config, command: Sequence[str] = ("false",), again: Sequence[float] = ()) -> PriceList:
    """The list after each of these configurations."""

    async def scenario() -> PriceList:
        listed = PriceList()
        pricing = Pricing(listed, dict(os.environ), command, again)
        for one in made:
            await pricing.learn(fleet_of(one).snapshot)
        return listed

    return asyncio.run(scenario())


def teller(log: object) -> tuple[str, ...]:
    """A command that knows a price for everything, and writes down what it was asked."""
    return (sys.executable, "-c", TELLS, str(log))


def test_an_operators_price_needs_nobody() -> None:
    """Nor is anybody asked where no vendor can be meant: at an address without TLS."""
    given = {"a": {"price": {"input": 2}}}
    with capture_logs() as logs:
        listed = learned(config({"a": SOLD, "b": 1}, entries=given))
    assert listed.cost("a/a-model", MILLION) == 2.0
    assert "b/b-model" not in listed
    assert logs == []


@pytest.mark.process
def test_the_others_are_looked_up_once(tmp_path: object) -> None:
    """Those of another configuration only where they are new; the operator's goes before it."""
    log = f"{tmp_path}/asked"
    first = config({"a": SOLD})
    second = config({"a": SOLD, "c": SOLD}, entries={"c": {"price": {"input": 1}}})
    third = config({"a": SOLD, "c": SOLD})
    listed = learned(first, second, third, command=teller(log))
    assert listed.cost("a/a-model", MILLION) == listed.cost("c/c-model", MILLION) == 3.0
    with open(log, encoding="utf-8") as told:  # noqa: PTH123  (a plain file)
        assert told.read().splitlines() == ["asked ['a/a-model']", "asked ['c/c-model']"]


def test_nothing_is_looked_up_against_the_operators_will() -> None:
    """Where it says so, nobody is asked."""
    with capture_logs() as logs:
        listed = learned(config({"a": SOLD}, costs={"lookup": False}))
    assert "a/a-model" not in listed
    assert logs == []


@pytest.mark.process
def test_a_process_that_fails_is_told_of() -> None:
    """Requests cost nobody knows what then, and nothing else happens."""
    with capture_logs() as logs:
        assert "a/a-model" not in learned(config({"a": SOLD}))
    assert [line["event"] for line in logs] == ["prices_unknown"]


@pytest.mark.process
@pytest.mark.parametrize(("count", "again"), [(2, ()), (1, (0.0, 0.0))], ids=["next time", "in a while"])
def test_what_failed_is_asked_again(tmp_path: Path, count: int, again: Sequence[float]) -> None:
    """By the next reload at the latest: a busy moment is not the last word."""
    log = tmp_path / "asked"
    command = (sys.executable, "-c", FAILS_FIRST + TELLS, str(log))
    with capture_logs() as logs:
        listed = learned(*[config({"a": SOLD})] * count, command=command, again=again)
    assert listed.cost("a/a-model", MILLION) == 3.0
    assert log.read_text("utf-8").count("asked") == 1
    assert [line["event"] for line in logs] == ["prices_unknown"]


class Slow(Pricing):
    """Answers to lookups come when a test says so."""

    def __init__(self, listed: PriceList) -> None:
        super().__init__(listed, {}, again=())
        self.asked: list[asyncio.Future[dict[str, Price] | None]] = []

    async def _ask(self, wanted: Sequence[Wanted]) -> dict[str, Price] | None:
        self.asked.append(asyncio.get_running_loop().create_future())
        return await self.asked[-1]


def test_the_later_configuration_holds_whoever_is_answered_first() -> None:
    """A slow lookup brings what it has found, and not its own configuration back."""
    price = {"input": 1}
    before, after = config({"a": SOLD}), config({"a": SOLD, "c": SOLD}, entries={"a": {"price": price}})

    async def scenario() -> PriceList:
        listed = PriceList()
        pricing = Slow(listed)
        async with asyncio.TaskGroup() as group:
            for one in (before, after):
                group.create_task(pricing.learn(fleet_of(one).snapshot))
                await asyncio.sleep(0)
            second, first = pricing.asked[1], pricing.asked[0]
            second.set_result({"c/c-model": Price(Rates(7.0, 7.0))})
            await asyncio.sleep(0)
            first.set_result({"a/a-model": Price(Rates(3.0, 3.0))})
        return listed

    listed = asyncio.run(scenario())
    assert (listed.cost("a/a-model", MILLION), listed.cost("c/c-model", MILLION)) == (1.0, 7.0)


@pytest.mark.process
def test_the_real_process_knows_real_prices() -> None:
    """From start to end."""
    sold = {**SOLD, "base_url": "https://api.openai.com/v1", "kind": "openai"}
    listed = learned(config({"a": sold}, entries={"a": {"model": "gpt-4o"}}), command=COMMAND)
    assert listed.cost("a/gpt-4o", MILLION) == 2.5
