"""Every route of the operations port, as the application knows them, asked with and without the token."""

import asyncio
import random
import re
from collections.abc import Callable, Iterator, Sequence

import httpx
import pytest
from fastapi.routing import APIRoute
from starlette.routing import Route

from proxy.app import Replica, Surroundings, build
from proxy.clock import ManualClock
from proxy.config.settings import Config
from proxy.doorkeeper import LOGIN
from proxy.endpoints import PROBES

TOKEN = "sk-operators-of-tests"
CONFIG = {
    "clients": [{"name": "dev", "key": "sk-client-of-tests"}],
    "providers": {"local": {"base_url": "http://127.0.0.1:9/v1"}},
    "models": {"small": {"providers": [{"provider": "local"}]}},
}
HERE, ELSEWHERE = "http://127.0.0.1:9090", "http://pages.example:9090"
ALL_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

Question = tuple[str, str, dict[str, str]]
"""Method, path, headers."""


def routes(of: Replica) -> Iterator[tuple[str, str]]:
    """Method and path of each route, with something in the place of each parameter."""
    for route in of.operations_app.routes:
        assert isinstance(route, APIRoute | Route), route
        for method in route.methods or ():
            yield method, re.sub(r"\{[^}]*\}", "x", route.path)


def asked(
    token: str | None, questions: Callable[[Replica], Sequence[Question]], base: str = HERE
) -> list[httpx.Response]:
    """The answers of a replica with that token to what is made of its routes, in order."""

    async def main() -> list[httpx.Response]:
        config = Config.model_validate({**CONFIG, "operations": {"token": token}})
        here = build(config, Surroundings(ManualClock(), random.Random(1), {}))
        transport = httpx.ASGITransport(app=here.operations_app)
        try:
            async with httpx.AsyncClient(transport=transport, base_url=base) as client:
                asking = questions(here)
                assert asking
                return [await client.request(method, path, headers=more) for method, path, more in asking]
        finally:
            await here.close()

    return asyncio.run(main())


def every(headers: dict[str, str], *more: tuple[str, str]) -> Callable[[Replica], list[Question]]:
    """Every route but the probes, in every method there is, known to it or not; then `more`."""

    def made(here: Replica) -> list[Question]:
        paths = dict.fromkeys(path for _, path in routes(here) if path not in PROBES)
        return [
            (method, path, headers)
            for method, path in [*((method, path) for path in paths for method in ALL_METHODS), *more]
        ]

    return made


def test_all_that_operators_can_do_is_a_route() -> None:
    """So the tests below, which ask for the routes, miss none of it."""
    found: set[tuple[str, str]] = set()

    def look(here: Replica) -> list[Question]:
        found.update(routes(here))
        return [("GET", "/livez", {})]

    asked(TOKEN, look)
    assert found >= {
        ("GET", "/"),
        ("GET", "/events"),
        ("GET", "/static/x"),
        ("GET", "/metrics"),
        ("GET", "/admin/replicas"),
        ("GET", "/admin/targets"),
        ("POST", "/admin/targets/x/x"),
        ("GET", "/admin/limits/x"),
        ("POST", "/admin/explain"),
        ("GET", "/admin/decisions"),
        ("GET", "/admin/decisions/x"),
        ("POST", "/admin/reload"),
        *(("GET", path) for path in PROBES),
    }


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer sk-operators-of-test"},
        {"authorization": "Bearer sk-client-of-tests"},
        {"authorization": f"Basic {TOKEN}"},
        {"x-api-key": "sk-client-of-tests"},
        {"cookie": f"apex-session-9090={TOKEN}"},
        {"cookie": "apex-session-9090="},
    ],
)
def test_every_route_refuses_who_has_no_token(headers: dict[str, str]) -> None:
    """Whatever the method; in the same words as where there is no route."""
    answers = asked(TOKEN, every(headers, ("GET", "/admin/nothing")))
    assert {answer.status_code for answer in answers} == {401}
    told = {answer.text for answer in answers if answer.request.method != "HEAD"}
    assert told == {answers[-1].text}


def test_every_route_is_there_for_who_has_the_token() -> None:
    """None of the refusals above is one of a path that is not there: each is answered otherwise now."""
    auth = {"authorization": f"Bearer {TOKEN}"}
    answers = asked(
        TOKEN, lambda here: [(method, path, auth) for method, path in routes(here) if path != "/events"]
    )
    assert 401 not in {answer.status_code for answer in answers}
    assert [answer.url.path for answer in answers if "There is nothing at" in answer.text] == []


def test_every_route_refuses_other_sites_pages() -> None:
    """What would change something, though the token is there; the login among it."""
    more = {"authorization": f"Bearer {TOKEN}", "origin": "http://pages.example"}
    changing = every(more, ("POST", LOGIN))
    answers = asked(TOKEN, lambda here: [one for one in changing(here) if one[0] not in ("GET", "HEAD")])
    told = {(answer.status_code, answer.json()["error"]["code"]) for answer in answers}
    assert told == {(403, "origin_not_allowed")}


def test_every_route_refuses_foreign_names_where_there_is_no_token() -> None:
    """A page of another site may have made its name point here."""
    answers = asked(None, every({}), ELSEWHERE)
    assert {answer.status_code for answer in answers} == {403}


@pytest.mark.parametrize("token", [TOKEN, None])
def test_probes_are_for_everybody(token: str | None) -> None:
    """With a token and without, by whatever name."""
    answers = asked(token, lambda _: [("GET", path, {}) for path in PROBES], ELSEWHERE)
    assert {answer.status_code for answer in answers} <= {200, 503}
