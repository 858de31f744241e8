import json

import msgspec
import pytest
from fakes.chats import counted, delta, finish, role, usage

from proxy.errors import Said
from proxy.wire import sse
from proxy.wire.chat import seen as chat
from proxy.wire.model import MOST_TOKENS, Usage


def chunk(event: bytes) -> chat.Chunk:
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
    assert chunk(finish()).has_content
    assert not chunk(role()).has_content
    text = chat.chunk(b'{"choices": [{"text": "legacy"}]}')
    assert text is not None
    assert text.has_content


def test_usage_alone() -> None:
    """The extra usage chunk is known by its empty choices."""
    assert chunk(usage()).is_usage_alone
    assert not chunk(delta("x")).is_usage_alone
    assert not chunk(b'data: {"choices": []}\n\n').is_usage_alone


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
        (b'{"prompt_tokens": 9, "prompt_tokens_details": {"cache_write_tokens": 4}}', Usage(9, written=4)),
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


def test_counts_that_cannot_be() -> None:
    """Are moved to the next that can."""
    raw = b'{"prompt_tokens":-5,"completion_tokens":1%030d,"prompt_cache_hit_tokens":-1}' % 0
    assert chat.usage(msgspec.Raw(raw)) == Usage(output=MOST_TOKENS)


@pytest.mark.parametrize(
    ("event", "on"),
    [
        (delta("x"), True),
        (delta('"error" [DONE] "usage": {'), True),
        (b'data:{"choices":[{"finish_reason":""}],"usage":null}', True),
        (finish(), False),
        (usage(), False),
        (b'data: {"choices":[{}],"usage":{}}', False),
        (b'data: {"choices":[{}],"error":{}}', False),
        (b'data: {"choices":[]}', False),
        (b"data: [DONE]", False),
        (b": ping", False),
        (b'data: {"choices":[{}]', False),
    ],
)
def test_whether_a_reply_goes_on(event: bytes, on: bool) -> None:
    """What tells neither usage, an error nor an end needs no closer look."""
    assert chat.goes_on(event.strip()) is on
