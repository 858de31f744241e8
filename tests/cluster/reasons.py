"""What three replicas have decided: told alike by each, and decided again, as it was and otherwise."""

import asyncio
import json
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from figures import Check
from harness import apex, written
from providers import Scene, play
from questions import (
    LONE,
    PROVIDERS,
    QUICK,
    ROW,
    SHAKY,
    Caller,
    Sent,
    calling,
    labels,
    requests,
    stage,
    tried,
)
from traffic import CHAT

from proxy import config as configs
from proxy.decision import Decision
from proxy.rehearsal import viewed
from proxy.replaying import replayed

PACE = 0.06
"""Seconds between two decisions of one replica that both others ask it about; it hears 50 a second."""

EXCERPT = 12
"""Lines of a report that are shown."""


@dataclass(slots=True)
class Told:
    """Of so many requests: answers that were no 200 or differed, did not agree, or not with the headers."""

    requests: int = 0
    refused: int = 0
    unequal: int = 0
    disagreeing: int = 0
    off_headers: int = 0
    failed_over: int = 0
    translated: int = 0
    limited: int = 0
    wrong: list[str] = field(default_factory=list)

    def note(self, sent: Sent, answers: Sequence[tuple[int, bytes]]) -> None:
        """What all replicas said of one request."""
        self.requests += 1
        if any(status != 200 for status, _ in answers):
            self.refused += 1
            self.wrong.append(f"{sent}: {answers}")
            return
        self.unequal += len({body for _, body in answers}) != 1
        told = json.loads(answers[0][1])
        self.disagreeing += not told["agrees"]
        self.off_headers += not _fits(sent, told)
        if not told["agrees"] or not _fits(sent, told):
            self.wrong.append(f"{sent}: {answers[0][1].decode()}")
        self.failed_over += len(tried(told)) > 1
        self.limited += "refused_by" in told or any(
            step.get("came") == "full" for step in told.get("steps", ())
        )
        self.translated += any(one.get("speaks") and one.get("order") for one in told.get("candidates", ()))


def _fits(sent: Sent, told: Mapping[str, Any]) -> bool:
    """Whether a request's headers say what its explanation says."""
    went = tried(told)
    last = labels(told)[went[-1]] if went else None
    status = 200 if told["outcome"] == "broken" else told["status"]  # it broke after its head was sent
    named = sent.target == last or (sent.target is None and sent.status != 200)
    return status == sent.status and len(went) == sent.attempts and named


@dataclass(frozen=True, slots=True)
class Again:
    """Recorded decisions, made again: how many came out to the byte; what the command says of a change.

    Of those that the change must touch, and of those that it cannot, how many are otherwise.
    """

    decisions: int
    equal: int
    same: str
    report: Sequence[str]
    must: int
    must_changed: int
    cannot: int
    cannot_changed: int


@dataclass(frozen=True, slots=True)
class Gone:
    """A killed replica's decisions and those of the others, asked of these; what is said of the former."""

    lost: int
    silent: int
    words: str
    kept: int
    answered: int


@dataclass(frozen=True, slots=True)
class Decisions:
    """See the module."""

    told: Told
    again: Again
    gone: Gone
    late: int

    def checks(self) -> list[Check]:
        """See `Figures`."""
        told, again, gone = self.told, self.again, self.gone
        mixed = min(told.failed_over, told.translated, told.limited)
        return [
            Check("requests asked about, of each of 3", str(told.requests), "", told.requests > 0),
            Check(
                "failed over / translated / limited",
                f"{told.failed_over} / {told.translated} / {told.limited}",
                "> 0 each",
                mixed > 0,
            ),
            _none("answers that were no 200", told.refused),
            _none("answers that were not the same bytes", told.unequal),
            _none("explanations that do not agree", told.disagreeing),
            _none("that say otherwise than the headers", told.off_headers),
            _all("decisions fetched as lines", again.decisions, told.requests),
            _all("byte-equal under the same configuration", again.equal, again.decisions),
            Check("replay --config same", again.same, "0 otherwise", again.same.endswith(" 0 otherwise.")),
            _all("otherwise, of those a change must touch", again.must_changed, again.must),
            _none(f"otherwise, of {again.cannot} it cannot touch", again.cannot_changed),
            *(Check("", "", f"| {line}", holds=True) for line in again.report),
            _all("503 for those of a killed replica", gone.silent, gone.lost),
            Check("", "", f"| {gone.words}", "may be gone" in gone.words),
            _all("answers about the others' meanwhile", gone.answered, gone.kept),
            Check("questions asked again, Redis was late", str(self.late), "= 0", self.late == 0, soft=True),
        ]


def _none(what: str, figure: int) -> Check:
    return Check(what, str(figure), "= 0", figure == 0)


def _all(what: str, figure: int, of: int) -> Check:
    return Check(what, str(figure), f"= {of}", figure == of > 0)


def decisions(count: int = 1_000) -> Decisions:
    """So many requests, asked about in every way."""
    with stage(300, 8) as scene:
        return asyncio.run(_decisions(scene, count))


