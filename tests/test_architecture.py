"""The house rules, as far as a machine can hold them: who imports whom, how large, what is banned."""

import ast
import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("proxy", "ratelimit", "metrics", "mockprovider")
Function = ast.FunctionDef | ast.AsyncFunctionDef

LAYERS = [
    "errors clock tasks addresses config profiles dossier circuit intake pieces ring heap hangup",
    "wire deadline embedded upstream link overload cycle house",
    "throttle latency blunders fair_queue outbox probes places statechart",
    "demand replicas inquiries responses bounds prices allowances",
    "targets tenants redaction hearsay appraiser",
    "health checking scopes tracing",
    "moment turn",
    "routing retry snapshot",
    "fleet",
    "peers waiting overview pricing",
    "exchange",
    "answers cors relay admission access passages verdicts archive ends transcript",
    "reception decision",
    "ledger replaying reasons",
    "explanation",
    "telling",
    "attempt",
    "pipeline",
    "detached counting compaction sockets vitals rehearsal audience",
    "status survey drawing status_panels status_page",
    "retrieval shelving exporting",
    "endpoints websocket client_connection",
    "operations listener reloading administration limiting doorkeeper display",
    "console",
    "app",
    "serving",
    "workers demo",
    "commands",
    "command_line",
    "__main__",
]
"""The rooms of `proxy`, the lowest first: a module imports from its own layer or those below."""

PURE = (
    "access allowances answers bounds circuit cors decision demand dossier fair_queue health latency outbox "
    "blunders hearsay moment passages places prices probes reasons redaction replaying retry routing scopes "
    "targets tenants throttle tracing turn wire"
)
IMPURE = "aiohttp asyncio fastapi http httpx redis socket starlette structlog threading uvicorn"
OWNERS = {
    "aiohappyeyeballs": {"proxy.upstream.dialler"},
    "aiohttp": set(),
    "httpx": {"proxy.commands.operator", "proxy.upstream.httpx_adapter"},
    "hiredis": {"proxy.link.connection", "proxy.link.script"},
    "redis": set(),
    "uvicorn": {"proxy.listener", "proxy.websocket"},
    "fastapi": {
        "proxy.administration",
        "proxy.console",
        "proxy.display",
        "proxy.operations",
        "proxy.retrieval",
        "proxy.reloading",
        "proxy.app",
    },
    "starlette": {"proxy.doorkeeper", "proxy.operations", "proxy.retrieval", "proxy.display"},
    "htpy": {"proxy.drawing", "proxy.status_page", "proxy.status_panels"},
    "markupsafe": {"proxy.status_page"},
    "opentelemetry": {"metrics.traces"},
    "requests": {"metrics.traces"},
    "prometheus_client": {"proxy.app", "metrics.instruments", "metrics.readings", "metrics.tally"},
    "genai_prices": {"proxy.appraiser"},
    "mockprovider": {"proxy.demo", "proxy.commands.mock"},
}
"""What only some modules of `proxy` and `metrics` may import."""

