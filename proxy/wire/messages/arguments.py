"""Arguments of tools: JSON text everywhere else, a JSON object in Messages.

An argument that is no object would be refused now and in every later turn that repeats it, so whatever a
model wrote becomes one.
"""

from typing import Any

import msgspec

from proxy.wire.conversation import Json

_decoder = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()


def as_object(text: str) -> Json:
    """The arguments as an object: none are `{}`, other values are wrapped, what is no JSON is quoted."""
    if not text or text.isspace():
        return {}
    try:
        value = _decoder.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return {"_raw": text}
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"value": value}


def as_text(value: Any) -> str:
    """An object as the JSON text that the other dialects carry."""
    return _encoder.encode(value).decode()
