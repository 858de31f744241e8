"""Tests of `proxy.display`: the routes of the status page."""

import asyncio
import base64
import hashlib
import importlib.resources
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable

import httpx
import pytest
from fakes.statuses import STATUS
from fastapi import FastAPI, Request, Response
from starlette.types import Message

from proxy.audience import PACE, Pace
from proxy.clock import Clock, ManualClock, SystemClock
from proxy.display import FILES, FRESH, HEADERS, Display, event
from proxy.errors import Refusal
from proxy.status import Status
from proxy.survey import Survey
from proxy.tasks import Tasks


class Unchanging(Survey):
    """Sees the same moment again and again."""

    def __init__(self) -> None:
        self.looks = 0

    async def take(self) -> Status:
        """That moment."""
        self.looks += 1
        return STATUS


async def _refused(request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    return Response(status_code=refusal.status)


def shown(
    scenario: Callable[[Display, FastAPI], Awaitable[None]],
    pace: Pace = PACE,
    clock: Clock | None = None,
) -> int:
    """Run a scenario; how often somebody looked."""

    async def main() -> int:
        survey, tasks, app = Unchanging(), Tasks(), FastAPI(exception_handlers={Refusal: _refused})
        made = Display(survey, clock or SystemClock(), tasks, pace)
        made.attach(app)
        try:
            async with asyncio.timeout(20):
                await scenario(made, app)
        finally:
            await tasks.close()
        return survey.looks

    return asyncio.run(main())


def got(path: str) -> httpx.Response:
    """The answer to a GET."""
    answers: list[httpx.Response] = []

    async def scenario(made: Display, app: FastAPI) -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://x") as client:
            answers.append(await client.get(path))

    shown(scenario)
    return answers[0]


def test_the_page() -> None:
    """Whole, kept by nobody, and with a policy that lets nothing in but its own files."""
    answer = got("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "All is well" in answer.text
    assert {name: answer.headers[name] for name in HEADERS} == dict(HEADERS)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize("name", FILES)
def test_its_files(name: str) -> None:
    """As they are in the package, each of its type."""
    answer = got(f"/static/{name}")
    assert answer.content == (importlib.resources.files("proxy") / "static" / name).read_bytes()
    assert answer.headers["content-type"] == FILES[name]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("name", ["login.css", "x", "..%2f__init__.py", "%2e%2e/display.py"])
def test_no_other_files(name: str) -> None:
    """Only what is named."""
    assert got(f"/static/{name}").status_code == 404


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("htmx.min.js", "oKuwTy9FofidHUhEAjJFU35eYBTIexRFU+Bge0zDITA="),
        ("hx-sse.min.js", "GO8nYTVuwf4LttkmEjFbN1F6fB6YVrZhxa6B/vI50QM="),
    ],
)
def test_the_library_is_htmx_4_0_1_as_it_was_published(name: str, digest: str) -> None:
    """In the package `htmx.org` of the npm registry, with its licence beside it."""
    data = (importlib.resources.files("proxy") / "static" / name).read_bytes()
    assert base64.b64encode(hashlib.sha256(data).digest()).decode() == digest
    assert "Zero-Clause BSD" in got("/static/htmx-LICENSE.txt").text


def test_everything_the_page_loads_is_there() -> None:
    """And the style sheet loads nothing."""
    assert {
        found.removeprefix("/static/") for found in re.findall('"(/static/[^"]+)"', got("/").text)
    } <= set(FILES)
    assert not re.search(r"url\(|@import", got("/static/status.css").text)


def test_the_form_is_styled_by_digest_alone() -> None:
    """Who has no token gets no file; the form may say where it comes from."""

    async def scenario(made: Display, app: FastAPI) -> None:
        answer = await made.login(False)
        text = bytes(answer.body).decode()
        style = text[text.index("<style>") + 7 : text.index("</style>")]
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert f"style-src 'sha256-{digest}'" in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.status_code == 401
        assert "/static/" not in text
        assert "not the token" in bytes((await made.login(True)).body).decode()

    assert shown(scenario) == 0


class Watcher:
    """The far end of a stream. It reads nothing while `stuck`."""

    def __init__(self) -> None:
        self.heard: list[Message] = []
        self.stuck = False
        self._news = asyncio.Event()

    async def send(self, message: Message) -> None:
        """Something comes."""
        if self.stuck:
            await asyncio.Event().wait()
        self.heard.append(message)
        self._news.set()

    async def receive(self) -> Message:
        """Nothing is said."""
        await asyncio.Event().wait()
        raise AssertionError

    async def watch(self, app: FastAPI) -> None:
        """Until the stream ends."""
        scope = {"type": "http", "method": "GET", "path": "/events", "headers": [], "query_string": b""}
        await app(scope, self.receive, self.send)

    async def seen(self, count: int) -> None:
        """Wait until so many events have come."""
        while len(self.events) < count:
            self._news.clear()
            await self._news.wait()

    @property
    def events(self) -> list[bytes]:
        """What came."""
        return [message["body"] for message in self.heard[1:] if message["body"]]


