"""How a running `serve` takes another configuration: whole, or not at all, and without losing a request."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from harness import (
    KEY,
    MODEL,
    PATIENCE,
    Child,
    Line,
    Mock,
    Serve,
    alive,
    apex,
    configured,
    environment,
    fetch,
    get,
    two_free_ports,
    written,
)

pytestmark = pytest.mark.process

OTHER = "sk-another-client-of-tests"
SLOW = {"default": {"tokens": 25, "delay_events_s": 0.06}}


def chat(proxy: Serve, key: str = KEY, model: str = MODEL) -> int:
    """The status of a short chat."""
    return ask(proxy.port, "/v1/chat/completions", asking(model), key)[0]


def asking(model: str = MODEL, *, stream: bool = False) -> dict[str, object]:
    """A chat request."""
    return {"model": model, "messages": [{"role": "user", "content": "Hello"}], "stream": stream}


def ask(port: int, path: str, body: object = None, key: str = KEY) -> tuple[int, Line]:
    """Status and JSON of a POST."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def hashes(proxy: Serve) -> set[str]:
    """The hashes of the configurations that the cluster runs with."""
    return {told["config_hash"] for told in fetch(proxy.operations, "/admin/replicas")["replicas"]}


@pytest.fixture(scope="module")
def mock() -> Iterator[Mock]:
    """A provider that takes 1.5 s for a stream."""
    with Mock(SLOW) as provider:
        yield provider


def test_sighup_changes_clients_models_and_limits_and_cuts_no_stream(mock: Mock) -> None:
    """A stream that began before ends whole, even if its client is no more; the next finds all new."""

    async def main(proxy: Serve) -> None:
        headers = {"authorization": f"Bearer {KEY}"}
        async with (
            httpx.AsyncClient(
                base_url=proxy.url, headers=headers, timeout=PATIENCE, trust_env=False
            ) as client,
            client.stream("POST", "/chat/completions", json=asking(stream=True)) as streamed,
        ):
            lines = streamed.aiter_lines()
            await anext(lines)
            proxy.signal(signal.SIGHUP)
            await asyncio.to_thread(proxy.event, "reloaded")
            assert await asyncio.to_thread(chat, proxy, KEY) == 401
            assert await asyncio.to_thread(chat, proxy, OTHER, "renamed") == 200
            rest = [line async for line in lines]
        assert rest[-2] == "data: [DONE]"

    limits = {"requests_per_minute": 1, "burst": 1}
    after = configured(mock, clients=[{"name": "others", "key": OTHER, "limits": limits}])
    models: Any = after["models"]
    models["renamed"] = models.pop(MODEL)
    with Serve(configured(mock)) as proxy:
        before = hashes(proxy)
        proxy.rewrite(after)
        asyncio.run(main(proxy))
        assert chat(proxy, OTHER, "renamed") == 429
        assert chat(proxy, OTHER, MODEL) == 404
        told = proxy.event("reloaded")
        assert {told["was"]} == before
        assert {told["config_hash"]} == hashes(proxy) != before
        assert proxy.stop() == 0


def test_a_mounted_secret_is_read_again_and_bodies_are_logged_for_a_while(mock: Mock) -> None:
    """A key that was changed in its own file, and a look at what is said: each is a reload."""
    with Serve(configured(mock)) as proxy:
        secret = proxy.file.parent / "secret"
        secret.write_text(OTHER)
        clients = [{"name": "others", "key": "${file:secret}"}]
        proxy.rewrite(configured(mock, clients=clients, log={"bodies": True}))
        assert ask(proxy.operations, "/admin/reload")[0] == 200
        assert (chat(proxy, KEY), chat(proxy, OTHER)) == (401, 200)
        secret.write_text(KEY)
        proxy.rewrite(configured(mock, clients=clients))
        assert ask(proxy.operations, "/admin/reload")[0] == 200
        assert (chat(proxy, KEY), chat(proxy, OTHER)) == (200, 401)
        assert proxy.stop() == 0
        [line] = [one for one in proxy.events("request") if "body_in" in one and one["status"] == 200]
        assert json.loads(line["body_in"]) == asking()
        assert json.loads(line["body_out"])["object"] == "chat.completion"


