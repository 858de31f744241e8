"""A YAML text as plain data, with what the plain data no longer shows: lines, repeated keys, `${NAME}`.

Values follow YAML 1.2's core rules: only `true` and `false` are booleans, only decimal digits are numbers
and dates are text, so `api_version: 2024-10-21` and `name: no` are what they look like. `${NAME}` is
replaced in the parsed values, never in the text: what a variable holds cannot become structure. So is
`${file:PATH}`, by what that file holds.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import yaml

from proxy.config.problems import ConfigError, Fault, Path, Problem, secret, shown, shown_key

DEEPEST = 64
MOST = 100_000  # values, aliases counted each time: a short text can otherwise stand for billions

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)\}?")
_COLON = re.compile(r"\s*:")
_CAPITALS = re.compile(r"[A-Z_][A-Z0-9_]*")
_PUNCTUATION = re.compile(r"[^\w\s]{1,3}|<[a-z ]+>")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FILE = "file:"

Files = Callable[[str], str]
"""The text in a file. Raises `OSError`, or `ValueError` with why it cannot be used."""


@dataclass(slots=True)
class Document:
    """Plain data (mappings, lists, text, numbers, booleans, None), the line of each value, and the faults."""

    data: object = None
    lines: dict[Path, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


@dataclass(slots=True)
class Substituted:
    """Data with its variables replaced; `templates` has the texts as they stood, by path."""

    data: object = None
    templates: dict[Path, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


def parsed(text: str, source: str = "") -> Document:
    """The document in a YAML text. Raises `ConfigError` with line and column when it is no YAML."""
    text = text.removeprefix("\ufeff")  # YAML skips it as well, and does not count it in its marks
    try:
        line = _too_deep(text)
        node = None if line else yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        raise ConfigError([_syntax(error, text)], source) from None
    if line:
        problem = Problem("", "values nested too deeply", f"{DEEPEST} levels", line=line)
        raise ConfigError([problem], source)
    document = Document()
    if node is not None:
        document.data = _Reader(document, text).value(node, ())
    return document


def substituted(data: object, env: Mapping[str, str], files: Files) -> Substituted:
    """The data with `${NAME}` replaced from `env` in every text value, and `${file:PATH}` from `files`.

    `$${` stands for a plain `${`.
    """
    return _Substitution(env, files).run(data)


def _too_deep(text: str) -> int | None:
    """The line on which values nest too deeply. The composer recurses in C: it would crash, not raise."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            return int(getattr(event.start_mark, "line", 0)) + 1
    return None


def _syntax(error: yaml.YAMLError, text: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "something that is no YAML"
    # Quoted parts are pieces of the text, which may be pieces of a key; punctuation is none.
    reason = re.sub(r"'[^']*'|\"[^\"]*\"", _without_text, reason)
    if mark and text[mark.index : mark.index + 1] == "\t":
        reason = "a tab; YAML is indented with spaces"
    where = f" at column {mark.column + 1}" if mark else ""
    found = f"not YAML{where}: {reason.removeprefix('but ')}{_opened(error, text)}"
    return Problem("", found, "", _unquoted(error, text), line=mark.line + 1 if mark else None)


def _unquoted(error: yaml.YAMLError, text: str) -> str:
    """How to mend it, where a sign of YAML's own begins a text, or a `${NAME}` stands bare in flow style."""
    places = (getattr(error, "context_mark", None), getattr(error, "problem_mark", None))
    signs = [text[mark.index] for mark in places if mark and mark.index < len(text)]
    mark = places[1]
    if mark and text[max(mark.index - 1, 0) : mark.index + 1] == "${":
        return 'within { } and [ ] write "${NAME}" in quotes'
    begun = next((sign for sign in signs if sign in "*&@%`"), "")
    return f"put what begins with `{begun}` in quotes" if begun else ""


def _opened(error: yaml.YAMLError, text: str) -> str:
    """Which quote or bracket is open, and since which line: the parser stops where it misses the end."""
    quote = getattr(error, "context_mark", None)
    found = [(mark, text[mark.index : mark.index + 1]) for mark in (*_begun(text), quote) if mark]
    # A collection that begins with a quote is a block with a quoted key: only the error knows of quotes.
    opened = [(mark, sign) for mark, sign in found if sign and sign in ("{[" if mark is not quote else "\"'")]
    return f", in the `{opened[-1][1]}` opened on line {opened[-1][0].line + 1}" if opened else ""


def _begun(text: str) -> list[Any]:
    """Where those collections begin that have no end at the first error of a text."""
    begun: list[Any] = []
    with suppress(yaml.YAMLError):
        for event in yaml.parse(text, Loader=_LOADER):
            if isinstance(event, yaml.CollectionStartEvent):
                begun.append(event.start_mark)
            elif isinstance(event, yaml.CollectionEndEvent):
                begun.pop()
    return begun


def _without_text(quoted: re.Match[str]) -> str:
    return quoted[0] if _PUNCTUATION.fullmatch(quoted[0][1:-1]) else "..."


class _Reader:
    """Turns YAML nodes into plain data, noting lines and faults in a `Document`."""

    def __init__(self, document: Document, text: str) -> None:
        self._document = document
        self._text = text
        self._left = MOST

    def value(self, node: yaml.Node, path: Path) -> object:
        self._document.lines.setdefault(path, node.start_mark.line + 1)
        self._left -= 1
        if len(path) > DEEPEST or self._left < 0:
            self._too_much(path)
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _too_much(self, path: Path) -> None:
        if self._left > -MOST:  # told once: what comes after is the rest of the same excess
            self._left = -MOST
            self._fault(path, "values nested too deeply, or too many", f"{DEEPEST} levels, {MOST} values")

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        own: dict[str, object] = {}
        merged: dict[str, object] = {}
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TAG}merge":
                merged = self._merged(value_node, path) | merged
                continue
            name = self._key(key_node, path)
            if name is None:
                continue
            place, line = (*path, name), key_node.start_mark.line + 1
            if self._lone(key_node):
                self._unseparated(name, path, line, own)
            elif name in own:
                again = f"`{shown_key(place)}` again (first on line {self._document.lines[place]})"
                self._fault(place, again, "each key once", f"see line {line}")
            else:
                self._document.lines[place] = line
                own[name] = self.value(value_node, place)
        return merged | own

    def _lone(self, node: yaml.Node) -> bool:
        """Whether no colon follows a key: a word alone, or a key and its value in one, `{key:sk-...}`."""
        return not _COLON.match(self._text, node.end_mark.index)

    def _unseparated(self, word: str, path: Path, line: int, own: dict[str, object]) -> None:
        """Tell of a key without a value, and keep what may be that value to ourselves."""
        head, colon, _ = word.partition(":")
        place = (*path, head if colon and head else "***")
        self._document.lines.setdefault(place, line)
        if place[-1] == head:
            own.setdefault(head, None)  # the tree then does not say that it is missing as well
            self._fault(place, "there is no space after the colon", "", f"write `{head}: ...`")
        else:
            mend = 'write a variable as "${NAME}", in quotes' if secret(path) else ""
            self._fault(place, "a word alone", "`name: value` within { }", mend)

    def _merged(self, node: yaml.Node, path: Path) -> dict[str, object]:
        """What `<<` brings in: a mapping, or a list of them of which the first goes before the rest."""
        value = self.value(node, path)
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, dict) for part in parts):
            self._fault(path, "`<<` before something else", "`<<` before a mapping, or a list of mappings")
            return {}
        return {key: item for part in reversed(parts) for key, item in part.items()}

    def _key(self, node: yaml.Node, path: Path) -> str | None:
        if isinstance(node, yaml.ScalarNode):
            return str(node.value)
        self._fault(path, "a list or mapping as a key", "text as a key")
        return None

    def _scalar(self, node: yaml.Node, path: Path) -> object:
        read = _SCALARS.get(node.tag)
        if read is None:
            self._fault(path, "a YAML tag", "plain values", "put a value that begins with `!` in quotes")
            return None
        return read(str(node.value))

    def _fault(self, path: Path, found: str, allowed: str, mend: str = "") -> None:
        self._document.faults.append(Fault(path, found, allowed, mend))


