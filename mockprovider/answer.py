"""What the mock says, in no dialect: text in pieces, reasoning, tool calls, and the usage they cost.

Rule: the same request and behaviour give the same answer, so a test can compute what it will receive, and a
stream and a plain reply of the same request say the same. Tokens are counted by a rule simple enough to
repeat by hand: four bytes of prompt text are a token, and each piece of the reply is one.
"""

import functools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from mockprovider.behaviour import Behaviour, Flavour
from mockprovider.samples import sample

_WORDS = re.compile(r"\s*\S+\s*")
_ECHO_CHARACTERS = 4096
_ARGUMENT_PIECE_BYTES = 8


class Unreadable(ValueError):
    """A request that a provider refuses, with 400 unless told. `param` names the field, `code` the reason."""

    def __init__(
        self, message: str, param: str | None = None, code: str | None = None, status: int = 400
    ) -> None:
        super().__init__(message)
        self.param = param
        self.code = code
        self.status = status


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the client offers; `schema` is that of its arguments. A `custom` tool takes plain text."""

    name: str
    schema: Mapping[str, object]
    custom: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request, in no dialect.

    `text` is the last user text, `prompt_bytes` the UTF-8 length of all text. `choice` is `auto`, `none`,
    `required`, or `=name` for one named tool. `limit` caps the text pieces, and none of `stops` is said.
    `fault` is the raw `x_mock` field. `after_tool`: the last message is a tool's result. `images` and `files`
    count what came with the text. `schema` is what the answer's JSON must fit. `top_logprobs` is how many
    likely tokens are told with each, None if none. `include` names what a reply is to contain besides.
    `flavour`, `legacy` (functions instead of tools), `veiled` (reasoning without its text) and `echo` (what
    is repeated) are for the dialect that set them.
    """

    model: str
    stream: bool = False
    text: str = ""
    prompt_bytes: int = 0
    tools: Sequence[Tool] = ()
    choice: str = "auto"
    after_tool: bool = False
    limit: int | None = None
    fault: bytes = b""
    include_usage: bool = True
    copies: int = 1
    stops: Sequence[str] = ()
    images: int = 0
    files: int = 0
    schema: Mapping[str, object] | None = None
    top_logprobs: int | None = None
    include: Collection[str] = ()
    flavour: Flavour = "generic"
    legacy: bool = False
    veiled: bool = False
    echo: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call; `pieces` joined are the JSON text of its arguments, or a custom tool's plain text."""

    name: str
    pieces: tuple[str, ...]
    custom: bool = False

    @property
    def arguments(self) -> str:
        """The arguments as JSON text, or the plain text."""
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens: `prompt` includes `cached` and `cache_write`, `completion` includes `reasoning`."""

    prompt: int
    completion: int
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply of the provider called `name`.

    `finish` is `stop`, `length`, `content_filter` or `tool_calls`. `refusal` is what is said instead of an
    answer, `stopped` the stop sequence that came up. `redacted`: the reasoning is not to be read.
    `interleaved`: the calls arrive in turns.
    """

    name: str

    pieces: tuple[str, ...]
    reasoning: tuple[str, ...]
    calls: tuple[Call, ...]
    finish: str
    usage: Usage | None
    refusal: tuple[str, ...] = ()
    stopped: str | None = None
    redacted: bool = False
    interleaved: bool = False

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces)

    @property
    def thought(self) -> str:
        """The whole reasoning text."""
        return "".join(self.reasoning)


@dataclass(frozen=True, slots=True)
class Stamp:
    """What makes one reply distinct, and still the same in each run: a number, a seed and a made-up time."""

    number: int
    seed: int = 0
    created: int = 1_800_000_000

    def id(self, prefix: str, part: int | None = None) -> str:
        """An id such as `chatcmpl-00000000000000000007`, with the part's ordinal if it names a part."""
        tail = "" if part is None else f"{part:02d}"
        return f"{prefix}{self.seed:08x}{self.number:012x}{tail}"


