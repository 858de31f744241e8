"""How `serve` ends: kindly, in a hurry, or killed; and what it leaves behind, which is nothing."""

import asyncio
import http.client
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from harness import KEY, MODEL, Mock, Serve, alive, configured, descendants, eventually, get
from private_store import PrivateStore
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

pytestmark = pytest.mark.process

QUICK = {"default": {"tokens": 25, "delay_events_s": 0.06}}
STALLING = {"default": {"tokens": 12, "stall_after_events": 5}}


def client_of(proxy: Serve) -> httpx.AsyncClient:
    """A client of the proxy."""
    return httpx.AsyncClient(
        base_url=proxy.url, headers={"authorization": f"Bearer {KEY}"}, timeout=20.0, trust_env=False
    )


def asking(*, stream: bool, **fault: object) -> dict[str, object]:
    """A chat request, with a fault of the provider's for it alone."""
    messages = [{"role": "user", "content": "Hello"}]
    return {"model": MODEL, "messages": messages, "stream": stream, **({"x_mock": fault} if fault else {})}


def test_sigterm_lets_what_is_in_flight_finish() -> None:
    """Not ready at once, no new connections, the stream and the request whole, exit status 0."""

    async def main(proxy: Serve) -> None:
        async with client_of(proxy) as client:
            whole = asyncio.create_task(
                client.post("/chat/completions", json=asking(stream=False, delay_headers_s=1.2))
            )
            async with client.stream("POST", "/chat/completions", json=asking(stream=True)) as streamed:
                lines = streamed.aiter_lines()
                await anext(lines)
                proxy.signal(signal.SIGTERM)
                await asyncio.to_thread(eventually, lambda: get(proxy.operations, "/readyz")[0] == 503, 1.0)
                assert get(proxy.operations, "/livez")[0] == 200
                await asyncio.to_thread(eventually, lambda: refuses(proxy.port), 1.0)
                rest = [line async for line in lines]
            assert rest[-2] == "data: [DONE]"
            assert (await whole).status_code == 200

    with Mock(QUICK) as mock, Serve(configured(mock)) as proxy:
        store = proxy.store
        asyncio.run(main(proxy))
        assert proxy.ended() == 0
        assert [line["outcome"] for line in proxy.events("request")] == ["completed"] * 2
        assert proxy.event("stopping")["in_flight"] == 2
        assert len(proxy.events("stopped")) == 1
        assert not alive(store)


def test_it_serves_on_until_balancers_have_noticed() -> None:
    """Not ready at once, but for the grace new connections are answered, each for the last time."""

    async def main(proxy: Serve) -> None:
        async with client_of(proxy) as client:
            before = await client.post("/chat/completions", json=asking(stream=False))
            assert "connection" not in before.headers
            proxy.signal(signal.SIGTERM)
            await asyncio.to_thread(eventually, lambda: get(proxy.port, "/readyz")[0] == 503, 1.0)
            for _ in range(3):  # the connection that was kept, and new ones
                answer = await client.post("/chat/completions", json=asking(stream=False))
                assert (answer.status_code, answer.headers["connection"]) == (200, "close")
            assert get(proxy.operations, "/readyz")[0] == 503

    with Mock() as mock, Serve(configured(mock, drain_grace=2)) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as idle:
            began = time.monotonic()
            asyncio.run(main(proxy))
            assert idle.recv(1) == b""  # closed when the grace is over
        assert proxy.ended() == 0
        assert time.monotonic() - began > 2.0
        assert proxy.event("stopping")["grace_s"] == 2.0


def test_ctrl_c_has_no_grace() -> None:
    """Whoever sits before it has no balancer to wait for."""
    with Serve(configured(drain_grace=60)) as proxy:
        proxy.signal(signal.SIGINT)
        assert proxy.ended(10.0) == 0


def test_a_second_signal_ends_the_grace() -> None:
    """As it ends all waiting."""
    with Serve(configured(drain_grace=60)) as proxy:
        proxy.signal(signal.SIGTERM)
        proxy.event("stopping")
        proxy.signal(signal.SIGTERM)
        assert proxy.ended(10.0) == 0


