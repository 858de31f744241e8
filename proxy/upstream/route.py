"""What all calls to one URL share: the origin, the way to it, and the first lines of a request."""

import base64
import re
from collections.abc import Callable
from typing import NamedTuple

from yarl import URL

from proxy.upstream.egress import Proxies
from proxy.upstream.pool import Pool
from proxy.upstream.seam import Call

_ROUTES = 4096  # far more than config names; models addressed directly are named by clients
_SMALL = 256 * 1024  # a body up to this is copied behind its head; a larger one is handed over as it is
_BODILESS = frozenset({"GET", "HEAD"})
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROLS = bytes(code for code in (*range(32), 127) if code != 9)  # all but tab


class Hop(NamedTuple):
    """A server that is connected to. `authorization` is what a proxy wants to hear, "" if nothing."""

    secure: bool
    host: str
    port: int
    authorization: str = ""

    def __repr__(self) -> str:
        """What it speaks: the rest is an address and a secret."""
        return f"<Hop {'https' if self.secure else 'http'}>"


class Way(NamedTuple):
    """How an origin is reached: over `proxy`, if there is one, through a tunnel where it is secure itself."""

    origin: Hop
    proxy: Hop | None


class Route(NamedTuple):
    """One URL: the way to its origin, the pool of its connections, what follows the method in a request."""

    way: Way
    pool: Pool
    opening: bytes

    def __repr__(self) -> str:
        """No URL: one may hold what must not be printed."""
        return f"<Route over {self.way.origin}>"

    def request(self, call: Call) -> tuple[bytes, ...]:
        """The bytes of `call`, to be written one after the other. Raises `ValueError`."""
        method, body = call.method, call.body
        fields = "".join([f"{name}: {value}\r\n" for name, value in call.headers]).encode("latin-1")
        if len(fields) - len(fields.translate(None, _CONTROLS)) != 2 * len(call.headers):
            raise ValueError("control character in a header")
        if method == "POST":
            verb = b"POST"
        elif _TOKEN.fullmatch(method):
            verb = method.encode("ascii")
        else:
            raise ValueError("not a method")
        if body or method not in _BODILESS:
            framing = b"accept-encoding: identity\r\ncontent-length: %d\r\n\r\n" % len(body)
        else:
            framing = b"accept-encoding: identity\r\n\r\n"
        if len(body) > _SMALL:
            return b"".join((verb, self.opening, fields, framing)), body
        return (b"".join((verb, self.opening, fields, framing, body)),)


class Routes:
    """Routes by URL, each made once. `pool` gives the pool of a way."""

    def __init__(self, proxies: Proxies, pool: Callable[[Way], Pool]) -> None:
        self._proxies = proxies
        self._pool = pool
        self._routes: dict[str, Route] = {}

    def of(self, url: str) -> Route:
        """The route to `url`. Raises `ValueError` where that names no plain HTTP origin."""
        route = self._routes.get(url)
        if route is None:
            if len(self._routes) >= _ROUTES:
                self._routes.clear()
            route = self._routes[url] = self._made(URL(url).with_fragment(None))
        return route

    def _made(self, url: URL) -> Route:
        if url.scheme not in {"http", "https"} or url.raw_user or url.raw_password:
            raise ValueError("not a URL of a plain HTTP origin")
        proxy = self._proxies.of(url)
        way = Way(_hop(url), _hop(proxy) if proxy is not None else None)
        target, authorization = url.raw_path_qs, ""
        if way.proxy is not None and not way.origin.secure:
            target, authorization = str(url), way.proxy.authorization
        said = f"proxy-authorization: {authorization}\r\n" if authorization else ""
        opening = f" {target} HTTP/1.1\r\nhost: {url.host_port_subcomponent}\r\n{said}"
        return Route(way, self._pool(way), opening.encode("ascii"))


def _hop(url: URL) -> Hop:
    host, port = url.raw_host, url.port
    if not host or not port:
        raise ValueError("a URL without a host")
    secret = f"{url.user}:{url.password or ''}" if url.user is not None else None
    basic = f"Basic {base64.b64encode(secret.encode()).decode()}" if secret is not None else ""
    return Hop(url.scheme == "https", host, port, basic)
