"""`explain` and `replay` as an operator types them: what is printed where, and the exit status."""

import dataclasses
import http.client
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import (
    EMBEDDING,
    KEY,
    MODEL,
    PATIENCE,
    Mock,
    Serve,
    configured,
    environment,
    two_free_ports,
    written,
)

pytestmark = pytest.mark.process

TOKEN = "sk-token-of-operators"
OTHER_KEY = "sk-another-client-of-tests"
UNSTEADY = {"rules": [{"match": {"every": 2}, "then": {"status": 503}}]}
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
WOULD_GO = f"would go to unsteady/{MODEL}; if that fails, steady/{MODEL}, then steady/{MODEL} once more\n"
SECRETS = (KEY, OTHER_KEY, TOKEN, "sk-steady-0", "sk-unsteady-0")


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """What a command has printed, and its exit status."""

    out: str
    err: str
    status: int


def asked(*arguments: str, cwd: Path, typed: bytes = b"", environ: Mapping[str, str] | None = None) -> Said:
    """`apex-proxy` with these arguments. Whatever it says, there is no traceback and no key in it."""
    ended = subprocess.run(
        [sys.executable, "-m", "proxy", *arguments],
        input=typed,
        capture_output=True,
        check=False,
        cwd=cwd,
        env=environment(**(environ or {})),
        timeout=PATIENCE,
    )
    said = Said(ended.stdout.decode(), ended.stderr.decode(), ended.returncode)
    assert "Traceback" not in said.err, said.err
    assert [secret for secret in SECRETS if secret in said.out + said.err] == []
    return said


def refused(said: Said) -> str:
    """The one line of a command that got no answer."""
    assert said.status == 1, said
    assert said.out == ""
    assert said.err.startswith("Error: ")
    assert said.err.count("\n") == 1, said.err
    return said.err


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """A proxy that listens where its configuration says, which lies in `folder`; what it was asked before."""

    proxy: Serve
    folder: Path
    ids: list[str]

    def asked(self, *arguments: str, **more: Any) -> Said:
        """A command, typed in that folder."""
        return asked(*arguments, **{"cwd": self.folder, **more})


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """A model of two targets, of which the first one fails now and then; two clients; a token."""
    port = two_free_ports()
    with Mock(UNSTEADY, "unsteady") as unsteady, Mock(None, "steady") as steady:
        config = configured(
            unsteady,
            steady,
            operations={"port": port, "token": TOKEN},
            clients=[
                {"name": "tests", "key": KEY},
                {"name": "other", "key": OTHER_KEY, "models": [EMBEDDING]},
            ],
        )
        models: Any = config["models"]
        models[MODEL]["strategy"] = "ordered"
        with Serve(config) as proxy:
            yield Stage(proxy, proxy.file.parent, [chatted(proxy) for _ in range(4)])


def chatted(proxy: Serve) -> str:
    """The id of a chat."""
    with closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=PATIENCE)) as connection:
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(CHAT), headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        return str(answer.headers["x-request-id"])


def requests(stage: Stage) -> int:
    """How many requests the proxy has kept decisions on."""
    told = stage.asked("replay", "--config", "apex.yaml").out
    return int(told.partition(" ")[0])


def test_a_file_is_explained_and_nothing_is_sent(stage: Stage, tmp_path: Path) -> None:
    """Where it would go and where then, by the configuration that lies there; no request was made of it."""
    file = written(tmp_path, CHAT, "request.json")
    before = requests(stage)
    said = stage.asked("explain", str(file), "--client", "tests")
    assert said.status == 0, said.err
    assert said.err == ""
    assert said.out.startswith(WOULD_GO)
    assert "it comes later in the file" in said.out
    assert requests(stage) == before


def test_standard_input_is_explained_as_well(stage: Stage) -> None:
    """With `-`; a Responses body is seen to be one, and said to be translated."""
    body = json.dumps({"model": MODEL, "input": "Hello"}).encode()
    said = stage.asked("explain", "-", "--client", "tests", typed=body)
    assert said.status == 0, said.err
    assert f"responses reply for '{MODEL}', asked by tests" in said.out


def test_a_file_may_be_called_like_a_request(stage: Stage) -> None:
    """What lies there is a file, whatever its name begins with."""
    file = written(stage.folder, CHAT, "req_1.json")
    assert stage.asked("explain", file.name, "--client", "tests").out.startswith("would go to unsteady/")


