"""Stored responses on a Redis Cluster: whatever a script touches of one client is on one node."""

import asyncio
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.with_name("cluster")))

from stores import cluster_set

from proxy.responses.store import Outcome
from responses.shelves import fresh_owner, replicas, response
from responses.test_background import begun, lapse, read_all

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


def test_clients_are_spread_and_each_is_whole() -> None:
    """Every operation, for clients on every node."""

    async def scenario(url: str) -> None:
        async with replicas(url, "one", "two") as (one, two):
            for _ in range(20):
                owner = fresh_owner()
                first = response("resp_1", size=2_000)
                second = response("resp_2", first)
                assert await one.store.save(owner, first) is Outcome.STORED
                assert await two.store.save(owner, second) is Outcome.STORED
                assert await one.store.chain(owner, "resp_2") == (first, second)
                assert await one.store.delete(owner, "resp_1")
                assert await two.store.load(owner, "resp_1") is None
                await one.begin(owner, begun("resp_3"))
                await one.runs.append(owner, "resp_3", [(0, b"x")])
                assert await two.runs.cancel(owner, "resp_3")
                await lapse(two, owner, "resp_3")
                found = await two.following.load(owner, "resp_3")
                assert found is not None
                assert found.status == "failed"
                assert await read_all(one, owner, "resp_3") == [(0, b"x"), (1, b"failed 1")]

    with cluster_set() as cluster:
        asyncio.run(scenario(cluster.url))
