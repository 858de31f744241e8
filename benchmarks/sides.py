"""The sides that are held against each other: nginx, ours, and ours of another revision, before one provider.

All have the same provider behind them and the same core to themselves in turn. nginx is at its best:
one process, no access log, kept connections, no request body in a file, no buffering of streams. Ours runs
as `apex-proxy serve` does, metrics and request lines included.

Two kinds of provider. `quick.py` has one, the mock or nginx. `bench.py` has three ways to one: whole
answers from nginx, which costs least, the same behind TLS, and streams from `origin.py`.
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
import trustme
from running import Command, Side, free_port, started

ROOT = Path(__file__).resolve().parent.parent
PATH = "/v1/chat/completions"
SILENT = "silent"

PLAIN, TLS, STREAMS = "plain", "tls", "streams"
"""The ways to the provider of `bench.py`."""

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
  upstream origin_{origin} {{ server 127.0.0.1:{origin}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=2048; client_max_body_size 64m; client_body_buffer_size 8m;
    location / {{
      proxy_pass {scheme}://origin_{origin}; proxy_ssl_name localhost; {verified}
      proxy_http_version 1.1; proxy_set_header Connection "";
      {buffering} proxy_read_timeout 600;
    }}
  }}
"""
_TLS = """
    ssl_certificate {folder}/origin.pem; ssl_certificate_key {folder}/origin.pem;
    ssl_session_cache shared:s:4m;
"""
_AT_ONCE = "proxy_buffering off;"
"""For streams alone: whole answers cost nginx less with its buffers."""

_VERIFIED = """
      proxy_ssl_trusted_certificate {folder}/ca.pem; proxy_ssl_verify on; proxy_ssl_session_reuse on;
"""
_FIXED = """
  server {{
    listen 127.0.0.1:{port} {options} backlog=2048; client_max_body_size 64m; client_body_buffer_size 64k;
    {tls}
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
        _nginx(stack, bench, "origin", port, _fixed(port))
        return port
    script = bench.folder / "origin.yaml"
    script.write_text(samples.mock_script(), encoding="utf-8")
    arguments = [sys.executable, "-m", "proxy", "mock", "--port", str(port), "--name", "origin"]
    arguments += ["--no-record", "--script", str(script)]
    stack.enter_context(started(Command(arguments, bench.other, ROOT, {}, bench.folder / "origin.log"), port))
    return port


def _fixed(port: int, folder: Path | None = None) -> str:
    """A server of one reply; with `folder` behind TLS, by the certificate in there."""
    tls = _TLS.format(folder=folder) if folder else ""
    return _FIXED.format(
        port=port, reply=samples.chat_reply().decode(), tls=tls, options="ssl" if folder else ""
    )


@dataclass(frozen=True, slots=True)
class Origins:
    """The ports of a provider, by the way to it; `ca` is the file of the authority that TLS goes by."""

    plain: int
    tls: int
    streams: int
    ca: Path

    def urls(self) -> dict[str, str]:
        """Where it answers, by way."""
        return {
            PLAIN: f"http://127.0.0.1:{self.plain}",
            TLS: f"https://127.0.0.1:{self.tls}",
            STREAMS: f"http://127.0.0.1:{self.streams}",
        }


def origins(stack: contextlib.ExitStack, bench: Bench) -> Origins:
    """Start a provider for each way, all on the other core."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(bench.folder / "ca.pem")
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        bench.folder / "origin.pem"
    )
    plain, tls, streams = free_port(), free_port(), free_port()
    _nginx(stack, bench, "origin", plain, _fixed(plain) + _fixed(tls, bench.folder))
    arguments = [sys.executable, str(ROOT / "benchmarks" / "origin.py"), "--port", str(streams)]
    command = Command(arguments, bench.other, ROOT, {}, bench.folder / "streams.log")
    stack.enter_context(started(command, streams))
    return Origins(plain, tls, streams, bench.folder / "ca.pem")


def floor(origin: Origins) -> dict[str, Side]:
    """The provider without anything before it, by way."""
    return {way: Side("direct", url + PATH) for way, url in origin.urls().items()}


def proxied(stack: contextlib.ExitStack, bench: Bench, origin: Origins) -> dict[str, Side]:
    """The yardstick, nginx with `proxy_pass`, by way: one process, a port for each."""
    ports = {way: free_port() for way in origin.urls()}
    verified = _VERIFIED.format(folder=bench.folder)
    behind = {PLAIN: origin.plain, TLS: origin.tls, STREAMS: origin.streams}
    servers = [
        _PROXY.format(
            port=ports[way],
            origin=behind[way],
            scheme="https" if way == TLS else "http",
            verified=verified if way == TLS else "",
            buffering=_AT_ONCE if way == STREAMS else "",
        )
        for way in ports
    ]
    pid = _nginx(stack, bench, "nginx", ports[PLAIN], "".join(servers))
    return {way: Side("nginx", f"http://127.0.0.1:{port}{PATH}", pid) for way, port in ports.items()}


def direct(port: int) -> Side:
    """The provider without anything before it: what the load and the provider themselves allow."""
    return Side("direct", f"http://127.0.0.1:{port}{PATH}")


def nginx(stack: contextlib.ExitStack, bench: Bench, behind: int) -> Side:
    """The yardstick: nginx with `proxy_pass`."""
    port = free_port()
    proxy = _PROXY.format(port=port, origin=behind, scheme="http", verified="", buffering=_AT_ONCE)
    pid = _nginx(stack, bench, "nginx", port, proxy)
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
