"""Tests of `proxy.doorkeeper`: who gets to the operations port, and who does not."""

import asyncio
import re
from collections.abc import AsyncIterator

import httpx
import pytest
from fakes.virtual_loop import run
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy import doorkeeper
from proxy.clock import Clock, ManualClock
from proxy.doorkeeper import Doorkeeper, LoginPage

TOKEN = "sk-operators-0123"
HTML = "text/html,application/xhtml+xml"
HOST = "http://127.0.0.1:9090"


async def inside(scope: Scope, receive: Receive, send: Send) -> None:
    """What is behind the door."""
    await Response(b"inside")(scope, receive, send)


async def form(wrong: bool) -> Response:
    """The page that asks."""
    return Response(b"wrong" if wrong else b"who are you?", 401)


def door(
    token: str | None = TOKEN,
    login: LoginPage | None = form,
    pepper: bytes = b"pepper",
    clock: Clock | None = None,
) -> ASGIApp:
    """A door of one process."""
    return Doorkeeper(inside, token, pepper, login, clock or ManualClock())


def asked(
    method: str, path: str, app: ASGIApp | None = None, host: str = HOST, **more: object
) -> httpx.Response:
    """The answer to one request."""

    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(app=app or door())
        async with httpx.AsyncClient(transport=transport, base_url=host) as client:
            return await client.request(method, path, **more)  # type: ignore[arg-type]  # whatever it takes

    return run(main())


def code(answer: httpx.Response) -> str:
    """Why it was refused."""
    found: str = answer.json()["error"]["code"]
    return found


def entered(app: ASGIApp | None = None, host: str = HOST) -> httpx.Response:
    """The answer to the right token."""
    return asked("POST", "/login", app, host, data={"token": TOKEN}, headers={"origin": host})


def cookie(host: str = HOST, app: ASGIApp | None = None) -> str:
    """What a browser sends after that."""
    found: str = entered(app, host).headers["set-cookie"].partition(";")[0]
    return found


@pytest.mark.parametrize("path", ["/", "/metrics", "/static/status.css", "/events", "/admin/targets", "/x"])
@pytest.mark.parametrize("given", [None, "Bearer sk-operators-012", "Bearer ", "Basic sk-operators-0123"])
def test_without_the_token_nothing_is_told(path: str, given: str | None) -> None:
    """Not even which routes there are."""
    for method in ("GET", "POST", "DELETE"):
        answer = asked(method, path, headers={"authorization": given} if given else {})
        assert (answer.status_code, code(answer)) == (401, "invalid_api_key")


@pytest.mark.parametrize("header", [{"authorization": f"Bearer {TOKEN}"}, {"x-api-key": TOKEN}])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
def test_programs_send_it_each_time(header: dict[str, str], method: str) -> None:
    """As they send any other key."""
    assert asked(method, "/admin/x", headers=header).status_code == 200


@pytest.mark.parametrize("app", [door(), door(None), door(login=None)])
def test_probes_are_for_all(app: ASGIApp) -> None:
    """Whatever they are called."""
    for path in ("/livez", "/readyz"):
        assert asked("GET", path, app, "http://any.name.example").text == "inside"


def test_a_browser_is_asked_at_home_alone() -> None:
    """Where it wants a page; all else is refused as for programs."""
    answer = asked("GET", "/", headers={"accept": HTML})
    assert (answer.status_code, answer.text) == (401, "who are you?")
    for method, path, accept in (("GET", "/", "*/*"), ("GET", "/metrics", HTML), ("POST", "/", HTML)):
        assert code(asked(method, path, headers={"accept": accept})) == "invalid_api_key"
    assert code(asked("GET", "/", door(login=None), headers={"accept": HTML})) == "invalid_api_key"


def test_the_right_token_is_changed_for_a_cookie() -> None:
    """It is for this host and port; no script reads it, and no other site's page makes it be sent."""
    answer = entered()
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    name, _, rest = answer.headers["set-cookie"].partition("=")
    assert name == "apex-session-9090"
    value, *attributes = rest.split("; ")
    assert {one.lower() for one in attributes} == {
        "httponly",
        "path=/",
        "samesite=strict",
        "max-age=43200",
    }
    assert re.fullmatch(r"\d+\.\d+\.[0-9a-f]{64}", value)
    assert TOKEN not in value
    assert answer.headers["cache-control"] == "no-store"


def test_the_cookie_opens_what_changes_nothing() -> None:
    """And nothing else."""
    held = {"cookie": f"other=1; {cookie()}"}
    assert asked("GET", "/", headers=held).text == "inside"
    assert asked("GET", "/events", headers=held).text == "inside"
    for method in ("POST", "DELETE", "HEAD"):
        assert asked(method, "/admin/targets/x/drain", headers=held).status_code == 401


