"""One request by itself: to see that a side answers, and what."""

import http.client
import ssl
import time
from pathlib import Path
from urllib.parse import urlsplit

import samples
from running import NotRunningError, Side

PATIENCE = 60.0
"""Seconds until a side must have answered once."""


def ask(side: Side, body: bytes, ca: Path) -> tuple[int, bytes]:
    """The status and the body of one answer; raises `OSError` or `http.client.HTTPException`."""
    parts = urlsplit(side.url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        trusted = ssl.create_default_context(cafile=str(ca))
        connection = http.client.HTTPSConnection(parts.netloc, timeout=30.0, context=trusted)
    else:
        connection = http.client.HTTPConnection(parts.netloc, timeout=30.0)
    headers = {"authorization": f"Bearer {samples.KEY}", "content-type": "application/json"}
    headers |= dict(header.split(": ", 1) for header in side.headers)
    try:
        connection.request("POST", parts.path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def await_answer(side: Side, body: bytes, ca: Path, patience: float = PATIENCE) -> bytes:
    """Ask until there is a good answer: a port that is open need not have anybody behind it yet."""
    late = time.monotonic() + patience
    last = "nothing"
    while time.monotonic() < late:
        try:
            status, told = ask(side, body, ca)
        except (OSError, http.client.HTTPException) as error:
            last = repr(error)
        else:
            if status == 200:
                return told
            last = f"{status} {told[:300]!r}"
        time.sleep(0.2)
    raise NotRunningError(f"{side.name} does not answer: {last}")
