"""Tool calls as the client knows its tools: names back to what they were, wrapped input unwrapped.

A tool that the upstream's dialect could not say (free-text input, a namespace, a long name) was sent as a
plain function; here its calls become again what was declared. The text of a custom tool is the value of
`{"input": "..."}`, decoded while it comes.
"""

import json
import re
from collections.abc import Iterable, Mapping

import msgspec

from proxy.wire.events import Added, Closed, Event, Opened
from proxy.wire.naming import Origin

_START = re.compile(r'\s*\{\s*"[^"\\]*"\s*:\s*"')
LONGEST_START = 256
"""Characters within which the value begins, if it ever does."""
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class StringTap:
    """Decodes the string value of a JSON object's one member while its text arrives in pieces."""

    def __init__(self) -> None:
        self._held = ""
        self._over = False
        self.begun = False

    def feed(self, text: str) -> str:
        """The next piece of JSON text; what it adds to the value."""
        if self._over:
            return ""
        self._held += text
        if not self.begun:
            start = _START.match(self._held)
            if start is None:
                self._over = len(self._held) > LONGEST_START
                return ""
            self._held, self.begun = self._held[start.end() :], True
        return self._decoded()

    def _decoded(self) -> str:
        held, out, at = self._held, [], 0
        while at < len(held):
            letter = held[at]
            if letter == '"':
                self._over = True
                break
            if letter != "\\":
                end = _plain_until(held, at)
                out.append(held[at:end])
                at = end
                continue
            size = _escape_size(held, at)
            if size == 0:
                break
            out.append(_unescaped(held[at : at + size]))
            at += size
        self._held = held[at:]
        return "".join(out)


def _plain_until(text: str, at: int) -> int:
    ends = [end for end in (text.find('"', at), text.find("\\", at)) if end >= 0]
    return min(ends, default=len(text))


def _escape_size(text: str, at: int) -> int:
    """Characters of the escape at `at`, a surrogate pair as one; 0 where more has to come."""
    if at + 1 >= len(text):
        return 0
    if text[at + 1] != "u":
        return 2
    if at + 6 > len(text):
        return 0
    high = text[at + 2 : at + 4].lower() in ("d8", "d9", "da", "db")
    if not high:
        return 6
    if at + 12 > len(text):
        pair = text[at + 6 : at + 8]
        return 0 if "\\u".startswith(pair) else 6
    low = text[at + 8 : at + 10].lower() in ("dc", "dd", "de", "df")
    return 12 if low and text[at + 6 : at + 8] == "\\u" else 6


def _unescaped(escape: str) -> str:
    if escape[1] != "u":
        return _ESCAPES.get(escape[1], escape[1])
    try:
        text: str = json.loads(f'"{escape}"')
        text.encode()
    except (ValueError, UnicodeError):
        return "�"
    return text


class Restorer:
    """Rewrites the tool calls among a reply's events. `origins` is what `naming.origins` gave."""

    def __init__(self, origins: Mapping[str, Origin]) -> None:
        self._origins = origins
        self._tap: StringTap | None = None
        self._raw: list[str] = []

    def restore(self, events: Iterable[Event]) -> list[Event]:
        """The events as the client is to see them."""
        out: list[Event] = []
        for event in events:
            if isinstance(event, Opened) and event.name in self._origins:
                out.append(self._open(event, self._origins[event.name]))
            elif isinstance(event, Added) and self._tap is not None:
                text = self._tap.feed(event.text)
                if not self._tap.begun:
                    self._raw.append(event.text)
                if text:
                    out.append(Added(text))
            elif isinstance(event, Closed) and self._tap is not None:
                out += [*self._rest(self._tap), event]
                self._tap = None
            else:
                out.append(event)
        return out

    def _open(self, opened: Opened, origin: Origin) -> Opened:
        if origin.custom:
            self._tap, self._raw = StringTap(), []
        return msgspec.structs.replace(
            opened, name=origin.name, custom=origin.custom, namespace=origin.namespace
        )

    def _rest(self, tap: StringTap) -> list[Event]:
        """A model that did not keep to the wrapping has said its input plainly: better that than nothing."""
        raw = "" if tap.begun else "".join(self._raw)
        return [Added(raw)] if raw and raw.strip() != "{}" else []
