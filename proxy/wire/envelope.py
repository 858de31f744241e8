"""What is read of a request body before anything is decoded in full: its top level, and no deeper.

The body becomes a dictionary of undecoded values, so that a value is changed by replacing it and all
others travel on byte for byte. What a body must be is checked here, once, in C where that can be had:
UTF-8, nesting depth, a JSON object, no `model` twice (parsers differ in which one they take, and what we
route by must be what the provider reads).
"""

import dataclasses
import itertools
import re

import msgspec

from proxy.errors import Refusal

Fields = dict[str, msgspec.Raw]
"""The top level of a JSON object: each value as the bytes that came."""

_fields = msgspec.json.Decoder(Fields)
_text = msgspec.json.Decoder(str)
_any = msgspec.json.Decoder()
encode = msgspec.json.Encoder().encode

_BOUNDS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
"""What bounds the output: in Chat, in Chat and Messages, in Responses."""

_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_MODEL = b'"model"'
_DATA_URL = b";base64,"
_FILE = re.compile(rb";base64,[A-Za-z0-9+/_=-]+")
FILE = 4096
"""What a file counts as, in bytes: about a thousand tokens."""

_STEP = {ord("["): 1, ord("]"): -1}
_LONG = 64 * 1024
INTRICATE = 1024 * 1024
"""The most brackets, and quotes of strings with brackets, in a body whose depth is checked."""


class Envelope(msgspec.Struct, frozen=True):
    """The part of a request that routing and limits need.

    `size` is the body's length in bytes, `weight` the same with each file in it (a base64 data URL) counted
    as `FILE` bytes: what a prompt costs has little to do with how large its pictures are. `fields` are all
    top-level fields, undecoded. `wants_usage` says whether the client itself asked for usage in a stream,
    `choices` how many answers it wants. `max_output` is the client's own cap on output tokens, None where
    it set none.
    """

    model: str
    stream: bool
    size: int
    fields: Fields = dataclasses.field(repr=False)
    wants_usage: bool = False
    choices: int = 1
    max_output: int | None = None
    weight: int = 0


def read(body: bytes, max_depth: int) -> Envelope:
    """The envelope of a request body, in whichever dialect. Raises `Refusal` 400 naming what is wrong."""
    fields = decode(body, max_depth)
    model = _model(fields, body)
    stream = _boolean(fields, "stream")
    return Envelope(
        model=model,
        stream=stream,
        size=len(body),
        weight=weight_of(body),
        fields=fields,
        wants_usage=stream and _asks_usage(fields),
        choices=_count(fields, "n") or 1,
        max_output=next(filter(None, (_count(fields, name) for name in _BOUNDS)), None),
    )


def decode(body: bytes, max_depth: int) -> Fields:
    """The top-level fields of a JSON object. Raises `Refusal` 400."""
    if not body:
        raise Refusal(400, "The request body is empty; a JSON object was expected.")
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise Refusal(400, f"The request body is not valid UTF-8 at byte {error.start}.") from None
    if too_deep(body, max_depth):
        raise Refusal(400, f"The request body is nested deeper than {max_depth} levels, or too intricate.")
    try:
        return _fields.decode(body)
    except msgspec.ValidationError:
        raise Refusal(400, "The request body must be a JSON object.") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refusal(400, f"The request body is not valid JSON: {error}.") from None


def too_deep(body: bytes, limit: int) -> bool:
    """Whether brackets are nested deeper than `limit`, brackets inside strings not counted.

    All in C: escaped quotes are removed, then all but brackets (of one kind from here on) and quotes,
    then the strings; what is left shrinks by its innermost pairs once per level. Bodies with few brackets
    skip all of it. A body with more than `INTRICATE` of what is left counts as too deep: to look closer
    would hold everybody else up.
    """
    if body.count(b"{") + body.count(b"[") <= limit:
        return False
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = body.translate(_ONE_KIND, _STRUCTURE).replace(b'""', b"")
    if marks.count(b'"') > INTRICATE:
        return True
    brackets = b"".join(marks.split(b'"')[::2])
    if len(brackets) > _LONG:
        return (
            len(brackets) > INTRICATE or max(itertools.accumulate(map(_STEP.__getitem__, brackets))) > limit
        )
    for _ in range(limit):
        shorter = brackets.replace(b"[]", b"")
        if len(shorter) == len(brackets):
            # Nothing closes: unbalanced, which the decoder will say better, unless it runs deep.
            return len(shorter) > limit
        brackets = shorter
    return bool(brackets)


def _model(fields: Fields, body: bytes) -> str:
    raw = fields.get("model")
    if raw is None:
        raise Refusal(
            400, "You must provide a model parameter.", param="model", code="missing_required_parameter"
        )
    try:
        model = _text.decode(raw)
    except (msgspec.MsgspecError, UnicodeError):
        raise Refusal(400, "'model' must be a string.", param="model", code="invalid_type") from None
    if not model:
        raise Refusal(400, "'model' must not be empty.", param="model", code="invalid_value")
    times = body.count(_MODEL)
    if times > 1 and _repeats(fields, times):
        raise Refusal(400, "'model' is given more than once.", param="model", code="duplicate_parameter")
    return model


def _repeats(fields: Fields, times: int) -> bool:
    """Whether a body that holds `"model"` so many times holds it twice as a key of its top level.

    The decoder has kept one value a key: what is neither in a kept value nor the one kept key was dropped.
    """
    return times - sum(bytes(raw).count(_MODEL) for raw in fields.values()) > 1


def weight_of(body: bytes) -> int:
    """What a body counts as, in bytes: each file in it as `FILE`."""
    if _DATA_URL not in body:
        return len(body)
    files = [match.end() - match.start() for match in _FILE.finditer(body)]
    return len(body) - sum(files) + FILE * len(files)


def _boolean(fields: Fields, name: str) -> bool:
    raw = fields.get(name)
    if raw is None:
        return False
    value = bytes(raw)
    if value in (b"false", b"null"):
        return False
    if value == b"true":
        return True
    raise Refusal(400, f"'{name}' must be a boolean.", param=name, code="invalid_type")


def _count(fields: Fields, name: str) -> int | None:
    raw = fields.get(name)
    if raw is None:
        return None
    try:
        value = _any.decode(raw)
    except msgspec.MsgspecError:
        return None
    # A wrong type is the provider's to refuse: it says it better than we could.
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _asks_usage(fields: Fields) -> bool:
    raw = fields.get("stream_options")
    if raw is None:
        return False
    try:
        options = _any.decode(raw)
    except msgspec.MsgspecError:
        return False
    return isinstance(options, dict) and options.get("include_usage") is True
