"""A process of its own that looks prices up in `genai-prices`: `python -m proxy.appraiser`.

It reads the wanted models as JSON and writes the prices that it has found, by label. The package's list takes
a quarter of a second and 70 MB to load, and a few numbers of it are needed: they are all a replica keeps.
"""

import datetime as dt
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec
from genai_prices import data_snapshot, types

from proxy.clock import SystemClock
from proxy.prices import Price, Rates, Wanted

_VENDORS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "openai": "openai",
        "azure": "azure",
        "anthropic": "anthropic",
        "deepseek": "deepseek",
        "mistral": "mistral",
    }
)
"""Kinds of provider that the package knows by name; others are known by their address."""


def find(wanted: Sequence[Wanted], now: dt.datetime) -> dict[str, Price]:
    """The prices of those that the package knows, by label."""
    snapshot = data_snapshot.get_snapshot()
    found = {}
    for one in wanted:
        vendor = _VENDORS.get(one.kind)
        try:
            _, model = snapshot.find_provider_model(one.model, None, vendor, None if vendor else one.url)
        except LookupError:
            continue
        price = priced(model.get_prices(now))
        if price is not None:
            found[one.label] = price
    return found


def priced(prices: types.ModelPrice) -> Price | None:
    """Prices of the package in our terms; None for a model that is not charged by the token."""
    whole = rates(prices, 0)
    if whole is None:
        return None
    known = [prices.input_mtok, prices.output_mtok, prices.cache_read_mtok, prices.cache_write_mtok]
    starts = {tier.start for rate in known if isinstance(rate, types.TieredPrices) for tier in rate.tiers}
    longer = [(start, rates(prices, start + 1)) for start in sorted(starts, reverse=True)]
    return Price(whole, tuple((start, some) for start, some in longer if some is not None))


def rates(prices: types.ModelPrice, length: int) -> Rates | None:
    """The rates for an input of so many tokens."""
    found = [
        _rate(price, length)
        for price in (
            prices.input_mtok,
            prices.output_mtok,
            prices.cache_read_mtok,
            prices.cache_write_mtok,
        )
    ]
    given, output, cached, written = found
    return Rates(given, output or 0.0, cached, written) if given is not None else None


def _rate(price: object, length: int) -> float | None:
    if price is None:
        return None
    if isinstance(price, types.TieredPrices):
        above = [tier.price for tier in price.tiers if length > tier.start]
        return float(above[-1] if above else price.base)
    return float(str(price))


if __name__ == "__main__":
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=list[Wanted])
    today = dt.datetime.fromtimestamp(SystemClock().wall(), dt.UTC)
    sys.stdout.buffer.write(msgspec.json.encode(find(asked, today)))
