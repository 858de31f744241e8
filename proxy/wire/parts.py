"""Parts of content that both of OpenAI's dialects have in the same form."""

from typing import Final, NoReturn

from proxy.errors import Refusal
from proxy.wire import reading
from proxy.wire.conversation import Audio, CacheFor, Json

MARK: Final = "prompt_cache_breakpoint"
"""The member that asks for what came so far to be cached."""


def cache(part: Json) -> CacheFor | None:
    """For how long a part asks to be cached; half an hour is the short time."""
    mark = part.get(MARK)
    if not isinstance(mark, dict):
        return None
    return "long" if mark.get("ttl") not in (None, "30m") else "short"


def mark_of(cache: CacheFor) -> Json:
    """The value of `MARK`."""
    return {"mode": "explicit"} if cache == "short" else {"mode": "explicit", "ttl": "12h"}


def audio(part: Json, path: str) -> Audio:
    """Spoken input. Raises `Refusal` 400."""
    said = reading.record(part, "input_audio", path)
    where = f"{path}.input_audio"
    if said is None:
        raise reading.missing(where)
    return Audio(reading.needed(said, "format", where), reading.needed(said, "data", where))


def refuse(path: str) -> NoReturn:
    """What stands at `path` has no form in any other dialect. Raises `Refusal` 400."""
    raise Refusal(
        400,
        f"'{path}' cannot be passed on to the provider that serves this model.",
        param=path,
        code="unsupported_value",
    )
