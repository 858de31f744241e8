"""The command line as a user types it: what is printed where, and the exit status."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from harness import (
    KEY,
    MODEL,
    Child,
    Mock,
    Serve,
    alive,
    apex,
    configured,
    descendants,
    environment,
    fetch,
    get,
    written,
)

import proxy as product
from proxy.workers import DEATHS, RESPAWN, YOUNG

pytestmark = pytest.mark.process

GOOD: dict[str, object] = {
    "drain_grace": 0,
    "clients": [{"name": "dev", "key": KEY}],
    "providers": {"local": {"base_url": "http://127.0.0.1:9/v1"}},
    "models": {MODEL: {"providers": [{"provider": "local"}]}},
}
FIVE_MISTAKES = """\
listen: {port: 99999}
clients: [{name: dev, key: short}]
providers:
  local: {base_url: "ftp://127.0.0.1/v1", api_key: "${NOT_SET_ANYWHERE}"}
models:
  gpt: {providers: [{provider: nobody}]}
"""


def refused(child: Child) -> str:
    """What a command that cannot start says: one line on standard error, exit status 1."""
    with child:
        assert child.ended() == 1
    assert child.out == []
    assert len(child.err) == 1, child.err
    assert child.err[0].startswith("Error: ")
    return child.err[0]


def test_check_tells_all_five_mistakes(tmp_path: Path) -> None:
    """Each mistake is a line with its path; the exit status is 1 and nothing goes to standard output."""
    file = tmp_path / "apex.yaml"
    file.write_text(FIVE_MISTAKES, "utf-8")
    with apex("check", str(file)) as child:
        assert child.ended() == 1
    assert child.out == []
    assert child.err[0].endswith("has 5 errors:")
    for path in ("listen.port", "clients[0].key", "base_url", "NOT_SET_ANYWHERE", "nobody"):
        assert any(path in line for line in child.err[1:]), (path, child.err)
    assert len(child.err) == 6


def test_serve_refuses_without_clients(tmp_path: Path) -> None:
    """Nobody could call, so there is nothing to serve; the line says both ways out."""
    file = written(tmp_path, {**GOOD, "clients": []})
    with apex("serve", "--config", str(file), "--port", "0") as child:
        assert child.ended() == 1
    assert child.err[0].endswith("has 1 error:")
    assert "clients" in child.err[1]
    assert "--insecure-no-auth" in child.err[1]


def test_insecure_no_auth_answers_everybody() -> None:
    """Without clients, and only when asked to, no key is needed."""
    with Serve(configured(clients=[]), "--insecure-no-auth") as proxy:
        assert fetch(proxy.port, "/v1/models")["data"][0]["id"] == MODEL
        assert proxy.event("no_auth")["level"] == "warning"


def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    """It names the setting, the address and what to do, with one worker and with several."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for setting, more in (("listen", ()), ("listen", ("--workers", "2")), ("operations", ())):
            ports = {"listen": {"port": 0}, "operations": {"port": 0}, setting: {"port": port}}
            file = written(tmp_path, GOOD | ports)
            said = refused(apex("serve", "--config", str(file), *more))
            assert f"{setting}.port: cannot listen on 127.0.0.1:{port}" in said


@pytest.mark.parametrize("more", [(), ("--workers", "2")])
def test_an_embedded_store_that_cannot_start_is_one_line(tmp_path: Path, more: tuple[str, ...]) -> None:
    """No folder for it, or data it cannot read: why, and that a server of one's own is the way out."""
    damaged = tmp_path / "damaged" / "appendonlydir"
    damaged.mkdir(parents=True)
    (damaged / "appendonly.aof.manifest").write_text("this is no manifest\n", "ascii")
    for folder in (written(tmp_path, {}, "a-file"), damaged.parent):
        store = {"listen": {"port": 0}, "operations": {"port": 0}, "redis": {"embedded_dir": str(folder)}}
        said = refused(apex("serve", "--config", str(written(tmp_path, GOOD | store)), *more))
        assert "embedded store" in said
        assert "redis.url" in said


