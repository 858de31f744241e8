"""What is wrong with a configuration, said so that it can be mended at once.

A problem has its path in the file, what was found, what is allowed and how to mend it; all problems of a
file are told together. A value is shown only where it cannot be a secret, and then as it stands in the
file, before `${NAME}` was replaced. A slip can make a value part of a key (`key:sk-...`, for want of a space)
or of the value beside it: of such a text only what stands before the colon is shown, in paths as well.
"""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from proxy.config.units import Unit, quantity_text
from proxy.profiles import KINDS

Path = tuple[str | int, ...]

_VARIABLE = re.compile(r"\$\{[A-Za-z0-9_]+\}")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_SECRET = frozenset({"key", "keys", "api_key", "api_keys", "token", "headers", "extra_body"})
_URL = re.compile(
    r"([a-z+]+://)?([^@\s]*@)?(:name)?[^\s:/?#@]*(:\d*)?(/([^\s:@?#]|:name|:model)*)?(\?.*)?",
    re.DOTALL | re.IGNORECASE,
)
_GLUED = re.compile(
    r"(keys?|token|password|secret|authorization|headers|extra_body|url|endpoint)([\"']?\s*[:=]).*",
    re.DOTALL | re.IGNORECASE,
)
_ALIASED = frozenset({"models", "model_limits"})
_LISTS = frozenset({"tuple_type", "list_type"})
_MAPPINGS = frozenset({"model_type", "model_attributes_type", "dict_type", "mapping_type"})

