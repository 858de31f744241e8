import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import openai
import pytest
import trustme
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from raw_peer import LOOPS, Peer, connected, run, until, with_mock

from mockprovider import Behaviour, Delay, Match, MockProvider, Rule, Script, key_id, load
from mockprovider import run as serve

Loop = Callable[[], asyncio.AbstractEventLoop]
loops = pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])

_HI: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]
_TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


class _Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def _status(peer: Peer, **headers: str) -> int:
    peer.send({"model": "m", "messages": _HI}, **headers)
    return (await peer.reply())[0]


async def _told(peer: Peer, path: str) -> Any:
    peer.send(path=path, method="GET")
    return json.loads((await peer.reply())[1])


@pytest.fixture(name="tls")
def _tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of a server and of a client that trusts it."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    return server, client


def test_every_request_has_an_entry() -> None:
    """What was sent and what became of it can be read afterwards."""

    async def test(mock: MockProvider, peer: Peer) -> None:
        assert await _status(peer, authorization="Bearer sk-a", x_extra="1") == 200
        (entry,) = mock.requests
        assert (entry.method, entry.path, entry.model) == ("POST", "/v1/chat/completions", "m")
        assert (entry.key_id, entry.outcome, entry.streaming) == (key_id("sk-a"), "ok", False)
        assert entry.headers["authorization"] == "Bearer sk-a"
        assert entry.headers["x-extra"] == "1"
        assert json.loads(entry.body)["messages"] == _HI
        assert entry.body_bytes == len(entry.body)
        assert entry.done_at is not None
        assert entry.at <= entry.done_at
        assert entry.gone_at is None
        assert entry.bytes_written > 200

    run(with_mock(test))


def test_recording_can_be_off() -> None:
    """Without recording there are counters and no entries."""

    async def test(mock: MockProvider, peer: Peer) -> None:
        assert await _status(peer, api_key="sk-a") == 200
        assert mock.requests == []
        stats = mock.stats()
        assert (stats["requests"], stats["keys"], stats["outcomes"]) == (1, {key_id("sk-a"): 1}, {"ok": 1})

    run(with_mock(test, record=False))


def test_windows_follow_the_clock() -> None:
    """A provider is down between two times of the clock it was given."""
    clock = _Clock()
    script = load("rules: [{match: {after_s: 5, before_s: 15}, then: {status: 503}}]")

    async def test(mock: MockProvider, peer: Peer) -> None:
        statuses = []
        for now in (100, 104, 105, 114, 115):
            clock.now = now
            statuses.append(await _status(peer))
        assert statuses == [200, 200, 503, 503, 200]
        assert mock.requests[2].at == 105

    run(with_mock(test, script=script, clock=clock))


def test_the_script_can_be_replaced_while_running() -> None:
    """A new script starts its own clock and counters; a reset goes back to the first and forgets."""
    clock = _Clock()

    async def test(mock: MockProvider, peer: Peer) -> None:
        assert await _status(peer) == 501
        clock.now = 200
        mock.script = Script((Rule(Match(before_s=1, nth=1), Behaviour(status=502)),))
        assert [await _status(peer), await _status(peer)] == [502, 200]
        assert len(mock.script.rules) == 1
        mock.reset()
        assert (mock.requests, mock.stats()["requests"]) == ([], 0)
        assert await _status(peer) == 501

    run(with_mock(test, script=Script(default=Behaviour(status=501)), clock=clock))


def test_a_rule_can_tell_a_reused_connection() -> None:
    """A kept connection dies under its second request, a fresh one works."""
    script = Script((Rule(Match(reused=True), Behaviour(cut_before_headers=True)),))

    async def test(mock: MockProvider, peer: Peer) -> None:
        peer.send({"model": "m", "messages": _HI})
        assert (await peer.reply())[0] == 200
        peer.send({"model": "m", "messages": _HI})
        assert await peer.rest() == (b"", "fin")
        async with connected(mock) as fresh:
            assert await _status(fresh) == 200

    run(with_mock(test, script=script))


def test_one_key_can_be_limited_and_another_revoked() -> None:
    """Rules by key leave the other keys alone, and the statistics tell the keys apart."""
    script = load(
        """
        rules:
          - match: {key: sk-limited}
            then: {status: 429, headers: {retry-after: 7}}
          - match: {key: sk-revoked}
            then: {status: 401}
        """
    )

    async def test(mock: MockProvider, peer: Peer) -> None:
        for key, status in (("sk-limited", 429), ("sk-revoked", 401), ("sk-good", 200), ("sk-good", 200)):
            assert await _status(peer, authorization=f"Bearer {key}") == status
        stats = mock.stats()
        assert stats["keys"] == {key_id("sk-limited"): 1, key_id("sk-revoked"): 1, key_id("sk-good"): 2}
        assert stats["outcomes"] == {"status_429": 1, "status_401": 1, "ok": 2}

    run(with_mock(test, script=script))


