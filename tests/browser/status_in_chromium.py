"""The status page in Chromium, over two real replicas: what it shows, how it follows, when it cannot.

`$APEX_SCREENSHOTS` is where pictures of it go.
"""

import contextlib
import http.client
import itertools
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from lookout import CHROMIUM, HOSTILE, SHOTS, TIGHT_KEY, TOKEN, Stage, chromium, entered, paced, site, window
from playwright.sync_api import Browser, Locator, Page, expect

from proxy.audience import Pace

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(120),
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="Debian's Chromium (apt-get install chromium)"),
]
SOON = 15_000.0
"""Milliseconds within which the page follows what happens."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    with chromium() as opened:
        yield opened


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A cluster to which nothing has happened."""
    with Stage.set() as cluster:
        yield cluster


def complaints(page: Page) -> list[str]:
    """What the browser will say of the page: errors, and what its policy has kept out."""
    said: list[str] = []
    page.on("console", lambda told: said.append(told.text) if told.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    return said


def shot(page: Page, name: str) -> None:
    """A picture of the whole page."""
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


def http_status(port: int, path: str, headers: dict[str, str]) -> int:
    """How a replica answers who is no browser."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status


def pictures(page: Page, count: int) -> None:
    """Wait until the stream has brought so many pictures more."""
    for _ in range(count):
        seen = page.locator("#picture").get_attribute("class")
        expect(page.locator("#picture")).not_to_have_class(seen or "", timeout=SOON)


def test_who_has_no_token_sees_a_form_and_nothing_else(stage: Stage, browser: Browser) -> None:
    """A wrong token is told so; the right one leads to the page, and its cookie to no other replica."""
    with window(browser) as context:
        page = context.new_page()
        answer = page.goto(f"http://127.0.0.1:{stage.ports[0]}/")
        assert answer is not None
        assert answer.status == 401
        shot(page, "login")
        assert "gpt-4o" not in page.content()
        page.get_by_label("Operations token").fill("sk-something-else")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("This is not the token.")
        shot(page, "login-wrong")
        page.get_by_label("Operations token").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Models", exact=True)).to_be_visible()
        [cookie] = context.cookies()
        held = f"{cookie['name']}={cookie['value']}"
        assert cookie["name"] == f"apex-session-{stage.ports[0]}"
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert TOKEN not in cookie["value"]
        other = page.goto(f"http://127.0.0.1:{stage.ports[1]}/")
        assert other is not None
        assert other.status == 401
        page.goto(f"http://127.0.0.1:{stage.ports[0]}/")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_label("Operations token")).to_be_visible()
        assert context.cookies() == []
        assert http_status(stage.ports[0], "/", {"cookie": held}) == 401


def test_an_idle_cluster(stage: Stage, browser: Browser) -> None:
    """All is well, and the browser has nothing to say against the page; hostile names are names."""
    with window(browser) as context:
        page = entered(context, stage.ports[0])
        said = complaints(page)
        page.reload()
        expect(page.get_by_role("status", name="Verdict")).to_contain_text(
            "All is well with 9 targets of 5 models."
        )
        expect(page.get_by_role("table", name="Targets of gpt-4o").get_by_role("row")).to_have_count(3)
        replicas = page.get_by_role("region", name="Replicas")
        expect(replicas).to_contain_text("2 of 2 expected live, limits reckon with 12.", timeout=SOON)
        expect(replicas.get_by_role("row").filter(has_text="this one")).to_have_count(1)
        expect(page.get_by_role("heading", name=HOSTILE)).to_be_visible()
        assert page.locator("img").count() == 0
        pictures(page, 2)
        shot(page, "idle")
        assert said == []


def _rescued(page: Page) -> Locator:
    """Of the requests that a page lists those that another target has answered."""
    failovers = page.get_by_role("region", name="Recent failovers")
    return failovers.get_by_role("listitem").filter(has_text="rescued")


def test_a_provider_down(stage: Stage, browser: Browser) -> None:
    """The page follows without being loaded again: the target is ejected, and what was rescued is listed."""
    with window(browser) as context:
        pages = [entered(context, port) for port in stage.ports]
        for page in pages:
            page.evaluate("window.marked = true")
        assert set(stage.chat("claude-sonnet", count=16)) == {200}
        stage.chat("alone", count=6)
        for page in pages:
            down = page.get_by_role("row").filter(has=page.locator('[title^="down/claude-sonnet@"]'))
            expect(down).to_contain_text("ejected", timeout=SOON)
            verdict = page.get_by_role("status", name="Verdict")
            expect(verdict).to_contain_text("No target of alone takes requests.", timeout=SOON)
        # The kernel deals connections out: all that had to be rescued may have come to one replica.
        page, rescued = next((page, one.first) for page in pages if (one := _rescued(page)).count())
        expect(rescued).to_contain_text("status_503", timeout=SOON)
        assert page.evaluate("window.marked") is True
        pictures(page, 1)
        shot(page, "provider-down")
        link = rescued.get_by_role("link")
        link.focus()
        pictures(page, 2)
        expect(link).to_be_focused()
        link.press("Enter")
        page.wait_for_url("**/admin/decisions/req_*")
        assert "status_503" in page.content()


def test_a_limit_reached(stage: Stage, browser: Browser) -> None:
    """Whose it is, what is left, and that it is reached, in words."""
    with window(browser) as context:
        pages = [entered(context, port) for port in stage.ports]
        assert 429 in stage.chat("gpt-4o", TIGHT_KEY, 24)
        for page in pages:
            batch = page.get_by_role("region", name="Limits").get_by_role("row").filter(has_text="batch")
            expect(batch).to_contain_text("refusals so far", timeout=SOON)
        assert 429 in stage.chat("gpt-4o", TIGHT_KEY, 24)
        expect(batch).to_contain_text("reached", timeout=SOON)
        expect(page.get_by_role("status", name="Verdict")).to_contain_text("1 limit reached: client batch.")
        shot(page, "limit-reached")


def test_a_drained_target_one_that_is_refused_and_one_that_backs_off(stage: Stage, browser: Browser) -> None:
    """Each has its word; every state that differs has a sign that differs."""
    with window(browser, color_scheme="dark") as context:
        page = entered(context, stage.ports[0])
        assert stage.operate("POST", f"/admin/targets/{stage.target('gpt-4o', 'slow')}/drain")[0] == 200
        stage.chat("small", count=12)
        rows = {
            word: page.get_by_role("row").filter(has_text=word)
            for word in ("drained", "refused", "backing off", "ready")
        }
        for row in rows.values():
            expect(row.first).to_be_visible(timeout=SOON)
        signs = {row.first.locator(".state path").get_attribute("d") for row in rows.values()}
        assert len(signs) == 4
        pictures(page, 1)
        shot(page, "dark")


GAPS = """heads => {
  const words = heads.map(head => {
    const range = document.createRange();
    range.selectNodeContents(head);
    return range.getBoundingClientRect();
  });
  return words.slice(1).map((word, place) => word.left - words[place].right);
}"""
"""Between the words of a table's heads, in pixels."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone(stage: Stage, browser: Browser, scheme: str) -> None:
    """Nothing is wider than 360 pixels, whatever happened."""
    with window(browser, 360, 740, color_scheme=scheme, device_scale_factor=2) as context:
        page = entered(context, stage.ports[0])
        stage.chat("small", count=8)
        stage.chat("alone", count=4)
        stage.chat("gpt-4o", TIGHT_KEY, 20)
        pictures(page, 3)
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        heads = page.get_by_role("table", name="Targets of gpt-4o").get_by_role("columnheader")
        gaps = heads.evaluate_all(GAPS)
        assert min(gaps) >= 5, gaps
        shot(page, f"phone-{scheme}")


def test_a_stream_that_breaks_is_called_stale_until_it_is_back(stage: Stage, browser: Browser) -> None:
    """Frozen is as bad as gone. Since when is said, and nothing is once there is news again."""
    with window(browser) as context:
        page = entered(context, stage.ports[0])
        pictures(page, 1)
        stale = page.get_by_role("alert")
        expect(stale).to_be_hidden()
        with stage.frozen():
            expect(stale).to_be_visible(timeout=SOON)
            expect(stale).to_have_text(re.compile(r"no news since \d\d:\d\d:\d\d UTC\. Load again"))
            shot(page, "stale")
        expect(stale).to_be_hidden(timeout=SOON)


def test_a_watched_replica_ends_at_once(stage: Stage, browser: Browser) -> None:
    """An open page holds nothing up, and says that it is stale."""
    with window(browser) as context:
        page = entered(context, stage.ports[0])
        pictures(page, 1)
        stage.proxy.signal(signal.SIGTERM)
        assert stage.proxy.ended(8.0) == 0
        expect(page.get_by_role("alert")).to_be_visible(timeout=SOON)


def test_it_can_be_read_without_scripts(stage: Stage, browser: Browser) -> None:
    """The page as it is loaded is whole."""
    with window(browser, java_script_enabled=False) as context:
        page = entered(context, stage.ports[0])
        expect(page.get_by_role("table", name="Targets of gpt-4o")).to_be_visible()
        expect(page.get_by_role("alert")).to_be_visible(timeout=SOON)


def test_what_a_screen_reader_finds(stage: Stage, browser: Browser) -> None:
    """Landmarks, headings in order, and a name for each table and region; the keyboard gets past the head."""
    with window(browser) as context:
        page = entered(context, stage.ports[0])
        for role in ("banner", "main", "contentinfo", "navigation"):
            assert page.locator(f"role={role}").count() == 1, role
        levels = [
            int(tag[1]) for tag in page.locator("h1, h2, h3").evaluate_all("all => all.map(e => e.tagName)")
        ]
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
        told = page.locator("body").aria_snapshot()
        assert re.findall(r"- (?:table|region|article)(?! \")", told) == []
        page.reload()
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="To the models")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Models", exact=True)).to_be_focused()


