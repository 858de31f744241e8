import msgspec
import pytest

from proxy.responses.document import NEAREST, Stored, decode, encode, lineage
from responses.shelves import raw, response


def test_what_is_written_is_read_again() -> None:
    """Bytes that are only carried do not change: what is signed would not be valid any more."""
    carried = msgspec.Raw(b'{"b" : "\\u00e9\\/", "a":1.0e2}')
    stored = response("resp_2", response("resp_1"), output=(carried, raw(None)), background=True, replica="r")
    assert decode(encode(stored)) == stored
    assert bytes(decode(encode(stored)).output[0]) == bytes(carried)


def test_a_later_version_may_know_more() -> None:
    """Replicas are replaced one by one."""
    known = msgspec.json.decode(encode(response("resp_1")))
    assert decode(msgspec.json.encode({**known, "mood": "fine"})) == response("resp_1")


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"id":3}', b"\xff"])
def test_what_is_not_a_document_is_an_error(data: bytes) -> None:
    """One kind of it."""
    with pytest.raises(msgspec.MsgspecError):
        decode(data)


@pytest.mark.parametrize(
    ("status", "running"),
    [("queued", True), ("in_progress", True), ("completed", False), ("failed", False), ("cancelled", False)],
)
def test_what_runs(status: str, running: bool) -> None:
    """Until it has an outcome."""
    assert response("resp_1", status=status).running is running


def test_a_lineage_names_the_nearest() -> None:
    """However long the conversation is, a document stays small."""
    last: Stored | None = None
    for number in range(NEAREST + 10):
        last = response(f"resp_{number}", last)
    assert last is not None
    assert lineage(None) == ()
    assert lineage(last) == tuple(f"resp_{number}" for number in range(10, NEAREST + 10))
