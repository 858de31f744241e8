"""The files that a cluster is started from, as tests read them."""

import functools
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from proxy import config as configs
from proxy.config.settings import Config

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = ROOT / "docker-compose.yml"

_VARIABLE = re.compile(r"(?<!\$)\$\{(?P<name>\w+)(?P<default>:-[^}]*)?\}")


def read(path: Path) -> Any:
    """What a YAML file holds."""
    return yaml.safe_load(path.read_text("utf-8"))


@functools.cache
def compose() -> Mapping[str, Any]:
    """The compose file with its own defaults, as when nothing is set."""
    text = _VARIABLE.sub(lambda found: (found["default"] or ":-")[2:], COMPOSE.read_text("utf-8"))
    found: Mapping[str, Any] = yaml.safe_load(text)
    return found


def services() -> Mapping[str, Mapping[str, Any]]:
    """Its services, by name."""
    found: Mapping[str, Mapping[str, Any]] = compose()["services"]
    return found


def defaultless() -> set[str]:
    """Variables without which the compose file would not be whole."""
    return {found["name"] for found in _VARIABLE.finditer(COMPOSE.read_text("utf-8")) if not found["default"]}


def environment(service: str) -> dict[str, str]:
    """What a service finds in its environment."""
    return dict(services()[service]["environment"])


def config() -> Config:
    """The proxy's configuration, read as in its container."""
    return configs.read(DEPLOY / "proxy" / "apex.yaml", environment("proxy"))


def script(path: Path) -> Any:
    """A script of ours, imported from where it is."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
