"""Scenario 3: a replica is killed under streams and requests, and only what was on it is lost."""

import asyncio
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

import traffic
from ensemble import bucket, configured, replicas
from figures import Check
from harness import Mock, Serve
from stores import Store, standalone
from traffic import Answer, Begun, Load, Wire

_PACE = {
    "rules": [{"match": {"stream": True}, "then": {"tokens": 150, "delay_events_s": 0.1}}],
    "default": {"delay_headers_s": 0.02, "tokens": 5},
}
EXPIRY = 30.5
"""Seconds within which another request gets the place of a lost one: a lease, and the pause between tries."""


@dataclass(frozen=True, slots=True)
class Crash:
    """What was on the victim and what was not. Seconds from the kill."""

    requests: int
    lost_on_victim: int
    lost_elsewhere: int
    refused: int
    streams: int
    cut_on_victim: int
    cut_elsewhere: int
    on_victim: int
    freed_after: float
    held: int

    def checks(self) -> list[Check]:
        """See `Figures`."""
        return [
            Check(
                "requests elsewhere that failed",
                str(self.lost_elsewhere + self.refused),
                f"= 0 of {self.requests}; {self.lost_on_victim} were on it",
                self.lost_elsewhere + self.refused == 0,
            ),
            Check(
                "streams elsewhere that were cut",
                str(self.cut_elsewhere),
                f"= 0 of {self.streams - self.on_victim}; {self.cut_on_victim} of {self.on_victim} on it",
                self.cut_elsewhere == 0 and self.cut_on_victim == self.on_victim,
            ),
            Check(
                "its leases free after",
                f"{self.freed_after:.1f} s",
                "<= 30 s, asked every 0.2 s",
                self.freed_after <= EXPIRY,
            ),
            Check("leases left in the end", str(self.held), "= 0", self.held == 0),
        ]


def kill(streams: int = 100, rate: float = 100.0, before: float = 3.0, after: float = 45.0) -> Crash:
    """`streams` open and `rate` requests a second over 3 replicas; one gets SIGKILL.

    Each replica's streams belong to a client of its own that may have just so many requests at one time:
    when the victim's may have one more, a lease has been freed.
    """
    shares = [streams // 3 + (number < streams % 3) for number in range(3)]
    clients: dict[str, dict[str, object]] = {
        f"streams-{number}": {"limits": {"concurrency": share}} for number, share in enumerate(shares)
    }
    clients["requests"] = {"limits": {"requests_per_minute": 1_000_000, "concurrency": 10_000}}
    with standalone() as store, Mock(_PACE) as mock:
        config = configured(mock, f"redis://127.0.0.1:{store.port}", clients)
        with replicas(config) as running:
            return asyncio.run(_kill(store, running, shares, Load("requests", (), rate), (before, after)))


async def _kill(
    store: Store, running: Sequence[Serve], shares: Sequence[int], wanted: Load, times: tuple[float, float]
) -> Crash:
    ports = [replica.port for replica in running]
    before, after = times
    opened = [
        (Begun(port), f"streams-{number}")
        for number, (port, share) in enumerate(zip(ports, shares, strict=True))
        for _ in range(share)
    ]
    async with asyncio.TaskGroup() as group:
        for begun, client in opened:
            group.create_task(traffic.stream(client, begun.port, traffic.CHAT, begun))
            await asyncio.sleep(0.02)
        requests = group.create_task(
            traffic.run(Load(wanted.client, ports, wanted.rate, moving=True), before + min(after, 15.0))
        )
        await asyncio.sleep(before)
        held = [bucket(store, f"streams-{number}").held for number in range(len(shares))]
        assert held == shares, f"not all streams are open: {held}"
        running[0].signal(signal.SIGKILL)
        freed = await _freed(ports[1], after)
    answers = requests.result()
    lost = [answer for answer in answers if answer.status in (traffic.LOST, traffic.DOWN)]
    cut = [begun for begun, _ in opened if not begun.whole]
    clients = sorted({client for _, client in opened} | {wanted.client})
    await asyncio.sleep(max(0.0, EXPIRY - freed))
    await _touch(ports[1], clients)
    return Crash(
        requests=len(answers),
        lost_on_victim=sum(answer.port == ports[0] for answer in lost),
        lost_elsewhere=sum(answer.port != ports[0] for answer in lost),
        refused=_not_good(answers),
        streams=len(opened),
        cut_on_victim=sum(begun.port == ports[0] for begun in cut),
        cut_elsewhere=sum(begun.port != ports[0] for begun in cut),
        on_victim=shares[0],
        freed_after=freed,
        held=sum(bucket(store, client).held for client in clients),
    )


async def _freed(port: int, within: float) -> float:
    """Seconds until the client whose places were all lost gets one on another replica."""
    began = time.monotonic()
    wire = Wire(port)
    while time.monotonic() - began < within:
        answer = await traffic.ask(wire, "streams-0", traffic.request("streams-0"))
        if answer.status == 200:
            break
        assert answer.status == 429, answer.status
        await asyncio.sleep(0.2)
    wire.close()
    return time.monotonic() - began


async def _touch(port: int, clients: Sequence[str]) -> None:
    """Use each limit once: what lapsed in one that nobody uses is swept when somebody does."""
    wire = Wire(port)
    for client in clients:
        await traffic.ask(wire, client, traffic.request(client))
    wire.close()
    await asyncio.sleep(1.0)


def _not_good(answers: Sequence[Answer]) -> int:
    return sum(answer.status not in (200, traffic.LOST, traffic.DOWN) for answer in answers)
