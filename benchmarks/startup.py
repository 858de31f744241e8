"""How long `apex-proxy serve` takes from its start to the ready line, beside what its libraries take.

Three commands in turns, so that whatever else the machine does falls on all of them alike: importing
fastapi, uvicorn and redis and nothing else; `serve` with a store of one's own; `serve` with the embedded
store. Run `python benchmarks/startup.py [turns]`. The bounds: 1.5 times the import, and 0.2 s more with
the embedded store. All run with bytecode compiled, as they do once installed: the turn that goes first
leaves it behind. `--imports` shows instead which imports of `serve` cost most.
"""

import contextlib
import dataclasses
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

TURNS = 10
RATIO = 1.5
EMBEDDED = 0.2
"""Seconds more that the embedded store may take."""

_CONFIG = {
    "listen": {"port": 0},
    "drain_grace": 0,
    "operations": {"port": 0},
    "clients": [{"name": "benchmark", "key": "sk-benchmark"}],
    "providers": {"local": {"base_url": "http://127.0.0.1:9/v1"}},
    "models": {"model": {"providers": [{"provider": "local"}]}},
}
_LIBRARIES = (sys.executable, "-c", "import fastapi, uvicorn, redis")


@dataclasses.dataclass(slots=True)
class Times:
    """Seconds of each turn."""

    libraries: list[float] = dataclasses.field(default_factory=list)
    external: list[float] = dataclasses.field(default_factory=list)
    embedded: list[float] = dataclasses.field(default_factory=list)
    beside: list[float] = dataclasses.field(default_factory=list)


def console_script() -> list[str]:
    """The installed command, or the module where it is not installed."""
    script = Path(sys.executable).with_name("apex-proxy")
    return [str(script)] if script.exists() else [sys.executable, "-m", "proxy"]


def compiling(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` for a Python that keeps its bytecode.

    Installed libraries have theirs already. Where a shell forbids it, a checkout alone would be compiled at
    each start, which takes as long as all the rest of it.
    """
    return {name: value for name, value in environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def imported() -> float:
    """Seconds of a Python that imports the libraries and ends."""
    began = time.perf_counter()
    subprocess.run(_LIBRARIES, check=True, env=compiling(os.environ))
    return time.perf_counter() - began


def ready(config: Path, redis: str) -> float:
    """Seconds from the start of `serve` to its ready line."""
    environ = compiling(os.environ) | {"APEX_REDIS_URL": redis}
    began = time.perf_counter()
    command = [*console_script(), "serve", "--config", str(config)]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if '"event":"ready"' in line:
                    return time.perf_counter() - began
            raise RuntimeError("serve ended before it was ready")
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            process.communicate()


def measure(
    turns: int, redis: str = "redis://127.0.0.1:6379", beside: Callable[[], float] | None = None
) -> Times:
    """All three in turns, after one of each that compiles and warms what can be; a fourth with `beside`."""
    times = Times()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "apex.yaml"
        config.write_text(json.dumps(_CONFIG), "utf-8")
        for turn in range(turns + 1):
            spent = imported(), ready(config, redis), ready(config, "embedded")
            print(f"turn {turn} of {turns}" if turn else "warmed up", file=sys.stderr, flush=True)
            other = beside() if beside else 0.0
            if turn:
                times.beside.append(other)
                for kept, seconds in zip(
                    (times.libraries, times.external, times.embedded), spent, strict=True
                ):
                    kept.append(seconds)
    return times


def show(times: Times) -> None:
    """A row for each, and the two figures that are bounded: medians of what was measured turn by turn.

    They are taken of each turn, not of the medians above: its commands ran on the same, equally busy machine.
    """
    print(f"{'':34}{'median':>8}{'least':>8}{'most':>8}   seconds")
    for name, kept in (
        ("import fastapi, uvicorn, redis", times.libraries),
        ("serve, own store, to ready", times.external),
        ("serve, embedded store, to ready", times.embedded),
    ):
        print(f"{name:34}{statistics.median(kept):8.3f}{min(kept):8.3f}{max(kept):8.3f}")
    ratio = statistics.median(a / b for a, b in zip(times.external, times.libraries, strict=True))
    extra = statistics.median(a - b for a, b in zip(times.embedded, times.external, strict=True))
    least = min(times.external) / min(times.libraries)
    print(f"serve / import          {ratio:.2f}   (at most {RATIO}; of the least times {least:.2f})")
    print(f"embedded - own store    {extra:.3f} s (at most {EMBEDDED})")
    print("Both are worked out turn by turn; the median of that need not be the difference of the medians.")


def imports(rows: int = 15) -> None:
    """The modules whose own code takes longest to import, out of `-X importtime`."""
    command = [sys.executable, "-X", "importtime", "-c", "import proxy.command_line, proxy.commands.serve"]
    for _ in range(2):  # the first leaves the bytecode behind
        ran = subprocess.run(
            command, check=True, stderr=subprocess.PIPE, text=True, env=compiling(os.environ)
        )
    lines = ran.stderr.splitlines()[1:]
    found = [
        line.removeprefix("import time:").split("|") for line in lines if line.startswith("import time:")
    ]
    own = sorted(((int(fields[0]), fields[2].strip()) for fields in found), reverse=True)
    for microseconds, name in own[:rows]:
        print(f"{microseconds / 1000:8.1f} ms  {name}")
    print(f"{sum(cost for cost, _ in own) / 1000:8.1f} ms  all {len(own)} modules")


if __name__ == "__main__":
    if "--imports" in sys.argv[1:]:
        imports()
    else:
        show(measure(int(sys.argv[1]) if len(sys.argv) > 1 else TURNS))
