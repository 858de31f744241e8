import pytest

from proxy.config.pricing import Price as Settings
from proxy.prices import Price, PriceList, Rates, configured
from proxy.wire.model import Usage

PLAIN = Price(Rates(2.0, 8.0))
FULL = Price(Rates(3.0, 15.0, 0.3, 3.75), ((200_000, Rates(6.0, 22.5, 0.6, 7.5)),))
MILLION = 1_000_000


@pytest.mark.parametrize(
    ("price", "usage", "dollars"),
    [
        (PLAIN, Usage(MILLION, MILLION), 10.0),
        (PLAIN, Usage(MILLION, 0, cached=MILLION // 2, written=MILLION // 2), 2.0),
        (PLAIN, Usage(0, MILLION, reasoning=MILLION), 8.0),
        (FULL, Usage(100_000, 10_000, cached=50_000, written=20_000), 0.09 + 0.015 + 0.075 + 0.15),
        (FULL, Usage(200_000, 0), 0.6),
        (FULL, Usage(200_001, 0), 1.200006),
        (FULL, Usage(300_000, 10_000, cached=100_000), 1.2 + 0.06 + 0.225),
        (PLAIN, Usage(10, 0, cached=20), 20 * 2 / MILLION),
        (PLAIN, Usage(-5, -5, cached=-5, written=-5), 0.0),
        (PLAIN, Usage(), 0.0),
    ],
)
def test_what_a_reply_costs(price: Price, usage: Usage, dollars: float) -> None:
    """Each token by its kind, and by how long the input is; what a provider counts oddly is no gain."""
    assert price.of(usage) == pytest.approx(dollars)


def test_an_operators_price() -> None:
    """In dollars for a million tokens; what is not given is as other input."""
    assert configured(Settings(input=1)) == Price(Rates(1.0, 0.0))
    assert configured(Settings(input=1, output=2, cached=0, written=4)) == Price(Rates(1.0, 2.0, 0.0, 4.0))


def test_a_list_of_prices() -> None:
    """What is not in it has none, and it may be another one later."""
    listed = PriceList({"a/m": PLAIN})
    assert listed.cost("a/m", Usage(MILLION)) == 2.0
    assert listed.cost("b/m", Usage(MILLION)) is None
    listed.renew({"b/m": PLAIN})
    assert ("a/m" in listed, "b/m" in listed) == (False, True)
    assert PriceList().cost("a/m", Usage(1)) is None
