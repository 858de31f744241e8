"""Files as `data:` URLs, the form in which Chat Completions and Responses carry them inline.

Source: RFC 2397. Providers refuse a file whose media type is not what its bytes are, so a type that is
missing or plainly wrong is corrected by the file's first bytes.
"""

import re

from proxy.errors import Refusal
from proxy.wire.conversation import Inline, Source, Url

_DATA = re.compile(r"data:(?P<type>[^;,]*)(?:;[^;,]+)*?;base64,", re.IGNORECASE)
_MAGIC = (
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("JVBERi", "application/pdf"),
)
"""The first letters of the base64 form, and the type."""
UNKNOWN = "application/octet-stream"


def source(url: str, path: str) -> Source:
    """Where the bytes are that `url` names. Raises `Refusal` 400 naming `path`."""
    if url[:5].lower() == "data:":
        return inline(url, path)
    if url[:8].lower().startswith(("http://", "https://")):
        return Url(url)
    raise Refusal(
        400,
        f"Invalid '{path}': expected an http or https URL, or a base64 data URL.",
        param=path,
        code="invalid_value",
    )


def inline(url: str, path: str) -> Inline:
    """The bytes in a data URL. Bare base64 counts as one. Raises `Refusal` 400 naming `path`."""
    if url[:5].lower() != "data:":
        return Inline(sniffed(UNKNOWN, url), url)
    match = _DATA.match(url)
    if match is None:
        raise Refusal(400, f"Invalid '{path}': expected a base64 data URL.", param=path, code="invalid_value")
    data = url[match.end() :]
    return Inline(sniffed(match["type"].lower() or UNKNOWN, data), data)


def sniffed(media_type: str, data: str) -> str:
    """The media type that base64 `data` has by its first bytes; `media_type` where they do not tell."""
    for start, known in _MAGIC:
        if data.startswith(start):
            return known
    if data.startswith("UklGR") and data[11:16] == "XRUJQ":
        return "image/webp"
    return "image/jpeg" if media_type == "image/jpg" else media_type


def data_url(file: Inline) -> str:
    """The other way round."""
    return f"data:{file.media_type};base64,{file.data}"
