import asyncio
import random

import pytest
from redis.crc import key_slot
from scripted import Command, Peer, array, linked, serving

from proxy.config.redis_url import Endpoint
from proxy.link import Unavailable
from proxy.link.cluster import read_slots, slot_of

KEYS = ["foo", "{foo}bar", "a{foo}", "{}foo", "a{}b{c}", "{a", "a}b{", "{{a}}", "", "ü{é}"]


@pytest.mark.parametrize("key", KEYS)
def test_slots_are_those_of_the_specification(key: str) -> None:
    """Hash tags count as the reference client counts them."""
    assert slot_of(key) == slot_of(key.encode()) == key_slot(key.encode())


def test_slots_of_many_random_keys() -> None:
    """A thousand keys of braces and letters agree with the reference client."""
    draw = random.Random(3)
    for _ in range(1_000):
        key = "".join(draw.choices("{}ab", k=draw.randrange(8)))
        assert slot_of(key) == key_slot(key.encode())


def test_the_map_is_read() -> None:
    """Only primaries count, and a node without a name is the one that was asked."""
    reply: list[list[object]] = [
        [0, 10, [b"h", 1, b"id"], [b"replica", 2, b"id"]],
        [11, 16383, [None, 3, b"id"]],
    ]
    assert read_slots(reply, "me") == [(0, 10, Endpoint("h", 1)), (11, 16383, Endpoint("me", 3))]


def test_a_slot_without_a_node_is_unavailable() -> None:
    """Before a map is known, and where it has a hole, a call is refused."""

    def answer(command: Command, peer: Peer) -> bytes | None:
        if command[0] == b"CLUSTER":
            return array(array(0, 10, array(b"127.0.0.1", peer.server.port, b"id")))
        return None

    async def scenario() -> None:
        async with serving(answer) as server:
            url = f"redis+cluster://127.0.0.1:{server.port}"
            async with linked(url, start=False) as link:
                with pytest.raises(Unavailable, match="clusterdown"):
                    await link.call("PING")
                await link.start()
                with pytest.raises(Unavailable, match="clusterdown"):
                    await link.call("GET", ["foo"])
                assert await link.call("PING") == b"PONG"

    asyncio.run(scenario())
