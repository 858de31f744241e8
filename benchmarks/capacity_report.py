"""What the capacity runs gave, as tables: out of the document that `capacity.py` writes, nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

import capacity_plan as plan
from capacity_meter import CPU
from capacity_model import BYTES_IN, BYTES_OUT, CALLS, QUANTITIES, SCOPE, error
from table import figure, table

Document = dict[str, Any]
Grid = tuple[str, list[str], list[list[str]]]
"""What a table says, its head and its rows."""

MOST = 0.1
"""How far off the model may be, as a share of what was measured."""

TITLE = "What a cluster needs of Redis"
INTRODUCTION = """Limits, health, presence and stored responses of all replicas go through one Redis. What
they ask of it is the sum of what each does by itself and of what requests do. By itself a replica gives a
sign of life every two seconds, polls health twice a second, and pings. A list of all members is asked for by
operators, and by each replica once a minute where it has changed: these bytes alone grow with the square of
the replicas, and only while some come and leave.
"""
_UNITS = {CALLS: "calls", BYTES_IN: "bytes in", BYTES_OUT: "bytes out", CPU: "us of CPU"}
_MEANING = {
    "replica": "a second of a replica",
    "scope": "one scope of a request: admit and settle",
    "create": "a response stored",
    "read": "a response read",
    "transition": "a target that backs off, opens or closes",
    "delivery": "the same, for each replica that hears of it",
    "beat": "a heartbeat for one limit",
    "lease": "the same, for each lease",
    "listing": "a list of the members",
    "member": "the same, for each member",
}


def off(run: Mapping[str, Any], quantity: str) -> float:
    """How far the model is off in one run."""
    return error(run["predicted"][quantity], run["measured"][quantity])


def wrong(document: Document) -> list[str]:
    """Where the model is off by more than it may, in words."""
    return [
        f"{run['replicas']} replicas, {run['name']}: {quantity} {off(run, quantity):+.1%}"
        for run in document["runs"]
        for quantity in QUANTITIES
        if not run["fitted"] and abs(off(run, quantity)) > MOST
    ]


def grids(document: Document) -> list[Grid]:
    """All tables."""
    return [
        _checks(document),
        _constants(document),
        _needs(document),
        _ends(document),
    ]


def _constants(document: Document) -> Grid:
    constants = document["constants"]
    life = document["life"]
    busy, quiet = figure(constants[CPU][SCOPE]), figure(document["quiet"])
    head = ["for", *_UNITS.values()]
    rows = [
        [said, *(_cell(constants[quantity].get(name)) for quantity in _UNITS)]
        for name, said in _MEANING.items()
    ]
    said = (
        f"Constants. Calls and bytes were fitted on the runs with {_fitted_on(document)} replicas, but for "
        f"the bytes of a member and of a message ({life['delivered']:,.0f} to each that hears it): "
        f"a sign of life among {life['members']:,} was answered with "
        f"{life['bytes_out']:,.0f} bytes, one that asked for the list with {life['listed']:,.0f}. CPU was "
        f"measured on a server that many connections keep busy. A scope took {busy} us there, and {quiet} us "
        "in the runs above, for a server with little to do wakes up for every call."
    )
    return said, head, rows


def _fitted_on(document: Document) -> str:
    return " and ".join(sorted({str(run["replicas"]) for run in document["runs"] if run["fitted"]}))


def _cell(value: float | None) -> str:
    return figure(value) if value else ""


def _checks(document: Document) -> Grid:
    head = ["replicas", "run"]
    for quantity in QUANTITIES:
        head += [_UNITS[quantity], "model", "off"]
    rows = []
    for run in document["runs"]:
        row = [str(run["replicas"]) + (" (fitted)" if run["fitted"] else ""), run["name"]]
        for quantity in QUANTITIES:
            measured, predicted = run["measured"][quantity], run["predicted"][quantity]
            row += [f"{measured:,.0f}", f"{predicted:,.0f}", f"{off(run, quantity):+.1%}"]
        rows.append(row)
    said = (
        "Measured, beside what the model says of the same load. Of the runs that it was not fitted on the "
        f"largest error is {_largest(document):.1%} ({MOST:.0%} is allowed)."
    )
    return said, head, rows


def _largest(document: Document) -> float:
    return max(
        abs(off(run, quantity)) for run in document["runs"] if not run["fitted"] for quantity in QUANTITIES
    )


def _needs(document: Document) -> Grid:
    head = ["replicas", "requests/s", "calls/s", "KB/s in", "KB/s out", "of it lists"]
    head += ["connections", "messages/s", "core", "shards"]
    rows = []
    for replicas in plan.SIZES:
        for requests in plan.RATES:
            what = _need(document, replicas, requests)
            count = plan.shards(what)
            rows.append(
                [
                    f"{replicas:,}",
                    f"{requests:,.0f}",
                    figure(what.calls),
                    figure(what.bytes_in / 1000),
                    figure(what.bytes_out / 1000),
                    figure(what.lists / 1000),
                    f"{what.connections:,.0f}",
                    figure(what.messages),
                    f"{what.core:.1%}",
                    "none is enough" if count is None else str(count),
                ]
            )
    said = (
        f"By the model. Each request is limited by client, model and key; {plan.STORED:.0%} are stored and "
        f"{plan.READ_AGAIN:.0%} read one; {plan.LONG:.0%} stream for {plan.OPEN:g} s; {plan.LIMITS} limits "
        f"are in use; {plan.TRANSITIONS:g} change of a target a second, heard by every replica, where there "
        "are requests. Replicas come and leave all the time, so that each lists all of them once in "
        f"{plan.RELISTED:g} s. No model uses `least_busy` or `least_latency`: with them each poll of health "
        "tells what a replica is busy with and is answered with one sum of all, 2 KB each way for 20 targets "
        "and 55 us of CPU among 1,000 replicas (docs/decisions/0022-loads-as-one-sum.md). "
        "The core is by what a busy server takes for each. A "
        f"shard is full at {plan.FULL:.0%} of a core or of 1 Gbit/s out. A Cluster has at least "
        f"{plan.LEAST_SHARDS} shards; "
        "connections are those of a single Redis, and a replica has two more for each further shard."
    )
    return said, head, rows


def _need(document: Document, replicas: int, requests: float) -> plan.Need:
    return plan.need(document["constants"], document["connections"]["replica"], plan.load(replicas, requests))


def _ends(document: Document) -> Grid:
    found = plan.ends(document["constants"], document["connections"]["replica"])
    rows = [[end.what, f"{end.at:,}" if end.at else "none", end.unit, end.of] for end in found]
    said = (
        "Where it ends, and of what. Limits spread over the shards of a Cluster by client, model and key, "
        "stored responses by client. Health has one hash tag and presence another: they do not spread, and "
        "are taken here to meet on one shard."
    )
    return said, ["", "up to", "", "ended by"], rows


def text(document: Document) -> str:
    """All of it, for a terminal."""
    parts = [f"# {TITLE}"]
    for said, head, rows in grids(document):
        parts.append(f"{said}\n\n{table(head, rows)}")
    found = wrong(document)
    parts.append("\n".join(f"OFF BY MORE THAN {MOST:.0%}: {line}" for line in found) or "The model holds.")
    return "\n\n".join(parts)


def section(document: Document) -> list[Grid]:
    """The same for a page, which has less room: of the measured runs those that the model was checked on."""
    checks, *others = grids(document)
    said, head, rows = checks
    kept = [row for row, run in zip(rows, document["runs"], strict=True) if not run["fitted"]]
    return [(said, head, kept), *others]


def made_on(document: Document) -> Sequence[tuple[str, str]]:
    """When and where."""
    return [
        ("date", document["taken"]),
        *document["machine"].items(),
        *document["versions"].items(),
        ("took", f"{document['seconds']:.0f} s"),
    ]
