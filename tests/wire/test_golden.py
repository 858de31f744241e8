"""Every golden: what is sent, what is told, what is lost. tests/golden/README.md says how they are read."""

import json
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from fakes.assembling import assembled
from fakes.matching import Matching, bare, joined, plain
from fakes.translations import event, events, lost, passing, sent, told, translation
from schemas.validation import problems, stream_problems

from proxy.errors import Fault, Refusal
from proxy.wire.codec import Passage

GOLDEN = Path(__file__).parent.parent / "golden"
CASES = [path.relative_to(GOLDEN).with_suffix("") for path in sorted(GOLDEN.rglob("*.json"))]
FEATURES = [
    "text",
    "system",
    "multi-turn",
    "tools",
    "parallel-tools",
    "tool-results",
    "images",
    "structured-output",
    "reasoning",
    "stop-length",
    "content-filter",
    "usage-cache",
    "error-in-band",
    "truncated",
]
ASKED: dict[str, dict[str, Any]] = {
    "chat": {"stream": True, "stream_options": {"include_usage": True}},
    "messages": {"stream": True},
    "responses": {"stream": True},
}
"""What makes a request one for a stream."""

each = pytest.mark.parametrize("case", CASES, ids=str)


def golden(case: Path) -> tuple[str, str, dict[str, Any]]:
    """The client's dialect, the upstream's, and what is to happen."""
    client, _, upstream = case.parent.name.partition("-")
    content: dict[str, Any] = json.loads((GOLDEN / f"{case}.json").read_text())
    return client, upstream, content


def passage(client: str, upstream: str, content: Mapping[str, Any], *, stream: bool = False) -> Passage:
    """The way of a golden's request."""
    target = content["upstream"]
    request = {**content["request"], **(ASKED[client] if stream else {})}
    if client == upstream:
        return passing(client, request, target["kind"], target["model"])
    overrides = target.get("quirks", {})
    return translation(client, upstream, request, target["kind"], target["model"], **overrides)


def sorts(header: str) -> dict[str, set[str]]:
    """What was lost, by what became of it."""
    return {
        sort: set(names.split(",")) for sort, _, names in (part.partition("=") for part in header.split("; "))
    }


def test_there_is_one_of_each() -> None:
    """No pair of dialects goes without a feature."""
    dialects = ("chat", "messages", "responses")
    expected = {
        f"{client}-{upstream}/{each}" for client, upstream, each in product(dialects, dialects, FEATURES)
    }
    assert expected <= {str(case) for case in CASES}


@each
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_sent(case: Path, stream: bool) -> None:
    """The upstream's body, and what the client is told of losses."""
    client, upstream, content = golden(case)
    if "refused" in content:
        with pytest.raises(Refusal) as caught:
            passage(client, upstream, content, stream=stream)
        assert (caught.value.status, caught.value.param) == (400, content["refused"])
        return
    way = passage(client, upstream, content, stream=stream)
    expected = {**content["sent"], **(ASKED[upstream] if stream else {})}
    assert list(Matching().differences(plain(upstream, expected), plain(upstream, sent(way)))) == []
    assert sorts(lost(way)) == sorts(content["warnings"])


@pytest.mark.parametrize("case", [case for case in CASES if golden(case)[2].get("warnings")], ids=str)
def test_strictly_nothing_may_be_lost(case: Path) -> None:
    """What is a warning is a 400 for those who ask for that."""
    client, upstream, content = golden(case)
    target = content["upstream"]
    with pytest.raises(Refusal) as caught:
        translation(client, upstream, content["request"], target["kind"], target["model"], strict=True)
    assert (caught.value.status, caught.value.code) == (400, "unsupported_parameter")
    assert caught.value.param


@pytest.mark.parametrize("case", [case for case in CASES if "reply" in golden(case)[2]], ids=str)
def test_whole_reply(case: Path) -> None:
    """A whole reply is what the client's dialect makes of it, and valid there if it is ours."""
    client, upstream, content = golden(case)
    reply = content["reply"]
    way = passage(client, upstream, content)
    body = json.dumps(reply["upstream"]).encode()
    if "fault" in reply:
        with pytest.raises(Fault) as caught:
            way.reply(body)
        assert caught.value.kind.value == reply["fault"]
        return
    out, _ = way.reply(body)
    if reply["client"] == "as it came":
        assert out == body
        return
    assert list(Matching().differences(reply["client"], json.loads(out))) == []
    if client != upstream:
        assert problems(client, "reply", json.loads(out)) == []


@pytest.mark.parametrize("case", [case for case in CASES if "stream" in golden(case)[2]], ids=str)
def test_stream(case: Path) -> None:
    """A stream is what the client's dialect makes of it, event by event, and keeps its grammar."""
    client, upstream, content = golden(case)
    pieces = [event(upstream, value) for value in content["stream"]["upstream"]]
    out = told(passage(client, upstream, content, stream=True).stream(), pieces)
    expected = content["stream"]["client"]
    if expected == "as it came":
        assert out.raw == b"".join(pieces)
        return
    actual = bare(client, events(out.raw))
    if content.get("joined"):
        expected, actual = joined(expected), joined(actual)
    assert list(Matching().differences(expected, actual)) == []
    if client != upstream:
        assert stream_problems(client, out.raw) == []


def in_both_forms(case: Path) -> bool:
    """Whether it has a reply that is translated, as a whole and as a stream."""
    client, upstream, content = golden(case)
    return client != upstream and "client" in content.get("reply", ()) and "stream" in content


@pytest.mark.parametrize("case", [case for case in CASES if in_both_forms(case)], ids=str)
def test_stream_and_whole_agree(case: Path) -> None:
    """What an SDK puts together of the stream is the whole reply; nobody has counted one that was cut."""
    client, upstream, content = golden(case)
    way = passage(client, upstream, content, stream=True)
    pieces = [event(upstream, value) for value in content["stream"]["upstream"]]
    streamed = told(way.stream(), pieces)
    out = assembled(client, events(streamed.raw))
    body, _ = way.reply(json.dumps(content["reply"]["upstream"]).encode())
    whole = json.loads(body)
    if streamed.usage is None:
        del whole["usage"], out["usage"]
    assert list(Matching().differences(whole, out)) == []
