"""What a provider says, made fit for a caller's eyes: no key, no address, no endless text.

Error bodies are written by others and may repeat whatever was sent to them. Known secrets and hosts (all
that the configuration holds) are removed wherever they stand, and so is what only looks like a secret:
API keys by their prefixes, bearer tokens, JSON web tokens, URLs, e-mail addresses.
"""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from proxy.config.settings import Config, Entry, Provider
from proxy.errors import Said

LONGEST = 2048
"""Characters of a message that are passed on."""

_MASK = "[redacted]"
_LOOKS_SECRET = re.compile(
    r"https?://[^\s\"'<>]+"
    r"|\b(?:sk|pk|rk|key|xai|gsk|hf)[-_][A-Za-z0-9_\-*.]{6,}"
    r"|\b(?:[Bb]earer|[Bb]asic)\s+[A-Za-z0-9._~+/=-]{6,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"
    r"|[\w.+-]+@[\w-]+\.[\w.-]+"
)


class Redactor:
    """Removes the secrets of one configuration, and what looks like one."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = sorted({secret for secret in secrets if len(secret) >= 4}, key=len, reverse=True)
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

    def said(self, said: Said) -> Said:
        """A provider's error with all its strings made fit to pass on."""
        return Said(
            message=self.text(said.message),
            kind=self._word(said.kind),
            code=self._word(said.code),
            param=self._word(said.param),
            extra={self.text(name): self._value(value) for name, value in said.extra.items()}
            if said.extra
            else None,
        )

    def _word(self, word: str | None) -> str | None:
        return None if word is None else self.text(word)[:200]

    def _value(self, value: object) -> object:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(name)): self._value(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self._value(item) for item in value]
        return value


def secrets_of(config: Config) -> set[str]:
    """Every key, configured header value and host of a configuration."""
    found = {key.get_secret_value() for client in config.clients for key in client.keys}
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