CODECS = ("proxy.wire.chat", "proxy.wire.responses", "proxy.wire.messages")
PARTS = (
    "Admission Attempts BackgroundRuns Edge Estimator Fleet Following Guard Instruments Limiter Link "
    "MemoryStore Peers Pipeline PooledUpstream Redactor RedisStore Replicas RequestLog ResponseStore "
    "RetryBudget Tenants Tracer WaitingRoom"
)
COMPOSITION = {
    "proxy.app",
    "proxy.console",
    "proxy.exporting",
    "proxy.limiting",
    "proxy.rehearsal",
    "proxy.shelving",
}
CATCH_ALL = {"proxy.endpoints", "proxy.tasks"}
NAMELESS = "base common core helper helpers manager managers misc shared util utils"
UNMIRRORED = {
    "proxy": "only the glossary",
    "proxy.__main__": "tests/test_main.py, and tests/process",
    "proxy.command_line": "tests/test_main.py, and tests/process",
    "proxy.commands": "only a docstring",
    "proxy.commands.serve": "tests/test_main.py, and tests/process",
    "proxy.commands.check": "tests/test_main.py, and tests/process",
    "proxy.commands.demo": "tests/process",
    "proxy.commands.explain": "tests/process",
    "proxy.commands.operator": "tests/process",
    "proxy.commands.replay": "tests/process",
    "proxy.commands.mock": "tests/test_main.py, and tests/process",
    "proxy.commands.process": "tests/process",
    "proxy.wire": "only a docstring",
    "proxy.wire.codec": "only protocols",
    "proxy.wire.chat": "only a docstring",
    "proxy.wire.conversation": "only shapes",
    "proxy.wire.messages": "only a docstring",
    "proxy.wire.responses": "only a docstring",
    "proxy.responses": "only a docstring",
    "proxy.upstream": "only names",
    "proxy.upstream.seam": "tests/upstream: the conformance tests of every transport",
    "proxy.dossier": "tests/test_circuit.py",
    "proxy.limiting": "tests/test_app.py",
    "proxy.house": "only shapes; tests/test_client_connection.py",
    "proxy.link.connection": "tests/link/test_link.py, and tests/cluster",
    "proxy.link.counters": "tests/link/test_link.py",
    "proxy.link.dialler": "tests/link/test_link.py, and tests/cluster",
    "proxy.link.node": "tests/link/test_link.py, and tests/cluster",
    "proxy.link.script": "tests/link/test_link.py",
    "proxy.link.sentinel": "tests/cluster/test_link_topologies.py",
    "proxy.link.subscription": "tests/link/test_link.py, and tests/cluster",
    "metrics": "only a docstring",
    "ratelimit": "only a docstring",
    "mockprovider": "only names",
}
"""Modules without a test file of their own, and why or where they are tested."""


@dataclasses.dataclass(frozen=True)
class Module:
    """One source file."""

    name: str
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        """The room of `proxy` it belongs to: `wire` for `proxy.wire.sse`."""
        return self.name.split(".")[1] if "." in self.name else ""

    @property
    def lines(self) -> list[str]:
        """Its lines."""
        return self.text.splitlines()

    def imports(self) -> set[str]:
        """What it imports, as dotted names; `from a import b` is both `a` and `a.b`."""
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.module is not None
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        return found

    def functions(self) -> Iterator[Function]:
        """Its functions and methods."""
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))


def _modules() -> Iterator[Module]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            text = path.read_text()
            yield Module(dotted.removesuffix(".__init__"), text, ast.parse(text))


MODULES = list(_modules())
NAMES = {module.name for module in MODULES}
RANK = {room: rank for rank, layer in enumerate(LAYERS) for room in layer.split()}
each = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)


@each
def test_arrows(module: Module) -> None:
    """Rooms import downwards; packages, codecs and pure rooms keep to themselves; each library has owners."""
    imported = module.imports()
    ours = {name for name in imported if name in NAMES and name != module.name}
    package = module.name.partition(".")[0]
    if package != "proxy":
        assert {name.partition(".")[0] for name in ours} <= {package}
    elif module.room:
        above = {n for n in ours if n.startswith("proxy.") and RANK[n.split(".")[1]] > RANK[module.room]}
        assert not above
    if module.room in PURE.split():
        assert {name.partition(".")[0] for name in imported}.isdisjoint(IMPURE.split())
    codec = next((codec for codec in CODECS if module.name.startswith(codec)), None)
    if codec is not None:
        assert not {name for name in ours if name.startswith(CODECS) and not name.startswith(codec)}
    if package in ("proxy", "metrics"):
        tops = {name.partition(".")[0] for name in imported}
        assert {top for top in tops if module.name not in OWNERS.get(top, {module.name})} == set()


@each
def test_only_app_constructs(module: Module) -> None:
    """The parts of a replica are made in the composition root and handed on."""
    calls = (node.func for node in ast.walk(module.tree) if isinstance(node, ast.Call))
    made = {getattr(func, "id", getattr(func, "attr", "")) for func in calls}.intersection(PARTS.split())
    assert module.name in COMPOSITION or not made


