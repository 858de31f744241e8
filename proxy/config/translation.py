"""Settings of the translation between dialects.

What a model takes is known by its provider's kind and its name (`profiles`); here an operator says where
that is wrong, for a provider or for a single entry.
"""

from typing import Any, Self

from pydantic import Field

from proxy.config.fields import Positive
from proxy.config.section import Section
from proxy.profiles import QUIRKS, History, OutputCap, Thinks


class Translation(Section):
    """Between dialects: what may be lost on the way."""

    strict: bool = Field(
        default=False,
        description="Whether a request of which something would be lost is refused, as with the header "
        "`x-apex-strict: 1`.",
    )
    drop_hosted_tools: bool = Field(
        default=False,
        description="Whether tools that only their vendor runs (web search, shells) are left out where "
        "they cannot be said, instead of refusing the request.",
    )


class Quirks(Section):
    """What models of a provider take, where that differs from what is known of their kind.

    Only translated requests are written by them; what passes in its own dialect is not looked at.
    """

    output_cap: OutputCap | None = Field(default=None, description=QUIRKS["output_cap"])
    max_output: Positive | None = Field(default=None, description=QUIRKS["max_output"])
    developer_role: bool | None = Field(default=None, description=QUIRKS["developer_role"])
    system_anywhere: bool | None = Field(default=None, description=QUIRKS["system_anywhere"])
    mid_system: bool | None = Field(default=None, description=QUIRKS["mid_system"])
    sampling: bool | None = Field(default=None, description=QUIRKS["sampling"])
    top_k: bool | None = Field(default=None, description=QUIRKS["top_k"])
    seed_and_penalties: bool | None = Field(default=None, description=QUIRKS["seed_and_penalties"])
    thinks: Thinks | None = Field(default=None, description=QUIRKS["thinks"])
    reasoning_history: History | None = Field(default=None, description=QUIRKS["reasoning_history"])
    forced_choice: bool | None = Field(default=None, description=QUIRKS["forced_choice"])
    json_schema: bool | None = Field(default=None, description=QUIRKS["json_schema"])
    json_word: bool | None = Field(default=None, description=QUIRKS["json_word"])
    images: bool | None = Field(default=None, description=QUIRKS["images"])
    files: bool | None = Field(default=None, description=QUIRKS["files"])
    audio: bool | None = Field(default=None, description=QUIRKS["audio"])
    tool_images: bool | None = Field(default=None, description=QUIRKS["tool_images"])
    custom_tools: bool | None = Field(default=None, description=QUIRKS["custom_tools"])
    cache_marks: bool | None = Field(default=None, description=QUIRKS["cache_marks"])
    openai_hints: bool | None = Field(default=None, description=QUIRKS["openai_hints"])
    stream_only: bool | None = Field(default=None, description=QUIRKS["stream_only"])

    @property
    def said(self) -> dict[str, Any]:
        """What was said, by name."""
        return self.model_dump(exclude_none=True)

    def over(self, other: "Quirks") -> Self:
        """These, and what `other` says over them."""
        return self.model_copy(update=other.said)