def test_no_configuration_is_one_error(tmp_path: Path) -> None:
    """Where nothing is configured, the error says where it was looked for."""
    with apex("serve", cwd=tmp_path) as child:
        assert child.ended() == 1
    assert "apex.yaml" in "\n".join(child.err)
    assert "apex-proxy demo" in "\n".join(child.err)


def test_the_environment_stands_in_for_a_file(tmp_path: Path) -> None:
    """The original's variables are a configuration, and APEX_REDIS_URL says which store."""
    with Mock() as mock:
        provider = {"base_url": f"http://127.0.0.1:{mock.port}/v1", "api_keys": ["sk-one", "sk-two"]}
        environ = environment(
            PROVIDER_CONFIG=json.dumps({"mock": provider}),
            MODEL_PROVIDER_CONFIG=json.dumps({"fast": {"providers": [{"provider": "mock", "model": "big"}]}}),
            SERVICE_API_KEY=KEY,
            APEX_REDIS_URL="redis://127.0.0.1:1",
        )
        arguments = ("serve", "--port", "0", "--operations-port", "0")
        with apex(*arguments, environ=environ, cwd=tmp_path) as child:
            port = child.event("ready")["port"]
            assert child.events("store_started") == []
            assert child.event("redis")["reason"] == "connection"
            assert chat(port, "fast") == "Hello from mock. You said: Hello"
            assert chat(port, "big#mock") == "Hello from mock. You said: Hello"
            assert mock.stats()["models"] == {"big": 2}
            child.signal(signal.SIGINT)
            assert child.ended() == 0


def test_the_file_is_found_by_variable_and_by_place(tmp_path: Path) -> None:
    """$APEX_CONFIG, else ./apex.yaml; the options go over what stands in it."""
    ports = {"listen": {"port": 1}, "operations": {"port": 2}}
    file = written(tmp_path, GOOD | ports, "other.yaml")
    arguments = ("serve", "--host", "localhost", "--port", "0", "--operations-port", "0")
    redis = environment(APEX_REDIS_URL="redis://127.0.0.1:1")
    written(tmp_path, GOOD | ports)
    for environ in (redis | {"APEX_CONFIG": str(file)}, redis):
        with apex(*arguments, environ=environ, cwd=tmp_path) as child:
            assert child.event("ready")["models"] == 1
            assert child.stop() == 0


def chat(port: int, model: str) -> str:
    """What a chat says."""
    with Child(
        *(
            "curl",
            "-sS",
            f"http://127.0.0.1:{port}/v1/chat/completions",
            "-H",
            f"Authorization: Bearer {KEY}",
        ),
        *("-H", "Content-Type: application/json", "-d"),
        json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}]}),
    ) as curl:
        assert curl.ended() == 0
    said: str = json.loads(curl.out[0])["choices"][0]["message"]["content"]
    return said


def test_a_mock_plays_its_script_and_refuses_a_bad_one(tmp_path: Path) -> None:
    """A script is played; each mistake in it is a line that names its place and what is allowed."""
    with Mock({"default": {"status": 418}}, "teapot") as mock:
        assert mock.out == [f"teapot listens on http://127.0.0.1:{mock.port}"]
        assert get(mock.port, "/v1/models")[0] == 418
        assert mock.stop() == 0
    bad = written(tmp_path, {"rules": [{"then": {"statos": 500}}]}, "bad.yaml")
    said = refused(apex("mock", "--port", "0", "--script", str(bad)))
    assert "rules[0].then" in said
    assert "statos" in said
    assert "missing.yaml: no such file" in refused(
        apex("mock", "--port", "0", "--script", str(tmp_path / "missing.yaml"))
    )