@each
def test_sizes(module: Module) -> None:
    """Files, function bodies and parameter lists that can be taken in at a glance."""
    assert len(module.lines) <= (600 if module.name.startswith(CODECS) else 400)
    for function in module.functions():
        first, last = function.body[0].lineno, function.body[-1].end_lineno
        assert last is not None
        assert last - first < 60, function.name
        named = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
        count = len([arg for arg in named if arg.arg not in ("self", "cls")])
        assert count <= 6 or "noqa: PLR0913" in module.lines[function.lineno - 1], function.name


def _passes_on(handler: ast.ExceptHandler) -> bool:
    """Whether it ends in a bare `raise`: then it only tidies up."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


@each
def test_bans(module: Module) -> None:
    """Every module says what it is; names say something; no globals, hidden imports or blanket catches."""
    assert ast.get_docstring(module.tree)
    assert module.name.rpartition(".")[2] not in NAMELESS.split()
    assert not any(isinstance(node, ast.Global) for node in ast.walk(module.tree))
    for function in module.functions():
        assert not any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(function)), (
            function.name
        )
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler) and module.name not in CATCH_ALL and not _passes_on(node):
            caught = ast.unparse(node.type) if node.type else "BaseException"
            assert not {"Exception", "BaseException"} & set(caught.strip("()").split(", "))
    for number, line in enumerate(module.lines, 1):
        assert "noqa" not in line or "(" in line.partition("noqa")[2], (
            f"line {number}: a noqa without a reason"
        )


def test_every_module_has_its_tests() -> None:
    """One test file a module, but for the exceptions above."""
    files = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    for name in sorted(NAMES - UNMIRRORED.keys()):
        package, _, last = name.rpartition(".")
        noun = last.strip("_")
        expected = f"test_mock_{noun}.py" if package == "mockprovider" else f"test_{noun}.py"
        if package in CODECS:
            expected = f"test_{package.rpartition('.')[2]}_{noun}.py"
        assert expected in files, f"{name} has no {expected}"
    assert not UNMIRRORED.keys() - NAMES, "an exception for a module that is no more"


_PURITY = """
import collections.abc, importlib, os, sys, threading
root, theirs, ours = sys.argv[1], sys.argv[2].split(), sys.argv[3].split()
for name in theirs:
    try:
        importlib.import_module(name)
    except ImportError:
        pass  # a name out of a module, or a platform's own
class Environment(collections.abc.MutableMapping):
    def __init__(self, real): self.real = real
    def __getitem__(self, name):
        frame = sys._getframe(1)
        while frame.f_code.co_filename.startswith("<frozen") or "/lib/python" in frame.f_code.co_filename:
            if "site-packages" in frame.f_code.co_filename: return self.real[name]
            frame = frame.f_back
        if frame.f_code.co_filename.startswith(root): raise SystemExit(f"read {name}")
        return self.real[name]
    def __setitem__(self, name, value): raise SystemExit(f"set {name}")
    def __delitem__(self, name): raise SystemExit(f"deleted {name}")
    def __iter__(self): return iter(self.real)
    def __len__(self): return len(self.real)
os.environ = Environment(os.environ)
def audit(event, args):
    if event.startswith(("socket.", "subprocess.", "os.fork", "os.posix_spawn", "_thread.start")):
        raise SystemExit(f"{event} {args}")
sys.addaudithook(audit)
for name in ours:
    importlib.import_module(name)
if threading.active_count() > 1: raise SystemExit("started a thread")
"""


def test_importing_does_nothing() -> None:
    """In a fresh interpreter importing starts, opens and reads nothing: sockets, processes, environment."""
    named = set().union(*(module.imports() for module in MODULES))
    theirs = sorted(name for name in named if name.partition(".")[0] not in PACKAGES)
    done = subprocess.run(
        [sys.executable, "-c", _PURITY, str(ROOT), " ".join(theirs), " ".join(sorted(NAMES))],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
