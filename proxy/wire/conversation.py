"""The canonical request: a conversation and how it is to be continued, in nobody's wire format.

Every dialect has one reader that makes a `Conversation` of a body, and one writer that makes a body of a
`Conversation`; a dialect that is missing here could be added without touching the others. What only one
vendor can read (signed thinking, encrypted reasoning) is carried as a `Seal`: opaque, and tagged with the
dialect and model it is from. What the model cannot hold is refused or reported by the reader, see `losses`.

Values are what was said, not what is sent: a reader does not fill in defaults, a writer does.
"""

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal

import msgspec

from proxy.wire.model import Dialect

Json = dict[str, Any]
"""A decoded JSON object that is carried and not looked into."""

CacheFor = Literal["short", "long"]
"""A prompt-cache mark: `short` is five minutes at Anthropic, half an hour at OpenAI; `long` is an hour, or
twelve."""


class Role(enum.StrEnum):
    """Who speaks. Results of tools are blocks of a user's turn."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"


# --- where a file's bytes are -------------------------------------------------------------------------


class Url(msgspec.Struct, frozen=True, tag=True):
    """An http or https address that the provider fetches; never the proxy."""

    url: str


class Inline(msgspec.Struct, frozen=True, tag=True):
    """Base64 data and its media type, such as `image/png`."""

    media_type: str
    data: str


class FileId(msgspec.Struct, frozen=True, tag=True):
    """A file stored at a vendor. It means nothing to any other."""

    id: str
    dialect: Dialect


Source = Url | Inline | FileId


# --- blocks -------------------------------------------------------------------------------------------


class Seal(msgspec.Struct, frozen=True):
    """What only its maker can read: a signature, redacted thinking, encrypted reasoning.

    `model` is the upstream model that made it; None where that is not known, as for what a client of the
    maker's own dialect sends: such a seal is good for no other provider.
    """

    dialect: Dialect
    model: str | None
    value: str


class Text(msgspec.Struct, frozen=True, tag=True):
    """Plain text. `citations` are web citations as (url, title, start, end), offsets into `text`."""

    text: str
    cache: CacheFor | None = None
    citations: tuple[tuple[str, str, int, int], ...] = ()


class Declined(msgspec.Struct, frozen=True, tag=True):
    """The assistant's own words in refusing (`refusal` at OpenAI)."""

    text: str


class Image(msgspec.Struct, frozen=True, tag=True):
    """A picture. `detail` is OpenAI's hint: low, high, auto or original."""

    source: Source
    detail: str | None = None
    cache: CacheFor | None = None


class Document(msgspec.Struct, frozen=True, tag=True):
    """A file that is read: a PDF, or another type by its media type."""

    source: Source
    name: str | None = None
    cache: CacheFor | None = None


class Audio(msgspec.Struct, frozen=True, tag=True):
    """Spoken input: base64 data in `format` (wav, mp3)."""

    format: str
    data: str


class Thinking(msgspec.Struct, frozen=True, tag=True):
    """Reasoning that is shown, sealed, or both. `redacted`: the seal is all there is of it."""

    text: str = ""
    seal: Seal | None = None
    redacted: bool = False


class ToolUse(msgspec.Struct, frozen=True, tag=True):
    """A tool is called. `arguments` is JSON text as it came; of a `custom` tool the raw input.

    `namespace` is that of a Responses tool namespace.
    """

    id: str
    name: str
    arguments: str
    custom: bool = False
    namespace: str | None = None


class ToolResult(msgspec.Struct, frozen=True, tag=True):
    """What a called tool gave back. `error` is None where the dialect cannot say."""

    id: str
    content: "tuple[Text | Image | Document, ...]"
    error: bool | None = None
    custom: bool = False
    cache: CacheFor | None = None


Block = Text | Declined | Image | Document | Audio | Thinking | ToolUse | ToolResult


class Turn(msgspec.Struct, frozen=True):
    """One message. `phase` is the Responses mark of an assistant's message (commentary, final_answer)."""

    role: Role
    blocks: tuple[Block, ...]
    phase: str | None = None


# --- tools --------------------------------------------------------------------------------------------


class Tool(msgspec.Struct, frozen=True):
    """A function, or with `custom` a tool whose input is free text.

    `schema` is the JSON Schema of the arguments as it came (None: none was given). `grammar` is the format
    of a custom tool. `strict` is None where it was left out.
    """

    name: str
    description: str | None = None
    schema: Json | None = None
    strict: bool | None = None
    custom: bool = False
    grammar: Json | None = None
    namespace: str | None = None
    cache: CacheFor | None = None


class Hosted(msgspec.Struct, frozen=True):
    """A tool that its vendor runs, or knows without being told its schema: web search, a shell."""

    type: str
    dialect: Dialect


class Choice(msgspec.Struct, frozen=True):
    """Which tools may or must be called.

    `name` is set with the mode `named`. `allowed` restricts the tools to these names; it is a hard bound.
    """

    mode: Literal["auto", "required", "none", "named"]
    name: str | None = None
    allowed: tuple[str, ...] | None = None


# --- how to go on -------------------------------------------------------------------------------------


class Format(msgspec.Struct, frozen=True):
    """What the reply has to be: a JSON object, or one that fits `schema`."""

    kind: Literal["json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema: Json | None = None
    strict: bool | None = None


Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class Reasoning(msgspec.Struct, frozen=True):
    """How much to think. `budget` is in tokens, as Messages gives it; an `effort` of None is nobody's wish.

    `shown` asks for summaries (True) or for none (False) of the thinking; `encrypted` for what a client needs
    to replay it without anybody storing it.
    """

    effort: Effort | None = None
    budget: int | None = None
    shown: bool | None = None
    encrypted: bool = False


class Sampling(msgspec.Struct, frozen=True):
    """How the next token is drawn; each None where nothing was said."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    logit_bias: Json | None = None
    logprobs: bool = False
    top_logprobs: int | None = None


NEUTRAL: Final[Mapping[str, float]] = MappingProxyType(
    {"temperature": 1, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0}
)
"""Values of `Sampling` that say nothing, for it is what models do anyway: leaving them out is no loss."""


class Hints(msgspec.Struct, frozen=True):
    """What makes it cheaper or faster and changes nothing of the answer, and whom it is for.

    `user` is the end user as the client names it, `tier` the service tier in OpenAI's words.
    """

    user: str | None = None
    metadata: Json | None = None
    tier: str | None = None
    verbosity: str | None = None
    cache_key: str | None = None
    prediction: Json | None = None


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """A request in no dialect.

    `turns` are in order and as they came: not merged, not repaired (`turns` does that for the dialects that
    need it). System instructions that stand apart (`system`, `instructions`) are turns of the role SYSTEM at
    the front. `max_output` is in tokens. `dropped` are fields (as JSON paths, `messages[2].name`) that the
    reader could not hold and that nobody else can be told of. `echo` holds what a reply of the client's
    dialect repeats of its request, or is shaped by (Responses: nearly all fields; Chat: whether usage was
    asked for, whether functions were given in the legacy form).
    """

    dialect: Dialect
    turns: tuple[Turn, ...]
    stream: bool = False
    tools: tuple[Tool, ...] = ()
    hosted: tuple[Hosted, ...] = ()
    choice: Choice | None = None
    parallel: bool | None = None
    max_output: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    format: Format | None = None
    reasoning: Reasoning = Reasoning()
    sampling: Sampling = Sampling()
    hints: Hints = Hints()
    echo: Json = {}
    dropped: tuple[str, ...] = ()
