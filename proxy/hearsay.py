"""What providers say of attempts that failed, made fit for operators: short, and nothing of a prompt. Pure.

Providers quote what they were sent: `Invalid value: 'my secret'`. Whatever of their words stands in the
request as well is left out, unless it is a word that errors are made of anyway or part of the target's own
name. What a provider has split up or encoded anew is not recognised. Secrets have been removed before
(`redaction`).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from proxy.errors import Fault, FaultKind

LONGEST: Final = 200
"""Characters that are kept of one failure."""

READ: Final = 400
"""Characters of a provider's message that are looked at."""

COMPARED: Final = 16 * 1024
"""Bytes of a request in which words are looked for. Of a longer one nobody knows what was quoted: nothing but
words that errors are made of is kept."""

LOOKS: Final = 128
"""Rows of characters that are looked for; what comes then is left out. With `COMPARED` that takes a
millisecond at most, some 100 us mostly, and only where an attempt has failed."""

RUN, FOREIGN_RUN = 6, 2
"""Characters in a row, ASCII and other, that are taken for quoted though what stands around them is not."""

_OMITTED = "\N{HORIZONTAL ELLIPSIS}"
_PARTS = re.compile(r"[A-Za-z0-9]+|[^\x00-\x7f]+")
_OMISSIONS = re.compile(rf"{_OMITTED}(?:[^A-Za-z0-9]*{_OMITTED})+")
_ESCAPED = re.compile(r"\\+u([0-9a-f]{4})")
_PLAIN = frozenset(
    """
    a about above access account active again all allowed already an and any api application are argument
    array as at audio authentication authorization available bad balance be because been before being
    below between billing blocked body boolean busy but by call cannot capacity characters chat check code
    completion completions config configuration connection contact content context could count create
    credential credentials credit credits current currently daily data deployment deprecated did disabled
    do does down due during each either empty enabled engine error errors exceed exceeded exceeds exist
    exists expected expired failed failure feature field file filter for format forbidden found free from
    function gateway greater group has have hour http i id if image in incorrect incomplete input
    insufficient integer internal into invalid is it item json key keys large later least length less
    level limit limits list load loaded long longer many max maximum may message messages min minimum
    minute minutes missing model models month more must name need no not null number object of off on one
    only operation or organization organisation other out output over overloaded owner page param
    parameter parameters pass path payload payment per permission permissions plan please policy project
    prompt provide provided provider quota range rate reach reached received redacted region removed
    request requested requests required requires resource response responses retired retry role rpm safety
    second seconds see server service settings size small some space status stop stream string
    subscription support supported system temporarily temperature text than that the then there these they
    this those tier time timeout to token tokens too tool tools tpm try type unable unauthorized
    unavailable unexpected unknown unsupported until up upgrade upstream url usage use used user using
    valid validation value values version violation wait was were when which will with within without
    wrong you your
    """.split()  # noqa: SIM905  (a list of so many words is read as text)
)
"""What errors are made of: it tells nothing of a request to find it there too."""


def heard(fault: Fault, request: Mapping[str, msgspec.Raw], target: str) -> str:
    """What is to be kept of `fault`, in at most `LONGEST` characters; "" where its reason says it all.

    `request` are the fields of the request, `target` is the label of who was asked.
    """
    said = fault.said
    if said is None:
        return "" if fault.kind is FaultKind.STATUS else _cut(fault.detail)
    quoted = _Quoted(request, target)
    words = (said.message[:READ], said.kind, said.code, said.param)
    return _cut("; ".join(dict.fromkeys(quoted.without(one) for one in words if one)))


class _Quoted:
    """What of a provider's words stands in a request."""

    def __init__(self, request: Mapping[str, msgspec.Raw], target: str) -> None:
        values = request.values()
        self._known = sum(memoryview(value).nbytes for value in values) <= COMPARED
        self._text = _unescaped(b"\n".join(values)) if self._known else ""
        self._own = frozenset(_PARTS.findall(target.lower()))
        self._left = LOOKS

    def without(self, words: str) -> str:
        """`words` with an ellipsis for what was quoted, or may have been."""
        return _OMISSIONS.sub(_OMITTED, _PARTS.sub(self._shown, words))

    def _shown(self, found: re.Match[str]) -> str:
        part = found[0].lower()
        if part in _PLAIN or part in self._own or (part.isdecimal() and len(part) <= 2):
            return found[0]
        runs = _runs(part)
        self._left -= len(runs)
        quoted = not self._known or self._left < 0 or any(run in self._text for run in runs)
        return _OMITTED if quoted else found[0]


def _runs(part: str) -> Sequence[str]:
    """All rows of characters in `part` that would be taken for quoted; itself where it is shorter."""
    length = RUN if part.isascii() else FOREIGN_RUN
    return [part[at : at + length] for at in range(max(len(part) - length, 0) + 1)]


def _unescaped(body: bytes) -> str:
    """A body in small letters, with all characters as themselves, however deep JSON is within it."""
    text = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), body.decode("utf-8", "replace").lower())
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").lower()


def _cut(text: str) -> str:
    """As one line that can be printed, and no longer than may be."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    line = " ".join(line.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + _OMITTED
