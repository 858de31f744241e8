from fakes.configs import config

from proxy import bounds
from proxy.circuit import Rules
from proxy.throttle import Steps


def test_rules_are_whole_milliseconds_and_thousandths() -> None:
    """Each setting of `health` in its place; nothing is rounded to nothing."""
    settings = config(
        {"a": 1},
        health={
            "failures": 3,
            "failure_rate": 0.2504,
            "failure_rate_requests": 9,
            "window": "4s",
            "ejection": "1.5s",
            "ejection_cap": "1m",
            "probe_lease": "2s",
            "slow_start": 0,
            "forgive": "7s",
            "back_off": "250ms",
            "back_off_cap": "8s",
            "hint_cap": "9s",
            "quarantine": "10s",
            "slow_start_from": 0.25,
        },
    )
    assert bounds.rules(settings.health) == Rules(
        failures=3,
        rate=250,
        requests=9,
        window=4_000,
        ejection=1_500,
        ejection_cap=60_000,
        lease=2_000,
        slow_start=1,
        forgive=7_000,
        back_off=250,
        back_off_cap=8_000,
        hint_cap=9_000,
        quarantine=10_000,
        slow_from=250,
    )


def test_the_defaults_are_those_of_the_arithmetic() -> None:
    """What the page says and what the pure modules assume is one thing."""
    assert bounds.rules(config({"a": 1}).health) == Rules()
    assert bounds.steps(config({"a": 1}).adaptive_concurrency) == Steps()


def test_steps_are_the_throttles() -> None:
    """Each setting of `adaptive_concurrency` in its place."""
    settings = config({"a": 1}, adaptive_concurrency={"least": 2, "ratio": 0.5, "most": 9})
    assert bounds.steps(settings.adaptive_concurrency) == Steps(2, 0.5, 9)


# Turns.
