"""Two replicas before scripted providers, and a browser that looks at their status page.

The replicas are workers of one `serve`, so they share a store, and each has an operations port of its own.
"""

import asyncio
import contextlib
import http.client
import http.server
import json
import os
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fakes.statuses import STATUS, status
from harness import PATIENCE, Mock, Serve, descendants, two_free_ports
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from prometheus_client import CollectorRegistry

from metrics.instruments import Instruments
from proxy.audience import Pace
from proxy.clock import SystemClock
from proxy.config.settings import Bounds
from proxy.display import Display
from proxy.listener import Listener, bind
from proxy.operations import Watched, operations_app
from proxy.replicas import About
from proxy.status import Status
from proxy.survey import Survey
from proxy.tasks import Tasks

CHROMIUM = "/usr/bin/chromium"
TOKEN = "sk-token-of-operators"
KEY = "sk-client-of-the-page"
TIGHT_KEY = "sk-client-with-limits"
HOSTILE = "<img/src=x/onerror=alert(1)>"
"""A model's name, of which nothing may become an element."""

STEADY = {"default": {"delay_headers_s": 0.05, "tokens": 12}}
SLOW = {"default": {"delay_headers_s": 0.4, "tokens": 12}}
DOWN = {"default": {"status": 503}}
ASKING = {"default": {"status": 429, "headers": {"retry-after": 30}}}
REFUSING = {"default": {"status": 401}}

SHOTS = Path(os.environ.get("APEX_SCREENSHOTS") or Path(tempfile.gettempdir()) / "apex-screenshots")
"""Where pictures of the page go."""


class Stage:
    """The cluster. `ports` are those for operators."""

    def __init__(self, stack: contextlib.ExitStack, *, token: str | None = TOKEN) -> None:
        scripts: Mapping[str, Mapping[str, object]] = {
            "steady": STEADY,
            "slow": SLOW,
            "down": DOWN,
            "asking": ASKING,
            "refusing": REFUSING,
        }
        self.mocks = {name: stack.enter_context(Mock(script, name)) for name, script in scripts.items()}
        base = two_free_ports()
        self.proxy = stack.enter_context(Serve(_config(base, self.mocks, token), "--workers", "2"))
        self.proxy.event("ready", 2)
        self.ports = (base, base + 1)
        self._token = token

    @classmethod
    @contextlib.contextmanager
    def set(cls, token: str | None = TOKEN) -> Iterator["Stage"]:
        """A stage that is cleared after the block."""
        with contextlib.ExitStack() as stack:
            yield cls(stack, token=token)

    def chat(self, model: str, key: str = KEY, count: int = 1) -> list[int]:
        """The statuses of so many chat completions, one after the other."""
        body = json.dumps(
            {"model": model, "messages": [{"role": "user", "content": "How much is the fish?"}]}
        )
        found = []
        for _ in range(count):
            with contextlib.closing(
                http.client.HTTPConnection("127.0.0.1", self.proxy.port, timeout=PATIENCE)
            ) as connection:
                headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
                connection.request("POST", "/v1/chat/completions", body, headers)
                answer = connection.getresponse()
                answer.read()
                found.append(answer.status)
        return found

    def operate(self, method: str, path: str, port: int | None = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON of a call with the token, to the first replica."""
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", port or self.ports[0], timeout=PATIENCE)
        ) as connection:
            own = {"authorization": f"Bearer {self._token}"} if self._token else {}
            connection.request(method, path, headers={**own, **headers})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """No replica does anything for the time of the block."""
        workers = [pid for pid in descendants(self.proxy.pid) if pid != self.proxy.store]
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in workers:
                os.kill(pid, signal.SIGCONT)

    def target(self, model: str, provider: str) -> str:
        """The id of a target."""
        _, told = self.operate("GET", "/admin/targets")
        rows = [str(row["target"]) for row in told["targets"] if row["model"] == model]
        return next(name for name in rows if name.startswith(f"{provider}/"))


def _config(base: int, mocks: Mapping[str, Mock], token: str | None) -> dict[str, object]:
    def at(name: str, **more: object) -> dict[str, object]:
        return {"base_url": f"http://127.0.0.1:{mocks[name].port}/v1", "api_key": f"sk-{name}-0", **more}

    return {
        "listen": {"port": 0},
        "operations": {"port": base, **({"token": token} if token else {})},
        "drain_grace": 0,
        "redis": {"min_replicas": 12, "expected_replicas": 2},
        "clients": [
            {"name": "checkout", "key": KEY, "limits": {"requests_per_minute": 6_000, "concurrency": 50}},
            {"name": "batch", "key": TIGHT_KEY, "limits": {"requests_per_minute": 6, "burst": 5}},
        ],
        "providers": {
            "steady": at("steady", limits={"requests_per_minute": 10_000}),
            "slow": at("slow"),
            "down": at("down"),
            "asking": at("asking"),
            "refusing": at("refusing"),
        },
        "models": {
            "gpt-4o": {
                "providers": [{"provider": "steady", "weight": 3}, {"provider": "slow", "weight": 1}],
                "limits": {"tokens_per_minute": 2_000_000},
            },
            "claude-sonnet": {
                "providers": [
                    {"provider": "down", "priority": 1},
                    {"provider": "steady", "priority": 2},
                ]
            },
            "small": {
                "strategy": "ordered",
                "providers": [{"provider": "asking"}, {"provider": "refusing"}, {"provider": "steady"}],
            },
            "alone": {"providers": [{"provider": "down", "model": "alone"}]},
            HOSTILE: {"providers": [{"provider": "steady", "model": "mini"}]},
        },
        "health": {"ejection": "120s"},
    }


@contextlib.contextmanager
def site(page: str) -> Iterator[int]:
    """The port of somebody else's site, which has one page."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            serving.join()


class Unchanging(Survey):
    """Sees the same moment again and again."""

    def __init__(self) -> None:
        self.looks = 0

    async def take(self) -> Status:
        """That moment, a second later each time."""
        self.looks += 1
        return status(at=STATUS.at + self.looks)


@contextlib.contextmanager
def paced(pace: Pace) -> Iterator[int]:
    """The port of a page that goes at another pace."""

    async def serve() -> None:
        tasks, app = Tasks(), operations_app(lambda: True, watched)
        shown = Display(Unchanging(), SystemClock(), tasks, pace)
        shown.attach(app)
        listener = Listener(app, 5.0, Bounds())
        served.append((asyncio.get_running_loop(), listener, shown))
        await listener.serve(sockets=[sock])
        await tasks.close()

    async def nothing() -> tuple[About, ...]:
        return ()

    async def prepare() -> None:
        pass

    watched = Watched(Instruments(CollectorRegistry(), "1"), nothing, prepare)
    served: list[tuple[asyncio.AbstractEventLoop, Listener, Display]] = []
    sock = bind("127.0.0.1", 0, shared=False)
    serving = threading.Thread(target=lambda: asyncio.run(serve()))
    serving.start()
    try:
        yield sock.getsockname()[1]
    finally:
        [(loop, listener, shown)] = served
        loop.call_soon_threadsafe(shown.close)
        loop.call_soon_threadsafe(listener.stop)
        serving.join()


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def window(browser: Browser, width: int = 1440, height: int = 900, **more: Any) -> BrowserContext:
    """A browser without any cookie."""
    return browser.new_context(viewport={"width": width, "height": height}, **more)


def entered(context: BrowserContext, port: int) -> Page:
    """The page, after the login."""
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{port}/")
    page.get_by_label("Operations token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Models", exact=True).wait_for()
    return page
