"""Explanations and replays as text, for terminals."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from proxy.decision import Decision
from proxy.explanation import Candidate, Explanation, Step, Touched, path

EXAMPLES = 5
"""Requests named for each kind of difference."""


def explanation(told: Explanation) -> str:
    """One explanation, on about a page."""
    told = _printable(told)
    kind = "stream" if told.stream else "reply"
    lines = [
        told.summary,
        "",
        f"{told.endpoint} {kind} for '{told.model}', asked by {told.client}, {told.bytes:,} bytes"
        + (f", {told.expected:,} tokens reserved" if told.expected else "")
        + (" (taken for chat; `--endpoint messages` for the other)" if told.guessed else ""),
    ]
    if told.refused_by is not None:
        again = f"; again in {told.retry_after:.1f} s" if told.retry_after is not None else ""
        lines.append(f"refused by {told.refused_by}{again}")
    if told.waits is not None:
        lines.append(f"nobody is free at the moment: it would wait up to {told.waits:.1f} s for a target")
    if told.candidates:
        lines += ["", "Candidates", *_table(_candidate(one) for one in told.candidates)]
        lines += [f"  {one.label} loses {_lost(one)}" for one in told.candidates if one.lost]
    if told.steps:
        lines += ["", "Picks"]
        for number, step in enumerate(told.steps, 1):
            lines += _step(number, step)
    if told.limits:
        lines += ["", "Limits", *_table(_limit(one) for one in told.limits)]
    if not told.agrees:
        lines += ["", "This could not be made again from what was noted: it may not be what was done."]
    return "\n".join(lines)


def plain(text: str) -> str:
    """`text` without what a terminal would obey: names of models are whatever a client sends."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _printable(told: Explanation) -> Explanation:
    """The same with every string of it fit for a terminal."""
    bare = msgspec.structs.replace(told, answer=None)  # the refusal's own body: only shown as JSON
    return msgspec.convert(_plain(msgspec.to_builtins(bare)), Explanation)


def _plain(value: object) -> object:
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _candidate(one: Candidate) -> tuple[str, ...]:
    speaks = f"translated to {one.speaks}" if one.speaks else "as it came"
    order = f"{one.order}." if one.order is not None else "-"
    return order, one.target, f"priority {one.priority}", f"weight {one.weight:g}", speaks, one.why


def _lost(one: Candidate) -> str:
    return ", ".join(f"{loss.field} ({loss.how})" for loss in one.lost)


def _step(number: int, step: Step) -> Iterator[str]:
    ended = f": {step.outcome}" if step.outcome is not None else ""
    took = f" after {step.took * 1000:.0f} ms" if step.took is not None else ""
    yield f"  {number}. {step.picked or 'nobody'}{ended}{took} ({step.why})"
    for out in step.left_out:
        yield f"     not {out.target}: {out.why}"


def _limit(one: Touched) -> tuple[str, ...]:
    said = one.said
    rooms = () if said is None else (said.requests, said.tokens, said.concurrency)
    left = [
        f"{room.remaining:,} of {room.limit:,} {what}"
        for room, what in zip(rooms, ("requests", "tokens", "at one time"), strict=False)
        if room is not None
    ]
    allowed = [
        f"{figure:,} {what}"
        for figure, what in (
            (one.requests_per_minute, "requests a minute"),
            (one.tokens_per_minute, "tokens a minute"),
            (one.concurrency, "at one time"),
        )
        if figure is not None
    ]
    return one.limit, ", ".join(allowed), f"left: {', '.join(left)}" if left else ""


def _table(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Rows in columns, two spaces in."""
    rows = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield ("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()


def named(value: object) -> object:
    """A decision, or a part of one, with a name for each of its fields: it is kept, and read, as a list."""
    if isinstance(value, msgspec.Struct):
        return {name: named(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {key: named(item) for key, item in value.items()}
    return [named(item) for item in value] if isinstance(value, list | tuple) else value


@dataclasses.dataclass(frozen=True, slots=True)
class Replay:
    """Decisions before and after, one of each for each request."""

    pairs: Sequence[tuple[Decision, Decision]]

    def report(self) -> str:
        """What would change, the most frequent first."""
        changed = [
            (plain(path(before)), plain(path(after)), before.request_id) for before, after in self.changed()
        ]
        same = len(self.pairs) - len(changed)
        lines = [f"{len(self.pairs):,} decisions: {same:,} the same, {len(changed):,} otherwise."]
        if any("?" in after for _, after, _ in changed):
            lines.append("`?`: it was not asked then, so nobody knows what it would have answered.")
        counts = Counter((before, after) for before, after, _ in changed)
        for (before, after), count in counts.most_common():
            named = [name for was, is_, name in changed if (was, is_) == (before, after)][:EXAMPLES]
            lines += [
                "",
                f"{count:,} x",
                f"  was  {before}",
                f"  now  {after}",
                f"  such as {', '.join(named)}",
            ]
        return "\n".join(lines)

    def changed(self) -> Iterator[tuple[Decision, Decision]]:
        """Those whose course would be another."""
        for before, after in self.pairs:
            if path(before) != path(after):
                yield before, after
