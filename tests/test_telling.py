"""Tests of `proxy.telling`: explanations and replays, as a terminal shows them."""

import msgspec

from proxy.decision import Decision, Try
from proxy.explanation import Candidate, Explanation, LeftOut, Loss, Step, Touched
from proxy.moment import Came, Pick, Sight
from proxy.telling import EXAMPLES, Replay, explanation, named
from proxy.wire.model import Endpoint
from ratelimit.quota import Decision as Allowed
from ratelimit.quota import Room

TOLD = Explanation(
    request_id="",
    replica="0123456789ab",
    at="2026-01-01T00:00:00.000+00:00",
    config="abcdef012345",
    summary="would go to a/one; if that fails, b/two",
    endpoint="chat",
    model="small",
    client="dev",
    stream=True,
    bytes=12_345,
    supposed=True,
    agrees=True,
)


def test_a_bare_one_is_two_lines() -> None:
    """What it comes to, and what was asked."""
    assert explanation(TOLD).splitlines() == [
        "would go to a/one; if that fails, b/two",
        "",
        "chat stream for 'small', asked by dev, 12,345 bytes",
    ]


def test_a_guess_is_said_to_be_one() -> None:
    """With what to do about it."""
    (_, _, asked) = explanation(msgspec.structs.replace(TOLD, guessed=True)).splitlines()
    assert asked.endswith(" bytes (taken for chat; `--endpoint messages` for the other)")


def test_all_there_is_to_tell() -> None:
    """Candidates and limits in columns, picks with who was left out and why."""
    full = msgspec.structs.replace(
        TOLD,
        stream=False,
        expected=1_200,
        waits=2.5,
        refused_by="tokens of client dev",
        retry_after=0.5,
        candidates=(
            Candidate("a/one@1", "a/one", 1, 2.0, order=1, why="would be tried"),
            Candidate(
                "b/long@2", "b/long", 2, 0.5, None, "messages", "not needed", (Loss("seed", "dropped"),)
            ),
        ),
        steps=(
            Step(
                "a/one@1",
                "the only one left",
                None,
                (LeftOut("b/long@2", "full", "it is full"),),
                "tried",
                "ok",
                0.25,
            ),
            Step(None, "none could be tried at that moment"),
        ),
        limits=(
            Touched("client dev", 60, 1_000, None, "smooth", Allowed(True, requests=Room(60, 59, 1.0))),
            Touched("key a@1", None, None, 4, "smooth"),
        ),
    )
    assert explanation(full).splitlines()[2:] == [
        "chat reply for 'small', asked by dev, 12,345 bytes, 1,200 tokens reserved",
        "refused by tokens of client dev; again in 0.5 s",
        "nobody is free at the moment: it would wait up to 2.5 s for a target",
        "",
        "Candidates",
        "  1.  a/one@1   priority 1  weight 2    as it came              would be tried",
        "  -   b/long@2  priority 2  weight 0.5  translated to messages  not needed",
        "  b/long loses seed (dropped)",
        "",
        "Picks",
        "  1. a/one@1: ok after 250 ms (the only one left)",
        "     not b/long@2: it is full",
        "  2. nobody (none could be tried at that moment)",
        "",
        "Limits",
        "  client dev  60 requests a minute, 1,000 tokens a minute  left: 59 of 60 requests",
        "  key a@1     4 at one time",
    ]


def test_what_could_not_be_made_again_says_so() -> None:
    """It may not be what was done."""
    assert "could not be made again" in explanation(msgspec.structs.replace(TOLD, agrees=False))


def made(number: int, *ways: tuple[int, str], outcome: str = "completed") -> Decision:
    """A decision on request `number`: targets by place, and how each attempt ended."""
    return Decision(
        endpoint=Endpoint.CHAT,
        asked="small",
        client="dev",
        at=0.0,
        stream=False,
        size=1,
        weight=1,
        choices=1,
        max_output=None,
        expected=0,
        picks=[Pick(place, came=Came.TRIED if ended else Came.NOTHING) for place, ended in ways],
        tries=[Try(ended) for _, ended in ways if ended],
        limited=None,
        outcome=outcome,
        status=200 if outcome == "completed" else 0,
        error="",
        queued=0.0,
        duration=0.1,
        ttft=None,
        request_id=f"req_{number:024x}",
        targets=("a", "b"),
    )


def test_a_replay_that_changes_nothing() -> None:
    """One line."""
    one = made(1, (0, "ok"))
    assert Replay([(one, one)] * 1_000).report() == "1,000 decisions: 1,000 the same, 0 otherwise."


def test_what_would_change_the_most_frequent_first() -> None:
    """With a few requests of each kind to look at, and a word on what nobody knows."""
    failed = [(made(n, (0, "status_503"), (1, "ok")), made(n, (1, "ok"))) for n in range(7)]
    unknown = [(made(9, (0, "ok")), made(9, (1, ""), outcome="open"))]
    found = Replay([*unknown, *failed])
    lines = found.report().splitlines()
    assert lines[0] == "8 decisions: 0 the same, 8 otherwise."
    assert lines[1].startswith("`?`:")
    assert lines[3:6] == ["7 x", "  was  a status_503 > b ok", "  now  b ok"]
    assert lines[6].count("req_") == EXAMPLES
    assert lines[8:11] == ["1 x", "  was  a ok", "  now  b ?"]
    assert [before.request_id for before, _ in found.changed()] == [b.request_id for b, _ in found.pairs]


def test_the_fields_of_a_decision_have_names() -> None:
    """Those of its picks and tries too; places of targets, by which sights are kept, stay as they are."""
    one = made(1, (1, "ok"))
    one.picks[0].sights = {1: Sight(until=7)}
    told = msgspec.json.decode(msgspec.json.encode(named(one)))
    assert (told["endpoint"], told["client"], told["limited"]) == ("chat", "dev", None)
    assert told["picks"][0]["came"] == "tried"
    assert told["picks"][0]["sights"]["1"]["until"] == 7
    assert told["tries"][0]["outcome"] == "ok"


def test_a_terminal_is_told_nothing_to_obey() -> None:
    """Names that clients make up, and directions of writing, are shown as what they are."""
    hostile = "\x1b[2J\x1b]0;owned\x07\n\u202egood"
    odd = msgspec.structs.replace(TOLD, model=hostile, answer=msgspec.Raw(b"{}"))
    shown = explanation(odd)
    assert "\\x1b[2J\\x1b]0;owned\\x07\\n\\u202egood" in shown
    assert all(line.isprintable() for line in shown.splitlines())
    before = msgspec.structs.replace(made(1, outcome="refused"), error="\x1b[31m")
    told = Replay([(before, made(1, (0, "ok")))]).report()
    assert all(line.isprintable() for line in told.splitlines())
