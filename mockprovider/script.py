"""Script: an ordered list of rules that say which requests are answered how; the first that fits decides.

Rule: a script is data and never changes; what has been counted (for `nth`, `every`, `after_n`) and the dice
(for `fraction`) belong to a `Decider`, so that the same script, seed and requests give the same life again.
A script is checked when it is loaded, and each mistake is a line that says where it is, what was found and
what is allowed there: a fault that is silently ignored would make a test pass for the wrong reason.

    default: {delay_headers_s: 0.01}
    rules:
      - match: {model: "gpt-*", key: sk-mock-a, every: 3}
        then: {status: 429, headers: {retry-after: 7}}
      - match: {after_s: 5, before_s: 15}
        then: {cut_before_headers: true, cut_with: rst}
"""

import difflib
import random
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Annotated, Final, TypeVar

import msgspec
import yaml

from mockprovider.behaviour import HEALTHY, Behaviour, Count, Flavour, Positive, Seconds, Wait

_T = TypeVar("_T", bound=msgspec.Struct)
_QUOTES = "'`\""


class ScriptError(ValueError):
    """A script or an inline fault that cannot be used. Its text has a line for each mistake."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a rule can see of a request. `key` is the credential itself, `key_id` its public name."""

    path: str
    model: str
    key: str
    key_id: str
    stream: bool
    reused: bool

    def __repr__(self) -> str:
        """All but the credential."""
        return f"Facts({self.path}, model={self.model}, key_id={self.key_id})"


