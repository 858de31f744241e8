"""The tables at the end: features by client API and kind of provider; examples of the API reference."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cells import APIS, ROWS

Key = tuple[str, str, str]
"""Row, client API, kind of provider."""

_NAMES = {"chat": "chat", "responses": "resp.", "messages": "mess."}
_CELL = 7


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one cell in one environment; `error` is empty where the check held."""

    environment: str
    row: str
    api: str
    kind: str
    seconds: float
    error: str
    log: Sequence[str] = ()


def verdicts(results: Iterable[Result]) -> Mapping[Key, str]:
    """`ok` where the check held in every environment that has it, else `FAIL`."""
    found: dict[Key, str] = {}
    for result in results:
        key = (result.row, result.api, result.kind)
        found[key] = "FAIL" if result.error or found.get(key) == "FAIL" else "ok"
    return found


def matrix(results: Iterable[Result]) -> str:
    """Features as rows; a column for each client API over each kind of provider."""
    found = verdicts(results)
    rows = [row for row in ROWS if any(key[0] == row for key in found)]
    width = max(map(len, (*rows, "over a provider of")))
    block = _CELL * len(APIS)
    lines = [
        _line("", width, [f"{api} client".ljust(block) for api in APIS]),
        _line(
            "over a provider of", width, ["".join(_NAMES[kind].ljust(_CELL) for kind in APIS) for _ in APIS]
        ),
        "-" * (width + (block + 2) * len(APIS)),
    ]
    for row in rows:
        cells = ["".join(found.get((row, api, kind), "-").ljust(_CELL) for kind in APIS) for api in APIS]
        lines.append(_line(row, width, cells))
    return "\n".join(lines)


def _line(name: str, width: int, blocks: Sequence[str]) -> str:
    return "  ".join([name.ljust(width), *blocks]).rstrip()


def examples(results: Iterable[Result]) -> str:
    """The examples as rows; over a provider that speaks chat alone, and over one that speaks them all."""
    found = verdicts(results)
    rows = list(dict.fromkeys(key[0] for key in found))
    kinds = list(dict.fromkeys(key[2] for key in found))
    width = max(map(len, rows))
    lines = [_line("", width, [kind.ljust(12) for kind in kinds]), "-" * (width + 14 * len(kinds))]
    for row in rows:
        cells = [found.get((row, "example", kind), "-").ljust(12) for kind in kinds]
        lines.append(_line(row, width, cells))
    return "\n".join(lines)
