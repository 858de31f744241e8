import json
from typing import Any

from proxy.wire import seals, sse
from proxy.wire.codec import Stamp
from proxy.wire.conversation import Seal
from proxy.wire.events import Closed, Opened
from proxy.wire.model import Dialect
from proxy.wire.responses.output import Output, Tape, packed

STAMP = Stamp("ab" * 12, 1_700_000_000)
SEAL = Seal(Dialect.MESSAGES, "claude", "sig")


class Scene:
    """An output and what is heard of it."""

    def __init__(self, *, sealed: bool = False) -> None:
        self.tape = Tape()
        self.output = Output(STAMP, self.tape, sealed=sealed)

    def block(self, opened: Opened, *texts: str, closed: Closed | None = None) -> None:
        """A whole block."""
        self.output.opened(opened)
        for text in texts:
            self.output.added(text)
        self.output.closed(closed or Closed())

    def heard(self) -> list[dict[str, Any]]:
        """The events since the last time."""
        return [json.loads(sse.data_of(event) or b"") for event in sse.events(self.tape.take())]

    def kinds(self) -> list[str]:
        """Their types, without the part that all share."""
        return [event["type"].removeprefix("response.") for event in self.heard()]


def test_a_message() -> None:
    """A message."""
    scene = Scene()
    scene.block(Opened("text"), "Hel", "lo")
    scene.output.settle("completed")
    heard = scene.heard()
    assert [event["type"] for event in heard] == [
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
    ]
    assert [event["sequence_number"] for event in heard] == list(range(7))
    assert {event.get("item_id", event.get("item", {}).get("id")) for event in heard} == {
        f"msg_{STAMP.token}_0"
    }
    assert heard[2]["logprobs"] == heard[4]["logprobs"] == []
    assert heard[-1]["item"]["content"] == [
        {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}
    ]


def test_consecutive_texts_are_parts_of_one_message() -> None:
    """Consecutive texts are parts of one message."""
    scene = Scene()
    scene.block(Opened("text"), "a")
    scene.block(Opened("declined"), "no")
    scene.block(Opened("text"), "b")
    assert [part["type"] for part in scene.output.items[0]["content"]] == [
        "output_text",
        "refusal",
        "output_text",
    ]
    indexes = [event["content_index"] for event in scene.heard() if event["type"].endswith(".delta")]
    assert indexes == [0, 1, 2]


def test_a_refusal() -> None:
    """A refusal."""
    scene = Scene()
    scene.block(Opened("declined"), "no")
    assert scene.kinds() == [
        "output_item.added",
        "content_part.added",
        "refusal.delta",
        "refusal.done",
        "content_part.done",
    ]


def test_a_call_is_done_when_the_next_thing_begins() -> None:
    """Until then a limit may turn out to have cut it."""
    scene = Scene()
    scene.block(Opened("tool", id="c1", name="f"), '{"a":1}')
    assert scene.kinds() == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
    ]
    scene.block(Opened("tool", id="c2", name="g"), "{}")
    first = scene.heard()[0]
    assert (first["type"], first["output_index"]) == ("response.output_item.done", 0)
    assert first["item"] == {
        "id": f"fc_{STAMP.token}_0",
        "type": "function_call",
        "call_id": "c1",
        "name": "f",
        "arguments": '{"a":1}',
        "status": "completed",
    }


def test_a_call_without_arguments_has_an_empty_object_of_them() -> None:
    """A call without arguments has an empty object of them."""
    scene = Scene()
    scene.block(Opened("tool", id="c1", name="now"))
    heard = scene.heard()
    assert [event.get("delta") for event in heard] == [None, "{}", None]
    assert (heard[-1]["name"], heard[-1]["arguments"]) == ("now", "{}")


def test_a_free_text_call_of_a_namespace() -> None:
    """A free text call of a namespace."""
    scene = Scene()
    scene.block(Opened("tool", id="c1", name="patch", custom=True, namespace="git"), "*** Begin")
    heard = scene.heard()
    assert [event["type"] for event in heard] == [
        "response.output_item.added",
        "response.custom_tool_call_input.delta",
        "response.custom_tool_call_input.done",
    ]
    assert heard[-1]["input"] == "*** Begin"
    item = scene.output.items[0]
    assert (item["id"][:4], item["namespace"], item["input"]) == ("ctc_", "git", "*** Begin")


