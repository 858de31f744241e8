"""The only room that knows an HTTP client: the seam, and one module per transport."""

from proxy.upstream.seam import Call, Reply, Taker, Upstream, read_whole

__all__ = ["Call", "Reply", "Taker", "Upstream", "read_whole"]
