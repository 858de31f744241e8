"""Every YAML block of the README and of docs/ is what it looks like.

A whole configuration loads, a part of one loads beside what it leaves out, a script of the mock is one, and
what belongs to other programs is named here.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import mockprovider
from proxy.config import load
from proxy.config.settings import Config

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```ya?ml\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FOREIGN = {"docs/operations.md": ["scrape_configs"], "docs/kubernetes.md": ["rules"]}
"""The top level of what is Prometheus' and its adapter's, by page."""

REST = """
providers: {any: {base_url: "http://any.test/v1"}}
models: {any: {providers: [{provider: any}]}}
"""
"""What a part of a configuration leaves out."""


def blocks() -> Iterator[tuple[str, str]]:
    """Each block with the page it is from."""
    for page in PAGES:
        for block in BLOCK.findall(page.read_text("utf-8")):
            yield page.relative_to(ROOT).as_posix(), block


def loaded(text: str) -> Config:
    """A configuration whose variables are all set."""
    return load(text, {name: f"sk-{name}-0123" for name in re.findall(r"\$\{(\w+)\}", text)})


BLOCKS = list(blocks())


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=[f"{page}:{block[:20]}" for page, block in BLOCKS])
def test_a_block_is_what_it_looks_like(page: str, block: str) -> None:
    """None is left out: what is not known to be another program's is taken for ours."""
    top = list(yaml.safe_load(block))
    if top == FOREIGN.get(page):
        return
    if "rules" in top:
        assert mockprovider.load(block).rules
        return
    missing = "".join(line for line in REST.splitlines(keepends=True) if line.partition(":")[0] not in top)
    assert loaded(block + missing).model_fields_set >= set(top)


def test_whole_configurations_are_among_them() -> None:
    """The first one that is read, and the one of limits, can be copied as they stand."""
    whole = {
        page for page, block in BLOCKS if {"clients", "providers", "models"} <= yaml.safe_load(block).keys()
    }
    assert {"README.md", "docs/limits.md"} <= whole
