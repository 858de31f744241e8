"""The order of turns as the dialects demand it that have an order to keep.

Source: Anthropic's Messages API: roles alternate, a user begins, every call has its result at the head of
the very next turn. Chat Completions and Responses are freer, so what comes from there is put in order here.
"""

import itertools
from collections.abc import Sequence
from typing import Final

import msgspec

from proxy.errors import Refusal
from proxy.wire.conversation import Role, Text, ToolResult, ToolUse, Turn

INSTRUCTIONS: Final = frozenset({Role.SYSTEM, Role.DEVELOPER})
"""The roles of those who instruct."""

FILLER: Final = "."
"""What a user is made to say where somebody has to and nobody does; an empty text is refused."""

MISSING: Final = "no result provided"
"""The result of a call that has none."""


def split(turns: Sequence[Turn]) -> tuple[Sequence[Turn], Sequence[Turn]]:
    """The instructions that lead, and all that follows the first word of anybody else."""
    for place, turn in enumerate(turns):
        if turn.role not in INSTRUCTIONS:
            return turns[:place], turns[place:]
    return turns, ()


def merged(turns: Sequence[Turn]) -> list[Turn]:
    """Neighbours of one role as one turn. The phase stays where all of them share it."""
    return [_joined(list(group)) for _, group in itertools.groupby(turns, key=_role)]


def _role(turn: Turn) -> Role:
    return turn.role


def _joined(group: list[Turn]) -> Turn:
    first = group[0]
    if len(group) == 1:
        return first
    phase = first.phase if all(turn.phase == first.phase for turn in group) else None
    return Turn(first.role, tuple(block for turn in group for block in turn.blocks), phase)


def results_first(turn: Turn) -> Turn:
    """The turn with results of tools before everything else, both in the order they had."""
    results = [isinstance(block, ToolResult) for block in turn.blocks]
    if results == sorted(results, reverse=True):
        return turn
    given = [block for block, result in zip(turn.blocks, results, strict=True) if result]
    others = [block for block, result in zip(turn.blocks, results, strict=True) if not result]
    return msgspec.structs.replace(turn, blocks=(*given, *others))


def answered(turns: Sequence[Turn]) -> tuple[list[Turn], list[str]]:
    """Merged turns in which every call has a result in the next turn; and the ids that had none.

    Those get one that says so. Raises `Refusal` 400 for a result whose call is not in the turn before.
    """
    out: list[Turn] = []
    missing: list[str] = []
    waiting: dict[str, ToolUse] = {}
    for turn in turns:
        if turn.role in INSTRUCTIONS:
            out.append(turn)
            continue
        given = {block.id for block in turn.blocks if isinstance(block, ToolResult)}
        for name in given:
            if name not in waiting:
                raise _orphan(name)
        left = [call for name, call in waiting.items() if name not in given]
        missing += [call.id for call in left]
        out += _with_results(turn, left)
        waiting = {block.id: block for block in turn.blocks if isinstance(block, ToolUse)}
    if waiting:
        missing += waiting
        out.append(Turn(Role.USER, _made_up(list(waiting.values()))))
    return out, missing


def user_first(turns: Sequence[Turn]) -> list[Turn]:
    """The turns with a user before them where nobody or the assistant begins."""
    if turns and turns[0].role is Role.USER:
        return list(turns)
    return [Turn(Role.USER, (Text(FILLER),)), *turns]


def _with_results(turn: Turn, left: list[ToolUse]) -> list[Turn]:
    if not left:
        return [turn]
    if turn.role is Role.USER:
        return [msgspec.structs.replace(turn, blocks=(*_made_up(left), *turn.blocks))]
    return [Turn(Role.USER, _made_up(left)), turn]


def _made_up(calls: list[ToolUse]) -> tuple[ToolResult, ...]:
    return tuple(ToolResult(call.id, (Text(MISSING),), error=True, custom=call.custom) for call in calls)


def _orphan(name: str) -> Refusal:
    return Refusal(
        400,
        f"No tool call found for the tool result with the id '{name}': "
        "it has to be in the assistant's message before it.",
        code="invalid_value",
    )
