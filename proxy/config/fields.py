"""The types of single settings (names, URLs, headers, bodies) and the short forms of whole sections.

A type refuses with a sentence of what is allowed and never repeats the value, which may be a secret that
stands in the wrong place. Short forms (`key:` for `keys:`, an entry without `model`, a provider without
`kind`) are spelled out before a section is checked, so that the tree has one form only.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, PlainSerializer

from proxy import addresses
from proxy.config.redis_url import parse
from proxy.config.units import Count, Duration
from proxy.profiles import PROFILES, Dialect, kind_of

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)  # RFC 9110 section 7.6.1, with the older names still seen
FRAMING = frozenset({"host", "content-length", "content-type", "accept-encoding"})
AUTH_HEADERS = frozenset({"authorization", "x-api-key", "api-key"})
SPLICED = frozenset({"model", "stream"})  # set by the proxy in every body

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CLIENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@:+-]{0,63}")
_MODEL = re.compile(r"(?!\.{1,2}$)[\x21-\x7e]{1,256}")  # `.` and `..` would leave their place in a URL
_REDIS_URL = re.compile(r"(redis|rediss|unix|redis\+sentinel|redis\+cluster)://\S+")
_SERVERS = "a URL with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://"
_ORIGIN = re.compile(r"\*|https?://[A-Za-z0-9.\-\[\]:]+")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("letters, digits, `.`, `_` and `-`, at most 64, beginning with a letter or digit")
    return text


def _client_name(text: str) -> str:
    if not _CLIENT_NAME.fullmatch(text):
        raise ValueError("letters, digits, spaces and `._@:+-`, at most 64, beginning with a letter or digit")
    return text


def _model_name(text: str) -> str:
    if not _MODEL.fullmatch(text):
        raise ValueError("1 to 256 visible ASCII characters without spaces")
    return text


def _redis_url(text: str) -> str:
    if text == "embedded":
        return text
    if not _REDIS_URL.fullmatch(text):
        raise ValueError(f"embedded, or {_SERVERS}")
    return _server_url(text)


def _server_url(text: str) -> str:
    if not _REDIS_URL.fullmatch(text):
        raise ValueError(_SERVERS)
    parse(text)
    return text


def _origin(text: str) -> str:
    if not _ORIGIN.fullmatch(text):
        raise ValueError("`*`, or an origin such as https://app.example.com, without a path")
    return text


def _masked_url(text: str) -> str:
    return re.sub(r"//[^@]*@", "//***@", text)


def _masked_values(values: Mapping[str, object]) -> dict[str, str]:
    return dict.fromkeys(values, "***")


def _headers(values: Mapping[str, str]) -> dict[str, str]:
    checked = {name.lower(): value for name, value in values.items()}
    for name, value in checked.items():
        if not _TOKEN.fullmatch(name):
            raise ValueError("header names of letters, digits and !#$%&'*+-.^_`|~")
        if name in HOP_BY_HOP | FRAMING:
            raise ValueError(f"headers other than `{name}`, which belongs to the connection")
        if not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"visible ASCII text for `{name}`, without line breaks or outer spaces")
    if len(checked) != len(values):
        raise ValueError("each header once, whatever its case")
    return checked


def _not_spliced(names: Iterable[str]) -> None:
    taken = SPLICED.intersection(names)
    if taken:
        raise ValueError(f"fields other than `{min(taken)}`, which the proxy sets itself")


def _extra_body(body: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    _not_spliced(body)
    return body


def _drop_params(names: tuple[str, ...]) -> tuple[str, ...]:
    _not_spliced(names)
    return names


def listed(value: object) -> object:
    """One string where a list of strings is meant."""
    return [value] if isinstance(value, str) else value


def plural(data: object, one: str, many: str) -> object:
    """`one: x` spelled out as `many: [x]`. Raises `ValueError` when both are there."""
    if not isinstance(data, dict) or one not in data:
        return data
    if many in data:
        raise ValueError(f"either `{one}` or `{many}`, not both")
    return {name: value for name, value in data.items() if name != one} | {many: [data[one]]}


def only_auth(headers: Mapping[str, str], keys: tuple[object, ...]) -> None:
    """Raises `ValueError` when a key and a header of the operator's would both authenticate a request."""
    clash = AUTH_HEADERS.intersection(headers) if keys else frozenset[str]()
    if clash:
        raise ValueError(f"either keys or the header `{min(clash)}`: a request carries one of them")


Name = Annotated[str, AfterValidator(_name)]
ClientName = Annotated[str, AfterValidator(_client_name)]
ModelName = Annotated[str, AfterValidator(_model_name)]
Url = Annotated[str, AfterValidator(addresses.checked)]
RedisUrl = Annotated[str, AfterValidator(_redis_url), PlainSerializer(_masked_url)]
ServerUrl = Annotated[str, AfterValidator(_server_url), PlainSerializer(_masked_url)]
Origin = Annotated[str, AfterValidator(_origin)]
Headers = Annotated[Mapping[str, str], AfterValidator(_headers), PlainSerializer(_masked_values)]
Body = Annotated[Mapping[str, JsonValue], AfterValidator(_extra_body), PlainSerializer(_masked_values)]
Version = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
Port = Annotated[Count, Field(ge=0, le=65535)]
MOST_ALLOWED = 1_000_000_000  # of `ratelimit.quota`, which would bring an event loop along
Positive = Annotated[Count, Field(ge=1)]
Allowed = Annotated[Count, Field(ge=1, le=MOST_ALLOWED)]
"""What a limit allows; beyond it the arithmetic of buckets is not exact."""
Wait = Annotated[Duration, Field(gt=0)]
Dialects = Annotated[tuple[Dialect, ...], BeforeValidator(listed), Field(min_length=1)]
DropParams = Annotated[tuple[str, ...], BeforeValidator(listed), AfterValidator(_drop_params)]


def with_kind(data: object) -> object:
    """A provider's raw settings with kind, address and dialects filled in where they follow from the rest."""
    if not isinstance(data, dict):
        return data
    base_url = data.get("base_url")
    kind = data.get("kind") or (kind_of(addresses.host(base_url)) if isinstance(base_url, str) else "generic")
    profile = next((profile for known, profile in PROFILES.items() if known == kind), None)
    if profile is None:
        # The kind is refused by its own type; a missing address would be a second complaint about it.
        return {"base_url": "https://unknown"} | data
    known: dict[str, object] = {"kind": kind, "dialects": profile.dialects}
    if profile.base_url:
        known["base_url"] = profile.base_url
    return known | data


def with_models(data: object) -> object:
    """Entries without `model` ask for the alias they stand under."""
    models = data.get("models") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(models, dict):
        return data
    return data | {"models": {alias: _named(alias, model) for alias, model in models.items()}}


def _named(alias: object, model: object) -> object:
    entries = model.get("providers") if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(entries, list | tuple):
        return model
    named = [{"model": alias} | entry if isinstance(entry, dict) else entry for entry in entries]
    return model | {"providers": named}
