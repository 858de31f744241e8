"""What a model can do by its name: models called `claude-...` learn and unlearn with their generations.

Rule: other names are as lenient as the oldest and the newest together, but for system messages in the middle,
which only models that are known to take them do.
"""

import re

_NEW = re.compile(r"claude-[a-z]+-(\d+)(?:-(\d{1,2}))?(?![0-9])", re.ASCII)
_OLD = re.compile(r"claude-(\d)(?:-(\d))?-[a-z]+", re.ASCII)


def generation(model: str) -> tuple[int, int] | None:
    """Of `claude-opus-4-8` it is (4, 8), of any other name None."""
    found = _NEW.search(model) or _OLD.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else None


def _before(model: str, first: tuple[int, int]) -> bool:
    found = generation(model)
    return found is None or found < first


def samples(model: str) -> bool:
    """Whether it takes temperature, top_p and top_k."""
    return _before(model, (4, 7))


def prefills(model: str) -> bool:
    """Whether the conversation may end with the beginning of its answer."""
    return _before(model, (4, 6))


def budgets(model: str) -> bool:
    """Whether thinking may be asked for by a budget."""
    return _before(model, (4, 7))


def adapts(model: str) -> bool:
    """Whether thinking may be left to it."""
    found = generation(model)
    return found is None or found >= (4, 6)


def hears_system(model: str) -> bool:
    """Whether a system message may stand between the others."""
    return not _before(model, (4, 8))
