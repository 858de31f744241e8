"""Cross-origin requests: which pages may call the proxy from a browser (WHATWG Fetch, CORS protocol).

Off unless configured; then the same for every route, with every method and header the proxy understands.
"""

from proxy.config.settings import Cors
from proxy.exchange import Headers

_METHODS = b"GET, POST, DELETE, OPTIONS"
_ALLOWED = (
    b"authorization, content-type, x-api-key, api-key, anthropic-version, anthropic-beta, "
    b"anthropic-dangerous-direct-browser-access, openai-beta, openai-organization, openai-project, "
    b"idempotency-key, traceparent, tracestate, x-apex-strict, x-stainless-arch, x-stainless-lang, "
    b"x-stainless-os, x-stainless-package-version, x-stainless-retry-count, x-stainless-runtime, "
    b"x-stainless-runtime-version, x-stainless-timeout, x-stainless-read-timeout, x-stainless-helper-method"
)
_EXPOSED = (
    b"x-request-id, request-id, x-upstream-request-id, x-apex-target, x-apex-attempts, x-apex-warnings, "
    b"x-apex-store, x-apex-cost, x-should-retry, retry-after, retry-after-ms, "
    b"x-ratelimit-limit-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-requests, "
    b"x-ratelimit-remaining-tokens, x-ratelimit-reset-requests, x-ratelimit-reset-tokens, "
    b"anthropic-ratelimit-requests-limit, anthropic-ratelimit-requests-remaining, "
    b"anthropic-ratelimit-requests-reset, anthropic-ratelimit-tokens-limit, "
    b"anthropic-ratelimit-tokens-remaining, anthropic-ratelimit-tokens-reset"
)


class CorsPolicy:
    """The answers to one configuration's cross-origin requests."""

    def __init__(self, settings: Cors) -> None:
        self._any = "*" in settings.origins
        self._origins = frozenset(origin.encode() for origin in settings.origins)
        self._max_age = b"%d" % int(settings.max_age)

    def admits(self, origin: bytes) -> bool:
        """Whether pages of `origin` may call."""
        return self._any or origin in self._origins

    def headers(self, origin: bytes | None) -> Headers:
        """What an answer to a request from `origin` carries; nothing for pages that may not call."""
        if origin is None or not self.admits(origin):
            return []
        return [*self._allow(origin), (b"access-control-expose-headers", _EXPOSED)]

    def preflight(self, origin: bytes | None) -> Headers:
        """The answer to a preflight: without the allowing headers the browser refuses for us."""
        if origin is None or not self.admits(origin):
            return [(b"vary", b"origin")]
        return [
            *self._allow(origin),
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", _ALLOWED),
            (b"access-control-max-age", self._max_age),
        ]

    def _allow(self, origin: bytes) -> Headers:
        if self._any:
            return [(b"access-control-allow-origin", b"*")]
        return [(b"access-control-allow-origin", origin), (b"vary", b"origin")]


def policy(settings: Cors | None) -> CorsPolicy | None:
    """What the configuration says of it; None where no page may call."""
    return CorsPolicy(settings) if settings is not None else None