def _integer(text: str) -> object:
    return int(text) if _INT.fullmatch(text) and len(text) < 20 else text


def _floating(text: str) -> object:
    return float(text) if _FLOAT.fullmatch(text) else text


def _boolean(text: str) -> object:
    return {"true": True, "false": False}.get(text.lower(), text)


def _nothing(_text: str) -> object:
    return None


_SCALARS: Final[Mapping[str, Callable[[str], object]]] = MappingProxyType(
    {
        f"{_TAG}str": str,
        f"{_TAG}int": _integer,
        f"{_TAG}float": _floating,
        f"{_TAG}bool": _boolean,
        f"{_TAG}null": _nothing,
        f"{_TAG}timestamp": str,
        f"{_TAG}value": str,
    }
)


class _Substitution:
    """Replaces variables in data, noting templates and faults."""

    def __init__(self, env: Mapping[str, str], files: Files) -> None:
        self._env = env
        self._files = files
        self._result = Substituted()

    def run(self, data: object) -> Substituted:
        self._result.data = self._value(data, ())
        return self._result

    def _value(self, value: object, path: Path) -> object:
        if isinstance(value, dict):
            return {key: self._value(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self._value(item, (*path, index)) for index, item in enumerate(value)]
        if not isinstance(value, str) or "${" not in value:
            return value
        self._result.templates[path] = value
        return _VARIABLE.sub(lambda match: self._replaced(match, path, value), value)

    def _replaced(self, match: re.Match[str], path: Path, text: str) -> str:
        """What stands for a variable; itself, with a fault noted, where there is nothing."""
        name = match[1]
        if name is None:
            return "${"
        whole = match[0].endswith("}")
        if whole and name.startswith(_FILE):
            return self._file(name.removeprefix(_FILE), path) or match[0]
        if not whole or not _NAME.fullmatch(name):
            found = "a malformed variable" if secret(path) else shown(text)
            allowed = "${NAME} for a variable, ${file:PATH} for a file"
            self._fault(path, found, allowed, "write $${ for a plain ${")
        elif name not in self._env and secret(path) and not _CAPITALS.fullmatch(name):
            self._fault(path, "a variable is not set; its name may be the secret itself and is not shown", "")
        elif name not in self._env:
            self._fault(path, f"the variable `{name}` is not set", "")
        return self._env.get(name, match[0])

    def _file(self, name: str, path: Path) -> str:
        try:
            if text := self._files(name):
                return text
            why = "it is empty"
        except OSError as error:
            why = (error.strerror or type(error).__name__).lower()
        except ValueError as error:
            why = str(error)
        self._fault(path, f"the file `{name}` cannot be used ({why})", "")
        return ""

    def _fault(self, path: Path, found: str, allowed: str, mend: str = "") -> None:
        self._result.faults.append(Fault(path, found, allowed, mend))
