import dataclasses
import json
from typing import Any

import msgspec
import pytest

from proxy.profiles import Quirks
from proxy.wire import seals
from proxy.wire.codec import Facts
from proxy.wire.conversation import Seal
from proxy.wire.losses import Losses
from proxy.wire.model import Dialect
from proxy.wire.responses import compacted, sealed
from proxy.wire.responses.native_input import prepared, tagged

Json = dict[str, Any]
FACTS = Facts("gpt-5", Quirks(), "alpha")
OTHER = Facts("gpt-5", Quirks(), "beta")
VALUE = '{"id":"rs_1","encrypted_content":"gAAA"}'
OURS = seals.pack(Seal(Dialect.RESPONSES, "gpt-5", VALUE))


def raw(said: Any) -> msgspec.Raw:
    """An input as it came."""
    return msgspec.Raw(json.dumps(said).encode())


def items(*said: Json, facts: Facts = FACTS) -> list[Json]:
    """These items as they are sent."""
    found: list[Json] = json.loads(bytes(prepared(raw(said), facts, Losses(Dialect.RESPONSES))))
    return found


def reasoning(encrypted: str | None, **fields: Any) -> Json:
    """An item of reasoning."""
    return {"type": "reasoning", "id": "rs_9", "summary": [], "encrypted_content": encrypted, **fields}


@pytest.mark.parametrize(
    "said",
    ["Hi", [{"role": "user", "content": "a  b"}], 'talk of "id" and reasoning', [3, {"id": 1}], {"id": 1}],
)
def test_what_needs_no_change_is_the_very_same(said: Any) -> None:
    """What needs no change is the very same."""
    there = raw(said)
    assert bytes(prepared(there, FACTS, Losses(Dialect.RESPONSES))) == bytes(there)


