"""What the checks of all clients say and show: tools, pictures, a shape to answer in, reasoning."""

import base64
import struct
import zlib

import pydantic
import upstream
from cells import Fields, Place, same

THOUGHT = "First I wonder, then I know."
TOOL = "get_weather"
TOOL_TEXT = "What the tool is for."
ARGUMENTS: Fields = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEB_IMAGE = "https://pictures.example/cat.png"


class Weather(pydantic.BaseModel):
    """The shape that structured output shall have."""

    city: str
    celsius: int


PARIS = Weather(city="Paris", celsius=21)


def png() -> str:
    """A picture of one pixel, in base64."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    drawn = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + drawn).decode()


def pdf() -> str:
    """A file that begins like a PDF, in base64."""
    return base64.b64encode(b"%PDF-1.4\n%%EOF\n").decode()


def moved(at: Place) -> None:
    """What a provider got of a conversation with another: the result, but neither seals nor thoughts."""
    body = at.asked()[-1]
    same([text for _, text in upstream.results(at.kind, body)], ["result 0"])
    same(upstream.seals(at.kind, body), [])
    same([text for _, text in upstream.said(at.kind, body) if THOUGHT in text], [])


def valid(made: pydantic.BaseModel) -> None:
    """Fail unless an object fits the SDK's own type: SDKs build what they get without looking."""
    type(made).model_validate(made.to_dict() if hasattr(made, "to_dict") else made.model_dump())
