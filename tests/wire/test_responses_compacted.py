import json
from typing import Any

import pytest
from fakes.translations import STAMP
from schemas.validation import problems

from proxy.errors import Refusal
from proxy.wire import envelope
from proxy.wire.envelope import Fields, encode
from proxy.wire.model import Usage
from proxy.wire.responses.compacted import TAG, compacted, pack, question, summary, unpack

Json = dict[str, Any]


def fields(**body: Any) -> Fields:
    """The fields of a request."""
    return envelope.decode(json.dumps(body).encode(), 20)


def asked(**body: Any) -> Json:
    """The question that a request leads to."""
    made: Json = json.loads(encode(question(fields(model="m", **body))))
    return made


def replied(*texts: str, status: str = "completed", kind: str = "message") -> bytes:
    """A response with these texts."""
    parts = [{"type": "output_text", "text": text} for text in texts]
    item = {"type": kind, "content": parts}
    return json.dumps({"status": status, "output": [{"type": "reasoning", "summary": []}, item]}).encode()


def test_the_question_follows_what_was_said() -> None:
    """The conversation as it came, then the wish for a summary; nothing of it is stored."""
    item = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    body = asked(input=[item], instructions="Be kind.", previous_response_id="resp_1")
    assert body["input"][0] == item
    assert body["input"][1]["role"] == "user"
    assert "ummar" in body["input"][1]["content"]
    assert len(body["input"]) == 2
    assert (body["store"], body["stream"]) == (False, False)
    assert (body["model"], body["instructions"], body["previous_response_id"]) == ("m", "Be kind.", "resp_1")


def test_a_text_is_a_users_message() -> None:
    """A text is a users message."""
    assert asked(input="Hi")["input"][0] == {"role": "user", "content": "Hi"}


def test_what_would_change_the_answer_is_not_passed() -> None:
    """Tools, formats and bounds are those of another answer."""
    body = asked(
        input="Hi", tools=[], text={}, max_output_tokens=1, stream=True, store=True, service_tier="flex"
    )
    assert body.keys() == {"model", "input", "store", "stream", "service_tier"}


def test_what_is_stored_needs_no_input() -> None:
    """A chain alone can be compacted."""
    assert len(asked(previous_response_id="resp_1")["input"]) == 1


@pytest.mark.parametrize("body", [{}, {"input": None}, {"input": []}, {"input": ""}])
def test_without_input_there_is_nothing_to_sum_up(body: Json) -> None:
    """Without input there is nothing to sum up."""
    with pytest.raises(Refusal) as caught:
        question(fields(model="m", **body))
    assert (caught.value.status, caught.value.param) == (400, "input")


@pytest.mark.parametrize("text", ["", "Hi", "\N{SNOWMAN} \U0001f600\n", "x" * 10_000])
def test_a_packed_summary_is_read_again(text: str) -> None:
    """A packed summary is read again."""
    packed = pack(text)
    assert packed.startswith(TAG)
    assert packed.isascii()
    assert unpack(packed) == text


@pytest.mark.parametrize("text", ["", "gAAAAAB", "ax1c", "ax1c.!", "ax1c.abc", "ax1c._w==", "ax1.c.YQ=="])
def test_nobody_elses_is_read(text: str) -> None:
    """What has another tag, is cut, or holds no text."""
    assert unpack(text) is None


def test_a_summary_is_all_text_of_the_messages() -> None:
    """A summary is all text of the messages."""
    assert summary(replied("So ", "it was.")) == "So it was."


@pytest.mark.parametrize(
    "body",
    [
        replied("So it w", status="incomplete"),
        replied("So it was.", status="failed"),
        b'{"status": "completed"}',
        b'{"status": "completed", "output": [1]}',
        b'{"status": "completed", "output": [{"type": "message", "content": [{"text": 5}]}]}',
        b"[" * 5000,
        b"no JSON",
    ],
)
def test_what_is_no_whole_summary_is_none(body: bytes) -> None:
    """What is no whole summary is none."""
    assert summary(body) is None


def test_thoughts_are_no_summary() -> None:
    """Thoughts are no summary."""
    assert summary(replied("Hm.", kind="reasoning")) is None


def test_the_users_words_stay_and_the_rest_is_one_item() -> None:
    """Of the user's messages everything is kept but their ids; the question that was added is not theirs."""
    said: list[Json] = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"type": "message", "role": "assistant", "content": "Hello"},
        {
            "type": "message",
            "role": "user",
            "id": "msg_old",
            "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"}],
        },
        {"type": "compaction", "encrypted_content": pack("Earlier.")},
        {"role": "user", "content": "Summarize!"},
    ]
    made = compacted("So it was.", fields(input=said), Usage(7, 5, 2, 1), STAMP)
    assert problems("responses", "compaction", made) == []
    first, second, last = made["output"]
    assert first["content"] == [{"type": "input_text", "text": "Hi"}]
    assert second["content"] == said[3]["content"]
    assert len({item["id"] for item in made["output"]}) == 3
    assert "msg_old" not in {item["id"] for item in made["output"]}
    assert (last["type"], unpack(last["encrypted_content"])) == ("compaction", "So it was.")
    assert made["id"] == f"resp_{STAMP.token}"
    assert (made["usage"]["input_tokens"], made["usage"]["output_tokens"]) == (7, 5)
    assert made["usage"]["total_tokens"] == 12


def test_odd_things_beside_a_summary_break_nothing() -> None:
    """Servers and clients send what no schema knows."""
    parts = [5, {"type": "output_text"}, {"text": None}, {"type": "output_text", "text": "So far."}]
    odd: list[Any] = [None, 3, {"type": "message"}, {"type": "message", "content": "x"}]
    output = [*odd, {"type": "message", "content": parts}]
    assert summary(json.dumps({"status": "completed", "output": output}).encode()) == "So far."
    given: list[Any] = ["x", 5, None, {"role": "user"}, {"role": "user", "content": "Hi"}, {"role": "user"}]
    made = compacted("So far.", fields(input=given), Usage(), STAMP)
    assert [item.get("content") for item in made["output"][:-1]] == [
        None,
        [{"type": "input_text", "text": "Hi"}],
    ]
