import re
import subprocess
import sys
from pathlib import Path

from pydantic import BaseModel

from proxy import endpoints
from proxy.config import resilience, settings
from proxy.config.reference import render
from proxy.config.section import Section
from proxy.endpoints import read_head
from proxy.profiles import PROFILES

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def sections() -> list[type[BaseModel]]:
    """Every section of the tree, in whichever of its two modules it stands."""
    known = [*vars(settings).values(), *vars(resilience).values()]
    found = {kind for kind in known if isinstance(kind, type) and issubclass(kind, Section)}
    return sorted(found - {Section}, key=lambda kind: kind.__name__)


def test_every_section_is_looked_at() -> None:
    """Those of the file's top level, and what stands in them."""
    names = {section.__name__ for section in sections()}
    assert {"Config", "Provider", "Entry", "Timeouts", "Health", "AdaptiveConcurrency", "Queue"} < names


def test_the_page_is_up_to_date() -> None:
    """`docs/configuration.md` is what the program would write today."""
    assert PAGE.read_text(encoding="utf-8") == render()


def test_every_setting_is_on_the_page() -> None:
    """Each field has a sentence, and a row with it."""
    page = render()
    for section in sections():
        for name, known in section.model_fields.items():
            assert known.description, f"{section.__name__}.{name}"
            assert known.description.endswith(".")
            assert f"| `{name}` |" in page
            assert known.description in page


def test_units_and_bounds_are_shown() -> None:
    """Durations and sizes show their unit, numbers their bounds, what is derived its source."""
    page = render()
    assert "| `connect` | duration, more than 0 | `5s` |" in page
    assert "| `body` | size, at least 1KiB | `32MiB` |" in page
    assert "| `attempts` | whole number, at least 1, at most 10 | `3` |" in page
    assert "| `keys` | list of secrets, not empty | required |" in page
    assert "| `base_url` | text | by kind |" in page
    assert "| `allow_direct` | `true` or `false` | `false` |" in page


def test_no_sentence_is_taken_for_code() -> None:
    """An indented line would be; the second paragraph of a section's docstring begins with the margin."""
    assert [line for line in render().splitlines() if line.startswith("    ")] == []
    assert "\nSigns of that are 429, 503, 529 and no first token in time." in render()


def test_every_kind_is_on_the_page() -> None:
    """The table of kinds is complete."""
    page = render()
    assert all(f"\n| `{kind}` |" in page for kind in PROFILES)


def test_the_module_prints_the_page() -> None:
    """`python -m proxy.config.reference` is how the page is made."""
    run = subprocess.run(
        [sys.executable, "-m", "proxy.config.reference"],
        capture_output=True,
        check=True,
        cwd=PAGE.parent.parent,
    )
    assert run.stdout.decode() == render()


def test_the_headers_that_go_upstream_are_all_told() -> None:
    """Those of the table and no other are taken from a request; some only from Messages to Messages."""
    table = render().partition("### Headers\n")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    told = [re.findall(r"`([a-z-]+)`", row.split("|")[1]) for row in rows]
    native = [name for names, row in zip(told, rows, strict=True) for name in names if "to Messages" in row]
    others = ["user-agent", "cookie", "x-custom", "authorization", "x-api-key", "openai-organization"]
    sent = [name for names in told for name in names] + others
    head = read_head([(name.encode(), b"x") for name in sent])
    assert [name for name, _ in head.vendor] == native
    assert [name for name, _ in head.forwarded] == [name for name in sent if name not in [*native, *others]]
    assert {name.encode() for names in told for name in names} == endpoints._VENDOR | endpoints._FORWARDED