_ALLOWED: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(_LISTS, "a list"),
        **dict.fromkeys(_MAPPINGS, "a mapping of keys to values"),
        "string_type": "text",
        "string_too_short": "text that is not empty",
        "string_pattern_mismatch": "letters, digits, `.`, `_` and `-`",
        "int_type": "a whole number",
        "int_parsing": "a whole number",
        "int_from_float": "a whole number",
        "int_parsing_size": "a smaller number",
        "float_type": "a number",
        "float_parsing": "a number",
        "finite_number": "a finite number",
        "bool_type": "true or false",
        "bool_parsing": "true or false",
        "path_type": "the path of a folder",
    }
)
_BOUNDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "greater_than": "more than {gt}",
        "greater_than_equal": "at least {ge}",
        "less_than": "less than {lt}",
        "less_than_equal": "at most {le}",
        "too_short": "at least {min_length} item",
    }
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: `path` as in `models.gpt-4o.providers[1].weight`, and its line if known.

    Without `allowed` what was `found` says it all, as a whole clause.
    """

    path: str
    found: str
    allowed: str
    mend: str = ""
    line: int | None = None

    def __str__(self) -> str:
        line = f"line {self.line}" if self.line else ""
        where = f"{self.path} ({line})" if self.path and line else self.path or line or "the file"
        mend = f"; {self.mend}" if self.mend else ""
        found = f"found {self.found}; allowed: {self.allowed}" if self.allowed else self.found
        return f"{where}: {found}{mend}"


class ConfigError(Exception):
    """The configuration cannot be used. Carries every problem that was found, and where it came from."""

    def __init__(self, problems: Iterable[Problem], source: str = "") -> None:
        self.problems = tuple(problems)
        self.source = source
        super().__init__("\n".join(map(str, self.problems)))

    def report(self) -> str:
        """All of them under one head line."""
        count = len(self.problems)
        head = f"{self.source or 'the configuration'} has {count} error{'' if count == 1 else 's'}:"
        return "\n  ".join([head, *map(str, self.problems)])


@dataclass(frozen=True, slots=True)
class Fault:
    """A problem before its path is written out."""

    path: Path
    found: str
    allowed: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """What is known of how the values were written: lines by path, and texts that held `${NAME}`."""

    lines: Mapping[Path, int] = field(default_factory=dict)
    templates: Mapping[Path, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    def problem(self, fault: Fault) -> Problem:
        """The fault with its path written out. `names` renames top-level keys (for the environment)."""
        return Problem(
            path=self.written(fault.path),
            found=fault.found,
            allowed=fault.allowed,
            mend=fault.mend,
            line=self.line(fault.path),
        )

    def written(self, path: Path) -> str:
        """The path as text, with the name that the top-level key has in this source."""
        for length in range(len(path), 0, -1):
            renamed = self.names.get(written(path[:length]))
            if renamed:
                return renamed + _steps(path[length:])
        return written(path)

    def line(self, path: Path) -> int | None:
        """The line of the value at `path`, or of the nearest thing around it."""
        if written(path) in self.names:
            return None
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path) if path else None


def written(path: Path) -> str:
    """A path as one reads it: `models.gpt-4o.providers[1]`; names with other characters in quotes."""
    return _steps(path).removeprefix(".")


def _steps(path: Path) -> str:
    steps = (
        step if isinstance(step, int) else shown_key(path[: index + 1]) for index, step in enumerate(path)
    )
    return "".join(
        f".{step}" if isinstance(step, str) and _PLAIN.fullmatch(step) else f"[{json.dumps(step)}]"
        for step in steps
    )


def shown_key(path: Path) -> str:
    """The key that ends a path, as it may be shown: without what follows a colon, which may be its value.

    Only names of models have colons of their own.
    """
    word = str(path[-1])
    if path[-2:-1] and path[-2] in _ALIASED and "://" not in word:
        return _GLUED.sub(r"\1\2***", word)
    head, colon, rest = word.partition(":")
    return f"{head}:***" if colon and rest else word


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean ...?` with the nearest of `known`, or nothing when none is near."""
    near = difflib.get_close_matches(word, tuple(known), n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else ""


def shown(value: object) -> str:
    """A value that is no secret, in few words."""
    if isinstance(value, dict | list | tuple):
        kind = "mapping" if isinstance(value, dict) else "list"
        return f"a {kind}" if value else f"an empty {kind}"
    if isinstance(value, str):
        # Passwords and keys in URLs; a password may itself hold what would end it.
        text = re.sub(r"(?s)\?.*", "?***", re.sub(r"(?s)^([a-z+]+://)?.*@", r"\1***@", value))
        text = _GLUED.sub(r"\1\2***", text)
        return json.dumps(text if len(text) <= 60 else text[:57] + "...")
    return "nothing" if value is None else json.dumps(value, default=str)


def secret(path: Path) -> bool:
    """Whether a value at this path may be a secret."""
    names = [step for step in path if isinstance(step, str)]
    if names[:1] == ["redis"]:
        return names[-1].endswith("url")  # a password is part of it
    return not _SECRET.isdisjoint(names) and "limits" not in names


def faults(error: ValidationError, data: object, text: Text, root: type[BaseModel]) -> list[Fault]:
    """Each complaint of the tree `root` about `data`, in our words."""
    details = error.errors(include_url=False)
    places = [detail["loc"] for detail in details]
    return [
        _fault(detail, data, text, root)
        for detail in details
        # A list counts only its valid items: with one refused it is also "too short", which is no news.
        if detail["type"] != "too_short" or not any(_inside(place, detail["loc"]) for place in places)
    ]


def section_at(root: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """The section of the tree that a path leads into; None when it leads to a plain value."""
    section: Any = root
    for step in path:
        if isinstance(section, type) and issubclass(section, BaseModel):
            known = section.model_fields.get(str(step))
            section = _bare(known.annotation) if known else None
        else:
            section = _bare((get_args(section) or (None,))[0 if isinstance(step, int) else -1])
    return section if isinstance(section, type) and issubclass(section, BaseModel) else None


def _bare(annotation: Any) -> Any:
    """An annotation without `Annotated` and `| None`."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        return _bare(next(part for part in get_args(annotation) if part is not NoneType))
    return annotation


def _inside(place: Path, outer: Path) -> bool:
    return len(place) > len(outer) and place[: len(outer)] == outer


def _fault(detail: ErrorDetails, data: object, text: Text, root: type[BaseModel]) -> Fault:
    path, kind = _as_written(detail["loc"], data), detail["type"]
    if path and path[-1] == "[key]":
        found = f"the name {json.dumps(shown_key(path[:-1]))}"
        return Fault(path[:-1], found, _allowed(detail, None), "choose another name")
    if kind == "extra_forbidden":
        return _unknown(path, root)
    if kind == "missing":
        return _missing(path, root)
    found = _found(path, detail["input"], kind, text)
    allowed = _allowed(detail, _unit(path, root))
    return Fault(path, found, allowed, _as_entry(path, detail, data, root) or _mend(path, detail, root))


def _as_written(path: Path, data: object) -> Path:
    """The path as the file has it, where that uses a short form: `key` and `keys` for `keys[0]`."""
    steps: list[str | int] = []
    here = data
    rest = list(path)
    while rest:
        step = rest.pop(0)
        single = step.removesuffix("s") if isinstance(step, str) else step
        if isinstance(here, str):
            break  # one text where a list may stand: the file has no index for it
        if isinstance(here, dict) and step not in here and single in here and rest[:1] == [0]:
            step = single
            rest.pop(0)
        steps.append(step)
        here = _child(here, step)
    return tuple(steps)


def _child(value: object, step: str | int) -> object:
    if isinstance(value, dict):
        return value.get(step)
    return value[step] if isinstance(value, list) and isinstance(step, int) else None


def _found(path: Path, value: object, kind: str, text: Text) -> str:
    template = text.templates.get(path)
    if template and (not (secret(path) or _unreadable(path, template)) or _VARIABLE.fullmatch(template)):
        return shown(template) + (" (which is empty)" if value == "" else "")
    if isinstance(value, str) and value and kind in _LISTS | _MAPPINGS:
        return "text"
    if isinstance(value, str) and (secret(path) or _unreadable(path, value)):
        return "***" if value else "empty text"
    if isinstance(value, int | float) and secret(path):
        return "a number"
    return shown(value)


def _unreadable(path: Path, text: str) -> bool:
    """Whether a URL was meant and none can be read, so that nobody knows where in it a password stands."""
    return bool(path) and str(path[-1]).endswith("url") and not _URL.fullmatch(text)


def _unit(path: Path, root: type[BaseModel]) -> Unit | None:
    """What the number at a path counts, if it is a size or a duration."""
    section = section_at(root, path[:-1])
    known = section.model_fields.get(str(path[-1])) if section and path else None
    return next((mark for mark in known.metadata if isinstance(mark, Unit)), None) if known else None


def _allowed(detail: ErrorDetails, unit: Unit | None) -> str:
    context = detail.get("ctx", {})
    kind = detail["type"]
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return "one of " + re.sub(r"'", "", str(context["expected"]))
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(**{name: quantity_text(bound, unit) for name, bound in context.items()})
    return _ALLOWED.get(kind, detail["msg"])


def _mend(path: Path, detail: ErrorDetails, root: type[BaseModel]) -> str:
    value = detail["input"]
    if detail["type"] == "string_type" and isinstance(value, bool | int | float):
        return "put it in quotes"
    if detail["type"] == "literal_error" and isinstance(value, str):
        return nearest(value, re.findall(r"'([^']*)'", str(detail.get("ctx", {}).get("expected", ""))))
    section = section_at(root, path[:-1])
    known = section.model_fields.get(str(path[-1])) if section and path else None
    return "or leave it out" if known and not known.is_required() else ""


def _as_entry(path: Path, detail: ErrorDetails, data: object, root: type[BaseModel]) -> str:
    """How a provider's name is written as an entry; what is no name of one is not shown."""
    section, value = section_at(root, path), detail["input"]
    if detail["type"] not in _MAPPINGS or section is None or "provider" not in section.model_fields:
        return ""
    known = _child(data, "providers")
    name = value if isinstance(value, str) and isinstance(known, dict) and value in known else "NAME"
    return f"write `{{provider: {name}}}`"


def _unknown(path: Path, root: type[BaseModel]) -> Fault:
    section = section_at(root, path[:-1])
    known = tuple(section.model_fields) if section else ()
    word = str(path[-1])
    mend = nearest(word, known)
    if secret(path[:-1]) and not mend:
        # `api_key: {sk-...}` for `${...}`: what stands there may be the key itself.
        return Fault(path[:-1], "an unknown key", ", ".join(known), "write a variable as ${NAME}")
    if ":" in word:
        mend = "put a space after the colon"
    return Fault(path, f"the unknown key `{shown_key(path)}`", ", ".join(known), mend or "remove it")


def _missing(path: Path, root: type[BaseModel]) -> Fault:
    section = section_at(root, path[:-1])
    known = section.model_fields.get(str(path[-1])) if section else None
    about = (known.description or "") if known else ""
    sentence = about[:1].lower() + about[1:].removesuffix(".")
    return Fault(path, "nothing", sentence or "a value", f"add `{path[-1]}:`{_or_kind(path)}")


def _or_kind(path: Path) -> str:
    """A provider that bears the name of a kind needs no address if it is one."""
    provider, name = path[-2:] if len(path) == 3 else ("", "")
    known = name == "base_url" and provider != "generic" and provider in KINDS
    return f", or `kind: {provider}`" if known else ""
