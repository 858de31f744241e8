import dataclasses
from pathlib import Path

from proxy import profiles
from proxy.passages import PREFERRED
from proxy.wire.losses import POLICY, Treatment
from proxy.wire.model import Dialect
from proxy.wire.page import render

PAGE = Path(__file__).parents[2] / "docs" / "dialects.md"
NAMES = {Dialect.CHAT: "Chat Completions", Dialect.RESPONSES: "Responses", Dialect.MESSAGES: "Messages"}


def rows(page: str) -> dict[str, list[str]]:
    """The cells of each row of its tables, by the first one."""
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line[:1] == "|"
    ]
    return {row[0]: row[1:] for row in cells}


def test_the_page_is_up_to_date() -> None:
    """`docs/dialects.md` is what the program would write today."""
    assert PAGE.read_text(encoding="utf-8") == render()


def test_every_rule_is_on_the_page() -> None:
    """With what becomes of the field in each dialect, in the order of the columns."""
    page = render()
    for name, rule in POLICY.items():
        cells = [f"`{name}`", *(rule.of(dialect).value for dialect in Dialect), rule.note]
        assert f"| {' | '.join(cells)} |" in page


def test_every_treatment_is_explained() -> None:
    """Before the table."""
    explained = render().partition("| Field |")[0]
    for treatment in Treatment:
        assert f"*{treatment.value}*" in explained


def test_the_ways_are_those_that_requests_take() -> None:
    """The table of who speaks to whom says what `passages` does."""
    found = rows(render())
    for dialect, others in PREFERRED.items():
        assert found[NAMES[dialect]][1] == ", ".join(NAMES[other] for other in others)


def test_every_quirk_of_every_kind_is_on_the_page() -> None:
    """As the profiles have it."""
    found = rows(render())
    for field in dataclasses.fields(profiles.Quirks):
        *cells, note = found[f"`{field.name}`"]
        assert note == profiles.QUIRKS[field.name]
        assert len(cells) == len(profiles.KINDS)
    for kind, profile in profiles.PROFILES.items():
        for pattern, _ in profile.families:
            assert f"| `{kind}` | `{pattern}` |" in render()
