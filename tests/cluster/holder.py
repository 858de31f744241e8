"""A client process that is to be killed: opens streams, says so when all their events came, and reads on.

Run `python tests/cluster/holder.py PORT CLIENT MODEL COUNT EVENTS`.
"""

import asyncio
import sys

import traffic


async def main(port: int, client: str, model: str, count: int, events: int) -> None:
    """Hold the streams until killed."""
    held = [traffic.Begun(port) for _ in range(count)]

    async def watch() -> None:
        while any(begun.events < events for begun in held):  # noqa: ASYNC110  (a stream has no event for it)
            await asyncio.sleep(0.01)
        print("all open", flush=True)

    await asyncio.gather(watch(), *(traffic.stream(client, port, model, begun) for begun in held))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
