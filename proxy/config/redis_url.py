"""Where a Redis is: a URL, read once into a frozen value.

    redis://[user:password@]host[:port][/db][?...]
    rediss://...                                       TLS; the host's name is verified
    unix://[user:password@]/path/of/the/socket[?db=n]
    redis+sentinel://[...]h1[:port],h2,h3/service[/db][?sentinel_username=...&sentinel_password=...]
    redis+cluster://[...]h1[:port],h2,h3

Query: `db`; `ca`, `cert`, `key` (PEM files) and `tls=true` ask for TLS under any scheme but unix. Parts of
the URL are percent-decoded. An error never repeats what it found where that could be a password.
"""

import enum
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote

_FORM = re.compile(
    r"(?P<scheme>redis|rediss|unix|redis\+sentinel|redis\+cluster)://"
    r"(?:(?P<user>[^@/?]*)@)?(?P<hosts>[^@/?]*)(?P<path>/[^?]*)?(?:\?(?P<query>.*))?"
)
_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>\d{1,5}))?")
_KNOWN = frozenset({"db", "ca", "cert", "key", "tls", "sentinel_username", "sentinel_password"})
_YES = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
_ESCAPED = "(characters such as / @ ? in a password are written %2F %40 %3F)"
_VERIFY = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
"""The same on every Python. Left to itself 3.13 adds `VERIFY_X509_STRICT`, which refuses an authority that
the plainest recipe makes; before 3.13 the second is missing, by which `ca` may be the server's own
certificate."""


class AddressError(ValueError):
    """A URL that cannot be used. Its text says what is allowed in the part that is wrong, never the URL."""


class Layout(enum.Enum):
    """How the servers behind an address are found."""

    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One socket: a host and a port, or the path of a unix socket (then host is "" and port 0)."""

    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are to the server; `username` "" is the server's default user. The password has no repr."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tls:
    """The certificates to use. `ca` None: the system's authorities."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """A context that verifies the server's chain and name.

        What is in `ca` is trusted as it is, be it an authority or the server's own certificate.

        Raises:
            AddressError: a file cannot be read or is not what it should be.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except OSError as error:  # ssl.SSLError is one
            raise AddressError(f"ca={self.ca} cannot be used: {error}") from error
        context.verify_flags = _VERIFY
        if self.cert is not None:
            try:
                context.load_cert_chain(self.cert, self.key)
            except OSError as error:
                raise AddressError(f"cert={self.cert} cannot be used: {error}") from error
        return context


@dataclass(frozen=True, slots=True)
class Address:
    """A URL, understood. `endpoints` are the server, the sentinels, or the cluster's known nodes."""

    layout: Layout
    endpoints: tuple[Endpoint, ...]
    service: str = ""
    db: int = 0
    credentials: Credentials | None = None
    sentinel_credentials: Credentials | None = None
    tls: Tls | None = None

    def __str__(self) -> str:
        return f"{self.layout.value} {','.join(map(str, self.endpoints))}"


def parse(url: str) -> Address:
    """The address that `url` names.

    Raises:
        AddressError: it is none of the forms above.
    """
    match = _FORM.fullmatch(url)
    if match is None:
        raise AddressError(f"scheme://[user:password@]host[:port][/db][?option=value] {_ESCAPED}")
    options = _options(match["query"] or "")
    scheme, path = match["scheme"], unquote(match["path"] or "")
    credentials = _credentials(match["user"])
    if scheme == "unix":
        return _unix(match["hosts"], path, options, credentials)
    endpoints = _endpoints(match["hosts"], 26379 if scheme == "redis+sentinel" else 6379)
    return Address(
        layout=_layout(scheme, endpoints),
        endpoints=endpoints,
        service=_service(path) if scheme == "redis+sentinel" else "",
        db=_db(scheme, path, options),
        credentials=credentials,
        sentinel_credentials=_sentinel_credentials(options),
        tls=_tls(scheme, options),
    )


def _unix(hosts: str, path: str, options: dict[str, str], credentials: Credentials | None) -> Address:
    if hosts or len(path) < 2 or options.keys() - {"db"}:
        raise AddressError("unix:// with /the/path/of/a/socket and at most ?db=number")
    endpoints = (Endpoint("", 0, path),)
    return Address(Layout.SINGLE, endpoints, db=_number(options.get("db", "")), credentials=credentials)


def _options(query: str) -> dict[str, str]:
    plain = query.replace("+", "%2B")  # no form: a plus is a plus (RFC 3986), and passwords have some
    options = dict(parse_qsl(plain, keep_blank_values=True))
    if options.keys() - _KNOWN:  # not repeated: it may be the end of a password with a `?` in it
        raise AddressError(f"no options but {', '.join(sorted(_KNOWN))}")
    return options


def _credentials(user: str | None) -> Credentials | None:
    if not user:
        return None
    name, colon, password = user.partition(":")
    return Credentials(unquote(name), unquote(password)) if colon else Credentials("", unquote(name))


def _sentinel_credentials(options: dict[str, str]) -> Credentials | None:
    password = options.get("sentinel_password")
    return Credentials(options.get("sentinel_username", ""), password) if password else None


def _endpoints(hosts: str, port: int) -> tuple[Endpoint, ...]:
    return tuple(_endpoint(host, port) for host in hosts.split(","))


def _endpoint(text: str, port: int) -> Endpoint:
    match = _HOST.fullmatch(text)
    number = int(match["port"] or port) if match else 0
    if match is None or not 0 < number < 65536:
        raise AddressError(f"a host that is a name or an address, and a :port between 1 and 65535 {_ESCAPED}")
    return Endpoint(unquote(match["six"] or match["name"]), number)


def _layout(scheme: str, endpoints: tuple[Endpoint, ...]) -> Layout:
    if scheme == "redis+sentinel":
        return Layout.SENTINEL
    if scheme == "redis+cluster":
        return Layout.CLUSTER
    if len(endpoints) > 1:
        raise AddressError("one host, or redis+sentinel:// or redis+cluster:// for several")
    return Layout.SINGLE


def _service(path: str) -> str:
    service = path.strip("/").partition("/")[0]
    if not service:
        raise AddressError("redis+sentinel:// with /the name of the service at its end, as in /mymaster")
    return service


def _db(scheme: str, path: str, options: dict[str, str]) -> int:
    rest = path.strip("/")
    if scheme == "redis+sentinel":
        rest = rest.partition("/")[2]
    db = _number(options.get("db", rest))
    if db and scheme == "redis+cluster":
        raise AddressError("database 0, for a cluster has no other")
    return db


def _number(text: str) -> int:
    if text and not (text.isascii() and text.isdigit() and len(text) < 6):
        raise AddressError("a database that is a number, as in /0 or ?db=0")
    return int(text or 0)


def _tls(scheme: str, options: dict[str, str]) -> Tls | None:
    files = {name: Path(options[name]) for name in ("ca", "cert", "key") if options.get(name)}
    if "key" in files and "cert" not in files:
        raise AddressError("key= with cert= beside it")
    wanted = _YES.get(options.get("tls", "no").lower())
    if wanted is None:
        raise AddressError("tls=true or tls=false")
    return Tls(**files) if scheme == "rediss" or files or wanted else None
