"""The image: what goes in, what stays out, and who it runs as."""

import json
import re
import tomllib

from cluster_files import DEPLOY, ROOT, config

TEXT = (DEPLOY / "Dockerfile").read_text("utf-8")
BUILD, FINAL = TEXT.split("\nFROM ")[1:]
IGNORED = (ROOT / ".dockerignore").read_text("utf-8").splitlines()


def needed_by() -> dict[str, set[str]]:
    """What the lock file says of each library: by whom it is needed."""
    text = (ROOT / "requirements.lock").read_text("utf-8")
    found = re.findall(r"^([\w.-]+)==.*?(?=^[\w.-]+==|\Z)", text, re.MULTILINE | re.DOTALL)
    blocks = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
    lines = (re.findall(r"^    #(?: via)? +(\S.*)$", block, re.MULTILINE) for block in blocks)
    return dict(zip(found, map(set, lines), strict=True))


def test_what_only_the_build_needs_is_taken_out() -> None:
    """All that is in the lock file for the build alone, and nothing else."""
    needed = needed_by()
    gone: set[str] = set()
    while more := {
        name
        for name, users in needed.items()
        if name not in gone and users <= gone | {"apex-ai-proxy (pyproject.toml:build)"}
    }:
        gone |= more
    found = re.search(r"uninstall -q -y \\\n +([\w -]+) \\\n", BUILD)
    assert found is not None
    assert set(found[1].split()) == gone


def test_libraries_are_those_of_the_lock() -> None:
    """By their hashes, and none is compiled here."""
    assert "--only-binary :all: --require-hashes -r requirements.lock" in BUILD
    assert "--no-deps --no-build-isolation ." in BUILD


def test_nothing_is_installed_in_the_end() -> None:
    """What runs has no compiler, no package manager's leftovers, and no files but these."""
    assert not re.search(r"\b(apt-get|pip)\b", FINAL)
    copied = re.findall(r"^COPY (.*)$", FINAL, re.MULTILINE)
    assert copied == ["--from=build /opt/apex /opt/apex", "deploy/probe.py /opt/apex/"]


def test_it_runs_as_nobody_special() -> None:
    """A number, so that whoever starts it can see that it is not root."""
    found = re.findall(r"^USER (\d+)$", FINAL, re.MULTILINE)
    assert [int(number) > 0 for number in found] == [True]


def test_signals_reach_it() -> None:
    """No shell stands between: the process that is told to stop is the proxy."""
    for word in ("ENTRYPOINT", "CMD"):
        found = re.findall(rf"^{word} (.*)$", FINAL, re.MULTILINE)
        assert [isinstance(json.loads(one), list) for one in found] == [True]


def test_its_health_is_its_readiness() -> None:
    """At the port of the configuration that it is started with."""
    found = re.search(r"^ +CMD (\[.*\])$", FINAL, re.MULTILINE)
    assert found is not None
    assert json.loads(found[1])[-2:] == [str(config().listen.port), "/readyz"]
    assert FINAL.count("EXPOSE 8080 9090") == 1


def test_base_images_are_the_builders_choice() -> None:
    """One name for both stages, or compiled libraries might not fit."""
    assert re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE) == ["${PYTHON_IMAGE}"] * 2
    assert re.search(r"^ARG PYTHON_IMAGE=python:\d\.\d+-slim$", TEXT, re.MULTILINE)


def test_what_the_build_sees() -> None:
    """All packages and what is copied, and nothing else: no key, no history, no cache."""
    assert IGNORED[1] == "*"
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]
    copied = {
        name for line in re.findall(r"^COPY (?!--)(.*) \S+$", TEXT, re.MULTILINE) for name in line.split()
    }
    assert {line[1:] for line in IGNORED if line.startswith("!")} == copied
    assert set(packages["targets"]["wheel"]["packages"]) <= copied
    assert all((ROOT / name).exists() for name in copied)
