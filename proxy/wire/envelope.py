"""What is read of a request body before anything is decoded in full: its top level, and no deeper.

The body becomes a dictionary of undecoded values, so that a value is changed by replacing it and all
others travel on byte for byte. What a body must be is checked here, once, in C where that can be had:
UTF-8, nesting depth, a JSON object, no `model` twice (parsers differ in which one they take, and what we
route by must be what the provider reads).

Long bodies are looked at in pieces, so that others may have a turn between two of them. What may be rare is
looked for with `find` and a single byte: that is memchr, which takes a hundredth of a nanosecond a byte where
`count`, regular expressions and longer needles take a third to one and a half.
"""

import codecs
import itertools
import re
from collections.abc import Generator, Iterable, Iterator

import msgspec

from proxy.errors import Refusal
from proxy.wire.nesting import Nesting

Fields = dict[str, msgspec.Raw]
"""The top level of a JSON object: each value as the bytes that came."""

_fields = msgspec.json.Decoder(Fields)
_text = msgspec.json.Decoder(str)
_any = msgspec.json.Decoder()
encode = msgspec.json.Encoder().encode

_BOUNDS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
"""What bounds the output: in Chat, in Chat and Messages, in Responses."""

_NOT_OPENING = bytes(set(range(256)) - set(b"[{"))
_MODEL = b'"model"'
_DATA_URL = b";base64,"
_FEW_SEMICOLONS = 64
_BASE64 = re.compile(rb"[A-Za-z0-9+/_=-]{1,256}")
_BASE64_LETTERS = bytes(code for code in range(256) if _BASE64.fullmatch(bytes((code,))))
_FEW_LETTERS = 256  # as many as the expression takes
FILE = 4096
"""What a file counts as, in bytes: about a thousand tokens."""

FIELDS = 1000
"""The most top-level fields. No dialect has a tenth of them; a million would take a second to decode."""

_BLANK = rb"[ \t\r\n]{0,64}"
_KEY = re.compile(rb'%b[{,]%b"([^"\\]{0,64})"%b:%b' % (_BLANK, _BLANK, _BLANK, _BLANK))
_END = re.compile(rb"%b}%b" % (_BLANK, _BLANK))
_WALKED = 64  # fields
_SHORT = 8 * 1024
"""Bytes in which it is quicker to count all of something than to go from one to the next."""

PIECE = 128 * 1024
"""Bytes that are looked at in one go: a fraction of a millisecond. At least 4, the longest character."""

_SEARCHED = 8 * PIECE
_PER_FILE = PIECE // 256  # bytes that could be looked at while a file is found


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
    fields: Fields
    wants_usage: bool = False
    choices: int = 1
    max_output: int | None = None
    weight: int = 0


def read(body: bytes, max_depth: int) -> Envelope:
    """The envelope of a request body, in whichever dialect. Raises `Refusal` 400 naming what is wrong."""
    *_, seen = reading(body, max_depth)
    assert seen is not None
    return seen


def reading(body: bytes, max_depth: int) -> Iterator[Envelope | None]:
    """As `read`, in steps: None where others may have a turn, the envelope at last.

    A step is about a `PIECE`, but for what is one call: decoding, which takes a quarter of a millisecond a
    megabyte (of blanks: three), and the look for a second `model`, which takes half a one.
    """
    yield from _checks(body, max_depth)
    if len(body) > PIECE:
        yield None
    fields = _decode(body)
    if len(body) > PIECE:
        yield None
    model = _model(fields, body)
    stream = _boolean(fields, "stream")
    weight = (yield from weighing(body)) if b";" in body else len(body)
    yield Envelope(
        model=model,
        stream=stream,
        size=len(body),
        weight=weight,
        fields=fields,
        wants_usage=stream and _asks_usage(fields),
        choices=_count(fields, "n") or 1,
        max_output=_bound(fields),
    )


def decode(body: bytes, max_depth: int) -> Fields:
    """The top-level fields of a JSON object. Raises `Refusal` 400."""
    for _ in _checks(body, max_depth):
        pass
    return _decode(body)


class _Key(str):
    """A key that the decoder asks us about: that is where keys are counted."""

    __slots__ = ()


_Counted = dict[_Key, msgspec.Raw]


def _decode(body: bytes) -> Fields:
    try:
        fields = _fields.decode(body) if len(body) <= PIECE else _decode_counted(body)
    except msgspec.ValidationError:
        raise Refusal(400, "The request body must be a JSON object.") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refusal(400, f"The request body is not valid JSON: {error}.") from None
    if len(fields) > FIELDS:
        raise _too_many()
    return fields


def _decode_counted(body: bytes) -> Fields:
    """The same fields; one too many ends it at once."""
    left = itertools.repeat(True, FIELDS)

    def key(_: type, name: str) -> _Key:
        if next(left, None) is None:
            raise _too_many()
        return _Key(name)

    counted = msgspec.json.Decoder(_Counted, dec_hook=key).decode(body)
    return {str(name): value for name, value in counted.items()}


def _too_many() -> Refusal:
    return Refusal(400, f"The request body has more than {FIELDS} top-level fields.")


def body_of(fields: Fields) -> bytes:
    """A long body of these fields, as `encode` would write it, but copied once: that lets its bytes grow."""
    parts: list[bytes] = []
    for name, value in fields.items():
        parts += (b",", encode(name), b":", value)
    parts[:1] = [b"{"]
    return b"".join([*parts, b"}"])