def test_offline_asks_the_configuration_alone(stage: Stage, tmp_path: Path) -> None:
    """Nothing has to run, and no token is needed."""
    file = written(tmp_path, CHAT, "request.json")
    config = json.loads(stage.proxy.file.read_text("utf-8")) | {"operations": {"port": 1}}
    written(tmp_path, config)
    said = asked("explain", str(file), "--client", "tests", "--offline", cwd=tmp_path)
    assert said.status == 0, said.err
    assert said.out.startswith(WOULD_GO)
    wrong = asked("explain", str(file), "--client", "nobody", "--offline", cwd=tmp_path)
    assert "There is no client 'nobody'; clients are tests, other" in refused(wrong)


def test_a_request_is_explained_by_its_id(stage: Stage) -> None:
    """What was tried and how it ended; JSON is the whole of it."""
    said = stage.asked("explain", stage.ids[1])
    assert said.status == 0, said.err
    assert said.out.startswith("completed (200): unsteady/")
    assert "status_503 > steady/" in said.out
    told = json.loads(stage.asked("explain", stage.ids[1], "--json").out)
    assert told["request_id"] == stage.ids[1]
    assert told["agrees"] is True
    assert [step["outcome"] for step in told["steps"]] == ["status_503", "ok"]


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("req_00", "no id of a request"),
        ("req_../../metrics?x=1#y", "There is nothing at GET /admin/decisions/req_../../metrics"),
        ("req_" + "0" * 24, "does not answer: it may be gone"),
        ("missing.json", "missing.json: no readable file (No such file or directory)"),
        (".", ".: no readable file (Is a directory)"),
    ],
)
def test_what_cannot_be_explained_is_one_line(stage: Stage, what: str, told: str) -> None:
    """Ids that are none, and files that are not there."""
    assert told in refused(stage.asked("explain", what))


@pytest.mark.parametrize(
    ("body", "more", "told"),
    [
        (b"{", (), "not valid JSON"),
        (b"\xff\xfe", (), "UTF-8"),
        (b"[]", (), "object"),
        (json.dumps(CHAT).encode(), ("--client", "nobody"), "There is no client 'nobody'"),
        (json.dumps(CHAT).encode(), (), "--client NAME"),
    ],
)
def test_a_bad_question_is_one_line(stage: Stage, body: bytes, more: tuple[str, ...], told: str) -> None:
    """Bodies that are no request, and clients that are not there."""
    client = more if more or body.startswith(b'{"') else ("--client", "tests")
    assert told in refused(stage.asked("explain", "-", *client, typed=body))


@pytest.mark.parametrize(
    ("client", "body", "told"),
    [("tests", {}, "400 missing_required_parameter"), ("other", CHAT, "404 model_not_found")],
)
def test_what_would_be_refused_is_explained_too(stage: Stage, client: str, body: object, told: str) -> None:
    """The refusal is the answer; the command has done its work. JSON has what the client would read."""
    question = ("explain", "-", "--client", client)
    typed = json.dumps(body).encode()
    said = stage.asked(*question, typed=typed)
    assert said.status == 0, said.err
    assert said.out.startswith(f"would be refused: {told}\n")
    whole = json.loads(stage.asked(*question, "--json", typed=typed).out)
    assert whole["answer"]["error"]["code"] == told.partition(" ")[2]


def test_the_token_is_the_configurations_or_the_environments(stage: Stage, tmp_path: Path) -> None:
    """Without one the line says where to put it, and of a wrong one whose it was; never the token itself."""
    url = f"http://127.0.0.1:{stage.proxy.operations}"
    question = ("explain", stage.ids[0], "--url", url)
    assert "wants the operators' token: set $APEX_OPERATIONS_TOKEN" in refused(asked(*question, cwd=tmp_path))
    wrong = {"APEX_OPERATIONS_TOKEN": "sk-wrong-token"}
    said = asked(*question, cwd=tmp_path, environ=wrong)
    assert "refused the operators' token of $APEX_OPERATIONS_TOKEN; is this the operations port?" in refused(
        said
    )
    assert "sk-wrong-token" not in said.err
    said = stage.asked(*question, environ=wrong)
    assert "$APEX_OPERATIONS_TOKEN, which goes before the configuration's; is this" in refused(said)
    other = written(tmp_path, configured(operations={"port": 0, "token": "sk-wrong-token"}), "other.yaml")
    said = asked(*question, "--config", str(other), cwd=tmp_path)
    assert "refused the operators' token of the configuration; is this the operations port?" in refused(said)
    right = {"APEX_OPERATIONS_TOKEN": TOKEN}
    assert asked(*question, cwd=tmp_path, environ=right).status == 0
    for token in (f"{TOKEN}\nx: y", "sk-tökén", f"{TOKEN} "):
        said = asked(*question, cwd=tmp_path, environ={"APEX_OPERATIONS_TOKEN": token})
        assert "$APEX_OPERATIONS_TOKEN: a token is" in refused(said)


