"""What a run was made on: the machine, and what ran."""

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

LIBRARIES = ("fastapi", "httptools", "uvicorn", "uvloop")


def unfit(name: str, needed: Mapping[str, str]) -> str:
    """Why `name` cannot run here, empty where it can; `needed` are programs, and the packages they are in."""
    missing = [package for program, package in needed.items() if shutil.which(program) is None]
    if missing:
        return f"{name} needs {' '.join(missing)}: sudo apt-get install {' '.join(missing)}"
    if len(os.sched_getaffinity(0)) < 2:
        return f"{name} needs two cores: one for what is measured, one for the provider and the load"
    return ""


def machine() -> dict[str, str]:
    """Processor, cores, memory, kernel, and how busy it was just before."""
    return {
        "processor": processor(Path("/proc/cpuinfo").read_text(encoding="utf-8")),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1024**3:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "load average": f"{os.getloadavg()[0]:.2f}",
    }


def processor(cpuinfo: str) -> str:
    """The model's name."""
    lines: Mapping[str, str] = {
        name.strip(): value.strip()
        for name, _, value in (line.partition(":") for line in cpuinfo.splitlines())
    }
    return lines.get("model name", "unknown")


def versions(tree: Path) -> dict[str, str]:
    """Of ours, Python, its libraries, nginx and wrk."""
    revision = subprocess.run(
        ["git", "-C", str(tree), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
    wrk = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    return {
        "apex-ai-proxy": f"{metadata.version('apex-ai-proxy')} {revision.stdout.strip()}".strip(),
        "Python": platform.python_version(),
        **{name: metadata.version(name) for name in LIBRARIES if _there(name)},
        "nginx": nginx.strip().rpartition("/")[2],
        "wrk": wrk.split()[1] if len(wrk.split()) > 1 else "unknown",
    }


def _there(name: str) -> bool:
    return any(distribution.name == name for distribution in metadata.distributions(name=name))
