"""Embeddings on the wire: vectors that are made up, but always the same for the same text.

Rule: a vector has length 1 and its numbers are what a 32-bit float can hold, so that the base64 form (little
endian, as the SDK asks for) and the plain form of the same text are equal. Usage is real: tokens given as
numbers are counted, text is counted like a prompt.
"""

import base64
import functools
import hashlib
import math
import struct
from dataclasses import dataclass
from typing import Literal

import msgspec

from mockprovider.answer import Ask, Unreadable, prompt_tokens
from mockprovider.reading import decoded, required

_DIMENSIONS = 1536
_MOST_DIMENSIONS = 8192
_MOST_INPUTS = 2048

One = str | tuple[int, ...]


class Request(msgspec.Struct):
    """The fields of a request. `input` is text, token numbers, or a list of either."""

    model: str = ""
    input: object = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    x_mock: msgspec.Raw = msgspec.Raw()


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request as read: one vector for each of `inputs`."""

    ask: Ask
    inputs: tuple[One, ...]
    dimensions: int
    packed: bool


_DECODER = msgspec.json.Decoder(Request)


def read(body: bytes, model: str) -> Wanted:
    """A request body; `model` stands in for one that the URL names. Raises Unreadable."""
    request = decoded(_DECODER, body)
    required(request.model or model, "model")
    inputs = _inputs(request.input)
    dimensions = _DIMENSIONS if request.dimensions is None else request.dimensions
    if not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise Unreadable(f"Invalid 'dimensions': expected 1 to {_MOST_DIMENSIONS}.", "dimensions")
    ask = Ask(model=request.model or model, fault=bytes(request.x_mock))
    return Wanted(ask, inputs, dimensions, request.encoding_format == "base64")


def _inputs(given: object) -> tuple[One, ...]:
    many = given if isinstance(given, list) else [given]
    if many and all(isinstance(each, int) for each in many):
        many = [many]
    if not 1 <= len(many) <= _MOST_INPUTS:
        raise Unreadable(f"Invalid 'input': expected 1 to {_MOST_INPUTS} inputs.", "input")
    return tuple(map(_one, many))


def _one(given: object) -> One:
    if isinstance(given, str) and given:
        return given
    if isinstance(given, list) and given and all(isinstance(number, int) for number in given):
        return tuple(given)
    raise Unreadable("Invalid 'input': expected text or token numbers that are not empty.", "input")


def _tokens(given: One) -> int:
    return prompt_tokens(len(given.encode())) if isinstance(given, str) else len(given)


@functools.lru_cache(maxsize=256)
def vector(given: One, dimensions: int) -> tuple[float, ...]:
    """The unit vector of a text, as numbers a 32-bit float can hold."""
    seed = given.encode() if isinstance(given, str) else repr(given).encode()
    drawn = struct.unpack(f"<{dimensions}i", hashlib.shake_256(seed).digest(4 * dimensions))
    length = math.hypot(*drawn) or 1.0
    return struct.unpack(f"<{dimensions}f", _pack([number / length for number in drawn]))


def _pack(numbers: list[float] | tuple[float, ...]) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


def reply(wanted: Wanted, claimed: int | None = None) -> bytes:
    """The whole reply; `claimed` replaces the counted tokens."""
    data = []
    for index, given in enumerate(wanted.inputs):
        numbers = vector(given, wanted.dimensions)
        embedding = base64.b64encode(_pack(numbers)).decode() if wanted.packed else numbers
        data.append({"object": "embedding", "index": index, "embedding": embedding})
    counted = sum(map(_tokens, wanted.inputs)) if claimed is None else claimed
    usage = {"prompt_tokens": counted, "total_tokens": counted}
    return msgspec.json.encode({"object": "list", "data": data, "model": wanted.ask.model, "usage": usage})