@pytest.mark.parametrize(
    ("path", "body", "last"),
    [
        ("/messages", {"max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}, "event: error"),
        ("/responses", {"input": "Hello", "store": False}, "event: response.failed"),
    ],
)
def test_what_is_cut_is_told_in_its_own_dialect(path: str, body: dict[str, object], last: str) -> None:
    """A stream that the drain time cuts ends with the error event that its SDK knows."""

    async def main(proxy: Serve) -> list[str]:
        wanted = {"model": MODEL, "stream": True, **body}
        async with client_of(proxy) as client, client.stream("POST", path, json=wanted) as streamed:
            lines = streamed.aiter_lines()
            found = [line async for line in until(lines, "delta")]
            proxy.signal(signal.SIGTERM)
            return found + [line async for line in lines]

    with Mock(STALLING) as mock, Serve(configured(mock, drain_timeout=0.5)) as proxy:
        events = [line for line in asyncio.run(main(proxy)) if line.startswith("event: ")]
        assert events[-1] == last
        assert proxy.ended() == 0
        assert proxy.event("request")["error"] == "shutting_down"


async def until(lines: AsyncIterator[str], word: str) -> AsyncIterator[str]:
    """The lines up to the first that holds `word`."""
    async for line in lines:
        yield line
        if word in line:
            return


def test_a_turn_that_is_cut_is_told_so_before_its_connection_closes() -> None:
    """Over a WebSocket the error is a message like all events."""

    async def main(proxy: Serve) -> tuple[list[str], ConnectionClosed]:
        headers = {"authorization": f"Bearer {KEY}"}
        url, seen = f"ws://127.0.0.1:{proxy.port}/v1/responses", []
        async with connect(url, additional_headers=headers) as line:
            await line.send(json.dumps({"type": "response.create", "model": MODEL, "input": "Hello"}))
            await line.recv()
            proxy.signal(signal.SIGTERM)
            try:
                while True:
                    seen.append(json.loads(await line.recv())["type"])
            except ConnectionClosed as closed:
                return seen, closed

    with Mock(STALLING) as mock, Serve(configured(mock, drain_timeout=0.5)) as proxy:
        seen, closed = asyncio.run(main(proxy))
        assert seen[-1] == "response.failed"
        assert closed.rcvd is not None
        assert closed.rcvd.code == 1012
        assert proxy.ended() == 0


def test_a_background_response_that_is_cut_has_failed_for_whoever_asks_another_replica() -> None:
    """One that follows its events here hears of it as well."""

    async def main(proxy: Serve) -> tuple[str, list[str]]:
        async with client_of(proxy) as client:
            wanted = {"model": MODEL, "input": "Hello", "background": True, "stream": True}
            async with client.stream("POST", "/responses", json=wanted) as streamed:
                lines = streamed.aiter_lines()
                data = [line async for line in until(lines, "data: ")][-1]
                await anext(aiter(until(lines, "delta")))
                proxy.signal(signal.SIGTERM)
                events = [line async for line in lines if line.startswith("event: ")]
        return json.loads(data.removeprefix("data: "))["response"]["id"], events

    with Mock(STALLING) as mock, PrivateStore() as store:
        config = configured(mock, drain_timeout=0.5, redis={"url": store.url})
        with Serve(config) as proxy, Serve(config) as other:
            id_, events = asyncio.run(main(proxy))
            assert events[-1] == "event: response.failed"
            assert proxy.ended() == 0

            async def asked() -> httpx.Response:
                async with client_of(other) as client:
                    return await client.get(f"/responses/{id_}")

            assert asyncio.run(asked()).json()["status"] == "failed"


def ready(port: int) -> bool:
    """Whether a replica is there and ready."""
    try:
        return get(port, "/readyz")[0] == 200
    except (ConnectionError, http.client.HTTPException):
        return False


def refuses(port: int) -> bool:
    """Whether nobody listens on a port any more."""
    try:
        get(port, "/livez")
    except (ConnectionError, http.client.HTTPException):
        return True
    return False


def broken_off(proxy: Serve, *signals: signal.Signals) -> float:
    """Send signals while a stream stalls; the seconds until the proxy had ended it and itself, with 0."""

    async def main() -> None:
        async with (
            client_of(proxy) as client,
            client.stream("POST", "/chat/completions", json=asking(stream=True)) as streamed,
        ):
            lines = streamed.aiter_lines()
            await anext(lines)
            for number in signals:
                proxy.signal(number)
                await asyncio.to_thread(eventually, lambda: not ready(proxy.operations))
            try:
                rest = [line async for line in lines]
            except httpx.RemoteProtocolError:
                return  # cut off inside the body
            assert any(line.startswith('data: {"error"') for line in rest)  # told in-band

    began = time.monotonic()
    asyncio.run(main())
    assert proxy.ended() == 0
    return time.monotonic() - began


def test_the_drain_time_is_the_longest_that_a_stop_takes() -> None:
    """A stream that would never end is cut when the drain time is over."""
    with Mock(STALLING) as mock, Serve(configured(mock, drain_timeout=0.5)) as proxy:
        assert 0.5 < broken_off(proxy, signal.SIGTERM) < 5.0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_does_not_wait(number: signal.Signals) -> None:
    """Whoever asks twice means it: the stream is cut at once, and the exit is still clean."""
    with Mock(STALLING) as mock, Serve(configured(mock, drain_timeout=100)) as proxy:
        store = proxy.store
        assert broken_off(proxy, number, number) < 5.0
        assert "Traceback" not in "\n".join(proxy.err)
        assert not alive(store)


def test_a_killed_serve_leaves_no_process() -> None:
    """SIGKILL cannot be handled, and yet the embedded store and its guard end."""
    with Serve(configured()) as proxy:
        started = descendants(proxy.pid)
        assert proxy.store in started
        proxy.signal(signal.SIGKILL)
        assert proxy.ended() == -signal.SIGKILL
        eventually(lambda: not any(map(alive, started)), 3.0)


def test_ctrl_c_reaches_the_whole_group_and_ends_it_cleanly() -> None:
    """A terminal sends SIGINT to every process of the group; the store still outlives the proxy."""
    with Serve(configured()) as proxy:
        started = descendants(proxy.pid)
        os.killpg(proxy.pid, signal.SIGINT)
        assert proxy.ended() == 0
        assert not any(map(alive, started))
        assert not [line for line in proxy.err if '"level":"error"' in line or "Traceback" in line]
