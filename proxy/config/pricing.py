"""The settings of what requests cost."""

from typing import Annotated

from pydantic import Field

from proxy.config.section import Section
from proxy.config.units import Number

Dollars = Annotated[Number, Field(ge=0)]


class Price(Section):
    """What a model costs at one place, in dollars for a million tokens. It goes before what is looked up."""

    input: Dollars = Field(description="Input tokens.")
    output: Dollars = Field(default=0.0, description="Output tokens, reasoning included.")
    cached: Dollars | None = Field(
        default=None, description="Input tokens read from a cache; as other input unless given."
    )
    written: Dollars | None = Field(
        default=None, description="Input tokens written to a cache; as other input unless given."
    )


class Costs(Section):
    """What requests cost, estimated from their tokens."""

    lookup: bool = Field(
        default=True,
        description="Look prices up in the `genai-prices` package, for entries without a `price`. It is "
        "asked once for each configuration, in a process of its own; nothing is fetched.",
    )
    header: bool = Field(
        default=False,
        description="Say what an answer has cost in the header `x-apex-cost`, in dollars; not of streams.",
    )
