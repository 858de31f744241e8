"""The environments that the clients run in: each a folder of its own, made on first use from its pinned list.

Nothing is installed into the environment that the proxy runs in: clients and proxy share no library.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE.parent.parent / ".cache-conformance"
NAMES = ("current", "previous")


def python_of(name: str) -> Path:
    """The interpreter of an environment, which is made if it is not there or its list has changed."""
    listed = HERE / f"requirements-{name}.txt"
    folder = CACHE / name
    python = folder / "bin" / "python"
    mark = folder / "made-from"
    wanted = hashlib.sha256(listed.read_bytes() + sys.version.encode()).hexdigest()
    if mark.is_file() and mark.read_text("ascii") == wanted:
        return python
    print(f"making the environment {name!r} (once, about half a minute)", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*install, "-r", str(listed)], check=True)
    mark.write_text(wanted, "ascii")
    return python


def versions_of(name: str) -> str:
    """The SDKs of an environment with their versions, in words."""
    pins = dict(
        line.split("==")
        for line in (HERE / f"requirements-{name}.txt").read_text("utf-8").split("\n")
        if "==" in line
    )
    named = ("openai", "anthropic", "pydantic-ai-slim", "openai-agents")
    return ", ".join(f"{package} {pins[package]}" for package in named if package in pins)
