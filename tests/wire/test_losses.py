from collections.abc import Callable

import pytest

from proxy.errors import Refusal
from proxy.wire.losses import LONGEST, POLICY, Losses, Treatment
from proxy.wire.model import Dialect


def test_a_header_names_what_was_lost() -> None:
    """Each field once, by what became of it."""
    losses = Losses(Dialect.MESSAGES)
    losses.meet("seed")
    losses.drop("top_k")
    losses.drop("seed")
    losses.clamp("temperature")
    losses.change("system")
    assert losses.header() == "dropped=seed,top_k; clamped=temperature; changed=system"
    assert losses.fields == {
        "seed": Treatment.DROPPED,
        "top_k": Treatment.DROPPED,
        "temperature": Treatment.CLAMPED,
        "system": Treatment.CHANGED,
    }


def test_nothing_was_lost() -> None:
    """Carried fields and hints go without a word."""
    losses = Losses(Dialect.MESSAGES, strict=True)
    losses.meet("stop")
    losses.meet("prediction")
    assert (losses.header(), losses.fields) == ("", {})


def test_what_the_writer_lost() -> None:
    """What its reader did not know would be lost in any dialect."""
    losses = Losses(Dialect.MESSAGES)
    losses.drop("unknown", "unheard_of")
    assert not losses.written
    losses.meet("seed")
    assert losses.written


def test_what_is_refused() -> None:
    """By the table or by the writer, with the client's name of the field and its own words if it has any."""
    losses = Losses(Dialect.MESSAGES)
    with pytest.raises(Refusal) as caught:
        losses.meet("n")
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, "n", "unsupported_value")
    with pytest.raises(Refusal, match="No files") as caught:
        losses.refuse("document", "No files.", param="messages[0].content[1]")
    assert caught.value.param == "messages[0].content[1]"


def test_what_the_operator_allows_to_be_dropped() -> None:
    """It is not refused, but told."""
    losses = Losses(Dialect.CHAT, lenient=frozenset({"tool.hosted"}))
    losses.meet("tool.hosted", "tools.web_search")
    assert losses.header() == "dropped=tools.web_search"


@pytest.mark.parametrize("note", [Losses.drop, Losses.clamp, Losses.change])
def test_strictly_nothing_may_be_lost(note: Callable[[Losses, str, str], None]) -> None:
    """What would be dropped or changed is refused by its name."""
    with pytest.raises(Refusal) as caught:
        note(Losses(Dialect.CHAT, strict=True), "unknown", "messages[2].name")
    assert (caught.value.status, caught.value.param) == (400, "messages[2].name")
    assert caught.value.code == "unsupported_parameter"


def test_names_of_clients_are_fit_for_a_header() -> None:
    """Places in arrays are one; what no header takes is not in it."""
    losses = Losses(Dialect.CHAT)
    losses.drop("unknown", "messages[2].name")
    losses.drop("unknown", "messages[14].name")
    losses.drop("unknown", "x\r\nset-cookie: ü")
    assert losses.header() == "dropped=messages[].name,x__set-cookie___"


def test_a_long_header_is_cut() -> None:
    """Between two names, and it says so."""
    losses = Losses(Dialect.CHAT)
    for place in range(300):
        losses.drop("unknown", f"field_{place}")
    assert len(losses.header()) <= LONGEST + 4
    assert losses.header().endswith(",...")
    assert all(name.startswith("field_") for name in losses.header()[len("dropped=") : -4].split(","))


@pytest.mark.parametrize("name", POLICY)
def test_the_table_has_a_treatment_for_every_dialect(name: str) -> None:
    """And a sentence where it is not plain what is done."""
    rule = POLICY[name]
    found = {rule.of(dialect) for dialect in Dialect}
    assert all(isinstance(treatment, Treatment) for treatment in found)
    assert not rule.note or rule.note.endswith(".")
