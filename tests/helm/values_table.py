"""The table of values in the chart's README, made from the comments in `values.yaml`.

A comment that begins with `# --` stands above what it is about, and goes on over the lines after it.
`python tests/helm/values_table.py` prints the table.
"""

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

FILE = Path(__file__).parents[2] / "deploy" / "helm" / "apex-proxy" / "values.yaml"
LONGEST = 40
"""Characters of a default that the table shows."""


@dataclasses.dataclass(frozen=True, slots=True)
class Value:
    """One value: its path, its default, and what is said of it; nothing where it is only a part."""

    path: str
    default: object
    text: str


def table(text: str) -> str:
    """The rows of all values that something is said of."""
    said = [value for value in found(text) if value.text]
    rows = [f"| `{value.path}` | {_default(value.default)} | {value.text} |" for value in said]
    return "\n".join(["| Value | Default | Meaning |", "|---|---|---|", *rows])


def found(text: str) -> Iterator[Value]:
    """All values, without the parts of one that is told as a whole."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(node, yaml.MappingNode)
    yield from _within(node, "", text.splitlines())


def _within(node: yaml.MappingNode, prefix: str, lines: list[str]) -> Iterator[Value]:
    for key, value in node.value:
        path = f"{prefix}{key.value}"
        said = _comment(lines[: key.start_mark.line])
        block = isinstance(value, yaml.MappingNode) and not value.flow_style
        parts = list(_within(value, f"{path}.", lines)) if block else []
        if said or not parts:
            yield Value(path, _plain(value), said)
        if not said or any(part.text for part in parts):
            yield from parts


def _comment(before: list[str]) -> str:
    """What the comment right above says, if it is meant for the table."""
    block: list[str] = []
    for line in reversed(before):
        mark = re.match(r"\s*# ?(-- )?(.*)", line)
        if mark is None:
            break
        block.insert(0, mark[2])
        if mark[1]:
            return " ".join(block)
    return ""


def _plain(node: yaml.Node) -> object:
    return yaml.safe_load(yaml.serialize(node))


def _default(value: object) -> str:
    text = json.dumps(value)
    return f"`{text}`" if len(text) <= LONGEST else "see `values.yaml`"


if __name__ == "__main__":
    print(table(FILE.read_text("utf-8")))
