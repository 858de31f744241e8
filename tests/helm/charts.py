"""The chart as Helm renders it, as plain objects, and its configuration as the program reads it."""

import dataclasses
import functools
import re
import subprocess
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy import config as configs
from proxy.config.settings import Config

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "apex-proxy"
VALUES = {path.stem: path for path in sorted(Path(__file__).with_name("values").glob("*.yaml"))}
ENVIRONMENT = ROOT / ".venv-helm" / "bin"
HELM = (str(ENVIRONMENT / "python"), str(Path(__file__).with_name("renderer.py")))
MOUNTED = "/run/secrets/apex"

SECRETS: Mapping[str, Mapping[str, str]] = {
    "apex-keys": {
        "APEX_APP_KEY": "sk-app-of-the-cluster",
        "APEX_BATCH_KEY": "sk-batch-of-the-cluster",
        "OPENAI_KEY": "sk-openai-of-the-cluster",
    },
    "providers": {"openai": "sk-openai-of-the-cluster"},
    "apex-redis": {
        "address": "rediss://:pass-of-redis@redis.data:6379/0",
        "responses": "redis://:pass-of-responses@redis.data:6379/1",
    },
    "apex-operations": {"bearer": "sk-operators-of-the-cluster"},
    "apex.files": {
        "app": "sk-app-in-a-file",
        "openai": "sk-openai-in-a-file",
        "responses": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    },
}
"""What is in the Secrets that the values name."""

needs_helm = pytest.mark.skipif(not ENVIRONMENT.exists(), reason="Helm's library (make helm)")
each = pytest.mark.parametrize("name", VALUES)

Object = Mapping[str, Any]


class RefusedError(Exception):
    """What Helm says of values that it does not take."""


@dataclasses.dataclass(frozen=True, slots=True)
class Made:
    """All objects of a release."""

    objects: Sequence[Object]

    def all(self, kind: str) -> list[Object]:
        """Those of a kind."""
        return [one for one in self.objects if one["kind"] == kind]

    def one(self, kind: str) -> Object:
        """The only one of a kind."""
        (found,) = self.all(kind)
        return found

    @property
    def pod(self) -> Object:
        """What the pods are made of."""
        found: Object = self.one("Deployment")["spec"]["template"]
        return found

    @property
    def container(self) -> Object:
        """The only container."""
        (found,) = self.pod["spec"]["containers"]
        return dict(found)

    @property
    def text(self) -> str:
        """The configuration file."""
        return str(self.one("ConfigMap")["data"]["apex.yaml"])

    def service(self, port: str) -> Object:
        """The Service of a named port."""
        (found,) = [one for one in self.all("Service") if one["spec"]["ports"][0]["name"] == port]
        return found

    def environment(self) -> dict[str, str]:
        """The variables of the container, out of the Secrets where they are references."""
        found: dict[str, str] = {}
        for source in self.container.get("envFrom", ()):
            found |= SECRETS[source["secretRef"]["name"]]
        for one in self.container["env"]:
            found[one["name"]] = one["value"] if "value" in one else _referred(one["valueFrom"])
        return found

    def mounted(self, folder: Path) -> str:
        """The configuration file as in the container, but for the Secrets' files: they are below `folder`."""
        places = {one["name"]: one["mountPath"] for one in self.container["volumeMounts"]}
        for volume in self.pod["spec"]["volumes"]:
            name = volume.get("secret", {}).get("secretName")
            for key, value in SECRETS.get(name, {}).items():
                place = folder / Path(places[volume["name"]]).relative_to(MOUNTED) / key
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(value + "\n", "utf-8")
        return self.text.replace(MOUNTED, str(folder))

    def config(self, folder: Path) -> Config:
        """What the program makes of it."""
        return configs.load(self.mounted(folder), self.environment())


def values(name: str, patch: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A file of values with some of them replaced, mapping by mapping."""
    return _merged(yaml.safe_load(VALUES[name].read_text("utf-8")), patch or {})


def made(name: str, patch: Mapping[str, Any] | None = None, server: str = "") -> Made:
    """What Helm makes of these values, where the cluster at `server` is as it is. Raises `RefusedError`."""
    cluster = ("--dry-run", "server", "--kube-apiserver", server) if server else ()
    return Made(objects(helm("template", "demo", CHART, *cluster, given=values(name, patch))))


def objects(text: str) -> list[Object]:
    """The objects in what was rendered. Raises `yaml.YAMLError`, also for a key that stands twice."""
    return [one for one in yaml.load_all(text, Loader=_Strict) if one]


def helm(*words: object, given: Mapping[str, Any] | None = None, command: Sequence[str] = HELM) -> str:
    """What Helm prints. Raises `RefusedError`."""
    run = _run if "--kube-apiserver" in words else _run_once
    return run((*command, *map(str, words), "--values", "/dev/stdin"), yaml.safe_dump(given or {}))


def _run(command: tuple[str, ...], given: str) -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RefusedError(re.sub(r"^\d{4}/.*\n", "", done.stderr, flags=re.MULTILINE).strip())
    return done.stdout


_run_once = functools.cache(_run)


def kubernetes_says(text: str, version: str) -> list[str]:
    """A line for each object, by the schemas of a version, in which no unknown field is allowed."""
    command = [str(ENVIRONMENT / "kubernetes-validate"), "--strict", "-k", version, "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() + done.stderr.splitlines()


def secrets(tree: object) -> Iterator[str]:
    """Every secret in a configuration."""
    if isinstance(tree, configs.Secret):
        yield tree.get_secret_value()
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from secrets(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from secrets(value)


def _referred(source: Mapping[str, Any]) -> str:
    reference = source["secretKeyRef"]
    return SECRETS[reference["name"]][reference["key"]]


def _merged(under: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        name: _merged(under[name], value)
        if isinstance(value, dict) and isinstance(under.get(name), dict)
        else value
        for name, value in over.items()
    }
    return under | both


class _Strict(yaml.SafeLoader):
    """YAML in which no key stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        if len(names) != len(set(names)):
            raise yaml.MarkedYAMLError(problem="a key stands twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)