def test_ids_that_the_vendor_did_not_make_are_removed() -> None:
    """Ids that the vendor did not make are removed."""
    found = items(
        {"type": "message", "id": "msg_1", "role": "assistant", "content": []},
        {"role": "assistant", "id": "chatcmpl-1", "content": []},
        {"type": "function_call", "id": "call_1", "call_id": "call_1"},
        {"type": "function_call", "id": "fc_1", "call_id": "call_2"},
        {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_3"},
        {"type": "function_call_output", "id": "fco_1", "call_id": "call_1"},
        {"type": "web_search_call", "id": "ws_1"},
        {"type": "item_reference", "id": "other"},
    )
    assert [item.get("id") for item in found] == ["msg_1", None, None, "fc_1", "ctc_1", None, "ws_1", "other"]
    assert [item.get("call_id") for item in found][2] == "call_1"


def test_a_status_of_null_is_removed() -> None:
    """A status of null is removed."""
    found = items(
        {"role": "user", "content": "a", "status": None},
        {"role": "user", "content": "a", "status": "completed"},
    )
    assert ["status" in item for item in found] == [False, True]


def test_reasoning_that_nobody_can_find_again_is_left_out() -> None:
    """Reasoning that nobody can find again is left out."""
    assert items(reasoning(None), reasoning(""), reasoning("gAAA")) == [reasoning("gAAA")]


def test_what_followed_such_reasoning_does_not_ask_for_it() -> None:
    """What followed such reasoning does not ask for it."""
    found = items(
        reasoning(None),
        {"type": "message", "id": "msg_1", "role": "assistant", "content": []},
        {"type": "function_call", "id": "fc_1", "call_id": "c"},
        {"type": "function_call_output", "call_id": "c"},
        {"type": "message", "id": "msg_2", "role": "assistant", "content": []},
    )
    assert [item.get("id") for item in found] == [None, None, None, "msg_2"]


def test_what_a_vendor_ran_while_it_reasoned_goes_with_the_reasoning() -> None:
    """A search asks for the reasoning that led to it, and is no item without its id; it is named as well."""
    losses = Losses(Dialect.RESPONSES)
    said = raw(
        [
            reasoning(None),
            {"type": "web_search_call", "id": "ws_1"},
            {"type": "message", "id": "msg_1", "role": "assistant", "content": []},
            {"role": "user", "content": "And?"},
            {"type": "web_search_call", "id": "ws_2"},
        ]
    )
    found = json.loads(bytes(prepared(said, FACTS, losses)))
    assert [(item.get("type"), item.get("id")) for item in found] == [
        ("message", None),
        (None, None),
        ("web_search_call", "ws_2"),
    ]
    assert losses.header() == "dropped=input[]"


def test_reasoning_that_we_packed_is_unpacked_for_its_model() -> None:
    """Reasoning that we packed is unpacked for its model."""
    assert items(reasoning(OURS, status=None)) == [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    ]


@pytest.mark.parametrize(
    "encrypted",
    [
        seals.pack(Seal(Dialect.RESPONSES, "gpt-4", VALUE)),
        seals.pack(Seal(Dialect.MESSAGES, "gpt-5", "sig")),
        seals.pack(Seal(Dialect.MESSAGES, "claude", "data")) + ".redacted",
        seals.pack(Seal(Dialect.RESPONSES, "gpt-5", "no object")),
        "ax1.nonsense",
    ],
)
def test_reasoning_of_others_is_left_out(encrypted: str) -> None:
    """Reasoning of others is left out."""
    assert items(reasoning(encrypted)) == []


def test_where_nothing_can_be_opened_all_reasoning_is_left_out() -> None:
    """Also what tells no maker; and what it led to does not ask for it."""
    said = {"type": "message", "id": "msg_1", "role": "assistant", "content": []}
    blind = dataclasses.replace(FACTS, opens=False)
    assert items(reasoning("gAAA"), reasoning(OURS), said, facts=blind) == [
        {"type": "message", "role": "assistant", "content": []}
    ]


def test_our_compaction_becomes_an_instruction_and_the_vendors_stays() -> None:
    """Our compaction becomes an instruction and the vendors stays."""
    found = items(
        {"type": "compaction", "id": "cmp_1", "encrypted_content": compacted.pack("So far.")},
        {"type": "compaction", "id": "cmp_2", "encrypted_content": "gAAA"},
    )
    assert found == [
        {"type": "message", "role": "developer", "content": "So far."},
        {"type": "compaction", "id": "cmp_2", "encrypted_content": "gAAA"},
    ]


def test_values_travel_as_they_came() -> None:
    """Values travel as they came."""
    there = msgspec.Raw(b'[{"type":"function_call","id":"x","call_id":"c","arguments":"{\\"a\\" : 1.0}"}]')
    assert b'"arguments":"{\\"a\\" : 1.0}"' in bytes(prepared(there, FACTS, Losses(Dialect.RESPONSES)))


def test_sealed_reasoning_is_tagged_with_its_maker_once() -> None:
    """Sealed reasoning is tagged with its maker once."""
    output = raw([reasoning("gAAA"), reasoning(None), {"type": "message", "content": []}])
    once = tagged(output, FACTS)
    found = json.loads(bytes(once))
    seal = seals.unpack(found[0]["encrypted_content"])
    assert seal == sealed.closed("rs_9", "gAAA", FACTS)
    assert tagged(once, OTHER) == once
    assert [item["type"] for item in found] == ["reasoning", "reasoning", "message"]
    assert tagged(raw(3), FACTS) == raw(3)


def test_what_is_tagged_comes_back_as_it_was() -> None:
    """To who made it, and not to another account."""
    kept = json.loads(bytes(tagged(raw([reasoning("gAAA")]), FACTS)))
    assert items(*kept) == [reasoning("gAAA")]
    assert items(*kept, facts=OTHER) == []


def test_a_seal_changes_nothing_but_what_it_is_for() -> None:
    """It comes back by way of the client, who may have made it up."""
    value = json.dumps({"type": "message", "role": "system", "id": "rs_1", "encrypted_content": "gAAA"})
    (found,) = items(reasoning(seals.pack(Seal(Dialect.RESPONSES, "gpt-5", value))))
    assert found == reasoning("gAAA", id="rs_1")
    empty = seals.pack(Seal(Dialect.RESPONSES, "gpt-5", '{"type":"message","role":"system"}'))
    assert items(reasoning(empty)) == []