def test_no_http_proxy_stands_between(stage: Stage) -> None:
    """The token is for the operations port, and not for an office's network."""
    office = {"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"}
    assert stage.asked("explain", stage.ids[0], environ=office).status == 0


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://127.0.0.1:9", "is the proxy running? `OPTION` says where its operations port is"),
        ("127.0.0.1:9", "no answer"),
        ("http://[::1", "no answer"),
        (f"http://{'a' * 70}.test", "no answer"),
    ],
)
def test_nobody_there_is_one_line(tmp_path: Path, url: str, told: str) -> None:
    """Whether nobody listens, or the address is none."""
    said = refused(asked("explain", "req_" + "0" * 24, "--url", url, cwd=tmp_path))
    assert told.replace("OPTION", "--url") in said
    if "://" in url:
        written(tmp_path, configured())
        said = refused(asked("replay", "--from", url, cwd=tmp_path))
        assert told.replace("OPTION", "--from") in said


def test_another_port_is_not_taken_for_the_operations_port(stage: Stage, tmp_path: Path) -> None:
    """The client port knows no such route; a provider answers something else."""
    client_port = f"http://127.0.0.1:{stage.proxy.port}"
    assert "operators' token" in refused(asked("explain", stage.ids[0], "--url", client_port, cwd=tmp_path))
    with another() as url:
        file = written(tmp_path, CHAT, "request.json")
        for more in ((), ("--json",)):
            said = asked("explain", str(file), "--url", url, *more, cwd=tmp_path)
            assert "no answer of an operations port" in refused(said)
        written(tmp_path, configured())
        assert ", line 1: no decision" in refused(asked("replay", "--from", url, cwd=tmp_path))


class Page(http.server.BaseHTTPRequestHandler):
    """A web page, whatever is asked."""

    def do_GET(self) -> None:
        """See `http.server`."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>It works!</html>")

    do_POST = do_GET  # noqa: N815  (their names)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def another() -> Iterator[str]:
    """The address of a server that is none of ours."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_without_a_configuration_the_way_out_is_told(tmp_path: Path) -> None:
    """`replay` and `--offline` need one; a wrong one is told like by `check`."""
    file = written(tmp_path, CHAT, "request.json")
    assert "--config FILE" in refused(asked("replay", cwd=tmp_path))
    assert "--config FILE" in refused(asked("explain", str(file), "--offline", cwd=tmp_path))
    missing = asked("explain", str(file), "--config", "missing.yaml", cwd=tmp_path)
    assert "missing.yaml" in missing.err
    assert missing.status == 1
    bad = written(tmp_path, {"clients": 7}, "bad.yaml")
    for command in (("replay",), ("explain", str(file))):
        said = asked(*command, "--config", str(bad), cwd=tmp_path)
        assert said.status == 1
        assert "clients" in said.err


def lines(stage: Stage) -> list[str]:
    """The proxy's decisions, as `replay` takes them."""
    with closing(http.client.HTTPConnection("127.0.0.1", stage.proxy.operations)) as connection:
        headers = {"authorization": f"Bearer {TOKEN}"}
        connection.request("GET", "/admin/decisions?format=lines&limit=1000", headers=headers)
        return connection.getresponse().read().decode().splitlines()


def test_decisions_are_the_same_under_the_same_configuration(stage: Stage, tmp_path: Path) -> None:
    """From the replica, by its configuration or its address, and from a file; so many as are wanted."""
    record = tmp_path / "decisions.jsonl"
    record.write_text("\n".join([*lines(stage), "", ""]), "utf-8")
    url = f"http://127.0.0.1:{stage.proxy.operations}"
    for source in ((), ("--from", url), ("--from", str(record))):
        said = stage.asked("replay", *source)
        assert said.status == 0, said.err
        assert said.out == "4 decisions: 4 the same, 0 otherwise.\n"
    assert stage.asked("replay", "--limit", "2").out == "2 decisions: 2 the same, 0 otherwise.\n"
    assert stage.asked("replay", "--json").out == ""