async def _decisions(scene: Scene, count: int) -> Decisions:
    play(scene["shaky"].mock, SHAKY)
    async with calling(scene.running) as caller:
        sent = await caller.send_all(list(requests(count)))
        told = await _told(caller, sent)
        lines = [
            line
            for place in range(len(scene.running))
            for line in (await caller.ask(place, "decisions", format="lines", limit="50000"))[1].splitlines()
        ]
        assert {msgspec.json.decode(line, type=Decision).request_id for line in lines} == {
            one.request_id for one in sent
        }
        again = await asyncio.to_thread(_again, scene.running[0].file, lines)
        scene.running[0].signal(signal.SIGKILL)
        scene.running[0].ended()
        gone = await _gone(caller, sent)
        return Decisions(told, again, gone, caller.late)


async def _told(caller: Caller, sent: Sequence[Sent]) -> Told:
    """Each replica's decisions, one after the other, asked of all at once."""
    found = Told()
    places = range(len(caller.running))

    async def about(mine: Iterable[Sent]) -> None:
        for one in mine:
            asked = (caller.why(place, one.request_id) for place in places)
            answers, _ = await asyncio.gather(asyncio.gather(*asked), asyncio.sleep(PACE))
            found.note(one, answers)

    await asyncio.gather(*(about([one for one in sent if one.place == place]) for place in places))
    for line in found.wrong[:5]:
        print(line[:2000], file=sys.stderr)
    return found


def _again(file: Path, lines: Sequence[bytes]) -> Again:
    """What comes out of recorded decisions under the configuration in `file`, and under another one."""
    view = viewed(configs.read(file, {}))
    made = [msgspec.json.decode(line, type=Decision) for line in lines]
    equal = sum(
        msgspec.json.encode(replayed(one, view)) == line for one, line in zip(made, lines, strict=True)
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record = folder / "decisions.jsonl"
        record.write_bytes(b"\n".join(lines) + b"\n")
        other = written(folder, _changed(json.loads(file.read_text("utf-8"))), "next.yaml")
        same = _replay(file, record)
        report = _replay(other, record)
        changed = {json.loads(line)["before"]["request_id"] for line in _replay(other, record, "--json")}
    must = {one.request_id for one in made if _must_change(one)}
    cannot = {one.request_id for one in made if _cannot_change(one)}
    return Again(
        decisions=len(lines),
        equal=equal,
        same=same[0],
        report=[line for line in report if line and "such as" not in line][:EXCERPT],
        must=len(must),
        must_changed=len(must & changed),
        cannot=len(cannot),
        cannot_changed=len(cannot & changed),
    )


def _replay(file: Path, record: Path, *more: str) -> list[str]:
    with apex("replay", "--config", str(file), "--from", str(record), "--limit", "50000", *more) as child:
        assert child.ended(60.0) == 0, child.err
    lines: list[str] = child.out
    return lines


def _changed(config: Any) -> Any:
    """Another one: `shaky` serves `chat` no more, `claude` goes first in a row, `other` may use one model."""
    models = config["models"]
    models[CHAT]["providers"] = [{"provider": "claude"}, {"provider": "tight", "weight": 3}]
    models[ROW]["providers"] = [
        {"provider": name, "priority": 1 if name == "claude" else 2} for name in PROVIDERS
    ]
    for client in config["clients"]:
        if client["name"] == "other":
            client["models"] = [LONE]
    return config


def _must_change(made: Decision) -> bool:
    """Whether the target it was tried on, or the permission for its model, is taken away."""
    if made.client == "other":
        return made.asked in (CHAT, ROW, QUICK)
    went = [made.targets[pick.target] for pick in made.picks if pick.came == "tried"]
    if made.asked == ROW and went:
        return not went[0].startswith("claude/")
    return made.asked == CHAT and any(name.startswith("shaky/") for name in went)


def _cannot_change(made: Decision) -> bool:
    """Whether nothing that it hung on is changed."""
    return made.asked in (LONE, "nothing") or (made.client != "other" and made.asked in (QUICK, "odd#tight"))


async def _gone(caller: Caller, sent: Sequence[Sent]) -> Gone:
    """What the others say of all decisions, when the first replica is no more."""
    lost = [one for one in sent if one.place == 0]
    kept = [one for one in sent if one.place != 0]
    said: list[tuple[int, bytes]] = []
    await _spread(lost, lambda one: _both(caller, one, said), 24)
    words = Counter(json.loads(body)["error"]["message"] for status, body in said if status == 503)
    answers: list[tuple[int, bytes]] = []
    await _spread(kept, lambda one: _both(caller, one, answers), 1)
    return Gone(
        lost=2 * len(lost),
        silent=sum(status == 503 for status, _ in said),
        words=" / ".join(words) or "nothing",
        kept=2 * len(kept),
        answered=sum(status == 200 for status, _ in answers),
    )


async def _both(caller: Caller, one: Sent, said: list[tuple[int, bytes]]) -> None:
    """Ask the two that are left about one request."""
    asked = (caller.why(place, one.request_id) for place in (1, 2))
    answers, _ = await asyncio.gather(asyncio.gather(*asked), asyncio.sleep(PACE / 2))
    said += answers


async def _spread(work: Sequence[Sent], do: Callable[[Sent], Awaitable[None]], workers: int) -> None:
    left = iter(work)

    async def labour() -> None:
        for one in left:
            await do(one)

    await asyncio.gather(*(labour() for _ in range(workers)))
