"""The way out: which proxy of the environment, if any, stands between us and an origin."""

import contextlib
import ipaddress
from collections.abc import Mapping

from yarl import URL


class Proxies:
    """Which proxy, if any, the environment names for an origin; lower-case variables come first.

    `no_proxy` lists hosts, with a port or without: a domain stands for its subdomains too, an address may
    be a CIDR range, `*` is all.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._by_scheme = {scheme: _proxy_url(environment, scheme) for scheme in ("http", "https")}
        listed = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
        self._direct = [entry for part in listed.lower().split(",") if (entry := part.strip())]

    def of(self, url: URL) -> URL | None:
        """The proxy for the origin of `url`."""
        host, port = url.host or "", url.port or 0
        if any(_names(entry, host, port) for entry in self._direct):
            return None
        return self._by_scheme.get(url.scheme)


def _proxy_url(environment: Mapping[str, str], scheme: str) -> URL | None:
    name = f"{scheme}_proxy"
    value = environment.get(name) or environment.get(name.upper())
    if not value:
        return None
    with contextlib.suppress(ValueError):  # its words would show the value, which may hold a password
        proxy = URL(value if "://" in value else f"http://{value}")
        if proxy.scheme in {"http", "https"} and proxy.host:
            return proxy
    raise ValueError(f"{name.upper()} must be the http:// or https:// URL of a proxy")


def _names(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    name, _, digits = entry.rpartition(":")
    if digits.isdecimal() and (":" not in name or name.endswith("]")):
        if int(digits) != port:
            return False
        entry = name
    entry = entry.strip("[]")
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        domain = entry.removeprefix("*").removeprefix(".")
        return host == domain or host.endswith(f".{domain}")
