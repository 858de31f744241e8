import json

import pytest

from mockprovider import control
from mockprovider.desk import Request
from mockprovider.script import Script


class _Mock:
    """Remembers what it was told to do."""

    def __init__(self) -> None:
        self.script: Script | None = None
        self.resets = 0

    def stats(self) -> dict[str, object]:
        return {"requests": 3}

    def told(self, last: int) -> list[dict[str, object]]:
        return [{"last": last}]

    def play(self, script: Script) -> None:
        self.script = script

    def reset(self) -> None:
        self.resets += 1


def _answer(mock: _Mock, method: str, path: str, query: str = "", body: bytes = b"") -> tuple[int, object]:
    act = control.answer(mock, Request(method, "/_mock/" + path, {}, body, query))
    assert act.ending == "keep"
    head, _, data = act.steps[0][1].partition(b"\r\n\r\n")
    assert f"content-length: {len(data)}".encode() in head
    return int(head.split()[1]), json.loads(data)


def test_what_was_seen_can_be_asked_for() -> None:
    """Counters and the newest entries come as JSON; ten entries unless told."""
    mock = _Mock()
    assert _answer(mock, "GET", "stats") == (200, {"requests": 3})
    assert _answer(mock, "GET", "requests") == (200, {"requests": [{"last": 10}]})
    assert _answer(mock, "GET", "requests", "last=2") == (200, {"requests": [{"last": 2}]})


def test_the_script_can_be_replaced_and_everything_reset() -> None:
    """A new script is played at once; a reset is passed on."""
    mock = _Mock()
    assert _answer(mock, "POST", "script", body=b"rules: [{then: {status: 500}}]") == (200, {"rules": 1})
    assert mock.script is not None
    assert mock.script.rules[0].then.status == 500
    assert _answer(mock, "POST", "reset")[0] == 200
    assert mock.resets == 1


@pytest.mark.parametrize(
    ("method", "path", "query", "body", "status"),
    [
        ("GET", "requests", "last=many", b"", 400),
        ("POST", "script", "", b"rulez: []", 400),
        ("POST", "stats", "", b"", 404),
        ("GET", "nothing", "", b"", 404),
    ],
)
def test_mistakes_are_told(method: str, path: str, query: str, body: bytes, status: int) -> None:
    """A wrong number, script or path is an error with a sentence, and changes nothing."""
    mock = _Mock()
    found, told = _answer(mock, method, path, query, body)
    assert found == status
    assert isinstance(told, dict)
    assert "found" in told["error"]
    assert mock.script is None
