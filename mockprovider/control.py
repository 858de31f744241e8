"""The control endpoints under `/_mock/`: what a test in another process needs to see and change.

    GET  /_mock/stats             counters, open connections and streams
    GET  /_mock/requests?last=N   the newest entries (10 unless told), credentials replaced by their id
    POST /_mock/script            a new script (YAML or JSON); its clock and counters begin anew
    POST /_mock/reset             forget all that was seen, and start over with the script of the start

Rule: what happens here is neither counted nor recorded.
"""

from typing import Protocol
from urllib.parse import parse_qs

import msgspec

from mockprovider.desk import Request
from mockprovider.script import Script, ScriptError, load
from mockprovider.staging import Act

PREFIX = "/_mock/"


class Controlled(Protocol):
    """What is controlled."""

    def stats(self) -> dict[str, object]:
        """The counters."""

    def told(self, last: int) -> list[dict[str, object]]:
        """The newest entries, oldest first."""

    def play(self, script: Script) -> None:
        """Replace the script."""

    def reset(self) -> None:
        """Start over."""


def answer(mock: Controlled, request: Request) -> Act:
    """The act for a request to a control endpoint."""
    what = f"{request.method} {request.path.removeprefix(PREFIX)}"
    status, said = _act(mock, what, request.query, request.body)
    data = msgspec.json.encode(said)
    head = f"HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    return Act([(0.0, head.encode() + data)], "keep", "control")


def _act(mock: Controlled, what: str, query: str, body: bytes) -> tuple[int, object]:
    if what == "GET stats":
        return 200, mock.stats()
    if what == "GET requests":
        return _requests(mock, query)
    if what == "POST script":
        return _script(mock, body)
    if what == "POST reset":
        mock.reset()
        return 200, {"reset": True}
    return 404, {"error": "found neither GET stats, GET requests, POST script nor POST reset"}


def _requests(mock: Controlled, query: str) -> tuple[int, object]:
    last = parse_qs(query).get("last", ["10"])[-1]
    if not last.isdecimal():
        return 400, {"error": f"last: found {last!r}, allowed: a number"}
    return 200, {"requests": mock.told(int(last))}


def _script(mock: Controlled, body: bytes) -> tuple[int, object]:
    try:
        script = load(body.decode(errors="replace"))
    except ScriptError as error:
        return 400, {"error": str(error)}
    mock.play(script)
    return 200, {"rules": len(script.rules)}