def test_a_mock_cannot_have_a_taken_port() -> None:
    """One line, and no traceback."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused(apex("mock", "--port", str(port)))
    assert f"cannot listen on 127.0.0.1:{port} (address already in use)" in said


def test_a_mock_needs_an_address_of_this_machine() -> None:
    """Then the host is at fault, not the port."""
    said = refused(apex("mock", "--host", "192.0.2.1", "--port", "0"))
    assert said.startswith("Error: --host: cannot listen on 192.0.2.1:0 (")


def test_a_mock_without_a_record_only_counts() -> None:
    """Nothing of a request is kept, so any number of them costs no memory."""
    with apex("mock", "--port", "0", "--no-record") as mock:
        port = int(mock.until(lambda: next(iter(mock.out), None)).rpartition(":")[2])
        assert get(port, "/v1/models")[0] == 200
        assert fetch(port, "/_mock/stats")["requests"] == 1
        assert fetch(port, "/_mock/requests")["requests"] == []


def test_workers_that_cannot_run_end_serve(tmp_path: Path) -> None:
    """The file breaks after the parent has read it: its workers die, and it does not try for ever."""
    # A named pipe is a file that can be read once: the parent sees the configuration, the workers nothing.
    pipe = tmp_path / "apex.yaml"
    os.mkfifo(pipe)
    config = {**GOOD, "listen": {"port": 0, "workers": 2}, "operations": {"port": 0}}
    with apex("serve", "--config", str(pipe)) as child:
        pipe.write_text(json.dumps(config), "utf-8")
        pipe.unlink()  # who has it open reads on; a worker that found it here would wait for a writer
        child.event("store_started")
        # One dies so often in a row, each time young, and rests in between. A death that comes later does not
        # count, as on a crowded machine: there is time to begin again.
        assert child.ended(4 * DEATHS * (YOUNG + RESPAWN)) == 1
    assert "died 5 times within 5 s of its start" in child.err[-1]
    assert child.err[-1].startswith("Error: worker ")


def test_the_demo_prints_three_commands_that_work() -> None:
    """Each is run as it is printed, by a shell; each leaves a line; Ctrl-C leaves no process."""
    if shutil.which("curl") is None:
        pytest.skip("the printed commands need curl")
    # Its own providers are never looked for behind the proxy of an office network.
    with apex("demo", "--port", "0", environ=environment(HTTP_PROXY="http://127.0.0.1:9")) as demo:
        demo.until(lambda: next((line for line in demo.out if "Ctrl-C" in line), None))
        commands = "\n".join(demo.out).split("# ")[1:]
        commands = [command.partition("\n")[2].partition("\n\n")[0] for command in commands]
        answers = [
            subprocess.run(
                ["sh", "-c", command], capture_output=True, text=True, check=True, timeout=20
            ).stdout
            for command in commands
        ]
        assert len(answers) == 3
        assert json.loads(answers[0])["choices"][0]["message"]["role"] == "assistant"
        assert answers[1].endswith("data: [DONE]\n\n\n")
        assert json.loads(answers[2])["object"] == "list"
        lines = demo.until(lambda: found if len(found := told(demo)) == 3 else None)
        assert all(line.startswith("200 gpt-4o-mini ") and line.endswith(" ok") for line in lines[:2])
        assert lines[2].startswith("200 - models ")
        everything = descendants(demo.pid)
        assert everything
        os.killpg(demo.pid, signal.SIGINT)
        assert demo.ended() == 0
        assert not any(map(alive, everything))
        assert demo.err == []
        assert demo.out[-1].startswith("The demo has ended after 3 requests: ")


def told(demo: Child) -> list[str]:
    """The lines that requests have left."""
    return [line for line in demo.out if " ms " in line]


def test_a_demo_on_a_taken_port_is_one_line() -> None:
    """It says which port, and how to take another."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = refused(apex("demo", "--port", str(taken.getsockname()[1])))
    assert said.startswith("Error: --port: ")
    assert 'make demo ARGS="--port 8000"' in said


def test_the_console_script_is_the_module() -> None:
    """`apex-proxy --version` says what the package says."""
    script = Path(sys.executable).parent / "apex-proxy"
    if not script.exists():
        pytest.skip("the package is not installed here")
    with Child(str(script), "--version") as child:
        assert child.ended() == 0
    assert child.out == [f"apex-proxy, version {product.__version__}"]


def test_an_open_operations_port_is_told_of() -> None:
    """At the start, unless who looks needs a token."""
    host = {"host": "0.0.0.0", "port": 0}
    with Serve(configured(operations=host)) as proxy:
        assert "operations.token" in proxy.event("operations_unguarded")["hint"]
    with Serve(configured(operations={**host, "token": "sk-of-operators"})) as proxy:
        assert proxy.events("operations_unguarded") == []
