"""What the program says about itself."""

from typing import Annotated, Literal

from pydantic import Field

from proxy.config.section import Section
from proxy.config.units import Size


class Log(Section):
    """What the program says about itself, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least important lines that are written."
    )
    format: Literal["auto", "json", "console"] = Field(
        default="auto", description="`auto` writes for people on a terminal and JSON everywhere else."
    )
    bodies: bool = Field(
        default=False,
        description="Whether request lines hold what was asked and answered (`body_in`, `body_out`): "
        "prompts, in a log. Of a stream it is what its events say, joined. The keys and addresses of the "
        "configuration and what looks like a secret are removed where they stand in one piece, pictures and "
        "files only named; a secret that a text spells out, or encodes once more, stays. To be turned on "
        "and off by a reload, while something is looked into.",
    )
    body_limit: Annotated[Size, Field(gt=0, le=65536)] = Field(
        default=4096, description="How much of each is kept."
    )
