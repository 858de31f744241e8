"""What a run gave, as tables: one a section, out of the document that `bench.py` writes.

Figures are medians over the rounds. `ours / side` is the median of the ratios inside each round, and what
is `over direct` the median of the differences inside each.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import goals
from rounds import Series
from table import figure, spread, table

OURS = "ours"
FLOOR = "direct"
Cell = Callable[[Series, str], str]
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its head, and what stands in a row for one side of one level."""

    head: str
    cell: Cell


@dataclass(frozen=True, slots=True)
class Section:
    """A section's title, what its load is, and its columns."""

    title: str
    load: str
    columns: Sequence[Column]


def _median(name: str, scale: float = 1.0) -> Cell:
    return lambda one, side: figure(one.median(side, name) / scale)


def _rate(name: str = "rate") -> Cell:
    def cell(one: Series, side: str) -> str:
        return figure(one.median(side, name)) + (" (rig-bound)" if _bound(one, side) else "")

    return cell


def _spread(name: str, scale: float = 1.0) -> Cell:
    return lambda one, side: spread([value / scale for value in one.values(side, name)])


def _times(name: str) -> Cell:
    def cell(one: Series, side: str) -> str:
        return f"{figure(one.ratio(OURS, side, name))} x" if one.has(OURS) and _owned(side) else ""

    return cell


def _fuller(one: Series, side: str) -> str:
    """The ratio of the rates, of the rounds in which both had their core."""
    if not one.has(OURS) or not _owned(side):
        return ""
    kept = one.full(OURS, side)
    return f"{figure(replace(one, rounds=kept).ratio(OURS, side, 'rate'))} x" if kept else "rig-bound"


def _cheaper(one: Series, side: str) -> str:
    """The same by CPU time a request, which is what it would be if the rig were no wall."""
    return f"{figure(one.ratio(side, OURS, 'cpu_us'))} x" if one.has(OURS) and _owned(side) else ""


def _bound(one: Series, side: str) -> bool:
    return _owned(side) and one.rig_bound(side)


def _total(name: str) -> Cell:
    return lambda one, side: f"{sum(one.values(side, name)):,.0f}"


def _capacity(one: Series, side: str) -> str:
    return figure(statistics.median(goals.capacities(one, side)))


def _scaled(one: Series, side: str) -> str:
    return f"{goals.scaling(one):.2f} x" if side == goals.TWO else ""


def _added(name: str) -> Cell:
    def cell(one: Series, side: str) -> str:
        over = _owned(side) and one.has(FLOOR)
        return f"{one.added(side, FLOOR, name) / 1000:.2f}" if over else ""

    return cell


def _share(name: str) -> Cell:
    return lambda one, side: f"{one.median(side, name):.0%}" if _owned(side) else ""


def _cost(name: str) -> Cell:
    return lambda one, side: figure(one.median(side, name)) if _owned(side) else ""


def _owned(side: str) -> bool:
    return side != FLOOR


_RATE = (
    Column("requests/s", _rate()),
    Column("min-max", _spread("rate")),
    Column("ours / side", _fuller),
    Column("by CPU", _cheaper),
    Column("p50 ms", _median("p50_us", 1000)),
    Column("p99 ms", _median("p99_us", 1000)),
    Column("us CPU/request", _cost("cpu_us")),
    Column("core", _share("busy")),
)
_LATENCY = (
    Column("p50 ms", _median("p50_us", 1000)),
    Column("over direct", _added("p50_us")),
    Column("p99 ms", _median("p99_us", 1000)),
    Column("min-max", _spread("p99_us", 1000)),
    Column("over direct", _added("p99_us")),
    Column("p99.9 ms", _median("p999_us", 1000)),
    Column("over direct", _added("p999_us")),
    Column("sent late p99", _median("late_p99_us", 1000)),
    Column("requests", _total("requests")),
    Column("failed", _total("failed")),
)
_EVENTS = (
    Column("events/s", _rate()),
    Column("min-max", _spread("rate")),
    Column("per core second", _cost("core_rate")),
    Column("ours / side", _times("core_rate")),
    Column("first p50 ms", _median("p50_us", 1000)),
    Column("over direct", _added("p50_us")),
    Column("first p99 ms", _median("p99_us", 1000)),
    Column("over direct", _added("p99_us")),
    Column("core", _share("busy")),
)
SECTIONS = {
    "saturation": Section("Flat out", "1 KB requests, 0.8 KB replies, from wrk.", _RATE),
    "open": Section(
        "At a fixed rate",
        "1 KB requests, each at its moment, whatever the answers do; latency counts from that moment. "
        "Portkey stands where the rate is at most 0.6 of what it does flat out; LiteLLM at the lowest rate, "
        "and at 0.6 of what it does.",
        _LATENCY,
    ),
    "streams": Section(
        "Streams",
        "Chat streams of 100 events flat out, or paced: 25 events/s each at 100 streams, 10 at 1,000. "
        "Flat out the provider writes all events of a stream at once, so that they come in a few reads and "
        "are passed on in as few writes: what that saves is in those figures. Paced, every event is a read. "
        "A gateway that falls behind 100 paced streams has the latency of its queue there. "
        "Translated: the client speaks chat completions, the provider Messages. `per core second` is by "
        "CPU time, whoever was the wall; first is the time to the first content.",
        _EVENTS,
    ),
    "bodies": Section("Large requests", "0.8 KB replies.", _RATE),
    "tls": Section("Provider behind TLS", "1 KB requests, 0.8 KB replies, from wrk.", _RATE),
    "memory": Section(
        "Memory",
        "Resident MiB of fresh processes: idle after one request, the most with streams open, after them.",
        (
            Column("idle", _median("idle_mib")),
            Column("most", _median("most_mib")),
            Column("KiB a stream", _median("stream_kib")),
            Column("after", _median("after_mib")),
        ),
    ),
    "start": Section(
        "Start",
        "Seconds, bytecode compiled.",
        (Column("seconds", _median("seconds")), Column("min-max", _spread("seconds"))),
    ),
    "workers": Section(
        "One worker and two",
        "Both at the same fixed rate, with both cores to run on, which they share with the load, the "
        "provider and the store: a load that fills two cores cannot be made on two. So capacity is worked "
        "out, as workers / CPU time a request, and the ratio says what a second worker adds with a core.",
        (
            Column("us CPU/request", _median("cpu_us")),
            Column("min-max", _spread("cpu_us")),
            Column("capacity, requests/s", _capacity),
            Column("two / one", _scaled),
            Column("p50 ms", _median("p50_us", 1000)),
            Column("p99 ms", _median("p99_us", 1000)),
        ),
    ),
    "redis": Section(
        "What a request costs Redis",
        "Three limits on the client; flat out.",
        (
            Column("requests/s", _median("rate")),
            Column("us CPU/request", _median("cpu_us")),
            Column("scripts/request", _median("scripts")),
            Column("bytes in", _median("bytes_in")),
            Column("bytes out", _median("bytes_out")),
            Column("core", _share("busy")),
        ),
    ),
}


