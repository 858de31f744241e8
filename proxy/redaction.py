"""What a provider says, made fit for a caller's eyes: no key, no address, no endless text.

Error bodies are written by others and may repeat whatever was sent to them. Known secrets and hosts (all
that the configuration holds) are removed wherever they stand, and so is what only looks like a secret:
API keys by their prefixes, bearer tokens, JSON web tokens, URLs, e-mail addresses. What is known is found as
it stands and as JSON writes it, in one piece: what a text spells out or encodes once more is not.
"""

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urlsplit

from proxy.config.settings import Config, Entry, Provider
from proxy.errors import Said
from proxy.wire import deltas

LONGEST = 2048
"""Characters of a message that are passed on."""

DEEPEST = 6
MOST = 32
"""How deep, and how many members of one object or list, an error's further members are passed on."""

REMEMBERED = 86_400.0
"""Seconds for which a secret is removed that is configured no more: longer than any request knows it."""

_MASK = "[redacted]"
_BLOB = re.compile(r"[A-Za-z0-9+/]{256,}={0,2}")
_LOOKS_SECRET = re.compile(
    r"https?://[^\s\"'<>]+"
    r"|\b(?:sk|pk|rk|key|xai|gsk|hf)[-_][A-Za-z0-9_\-*.]{6,}"
    r"|\b(?:A[KS]IA[A-Z0-9]{12}|AIza[\w-]{20}|gh[pousr]_\w{6}|github_pat_\w{6}|xox[a-z]-[\w-]{6})[\w-]*+"
    r"|\b(?:[Bb]earer|[Bb]asic)\s{1,9}[A-Za-z0-9._~+/=-]{6,}"
    r"|(?<![\w-])eyJ[\w-]{8,}+\.[\w-]++\.[\w-]*"
    r"|(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,64}\.[\w.-]+"
)  # each alternative can begin only where its predecessor could not: linear in any text
_NAMED = re.compile(
    r"((\\{0,7})\"(?:password|passwd|secret|client_secret|(?:access_|refresh_|id_)?token|api_?key)\2\""
    r"\s{0,9}:\s{0,9}\2\")(?:.*?)(?=(?<!\\)\2\"|\Z)",
    re.DOTALL | re.IGNORECASE,
)  # a text that is called a secret, also inside a text; one that was cut goes to the end
_ESCAPED = re.compile(r"(?<!\\)\\++(?:u([0-9a-fA-F]{4})|/)")
_CUT_ESCAPE = re.compile(r"\\{1,8}(?:u[0-9a-fA-F]{0,3})?\Z")


class Redactor:
    """Removes the secrets of a configuration, those of earlier ones for a day, and what looks like one."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._present = frozenset(secrets)
        self._former: list[tuple[float, frozenset[str]]] = []
        self._learn()

    def renew(self, secrets: Iterable[str], now: float) -> None:
        """Another configuration holds from `now` on (monotonic, in seconds)."""
        present = frozenset(secrets)
        self._former = [(since, some) for since, some in self._former if now - since < REMEMBERED]
        if gone := self._present - present:
            self._former.append((now, gone))
        self._present = present
        self._learn()

    def _learn(self) -> None:
        secrets = self._present.union(*(some for _, some in self._former))
        forms = secrets.union(json.dumps(secret, ensure_ascii=False)[1:-1] for secret in secrets)
        known = sorted((form for form in forms if len(form) >= 4), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None
        self._longest = len(known[0]) if known else 0

    def text(self, text: str) -> str:
        """`text` without secrets, cut to `LONGEST` characters."""
        whole = len(text) <= LONGEST * 4
        text = text[: LONGEST * 4]
        if self._known is not None:
            text = self._known.sub(_MASK, text)
        if not whole:  # a secret may have been cut in two, and its first half is not known as one
            text = text[: -self._longest or None]
        return _LOOKS_SECRET.sub(_MASK, text)[:LONGEST]

    def excerpt(self, said: bytes, *, whole: bool) -> str:
        """What was `said`, as text without secrets; long runs of base64 (pictures, files) are only named.

        Of a stream it is what its events say together, for a secret may come in pieces. Not `whole`: the end
        was cut off, and goes as far as half a secret may stand there.
        """
        if deltas.is_stream(said) and (texts := deltas.texts(said)):
            return "\n".join(f"{name}: {self._clean(text, whole=whole)}" for name, text in texts)
        return self._clean(said.decode("utf-8", "replace"), whole=whole)

    def _clean(self, text: str, *, whole: bool) -> str:
        if not whole:
            text = _CUT_ESCAPE.sub("", text)
        text = _ESCAPED.sub(_plain, text)
        if self._known is not None:
            text = self._known.sub(_MASK, text)
        if not whole:
            text = text[: -self._longest or None]
        text = _BLOB.sub(lambda blob: f"[{len(blob[0])} characters of base64]", text)
        text = _NAMED.sub(lambda named: named[1] + _MASK, text)
        return _LOOKS_SECRET.sub(_MASK, text)

    def said(self, said: Said) -> Said:
        """A provider's error with all its strings made fit to pass on."""
        return Said(
            message=self.text(said.message),
            kind=self._word(said.kind),
            code=self._word(said.code),
            param=self._word(said.param),
            extra=self._members(said.extra, DEEPEST) if said.extra else None,
        )

    def _word(self, word: str | None) -> str | None:
        return None if word is None else self.text(word)[:200]

    def _members(self, members: Mapping[str, object], depth: int) -> dict[str, object]:
        few = itertools.islice(members.items(), MOST)
        return {self.text(str(name))[:200]: self._value(value, depth - 1) for name, value in few}

    def _value(self, value: object, depth: int) -> object:
        if isinstance(value, str):
            return self._word(value)
        if isinstance(value, dict):
            return self._members(value, depth) if depth else None
        if isinstance(value, list):
            return [self._value(item, depth - 1) for item in value[:MOST]] if depth else None
        return value


def _plain(escape: re.Match[str]) -> str:
    """The character that JSON wrote another way than it needs to; the escape where it does need it."""
    character = chr(int(escape[1], 16)) if escape[1] else "/"
    return character if character.isprintable() and character not in '"\\' else escape[0]


def secrets_of(config: Config) -> set[str]:
    """Every key, configured header value, text of an `extra_body` and host of a configuration."""
    found = {key.get_secret_value() for client in config.clients for key in client.keys}
    if config.operations.token is not None:
        found.add(config.operations.token.get_secret_value())
    found.update(value for value in config.traces.headers.values() if len(value) >= 8)
    places: list[Provider | Entry] = list(config.providers.values())
    places += [entry for model in config.models.values() for entry in model.providers]
    for place in places:
        found.update(item.key.get_secret_value() for item in place.api_keys)
        found.update(value for value in place.headers.values() if len(value) >= 8)
        found.update(filter(_no_word, _texts(place.extra_body)))
        if place.base_url:
            found.update(filter(None, (urlsplit(place.base_url).netloc, urlsplit(place.base_url).hostname)))
        if place.name:
            found.add(place.name)
    return found


def _no_word(text: str) -> bool:
    """Whether a text may be a secret: a short plain word (`disabled`) is none, and errors speak of it."""
    return 8 <= len(text) <= 512 and not (text.isalpha() and len(text) < 16)


def _texts(value: object) -> Iterator[str]:
    """All texts of a value of JSON, not its keys; a configuration bounds how deep it goes."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner)
