"""Tests of `proxy.exporting`: nothing of OpenTelemetry unless it is wanted."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from metrics.traces import Traces as Real
from proxy import exporting
from proxy.clock import ManualClock
from proxy.config.traces import Traces as Settings

ON = Settings(endpoint="http://127.0.0.1:9")
ROOT = Path(__file__).parent.parent

LOOK = """
import sys
import proxy.command_line
from proxy.app import build
sys.exit(any(name.partition(".")[0] == "requests" or name.startswith(("opentelemetry.sdk", "metrics.traces"))
             for name in sys.modules))
"""

LACKS = """
import sys
sys.modules["opentelemetry.exporter.otlp.proto.http"] = None  # so it is where nothing is installed
from proxy.command_line import main
main(prog_name="apex-proxy")
"""


def test_without_a_collector_there_is_nothing() -> None:
    """No spans, and no ids."""
    assert exporting.traces(Settings(), "one", "1.2", ManualClock()) is None
    assert exporting.tracer(Settings(), random.Random(1)) is None
    assert exporting.missing(Settings(), lambda _: False) is None


def test_the_program_loads_nothing_of_it() -> None:
    """Whoever traces nothing needs the extra neither installed nor in memory."""
    done = subprocess.run([sys.executable, "-c", LOOK], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_with_a_collector_it_is_all_there() -> None:
    """Made, and not yet started."""
    traces = exporting.traces(ON, "one", "1.2", ManualClock())
    assert isinstance(traces, Real)
    traces.close()
    assert [reading.value for reading in traces.read()] == [0]
    assert exporting.tracer(ON, random.Random(1)) is not None


def test_what_is_not_installed_is_told_with_its_remedy() -> None:
    """What, where, and how to mend it."""
    assert exporting.missing(ON) is None
    for name in exporting.NEEDED:
        problem = exporting.missing(ON, {*exporting.NEEDED}.difference({name}).__contains__)
        assert str(problem) == (
            "traces.endpoint: traces need OpenTelemetry, which is not installed: pip install '.[traces]'"
        )


@pytest.mark.process
@pytest.mark.parametrize("command", ["check", "serve"])
def test_commands_tell_it_before_anything_starts(tmp_path: Path, command: str) -> None:
    """In the form in which they tell all that is wrong with a configuration."""
    file = tmp_path / "apex.yaml"
    config: dict[str, object] = {
        "clients": [{"name": "app", "key": "sk-client-0123"}],
        "providers": {"one": {"base_url": "http://127.0.0.1:9/v1"}},
        "models": {"m": {"providers": [{"provider": "one"}]}},
        "traces": {"endpoint": "http://127.0.0.1:9"},
    }
    file.write_text(json.dumps(config), "utf-8")
    done = subprocess.run(
        [sys.executable, "-c", LACKS, command, str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"Error: {file} has 1 error:\n"
        "  traces.endpoint: traces need OpenTelemetry, which is not installed: "
        "pip install '.[traces]'\n"
    )


def test_whether_a_module_is_there_is_asked_without_importing_it() -> None:
    """Nor is a package that lacks altogether an error."""
    assert exporting.installed("json")
    assert not exporting.installed("json.nothing")
    assert not exporting.installed("nothing_at_all.of.this")
