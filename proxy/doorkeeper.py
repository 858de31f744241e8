"""Who may call the operations port: the probes for all, the rest for who has the token.

Programs send the token with each request. A browser cannot, so it gives it once, in a form, for a cookie that
this process alone accepts, and only where nothing is changed. Other sites' pages get nowhere: whatever would
change something is refused where another site's page sends it, and without a token only names that no
resolver of theirs can point here are answered.
"""

import asyncio
import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.answers import refusal_headers
from proxy.endpoints import PROBES, read_head
from proxy.errors import Refusal
from proxy.wire.chat.voice import ChatVoice

LOGIN = "/login"
HOME = "/"

MOST = 4096
"""Bytes of a form."""

PATIENCE = 5.0
"""Seconds for it to arrive."""

_SAFE = frozenset({"GET", "HEAD"})

LoginPage = Callable[[bool], Awaitable[Response]]
"""The page that asks for the token; given whether a wrong one was just said."""


class Doorkeeper:
    """Stands before an application. The token is kept and compared as a digest under the process's pepper.

    Without a `token` all may enter who call this machine by its address. Without a `login` there are no
    cookies.
    """

    def __init__(
        self, app: ASGIApp, token: str | None, pepper: bytes, login: LoginPage | None = None
    ) -> None:
        self._app = app
        self._pepper = pepper
        self._digest = self._of(token.encode()) if token is not None else None
        self._session = self._of(b"session " + (self._digest or b"")).hex()
        self._login = login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Whatever is asked, known route or not."""
        refused = None
        if scope["type"] == "http" and scope["path"] not in PROBES:
            refused = await self._refused(Request(scope, receive))
        await (refused or self._app)(scope, receive, send)

    async def _refused(self, request: Request) -> Response | None:
        """What is answered in the application's place; None where the request may pass."""
        host = request.headers.get("host", "")
        if request.method not in _SAFE and _foreign(request.headers.get("origin"), host):
            return _answer(_FOREIGN)
        if self._digest is None:
            return None if _ours(host) else _answer(_NAMED)
        path, login = request.scope["path"], self._login
        if login is not None and (request.method, path) == ("POST", LOGIN):
            return await self._let_in(request, login)
        if self._known(request):
            return None
        wants_page = "text/html" in request.headers.get("accept", "")
        if login is not None and wants_page and (request.method, path) == ("GET", HOME):
            return await login(False)
        return _answer(_UNKNOWN)

    def _known(self, request: Request) -> bool:
        credential = read_head(request.scope["headers"]).credential
        if credential is not None:
            return self._is_token(credential)
        told = request.cookies.get(_cookie(request)) if request.method == "GET" and self._login else None
        return told is not None and hmac.compare_digest(told.encode(), self._session.encode())

    async def _let_in(self, request: Request, login: LoginPage) -> Response:
        """The answer to a form."""
        try:
            token = await _field(request)
        except Refusal as refusal:
            return _answer(refusal)
        if not self._is_token(token):
            return await login(True)
        entered = RedirectResponse(HOME, 303, {"cache-control": "no-store"})
        entered.set_cookie(_cookie(request), self._session, httponly=True, samesite="strict", path="/")
        return entered

    def _is_token(self, given: bytes) -> bool:
        return self._digest is not None and hmac.compare_digest(self._of(given), self._digest)

    def _of(self, token: bytes) -> bytes:
        return hmac.digest(self._pepper, token, "sha256")


async def _field(request: Request) -> bytes:
    """The field `token` of a form, empty where there is none. Raises `Refusal`."""
    body = b""
    try:
        async with asyncio.timeout(PATIENCE):
            async for part in request.stream():
                body += part
                if len(body) > MOST:
                    raise Refusal(413, "The form is too large.", code="request_too_large", should_retry=False)
    except TimeoutError:
        raise Refusal(408, "The form did not arrive in time.", code="request_timeout") from None
    try:
        return parse_qs(body, max_num_fields=8).get(b"token", [b""])[0]
    except ValueError:
        return b""


def _cookie(request: Request) -> str:
    """Its name: cookies do not know ports, and two replicas on one host are not to log each other out."""
    return f"apex-session-{_split(request.headers.get('host', ''))[1] or 80}"


def _foreign(origin: str | None, host: str) -> bool:
    """Whether a page of another site sends it; browsers say `Origin` with all that may change something."""
    return origin is not None and origin.lower().partition("://")[2] != host.lower()


def _ours(host: str) -> bool:
    """Whether it is an address or `localhost`. Any other name may be a foreign page's, made to point here."""
    name = _split(host)[0].removesuffix(".")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in ("", "localhost") or name.endswith(".localhost")
    return True


def _split(host: str) -> tuple[str, int | None]:
    """Name and port of a `Host`. What cannot be read is a name of nobody's."""
    try:
        parts = urlsplit(f"//{host}")
        return parts.hostname or "", parts.port
    except ValueError:
        return host, None


def _answer(refusal: Refusal) -> Response:
    headers = {name.decode(): value.decode() for name, value in refusal_headers(refusal)}
    return Response(ChatVoice().refusal(refusal, ""), refusal.status, headers)


_UNKNOWN = Refusal(401, "Operators call with a token.", code="invalid_api_key", should_retry=False)
_FOREIGN = Refusal(
    403, "Pages of other sites may not call this.", code="origin_not_allowed", should_retry=False
)
_NAMED = Refusal(
    403,
    "Without operations.token this port answers to addresses and to localhost, not to other names.",
    code="host_not_allowed",
    should_retry=False,
)
