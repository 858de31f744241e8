import itertools
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from fakes.chats import DONE, delta, error, event, finish, reply, request, role, stream, usage
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Fault, FaultKind, Refusal, Said
from proxy.wire import envelope, seals
from proxy.wire.chat.tap import ChatNative, ChatStream
from proxy.wire.conversation import Seal
from proxy.wire.losses import Losses
from proxy.wire.model import Dialect, Usage

USAGE_ON = {"include_usage": True}
SEAL = seals.pack(Seal(Dialect.MESSAGES, "claude", "sig"))


def native(*, include_usage: bool = True, **fields: Any) -> ChatNative:
    """What passes of a request with these fields."""
    return ChatNative(envelope.read(request(**fields), 16), include_usage=include_usage)


def prepared(*, include_usage: bool = True, **fields: Any) -> dict[str, Any]:
    """The fields of a request after the dialect has changed them."""
    seen = envelope.read(request(**fields), 16)
    ChatNative(seen, include_usage=include_usage).prepare(seen.fields, Losses(Dialect.CHAT))
    return {name: json.loads(bytes(value)) for name, value in seen.fields.items()}


@pytest.mark.parametrize(
    ("taken", "fields", "options"),
    [
        (True, {}, None),
        (True, {"stream": True}, USAGE_ON),
        (True, {"stream": True, "stream_options": None}, USAGE_ON),
        (True, {"stream": True, "stream_options": {"x": 1, "include_usage": False}}, {"x": 1, **USAGE_ON}),
        (True, {"stream": True, "stream_options": "no"}, "no"),
        (False, {"stream": True, "stream_options": USAGE_ON}, None),
        (False, {"stream": True, "stream_options": {"x": 1, **USAGE_ON}}, {"x": 1}),
    ],
)
def test_usage_is_asked_for(taken: bool, fields: dict[str, Any], options: object) -> None:
    """A stream's usage is always asked for where the provider takes the field, and never where not."""
    assert prepared(include_usage=taken, **fields).get("stream_options") == options


def test_sealed_thinking_of_other_dialects_is_taken_out() -> None:
    """What the proxy gave with a reply of another dialect, this provider could only refuse."""
    thought = {"type": "thinking", "thinking": "hm", "signature": SEAL}
    theirs = {"role": "assistant", "content": "x", "thinking_blocks": [{"signature": "theirs"}]}
    ours = {"role": "assistant", "content": "x", "thinking_blocks": [thought]}
    assert prepared(messages=[ours, theirs])["messages"] == [{"role": "assistant", "content": "x"}, theirs]


def test_what_is_taken_out_is_named() -> None:
    """And refused where nothing may be lost."""
    ours = {"role": "assistant", "content": "x", "thinking_blocks": [{"signature": SEAL}]}
    seen = envelope.read(request(messages=[ours]), 16)
    losses = Losses(Dialect.CHAT)
    ChatNative(seen, include_usage=True).prepare(seen.fields.copy(), losses)
    assert losses.header() == "dropped=messages[].thinking_blocks"
    with pytest.raises(Refusal) as caught:
        ChatNative(seen, include_usage=True).prepare(seen.fields, Losses(Dialect.CHAT, strict=True))
    assert (caught.value.status, caught.value.param) == (400, "messages[0].thinking_blocks")


def test_messages_that_are_none_pass() -> None:
    """The provider refuses them in its own words."""
    assert prepared(messages=SEAL)["messages"] == SEAL


def test_what_no_seal_is_in_passes_byte_for_byte() -> None:
    """Spaces, escapes and the order of keys are the client's own."""
    body = b'{"model": "m", "messages":  [ {"content":"\\u00e9", "role":"user"} ]}'
    seen = envelope.read(body, 16)
    ChatNative(seen, include_usage=True).prepare(seen.fields, Losses(Dialect.CHAT))
    assert seen.fields["messages"] == msgspec.Raw(b'[ {"content":"\\u00e9", "role":"user"} ]')


def test_a_broken_stream_ends_with_its_error() -> None:
    """An error event, then the end marker."""
    assert tapped().broken(Refusal(502, "bad")).endswith(b"\n\n" + DONE)