def test_a_good_cookie_counts_beside_a_wrong_token() -> None:
    """A gateway may put its own credential on the way; it changes nothing, as ever."""
    held = {"cookie": cookie(), "authorization": "Bearer of-the-gateway"}
    assert asked("GET", "/", headers=held).text == "inside"
    assert asked("POST", "/admin/reload", headers=held).status_code == 401
    assert asked("GET", "/", headers={**held, "cookie": "apex-session-9090=1.0.0"}).status_code == 401


def test_a_session_ends_after_half_a_day() -> None:
    """Whoever keeps the cookie."""
    clock = ManualClock()
    app = door(clock=clock)
    held = {"cookie": cookie(app=app)}
    clock.advance(doorkeeper.SESSION - 1)
    assert asked("GET", "/", app, headers=held).text == "inside"
    clock.advance(1)
    assert asked("GET", "/", app, headers=held).status_code == 401


def test_no_session_lasts_longer_than_it_was_made_for() -> None:
    """What it says of itself is part of its digest."""
    name, _, value = cookie().partition("=")
    until, number, digest = value.split(".")
    for made in (f"{until}0.{number}.{digest}", f"{until}.1{number}.{digest}", f"inf.{number}.{digest}"):
        assert asked("GET", "/", headers={"cookie": f"{name}={made}"}).status_code == 401


def test_logging_out_ends_a_session_and_no_other() -> None:
    """The browser forgets the cookie, and who has kept it has nothing."""
    app = door()
    held, other = {"cookie": cookie(app=app)}, {"cookie": cookie(app=app)}
    assert held != other
    answer = asked("POST", "/logout", app, headers={**held, "origin": HOST})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert 'apex-session-9090=""; ' in answer.headers["set-cookie"]
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert asked("GET", "/", app, headers=held).status_code == 401
    assert asked("GET", "/", app, headers=other).text == "inside"


def test_sessions_that_were_ended_are_forgotten_when_they_would_have_ended() -> None:
    """And what is no session is not remembered at all."""
    clock = ManualClock()
    sessions = doorkeeper._Sessions(b"key", clock)
    for made in (sessions.begin(), "", "1.0.0", "x"):
        sessions.end(made)
    assert len(sessions._ended) == 1
    clock.advance(doorkeeper.SESSION)
    sessions.end(sessions.begin())
    assert len(sessions._ended) == 1


def test_anybody_may_log_out() -> None:
    """Who is not in, and where no token is asked for any more; but for other sites' pages."""
    for app in (door(), door(None)):
        assert asked("POST", "/logout", app).headers["location"] == "/"
        evil = asked("POST", "/logout", app, headers={"origin": "http://evil.example"})
        assert code(evil) == "origin_not_allowed"
    assert asked("POST", "/logout", door(login=None)).status_code == 401


@pytest.mark.parametrize("value", ["", "x", "ü", "0" * 64])
def test_a_made_up_cookie_opens_nothing(value: str) -> None:
    """Whatever its bytes."""
    held = {"cookie": f"apex-session-9090={value}".encode()}
    assert asked("GET", "/", headers=held).status_code == 401


def test_a_cookie_is_good_for_one_process() -> None:
    """Another has another pepper; a replica on another port has another name for it."""
    held = {"cookie": cookie()}
    assert asked("GET", "/", door(pepper=b"another"), headers=held).status_code == 401
    assert asked("GET", "/", host="http://127.0.0.1:9091", headers=held).status_code == 401
    assert cookie("http://[::1]:9091").startswith("apex-session-9091=")
    assert cookie("http://proxy.example").startswith("apex-session-80=")


@pytest.mark.parametrize(
    "body", [b"", b"token=", b"token=wrong", b"other=sk-operators-0123", b"&" * 20, b"a=1&" * 20, b"\xff\xfe"]
)
def test_a_wrong_form_is_asked_again(body: bytes) -> None:
    """And sets nothing."""
    answer = asked("POST", "/login", content=body)
    assert (answer.status_code, answer.text) == (401, "wrong")
    assert "set-cookie" not in answer.headers


def test_a_form_has_its_bounds() -> None:
    """Nobody is known who sends it."""
    answer = asked("POST", "/login", content=b"token=" + b"x" * doorkeeper.MOST)
    assert (answer.status_code, code(answer)) == (413, "request_too_large")


