"""The picture of a circuit's states, drawn from the table in `circuit`: `python -m proxy.statechart FILE`.

FILE is a Markdown page with the two marks below; what stands between them is written anew.
"""

import sys
from pathlib import Path

from proxy.circuit import TRANSITIONS, State

BEGIN = "<!-- made by proxy.statechart -->"
END = "<!-- end -->"


def mermaid() -> str:
    """The states and the ways between them, numbered as in the table, as a Mermaid state diagram."""
    numbers: dict[tuple[State, State], list[str]] = {}
    for number, (before, _, after) in enumerate(TRANSITIONS, 1):
        numbers.setdefault((before, after), []).append(str(number))
    arrows = [
        f"    {before.value} --> {after.value}: {', '.join(rows)}"
        for (before, after), rows in numbers.items()
    ]
    begin = ["```mermaid", "stateDiagram-v2", "    direction LR", f"    [*] --> {State.CLOSED.value}"]
    return "\n".join([*begin, *arrows, "```"])


def table() -> str:
    """Every way with its number."""
    rows = [
        f"| {number} | {before.value} | {after.value} | {why} |"
        for number, (before, why, after) in enumerate(TRANSITIONS, 1)
    ]
    return "\n".join(["| | from | to | when |", "|---|---|---|---|", *rows])


def drawn(page: str) -> str:
    """`page` with picture and table as they are today. Raises `ValueError` where a mark is missing."""
    before, found, rest = page.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"the page has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{mermaid()}\n\n{table()}\n{END}{after}"


def main(arguments: list[str]) -> None:
    """Write the picture into the page that is named."""
    page = Path(arguments[0])
    page.write_text(drawn(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
