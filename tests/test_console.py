"""Tests of `proxy.console`: the operations ports of replicas that share a store, and of one that is alone."""

import asyncio
import random
from collections.abc import Callable

import httpx
import pytest
from private_store import PrivateStore
from test_app import Provider, ask, configured

from proxy.app import Replica, Surroundings
from proxy.clock import SystemClock
from proxy.link import parse

TOKEN = "sk-operators-0123"


def replica(seed: int, url: str | None = None) -> Replica:
    """One of several on a store, or one that is alone."""
    limits = {"requests_per_minute": 60}
    config = configured(
        redis={"url": url} if url else {},
        operations={"token": TOKEN},
        clients=[{"name": "tests", "key": "sk-tests-key", "limits": limits}],
    )
    surroundings = Surroundings(SystemClock(), random.Random(seed), {})
    return Replica(config, surroundings, Provider(), parse(url) if url else None)


async def operate(there: Replica, path: str, method: str = "GET", token: str = TOKEN) -> httpx.Response:
    """One request to its operations port."""
    transport = httpx.ASGITransport(app=there.operations_app)
    async with httpx.AsyncClient(transport=transport, base_url="http://ops") as client:
        return await client.request(method, path, headers={"authorization": f"Bearer {token}"})


async def until(holds: Callable[[], object]) -> None:
    """Give the loop turns until `holds`."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  (what is waited for has no event)
            await asyncio.sleep(0.01)


@pytest.mark.process
def test_whichever_replica_is_asked_says_the_same() -> None:
    """Of a request that one of them took; and what one is ordered holds at all."""

    async def main(url: str) -> None:
        replicas = [replica(seed, url) for seed in range(3)]
        for one in replicas:
            await one.start()
        await until(lambda: all(one.console.inquiries and one.replicas for one in replicas))
        first, second, third = replicas
        answer = await ask(second, "sk-tests-key")
        path = f"/admin/decisions/{answer.headers['x-request-id']}"
        told = [await operate(one, path) for one in replicas]
        assert [one.status_code for one in told] == [200, 200, 200]
        assert told[0].content == told[1].content == told[2].content
        assert told[0].json()["replica"] == second.name
        assert (await operate(third, path, token="sk-wrong")).status_code == 401
        gone = path[:-24] + second.name + "0" * 12
        assert [(await operate(one, gone)).status_code for one in replicas] == [404, 404, 404]
        target = first.fleet.snapshot.models["chat"].targets[0]
        ordered = await operate(third, f"/admin/targets/{target.id}/drain", "POST")
        assert ordered.json()["targets"] == [target.id]
        await until(lambda: first.fleet.standing(target).drained)
        limits = (await operate(first, "/admin/limits/tests")).json()["limits"]
        assert limits[0]["said"]["requests"]["remaining"] == 59
        await second.close()
        assert (await operate(third, path)).json()["error"]["code"] == "replica_silent"
        await first.close()
        await third.close()

    with PrivateStore() as store:
        asyncio.run(main(store.url))


def test_a_replica_that_is_alone_tells_of_itself() -> None:
    """Without a store there is nobody else to ask."""

    async def main() -> None:
        alone = replica(1)
        alone.console.start()
        answer = await ask(alone, "sk-tests-key")
        told = await operate(alone, f"/admin/decisions/{answer.headers['x-request-id']}")
        assert told.json()["summary"].startswith("completed (200): local/big@")
        assert alone.console.inquiries is None
        other = await operate(alone, "/admin/decisions/req_" + "0" * 24)
        assert other.json()["error"]["code"] == "replica_silent"
        await alone.close()

    asyncio.run(main())