def prompt_tokens(prompt_bytes: int) -> int:
    """Tokens of a prompt: one for each begun group of four bytes, and at least one."""
    return max(1, -(-prompt_bytes // 4))


def compose(ask: Ask, behaviour: Behaviour, name: str) -> Answer:
    """The answer of the provider called `name`."""
    calls = () if behaviour.empty == "lifecycle" or behaviour.declined else _calls(ask, behaviour)
    said = _said(ask, behaviour, name, calls)
    said, stopped = _stopped(said, ask.stops)
    calls = () if stopped is not None else calls
    finish: str = "tool_calls" if calls and behaviour.finish == "stop" else behaviour.finish
    if ask.limit is not None and len(said) > ask.limit:
        said, finish, stopped = said[: ask.limit], "length", None
    refusal = pieces(behaviour.declined, None, None) if behaviour.declined else ()
    reasoning = pieces(behaviour.reasoning, None, None) if behaviour.reasoning else ()
    count = len(said) + len(refusal) + sum(len(call.pieces) for call in calls)
    return Answer(
        name,
        said,
        reasoning,
        calls,
        finish,
        None if behaviour.omit_usage else _usage(ask, behaviour, count, len(reasoning)),
        refusal,
        stopped,
        behaviour.redacted,
        behaviour.interleaved,
    )


def _said(ask: Ask, behaviour: Behaviour, name: str, calls: tuple[Call, ...]) -> tuple[str, ...]:
    """The text in pieces: the script's, or else none beside calls, a sample of the schema, or an echo."""
    if behaviour.empty == "lifecycle" or behaviour.declined or (calls and behaviour.text is None):
        return ()
    text = behaviour.text
    if text is None and ask.schema is not None:
        text = msgspec.json.encode(sample(ask.schema, ask.text[:_ECHO_CHARACTERS])).decode()
    if text is None:
        text = f"Hello from {name}. You said: {ask.text[:_ECHO_CHARACTERS]}{_seen(ask)}"
    found = pieces(text, behaviour.tokens, behaviour.piece_bytes)
    return ("x" * behaviour.huge_bytes, *found) if behaviour.huge_bytes else found


def _seen(ask: Ask) -> str:
    """` Saw 1 image and 2 files.`, or nothing."""
    counted = ((ask.images, "image"), (ask.files, "file"))
    told = [f"{count} {noun}{'s' * (count > 1)}" for count, noun in counted if count]
    return f" Saw {' and '.join(told)}." if told else ""


def _stopped(said: tuple[str, ...], stops: Sequence[str]) -> tuple[tuple[str, ...], str | None]:
    """The pieces before the first stop sequence, and which it is."""
    text = "".join(said) if stops else ""
    found = min(((place, stop) for stop in stops if (place := text.find(stop)) >= 0), default=None)
    if found is None:
        return said, None
    kept, left = [], found[0]
    for piece in said:
        if left > 0:
            kept.append(piece[:left])
        left -= len(piece)
    return tuple(kept), found[1]


def _usage(ask: Ask, behaviour: Behaviour, said: int, reasoning: int) -> Usage:
    prompt, completion = behaviour.prompt_tokens, behaviour.completion_tokens
    return Usage(
        prompt=prompt_tokens(ask.prompt_bytes) if prompt is None else prompt,
        completion=said * ask.copies + reasoning if completion is None else completion,
        cached=behaviour.cached_tokens,
        cache_write=behaviour.cache_write_tokens,
        reasoning=reasoning,
    )


@functools.lru_cache(maxsize=256)
def pieces(text: str, tokens: int | None, piece_bytes: int | None) -> tuple[str, ...]:
    """Cut a text into words, or into pieces of `piece_bytes` that never split a character.

    With `tokens` there are exactly that many, from the text repeated as often as needed; without, joining
    the pieces gives the text.
    """
    if piece_bytes is not None:
        if tokens is not None:
            text = _repeated(text, tokens * max(piece_bytes, 4))
        cut = tuple(_slices(text, piece_bytes, tokens))
    else:
        cut = tuple(_WORDS.findall(text)) or ((text,) if text else ())
    if tokens is None or len(cut) == tokens:
        return cut
    cut = cut or ("-",)
    spaced = cut if cut[-1].endswith(" ") else (*cut[:-1], cut[-1] + " ")
    return tuple(spaced[place % len(spaced)] for place in range(tokens))


def _repeated(text: str, size: int) -> str:
    unit = (text or "-") + " "
    return unit * (size // len(unit) + 1)


def _slices(text: str, size: int, limit: int | None) -> Iterable[str]:
    data = text.encode()
    start = made = 0
    while start < len(data) and made != limit:
        end = min(start + size, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80 and end > start:
            end -= 1
        if end == start:  # one character is longer than a piece may be: it goes whole
            end += 1
            while end < len(data) and data[end] & 0xC0 == 0x80:
                end += 1
        yield data[start:end].decode()
        start = end
        made += 1


def _calls(ask: Ask, behaviour: Behaviour) -> tuple[Call, ...]:
    if not ask.tools or ask.choice == "none" or ask.after_tool:
        return ()
    wanted = [tool for tool in ask.tools if "=" + tool.name == ask.choice] or list(ask.tools)
    count = behaviour.tool_calls
    if count is None:
        count = 1 if ask.choice != "auto" or "use a tool" in ask.text.lower() else 0
    count = min(count, 1) if ask.legacy else count
    return tuple(_call(wanted[place % len(wanted)], ask, behaviour) for place in range(count))


def _call(tool: Tool, ask: Ask, behaviour: Behaviour) -> Call:
    if tool.custom:
        text = ask.text[:_ECHO_CHARACTERS] if behaviour.tool_input is None else behaviour.tool_input
        return Call(tool.name, pieces(text, None, None), custom=True)
    arguments: object = behaviour.tool_arguments
    if arguments is None:
        arguments = sample({"type": "object", **tool.schema}, ask.text[:_ECHO_CHARACTERS])
    return Call(tool.name, pieces(msgspec.json.encode(arguments).decode(), None, _ARGUMENT_PIECE_BYTES))
