"""URLs, and what is said to an origin because of them."""

import asyncio

import pytest

from proxy.upstream import Call
from proxy.upstream.egress import Proxies
from proxy.upstream.pool import Pool
from proxy.upstream.route import Hop, Route, Routes, Way


def _routes(environment: dict[str, str] | None = None) -> Routes:
    pools: dict[Way, Pool] = {}

    def pool(way: Way) -> Pool:
        return pools.setdefault(way, Pool(0, 60.0, lambda: None, lambda _: None))

    return Routes(Proxies(environment or {}), pool)


def _route(url: str, environment: dict[str, str] | None = None) -> Route:
    async def main() -> Route:
        return _routes(environment).of(url)

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("url", "origin", "opening"),
    [
        ("http://A.example", Hop(False, "a.example", 80), b" / HTTP/1.1\r\nhost: a.example\r\n"),
        ("https://a:8443/x?y=1#z", Hop(True, "a", 8443), b" /x?y=1 HTTP/1.1\r\nhost: a:8443\r\n"),
        ("https://[::1]/v1", Hop(True, "::1", 443), b" /v1 HTTP/1.1\r\nhost: [::1]\r\n"),
        ("http://b\xfccher.example/\xfc", Hop(False, "xn--bcher-kva.example", 80), None),
    ],
)
def test_a_url_is_an_origin_and_a_target(url: str, origin: Hop, opening: bytes | None) -> None:
    """Default ports are left out, fragments stay here."""
    route = _route(url)
    assert route.way == Way(origin, None)
    assert opening is None or route.opening == opening


def test_nothing_shows_an_address_or_a_secret() -> None:
    """Neither a route nor its parts."""
    assert repr(_route("https://a/x", {"HTTPS_PROXY": "http://u:p@b"})) == "<Route over <Hop https>>"


def test_urls_of_one_origin_share_its_pool() -> None:
    """And one URL is looked at once."""

    async def main() -> None:
        routes = _routes()
        one = routes.of("http://a/x")
        assert routes.of("http://a/x") is one
        assert routes.of("http://a/y").pool is one.pool
        assert routes.of("http://a:81/y").pool is not one.pool
        for number in range(5000):
            routes.of(f"http://a/{number}")
        assert routes.of("http://a/x") is not one
        assert routes.of("http://a/x").pool is one.pool

    asyncio.run(main())


def test_a_proxy_is_told_its_own_credentials() -> None:
    """In each request of plain HTTP, and only in CONNECT of a tunnel."""
    environment = {"HTTP_PROXY": "http://u:p@proxy", "HTTPS_PROXY": "https://u:p@proxy:99"}
    plain, secure = _route("http://a/x", environment), _route("https://a/x", environment)
    assert plain.opening == (b" http://a/x HTTP/1.1\r\nhost: a\r\nproxy-authorization: Basic dTpw\r\n")
    assert secure.opening == b" /x HTTP/1.1\r\nhost: a\r\n"
    assert secure.way.proxy == Hop(True, "proxy", 99, "Basic dTpw")


@pytest.mark.parametrize(
    ("method", "body", "said"),
    [
        ("POST", b"{}", b"content-length: 2\r\n\r\n{}"),
        ("POST", b"", b"content-length: 0\r\n\r\n"),
        ("DELETE", b"", b"content-length: 0\r\n\r\n"),
        ("GET", b"", b"accept-encoding: identity\r\n\r\n"),
        ("GET", b"x", b"content-length: 1\r\n\r\nx"),
    ],
)
def test_a_request_is_one_piece(method: str, body: bytes, said: bytes) -> None:
    """Head and body leave together."""
    (request,) = _route("http://a/").request(Call(method, "http://a/", (("x-a", "\t\xe9"),), body))
    assert request.startswith(method.encode() + b" / HTTP/1.1\r\nhost: a\r\nx-a: \t\xe9\r\n")
    assert request.endswith(said)


def test_a_large_body_is_not_copied() -> None:
    """It is the same object that goes to the socket."""
    body = b"x" * 300_000
    assert _route("http://a/").request(Call("POST", "http://a/", (), body))[1] is body


@pytest.mark.parametrize("method", ["GET /x", "", "GET\r\n", "G\xe9T"])
def test_what_is_no_method_is_refused(method: str) -> None:
    """It would be another request."""
    with pytest.raises(ValueError, match="method"):
        _route("http://a/").request(Call(method, "http://a/", ()))


@pytest.mark.parametrize("code", [*[code for code in range(32) if code != 9], 127])
def test_control_characters_are_refused(code: int) -> None:
    """All but tab, in names and values."""
    for header in (("x", f"a{chr(code)}b"), (f"x{chr(code)}", "a")):
        with pytest.raises(ValueError, match="control"):
            _route("http://a/").request(Call("POST", "http://a/", (header,)))