def test_a_delay_can_grow() -> None:
    """A ramp makes later requests slower."""
    script = Script(default=Behaviour(delay_headers_s=Delay(0.0, 0.06, over_n=2)))

    async def test(mock: MockProvider, peer: Peer) -> None:
        took = []
        for _ in range(3):
            assert await _status(peer) == 200
            entry = mock.requests[-1]
            assert entry.done_at is not None
            took.append(entry.done_at - entry.at)
        assert took[1] >= 0.029
        assert took[2] >= 0.059

    run(with_mock(test, script=script))


def test_the_control_endpoints_work_over_http() -> None:
    """Another process can see the counters and entries, replace the script and reset; none of it counts."""

    async def test(mock: MockProvider, peer: Peer) -> None:
        peer.send(b"rules: [{then: {status: 418}}]", "/_mock/script")
        assert await peer.reply() == (200, b'{"rules":1}')
        assert await _status(peer, authorization="Bearer sk-secret") == 418
        stats = await _told(peer, "/_mock/stats")
        assert (stats["requests"], stats["open_connections"], stats["streams_open"]) == (1, 1, 0)
        (entry,) = (await _told(peer, "/_mock/requests?last=5"))["requests"]
        assert (entry["outcome"], entry["headers"]["authorization"]) == (
            "status_418",
            f"*** ({key_id('sk-secret')})",
        )
        assert (await _told(peer, "/_mock/requests?last=0"))["requests"] == []
        peer.send(b"", "/_mock/reset")
        assert (await peer.reply())[0] == 200
        assert mock.requests == []
        assert await _status(peer) == 200

    run(with_mock(test))


def test_what_was_sent_can_be_fetched() -> None:
    """The newest bodies with their paths, keys and headers, also of what was refused; secrets are masked."""
    body = {"model": "m", "max_tokens": 9, "messages": _HI}

    async def test(mock: MockProvider, peer: Peer) -> None:
        assert await _status(peer, authorization="Bearer sk-first") == 200
        for sent, status in (({**body, "top": 1}, 400), (body, 200)):
            peer.send(sent, "/v1/messages", x_api_key="sk-secret", anthropic_version="2023-06-01")
            assert (await peer.reply())[0] == status
        told = await _told(peer, "/_mock/requests?last=2")
        assert "sk-secret" not in json.dumps(told)
        refused, served = told["requests"]
        assert (refused["path"], refused["outcome"]) == ("/v1/messages", "status_400")
        assert json.loads(refused["body"])["top"] == 1
        assert json.loads(served["body"]) == body
        assert served["key_id"] == key_id("sk-secret")
        assert served["headers"]["anthropic-version"] == "2023-06-01"
        assert served["headers"]["x-api-key"] == f"*** ({key_id('sk-secret')})"

    run(with_mock(test))


def test_a_flavour_of_the_constructor_stays() -> None:
    """Whatever script is played."""
    body = {"model": "m", "messages": [{"role": "developer", "content": "hi"}]}

    async def test(mock: MockProvider, peer: Peer) -> None:
        for script in (Script(), Script(flavour="openai")):
            mock.play(script)
            peer.send(body)
            assert (await peer.reply())[0] == 400

    run(with_mock(test, flavour="deepseek"))