def test_reply_passes_unchanged() -> None:
    """A good reply is the same bytes, and its usage is read."""
    body = reply()
    assert native().reply(body) == (body, Usage(3, 2))
    embeddings = b'{"data": [{"embedding": [0.1]}]}'
    assert native().reply(embeddings) == (embeddings, None)


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"", FaultKind.EMPTY, None),
        (b" \n", FaultKind.EMPTY, None),
        (b"<html>busy</html>", FaultKind.NOT_JSON, None),
        (b"[]", FaultKind.NOT_JSON, None),
        (b'{"choices": []}', FaultKind.EMPTY, None),
        (b"{}", FaultKind.EMPTY, None),
        (error("bad"), FaultKind.ERROR_IN_REPLY, Said("bad")),
        (b'{"message": "bad", "code": 1}', FaultKind.ERROR_IN_REPLY, Said("bad", code="1")),
    ],
)
def test_what_is_no_reply(body: bytes, kind: FaultKind, said: Said | None) -> None:
    """A 200 that answers nothing is a fault, so that the next target may answer."""
    with pytest.raises(Fault) as caught:
        native().reply(body)
    assert (caught.value.kind, caught.value.status, caught.value.said) == (kind, 200, said)


State = tuple[bytes, Usage | None, Said | None, bool, bool, FaultKind | None]


def outcome(tap: ChatStream, pieces: Sequence[bytes]) -> State:
    """All that comes out of a stream: bytes, usage, error, content, end, and the fault it ends in.

    It is used as a relay uses it: nothing is fed after the end or after an error.
    """
    out = b""
    fault = None
    for piece in pieces:
        out += tap.feed(piece)
        if tap.ended or tap.error is not None:
            break
    try:
        if tap.error is None:
            out += tap.finish()
    except Fault as caught:
        fault = caught.kind
    return out, tap.usage, tap.error, tap.content, tap.ended, fault


def tapped(*, withhold: bool = False, choices: int = 1) -> ChatStream:
    """A fresh stream."""
    return ChatStream(withhold_usage=withhold, choices=choices)


