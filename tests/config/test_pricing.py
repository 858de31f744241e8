import pytest
from pydantic import ValidationError

from proxy.config.pricing import Costs, Price


def test_prices_are_looked_up_and_not_told_unless_wished() -> None:
    """The defaults."""
    assert (Costs().lookup, Costs().header) == (True, False)


def test_a_price_needs_its_input_only() -> None:
    """Embeddings have no output; what is read from a cache may be free."""
    price = Price(input=0.5, cached=0)
    assert (price.output, price.cached, price.written) == (0.0, 0.0, None)


@pytest.mark.parametrize("given", [{}, {"input": -1}, {"input": True}, {"input": 1, "thought": 2}])
def test_what_is_no_price(given: dict[str, object]) -> None:
    """Nothing is paid out, and a misspelt kind of token is an error."""
    with pytest.raises(ValidationError):
        Price.model_validate(given)