@loops
def test_tls_serves_streams_and_breaks(loop: Loop, tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """Over TLS a stream is whole, and a cut, a half close and a reset end the connection."""
    server, client = tls

    async def test() -> None:
        mock = MockProvider()
        await mock.start(ssl_context=server)
        async with mock:
            async with connected(mock, client) as peer:
                peer.ask(stream=True)
                assert (await peer.reply())[1].endswith(b"data: [DONE]\n\n")
            for how in ("fin", "rst", "half"):
                async with connected(mock, client) as peer:
                    peer.ask(stream=True, cut_after_events=1, cut_with=how)
                    await peer.head()
                    data, ended = await peer.rest()
                    assert data.count(b"data: ") == 1
                    assert ended in {"fin", "rst"}

    run(test(), loop)


@loops
def test_closing_drops_everyone_at_once(loop: Loop) -> None:
    """Close ends stalled streams and idle connections and frees the port; closing twice is harmless."""

    async def test() -> None:
        mock = MockProvider()
        port = await mock.start()
        async with connected(mock) as idle, connected(mock) as busy:
            busy.ask(stream=True, stall_after_events=1)
            await busy.head()
            await mock.close()
            assert (await idle.rest())[0] == b""
            await busy.rest()
            assert mock.connections_open == 0
        await mock.close()
        again = MockProvider()
        assert await again.start(port=port) == port
        await again.close()

    run(test(), loop)


def test_an_unstarted_mock_can_be_closed_and_asked() -> None:
    """Nothing listens, nothing is counted."""

    async def test() -> None:
        mock = MockProvider("idle")
        await mock.close()
        assert mock.stats()["requests"] == 0
        assert mock.now() == 0.0

    run(test())


def test_the_openai_sdk_is_content() -> None:
    """The official client reads chat, streams, tools, both embedding formats, errors and models."""

    async def test() -> None:
        async with (
            MockProvider("alpha") as mock,
            openai.AsyncOpenAI(
                api_key="sk-a", base_url=f"http://127.0.0.1:{mock.port}/v1", max_retries=0
            ) as client,
        ):
            await _chat(client)
            await _stream(client)
            await _tools(client)
            await _embeddings(client)
            with pytest.raises(openai.RateLimitError) as caught:
                await client.chat.completions.create(model="m#status=429", messages=_HI)
            assert caught.value.code == "rate_limit_exceeded"
            assert [model.id async for model in client.models.list()] == ["mock-model"]
            async with client.responses.stream(model="m", input="hi") as stream:
                assert (await stream.get_final_response()).output_text.endswith("You said: hi")
        assert mock.stats()["outcomes"] == {"ok": 8, "status_429": 1}

    run(test())


async def _chat(client: openai.AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(model="m", messages=_HI)
    assert reply.choices[0].message.content == "Hello from alpha. You said: hi"
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (1, 6)


async def _stream(client: openai.AsyncOpenAI) -> None:
    chunks = [
        chunk
        async for chunk in await client.chat.completions.create(
            model="m", messages=_HI, stream=True, stream_options={"include_usage": True}
        )
    ]
    said = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(said) == "Hello from alpha. You said: hi"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 7


async def _tools(client: openai.AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(
        model="m", messages=_HI, tools=[_TOOL], tool_choice="required"
    )
    calls = reply.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].type == "function"
    assert json.loads(calls[0].function.arguments) == {"city": "hi"}
    async with client.chat.completions.stream(
        model="m", messages=_HI, tools=[_TOOL], tool_choice="required"
    ) as stream:
        final = await stream.get_final_completion()
    streamed = final.choices[0].message.tool_calls
    assert streamed is not None
    assert (streamed[0].function.name, streamed[0].function.arguments) == ("weather", '{"city":"hi"}')


async def _embeddings(client: openai.AsyncOpenAI) -> None:
    packed = await client.embeddings.create(model="e", input=["a", "b"], dimensions=4)
    plain = await client.embeddings.create(model="e", input=["a", "b"], dimensions=4, encoding_format="float")
    assert [each.embedding for each in packed.data] == [each.embedding for each in plain.data]
    assert len(packed.data[1].embedding) == 4
    assert plain.usage.total_tokens == 2


@loops
def test_run_announces_its_address_and_ends_on_a_signal(loop: Loop) -> None:
    """One line tells where it listens; SIGTERM ends it, open streams or not."""

    async def test() -> None:
        mock, said = MockProvider("alpha"), asyncio.Queue[str]()
        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            tasks.create_task(serve(mock, announce=said.put_nowait))
            assert await said.get() == f"alpha listens on http://127.0.0.1:{mock.port}"
            async with connected(mock) as peer:
                peer.ask(stream=True, stall_after_events=0)
                await peer.head()
                os.kill(os.getpid(), signal.SIGTERM)
                await peer.rest()
        assert said.empty()
        assert mock.connections_open == 0

    run(test(), loop)


@pytest.mark.process
def test_it_runs_alone_in_a_process() -> None:
    """The package needs nothing of the proxy: it serves from a fresh interpreter and exits cleanly."""
    code = (
        "import asyncio, sys, mockprovider\n"
        "assert not any(name.split('.')[0] == 'proxy' for name in sys.modules)\n"
        "say = lambda line: print(line, flush=True)\n"
        "asyncio.run(mockprovider.run(mockprovider.MockProvider(), announce=say))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 0
    assert line.startswith("mock listens on http://127.0.0.1:")


def test_a_peer_that_leaves_while_being_delayed_is_noted() -> None:
    """A client that gives up before the headers is seen at once, and no timer is left behind."""

    async def test(mock: MockProvider, peer: Peer) -> None:
        peer.ask(delay_headers_s=30)
        await until(mock, lambda: bool(mock.requests))
        peer.writer.close()
        left_at = mock.now()
        await until(mock, lambda: mock.requests[0].gone_at is not None)
        gone_at = mock.requests[0].gone_at
        assert gone_at is not None
        assert gone_at - left_at < 0.5
        assert mock.stats()["streams_aborted"] == 0
        assert mock.stats()["aborted"] == 1

    run(with_mock(test))