def series_of(document: Document, section: str) -> list[Series]:
    """A section's series."""
    return [Series(**one) for one in document["sections"].get(section, [])]


def columns_of(section: str, series: Sequence[Series]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table."""
    columns = SECTIONS[section].columns
    head = ["load", "side", *(column.head for column in columns)]
    rows = []
    for one in series:
        for place, side in enumerate(one.sides()):
            cells = [column.cell(one, side) for column in columns]
            rows.append(["" if place else one.level, side, *cells])
    return head, rows


def grids(section: str, document: Document) -> list[tuple[list[str], list[list[str]]]]:
    """The tables of a section: two where it has latencies beside rates."""
    series = [one for one in series_of(document, section) if one.rounds]
    slow = [one for one in series if "p999_us" in one.rounds[0].get(OURS, {})]
    if section in ("open", "workers") or not slow:
        return [columns_of(section, series)]
    return [columns_of(section, [one for one in series if one not in slow]), columns_of("open", slow)]


def remarks(section: str, document: Document) -> list[str]:
    """What was voided and who was left out."""
    found = list(document["remarks"]) if section == "streams" else []
    for one in series_of(document, section):
        found += [f"{one.level}: a round was void: {why}" for why in one.voided]
        found += [f"{one.level}: left out after two failures: {name}" for name in one.left_out]
        rig = any(why.startswith(f"{FLOOR}: ") for why in one.voided)
        if len(one.rounds) < max(one.wanted, 1):
            good = f"{len(one.rounds)} good rounds of {one.wanted}" if one.rounds else "no good round"
            found.append(f"{one.level}: {good}{', the rig was not calm enough' if rig else ''}")
        bound = [side for side in one.sides() if _bound(one, side)]
        if bound:
            found.append(f"{one.level}: rig-bound, so CPU time tells their ratio: {', '.join(bound)}")
    return found


def text(document: Document) -> str:
    """All of it, for a terminal."""
    parts = []
    for name in document["sections"]:
        section = SECTIONS[name]
        tables = [table(head, rows) for head, rows in grids(name, document) if rows]
        parts.append("\n\n".join([f"\n# {section.title}\n{section.load}", *tables, *remarks(name, document)]))
    parts.append("\n# Goals\n" + "\n".join(map(str, goals.goals(document))))
    parts.append("\n# Proof that everything was on\n" + "\n".join(proof(document)))
    parts.append("\n# Made on\n" + "\n".join(f"{name}: {value}" for name, value in made_on(document)))
    return "\n".join(parts)


def proof(document: Document) -> list[str]:
    """One line a level: what the load counted, and what ours and Redis did."""
    lines = []
    for level, found in document["proof"].items():
        if isinstance(found, str):
            lines.append(f"{level}: {found}")
            continue
        lines.append(
            f"{level}: load {found['load']:,} (+ at most {found['slack']} cut), requests counted "
            f"{found['requests']:,} ({found['completed']:,} completed), log lines {found['lines']:,}, "
            f"limits decided {found['decisions']:,}, "
            f"scripts in Redis {found['scripts']:,}"
        )
    return lines


def made_on(document: Document) -> list[tuple[str, str]]:
    """Machine, versions, length."""
    return [
        ("date", document["taken"]),
        *document["machine"].items(),
        *document["versions"].items(),
        ("rounds", str(document["scale"]["rounds"])),
        ("seconds a measurement", f"{document['scale']['seconds']:g}"),
        ("took", f"{document['seconds'] / 60:.0f} minutes"),
    ]
