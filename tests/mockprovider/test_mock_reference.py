"""Tests of `mockprovider.reference`: the page says what the program does."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import mockprovider
from mockprovider.reference import render

PAGE = Path(__file__).parents[2] / "docs" / "mock.md"


def test_the_page_is_up_to_date() -> None:
    """`docs/mock.md` is what the program would write today."""
    assert PAGE.read_text(encoding="utf-8") == render()


@pytest.mark.parametrize("shape", [mockprovider.Script, mockprovider.Match, mockprovider.Behaviour])
def test_every_field_is_in_a_table(shape: type) -> None:
    """With its type and default."""
    for name in shape.__annotations__:
        assert f"| `{name}` | " in render()


@pytest.mark.parametrize("name", mockprovider.Behaviour.__annotations__)
def test_every_behaviour_is_explained(name: str) -> None:
    """Outside the table too: in code, where its meaning is told."""
    prose = "\n".join(line for line in render().splitlines() if not line.startswith("|"))
    assert f"`{name}`" in prose


def test_the_example_is_a_script() -> None:
    """What the page shows can be used as it stands."""
    example = render().partition("```yaml\n")[2].partition("```")[0]
    assert len(yaml.safe_load(example)["rules"]) == len(mockprovider.load(example).rules) == 2


def test_the_module_writes_the_page() -> None:
    """`python -m mockprovider.reference` prints the page and nothing else."""
    command = [sys.executable, "-m", "mockprovider.reference"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PAGE.parents[1])
    assert done.stdout == render()
    assert done.stderr == ""
