"""Whether a reply, an event or a whole stream is what the published documents and grammars say it is.

Rule: what is said in the Responses dialect must satisfy OpenAI's document and Open Responses' alike; where
that cannot be, `exemptions` says what holds. Problems are sentences for people; no sentence means valid.
"""

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from referencing import Registry, Resource

from schemas import exemptions, unions
from schemas.chat_grammar import ChatGrammar
from schemas.frames import Frame, frames
from schemas.messages_grammar import MessagesGrammar
from schemas.responses_grammar import ResponsesGrammar

DOCUMENTS = ("openai", "anthropic", "openresponses")
_OPENAI = {
    "embeddings": ["openai CreateEmbeddingResponse"],
    "error": ["openai ErrorResponse"],
    "model": ["openai Model"],
    "models": ["openai ListModelsResponse"],
}
SCHEMAS: dict[str, dict[str, list[str]]] = {
    "chat": {
        **_OPENAI,
        "event": ["openai CreateChatCompletionStreamResponse"],
        "reply": ["openai CreateChatCompletionResponse"],
    },
    "messages": {
        "count": ["anthropic CountMessageTokensResponse"],
        "error": ["anthropic ErrorResponse"],
        "event": ["anthropic MessageStreamEvent"],
        "model": ["anthropic ModelInfo"],
        "models": ["anthropic ListResponse_ModelInfo_"],
        "reply": ["anthropic Message"],
    },
    "responses": {
        **_OPENAI,
        "compaction": ["openai CompactResource", "openresponses CompactResource"],
        "count": ["openai TokenCountsResource"],
        "deleted": ["own DeletedResponse"],
        "event": ["openai ResponseStreamEvent", "openresponses StreamEvent", "own FinishedEvent"],
        "input_items": ["openai ResponseItemList"],
        "reply": ["openai Response", "openresponses ResponseResource", "own FinishedResponse"],
        "socket_error": ["openai ResponseWsError", "openresponses WebSocketErrorEvent"],
    },
}
"""What each kind of value must satisfy. A WebSocket's other events are those of a stream."""

_SHOWN = 200


class Grammar(Protocol):
    """The order that events of a dialect keep. It is told events that fit their schemas."""

    ends_with_done: bool

    def read(self, name: str, event: Any) -> Iterator[str]:
        """What is wrong with an event in its place; `name` is that of its `event:` line."""

    def end(self) -> Iterator[str]:
        """What is missing when nothing more comes."""


GRAMMARS: dict[str, Callable[[], Grammar]] = {
    "chat": ChatGrammar,
    "messages": MessagesGrammar,
    "responses": ResponsesGrammar,
}


def problems(dialect: str, kind: str, value: Any) -> list[str]:
    """What is wrong with a decoded value, by document and place. KeyError: the dialect has no such kind."""
    if kind == "event" and dialect == "chat" and isinstance(value, dict) and "error" in value:
        kind = "error"
    return [
        f"{name.partition(' ')[0]}: {_sentence(error)}"
        for name in SCHEMAS[dialect][kind]
        for error in _validator(name).iter_errors(value)
    ]


def stream_problems(dialect: str, raw: bytes) -> list[str]:
    """What is wrong with a whole stream: its bytes, each event, and their order up to the first bad one."""
    told, found = frames(raw)
    grammar = GRAMMARS[dialect]()
    in_order = True
    for number, frame in enumerate(told):
        if frame.data == "[DONE]":
            here = [] if grammar.ends_with_done and frame is told[-1] else ["[DONE] may not be here"]
        else:
            here = _event_problems(dialect, frame)
            in_order = in_order and not here
            if in_order:
                here = list(grammar.read(frame.name, json.loads(frame.data)))
        found += [f"event {number} {frame.name}".rstrip() + f": {each}" for each in here]
    if grammar.ends_with_done and not (told and told[-1].data == "[DONE]"):
        found.append("the end: no [DONE]")
    if in_order:
        found += [f"the end: {each}" for each in grammar.end()]
    return found


def _event_problems(dialect: str, frame: Frame) -> list[str]:
    try:
        event = json.loads(frame.data)
    except ValueError:
        return [f"not JSON: {frame.data[:_SHOWN]}"]
    return problems(dialect, "event", event)


def _sentence(error: ValidationError) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path)
    where = "".join(steps).removeprefix(".")
    said = error.message if len(error.message) <= _SHOWN else f"{error.message[:_SHOWN]} ..."
    return f"{where}: {said}" if where else said


@functools.cache
def _validator(name: str) -> Validator:
    """The validator of a schema by its document and name."""
    document, _, schema = name.partition(" ")
    made: Validator = _choosing()({"$ref": f"{document}#/$defs/{schema}"}, registry=_registry())
    return made


@functools.cache
def _choosing() -> Any:
    keywords: dict[str, Any] = dict.fromkeys(unions.KEYWORDS.values(), unions.choose)
    keywords["properties"] = unions.properties
    return extend(Draft202012Validator, keywords)  # type: ignore[no-untyped-call]  # its stub has no return type


@functools.cache
def _registry() -> Registry[Any]:
    read = {document: exemptions.widened(document, published(document)) for document in DOCUMENTS}
    read["own"] = exemptions.OWN
    resources = ((document, Resource.from_contents(_compiled(schemas))) for document, schemas in read.items())
    return Registry().with_resources(resources)


def published(document: str) -> dict[str, Any]:
    """The schemas of a document as they were extracted, not yet widened."""
    text = Path(__file__).with_name(f"{document}.json").read_text(encoding="utf-8")
    read: dict[str, Any] = json.loads(text)
    return read


def _compiled(schemas: dict[str, Any]) -> dict[str, Any]:
    defined = unions.sorted_out(schemas["$defs"], schemas["$defs"])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": defined}
