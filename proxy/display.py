"""The status page's routes: the page, the stream that keeps it fresh, and the files it needs.

The library that writes HTML is loaded, in a thread, when the page is first asked for: most replicas are never
looked at, and none should start later for it.
"""

import asyncio
import base64
import functools
import hashlib
import importlib
import importlib.resources
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from fastapi import FastAPI, Request, Response
from starlette.types import Receive, Scope, Send

from proxy.audience import PACE, Audience, Pace
from proxy.clock import Clock
from proxy.doorkeeper import holds_session
from proxy.errors import Refusal
from proxy.status import Status
from proxy.survey import Survey
from proxy.tasks import Tasks

PAGE = "proxy.status_page"

FRESH: Final = 1.0
"""Seconds for which a moment, and a page of it, are shown to whoever comes."""

FILES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "status.css": "text/css; charset=utf-8",
        "htmx.min.js": "text/javascript; charset=utf-8",
        "hx-sse.min.js": "text/javascript; charset=utf-8",
        "htmx-LICENSE.txt": "text/plain; charset=utf-8",
        "icon.svg": "image/svg+xml",
    }
)
"""What is served of `static`, and its type."""

# With the policy `no-referrer` browsers would send `Origin: null` with a form.
HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "same-origin",
        "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    }
)


class Display:
    """Shows what `survey` sees. Nothing is looked at while nobody watches."""

    def __init__(self, survey: Survey, clock: Clock, tasks: Tasks, pace: Pace = PACE) -> None:
        self._survey = survey
        self._clock = clock
        self._turn = 0
        self._seen: tuple[float, Status] | None = None
        self._pages: dict[tuple[bool, bool], str] = {}
        self._drawing = asyncio.Lock()
        self.audience = Audience(self._event, clock, tasks, pace)

    def attach(self, app: FastAPI) -> None:
        """Add the routes."""
        app.get("/")(self.page)
        app.get("/events")(self.events)
        app.get("/static/{name}")(self.file)

    async def page(self, request: Request) -> Response:
        """The whole page: one look is enough for all who come within a second."""
        kind = holds_session(request), self.audience.full
        async with self._drawing:
            now, seen = self._clock.monotonic(), self._seen
            status = seen[1] if seen is not None and now - seen[0] < FRESH else await self._look()
            if kind not in self._pages:
                self._pages[kind] = await _drawn("page", status, *kind)
            return _html(self._pages[kind])

    async def events(self) -> Response:
        """Its live part, again and again."""
        if self.audience.full:
            raise Refusal(503, "As many watch as may.", code="overloaded", retry_after=10.0)
        return _Events(self.audience)

    async def file(self, request: Request) -> Response:
        """A file of the page's."""
        name = request.path_params["name"]
        if name not in FILES:
            raise Refusal(404, "There is no such file.", code="not_found", should_retry=False)
        return Response(_read(name), headers={**HEADERS, "content-type": FILES[name]})

    async def login(self, wrong: bool) -> Response:  # noqa: FBT001  (what a doorkeeper asks for)
        """The page that asks for the token.

        Its style is within, by its digest, for who has no token gets no file.
        """
        style = _read("login.css")
        digest = base64.b64encode(hashlib.sha256(style).digest()).decode()
        policy = (
            f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'self'; "
            "frame-ancestors 'none'"
        )
        own = {"content-security-policy": policy}
        return _html(await _drawn("login", style.decode(), wrong), 401, own)

    def close(self) -> None:
        """End all streams."""
        self.audience.close()

    async def _look(self) -> Status:
        began = self._clock.monotonic()
        status = await self._survey.take()
        self._seen, self._pages = (began, status), {}
        return status

    async def _event(self) -> bytes:
        self._turn += 1
        picture = await _drawn("picture", await self._look(), self._turn)
        return event(picture)


class _Events(Response):
    """The stream to one watcher, for as long as its seat is. It is given up where writing has to wait."""

    def __init__(self, audience: Audience) -> None:
        super().__init__(headers={**HEADERS, "content-type": "text/event-stream", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._audience = audience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  (ASGI's)
        until = asyncio.get_running_loop().time() + self._audience.pace.stay
        with self._audience.seat():
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            more = True
            while more:
                picture = await self._next(until)
                more = picture is not None
                try:
                    async with asyncio.timeout(self._audience.pace.unread):
                        await send({"type": "http.response.body", "body": picture or b"", "more_body": more})
                except TimeoutError:
                    return  # the answer is not whole, so its connection is closed

    async def _next(self, until: float) -> bytes | None:
        """The next picture; None where the seat is given up: who still watches comes again by itself."""
        try:
            async with asyncio.timeout_at(until):
                return await self._audience.next()
        except TimeoutError:
            return None


def event(picture: str) -> bytes:
    """One event of the stream. A line ends where the browser sees one end."""
    lines = re.split("\r\n|\r|\n", picture)
    return "".join(f"data: {line}\n" for line in lines).encode("utf-8", "replace") + b"\n"


async def _drawn(what: str, *told: object) -> str:
    """What the page's module makes of it, in a thread."""

    def draw() -> str:
        made: str = getattr(importlib.import_module(PAGE), what)(*told)
        return made

    return await asyncio.to_thread(draw)


def _html(text: str, status: int = 200, own: Mapping[str, str] = HEADERS) -> Response:
    return Response(
        text.encode("utf-8", "replace"),
        status,
        {**HEADERS, **own, "content-type": "text/html; charset=utf-8"},
    )


@functools.cache
def _read(name: str) -> bytes:
    return (importlib.resources.files("proxy") / "static" / name).read_bytes()
