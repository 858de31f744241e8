import json
from typing import Any

import msgspec
import pytest
from fakes import speech
from fakes.assembling import assembled
from fakes.speech import COUNT, chunk, completion, ended, function, piece, user
from fakes.translations import (
    STAMP,
    answered,
    conversation,
    event,
    events,
    facts,
    lost,
    sent,
    streamed,
    told,
    translation,
)

from proxy.errors import Fault, FaultKind, Refusal
from proxy.wire.bypass import Edits
from proxy.wire.dialects import CODECS
from proxy.wire.losses import Losses
from proxy.wire.model import Dialect, Stream, Usage
from proxy.wire.translation import Translation

PAIRS = [
    (c, u) for c in ("chat", "messages", "responses") for u in ("chat", "messages", "responses") if c != u
]
HELLO = [chunk(role="assistant", content=""), chunk(content="Hel"), chunk(content="lo"), *ended()]
SAID = b"".join(event("chat", value) for value in HELLO)
STREAM_OPTIONS = {"include_usage": True}


def edited(*, include_usage: bool = True, drop: tuple[str, ...] = (), **extra: Any) -> Translation:
    """A passage from Messages to Chat with what an operator changes."""
    raw = {name: msgspec.Raw(json.dumps(value).encode()) for name, value in extra.items()}
    return Translation(
        conversation("messages", speech.messages(stream=True, temperature=0.5)),
        client=CODECS[Dialect.MESSAGES],
        upstream=CODECS[Dialect.CHAT],
        facts=facts("chat"),
        edits=Edits(msgspec.Raw(b'"theirs"'), include_usage, raw, drop),
        stamp=STAMP,
        losses=Losses(Dialect.CHAT),
    )


def fault(way: Translation, body: bytes) -> Fault:
    """What is wrong with a whole reply."""
    with pytest.raises(Fault) as caught:
        way.reply(body)
    return caught.value


def begun(**fields: Any) -> Stream:
    """A stream of a chat provider on its way to a client of Messages."""
    return translation("messages", "chat", speech.messages(stream=True, **fields)).stream()


# The request.


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
def test_a_request_is_said_in_the_upstreams_words(client: str, upstream: str) -> None:
    """With the target's own name of the model, and nothing lost of a plain one."""
    way = translation(client, upstream, speech.plainly(client))
    body = sent(way)
    assert body["model"] == facts(upstream).model
    assert ("input" if upstream == "responses" else "messages") in body
    assert lost(way) == ""


def test_the_operators_edits_go_over_a_translated_body() -> None:
    """As over one that passes."""
    body = sent(edited(drop=("temperature",), top_p=0.25))
    assert body["model"] == "theirs"
    assert "temperature" not in body
    assert body["top_p"] == 0.25
    assert sent(edited())["temperature"] == 0.5


def test_usage_is_asked_for_where_the_provider_takes_that() -> None:
    """Some refuse to be asked."""
    assert sent(edited())["stream_options"] == STREAM_OPTIONS
    assert "stream_options" not in sent(edited(include_usage=False))


def test_what_the_reader_did_not_know_is_named() -> None:
    """By its path."""
    way = translation("messages", "chat", speech.messages(unheard_of=1))
    assert lost(way) == "dropped=unheard_of"
    with pytest.raises(Refusal) as caught:
        translation("messages", "chat", speech.messages(unheard_of=1), strict=True)
    assert (caught.value.status, caught.value.param) == (400, "unheard_of")


def test_what_cannot_be_said_is_refused_at_once() -> None:
    """Before anything is sent."""
    with pytest.raises(Refusal) as caught:
        translation("chat", "messages", speech.chat(n=2))
    assert (caught.value.status, caught.value.param) == (400, "n")


# The whole reply.


