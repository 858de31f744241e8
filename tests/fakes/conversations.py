"""Random conversations and replies in the canonical model, as far as a dialect carries them (hypothesis)."""

import functools
import json
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from hypothesis import strategies as st

from proxy.profiles import Quirks
from proxy.wire.codec import Facts
from proxy.wire.conversation import (
    Audio,
    Block,
    CacheFor,
    Choice,
    Conversation,
    Document,
    Effort,
    Format,
    Hints,
    Image,
    Inline,
    Reasoning,
    Role,
    Sampling,
    Seal,
    Text,
    Thinking,
    Tool,
    ToolResult,
    ToolUse,
    Turn,
    Url,
)
from proxy.wire.events import Added, Began, Closed, Counted, Event, Finished, Kind, Opened, Reason
from proxy.wire.model import Dialect, Usage

FACTS = {
    dialect: Facts(
        "m",
        Quirks(
            output_cap="max_completion_tokens",
            developer_role=True,
            mid_system=True,
            top_k=True,
            thinks="adaptive" if dialect is Dialect.MESSAGES else "effort",
            reasoning_history="keep",
            files=True,
            audio=True,
            tool_images=True,
            custom_tools=True,
            cache_marks=True,
            openai_hints=True,
        ),
    )
    for dialect in Dialect
}
"""Providers that take all that their dialect can say."""

words = st.text(max_size=6).map("a{}b".format)
names = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
objects = st.dictionaries(names, st.one_of(words, st.integers(-9, 9), st.booleans()), max_size=2)
schemas = st.dictionaries(names, st.sampled_from([{"type": "string"}, {"type": "integer"}]), max_size=2).map(
    lambda properties: {
        "type": "object",
        "properties": properties,
        "required": sorted(properties),
        "additionalProperties": False,
    }
)
urls = st.builds(lambda name: Url(f"https://x.example/{name}"), names)
PNG = Inline("image/png", "iVBORw0KGgo=")
PDF = Inline("application/pdf", "JVBERi0=")
_OPENAI = (Dialect.CHAT, Dialect.RESPONSES)


@functools.cache
def _images(dialect: Dialect) -> st.SearchStrategy[Image]:
    source = st.one_of(urls, st.just(PNG))
    by_dialect: dict[Dialect, list[str | None]] = {
        Dialect.CHAT: [None, "low", "high"],
        Dialect.RESPONSES: ["auto", "low"],
        Dialect.MESSAGES: [None],
    }
    return st.builds(Image, source, st.sampled_from(by_dialect[dialect]))


@functools.cache
def _documents(dialect: Dialect) -> st.SearchStrategy[Document]:
    whole = st.builds(Document, st.just(PDF), st.builds("{}.pdf".format, names))
    if dialect is Dialect.CHAT:
        return whole
    return st.one_of(whole, st.builds(Document, urls))


@functools.cache
def _texts(mark: CacheFor | None) -> st.SearchStrategy[Text]:
    return st.builds(Text, words, st.just(mark))


@functools.cache
def _said(dialect: Dialect, mark: CacheFor | None = None) -> st.SearchStrategy[tuple[Block, ...]]:
    """What a user says: text between other parts."""
    kinds: list[st.SearchStrategy[Block]] = [_images(dialect), _documents(dialect)]
    if dialect is Dialect.CHAT:
        kinds.append(st.builds(Audio, st.just("wav"), st.just("UklGRg==")))
    return st.one_of(
        st.tuples(_texts(mark)),
        st.tuples(_texts(None), st.one_of(kinds), _texts(mark)),
        st.tuples(st.one_of(kinds)),
    )


@functools.cache
def _thoughts(dialect: Dialect) -> st.SearchStrategy[Thinking]:
    if dialect is Dialect.CHAT:
        return st.builds(Thinking, words)
    if dialect is Dialect.MESSAGES:
        seal = st.builds(Seal, st.just(dialect), st.just("m"), words)
        return st.one_of(
            st.builds(Thinking, words, seal), st.builds(Thinking, st.just(""), seal, st.just(value=True))
        )
    value = st.builds(
        lambda name, text: json.dumps({"id": f"rs_{name}", "encrypted_content": text}), names, words
    )
    return st.builds(Thinking, words, st.builds(Seal, st.just(dialect), st.just("m"), value))


