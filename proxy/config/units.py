"""How the configuration writes durations, sizes, counts and secrets.

Durations are seconds (`5`, `0.5`) or text with a unit (`500ms`, `2s`, `5m`, `1h`, `1d`); sizes are bytes
(`65536`) or text (`64KB`, `32MiB`). Both become plain numbers, seconds as float and bytes as int, so no
other module converts units. Every refusal says what is allowed, and never repeats the value: it may be
a secret that stands in the wrong place.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
BYTES = {
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}
LONGEST = 366 * 86_400.0  # a duration beyond a year is a slip of the unit, and overflows some timers
LARGEST = 2**50

DURATION_FORM = "a number of seconds, or text such as 500ms, 2s, 5m, 1h"
SIZE_FORM = "a number of bytes, or text such as 64KB, 32MiB, 1GiB"

_QUANTITY = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)\s?([A-Za-z]*)", re.ASCII)
_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Unit:
    """Marks a field's type for the reference page: what its number counts."""

    name: Literal["duration", "size"]


@dataclass(frozen=True, slots=True)
class Derived:
    """Marks a field that is filled in from others when left out: says from what, for the reference page."""

    text: str


class Secret(SecretStr):
    """A key or password: shown as `***` by `repr`, `str` and dumps; `get_secret_value()` gives the text."""

    def _display(self) -> str:
        return "***" if self.get_secret_value() else ""


def duration(value: object) -> float:
    """Seconds of a written duration. Raises `ValueError` naming the allowed forms."""
    seconds = _quantity(value, SECONDS, DURATION_FORM)
    if not 0 <= seconds <= LONGEST:
        raise ValueError(f"{DURATION_FORM}, at most 366d")
    return seconds


def size(value: object) -> int:
    """Bytes of a written size. Raises `ValueError` naming the allowed forms."""
    count = _quantity(value, BYTES, SIZE_FORM)
    if not 0 <= count <= LARGEST or count != int(count):
        raise ValueError(f"{SIZE_FORM}, in whole bytes")
    return int(count)


def duration_text(seconds: float) -> str:
    """A duration as one would write it: in the largest unit that divides it (`90s`, `1h`, `500ms`)."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % SECONDS[unit] == 0:
            return f"{seconds / SECONDS[unit]:g}{unit}"
    return f"{seconds * 1000:g}ms" if 0 < seconds < 1 else f"{seconds:g}s"


def size_text(count: int) -> str:
    """A size as one would write it: in the largest unit that divides it (`32MiB`, `64KB`, `10B`)."""
    for unit, factor in sorted(BYTES.items(), key=lambda item: -item[1]):
        if count and count % factor == 0:
            return f"{count // factor}{unit}"
    return f"{count}B"


def quantity_text(value: Any, unit: Unit | None) -> str:
    """A number as one would write it, in a unit if it has one."""
    if unit is None:
        return f"{value:g}" if isinstance(value, float) else str(value)
    return duration_text(value) if unit.name == "duration" else size_text(int(value))


def _quantity(value: object, units: Mapping[str, float], form: str) -> float:
    if isinstance(value, str):
        return _text_quantity(value, units, form)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(form)
    return value


def _text_quantity(value: str, units: Mapping[str, float], form: str) -> float:
    match = _QUANTITY.fullmatch(value.strip())
    if match is None:
        raise ValueError(form)
    number, unit = match.groups()
    factor = units.get(unit) if unit else 1
    if factor is None:
        raise ValueError(f"{form} (units: {', '.join(units)})")
    # Rounded to the nanosecond: 0.001 has no exact binary form, and 500 of them should be 0.5.
    return round(float(number) * factor, 9)


def _number(value: object) -> object:
    if isinstance(value, bool):
        # YAML's `true` would otherwise count as 1.
        raise ValueError("a number, not true or false")  # noqa: TRY004  (pydantic collects only ValueError)
    return value


def _header_safe(secret: Secret) -> Secret:
    text = secret.get_secret_value().strip()  # mounted secret files end with a newline
    if not _HEADER_SAFE.fullmatch(text):
        raise ValueError("a key of visible ASCII characters without spaces, not empty")
    return Secret(text)


def _long_enough(secret: Secret) -> Secret:
    if len(secret.get_secret_value()) < 8:
        raise ValueError("a key of at least 8 characters")
    return secret


Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Count = Annotated[int, BeforeValidator(_number)]
Duration = Annotated[float, BeforeValidator(duration), Unit("duration")]
Size = Annotated[int, BeforeValidator(size), Unit("size")]
ProviderKey = Annotated[Secret, AfterValidator(_header_safe)]
ClientKey = Annotated[Secret, AfterValidator(_header_safe), AfterValidator(_long_enough)]