ERROR = event({"error": {"message": "bad"}})
HI = role() + delta("Hi")
ODD = (
    b'data: [1]\n\ndata: "busy"\n\ndata:\n\ndata: {"choices":3}\n\n: ping\n\nevent: note\n\n'
    b"id: 7\nretry: 9\n\n"
    b'data: {"x":NaN,\ndata: "y":"\\ud83d"}\n\ndata:{"choices":[],"prompt_filter_results":[]}\n\n'
)
"""Events that some provider sends, or may: each can be read, whatever it says."""
CUT = delta("lost")[:-20] + b"\n\n"
NOISE = b"data: \x00\xff{]\n\n"
STREAMS = {
    "whole": (stream("Hel", "lo"), stream("Hel", "lo")),
    "no end marker": (HI + finish(), HI + finish() + DONE),
    "no last empty line": (HI + finish() + b"data: [DONE]", HI + finish() + DONE),
    "carriage returns": (stream().replace(b"\n", b"\r\n") + b": end\n\n", stream().replace(b"\n", b"\r\n")),
    "comments": (
        b": hello\n\n" + HI + b": go on\n\n" + finish() + DONE,
        HI + b": go on\n\n" + finish() + DONE,
    ),
    "not a chunk": (HI + ODD + finish() + DONE, HI + ODD + finish() + DONE),
    "usage with the finish": (
        HI + event({"choices": [{"finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}) + DONE,
        HI + event({"choices": [{"finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}) + DONE,
    ),
    "the words in a text": (
        role() + delta('say "error": [DONE] "usage": {') + finish() + DONE,
        role() + delta('say "error": [DONE] "usage": {') + finish() + DONE,
    ),
}


@pytest.mark.parametrize(("sent", "expected"), STREAMS.values(), ids=STREAMS.keys())
def test_a_good_stream_passes(sent: bytes, expected: bytes) -> None:
    """What a provider sends passes byte for byte; an end marker it forgot is added."""
    tap = tapped()
    out, _, said, content, _, fault = outcome(tap, [sent])
    assert out.removesuffix(b": end\n\n") == expected
    assert (said, content, fault) == (None, True, None)


@pytest.mark.parametrize("odd", [ODD.replace(b"\n", b"\r\n"), ODD.replace(b"\n", b"\r")], ids=["crlf", "cr"])
def test_events_that_can_be_read_pass_in_any_line_ends(odd: bytes) -> None:
    """And text of other scripts."""
    tap = tapped()
    tap.feed(HI)
    said = odd + delta("ü").replace(b"\\u00fc", "ü".encode())
    assert tap.feed(said) == said


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize(
    "bad",
    [
        CUT,
        NOISE,
        b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"x"}}]\n\n',
        b"data: ping\n\n",
        b": \xff\n\n",
        b'data: {"choices":[{"delta":\ndata: {"content":"x"}\n\n',
    ],
)
def test_what_no_client_can_read_ends_the_stream(bad: bytes, end: bytes) -> None:
    """What came whole before it, in the same read, is said, then an error; and nothing after it."""
    tap = tapped()
    tap.feed(HI)
    whole = (delta("a") + finish()).replace(b"\n", end)
    with pytest.raises(Fault) as caught:
        tap.feed(whole + (bad + delta("more") + DONE).replace(b"\n", end))
    assert (caught.value.kind, caught.value.status) == (FaultKind.NOT_JSON, 200)
    refusal = Refusal(502, "bad")
    assert tap.broken(refusal) == whole + tapped().broken(refusal)


@pytest.mark.parametrize("bad", [CUT, NOISE, b": \xff\n\n"])
def test_before_content_it_leads_to_the_next_target(bad: bytes) -> None:
    """As any other fault."""
    with pytest.raises(Fault) as caught:
        tapped().feed(role() + bad)
    assert caught.value.kind is FaultKind.NOT_JSON


def test_after_the_end_nothing_is_read() -> None:
    """Whatever a provider says then."""
    tap = tapped()
    assert tap.feed(HI + finish() + DONE + NOISE) == HI + finish() + DONE
    assert tap.ended


def test_usage_is_read_and_withheld() -> None:
    """The usage chunk the client did not ask for is read and not passed on."""
    out, usage_seen, *_ = outcome(tapped(withhold=True), [stream()])
    assert out == stream().replace(usage(), b"")
    assert usage_seen == Usage(3, 2)


@pytest.mark.parametrize(
    ("sent", "choices", "kind", "passed"),
    [
        (b"", 1, FaultKind.EMPTY, b""),
        (role(), 1, FaultKind.EMPTY, role()),
        (DONE, 1, FaultKind.EMPTY, DONE),
        (b": only\n\n", 1, FaultKind.EMPTY, b""),
        (b"<html>busy</html>", 1, FaultKind.NOT_JSON, b""),
        (b'{"id": "not a stream"}', 1, FaultKind.NOT_JSON, b""),
        (error("bad"), 1, FaultKind.ERROR_IN_REPLY, b""),
        (HI, 1, FaultKind.TRUNCATED, HI),
        (HI + b'data: {"choices": [{"del', 1, FaultKind.TRUNCATED, HI),
        (HI + finish(0), 2, FaultKind.TRUNCATED, HI + finish(0)),
    ],
)
def test_a_stream_that_ends_badly(sent: bytes, choices: int, kind: FaultKind, passed: bytes) -> None:
    """A stream that said nothing, or was cut short, is a fault; a part of an event never passes."""
    tap = tapped(choices=choices)
    out = tap.feed(sent)
    assert out == passed
    with pytest.raises(Fault) as caught:
        tap.finish()
    assert caught.value.kind is kind
    assert caught.value.status == 200


def test_every_choice_must_finish() -> None:
    """With two answers asked for, the end of both is the end."""
    out, *_, fault = outcome(tapped(choices=2), [HI + finish(0) + finish(1)])
    assert out == HI + finish(0) + finish(1) + DONE
    assert fault is None


@pytest.mark.parametrize("head", [b"", role(), HI], ids=["first", "before content", "after content"])
@pytest.mark.parametrize("bad", [ERROR, b'event: error\ndata: {"message": "bad"}\n\n'])
def test_an_error_stops_the_stream(head: bytes, bad: bytes) -> None:
    """From an error event on nothing passes."""
    tap = tapped()
    assert tap.feed(head + bad + delta("more")) == head
    assert tap.error == Said("bad")


@pytest.mark.parametrize("more", [delta("more"), usage(), DONE, ERROR, HI.strip(), b"<html>\n\n"])
def test_what_comes_after_the_end_is_not_passed_on(more: bytes) -> None:
    """Not in the same read, nor in the next, nor when the provider hangs up: it was the end."""
    for first, then in ((DONE + more, b""), (DONE, more)):
        tap = tapped()
        assert tap.feed(HI + first) == HI + DONE
        assert tap.feed(then) == b""
        assert tap.finish() == b""
        assert (tap.error, tap.usage, tap.events) == (None, None, 3)


def test_an_error_without_its_empty_line_counts() -> None:
    """The last words of a provider are read even if it hangs up in the middle of its framing."""
    tap = tapped()
    assert tap.feed(HI + ERROR.strip()) == HI
    assert tap.finish() == b""
    assert tap.error == Said("bad")


def test_a_named_error_without_data_is_not_passed_on() -> None:
    """An `event: error` with nothing to say does not end as a client's parse error."""
    tap = tapped()
    assert tap.feed(HI + b"event: error\n\n" + b"event: note\n\n") == HI + b"event: note\n\n"


def test_before_content_comments_are_dropped_uncounted() -> None:
    """Keep-alives of a busy provider say nothing of the reply; the proxy has its own for the client."""
    tap = tapped()
    assert tap.feed(b": busy\n\n" * 70 + b"event: note\n\n") == b""
    assert (tap.events, tap.content) == (0, False)
    assert tap.feed(role()) == role()
    assert tap.events == 1


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_a_page_is_known_by_its_first_paragraph(end: bytes) -> None:
    """HTML with empty lines looks like events, but none of its lines is a field."""
    with pytest.raises(Fault) as caught:
        tapped().feed(b"<html>" + end + b"<p>Busy: try again.</p>" + end)
    assert caught.value.kind is FaultKind.NOT_JSON


def test_events_are_counted() -> None:
    """Each event counts, looked at or not: they tell what a cut stream has cost."""
    tap = tapped()
    tap.feed(role() * 3)
    assert tap.events == 3
    tap.feed(delta("x"))
    assert tap.feed(delta("y") * 5) == delta("y") * 5
    assert tap.events == 9
    assert tap.feed((delta("z") * 2).replace(b"\n", b"\r\n"))
    assert tap.events == 11
    assert tap.feed(b"data: par") == b""


@pytest.mark.parametrize("withhold", [False, True])
@pytest.mark.parametrize(
    "sent",
    [
        stream("Hel", "lo"),
        stream("ü" * 9, "x").replace(b"\n", b"\r\n"),
        HI + finish() + usage(),
        HI + ERROR,
        role() + role(),
        HI + delta("cut")[:-9],
        b"<html>busy</html>",
    ],
    ids=["whole", "crlf", "unmarked", "error", "empty", "cut", "html"],
)
@given(cuts=st.lists(st.integers(0, 2000), max_size=40))
def test_chunking_changes_nothing(sent: bytes, withhold: bool, cuts: list[int]) -> None:
    """However a stream is cut up on its way, bytes, usage and end are the same."""
    places = [0, *sorted(cut % (len(sent) + 1) for cut in cuts), len(sent)]
    pieces = [sent[start:end] for start, end in itertools.pairwise(places)]
    assert outcome(tapped(withhold=withhold), pieces) == outcome(tapped(withhold=withhold), [sent])


def test_usage_is_withheld_unless_asked() -> None:
    """A client that asked for usage gets it."""
    asked = native(stream=True, stream_options=USAGE_ON).stream()
    unasked = native(stream=True).stream()
    assert usage() in asked.feed(stream())
    assert usage() not in unasked.feed(stream())


def test_of_a_burst_only_what_may_matter_is_looked_at() -> None:
    """What comes before it passes and counts all the same, whatever its line ends are."""
    burst = delta("a") * 3 + finish() + usage() + DONE
    for sent in (burst, burst.replace(b"\n", b"\r\n")):
        tap = ChatStream(withhold_usage=False, choices=1)
        tap.feed(role() + delta("Hi"))
        assert tap.feed(sent) == sent
        assert (tap.events, tap.ended, tap.usage is not None) == (8, True, True)
