"""What a provider says, made fit for a caller's eyes: no key, no address, no endless text.

Error bodies are written by others and may repeat whatever was sent to them. Known secrets and hosts (all
that the configuration holds) are removed wherever they stand, and so is what only looks like a secret:
API keys by their prefixes, bearer tokens, JSON web tokens, URLs, e-mail addresses.
"""

import itertools
import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from proxy.config.settings import Config, Entry, Provider
from proxy.errors import Said

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
    r"|\b(?:[Bb]earer|[Bb]asic)\s{1,9}[A-Za-z0-9._~+/=-]{6,}"
    r"|(?<![\w-])eyJ[\w-]{8,}+\.[\w-]++\.[\w-]*"
    r"|(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,64}\.[\w.-]+"
)  # each alternative can begin only where its predecessor could not: linear in any text


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
        known = sorted((secret for secret in secrets if len(secret) >= 4), key=len, reverse=True)
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

        Not `whole`: the end was cut off, and goes as far as half a secret may stand there.
        """
        text = said.decode("utf-8", "replace")
        if self._known is not None:
            text = self._known.sub(_MASK, text)
        if not whole:
            text = text[: -self._longest or None]
        text = _BLOB.sub(lambda blob: f"[{len(blob[0])} characters of base64]", text)
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


def secrets_of(config: Config) -> set[str]:
    """Every key, configured header value and host of a configuration."""
    found = {key.get_secret_value() for client in config.clients for key in client.keys}
    if config.operations.token is not None:
        found.add(config.operations.token.get_secret_value())
    places: list[Provider | Entry] = list(config.providers.values())
    places += [entry for model in config.models.values() for entry in model.providers]
    for place in places:
        found.update(item.key.get_secret_value() for item in place.api_keys)
        found.update(value for value in place.headers.values() if len(value) >= 8)
        if place.base_url:
            found.update(filter(None, (urlsplit(place.base_url).netloc, urlsplit(place.base_url).hostname)))
        if place.name:
            found.add(place.name)
    return found
