"""The other gateways, installed by package name into `benchmarks/.cache`, and started as their makers advise.

LiteLLM: production mode, errors alone logged, no database, no callbacks, one worker for one core, with
uvicorn and again with granian. Portkey: its own Node server in production mode, without the console.
"""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import samples
from proxies import OVER_TLS, STREAMED
from running import Command, Side, free_port, started
from sides import PATH, PLAIN, ROOT, STREAMS, TLS, Bench, Origins

CACHE = ROOT / "benchmarks" / ".cache"
LITELLM = "LiteLLM"
GRANIAN = "LiteLLM, granian"
PORTKEY = "Portkey"
_PYTHON = ("litellm[proxy]", "granian")
_PORTKEY = "@portkey-ai/gateway"
_WITH_PORTKEY = {"@hono/node-server": "1.13.8"}
"""Its server: with the newest of those it asks for, it answers every stream with 500."""


Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Installed:
    """Where the peers are; one that could not be installed is None."""

    litellm: Path
    portkey: Path | None

    def versions(self) -> dict[str, str]:
        """What was installed, by package."""
        found = {}
        for package in ("litellm", "granian", "uvicorn"):
            folder = next(self.litellm.glob(f"lib/python3*/site-packages/{package}-*.dist-info"))
            found[f"{package} (LiteLLM)"] = metadata.Distribution.at(folder).version
        if self.portkey is not None:
            package_file = self.portkey.parent.parent / "package.json"
            found[_PORTKEY] = json.loads(package_file.read_text(encoding="utf-8"))["version"]
            node = subprocess.run(["node", "--version"], check=True, capture_output=True, text=True)
            found |= {f"{name} (Portkey)": version for name, version in _WITH_PORTKEY.items()}
            found["node"] = node.stdout.strip()
        return found


def installed(say: Say) -> Installed:
    """Install what is missing; once, for a mark is left when all is well."""
    environment(CACHE / "litellm", _PYTHON, say)
    if shutil.which("npm") is None or shutil.which("node") is None:
        say("Portkey is left out: it needs node and npm")
        return Installed(CACHE / "litellm", None)
    folder = CACHE / "npm"
    if not (folder / "ready").exists():
        say(f"installing {_PORTKEY} (once)")
        folder.mkdir(parents=True, exist_ok=True)
        wanted = {"private": True, "dependencies": {_PORTKEY: "*"}, "overrides": _WITH_PORTKEY}
        (folder / "package.json").write_text(json.dumps(wanted), encoding="utf-8")
        quiet = ["--no-audit", "--no-fund", "--silent"]
        subprocess.run(["npm", "install", *quiet, "--prefix", str(folder)], check=True)
        (folder / "ready").touch()
    return Installed(CACHE / "litellm", folder / "node_modules" / _PORTKEY / "build" / "start-server.js")


def environment(folder: Path, packages: tuple[str, ...], say: Say) -> Path:
    """A virtual environment with these packages, made once; its Python."""
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        say(f"installing {' '.join(packages)} (once)")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, *packages], check=True)
        (folder / "ready").touch()
    return python


def litellm(
    stack: contextlib.ExitStack, bench: Bench, origins: Origins, found: Installed, name: str
) -> dict[str, Side]:
    """Start LiteLLM, `LITELLM` or `GRANIAN`; one address for all ways, as the model decides."""
    port = free_port()
    file = bench.folder / "litellm.yaml"
    file.write_text(json.dumps(_config(origins)), encoding="utf-8")
    arguments = [str(found.litellm / "bin" / "litellm"), "--config", str(file), "--num_workers", "1"]
    arguments += ["--host", "127.0.0.1", "--port", str(port)]
    arguments += ["--run_granian"] if name == GRANIAN else []
    environ = {
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "SSL_CERT_FILE": str(origins.ca),
    }
    command = Command(arguments, bench.core, bench.folder, environ, bench.folder / f"litellm-{port}.log")
    pid = stack.enter_context(started(command, port))
    side = Side(name, f"http://127.0.0.1:{port}{PATH}", pid, parented=True, sleeps=True)
    return {PLAIN: side, TLS: side, STREAMS: side}


def _config(origins: Origins) -> dict[str, object]:
    urls = origins.urls()

    def entry(alias: str, model: str, base: str) -> dict[str, object]:
        return {
            "model_name": alias,
            "litellm_params": {"model": model, "api_base": base, "api_key": samples.KEY},
        }

    return {
        "model_list": [
            entry(samples.WHOLE, f"openai/{samples.WHOLE}", f"{urls[PLAIN]}/v1"),
            entry(OVER_TLS, f"openai/{samples.WHOLE}", f"{urls[TLS]}/v1"),
            *(entry(model, f"openai/{model}", f"{urls[STREAMS]}/v1") for model in STREAMED),
            *(entry(model + samples.TRANSLATED, f"anthropic/{model}", urls[STREAMS]) for model in STREAMED),
        ],
        "general_settings": {"master_key": samples.KEY},
        "litellm_settings": {
            "request_timeout": 600,
            "set_verbose": False,
            "json_logs": True,
            "num_retries": 0,
            "telemetry": False,
        },
    }


def portkey(stack: contextlib.ExitStack, bench: Bench, origins: Origins, program: Path) -> dict[str, Side]:
    """Start Portkey; where a request goes stands in its headers."""
    port = free_port()
    arguments = ["node", str(program), f"--port={port}", "--headless"]
    environ = {"NODE_ENV": "production", "NODE_EXTRA_CA_CERTS": str(origins.ca)}
    command = Command(arguments, bench.core, bench.folder, environ, bench.folder / "portkey.log")
    pid = stack.enter_context(started(command, port))
    return {
        way: Side(
            PORTKEY,
            f"http://127.0.0.1:{port}{PATH}",
            pid,
            ("x-portkey-provider: openai", f"x-portkey-custom-host: {url}/v1"),
            parented=True,
            sleeps=True,
        )
        for way, url in origins.urls().items()
    }