def test_a_form_that_does_not_come_is_not_waited_for_for_long() -> None:
    """It may have begun."""

    async def begun() -> AsyncIterator[bytes]:
        yield b"token="
        await asyncio.Event().wait()

    answer = asked("POST", "/login", content=begun())
    assert (answer.status_code, code(answer)) == (408, "request_timeout")


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "", "http://127.0.0.1:9091", "http://127.0.0.1", "127.0.0.1:9090"],
)
@pytest.mark.parametrize("app", [door(), door(None)])
def test_pages_of_other_sites_change_nothing(origin: str, app: ASGIApp) -> None:
    """With the token and without: a browser says whose page it was."""
    headers = {"origin": origin, "authorization": f"Bearer {TOKEN}"}
    for method, path in (("POST", "/admin/reload"), ("DELETE", "/x"), ("POST", "/login")):
        answer = asked(method, path, app, headers=headers)
        assert (answer.status_code, code(answer)) == (403, "origin_not_allowed")
    assert asked("GET", "/metrics", app, headers=headers).text == "inside"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("app", [door(), door(None)])
def test_pages_of_other_sites_get_nothing_done(site: str, app: ASGIApp) -> None:
    """What they ask for they could not read; it is not even made. Nor in a frame of theirs."""
    held = {"authorization": f"Bearer {TOKEN}", "sec-fetch-site": site}
    for mode, dest in (("no-cors", "image"), ("cors", "empty"), ("navigate", "iframe"), ("navigate", "")):
        told = {**held, "sec-fetch-mode": mode, "sec-fetch-dest": dest}
        for path in ("/", "/admin/decisions?limit=50000", "/metrics", "/events", "/static/status.css"):
            for method in ("GET", "HEAD"):
                assert asked(method, path, app, headers=told).status_code == 403
    opened = {**held, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert code(asked("GET", "/admin/decisions", app, headers=opened)) == "origin_not_allowed"


@pytest.mark.parametrize("app", [door(), door(None)])
def test_a_link_on_another_site_leads_to_the_page(app: ASGIApp) -> None:
    """In the browser's own window; a browser that is sent away from here says nothing of the kind."""
    held = {"authorization": f"Bearer {TOKEN}"}
    opened = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    for path in ("/", "/login"):
        assert asked("GET", path, app, headers={**held, **opened}).text == "inside"
    for site in ("same-origin", "none"):
        assert asked("GET", "/metrics", app, headers={**held, "sec-fetch-site": site}).text == "inside"


def test_probes_are_no_other_sites_business() -> None:
    """They are for all, and cost nothing."""
    told = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert asked("GET", "/readyz", headers=told).text == "inside"


def test_its_own_pages_may() -> None:
    """By whatever name they were opened."""
    headers = {"origin": "HTTPS://Proxy.example", "authorization": f"Bearer {TOKEN}"}
    assert asked("POST", "/admin/reload", host="http://proxy.example", headers=headers).text == "inside"


@pytest.mark.parametrize(
    ("host", "open_"),
    [
        ("127.0.0.1:9090", True),
        ("localhost:9090", True),
        ("LOCALHOST", True),
        ("a.localhost.", True),
        ("[::1]:9090", True),
        ("10.1.2.3", True),
        ("", True),
        ("evil.example:9090", False),
        ("localhost.evil.example", False),
        ("notlocalhost", False),
        ("127.0.0.1.evil.example", False),
        ("[::1", False),
        ("127.0.0.1:x", False),
    ],
)
def test_without_a_token_only_addresses_are_answered(host: str, open_: bool) -> None:
    """Any other name may be a foreign page's that was made to point here."""
    answer = asked("GET", "/metrics", door(None), headers={"host": host})
    if open_:
        assert answer.text == "inside"
    else:
        assert (answer.status_code, code(answer)) == (403, "host_not_allowed")


def test_without_a_token_there_is_nothing_to_log_in_to() -> None:
    """What would be a form goes where everything goes."""
    answer = asked("POST", "/login", door(None), data={"token": ""})
    assert (answer.text, "set-cookie" in answer.headers) == ("inside", False)
    assert asked("POST", "/login", door(login=None), data={"token": TOKEN}).status_code == 401


def test_what_is_no_request_passes() -> None:
    """The lifespan of the application, where a server has one."""
    seen: list[str] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def main() -> None:
        await Doorkeeper(application, TOKEN, b"pepper", form)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]  # nobody calls them

    run(main())
    assert seen == ["lifespan"]


def test_the_token_is_not_kept() -> None:
    """Only a digest of it, under a pepper of this process."""
    keeper = Doorkeeper(inside, TOKEN, b"pepper", form)
    assert TOKEN not in repr(vars(keeper))
    assert TOKEN.encode().hex() not in repr(vars(keeper))