def _checks(body: bytes, max_depth: int) -> Iterable[None]:
    """What has to be true before a body is decoded; a step a piece, none where one look says it all.

    Raises `Refusal` 400.
    """
    if not body:
        raise Refusal(400, "The request body is empty; a JSON object was expected.")
    is_ascii, is_flat = body.isascii(), _has_few_brackets(body, max_depth)
    if is_ascii and is_flat:
        return ()
    return itertools.chain(
        () if is_ascii else _check_text(body), () if is_flat else _check_depth(body, max_depth)
    )


def _check_text(body: bytes) -> Iterator[None]:
    """That a body is UTF-8. A character that a piece cuts is left to the next one."""
    start = 0
    while start < len(body):
        if start:
            yield None
        piece = body[start : start + PIECE]
        try:
            start += codecs.utf_8_decode(piece, "strict", start + PIECE >= len(body))[1]
        except UnicodeDecodeError as error:
            at = start + error.start
            raise Refusal(400, f"The request body is not valid UTF-8 at byte {at}.") from None


def _check_depth(body: bytes, max_depth: int) -> Iterator[None]:
    """That a body is not nested deeper."""
    nesting = Nesting(max_depth)
    for start in range(0, len(body), PIECE):
        if start:
            yield None
        nesting.feed(body[start : start + PIECE])
        if nesting.too_deep:
            raise Refusal(
                400, f"The request body is nested deeper than {max_depth} levels, or too intricate."
            )


def _has_few_brackets(body: bytes, most: int) -> bool:
    """Whether there are at most so many opening ones, in strings or not. Stops at one too many."""
    if len(body) <= _SHORT:
        return len(body.translate(None, _NOT_OPENING)) <= most
    for bracket in (b"{", b"["):
        at = body.find(bracket)
        while at >= 0:
            most -= 1
            if most < 0:
                return False
            at = body.find(bracket, at + 1)
    return True


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
    if len(body) <= _SHORT or not _all_kept(fields, body):
        times = body.count(_MODEL)
        if times > 1 and _repeats(fields, times):
            raise Refusal(400, "'model' is given more than once.", param="model", code="duplicate_parameter")
    return model


def _all_kept(fields: Fields, body: bytes) -> bool:
    """Whether a body is plainly these fields one after another: nothing was dropped, so nothing is double."""
    if len(fields) > _WALKED:
        return False
    at = 0
    for _ in range(len(fields)):
        key = _KEY.match(body, at)
        value = fields.get(key[1].decode()) if key is not None else None
        if key is None or value is None or not _stands(value, body, key.end()):
            return False
        at = key.end() + len(value)
    return _END.fullmatch(body, at) is not None


def _stands(value: msgspec.Raw, body: bytes, at: int) -> bool:
    """Whether a body goes on with `value` at `at`. No long copy is made of it."""
    if len(value) <= PIECE:
        return body.startswith(bytes(value), at)
    view = memoryview(value)
    return all(body.startswith(bytes(view[p : p + PIECE]), at + p) for p in range(0, len(view), PIECE))


def _repeats(fields: Fields, times: int) -> bool:
    """Whether a body that holds `"model"` so many times holds it twice as a key of its top level.

    The decoder has kept one value a key: what is neither in a kept value nor the one kept key was dropped.
    """
    return times - sum(bytes(raw).count(_MODEL) for raw in fields.values()) > 1


def weighing(body: bytes) -> Generator[None, None, int]:
    """What a body counts as, in bytes: each file in it as `FILE`. In steps, as `reading`."""
    weight = len(body)
    end = _first_semicolon(body)
    turn = end + PIECE
    while 0 <= end < len(body):
        at = body.find(_DATA_URL, end, end + _SEARCHED)
        if at < 0:
            end += _SEARCHED - len(_DATA_URL) + 1
        else:
            begin = end = at + len(_DATA_URL)
            letters = _BASE64.match(body, begin)
            if letters is not None:
                end = letters.end()
                if end - begin == _FEW_LETTERS:
                    end = yield from _end_of_file(body, begin)
                weight += FILE - (end - at)
            turn -= _PER_FILE
        if turn <= end < len(body):
            yield None
            turn = end + PIECE
    return weight


def _first_semicolon(body: bytes) -> int:
    """Where data URLs may begin: at one of the few first, or somewhere behind them; -1 if nowhere."""
    at = body.find(b";")
    for _ in range(_FEW_SEMICOLONS):
        if at < 0 or body.startswith(_DATA_URL, at):
            break
        at = body.find(b";", at + 1)
    return at


def _end_of_file(body: bytes, begin: int) -> Generator[None, None, int]:
    """Where the base64 ends that begins at `begin`, and is more than a few letters.

    What is looked at next is four times what has been passed, so that no file costs much more than its size.
    """
    at = begin + _FEW_LETTERS
    while piece := body[at : at + min(4 * (at - begin), PIECE)]:
        other = piece.translate(None, _BASE64_LETTERS)
        if other:
            return at + piece.find(other[:1])
        at += len(piece)
        if len(piece) == PIECE:
            yield None
    return at


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


def _bound(fields: Fields) -> int | None:
    """The first bound of the output that is one."""
    for name in _BOUNDS:
        bound = _count(fields, name) if name in fields else None
        if bound is not None:
            return bound
    return None


def _asks_usage(fields: Fields) -> bool:
    raw = fields.get("stream_options")
    if raw is None:
        return False
    try:
        options = _any.decode(raw)
    except msgspec.MsgspecError:
        return False
    return isinstance(options, dict) and options.get("include_usage") is True