_numbers = st.integers(0, 59)
Option = TypeVar("Option")


def _one_of(draw: st.DrawFn, options: Sequence[Option]) -> Option:
    """One of a few values. Strategies that are made while drawing would be slow."""
    return options[draw(_numbers) % len(options)]


def _round(draw: st.DrawFn, dialect: Dialect, number: int, tools: Sequence[Tool]) -> list[Turn]:
    """A user's turn and the assistant's, perhaps with calls and their results."""
    turns = [Turn(Role.USER, draw(_said(dialect)))]
    if draw(_numbers) % 5 == 0:
        role = Role.SYSTEM if dialect is Dialect.MESSAGES else _one_of(draw, [Role.SYSTEM, Role.DEVELOPER])
        return [*turns, Turn(role, (Text(draw(words)),)), Turn(Role.ASSISTANT, (Text(draw(words)),))]
    calls = [
        _call(draw, f"call_{number}_{place}", tools) for place in range(draw(_numbers) % 3 if tools else 0)
    ]
    said: list[Block] = [draw(_thoughts(dialect))] if _one_of(draw, [True, False]) else []
    if not calls or _one_of(draw, [True, False]):
        said.append(Text(draw(words)))
    turns.append(Turn(Role.ASSISTANT, (*said, *calls)))
    if calls:
        turns.append(Turn(Role.USER, tuple(_result(draw, dialect, call) for call in calls)))
        turns.append(Turn(Role.ASSISTANT, (Text(draw(words)),)))
    return turns


def _call(draw: st.DrawFn, name: str, tools: Sequence[Tool]) -> ToolUse:
    tool = _one_of(draw, tools)
    return ToolUse(name, tool.name, draw(words) if tool.custom else json.dumps(draw(objects)), tool.custom)


def _result(draw: st.DrawFn, dialect: Dialect, call: ToolUse) -> ToolResult:
    content: list[Any] = [Text(draw(words))]
    if dialect is not Dialect.CHAT and not call.custom and _one_of(draw, [True, False]):
        content.append(draw(_images(dialect)))
    error = _one_of(draw, [None, True]) if dialect is Dialect.MESSAGES else None
    return ToolResult(call.id, tuple(content), error, call.custom)


_two_names = st.lists(names, max_size=2, unique=True)


def _tools(draw: st.DrawFn, dialect: Dialect) -> tuple[Tool, ...]:
    strict: list[bool | None] = [True, False] if dialect is Dialect.RESPONSES else [None, True]
    return tuple(
        Tool(name, draw(words), custom=True)
        if dialect in _OPENAI and draw(_numbers) % 4 == 0
        else Tool(name, draw(words), draw(schemas), _one_of(draw, strict))
        for name in draw(_two_names)
    )


def _choice(draw: st.DrawFn, dialect: Dialect, tools: Sequence[Tool]) -> Choice | None:
    if not tools:
        return None
    kinds: list[Choice | None] = [Choice("auto"), Choice("required"), Choice("none")]
    kinds.append(Choice("named", tools[0].name))
    if dialect in _OPENAI:
        kinds += [None, Choice("required", allowed=(tools[0].name,))]
    return _one_of(draw, kinds)


@functools.cache
def _formats(dialect: Dialect) -> st.SearchStrategy[Format | None]:
    if dialect is Dialect.MESSAGES:
        return st.one_of(
            st.none(), st.builds(Format, st.just("json_schema"), schema=schemas, strict=st.just(value=True))
        )
    schema = st.builds(Format, st.just("json_schema"), names, words, schemas, st.booleans())
    return st.one_of(st.none(), st.just(Format("json_object")), schema)