def test_a_free_text_call_may_say_nothing() -> None:
    """A free text call may say nothing."""
    scene = Scene()
    scene.block(Opened("tool", id="c1", name="patch", custom=True))
    assert scene.output.items[0]["input"] == ""


def test_every_call_has_an_id_of_its_own() -> None:
    """Every call has an id of its own."""
    scene = Scene()
    for name in ("same", "same", "", ""):
        scene.block(Opened("tool", id=name, name="f"), "{}")
    ids = [item["call_id"] for item in scene.output.items]
    assert ids[0] == "same"
    assert len(set(ids)) == 4
    assert all(name.startswith("call_") for name in ids[2:])


def test_reasoning_is_told_as_a_summary() -> None:
    """Reasoning is told as a summary."""
    scene = Scene()
    scene.block(Opened("thinking"), "h", "m")
    assert scene.kinds() == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    assert scene.output.items[0]["summary"] == [{"type": "summary_text", "text": "hm"}]


def test_reasoning_without_words_has_no_summary() -> None:
    """Reasoning without words has no summary."""
    scene = Scene()
    scene.block(Opened("thinking"), closed=Closed(seal=SEAL))
    assert scene.kinds() == ["output_item.added", "output_item.done"]
    assert scene.output.items[0]["summary"] == []


def test_seals_are_kept_and_shown_only_to_those_who_may_see_them() -> None:
    """Seals are kept and shown only to those who may see them."""
    for sealed in (True, False):
        scene = Scene(sealed=sealed)
        scene.block(Opened("thinking"), "hm", closed=Closed(seal=SEAL))
        assert scene.output.items[0]["encrypted_content"] == seals.pack(SEAL)
        assert ("encrypted_content" in scene.heard()[-1]["item"]) is sealed
        assert ("encrypted_content" in scene.output.shown[0]) is sealed
        assert scene.output.hides is not sealed


def test_a_redacted_seal_says_so() -> None:
    """A redacted seal says so."""
    assert packed(SEAL, redacted=True) == seals.pack(SEAL) + ".redacted"


def test_citations_are_annotations() -> None:
    """Citations are annotations."""
    scene = Scene()
    scene.block(Opened("text"), "see", closed=Closed(citations=(("https://a", "A", 0, 3),)))
    heard = scene.heard()
    note = {"type": "url_citation", "url": "https://a", "title": "A", "start_index": 0, "end_index": 3}
    assert heard[3]["type"] == "response.output_text.annotation.added"
    assert (heard[3]["annotation_index"], heard[3]["annotation"]) == (0, note)
    assert heard[-1]["part"]["annotations"] == [note]


def test_what_was_cut_is_settled_as_it_is() -> None:
    """What was cut is settled as it is."""
    scene = Scene()
    scene.output.opened(Opened("tool", id="c", name="f"))
    scene.output.added('{"a"')
    scene.output.settle("incomplete")
    assert (scene.output.items[0]["status"], scene.output.items[0]["arguments"]) == ("incomplete", '{"a"')


def test_a_block_that_was_left_open_is_closed_by_the_next() -> None:
    """A block that was left open is closed by the next."""
    scene = Scene()
    scene.output.opened(Opened("thinking"))
    scene.output.added("hm")
    scene.block(Opened("text"), "x")
    assert [item["type"] for item in scene.output.items] == ["reasoning", "message"]
    assert scene.output.items[0]["summary"]


def test_letters_are_counted() -> None:
    """Letters are counted."""
    scene = Scene()
    scene.block(Opened("text"), "abc", "", "d")
    assert scene.output.letters == 4


def test_a_silent_tape_keeps_and_counts_nothing() -> None:
    """A silent tape keeps and counts nothing."""
    scene = Scene()
    scene.tape.sound = False
    scene.block(Opened("text"), "abc")
    scene.tape.end(b"x")
    assert (scene.tape.take(), scene.tape.sequence) == (b"", 0)
    assert scene.output.items[0]["content"][0]["text"] == "abc"
