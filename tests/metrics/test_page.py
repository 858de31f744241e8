from pathlib import Path

from metrics.catalogue import CATALOGUE, LABELS
from metrics.page import render

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_page_in_the_docs_is_current() -> None:
    """Else: make docs."""
    assert PAGE.read_text(encoding="utf-8") == render()


def test_the_page_holds_everything() -> None:
    """A row for each metric and for each label."""
    page = render()
    assert all(f"| `{metric.name}` | {metric.kind} | " in page for metric in CATALOGUE)
    assert all(f"| `{label}` | " in page for label in LABELS)