def test_another_configuration_shows_what_would_change(stage: Stage, tmp_path: Path) -> None:
    """As text, the most frequent first, and as pairs of decisions, a line each."""
    config = json.loads(stage.proxy.file.read_text("utf-8"))
    config["models"][MODEL]["providers"] = [{"provider": "steady"}]
    other = written(tmp_path, config, "next.yaml")
    url = f"http://127.0.0.1:{stage.proxy.operations}"
    arguments = ("replay", "--config", str(other), "--from", url)
    said = stage.asked(*arguments)
    assert said.status == 0, said.err
    first, *rest = said.out.splitlines()
    assert first == "4 decisions: 0 the same, 4 otherwise."
    assert rest[0].startswith("`?`: it was not asked then")
    shown = "\n".join(rest)
    assert f"was  unsteady/{MODEL}@" in shown
    assert f"now  steady/{MODEL}@" in shown
    assert all(name in shown for name in stage.ids)
    pairs = [json.loads(line) for line in stage.asked(*arguments, "--json").out.splitlines()]
    assert len(pairs) == 4
    assert all(pair["before"] != pair["after"] for pair in pairs)
    assert {pair["after"]["request_id"] for pair in pairs} == set(stage.ids)
    assert {pick["came"] for pair in pairs for pick in pair["before"]["picks"]} == {"tried"}


@pytest.mark.parametrize("bad", [b"nothing", b'["\xff"]', b"[" * 50_000, b"BAD_PLACE"])
def test_a_bad_line_of_a_file_is_named(stage: Stage, tmp_path: Path, bad: bytes) -> None:
    """By its number, with where good ones come from."""
    good = lines(stage)[0].encode()
    if bad == b"BAD_PLACE":
        made = json.loads(good)
        made[-1] = []  # of its targets, of which its picks speak
        bad = json.dumps(made).encode()
    record = tmp_path / "decisions.jsonl"
    record.write_bytes(good + b"\n" + bad + b"\n")
    said = refused(stage.asked("replay", "--from", str(record)))
    assert f"{record}, line 2: no decision (" in said
    assert "/admin/decisions?format=lines" in said


def test_a_record_that_is_not_there_is_one_line(stage: Stage) -> None:
    """Files, and folders."""
    for name in ("missing.jsonl", "."):
        assert f"{name}: no readable file" in refused(stage.asked("replay", "--from", name))


def post(port: int, path: str, body: object = None) -> Any:
    """The JSON of an answer."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request("POST", path, json.dumps(body), {"authorization": f"Bearer {TOKEN}"})
        return json.loads(connection.getresponse().read())


def test_a_key_that_was_refused_is_let_in_again_by_an_order() -> None:
    """The answer to a plain reset says what is still in the way, and how to lift it; no key is ever named."""
    with Mock({"default": {"status": 401}}, "unpaid") as unpaid, Mock(None, "steady") as steady:
        config = configured(unpaid, steady, operations={"port": 0, "token": TOKEN})
        models: Any = config["models"]
        models[MODEL]["strategy"] = "ordered"
        with Serve(config) as proxy:
            chatted(proxy)
            post(unpaid.port, "/_mock/script", {})
            order = f"/admin/targets/unpaid/{MODEL}/reset"
            plain = post(proxy.operations, order)
            (name,) = plain["targets"]
            key = f"unpaid@{name.partition('@')[2]}"
            assert (plain["with"], plain["still"]) == ([], {name: [key]})
            assert plain["hint"].startswith("`reset?with=key` also forgets what is held against its key")
            chatted(proxy)
            assert unpaid.stats()["requests"] == 1
            lifted = post(proxy.operations, f"{order}?with=key")
            assert lifted == {"order": "reset", "targets": [name], "with": [key], "still": {}}
            chatted(proxy)
            assert unpaid.stats()["requests"] == 2
            wrong = post(proxy.operations, f"{order}?with=sk-unpaid-0")
            assert wrong["error"]["message"] == "`with` is one of key, origin."
            assert [one for one in (plain, lifted, wrong) if "sk-" in json.dumps(one)] == []
