"""The chart's values: every one is told in the README, known to the schema, and within it."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import pytest
import yaml
from charts import CHART, ROOT, VALUES, values
from values_table import Value, found, table

TEXT = (CHART / "values.yaml").read_text("utf-8")
SCHEMA = json.loads((CHART / "values.schema.json").read_text("utf-8"))
README = (CHART / "README.md").read_text("utf-8")


def paths(schema: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """What a schema knows, down to what has no parts."""
    for name, part in schema.get("properties", {}).items():
        yield f"{prefix}{name}"
        yield from paths(part, f"{prefix}{name}.")


def parts(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The paths in a tree of values."""
    for name, value in tree.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from parts(value, f"{prefix}{name}.")


def test_something_is_said_of_every_value() -> None:
    """Of it, or of what it is a part of."""
    assert [value.path for value in found(TEXT) if not value.text] == []


def test_the_readme_has_the_table() -> None:
    """As `python tests/helm/values_table.py` prints it."""
    assert README.endswith(f"\n## Values\n\n{table(TEXT)}\n")


def test_a_comment_is_read_over_its_lines() -> None:
    """And what has no mark is not for the table."""
    text = "# Of the file.\n\na:\n  # -- One,\n  # and more.\n  b: [1]\n  # About c.\n  c: ''\n"
    assert list(found(text)) == [Value("a.b", [1], "One, and more."), Value("a.c", "", "")]
    assert table(text).splitlines()[2:] == ["| `a.b` | `[1]` | One, and more. |"]


def test_the_parts_of_a_value_that_is_told_as_a_whole() -> None:
    """They are told if something is said of one."""
    text = "# -- A.\na: {b: 1}\n# -- C.\nc:\n  # -- D.\n  d: 2\n"
    assert [(value.path, value.text) for value in found(text)] == [("a", "A."), ("c", "C."), ("c.d", "D.")]


def test_the_schema_knows_every_value() -> None:
    """And no value that does not exist: a slip of the pen is refused."""
    known = {path for path in paths(SCHEMA) if not path.startswith(("config.", "global"))}
    assert known == {path for path in parts(yaml.safe_load(TEXT)) if path in known}
    assert {value.path for value in found(TEXT) if not value.path.startswith("config.")} <= known


def test_the_schema_is_one_and_takes_the_defaults() -> None:
    """So `helm lint` has nothing to say of the chart alone."""
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.Draft7Validator(SCHEMA).validate(yaml.safe_load(TEXT))


def test_everything_is_set_by_a_test() -> None:
    """At least once."""
    told = {path for name in VALUES for path in parts(values(name))}
    assert {value.path for value in found(TEXT)} - told == {"image.tag", "autoscaling.behavior"}


def test_every_secret_of_the_configuration_is_looked_after() -> None:
    """A new one must be refused in clear by `_config.tpl` before it may stand here."""
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    sections = re.findall(r"^## `(\S+)`\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    secret = {
        f"{section}.{name}"
        for section, text in sections
        for name in re.findall(r"^\| `(\w+)` \| (?:list of )?secrets?\b", text, re.MULTILINE)
    }
    assert secret == {
        "operations.token",
        "clients[].keys",
        "providers.NAME.api_keys[].key",
        "responses.keys[].key",
    }


@pytest.mark.parametrize("page", ["README.md", "docs/kubernetes.md"])
def test_pages_lead_here(page: str) -> None:
    """From where somebody would look."""
    assert "deploy/helm/apex-proxy" in (ROOT / page).read_text("utf-8")
