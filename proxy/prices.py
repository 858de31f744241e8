"""What tokens cost, in dollars: rates and the sum over a reply's usage. Pure.

Rates may depend on how long the input is: beyond a bound all tokens of a request cost what is said there.
That is how OpenAI, Anthropic and Google charge long prompts.
"""

from collections.abc import Mapping

import msgspec

from proxy.config.pricing import Price as Settings
from proxy.wire.model import Usage

_MILLION = 1_000_000


class Rates(msgspec.Struct, frozen=True):
    """Dollars for a million tokens of each kind. None: as other input."""

    input: float
    output: float
    cached: float | None = None
    written: float | None = None


class Price(msgspec.Struct, frozen=True):
    """The rates of a model, and those for more than so many input tokens, the longest first."""

    rates: Rates
    longer: tuple[tuple[int, Rates], ...] = ()

    def of(self, usage: Usage) -> float:
        """What a reply with this usage costs, in dollars."""
        rates = next((rates for above, rates in self.longer if usage.input > above), self.rates)
        cached, written = max(usage.cached, 0), max(usage.written, 0)
        plain = max(usage.input - cached - written, 0)
        total = plain * rates.input + max(usage.output, 0) * rates.output
        total += cached * (rates.input if rates.cached is None else rates.cached)
        total += written * (rates.input if rates.written is None else rates.written)
        return total / _MILLION


def configured(settings: Settings) -> Price:
    """The price that an operator has given."""
    return Price(Rates(settings.input, settings.output, settings.cached, settings.written))


class Wanted(msgspec.Struct, frozen=True):
    """A model whose price is looked up: at which kind of provider, or else at which address."""

    label: str
    kind: str
    url: str
    model: str

    @property
    def sold(self) -> bool:
        """Whether somebody may sell it: who has list prices can be called over the internet."""
        return self.url.startswith("https://")


class PriceList:
    """The prices of a configuration, by the label of the target. What is not in it has no price."""

    def __init__(self, prices: Mapping[str, Price] | None = None) -> None:
        self._prices: Mapping[str, Price] = prices or {}

    def __contains__(self, label: str) -> bool:
        """Whether the price is known."""
        return label in self._prices

    def renew(self, prices: Mapping[str, Price]) -> None:
        """From now on these hold."""
        self._prices = prices

    def cost(self, label: str, usage: Usage) -> float | None:
        """What a reply of this target costs, in dollars; None where nobody knows."""
        price = self._prices.get(label)
        return price.of(usage) if price is not None else None
