"""Where a provider answers: the URL of one endpoint, from a configured base URL. Pure.

An operator may paste the base URL in every form that the providers' own pages show, so all of them are
understood here, once: with or without `/v1`, and for Azure a bare resource, a full deployment URL, a base
that ends with `/models` or `/openai/v1`, and the `:name` / `:model` templates. A model's name goes into a
path percent-encoded, so that nothing a configuration names can leave its segment.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

from proxy.profiles import PROFILES, Kind, Profile

Endpoint = Literal["chat", "embeddings", "responses", "messages", "models"]

PATHS: Final[Mapping[Endpoint, str]] = MappingProxyType(
    {
        "chat": "/chat/completions",
        "embeddings": "/embeddings",
        "responses": "/responses",
        "messages": "/messages",
        "models": "/models",
    }
)

URL_FORM = "an http:// or https:// URL without user name, password, query or fragment"

_TEMPLATE = re.compile(r":(name|model)(?![A-Za-z0-9_])")
_DEPLOYMENT = re.compile(r"(?P<prefix>.*)/openai/deployments/(?P<deployment>[^/]+)")
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
_PASTED = ("/chat/completions",)


@dataclass(frozen=True, slots=True)
class _Azure:
    """The parts of an Azure base: where the resource starts, the base as given, the version to ask for."""

    resource: str
    base: str
    version: str
    profile: Profile


def address(
    provider_kind: Kind,
    base_url: str,
    name: str | None,
    api_version: str | None,
    model: str,
    endpoint: Endpoint,
) -> str:
    """The URL of `endpoint` for `model` at a provider.

    `name` is the Azure resource for `:name`; `api_version` goes before a version in the base URL, which
    goes before the kind's default. Raises `ValueError` when the base has `:name` and there is no name.
    """
    profile = PROFILES[provider_kind]
    parts = urlsplit(filled(base_url, name, model))
    if profile.join == "azure":
        return _azure(parts, api_version, model, endpoint, profile)
    path = _trimmed(parts.path) or profile.root
    if profile.join == "version" and not path.endswith("/v1"):
        path += "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}{PATHS[endpoint]}"


def filled(base_url: str, name: str | None, model: str) -> str:
    """The base URL with `:name` and `:model` replaced. Raises `ValueError` when there is no name for it."""
    if name is None and needs_name(base_url):
        raise ValueError("the base URL has `:name`, and no name is configured")
    values = {"name": name or "", "model": quote(model, safe="")}
    return _TEMPLATE.sub(lambda match: values[match[1]], base_url)


def needs_name(base_url: str) -> bool:
    """Whether the base URL holds the `:name` template."""
    return any(match[1] == "name" for match in _TEMPLATE.finditer(base_url))


def host(base_url: str) -> str:
    """The host name of a base URL, templates replaced by a stand-in; empty when it has none."""
    try:
        return urlsplit(filled(base_url, "name", "model")).hostname or ""
    except ValueError:
        return ""


def checked(base_url: str) -> str:
    """The base URL as it was, if it is one that can be called. Raises `ValueError` naming the allowed form.

    A query is allowed only as Azure's pages show it: one `api-version`.
    """
    try:
        parts = urlsplit(filled(base_url, "name", "model"))
        port = parts.port
    except ValueError:
        raise ValueError(URL_FORM) from None
    if parts.scheme not in {"http", "https"} or port == 0 or not _plain(parts):
        raise ValueError(URL_FORM)
    return base_url


def _plain(parts: SplitResult) -> bool:
    query = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    return (
        "@" not in parts.netloc
        and _HOST.fullmatch(parts.netloc.removesuffix(f":{parts.port}")) is not None
        and not parts.fragment
        and query in ([], ["api-version"])
        and not re.search(r"[\s\x00-\x1f\x7f\\]", parts.geturl())
    )


def _trimmed(path: str) -> str:
    """The path without a trailing slash, and without an endpoint pasted along with it."""
    path = path.rstrip("/")
    for pasted in _PASTED:
        path = path.removesuffix(pasted).rstrip("/")
    return path


def _azure(
    parts: SplitResult, api_version: str | None, model: str, endpoint: Endpoint, profile: Profile
) -> str:
    path = _trimmed(parts.path)
    if path.endswith("/responses") and endpoint == "responses":
        path = path.removesuffix("/responses")
    origin = f"{parts.scheme}://{parts.netloc}"
    version = api_version or dict(parse_qsl(parts.query)).get("api-version", "")
    found = _DEPLOYMENT.match(path)
    if found:
        azure = _Azure(origin + found["prefix"], origin + found[0], version, profile)
        return _resource_url(azure, azure.base, endpoint)
    if path.endswith("/openai/v1"):
        return origin + path + PATHS[endpoint] + _query(version)
    if path.endswith("/models"):
        azure = _Azure(origin + path.removesuffix("/models"), origin + path, version, profile)
        return _inference_url(azure, endpoint)
    azure = _Azure(origin + path.removesuffix("/openai"), origin + path, version, profile)
    return _resource_url(azure, f"{azure.resource}/openai/deployments/{quote(model, safe='')}", endpoint)


def _resource_url(azure: _Azure, deployment: str, endpoint: Endpoint) -> str:
    """Chat and embeddings belong to a deployment, the rest to the resource; Messages is not versioned."""
    query = _query(azure.version or azure.profile.api_version)
    if endpoint in {"chat", "embeddings"}:
        return deployment + PATHS[endpoint] + query
    if endpoint == "messages":
        return f"{azure.resource}/anthropic/v1/messages"
    return f"{azure.resource}/openai{PATHS[endpoint]}{query}"


def _inference_url(azure: _Azure, endpoint: Endpoint) -> str:
    if endpoint in {"chat", "embeddings"}:
        return azure.base + PATHS[endpoint] + _query(azure.version or azure.profile.inference_api_version)
    return _resource_url(azure, azure.base, endpoint)


def _query(version: str) -> str:
    return f"?api-version={quote(version, safe='')}" if version else ""
