"""The examples of the API reference as they stand, with the base URL and the key replaced.

Each is run against a provider that speaks chat alone, then against providers that speak all dialects.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import environments
import js_examples
import rig
from cells import SAID
from tables import Result

HERE = Path(__file__).parent / "examples"
URL = "https://your-proxy.workers.dev"
KEY = "your-service-api-key"
EXPLAIN = SAID + "Explain quantum computing in simple terms"
NODE = all(map(shutil.which, js_examples.NEEDED))
LIMIT_S = 60


def results(environment: str) -> Iterator[Result]:
    """What came of each example, with the SDKs of this environment; those for Node only where it is."""
    python = environments.python_of(environment)
    for kind in ("chat", "all dialects"):
        with rig.examples(native=kind != "chat") as proxy, tempfile.TemporaryDirectory() as folder:
            root = proxy.url.removesuffix("/v1")
            for name, held in _checks(root, python, Path(folder)).items():
                began, line = time.monotonic(), len(proxy.err)
                error = _error(held)
                seconds = round(time.monotonic() - began, 3)
                log = rig.log_since(proxy, line) if error else ()
                yield Result(environment, name, "example", kind, seconds, error, log)


def _error(held: Callable[[], None]) -> str:
    try:
        held()
    except (AssertionError, OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _checks(root: str, python: Path, folder: Path) -> Mapping[str, Callable[[], None]]:
    """The examples by name, each as a call that raises when it did not do what it should."""

    def run(command: str, name: str, home: Path = folder) -> str:
        file = home / name
        text = (HERE / name).read_text("utf-8")
        file.write_text(_ours(text, root), "utf-8")
        return _output(command, str(file), home)

    checks = {
        "curl: chat": lambda: _says(_chat(run("sh", "chat.sh")), EXPLAIN),
        "curl: messages": lambda: _says(_message(run("sh", "messages.sh")), EXPLAIN),
        "curl: embeddings": lambda: _embedded(run("sh", "embeddings.sh")),
        "Python: openai": lambda: _says(run(str(python), "openai_sdk.py"), f"{SAID}Hello, world!"),
        "Python: openai responses": lambda: _says(
            run(str(python), "responses_sdk.py"), f"{SAID}Hello!\n{SAID}Tell me more\ncompleted\n1\n"
        ),
        "Python: anthropic": lambda: _says(run(str(python), "anthropic_sdk.py"), f"{SAID}Hello, Claude!"),
        "error format": lambda: _refused(root),
    }
    if NODE:
        home = js_examples.installed()
        checks["JavaScript: openai"] = lambda: _says(
            run("node", "openai_sdk.mjs", home), f"{SAID}Hello!\n{SAID}Tell me a story"
        )
        checks["JavaScript: fetch"] = lambda: _says(
            run("node", "fetch.mjs", home).replace("\n", ""), f"{SAID}Tell me a joke"
        )
    return checks


def _ours(text: str, root: str) -> str:
    """An example for this proxy. What returns is the body of a function."""
    if "return;" in text:
        text = f"await (async () => {{\n{text}\n}})();\n"
    return text.replace(URL, root).replace(KEY, rig.KEY)


def _output(command: str, file: str, home: Path) -> str:
    done = subprocess.run(
        [command, file],
        cwd=home,
        env=dict(os.environ),
        timeout=LIMIT_S,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _says(found: str, wanted: str) -> None:
    assert wanted in found, f"found {found!r}, wanted {wanted!r}"


def _chat(body: str) -> str:
    return str(_json(body)["choices"][0]["message"]["content"])


def _message(body: str) -> str:
    return str(_json(body)["content"][0]["text"])


def _embedded(body: str) -> None:
    assert len(_json(body)["data"][0]["embedding"]) > 100, body


def _json(body: str) -> Any:
    found = json.loads(body)
    assert "error" not in found, body
    return found


def _refused(root: str) -> None:
    """An unknown model is refused as the reference says, up to the words of the message."""
    request = urllib.request.Request(
        f"{root}/v1/chat/completions",
        json.dumps({"model": "invalid-model", "messages": [{"role": "user", "content": "Hello"}]}).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {rig.KEY}"},
    )
    try:
        urllib.request.urlopen(request, timeout=LIMIT_S)
    except urllib.error.HTTPError as refused:
        found = json.loads(refused.read())["error"]
        wanted = json.loads((HERE / "error.json").read_text("utf-8"))["error"]
        same = {name: found[name] for name in ("type", "param", "code")}
        assert {**same, "message": wanted["message"]} == wanted, f"found {found}, wanted {wanted}"
        _says(found["message"], "'invalid-model'")
    else:
        raise AssertionError("it was not refused")
