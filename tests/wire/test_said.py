import pytest
from fakes.chats import error

from proxy.errors import Said
from proxy.wire.said import said

NO_MESSAGE = "The provider reported an error without a message."


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
    assert said(body) == found
