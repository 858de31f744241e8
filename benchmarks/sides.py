"""The sides that are held against each other: nginx, ours, and ours of another revision, before one provider.

All have the same provider behind them and the same core to themselves in turn. nginx is at its best:
one process, no access log, kept connections, no buffering of streams. Ours runs as `apex-proxy serve`
does, embedded store, metrics and request lines included.
"""

import contextlib
import json
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import samples
from running import Command, Side, free_port, started

ROOT = Path(__file__).resolve().parent.parent
PATH = "/v1/chat/completions"
SILENT = "silent"

_NGINX = """
daemon off; master_process off; pid {folder}/{name}.pid; error_log {folder}/{name}.errors warn;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; multi_accept on; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 300; tcp_nodelay on;
  client_body_temp_path {folder}/{name}.body; proxy_temp_path {folder}/{name}.proxy;
  fastcgi_temp_path {folder}/{name}.f; uwsgi_temp_path {folder}/{name}.u; scgi_temp_path {folder}/{name}.s;
  {http}
}}
"""
_PROXY = """
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=2048; client_max_body_size 64m; client_body_buffer_size 64k;
    location / {{
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_read_timeout 600;
    }}
  }}
"""
_FIXED = """
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location / {{ default_type application/json; return 200 '{reply}'; }}
  }}
"""


@dataclass(frozen=True, slots=True)
class Bench:
    """Where everything runs: the core that is measured, the core of all else, a folder for this run."""

    core: int
    other: int
    folder: Path


def origin(stack: contextlib.ExitStack, bench: Bench, kind: str) -> int:
    """Start the provider, on the other core: `mock`, or `nginx`, which answers faster but cannot stream."""
    port = free_port()
    if kind == "nginx":
        reply = samples.chat_reply().decode()
        _nginx(stack, bench, "origin", port, _FIXED.format(port=port, reply=reply))
        return port
    script = bench.folder / "origin.yaml"
    script.write_text(samples.mock_script(), encoding="utf-8")
    arguments = [sys.executable, "-m", "proxy", "mock", "--port", str(port), "--name", "origin"]
    arguments += ["--no-record", "--script", str(script)]
    stack.enter_context(started(Command(arguments, bench.other, ROOT, {}, bench.folder / "origin.log"), port))
    return port


def direct(port: int) -> Side:
    """The provider without anything before it: what the load and the provider themselves allow."""
    return Side("direct", f"http://127.0.0.1:{port}{PATH}")


def nginx(stack: contextlib.ExitStack, bench: Bench, behind: int) -> Side:
    """The yardstick: nginx with `proxy_pass`."""
    port = free_port()
    pid = _nginx(stack, bench, "nginx", port, _PROXY.format(port=port, origin=behind))
    return Side("nginx", f"http://127.0.0.1:{port}{PATH}", pid)


def _nginx(stack: contextlib.ExitStack, bench: Bench, name: str, port: int, http: str) -> int:
    file = bench.folder / f"{name}.conf"
    file.write_text(_NGINX.format(folder=bench.folder, name=name, http=http), encoding="utf-8")
    arguments = ["nginx", "-p", str(bench.folder), "-c", str(file)]
    core = bench.other if name == "origin" else bench.core
    return stack.enter_context(
        started(Command(arguments, core, bench.folder, {}, bench.folder / f"{name}.log"), port)
    )


def ours(
    stack: contextlib.ExitStack, bench: Bench, behind: int, name: str, tree: Path, *, foreign: bool = False
) -> Side:
    """`apex-proxy serve` out of the source folder `tree`, with this interpreter's packages.

    With `foreign` its provider speaks another dialect than the load does, so that everything is translated.
    The side named `SILENT` counts nothing and writes no request lines.
    """
    port = free_port()
    program = [str(ROOT / "benchmarks" / "silent.py")] if name == SILENT else ["-m", "proxy"]
    file = bench.folder / f"{name}.yaml"
    file.write_text(_config(port, behind, foreign=foreign, today=tree == ROOT), encoding="utf-8")
    command = Command(
        [sys.executable, *program, "serve", "--config", str(file)],
        bench.core,
        tree,
        {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
        bench.folder / f"{name}.log",
    )
    return Side(name, f"http://127.0.0.1:{port}{PATH}", stack.enter_context(started(command, port)))


def _config(port: int, behind: int, *, foreign: bool, today: bool) -> str:
    """JSON, which is YAML too. `today`: the sources know the settings of today."""
    entry = {"provider": "mock"}
    other = {"kind": "anthropic", "quirks": {"sampling": True}} if foreign else {}
    return json.dumps(
        {
            "listen": {"host": "127.0.0.1", "port": port},
            "operations": {"port": 0},
            "clients": [{"name": "bench", "key": samples.KEY}],
            "providers": {
                "mock": {"base_url": f"http://127.0.0.1:{behind}/v1", "api_key": samples.KEY, **other}
            },
            "models": {model: {"providers": [{**entry, "model": model}]} for model in samples.MODELS},
            **({"drain_grace": 0} if today else {}),
            "drain_timeout": 1,
        }
    )


def tree_of(revision: str, folder: Path) -> Path:
    """The source folder of `revision`: itself where it is a folder, else unpacked out of git.

    An archive and not a worktree, so that nothing is left behind in the repository when a run is killed.
    Raises `subprocess.CalledProcessError` where git knows no such revision.
    """
    if Path(revision).is_dir():
        return Path(revision).resolve()
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", "--format=tar", revision], check=True, capture_output=True
    )
    tree = folder / "tree"
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as packed:
        packed.extractall(tree, filter="data")
    return tree