def test_a_bad_file_is_refused_with_all_its_errors(mock: Mock) -> None:
    """In the log and in the answer, in the words of `check`; what runs goes on as it was."""
    with Serve(configured(mock)) as proxy:
        before = hashes(proxy)
        proxy.rewrite(configured(mock, retry={"attempts": 0}, queue={"max_wiat": 1}))
        proxy.signal(signal.SIGHUP)
        errors = proxy.event("reload_refused")["errors"]
        assert [error.split()[0] for error in errors] == ["retry.attempts", "queue.max_wiat"]
        status, answer = ask(proxy.operations, "/admin/reload")
        assert (status, answer["error"]["code"]) == (422, "configuration_refused")
        assert answer["error"]["message"] == "\n  ".join([f"{proxy.file} has 2 errors:", *errors])
        proxy.file.unlink()
        assert ask(proxy.operations, "/admin/reload")[0] == 422
        assert chat(proxy) == 200
        assert hashes(proxy) == before
        assert not proxy.events("reloaded")


def test_what_is_fixed_is_refused_by_name(mock: Mock) -> None:
    """Ports, store and workers need a restart, told beside all else; what may be a secret is not shown."""
    with Serve(configured(mock)) as proxy:
        fixed: Any = {"listen": {"port": 1}, "redis": {"url": "redis://:canary@127.0.0.1:1"}}
        proxy.rewrite(configured(mock, **fixed, log={"format": "json"}, drain_timeout="soon"))
        status, answer = ask(proxy.operations, "/admin/reload")
        assert status == 422
        head, *problems = answer["error"]["message"].splitlines()
        assert head == f"{proxy.file} has 4 errors:"
        names = {line.split()[0].removesuffix(":") for line in problems}
        assert names == {"listen.port", "redis.url", "log.format", "drain_timeout"}
        assert "canary" not in answer["error"]["message"]
        assert get(proxy.port, "/readyz")[0] == 200


def test_a_reload_by_request_says_what_came_of_it(mock: Mock) -> None:
    """The same file is no change; the level of the log is one that takes effect at once."""
    with Serve(configured(mock)) as proxy:
        [before] = hashes(proxy)
        assert ask(proxy.operations, "/admin/reload") == (200, {"changed": False, "config_hash": before})
        proxy.event("reloaded")  # a line is written by a thread, after the answer
        proxy.rewrite(configured(mock, log={"level": "error"}))
        assert ask(proxy.operations, "/admin/reload")[1]["changed"] is True
        lines = len(proxy.err)
        assert chat(proxy) == 200
        assert proxy.stop() == 0
        assert not proxy.events("request")
        assert not [line for line in proxy.err[lines:] if '"level":"info"' in line]


def test_a_configuration_in_the_environment_is_not_read_again(mock: Mock, tmp_path: Path) -> None:
    """It is the same as long as the process runs; whoever asks is told so."""
    provider = {"api_key": "sk-mock", "base_url": f"http://127.0.0.1:{mock.port}/v1"}
    variables = environment(
        PROVIDER_CONFIG=json.dumps({"mock": provider}),
        MODEL_PROVIDER_CONFIG=json.dumps({MODEL: {"providers": [{"provider": "mock", "model": "big"}]}}),
        SERVICE_API_KEY=KEY,
    )
    options = ("--port", "0", "--operations-port", "0")
    with apex("serve", *options, environ=variables, cwd=tmp_path) as proxy:
        status, answer = ask(int(proxy.event("ready")["operations_port"]), "/admin/reload")
        assert status == 422
        assert answer["error"]["message"].splitlines()[1].strip() == (
            "configuration: it is in the environment, which is the same as long as this process runs; restart"
        )
        proxy.signal(signal.SIGINT)  # SIGTERM would wait for balancers, as is usual
        assert proxy.ended() == 0


