import datetime as dt
import decimal

import pytest
from genai_prices import types

from proxy import appraiser
from proxy.prices import Price, Rates, Wanted
from proxy.profiles import KINDS

NOW = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)


def wanted(kind: str, model: str, url: str = "https://nowhere.test") -> Wanted:
    """A model at a provider."""
    return Wanted(f"{kind}/{model}", kind, url, model)


def test_prices_of_vendors_are_found_by_kind_or_address() -> None:
    """Azure sells OpenAI's models; a generic provider may be one that the package knows by its address."""
    known = [
        wanted("openai", "gpt-4o"),
        wanted("azure", "gpt-4o"),
        wanted("anthropic", "claude-sonnet-4-5"),
        wanted("generic", "llama-3.3-70b-versatile", "https://api.groq.com"),
    ]
    found = appraiser.find(known, NOW)
    assert list(found) == [one.label for one in known]
    assert found["openai/gpt-4o"].rates == Rates(2.5, 10.0, 1.25)
    assert all(0 < price.rates.input <= price.rates.output for price in found.values())


@pytest.mark.parametrize(
    "unknown",
    [
        wanted("openai", "nobody-knows-this"),
        wanted("generic", "gpt-4o", "https://llm.example.test"),
        wanted("dashscope", "qwen-plus", "https://dashscope.aliyuncs.com"),
    ],
)
def test_what_is_not_sold_there_has_no_price(unknown: Wanted) -> None:
    """A model of the same name elsewhere may cost anything."""
    assert appraiser.find([unknown], NOW) == {}


def test_kinds_are_known_by_name() -> None:
    """Those that sell at list prices."""
    assert appraiser._VENDORS.keys() <= set(KINDS)


def _decimal(text: str) -> decimal.Decimal:
    return decimal.Decimal(text)


def test_long_inputs_have_rates_of_their_own() -> None:
    """Each bound with the rates beyond it, the longest first."""
    tiers = [types.Tier(start=1000, price=_decimal("4")), types.Tier(start=2000, price=_decimal("6"))]
    prices = types.ModelPrice(
        input_mtok=types.TieredPrices(base=_decimal("2"), tiers=tiers),
        output_mtok=types.TieredPrices(
            base=_decimal("8"), tiers=[types.Tier(start=1000, price=_decimal("9"))]
        ),
        cache_read_mtok=_decimal("1"),
    )
    assert appraiser.priced(prices) == Price(
        Rates(2.0, 8.0, 1.0), ((2000, Rates(6.0, 9.0, 1.0)), (1000, Rates(4.0, 9.0, 1.0)))
    )


def test_what_is_not_charged_by_the_token_has_no_price() -> None:
    """Pictures, for instance."""
    assert appraiser.priced(types.ModelPrice(requests_kcount=_decimal("3"))) is None
