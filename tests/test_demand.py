"""Tests of `proxy.demand`: what is expected, and how it follows what was real."""

import random

import pytest

from proxy.demand import FIRST_BYTES_PER_TOKEN, FIRST_OUTPUT, MODELS, Estimator, OutputPolicy
from proxy.wire.model import Usage

P90, MAX, NONE = OutputPolicy.P90, OutputPolicy.MAX_TOKENS, OutputPolicy.NONE
FIRST = round(FIRST_OUTPUT)


def output_of(estimator: Estimator, model: str = "m") -> int:
    """What is charged ahead where the client says no bound."""
    return estimator.parts(model, 0, None, P90)[1]


@pytest.mark.parametrize(
    ("policy", "cap", "output"),
    [
        (P90, None, FIRST),
        (P90, 10, 10),
        (P90, 100_000, FIRST),
        (MAX, None, FIRST),
        (MAX, 10, 10),
        (MAX, 100_000, 100_000),
        (NONE, None, 0),
        (NONE, 10, 0),
    ],
)
def test_how_much_output_is_charged_ahead(policy: OutputPolicy, cap: int | None, output: int) -> None:
    """A learned guess under the client's cap, the cap itself, or nothing."""
    estimator = Estimator()
    assert estimator.parts("m", 400, cap, policy) == (estimator.prompt("m", 400), output)


@pytest.mark.parametrize("size", [0, 1, 7, 4_000_000])
def test_a_request_always_costs_something(size: int) -> None:
    """Even an empty one: a guess of nothing would reserve nothing."""
    assert Estimator().prompt("m", size) == 1 + round(size / FIRST_BYTES_PER_TOKEN)


@pytest.mark.parametrize("ratio", [1.3, 3.0, 4.0, 6.5, 20.0])
def test_bytes_per_token_are_learned(ratio: float) -> None:
    """After 200 requests of a model with an even ratio, prompts are foretold within 2 %."""
    draw, estimator = random.Random(3), Estimator()
    for _ in range(200):
        size = draw.randrange(400, 40_000)
        estimator.learn("m", size, Usage(round(size / ratio), 10))
    assert estimator.prompt("m", 10_000) == pytest.approx(10_000 / ratio, rel=0.02)


def test_a_noisy_ratio_is_learned_about_its_mean() -> None:
    """Prose and code in turn: within 15 % of the mean, and never far off."""
    draw, estimator = random.Random(5), Estimator()
    seen = []
    for number in range(2_000):
        ratio = draw.choice([3.0, 5.0])
        estimator.learn("m", 8_000, Usage(round(8_000 / ratio), 10))
        if number > 100:
            seen.append(8_000 / estimator.prompt("m", 8_000))
    assert sum(seen) / len(seen) == pytest.approx(4.0, rel=0.03)
    assert all(3.0 < ratio < 5.0 for ratio in seen)


@pytest.mark.parametrize(
    ("name", "lengths"),
    [
        ("even", lambda draw: draw.uniform(1, 1000)),
        ("skewed", lambda draw: draw.expovariate(1 / 300)),
        ("short", lambda draw: draw.uniform(1, 40)),
        ("long", lambda draw: draw.gauss(20_000, 3_000)),
    ],
)
def test_the_ninetieth_percentile_of_output_is_learned(name: str, lengths: object) -> None:
    """Of 4,000 replies after the first 1,000, between 86 and 94 % stay under what was expected."""
    assert callable(lengths)
    draw, estimator = random.Random(name), Estimator()
    under = 0
    for number in range(5_000):
        output = max(1, round(lengths(draw)))
        under += number >= 1_000 and output <= output_of(estimator)
        estimator.learn("m", 400, Usage(100, output))
    assert 0.86 < under / 4_000 < 0.94


def test_models_are_learned_apart() -> None:
    """What one model has cost says nothing of another."""
    estimator = Estimator()
    for _ in range(100):
        estimator.learn("m", 1_000, Usage(1_000, 5_000))
    assert estimator.prompt("m", 1_000) > estimator.prompt("other", 1_000) == 251
    assert output_of(estimator, "other") == FIRST


@pytest.mark.parametrize(
    ("size", "usage"),
    [
        (1_000, Usage(0, 50)),
        (1_000, Usage(-5, 50)),
    ],
)
def test_nothing_is_learned_from_nothing(size: int, usage: Usage) -> None:
    """A provider that counts no prompt has not counted."""
    estimator = Estimator()
    estimator.learn("m", size, usage)
    assert estimator.parts("m", 400, None, P90) == (101, FIRST)


@pytest.mark.parametrize(
    ("size", "usage", "low", "high"),
    [
        (0, Usage(1_000_000, 10**15), 9_000, 10_001),
        (10_000_000, Usage(1, 0), 150, 10_000),
    ],
)
def test_absurd_counts_are_bounded(size: int, usage: Usage, low: int, high: int) -> None:
    """No provider can make prompts cost more than a token a byte, or nothing at all."""
    estimator = Estimator()
    for _ in range(500):
        estimator.learn("m", size, usage)
    assert low <= estimator.prompt("m", 10_000) <= high
    assert 1 <= output_of(estimator) <= 1_000_000


def test_what_clients_name_does_not_grow_without_end() -> None:
    """Beyond so many models nothing more is remembered; what is known is learned on."""
    estimator = Estimator()
    for number in range(MODELS + 10):
        estimator.learn(f"m{number}", 1_000, Usage(1_000, 1))
    assert estimator.prompt("m0", 1_000) > 251
    assert estimator.prompt(f"m{MODELS + 5}", 1_000) == 251
    before = estimator.prompt("m0", 1_000)
    estimator.learn("m0", 1_000, Usage(1_000, 1))
    assert estimator.prompt("m0", 1_000) > before