class Match(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which requests a rule is for. Every condition that is given must hold; none given fits all.

    `model`, `path` and `key` are shell patterns (`*`, `?`); `key` also fits the key's id. `reused` is whether
    the connection has served a request before. `after_s` and `before_s` are seconds since the script began
    (with `period_s`, since the last full period). The rest count the requests that fit all of the above, from
    1, and that no earlier rule took: `nth` is one of them, `every` each so-manieth, `after_n` all but the
    first n, `first_n` only these, `fraction` a share of them by the dice.
    """

    model: str | None = None
    path: str | None = None
    key: str | None = None
    stream: bool | None = None
    reused: bool | None = None
    after_s: Seconds = 0.0
    before_s: Seconds | None = None
    period_s: Annotated[float, msgspec.Meta(gt=0)] | None = None
    nth: Positive | None = None
    every: Positive | None = None
    after_n: Count = 0
    first_n: Count | None = None
    fraction: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None

    def fits(self, facts: Facts, elapsed_s: float) -> bool:
        """Whether the request itself and its time are what the rule is for."""
        return self._names(facts) and self._flags(facts) and self._window(elapsed_s)

    def _names(self, facts: Facts) -> bool:
        return (
            (self.model is None or fnmatchcase(facts.model, self.model))
            and (self.path is None or fnmatchcase(facts.path, self.path))
            and (self.key is None or fnmatchcase(facts.key, self.key) or facts.key_id == self.key)
        )

    def _flags(self, facts: Facts) -> bool:
        return (self.stream is None or self.stream == facts.stream) and (
            self.reused is None or self.reused == facts.reused
        )

    def _window(self, elapsed_s: float) -> bool:
        now = elapsed_s if self.period_s is None else elapsed_s % self.period_s
        return now >= self.after_s and (self.before_s is None or now < self.before_s)

    def turn(self, count: int, dice: random.Random) -> bool:
        """Whether the `count`th fitting request (from 1) is one of those the rule acts on."""
        return (
            (self.nth is None or count == self.nth)
            and (self.every is None or count % self.every == 0)
            and count > self.after_n
            and (self.first_n is None or count <= self.first_n)
            and (self.fraction is None or dice.random() < self.fraction)
        )


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happens to the requests that fit."""

    match: Match = Match()
    then: Behaviour = HEALTHY


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rules, the behaviour when none fits, the ids that `GET /models` lists, and whose chat this is.

    `flavour`: `generic` takes what makes sense. The others also refuse what that maker refuses, in its words
    and shape, and have its ways: `openai` knows its fields and limits; `deepseek` takes only text and wants
    reasoning back; `dashscope` repeats empty ids and names; `vllm` wants the system message first.
    """

    rules: tuple[Rule, ...] = ()
    default: Behaviour = HEALTHY
    models: tuple[str, ...] = ("mock-model",)
    flavour: Flavour = "generic"


@dataclass(frozen=True, slots=True)
class Decision:
    """The behaviour for one request, and what its delays depend on."""

    behaviour: Behaviour
    elapsed_s: float
    count: int
    dice: random.Random

    def seconds(self, wait: Wait) -> float:
        """A delay as a plain number of seconds."""
        return wait if isinstance(wait, float | int) else wait.at(self.elapsed_s, self.count, self.dice)


class Decider:
    """A script being played: its counters and its dice."""

    def __init__(self, script: Script, dice: random.Random) -> None:
        self.script = script
        self._dice = dice
        self._counts = [0] * len(script.rules)
        self._total = 0

    def decide(self, facts: Facts, elapsed_s: float) -> Decision:
        """The behaviour for a request that arrived `elapsed_s` seconds after the script began."""
        self._total += 1
        for place, rule in enumerate(self.script.rules):
            if rule.match.fits(facts, elapsed_s):
                self._counts[place] += 1
                count = self._counts[place]
                if rule.match.turn(count, self._dice):
                    return Decision(rule.then, elapsed_s - rule.match.after_s, count, self._dice)
        return Decision(self.script.default, elapsed_s, self._total, self._dice)

    def inline(self, behaviour: Behaviour, elapsed_s: float) -> Decision:
        """The decision for a request that brought its own behaviour."""
        return Decision(behaviour, elapsed_s, 1, self._dice)


def load(text: str) -> Script:
    """Read a script in YAML or JSON. Raises ScriptError."""
    data = _parse(text, "script")
    return Script() if data is None else _convert(data, Script, "script")


def inline(text: str) -> Behaviour:
    """Read the behaviour that one request asks for. Raises ScriptError.

    Either a JSON object, or `name=value` pairs separated by `;`, where a value is JSON or else plain text and
    a dotted name reaches inside: `status=429; headers.retry-after=7`.
    """
    text = text.strip()
    data = _parse(text, "fault") if text.startswith("{") else _pairs(text)
    return _convert(data, Behaviour, "fault")


def _parse(text: str, where: str) -> object:
    if text.lstrip().startswith("{"):
        with suppress(msgspec.DecodeError):  # JSON is quicker read; the rest may be YAML's flow style
            return msgspec.json.decode(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ScriptError(_syntax(error, text, where)) from None


def _syntax(error: yaml.YAMLError, text: str, where: str) -> str:
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "something else"
    if mark and text[mark.index : mark.index + 1] == "\t":
        reason = "a tab; YAML is indented with spaces"
    line, column = (f"line {mark.line + 1}: ", f" at column {mark.column + 1}") if mark else ("", "")
    return f"{where}: {line}not YAML or JSON{column}: {reason.removeprefix('but ')}"


def _pairs(text: str) -> dict[str, object]:
    data: dict[str, object] = {}
    for pair in filter(None, (part.strip() for part in text.split(";"))):
        name, sign, value = pair.partition("=")
        if not sign:
            raise ScriptError(f"fault: found '{pair}', allowed: name=value; name=value or a JSON object")
        _put(data, name.strip(), value.strip())
    return data


def _put(data: dict[str, object], name: str, value: str) -> None:
    outer, dot, inner = name.partition(".")
    if dot:
        nested = data.setdefault(outer, {})
        if isinstance(nested, dict):
            _put(nested, inner, value)
        return
    try:
        data[name] = msgspec.json.decode(value)
    except msgspec.DecodeError:
        data[name] = value


def _convert(data: object, shape: type[_T], where: str) -> _T:
    try:
        return msgspec.convert(data, shape)
    except msgspec.ValidationError:
        raise ScriptError("\n".join(_mistakes(data, shape, where))) from None


_NESTED: Final[Mapping[tuple[type[msgspec.Struct], str], type[msgspec.Struct]]] = MappingProxyType(
    {
        (Script, "rules"): Rule,
        (Script, "default"): Behaviour,
        (Rule, "match"): Match,
        (Rule, "then"): Behaviour,
    }
)
"""What is looked at field by field: msgspec tells the first mistake of a value and no other."""


def _mistakes(data: object, shape: type[msgspec.Struct], where: str) -> list[str]:
    """A line for each field that is wrong; where none is, for what they are together."""
    fields = data if isinstance(data, dict) else {}
    found = [line for name, value in fields.items() for line in _in_field(name, value, shape, where)]
    return found or _mistake(data, shape, where)


def _in_field(name: str, value: object, shape: type[msgspec.Struct], where: str) -> list[str]:
    inner = _NESTED.get((shape, name))
    if inner is not None and isinstance(value, dict):
        return _mistakes(value, inner, f"{where}.{name}")
    if inner is Rule and isinstance(value, list):
        return [line for place, rule in enumerate(value) for line in _mistakes(rule, Rule, f"rules[{place}]")]
    return _mistake({name: value}, shape, where)


def _mistake(data: object, shape: type[msgspec.Struct], where: str) -> list[str]:
    try:
        msgspec.convert(data, shape)
    except msgspec.ValidationError as error:
        return [_explain(str(error), shape, where)]
    return []


def _explain(message: str, shape: type[msgspec.Struct], where: str) -> str:
    """One line out of msgspec's message: where, what was found, what is allowed there."""
    said, _, tail = message.partition(" - at `$")
    path = tail.removesuffix("`")
    here = _shape_at(msgspec.inspect.type_info(shape), path)
    if isinstance(here, msgspec.inspect.StructType) and "unknown field" in said:
        known = [field.encode_name for field in here.fields]
        word = said.split("`")[1]
        return f"{where}{path}: found unknown field {word!r}, allowed: {', '.join(known)}{_near(word, known)}"
    if isinstance(here, msgspec.inspect.LiteralType):
        known = list(map(str, here.values))
        word = said.split(" ", 3)[-1]
        return f"{where}{path}: found {word}, allowed: {', '.join(known)}{_near(word.strip(_QUOTES), known)}"
    return f"{where}{path}: {said[:1].lower()}{said[1:].replace('`', '')}"


def _near(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, tuple(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _shape_at(shape: msgspec.inspect.Type, path: str) -> msgspec.inspect.Type | None:
    """The type that a msgspec error path such as `.then.delay_events_s` leads to, if it is known."""
    here: msgspec.inspect.Type | None = shape
    for step in path.split("."):
        name = step.split("[")[0]
        if name:
            fields = here.fields if isinstance(here, msgspec.inspect.StructType) else ()
            here = next((_named(field.type) for field in fields if field.encode_name == name), None)
    return here


def _named(shape: msgspec.inspect.Type) -> msgspec.inspect.Type:
    """Of a union, the member that has names to offer."""
    members = shape.types if isinstance(shape, msgspec.inspect.UnionType) else (shape,)
    named = (msgspec.inspect.StructType, msgspec.inspect.LiteralType)
    return next((member for member in members if isinstance(member, named)), shape)