def test_a_whole_reply_and_its_usage() -> None:
    """Said anew in the client's dialect."""
    way = translation("messages", "chat", speech.messages())
    body, usage = way.reply(json.dumps(completion(content="Hello")).encode())
    reply = json.loads(body)
    assert texts(reply) == ["Hello"]
    assert (reply["type"], reply["stop_reason"]) == ("message", "end_turn")
    assert usage == Usage(COUNT["prompt_tokens"], COUNT["completion_tokens"])
    assert way.kept is None


def test_what_is_to_be_stored_of_a_whole_reply() -> None:
    """Where the client's dialect stores replies."""
    way = translation("responses", "chat", speech.responses())
    reply = answered(way, completion(content="Hello"))
    assert way.kept is not None
    assert json.loads(way.kept)["id"] == reply["id"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", FaultKind.EMPTY),
        (b" \n", FaultKind.EMPTY),
        (b"<html>", FaultKind.NOT_JSON),
        (b'{"error": {"message": "No."}}', FaultKind.ERROR_IN_REPLY),
    ],
)
def test_a_reply_that_is_none(body: bytes, kind: FaultKind) -> None:
    """Whatever came with a 200: another target may do better."""
    assert fault(translation("messages", "chat", speech.messages()), body).kind is kind


def only_streams() -> Translation:
    """A passage to a model that answers in streams only, of a client that wants a whole reply."""
    return translation("messages", "chat", speech.messages(), stream_only=True)


def test_a_whole_reply_may_have_to_be_collected() -> None:
    """The request asks for a stream, and the client sees nothing of that."""
    way = only_streams()
    assert sent(way)["stream"] is True
    body, usage = way.reply(SAID)
    assert texts(json.loads(body)) == ["Hello"]
    assert usage == Usage(9, 4)


def test_one_that_answers_whole_all_the_same_is_read() -> None:
    """A provider that has learned it meanwhile."""
    body, _ = only_streams().reply(json.dumps(completion(content="Hello")).encode())
    assert texts(json.loads(body)) == ["Hello"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (HELLO[:2], FaultKind.TRUNCATED),
        ([HELLO[1], {"error": {"message": "No."}}], FaultKind.ERROR_IN_REPLY),
    ],
)
def test_a_collected_stream_that_breaks_is_a_fault(values: list[Any], kind: FaultKind) -> None:
    """Nothing of it is told: the client is still waiting for a whole reply."""
    body = b"".join(event("chat", value) for value in values)
    assert fault(only_streams(), body).kind is kind


# The stream.


@pytest.mark.parametrize("client", ["messages", "responses"])
def test_a_stream_adds_up_to_the_whole_reply(client: str) -> None:
    """For what holds for one holds for the other."""
    body = speech.plainly(client)
    whole = answered(translation(client, "chat", body), completion(content="Hello"))
    values = streamed(translation(client, "chat", {**body, "stream": True}), "chat", HELLO)
    reply = assembled(client, values)
    assert texts(reply) == texts(whole) == ["Hello"]


def texts(reply: dict[str, Any]) -> list[str]:
    """The texts of a message or a response."""
    blocks = reply.get("content") or [part for item in reply["output"] for part in item["content"]]
    return [block["text"] for block in blocks]


def test_content_is_what_a_user_would_miss() -> None:
    """Until then another target may answer: a role and an empty text are nothing."""
    stream = begun()
    states = []
    for value in HELLO[:3]:
        stream.feed(event("chat", value))
        states.append(stream.content)
    assert states == [False, True, True]


@pytest.mark.parametrize(
    "value",
    [piece(index=0, id="call_1", name="f", arguments=""), chunk(reasoning_content="hm"), chunk("stop")],
    ids=["a call", "thinking", "the end"],
)
def test_other_content(value: Any) -> None:
    """A call counts with its name, thinking as text does, an end as the answer that it is."""
    stream = begun()
    stream.feed(event("chat", value))
    stream.feed(event("chat", "[DONE]"))
    assert stream.content