def test_every_worker_takes_it(mock: Mock) -> None:
    """The parent passes SIGHUP on; a worker that is replaced meanwhile, or a bad file, harms nobody."""
    config = configured(mock, operations={"port": two_free_ports()})
    with Serve(config, "--workers", "2") as proxy:
        proxy.event("ready", 2)
        proxy.rewrite({**config, "clients": [{"name": "others", "key": OTHER}]})
        proxy.signal(signal.SIGHUP)
        told = [proxy.event("reloaded", number)["config_hash"] for number in (1, 2)]
        assert told[0] == told[1]
        assert {chat(proxy, OTHER) for _ in range(8)} == {200}
        assert {chat(proxy, KEY) for _ in range(8)} == {401}
        proxy.rewrite({**config, "clients": 7})
        proxy.signal(signal.SIGHUP)
        proxy.event("reload_refused", 2)
        assert chat(proxy, OTHER) == 200
        assert proxy.stop() == 0


def overtaken(pipe: Path, proxy: Child, before: object, after: object) -> None:
    """A hangup comes while the first configuration is read, out of a pipe; the next one is there already."""
    with pipe.open("w", encoding="utf-8") as reading:  # opened as soon as it is read
        proxy.signal(signal.SIGHUP)
        written(pipe.parent, after, "new.yaml").replace(pipe)
        reading.write(json.dumps(before))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_hangup_while_it_starts_is_a_reload_as_soon_as_it_can(
    mock: Mock, tmp_path: Path, workers: int
) -> None:
    """It ends nothing, and what was written before it came is what is served."""
    before = configured(mock, operations={"port": two_free_ports()})
    os.mkfifo(pipe := tmp_path / "apex.yaml")
    with apex("serve", str(pipe), "--workers", str(workers)) as proxy:
        overtaken(pipe, proxy, before, {**before, "clients": [{"name": "others", "key": OTHER}]})
        port = proxy.event("ready", workers)["port"]
        if workers == 1:  # those of several read the file themselves, after it
            proxy.event("reloaded")
        for _ in range(4):
            assert ask(port, "/v1/chat/completions", asking(), OTHER)[0] == 200
        assert proxy.stop() == 0


def test_a_demo_goes_on_without_its_terminal() -> None:
    """A hangup ends it no more than lines that nobody can read."""
    command = [sys.executable, "-m", "proxy", "demo", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as demo:
        assert demo.stdout is not None
        try:
            address, key = next(line for line in demo.stdout if line.startswith("Address")).split()[1:4:2]
            while "Ctrl-C" not in demo.stdout.readline():
                """The rest of its welcome."""
            demo.stdout.close()
            demo.send_signal(signal.SIGHUP)
            with httpx.Client(headers={"authorization": f"Bearer {key}"}, trust_env=False) as client:
                for _ in range(3):
                    assert client.post(f"{address}/chat/completions", json=asking()).status_code == 200
            assert demo.poll() is None
        finally:
            demo.send_signal(signal.SIGINT)
            demo.wait(PATIENCE)


@pytest.mark.parametrize("under_nohup", [False, True])
def test_a_hangup_ends_a_command_that_nobody_asks_to_reload(tmp_path: Path, *, under_nohup: bool) -> None:
    """As a closed terminal should; not where whoever has started it wants it to go on."""
    os.mkfifo(pipe := tmp_path / "apex.yaml")
    ours = signal.signal(signal.SIGHUP, signal.SIG_IGN if under_nohup else signal.SIG_DFL)
    try:
        checking = apex("check", str(pipe))
    finally:
        signal.signal(signal.SIGHUP, ours)
    with checking:
        with pipe.open("w", encoding="utf-8"):
            checking.signal(signal.SIGHUP)
        assert checking.ended() == (1 if under_nohup else -signal.SIGHUP)


def test_hangups_until_the_last_moment_do_not_spoil_the_end(mock: Mock) -> None:
    """Neither while it drains nor while Python itself takes its leave."""
    with Serve(configured(mock)) as proxy:
        proxy.signal(signal.SIGINT)
        while alive(proxy.pid):
            proxy.signal(signal.SIGHUP)
        assert proxy.ended() == 0
