"""Who may call the operations port: the probes for all, the rest for who has the token.

Programs send the token with each request. A browser cannot, so it gives it once, in a form, for a cookie that
this process alone accepts, for half a day, and only where nothing is changed. Other sites' pages get nowhere:
whatever they ask for is refused, but for the way to the page itself, and without a token only names that no
resolver of theirs can point here are answered. A browser says whose page it was of all that may change
something, and of the rest where it comes over https or to this machine: elsewhere its answers are unreadable
to that page, but they are made.
"""

import asyncio
import hmac
import ipaddress
import itertools
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.answers import refusal_headers
from proxy.clock import Clock, SystemClock
from proxy.endpoints import PROBES, read_head
from proxy.errors import Refusal
from proxy.wire.chat.voice import ChatVoice
from proxy.wire.codec import Voice

LOGIN = "/login"
LOGOUT = "/logout"
HOME = "/"

SESSION = 12 * 3600
"""Seconds for which a cookie is good."""

MOST = 4096
"""Bytes of a form."""

PATIENCE = 5.0
"""Seconds for it to arrive."""

_SAFE = frozenset({"GET", "HEAD"})

_ELSEWHERE = frozenset({"cross-site", "same-site"})
"""What browsers call another site's page, and another port's of the same host."""

LoginPage = Callable[[bool], Awaitable[Response]]
"""The page that asks for the token; given whether a wrong one was just said."""


class Doorkeeper:
    """Stands before an application. The token is kept and compared as a digest under the process's pepper.

    Without a `token` all may enter who call this machine by its address. Without a `login` there are no
    cookies.
    """

    def __init__(
        self,
        app: ASGIApp,
        token: str | None,
        pepper: bytes,
        login: LoginPage | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._app = app
        self._pepper = pepper
        self._digest = self._of(token.encode()) if token is not None else None
        self._login = login
        self._sessions = _Sessions(self._of(b"session " + (self._digest or b"")), clock or SystemClock())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Whatever is asked, known route or not."""
        refused = None
        if scope["type"] == "http" and scope["path"] not in PROBES:
            refused = await self._refused(Request(scope, receive))
        await (refused or self._app)(scope, receive, send)

    async def _refused(self, request: Request) -> Response | None:
        """What is answered in the application's place; None where the request may pass."""
        host = request.headers.get("host", "")
        if _foreign(request, host):
            return turned_away(_FOREIGN)
        if self._digest is None and not _ours(host):
            return turned_away(_NAMED)
        if self._login is not None and (request.method, request.scope["path"]) == ("POST", LOGOUT):
            return self._let_out(request)
        return await self._stranger(request) if self._digest is not None else None

    async def _stranger(self, request: Request) -> Response | None:
        """What who is not known is answered; None for the others."""
        asked, login = (request.method, request.scope["path"]), self._login
        if login is not None and asked == ("POST", LOGIN):
            return await self._let_in(request, login)
        if self._known(request):
            return None
        wants_page = "text/html" in request.headers.get("accept", "")
        if login is not None and wants_page and asked == ("GET", HOME):
            return await login(False)
        return turned_away(_UNKNOWN)

    def _known(self, request: Request) -> bool:
        """By the token; else by a cookie: a gateway on the way may say something else as `Authorization`."""
        credential = read_head(request.scope["headers"]).credential
        if credential is not None and self._is_token(credential):
            return True
        told = request.cookies.get(_cookie(request)) if request.method == "GET" and self._login else None
        return told is not None and self._sessions.good(told)

    async def _let_in(self, request: Request, login: LoginPage) -> Response:
        """The answer to a form."""
        try:
            token = await _field(request)
        except Refusal as refusal:
            return turned_away(refusal)
        if not self._is_token(token):
            return await login(True)
        entered = RedirectResponse(HOME, 303, {"cache-control": "no-store"})
        entered.set_cookie(
            _cookie(request), self._sessions.begin(), SESSION, httponly=True, samesite="strict", path="/"
        )
        return entered

    def _let_out(self, request: Request) -> Response:
        """The cookie is good no more, wherever it is."""
        self._sessions.end(request.cookies.get(_cookie(request), ""))
        left = RedirectResponse(HOME, 303, {"cache-control": "no-store"})
        left.delete_cookie(_cookie(request), httponly=True, samesite="strict", path="/")
        return left

    def _is_token(self, given: bytes) -> bool:
        return self._digest is not None and hmac.compare_digest(self._of(given), self._digest)

    def _of(self, token: bytes) -> bytes:
        return hmac.digest(self._pepper, token, "sha256")


class _Sessions:
    """Makes and knows cookies: until when, which one, and a digest of both under `key`.

    None is kept but those that were ended before their time.
    """

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key = key
        self._clock = clock
        self._numbers = itertools.count()
        self._ended: dict[str, float] = {}

    def begin(self) -> str:
        """The cookie of a new session."""
        return self._signed(f"{self._clock.monotonic() + SESSION:.0f}.{next(self._numbers)}")

    def good(self, cookie: str) -> bool:
        """Whether it is one of ours, in its time."""
        signed = self._signed(cookie.rpartition(".")[0])
        if not hmac.compare_digest(cookie.encode(), signed.encode()) or cookie in self._ended:
            return False
        return self._clock.monotonic() < _until(cookie)

    def end(self, cookie: str) -> None:
        """It is good no more."""
        now = self._clock.monotonic()
        if self.good(cookie):
            self._ended = {one: until for one, until in self._ended.items() if until > now}
            self._ended[cookie] = _until(cookie)

    def _signed(self, said: str) -> str:
        return f"{said}.{hmac.digest(self._key, said.encode(), 'sha256').hex()}"


def _until(cookie: str) -> float:
    return float(cookie.partition(".")[0])


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


def holds_session(request: Request) -> bool:
    """Whether a browser sends a cookie of this port, good or not."""
    return _cookie(request) in request.cookies


def _foreign(request: Request, host: str) -> bool:
    """Whether a page of another site asks for it, and not for a way here in the browser's own window."""
    headers = request.headers
    if request.method not in _SAFE:
        origin = headers.get("origin")
        return origin is not None and origin.lower().partition("://")[2] != host.lower()
    if headers.get("sec-fetch-site") not in _ELSEWHERE:
        return False
    opened = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")
    return not (opened and request.scope["path"] in (HOME, LOGIN))


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


def turned_away(refusal: Refusal, voice: Voice | None = None, request_id: str = "") -> Response:
    """A refusal as an answer; in OpenAI's dialect unless another voice is given."""
    headers = {name.decode(): value.decode() for name, value in refusal_headers(refusal)}
    return Response((voice or ChatVoice()).refusal(refusal, request_id), refusal.status, headers)


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
