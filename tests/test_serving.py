"""Tests of `proxy.serving`: ports, and the order in which a replica starts and ends."""

import asyncio
import dataclasses
import os
import random
import signal
import socket
from collections.abc import Mapping

import httpx
import pytest
import structlog

from proxy import serving
from proxy.app import Replica, Surroundings
from proxy.clock import SystemClock
from proxy.config.problems import ConfigError, Problem
from proxy.config.settings import Config
from proxy.serving import Ports, PortTakenError, Signals


def configured(**sections: Mapping[str, object]) -> Config:
    """A configuration on free ports."""
    ports = {"listen": {"port": 0}, "operations": {"port": 0}, "drain_grace": 0}
    return Config.model_validate({**ports, "log": {"level": "error"}, **sections})


def surroundings() -> Surroundings:
    """What a process brings along, without an environment."""
    return Surroundings(SystemClock(), random.Random(7), {})


def numbers(ports: Ports) -> tuple[int, int]:
    """The client and the operations port."""
    return ports.client.getsockname()[1], ports.operations.getsockname()[1]


def test_two_ports_are_opened() -> None:
    """Zero picks free ones, different from each other; closing gives both up."""
    ports = serving.open_ports(configured())
    client, operations = numbers(ports)
    assert client != operations
    ports.close()
    for port in (client, operations):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


