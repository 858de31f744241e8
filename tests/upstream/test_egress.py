import pytest
from yarl import URL

from proxy.upstream.egress import Proxies


@pytest.mark.parametrize(
    ("no_proxy", "url", "straight"),
    [
        ("", "http://example.com/", False),
        ("*", "http://example.com/", True),
        ("example.com", "http://example.com/", True),
        ("example.com", "http://EXAMPLE.com/", True),
        ("Example.com", "http://example.com/", True),
        ("example.com", "http://api.example.com/", True),
        (".example.com", "http://api.example.com/", True),
        ("*.example.com", "http://api.example.com/", True),
        ("example.com", "http://notexample.com/", False),
        ("example.com", "http://example.com.evil.org/", False),
        ("other, example.com ,third", "http://example.com/", True),
        ("example.com:8080", "http://example.com:8080/", True),
        ("example.com:8080", "http://example.com/", False),
        ("example.com:80", "http://example.com/", True),
        ("10.0.0.0/8", "http://10.1.2.3/", True),
        ("10.0.0.0/8", "http://11.1.2.3/", False),
        ("10.1.2.3", "http://10.1.2.3:99/", True),
        ("fd00::/8", "http://[fd00::1]/", True),
        ("::1", "http://[::1]/", True),
        ("[::1]:8080", "http://[::1]:8080/", True),
        ("[::1]:8080", "http://[::1]/", False),
        ("10.0.0.0/8", "http://example.com/", False),
        (",,", "http://example.com/", False),
        (".", "http://example.com/", False),
    ],
)
def test_no_proxy_names_hosts_domains_ports_and_ranges(no_proxy: str, url: str, straight: bool) -> None:
    """Each form of entry matches what it should and no more."""
    for name in ("no_proxy", "NO_PROXY"):
        proxies = Proxies({"HTTP_PROXY": "http://proxy:3128", name: no_proxy})
        assert (proxies.of(URL(url)) is None) is straight


def test_proxy_variables() -> None:
    """Lower case comes first, a scheme may be left out, each scheme has its own."""
    proxies = Proxies({"http_proxy": "one:1", "HTTP_PROXY": "http://two:2", "HTTPS_PROXY": "https://three:3"})
    assert proxies.of(URL("http://a/")) == URL("http://one:1")
    assert proxies.of(URL("https://a/")) == URL("https://three:3")
    assert Proxies({}).of(URL("http://a/")) is None


@pytest.mark.parametrize(
    "value", ["socks5://user:secret@proxy:1080", "http://", "://", "http://secret@[x", "http://a:secret"]
)
def test_proxy_that_speaks_no_http_is_refused_by_name(value: str) -> None:
    """A proxy that cannot be used is an error that names the variable and not its value."""
    with pytest.raises(ValueError, match="HTTPS_PROXY") as caught:
        Proxies({"HTTPS_PROXY": value})
    assert "secret" not in str(caught.value)
