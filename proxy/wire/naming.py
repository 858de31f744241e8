"""Names and ids of tools as the other side takes them: the same in, the same out, and back again.

OpenAI takes names of at most 64 of `[a-zA-Z0-9_-]`, ids of 64 characters; Anthropic takes ids of
`[a-zA-Z0-9_-]` only. What is legal passes as it is; what is not is cleaned, cut and made distinct by eight
hex digits of its SHA-256, which is the same for a call and its result, on every replica.
"""

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Mapping

from proxy.errors import Refusal

_LEGAL = re.compile(r"[a-zA-Z0-9_-]+")
_ILLEGAL = re.compile(r"[^a-zA-Z0-9_-]+")
LONGEST = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """What a tool is called by the client."""

    name: str
    custom: bool = False
    namespace: str | None = None


def legal(text: str, *, charset: bool = True) -> str:
    """`text` if it is a legal name or id, else one made of it. `charset`: only `[a-zA-Z0-9_-]` is legal."""
    if text and len(text) <= LONGEST and (not charset or _LEGAL.fullmatch(text)):
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{_ILLEGAL.sub('_', text)[: LONGEST - 9]}_{digest}"


def person(user: str) -> str:
    """What a client calls its end user, as every vendor takes it: as it is, else its whole SHA-256."""
    if len(user) <= LONGEST and _LEGAL.fullmatch(user):
        return user
    return hashlib.sha256(user.encode()).hexdigest()


def flattened(name: str, namespace: str | None) -> str:
    """The name of a tool of a namespace where there are none."""
    return legal(f"{namespace}__{name}" if namespace else name)


def origins(tools: Iterable[tuple[str, str | None, bool]]) -> Mapping[str, Origin]:
    """From the upstream's name of a tool to the client's, where they differ, of (name, namespace, custom).

    Raises `Refusal` 400 where two tools would have the same name there, and a call could be either's.
    """
    found: dict[str, Origin] = {}
    for name, space, custom in tools:
        origin = Origin(name, custom, space)
        other = found.setdefault(flattened(name, space), origin)
        if (other.name, other.namespace) != (name, space):
            raise Refusal(
                400,
                f"Two tools have the name '{flattened(name, space)}' once namespaces are part of the name.",
                param="tools",
                code="invalid_value",
            )
    return {sent: origin for sent, origin in found.items() if origin.custom or sent != origin.name}
