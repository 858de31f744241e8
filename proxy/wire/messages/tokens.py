"""Token counts of the Messages dialect, there and back.

Source: Anthropic's API reference. `input_tokens` are those that neither came from the cache nor went there;
all three together are the prompt. Counts in a stream are totals: a later one replaces an earlier one, and
what it leaves out stays.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from proxy.wire.conversation import Json
from proxy.wire.model import Usage, tokens

TIER: Final[Mapping[str, str]] = MappingProxyType({"standard": "default", "priority": "priority"})
"""Service tiers of replies in OpenAI's words."""
TIER_HERE: Final[Mapping[str, str]] = MappingProxyType({said: here for here, said in TIER.items()})


class _Details(msgspec.Struct):
    thinking_tokens: int | None = None


class Tokens(msgspec.Struct):
    """A `usage` object, as far as it is read."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: _Details | None = None
    service_tier: str | None = None


class Tally:
    """What the `usage` objects of one reply come to."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.tier: str | None = None
        self._fresh = self._cached = self._written = self._output = self._thought = 0

    def take(self, told: Tokens | None) -> None:
        """One more `usage` object."""
        if told is None:
            return
        self._fresh = _or(told.input_tokens, self._fresh)
        self._cached = _or(told.cache_read_input_tokens, self._cached)
        self._written = _or(told.cache_creation_input_tokens, self._written)
        self._output = _or(told.output_tokens, self._output)
        if told.output_tokens_details is not None:
            self._thought = _or(told.output_tokens_details.thinking_tokens, self._thought)
        self.tier = TIER.get(told.service_tier or "", self.tier)
        self.usage = Usage(
            input=tokens(self._fresh + self._cached + self._written),
            output=self._output,
            cached=self._cached,
            reasoning=self._thought,
            written=self._written,
        )


def _or(count: int | None, before: int) -> int:
    return before if count is None else tokens(count)


def totals(usage: Usage) -> Json:
    """The counts of a `message_delta`, all its keys."""
    return {
        "input_tokens": max(0, usage.input - usage.cached - usage.written),
        "cache_creation_input_tokens": usage.written,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.output,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
        "server_tool_use": None,
    }


def whole(usage: Usage, tier: str | None) -> Json:
    """The `usage` of a message, all its keys. `tier` is in OpenAI's words."""
    return {
        **totals(usage),
        "cache_creation": None,
        "inference_geo": None,
        "service_tier": TIER_HERE.get(tier or ""),
    }
