"""How much to think, as models of the Messages dialect are told.

Source: Anthropic's documentation of adaptive and extended thinking. Newer models decide themselves how much
and take an effort; older ones take a budget of at least 1024 tokens, which counts against `max_tokens`. A
model that is made to call a tool may not think, nor one that is to go on from a turn without its thinking.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from proxy.profiles import Quirks
from proxy.wire.conversation import Effort, Json, Reasoning
from proxy.wire.efforts import effort_of
from proxy.wire.losses import Losses

BUDGETS: Final[Mapping[Effort, int]] = MappingProxyType(
    {
        "minimal": 1024,
        "low": 2048,
        "medium": 4096,
        "high": 16_384,
        "xhigh": 24_576,
        "max": 32_000,
    }
)
"""Tokens to think with, for models that take a budget."""
LEAST: Final = 1024
ROOM: Final = 4096
"""Tokens that are left for the answer where the bound is ours: it is raised only where less than half of the
thinking would fit, for a model may have no more to give."""
_OFF: Final[Mapping[str, str]] = MappingProxyType({"type": "disabled"})


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """The fields that ask for thinking, and the bound on the output that goes with them."""

    max_tokens: int
    thinking: Json | None = None
    effort: str | None = None

    @property
    def active(self) -> bool:
        """Whether the model is asked to think."""
        return self.thinking is not None and self.thinking["type"] != "disabled"


@dataclasses.dataclass(frozen=True, slots=True)
class Situation:
    """What stands in the way of thinking.

    `forced`: a tool has to be called. `unthought`: the turn to go on from has lost its thinking.
    `bound` is the client's own bound on the output, None where it set none.
    """

    forced: bool
    unthought: bool
    bound: int | None


def ask(reasoning: Reasoning, situation: Situation, quirks: Quirks, losses: Losses) -> Asked:
    """What to ask of a model."""
    bound = situation.bound if situation.bound is not None else quirks.max_output
    if reasoning.effort is None and reasoning.budget is None:
        return Asked(bound)
    if quirks.thinks == "no":
        if reasoning.effort != "none":
            losses.drop("reasoning.effort")
        return Asked(bound)
    if reasoning.effort == "none":
        return Asked(bound, dict(_OFF))
    if quirks.thinks == "adaptive":
        return _adaptive(reasoning, situation, bound, losses)
    return _manual(reasoning, situation, bound, losses)


def _adaptive(reasoning: Reasoning, situation: Situation, bound: int, losses: Losses) -> Asked:
    effort = reasoning.effort or effort_of(reasoning.budget or 0)
    effort = "low" if effort == "minimal" else effort
    if situation.forced:
        losses.change("reasoning.effort")
        return Asked(bound, None, effort)
    thinking: Json = {"type": "adaptive"}
    if reasoning.shown is not None:
        thinking["display"] = "summarized" if reasoning.shown else "omitted"
    return Asked(bound, thinking, effort)


def _manual(reasoning: Reasoning, situation: Situation, bound: int, losses: Losses) -> Asked:
    if situation.forced or situation.unthought:
        losses.drop("reasoning.effort")
        return Asked(bound)
    wanted = max(LEAST, reasoning.budget or BUDGETS.get(reasoning.effort or "medium", LEAST))
    if situation.bound is None:
        room = bound - ROOM
        if room < wanted // 2:
            return Asked(wanted + ROOM, _budget(wanted))
        return Asked(bound, _budget(min(wanted, room)))
    if bound <= LEAST:
        losses.drop("reasoning.effort")
        return Asked(bound)
    given = min(wanted, max(LEAST, bound * 3 // 4))
    if given < wanted:
        losses.clamp("reasoning.effort")
    return Asked(bound, _budget(given))


def _budget(tokens: int) -> Json:
    return {"type": "enabled", "budget_tokens": tokens}