def test_the_stream_brings_pictures() -> None:
    """Another turn each, until the replica ends; then the answer is whole."""

    async def scenario(made: Display, app: FastAPI) -> None:
        watchers = [Watcher() for _ in range(3)]
        watching = [asyncio.ensure_future(watcher.watch(app)) for watcher in watchers]
        await asyncio.gather(*(watcher.seen(2) for watcher in watchers))
        made.close()
        await asyncio.gather(*watching)
        for watcher in watchers:
            start, *_, last = watcher.heard
            assert start["status"] == 200
            names = {name for name, _ in start["headers"]}
            assert {b"content-type", b"cache-control", b"content-security-policy"} <= names
            assert b"content-length" not in names
            assert last == {"type": "http.response.body", "body": b"", "more_body": False}
            first, second = watcher.events[:2]
            assert b'class="turn-1"' in first
            assert b'class="turn-2"' in second
        assert watchers[0].events == watchers[1].events

    shown(scenario, Pace(every=0.01))


def test_who_reads_nothing_is_given_up() -> None:
    """Its answer stays without an end, so its connection is closed; nobody else minds."""

    async def scenario(made: Display, app: FastAPI) -> None:
        slow = Watcher()
        watching = asyncio.ensure_future(slow.watch(app))
        await slow.seen(1)
        slow.stuck = True
        await watching
        assert slow.heard[-1].get("more_body")
        assert len(made.audience) == 0

    shown(scenario, Pace(every=0.01, unread=0.02))


def test_a_seat_is_given_up_after_a_while() -> None:
    """Whoever has left without a word would keep it for as long as pictures fit into buffers."""

    async def scenario(made: Display, app: FastAPI) -> None:
        watcher = Watcher()
        await watcher.watch(app)
        assert watcher.events
        assert watcher.heard[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
        assert len(made.audience) == 0

    shown(scenario, Pace(every=0.01, stay=0.1))


def test_one_look_is_enough_for_all_who_come_within_a_second() -> None:
    """Together or one after the other; then another is taken."""

    async def scenario(made: Display, app: FastAPI) -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://x") as client:
            answers = await asyncio.gather(*(client.get("/") for _ in range(20)))
            assert {answer.text for answer in answers} == {answers[0].text}
            assert (await client.get("/")).text == answers[0].text

    clock = ManualClock()
    assert shown(scenario, clock=clock) == 1

    async def later(made: Display, app: FastAPI) -> None:
        await scenario(made, app)
        clock.advance(FRESH)
        await scenario(made, app)

    assert shown(later, clock=clock) == 2


def test_who_comes_is_shown_what_watchers_have_just_seen() -> None:
    """Nothing is looked at for it."""

    async def scenario(made: Display, app: FastAPI) -> None:
        watcher = Watcher()
        watching = asyncio.ensure_future(watcher.watch(app))
        await watcher.seen(1)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://x") as client:
            assert "All is well" in (await client.get("/")).text
        made.close()
        await watching

    assert shown(scenario, Pace(every=100), ManualClock()) == 1


def test_who_has_a_cookie_may_leave() -> None:
    """Nobody else is asked whether he wants to."""

    async def scenario(made: Display, app: FastAPI) -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://x:9") as client:
            assert "Log out" not in (await client.get("/")).text
            answer = await client.get("/", headers={"cookie": "apex-session-9=1"})
            assert "Log out" in answer.text
            assert "form-action 'self'" in answer.headers["content-security-policy"]

    shown(scenario)


def test_a_full_house_is_said_on_the_page() -> None:
    """Which does not follow."""

    async def scenario(made: Display, app: FastAPI) -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://x") as client:
            assert "As many watch this replica as may." in (await client.get("/")).text

    shown(scenario, Pace(seats=0))


def test_a_full_house_is_said() -> None:
    """As a time to come back."""

    async def scenario(made: Display, app: FastAPI) -> None:
        with pytest.raises(Refusal) as refused:
            await made.events()
        assert (refused.value.status, refused.value.retry_after) == (503, 10.0)

    assert shown(scenario, Pace(seats=0)) == 0


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\rb"])
def test_lines_end_where_a_browser_sees_an_end(text: str) -> None:
    """No name may begin another field."""
    assert event(text) == b"data: a\ndata: b\n\n"


def test_only_such_ends() -> None:
    """Other line breaks of Unicode are letters to it, and what is no letter is none."""
    assert event("a\u2028b\x0bc\x85d") == "data: a\u2028b\x0bc\x85d\n\n".encode()
    assert event("\ud800") == b"data: ?\n\n"


def test_the_library_that_writes_html_is_loaded_late() -> None:
    """A replica that nobody looks at has not loaded it."""
    loaded = "import sys, proxy.app; sys.exit('htpy' in sys.modules or 'proxy.status_page' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], check=False).returncode == 0