def test_who_is_sent_home_comes_again_by_itself(browser: Browser) -> None:
    """Often enough for nobody to notice: the page is never stale."""
    with paced(Pace(every=0.3, stay=1.0)) as port, window(browser) as context:
        page = context.new_page()
        asked: list[str] = []
        page.on("request", lambda sent: asked.append(sent.url) if sent.url.endswith("/events") else None)
        page.goto(f"http://127.0.0.1:{port}/")
        pictures(page, 10)
        expect(page.get_by_role("alert")).to_be_hidden()
        assert len(asked) >= 3


def test_who_finds_no_seat_is_told_so_and_gets_one_later(browser: Browser) -> None:
    """By itself, once another has left."""
    with paced(Pace(every=0.3, seats=1)) as port, window(browser) as context:
        first, second = context.new_page(), context.new_page()
        first.goto(f"http://127.0.0.1:{port}/")
        pictures(first, 1)
        second.goto(f"http://127.0.0.1:{port}/")
        note = second.get_by_role("note")
        expect(note).to_contain_text("As many watch this replica as may.")
        shot(second, "full")
        first.close()
        expect(note).to_be_hidden(timeout=20_000)
        pictures(second, 2)


EVIL = """<!doctype html><title>evil</title><a href="{there}/">there</a><script>
  const done = Promise.allSettled([
    fetch("{there}/admin/decisions?limit=50000", {{mode: "no-cors"}}),
    fetch("{there}/metrics", {{mode: "no-cors"}}),
    ...["img", "script", "iframe"].map(kind => new Promise(settled => {{
      const element = document.createElement(kind);
      element.onload = element.onerror = settled;
      element.src = "{there}/admin/decisions?limit=50000&by=" + kind;
      document.head.append(element);
      if (kind === "iframe") document.documentElement.append(element);
    }})),
  ]);
</script>"""


