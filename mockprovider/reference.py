"""The reference page of the scripted provider, made from its own types: `python -m mockprovider.reference`.

What each field means is the text of `Match` and `Behaviour`, types and defaults come from the fields, and
the control endpoints from `control`, so the page cannot say anything else than the program does.
"""

import inspect
import re
import sys
from collections.abc import Iterator

import msgspec

from mockprovider import control
from mockprovider.behaviour import Behaviour, Complaint, Delay
from mockprovider.script import Match, Rule, Script

_INTRODUCTION = """\
# The scripted provider

This page is made from the program: `python -m mockprovider.reference > docs/mock.md`.

`apex-proxy mock` is a provider that speaks the true wire formats of chat completions, responses, messages
and embeddings, and breaks when it is told to. It takes any key and any model.

```sh
apex-proxy mock --port 9001                          # healthy
apex-proxy mock --port 9002 --script faults.yaml     # with the faults of a file
apex-proxy mock --port 9003 --no-record              # counts only, for load tests
apex-proxy mock --port 9004 --flavour deepseek       # as strict as DeepSeek, and with its ways
```

What a real provider refuses is refused, in its words: fields it does not know, calls without their results,
ids and schemas of other dialects, and reasoning that it did not seal itself. Messages need the header
`anthropic-version`. Signatures of thinking are good for the model that gave them and for the text as it was,
`encrypted_content` is good for the provider of that name. What a model called `claude-...` takes depends on
the numbers in its name.

```yaml
# faults.yaml
rules:                                               # the first that fits decides
  - match: {model: "gpt-*", every: 3}
    then: {status: 429, headers: {retry-after: 7}}
  - match: {stream: true, after_s: 5, before_s: 15}
    then: {cut_after_events: 4, cut_with: rst}
default: {delay_headers_s: 0.05}                     # when none fits
```

A single request can bring its own fault, which goes before the script: in the header `x-mock-fault`, in the
body's `x_mock`, or after a `#` in the model's name. It is JSON, or `name=value` pairs:

```sh
curl -s localhost:9001/v1/chat/completions -H 'x-mock-fault: status=503; headers.retry-after=2' \\
  -d '{"model": "any", "messages": [{"role": "user", "content": "Hello"}]}'
```

Through the proxy, only `x_mock` arrives, and only where the body is not translated: the header stays behind,
the model's name is replaced by the configuration's, and a translated body has no fields of its own. A name
in the configuration may carry a fault, too: `model: any#status=503`.

Times are in seconds and sizes in bytes. What is not known or contradicts itself is an error.
"""

_SECTIONS = (
    ("The script", Script),
    ("A rule, in `rules`", Rule),
    ("Which requests, in `match`", Match),
    ("What happens, in `then` and `default`", Behaviour),
    ("A delay that changes", Delay),
    ("What an error says, in `error`", Complaint),
)


def render() -> str:
    """The whole page, in Markdown."""
    sections = "\n".join(_section(title, shape) for title, shape in _SECTIONS)
    return f"{_INTRODUCTION}\n{sections}\n{_control()}"


def _section(title: str, shape: type[msgspec.Struct]) -> str:
    lines = [f"## {title}", "", *_about(inspect.getdoc(shape) or "")]
    lines += ["| Field | Type | Default |", "|---|---|---|"]
    info = msgspec.inspect.type_info(shape)
    assert isinstance(info, msgspec.inspect.StructType)
    lines += [f"| `{field.encode_name}` | {_type(field.type)} | {_default(field)} |" for field in info.fields]
    return "\n".join([*lines, ""])


def _about(text: str) -> Iterator[str]:
    """A docstring as Markdown: what is indented under a heading becomes a list."""
    for paragraph in text.split("\n\n"):
        head, *items = re.split(r"(?<!,)\n {4}(?! )", paragraph)
        if head.endswith(":") and items:
            yield from (f"**{head}**", "", *(f"- {_joined(item)}" for item in items))
        else:
            # A name with an underscore is a field; one without may be a word.
            yield re.sub(r"(?<![`\w])[a-z]+(_[a-z]+)+(?![`\w])", r"`\g<0>`", inspect.cleandoc(paragraph))
        yield ""


def _joined(text: str) -> str:
    """One item on one line, its fields in code: `status, headers: as they are sent`."""
    names, colon, rest = " ".join(text.split()).partition(": ")
    if not colon:
        return names
    return re.sub(r"\b[a-z]+(?:_[a-z]+)*\b(?![^(]*\))", r"`\g<0>`", names) + f": {rest}"


def _type(shape: msgspec.inspect.Type) -> str:
    if isinstance(shape, msgspec.inspect.UnionType):
        parts = (part for part in shape.types if not isinstance(part, msgspec.inspect.NoneType))
        return ", or ".join(map(_type, parts))
    if isinstance(shape, msgspec.inspect.LiteralType):
        return ", ".join(f"`{value}`" for value in shape.values)
    if isinstance(shape, msgspec.inspect.StructType):
        return "mapping (below)"
    if isinstance(shape, msgspec.inspect.VarTupleType):
        kind, comma, bounds = _type(shape.item_type).partition(",")
        return f"list of {kind if kind == 'text' else kind.replace(' (below)', '') + 's'}{comma}{bounds}"
    if isinstance(shape, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        return _number(shape)
    return _PLAIN.get(type(shape), "any value")


_PLAIN: dict[type[msgspec.inspect.Type], str] = {
    msgspec.inspect.StrType: "text",
    msgspec.inspect.BoolType: "`true` or `false`",
    msgspec.inspect.DictType: "mapping",
}


def _number(shape: msgspec.inspect.IntType | msgspec.inspect.FloatType) -> str:
    name = "whole number" if isinstance(shape, msgspec.inspect.IntType) else "number"
    bounds = ((shape.ge, "at least"), (shape.gt, "more than"), (shape.le, "at most"))
    return name + "".join(f", {word} {bound:g}" for bound, word in bounds if bound is not None)


def _default(field: msgspec.inspect.Field) -> str:
    if field.required:
        return "required"
    value = field.default
    if value is msgspec.NODEFAULT:
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, msgspec.Struct):
        return "as if not given"
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value) or "empty"
    return "none" if value is None else f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _control() -> str:
    """The control endpoints, as their module tells them."""
    about = inspect.getdoc(control) or ""
    table = about.partition("\n\n")[2].partition("\n\n")[0]
    return f"## Control endpoints\n\n```text\n{inspect.cleandoc(table)}\n```\n"


if __name__ == "__main__":
    sys.stdout.write(render())