@functools.cache
def _sampling(dialect: Dialect) -> st.SearchStrategy[Sampling]:
    share = st.sampled_from([None, 0.25, 1.0])
    if dialect is Dialect.MESSAGES:
        one = st.one_of(st.builds(Sampling, share), st.builds(Sampling, top_p=share))
        return st.one_of(one, st.builds(Sampling, top_k=st.just(5)))
    if dialect is Dialect.RESPONSES:
        return st.builds(Sampling, share, share)
    penalty = st.sampled_from([None, -1.0, 0.5])
    return st.builds(
        Sampling,
        share,
        share,
        presence_penalty=penalty,
        frequency_penalty=penalty,
        seed=st.sampled_from([None, 7]),
        logit_bias=st.sampled_from([None, {"50256": -100}]),
    )


@functools.cache
def _hints(dialect: Dialect) -> st.SearchStrategy[Hints]:
    user = st.one_of(st.none(), names)
    if dialect is Dialect.MESSAGES:
        return st.builds(Hints, user)
    metadata = st.dictionaries(names, words, min_size=1, max_size=1)
    return st.builds(
        Hints,
        user,
        st.one_of(st.none(), metadata) if dialect is Dialect.RESPONSES else st.none(),
        st.sampled_from([None, "flex"]),
        st.sampled_from([None, "low"]),
        st.one_of(st.none(), names),
    )


_bounds = st.integers(16, 9999)
_stops = st.lists(words, max_size=2)
_MARKS: Sequence[CacheFor | None] = (None, "short", "long")
_EFFORTS: Sequence[Effort | None] = (None, "low", "high")


@st.composite
def conversations(draw: st.DrawFn, dialect: Dialect) -> Conversation:
    """A conversation that `dialect` carries whole."""
    tools = _tools(draw, dialect)
    turns = [Turn(Role.SYSTEM, (Text(draw(words)),))] if _one_of(draw, [True, False]) else []
    for number in range(draw(_numbers) % 3):
        turns += _round(draw, dialect, number, tools)
    turns.append(Turn(Role.USER, draw(_said(dialect, _one_of(draw, _MARKS)))))
    choice = _choice(draw, dialect, tools)
    forced = dialect is Dialect.MESSAGES and choice is not None and choice.mode in ("required", "named")
    effort = None if forced else _one_of(draw, _EFFORTS)
    return Conversation(
        dialect=dialect,
        turns=tuple(turns),
        stream=_one_of(draw, [True, False]),
        tools=tools,
        choice=choice,
        parallel=_one_of(draw, [None, False]) if choice and choice.mode != "none" else None,
        max_output=draw(_bounds),
        stop=tuple(draw(_stops)) if dialect is not Dialect.RESPONSES else (),
        n=_one_of(draw, [1, 2]) if dialect is Dialect.CHAT else 1,
        format=draw(_formats(dialect)),
        reasoning=Reasoning(effort),
        sampling=draw(_sampling(dialect)) if effort is None else Sampling(),
        hints=draw(_hints(dialect)),
    )


# --- replies ------------------------------------------------------------------------------------------


@st.composite
def replies(draw: st.DrawFn, dialect: Dialect) -> list[Event]:
    """The events of a reply that `dialect` can say: thinking, then text, then calls."""
    blocks: list[tuple[Opened, str]] = []
    if _one_of(draw, [True, False]):
        blocks.append((Opened("thinking"), draw(words)))
    kinds: list[Kind] = ["text", "declined"] if dialect in _OPENAI else ["text"]
    calls = draw(_numbers) % 3
    if not calls or _one_of(draw, [True, False]):
        blocks.append((Opened(_one_of(draw, kinds)), draw(words)))
    for place in range(calls):
        given = msgspec.json.encode(draw(objects)).decode()
        blocks.append((Opened("tool", f"call_{place}", draw(names)), given))
    out: list[Event] = [Began("m")]
    for opened, text in blocks:
        at = draw(_numbers) % len(text)
        sealed = opened.kind == "thinking" and dialect is Dialect.MESSAGES
        out += [opened, *(Added(piece) for piece in (text[:at], text[at:]) if piece)]
        out.append(Closed(Seal(dialect, "m", draw(words)) if sealed else None))
    more = (draw(_numbers) for _ in range(5))
    usage = Usage(next(more) + 120, next(more) + 60, *more)
    reasons: list[Reason] = ["tool_use"] if calls else ["stop", "length", "content_filter"]
    return [*out, Counted(usage), Finished(_one_of(draw, reasons))]
