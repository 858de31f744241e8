"""What providers say of attempts that failed, made fit for operators: the words of errors, and no more. Pure.

Providers quote what they were sent, and what a model said, in any spelling: `Invalid value: 'my secret'`. Who
looks for quotes misses some, so nothing is looked for: of a message those words are kept that errors are made
of, and the target's own names; all else is left out, numbers too. Secrets were removed before (`redaction`).
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from proxy.errors import Fault, FaultKind

LONGEST: Final = 200
"""Characters that are kept of one failure."""

READ: Final = 2048
"""Characters of a provider's message that are looked at."""

PLAIN: Final = frozenset(
    """
    a about above accept accepted accepts access account additional again all allow allowed allows already
    an and any api application are argument array as at audio authentication authorization available bad
    balance be because been before being below between billing blocked body boolean busy but by bytes call
    can can't cannot capacity characters chat check code completion completions config configuration
    connection contact content context correct could couldn't count create credential credentials credit
    credits current currently daily data decode default deployment deprecated details did didn't different
    disabled do documentation does doesn't don't down due during each either empty enabled endpoint engine
    enough ensure entity error errors exceed exceeded exceeds exception exhausted exist exists expected
    expired failed failing failure field file filter find for forbidden format found free from function
    gateway greater had has hasn't have haven't header headers higher hour however http id if image in
    incomplete incorrect increase information input instead insufficient integer internal into invalid is
    isn't it it's item items json key keys large later least length less level limit limits list load loaded
    long longer low lower many max maximum may message messages method min minimum minute minutes missing
    model models moment month more most must name need no not now null number object occurred of off on one
    only operation or organisation organization other out outage output over overloaded owner param
    parameter parameters parse parsed parsing pass payload payment per permission permissions plan please
    policy processing project prompt properties property provide provided provider quota range rate reach
    reached reaches received redacted reduce refused region rejected removed reported request requested
    requests required requires resource response responses resulted retired retry role route rpm safety
    schema second seconds see sent server service settings should size some sorry status stop stream string
    subscription such supplied support supported supports system temperature temporarily text than that the
    then there these they this those tier time timed timeout to token tokens too tool tools total tpm try
    type unable unauthorized unavailable unexpected unknown unprocessable unrecognised unrecognized
    unsupported until up upgrade upstream url usage use used user using valid validation value values
    version violation wait was wasn't were when which while will with within without won't wrong you you've
    your
    """.split()  # noqa: SIM905  (a list of so many words is read as text)
)
"""What errors are made of: words that tell of no person and no topic, wherever a provider has them from."""

_AROUND = "`'\"()[],.:;!?"
"""What may stand around a word that is kept."""

_MOST_AROUND = 4
"""Characters of `_AROUND` at one word; more of them are no punctuation."""

_OMITTED = "\N{HORIZONTAL ELLIPSIS}"
_JOINTS = re.compile(r"[-_/]")
_IDENTIFIER = re.compile(r"[A-Za-z0-9_.\-\[\]]{1,64}")
_NUMBERS = re.compile(r"[0-9][_.\-]+[0-9]")
_LONG_RUN = re.compile(r"[A-Za-z0-9]{21,}")
_HUMPS = re.compile(r"(?:[A-Z][a-z]+)+")

_MOST_DIGITS = 5
"""Digits of an identifier: a provider's own code has no more, a date and a telephone number have."""


def heard(fault: Fault, names: Iterable[str]) -> str:
    """What is to be kept of `fault`, in at most `LONGEST` characters; "" where its reason says it all.

    `names` are those of the target, as operators have written them.
    """
    said = fault.said
    if said is None:
        return "" if fault.kind is FaultKind.STATUS else _cut(fault.detail)
    own = frozenset(name.lower() for name in names)
    kept = [" ".join(_words(said.message[:READ], own))]
    kept += [word for word in (said.kind, said.code, said.param) if word and _is_identifier(word)]
    return _cut("; ".join(dict.fromkeys(filter(None, kept))))


def _is_identifier(word: str) -> bool:
    """Whether `word` can be the name of an error or a field: no text, no number of a person, no key."""
    return (
        _IDENTIFIER.fullmatch(word) is not None
        and sum(letter.isdigit() for letter in word) <= _MOST_DIGITS
        and _NUMBERS.search(word) is None
        and all(_HUMPS.fullmatch(run) for run in _LONG_RUN.findall(word))
    )


def _words(message: str, own: frozenset[str]) -> Iterator[str]:
    """The words that are kept, and one ellipsis for all that stood between two of them."""
    omitted = False
    for word in message.split():
        if _is_kept(word, own):
            yield word
            omitted = False
        elif not omitted:
            yield _OMITTED
            omitted = True


def _is_kept(word: str, own: frozenset[str]) -> bool:
    """Whether all of `word` may be kept: half of one would tell of the other half."""
    bare = word.strip(_AROUND)
    if len(word) - len(bare) > _MOST_AROUND:
        return False
    plain = bare.lower()
    return plain in own or (bare.isascii() and PLAIN.issuperset(_JOINTS.split(plain)))


def _cut(text: str) -> str:
    """No longer than may be, in whole words."""
    if len(text) <= LONGEST:
        return text
    whole = text[: LONGEST - 1].rpartition(" ")[0].rstrip(f" {_OMITTED}")
    return f"{whole} {_OMITTED}".lstrip()
