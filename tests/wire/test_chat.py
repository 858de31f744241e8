import json

import msgspec
import pytest
from fakes.chats import counted, delta, error, finish, role, usage

from proxy.errors import Refusal, Said
from proxy.wire import chat, sse
from proxy.wire.chat import ChatCodec
from proxy.wire.model import Dialect, Usage

NO_MESSAGE = "The provider reported an error without a message."


def seen(event: bytes) -> chat.Chunk:
    """The chunk of one event."""
    data = sse.data_of(event)
    assert data is not None
    found = chat.chunk(data)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("said", "content"),
    [
        ({"content": ""}, False),
        ({"role": "assistant"}, False),
        ({"content": "x"}, True),
        ({"reasoning_content": "x"}, True),
        ({"reasoning": "x"}, True),
        ({"refusal": "x"}, True),
        ({"tool_calls": [{"index": 0}]}, True),
        ({"tool_calls": []}, False),
        ({"function_call": {"name": "f"}}, True),
        ({"audio": {"id": "a"}}, True),
        ({"content": [{"type": "thinking"}]}, True),
    ],
)
def test_content(said: dict[str, object], content: bool) -> None:
    """Whatever a user would miss is content; a role or an empty text is not."""
    found = chat.chunk(json.dumps({"choices": [{"index": 0, "delta": said}]}).encode())
    assert found is not None
    assert found.has_content is content


def test_the_end_of_a_choice_is_content() -> None:
    """A stream that ends at once has said something: nothing."""
    assert seen(finish()).has_content
    assert not seen(role()).has_content
    text = chat.chunk(b'{"choices": [{"text": "legacy"}]}')
    assert text is not None
    assert text.has_content


def test_usage_alone() -> None:
    """The extra usage chunk is known by its empty choices."""
    assert seen(usage()).is_usage_alone
    assert not seen(delta("x")).is_usage_alone
    assert not seen(b'data: {"choices": []}\n\n').is_usage_alone


@pytest.mark.parametrize(
    "data", [b"", b"[1]", b"<html>", b'{"choices": 5}', b'{"choices": [{"index": "a"}]}']
)
def test_what_is_no_chunk(data: bytes) -> None:
    """Anything else is None, never an exception."""
    assert chat.chunk(data) is None


@pytest.mark.parametrize(
    ("body", "empty"),
    [
        (b'{"choices": []}', True),
        (b"{}", True),
        (b'{"choices": null, "data": null}', True),
        (b'{"choices": [1]}', False),
        (b'{"data": [1]}', False),
    ],
)
def test_an_empty_reply(body: bytes, empty: bool) -> None:
    """A reply without choices or data answers nothing."""
    found = chat.reply(body)
    assert found is not None
    assert found.is_empty is empty


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b"[" * 5000])
def test_what_is_no_reply(body: bytes) -> None:
    """Anything but an object is None, never an exception."""
    assert chat.reply(body) is None


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b"null", None),
        (b'"no"', None),
        (b'{"prompt_tokens": "3"}', None),
        (b"{}", Usage()),
        (json.dumps(counted(3, 2)).encode(), Usage(3, 2)),
        (b'{"prompt_tokens": null, "completion_tokens": 2}', Usage(0, 2)),
        (b'{"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}', Usage(9, 0, 4)),
        (b'{"prompt_tokens": 9, "prompt_cache_hit_tokens": 5}', Usage(9, 0, 5)),
        (
            b'{"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 6}}',
            Usage(0, 9, 0, 6),
        ),
    ],
)
def test_usage(raw: bytes, found: Usage | None) -> None:
    """Token counts are read in every form that providers write."""
    assert chat.usage(msgspec.Raw(raw)) == found


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"<html>", None),
        (b"[1]", None),
        (b'{"choices": []}', None),
        (b'{"error": null}', None),
        (b'{"error": ""}', None),
        (b'{"choices": [], "message": "fine"}', None),
        (b'{"message": 5}', None),
        (b'{"error": "bad", "code": 7}', Said("bad", code="7")),
        (
            error("bad", type="t", code="c", param="p", more=1),
            Said("bad", kind="t", code="c", param="p", extra={"more": 1}),
        ),
        (b'{"error": {}}', Said(NO_MESSAGE)),
        (b'{"error": {"message": {"a": 1}, "code": true}}', Said(NO_MESSAGE)),
        (
            b'{"object": "error", "message": "bad", "type": "BadRequest", "code": 400, "request_id": "r"}',
            Said("bad", kind="BadRequest", code="400"),
        ),
    ],
)
def test_said(body: bytes, found: Said | None) -> None:
    """What an error body says is read in every shape that providers use."""
    assert chat.said(body) == found


@pytest.mark.parametrize(
    ("event", "found"),
    [
        (delta("x"), None),
        (usage(), None),
        (b'data: {"error": {"message": "bad"}}\n\n', Said("bad")),
        (b'data: {"choices": [], "error": {"message": "bad"}}\n\n', Said("bad")),
        (b'event: error\ndata: {"message": "bad"}\n\n', Said("bad")),
        (b"event: error\ndata: overloaded\n\n", Said("The provider reported an error.")),
        (b'data: {"message": "bad", "code": 400}\n\n', Said("bad", code="400")),
        (b'data: {"id": "x"}\n\n', None),
        (b"data: overloaded\n\n", None),
    ],
)
def test_error_in(event: bytes, found: Said | None) -> None:
    """An error inside a stream is known by its name, its key or its bare shape."""
    data = sse.data_of(event)
    assert data is not None
    assert chat.error_in(event, chat.chunk(data), data) == found


def test_a_refusal_has_all_four_keys() -> None:
    """SDKs read `message`, `type`, `param` and `code`; a provider's further members never replace them."""
    refusal = Refusal(400, "bad", code="c", extra={"more": 1, "message": "other"})
    assert json.loads(ChatCodec().refusal(refusal)) == {
        "error": {"more": 1, "message": "bad", "type": "invalid_request_error", "param": None, "code": "c"}
    }


def test_a_broken_stream_ends_with_its_error() -> None:
    """An error event, then the end marker: nobody takes it for a whole answer, nobody waits on."""
    codec = ChatCodec()
    refusal = Refusal(502, "bad")
    assert sse.events(codec.broken(refusal)) == [b"data: " + codec.refusal(refusal) + b"\n\n", chat.DONE]
    assert (codec.dialect, codec.ping) == (Dialect.CHAT, b": ping\n\n")