def test_a_stream_ends_with_its_dialects_marker() -> None:
    """Usage that comes after the last word is waited for, and told."""
    stream = begun()
    for value in HELLO[:4]:
        stream.feed(event("chat", value))
    assert not stream.ended
    out = stream.feed(event("chat", HELLO[4])) + stream.feed(event("chat", HELLO[5]))
    assert (stream.ended, stream.usage, stream.events) == (True, Usage(9, 4), len(HELLO))
    assert events(out)[-1] == {"type": "message_stop"}
    assert stream.finish() == b""


def test_a_last_event_without_its_blank_line_counts() -> None:
    """Some servers close a little early."""
    stream = begun()
    out = stream.feed(SAID.rstrip()) + stream.finish()
    assert events(out)[-1] == {"type": "message_stop"}


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", FaultKind.EMPTY),
        (b": busy\n\n", FaultKind.EMPTY),
        (b"<html>no</html>", FaultKind.NOT_JSON),
        (b'{"choices": []}', FaultKind.NOT_JSON),
        (event("chat", HELLO[1]), FaultKind.TRUNCATED),
    ],
)
def test_a_stream_that_stops_without_its_end(data: bytes, kind: FaultKind) -> None:
    """Never a false ending; what came of it decides which fault it is."""
    stream = begun()
    stream.feed(data)
    with pytest.raises(Fault) as caught:
        stream.finish()
    assert caught.value.kind is kind


def test_an_error_in_a_stream_is_not_passed_on() -> None:
    """What came before it is; how it is told is for those who know whether another target may help."""
    stream = begun()
    data = event("chat", HELLO[1]) + event("chat", {"error": {"message": "No."}}) + event("chat", HELLO[2])
    out = stream.feed(data)
    assert stream.error is not None
    assert stream.error.message == "No."
    assert b"Hel" in out
    assert b"No." not in out
    assert b"lo" not in out.replace(b"block", b"")
    assert stream.finish() == b""


def test_an_event_that_is_cut_off_right_after_it_is_told() -> None:
    """What came last is told before the end that was made for it."""
    out = told(begun(), [event("chat", HELLO[1]), event("chat", HELLO[2]).rstrip()])
    assert out.fault is FaultKind.TRUNCATED
    assert [
        value["delta"]["text"] for value in events(out.raw) if value["type"] == "content_block_delta"
    ] == [
        "Hel",
        "lo",
    ]
    assert events(out.raw)[-1]["type"] == "error"


def test_what_came_in_one_read_with_a_broken_event_is_told() -> None:
    """The fault is the provider's, what it said before stays said."""
    out = told(begun(), [event("chat", HELLO[1]) + b"data: {not JSON\n\n"])
    assert out.fault is FaultKind.NOT_JSON
    assert "".join(texts_of(events(out.raw))) == "Hel"


@pytest.mark.parametrize("upstream", ["chat", "responses", "messages"])
def test_a_letter_that_was_cut_in_two_is_whole_again(upstream: str) -> None:
    """Some servers cut their text at a token's end, amid an emoji."""
    client = "messages" if upstream != "messages" else "chat"
    stream = translation(client, upstream, speech.plainly(client) | {"stream": True}).stream()
    out = b""
    for half in (r"Hi \ud83d", r"\ude00!", r"\ude00"):
        out += stream.feed(DELTAS[upstream].replace("?", half).encode())
    assert "".join(texts_of(events(out))) == "Hi 😀!�"


DELTAS = {
    "chat": 'data: {"choices":[{"index":0,"delta":{"content":"?"}}]}\n\n',
    "responses": 'data: {"type":"response.output_text.delta","output_index":0,"delta":"?"}\n\n',
    "messages": 'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"?"}}\n\n',
}
"""A delta of each dialect, of which the text is to be put in."""


def texts_of(values: list[Any]) -> list[str]:
    """The texts of the deltas of a chat stream or one of Messages."""
    found = [value["choices"][0]["delta"] for value in values if "choices" in value]
    found += [value["delta"] for value in values if value.get("type") == "content_block_delta"]
    return [delta.get("content") or delta.get("text") or "" for delta in found]


