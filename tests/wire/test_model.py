import pytest

from proxy.wire.model import DIALECT_OF, MOST_TOKENS, Dialect, Endpoint, Usage, tokens


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


@pytest.mark.parametrize(
    ("told", "taken"),
    [(None, 0), (-5, 0), (0, 0), (7, 7), (MOST_TOKENS, MOST_TOKENS), (10**30, MOST_TOKENS)],
)
def test_counts_that_cannot_be(told: int | None, taken: int) -> None:
    """Are moved to the next that can."""
    assert tokens(told) == taken