@pytest.mark.parametrize("section", ["listen", "operations"])
def test_a_taken_port_is_named(section: str) -> None:
    """The error names the setting and the address; the other port is not kept."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError) as caught:
            serving.open_ports(configured(**{section: {"port": port}}))
    assert str(caught.value).startswith(f"{section}.port: cannot listen on 127.0.0.1:{port} (")


def test_an_address_that_is_not_this_machines_is_refused() -> None:
    """Not only taken ports are told in one line."""
    with pytest.raises(
        PortTakenError, match=r"^listen\.host: .*192\.0\.2\.1:0 .*an address of this machine$"
    ):
        serving.open_ports(configured(listen={"host": "192.0.2.1", "port": 0}))


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 64 + ".invalid"])
def test_a_name_that_is_not_known_is_refused(host: str) -> None:
    """The host is to be mended, not the port."""
    with pytest.raises(PortTakenError, match=r"^operations\.host: cannot listen on .* \(.+\); choose an"):
        serving.open_ports(configured(operations={"host": host, "port": 0}))


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_the_end_is_told(first: signal.Signals) -> None:
    """What is in flight, how long it may take at most, and that all is over; a hint for who pressed a key."""
    config = configured()

    async def main() -> list[dict[str, object]]:
        ports = serving.open_ports(config)
        with structlog.testing.capture_logs() as lines:
            running = asyncio.ensure_future(serving.run(config, surroundings(), ports, begun))
            await asyncio.wait_for(running, 10.0)
        return [dict(line) for line in lines]

    async def begun(_replica: Replica) -> None:
        os.kill(os.getpid(), first)

    [ready, stopping, stopped] = asyncio.run(main())
    assert ready["event"] == "ready"
    assert (stopping["event"], stopping["in_flight"], stopping["at_most_s"]) == (
        "stopping",
        0,
        config.drain_timeout,
    )
    assert ("second Ctrl-C" in str(stopping.get("hint"))) is (first is signal.SIGINT)
    assert stopped["event"] == "stopped"


def test_workers_share_the_client_port_and_count_up_for_operations() -> None:
    """Worker i has the operations port + i to itself."""
    first = serving.open_ports(configured(), shared=True)
    port, base = numbers(first)
    config = configured(listen={"port": port}, operations={"port": base - 1})
    with pytest.raises(PortTakenError, match=f"127.0.0.1:{base} "):
        serving.open_ports(config, shared=True, worker=1)
    second = serving.open_ports(configured(listen={"port": port}), shared=True, worker=3)
    assert numbers(second)[0] == port
    first.close()
    second.close()


def test_the_first_signal_says_stop_and_the_second_now() -> None:
    """Whichever of the two signals they are."""

    async def main() -> None:
        signals = Signals()
        signals.listen()
        assert not signals.stop.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(signals.stop.wait(), 5.0)
        assert not signals.now.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(signals.now.wait(), 5.0)
        assert signals.first is signal.SIGTERM

    asyncio.run(main())


def test_a_replica_is_ready_after_it_has_started_and_no_longer_once_told_to_stop() -> None:
    """Probes on both ports follow it; the ports are closed when `run` returns."""

    async def main() -> None:
        config = configured()
        ports = serving.open_ports(config)
        client, operations = numbers(ports)
        replicas: list[Replica] = []
        seen: list[int] = []

        async def started(replica: Replica) -> None:
            replicas.append(replica)
            seen.append(await probe(operations))

        running = asyncio.ensure_future(serving.run(config, surroundings(), ports, started))
        while not replicas or not replicas[0].ready:  # noqa: ASYNC110  (readiness is a plain flag)
            await asyncio.sleep(0)
        seen += [await probe(operations), await probe(client)]
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(running, 10.0)
        assert seen == [503, 200, 200]
        [replica] = replicas
        assert not replica.ready
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", operations))

    asyncio.run(main())


def test_whoever_watches_does_not_hold_up_the_end() -> None:
    """The stream of the status page ends, whole, before the port would be cut."""

    async def main() -> list[str]:
        config = configured()
        ports = serving.open_ports(config)
        watched = asyncio.Event()

        async def started(_replica: Replica) -> None:
            """Nothing to do."""

        async def watch() -> list[str]:
            _, operations = numbers(ports)
            lines = []
            async with (
                httpx.AsyncClient(trust_env=False) as client,
                client.stream("GET", f"http://127.0.0.1:{operations}/events", timeout=10.0) as answer,
            ):
                async for line in answer.aiter_lines():
                    lines.append(line)
                    watched.set()
            return lines

        running = asyncio.ensure_future(serving.run(config, surroundings(), ports, started))
        watching = asyncio.ensure_future(watch())
        await asyncio.wait_for(watched.wait(), 20.0)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(running, 10.0)
        return await watching

    [first, *_] = asyncio.run(main())
    assert first.startswith("data: <div id=")


async def probe(port: int, ballast: str = "x") -> int:
    """The status of the readiness probe, asked with so large a header."""
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"http://127.0.0.1:{port}/readyz", headers={"x-ballast": ballast})
        return answer.status_code


def test_a_hangup_reads_the_configuration_anew() -> None:
    """Both ports go by its bounds then; one that is no good changes nothing, and ends nothing."""
    written: list[Config | ConfigError] = [
        ConfigError([Problem("one", "is wrong", "")]),
        configured(bounds={"header_block": "1KiB"}),
    ]

    def reread() -> tuple[Config, str]:
        found = written.pop(0)
        if isinstance(found, ConfigError):
            raise found
        return found, "apex.yaml"

    async def main() -> list[int]:
        config = configured()
        ports = serving.open_ports(config)
        client, operations = numbers(ports)
        known: list[Replica] = []

        async def started(replica: Replica) -> None:
            known.append(replica)

        own = dataclasses.replace(surroundings(), reread=reread)
        running = asyncio.ensure_future(serving.run(config, own, ports, started))
        while not known or not known[0].ready:  # noqa: ASYNC110  (readiness is a plain flag)
            await asyncio.sleep(0)
        seen = []
        for left in (1, 0):
            os.kill(os.getpid(), signal.SIGHUP)
            while len(written) > left or (not left and known[0].fleet.snapshot.config is config):  # noqa: ASYNC110  (a plain attribute)
                await asyncio.sleep(0.01)
            seen += [await probe(client, "x" * 2000), await probe(operations, "x" * 2000)]
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(running, 10.0)
        return seen

    assert asyncio.run(main()) == [200, 200, 431, 431]


def test_what_fails_at_the_start_ends_the_replica() -> None:
    """The error comes out of `run`, after everything that had begun has been ended."""

    async def failing(_replica: Replica) -> None:
        raise LookupError("the store")

    async def main() -> None:
        config = configured()
        ports = serving.open_ports(config)
        with pytest.raises(LookupError, match="the store"):
            await serving.run(config, surroundings(), ports, failing)
        ports.close()

    asyncio.run(main())


def test_an_ipv6_address_is_bracketed() -> None:
    """The ready line's URL can be used as it stands."""
    assert serving._host(("::1", 80)) == "[::1]"
    assert serving._host(("127.0.0.1", 80)) == "127.0.0.1"