@pytest.mark.parametrize("host", ["evil.localhost", "127.0.0.1"])
@pytest.mark.parametrize("token", [TOKEN, None])
def test_a_page_of_another_site_has_no_work_done(browser: Browser, token: str | None, host: str) -> None:
    """Whatever it loads of a replica is refused at the door; a link on it leads to the page all the same."""
    with Stage.set(token=token) as stage, window(browser) as context:
        there = f"http://127.0.0.1:{stage.ports[0]}"
        page = entered(context, stage.ports[0]) if token else context.new_page()
        with site(EVIL.format(there=there)) as port:
            page.goto("about:blank")
            asked: list[str] = []
            told: list[int] = []  # fewer: what is no picture and no script is kept from the page unheard
            page.on("request", lambda sent: asked.append(sent.url) if there in sent.url else None)
            page.on("response", lambda got: told.append(got.status) if there in got.url else None)
            page.goto(f"http://{host}:{port}/")
            page.evaluate("done")
            assert len(set(asked)) == 5
            assert set(told) == {403}
            page.get_by_role("link", name="there").click()
            page.wait_for_url(f"{there}/")
        if host == "127.0.0.1" or token is None:
            expect(page.get_by_role("heading", name="Models", exact=True)).to_be_visible()
        else:
            expect(page.get_by_label("Operations token")).to_be_visible()


def test_without_a_token_it_is_open_on_this_machine(browser: Browser) -> None:
    """By address and as localhost, and by no other name."""
    with Stage.set(token=None) as stage, window(browser) as context:
        page = context.new_page()
        for name in ("127.0.0.1", "localhost"):
            page.goto(f"http://{name}:{stage.ports[0]}/")
            expect(page.get_by_role("heading", name="Models", exact=True)).to_be_visible()
        status, told = stage.operate("GET", "/", host="rebound.example")
        assert (status, told["error"]["code"]) == (403, "host_not_allowed")