def test_a_broken_stream_ends_as_its_client_expects() -> None:
    """With an error event, and with what was open left open."""
    out = told(begun(), [event("chat", HELLO[1])])
    last = events(out.raw)[-1]
    assert (last["type"], last["error"]["type"]) == ("error", "api_error")
    assert out.fault is FaultKind.TRUNCATED


def test_what_is_to_be_stored_of_a_stream() -> None:
    """Once it is whole."""
    stream = translation("responses", "chat", speech.responses(stream=True)).stream()
    kept = []
    for value in HELLO:
        stream.feed(event("chat", value))
        kept.append(stream.kept)
    assert kept[:4] == [None] * 4
    assert json.loads(kept[-1] or b"")["status"] == "completed"


# What the upstream's dialect could not say.


def test_tools_come_back_by_their_own_names() -> None:
    """A name that the upstream would not take was another on the way."""
    name = "search." + "x" * 80
    way = translation("chat", "messages", speech.chat(tools=[function(name, {"type": "object"})]))
    (tool,) = sent(way)["tools"]
    assert tool["name"] != name
    reply = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "tool_use", "id": "toolu_1", "name": tool["name"], "input": {}}],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    (call,) = answered(way, reply)["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == name


def test_stop_sequences_are_looked_for_here() -> None:
    """Responses has none."""
    way = translation("messages", "responses", speech.messages(user("Count."), stop_sequences=["3"]))
    assert "stop" not in sent(way)
    text = {"type": "output_text", "text": "1 2 3 4", "annotations": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]}
    reply = answered(way, speech.response_of(item))
    assert texts(reply) == ["1 2 "]
    assert (reply["stop_reason"], reply["stop_sequence"]) == ("stop_sequence", "3")


SPOKEN = [
    {"type": "response.created", "response": {"model": "m", "output": []}},
    {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "1 2 3 4"},
]


@pytest.mark.parametrize(("client", "tokens"), [("messages", [7, 1]), ("chat", [7, 1])])
def test_a_stop_sequence_ends_the_stream_at_once(client: str, tokens: list[int]) -> None:
    """Nobody waits for the provider to come to its own end, and nobody has counted by then."""
    words: dict[str, Any] = (
        speech.messages(user("Count."), stream=True, stop_sequences=["3"])
        if client == "messages"
        else speech.chat(user("Count."), stream=True, stop=["3"], stream_options={"include_usage": True})
    )
    stream = translation(client, "responses", words).stream()
    out = stream.feed(b"".join(event("responses", value) for value in SPOKEN))
    assert (stream.ended, stream.error, stream.usage) == (True, None, None)
    values = [value for value in events(out) if value != "[DONE]"]
    assert "".join(texts_of([value for value in values if value.get("choices") != []])) == "1 2 "
    usage = [value["usage"] for value in values if value.get("usage")][-1]
    assert [usage.get("input_tokens", usage.get("prompt_tokens")), usage.get("output_tokens", 1)] == tokens
    assert stream.feed(event("responses", SPOKEN[1])) == b""
    assert stream.finish() == b""


@pytest.mark.parametrize("upstream", ["chat", "responses", "messages"])
@pytest.mark.parametrize(
    "bad", [b'data: {"type":"response.output_text.de\n\n', b"data: \x00\xff{]\n\n", b": \xff\n\n"]
)
def test_an_event_that_cannot_be_read_is_no_event_less(upstream: str, bad: bytes) -> None:
    """What it said is missing: the stream ends with an error, and not as if it were whole."""
    client = "chat" if upstream != "chat" else "messages"
    told = translation(client, upstream, {**speech.plainly(client), "stream": True}).stream()
    with pytest.raises(Fault) as caught:
        told.feed(bad)
    assert caught.value.kind is FaultKind.NOT_JSON
