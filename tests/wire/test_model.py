import pytest

from proxy.wire.model import DIALECT_OF, Dialect, Endpoint, Usage


@pytest.mark.parametrize(
    ("endpoint", "dialect"),
    [
        (Endpoint.CHAT, Dialect.CHAT),
        (Endpoint.EMBEDDINGS, Dialect.CHAT),
        (Endpoint.RESPONSES, Dialect.RESPONSES),
        (Endpoint.MESSAGES, Dialect.MESSAGES),
    ],
)
def test_dialect_of(endpoint: Endpoint, dialect: Dialect) -> None:
    """Each endpoint that carries traffic belongs to one dialect."""
    assert DIALECT_OF[endpoint] is dialect


def test_usage_counts_nothing_by_default() -> None:
    """What a provider does not count is zero."""
    assert Usage() == Usage(input=0, output=0, cached=0, reasoning=0)
