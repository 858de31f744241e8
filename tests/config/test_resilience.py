import pytest
from pydantic import ValidationError

from proxy.config.resilience import (
    AdaptiveConcurrency,
    Health,
    Overload,
    Queue,
    Retry,
    TimeoutOverrides,
    Timeouts,
)
from proxy.config.section import Section
from proxy.config.settings import Config


def test_the_defaults_are_the_documented_ones() -> None:
    """A file that says nothing of trouble is prepared for it."""
    config = Config()
    assert config.health == Health(
        failures=5,
        failure_rate=0.5,
        failure_rate_requests=20,
        window=10.0,
        max_ejected=0.5,
        ejection=5.0,
        ejection_cap=300.0,
        forgive=60.0,
        probe_lease=10.0,
        slow_start=30.0,
        back_off=1.0,
        back_off_cap=60.0,
        hint_cap=300.0,
        quarantine=300.0,
    )
    assert config.adaptive_concurrency == AdaptiveConcurrency(least=4, ratio=0.9, most=1_000)
    assert config.queue == Queue(max_wait=2.0, max_length=1_000)
    assert config.overload == Overload(max_in_flight=2_000, max_bytes=2**30, max_lag=1.0)


def test_times_may_be_written_with_their_units() -> None:
    """As everywhere in the file."""
    health = Health.model_validate({"ejection": "500ms", "quarantine": "1h", "slow_start": 0})
    assert (health.ejection, health.quarantine, health.slow_start) == (0.5, 3_600.0, 0.0)
    assert Queue.model_validate({"max_wait": "250ms"}).max_wait == 0.25


@pytest.mark.parametrize(
    ("section", "data", "said"),
    [
        (Health, {"failures": 0}, "greater than or equal to 1"),
        (Health, {"failure_rate": 0}, "greater than 0"),
        (Health, {"failure_rate": 1.1}, "less than or equal to 1"),
        (Health, {"failure_rate_requests": 0}, "greater than or equal to 1"),
        (Health, {"max_ejected": 1.1}, "less than or equal to 1"),
        (Health, {"max_ejected": -0.1}, "greater than or equal to 0"),
        *(
            (Health, {name: 0}, "greater than 0")
            for name in (
                "window",
                "ejection",
                "ejection_cap",
                "forgive",
                "probe_lease",
                "back_off",
                "back_off_cap",
                "hint_cap",
                "quarantine",
            )
        ),
        (AdaptiveConcurrency, {"least": 0}, "greater than or equal to 1"),
        (AdaptiveConcurrency, {"ratio": 0}, "greater than 0"),
        (AdaptiveConcurrency, {"ratio": 1}, "less than 1"),
        (AdaptiveConcurrency, {"most": 0}, "greater than or equal to 1"),
        (Queue, {"max_length": 0}, "greater than or equal to 1"),
        (Queue, {"max_wait": -1}, "a number of seconds, or text"),
        (Retry, {"attempts": 0}, "greater than or equal to 1"),
        (Retry, {"budget": 1.5}, "less than or equal to 1"),
        (Timeouts, {"idle": 0}, "greater than 0"),
        (TimeoutOverrides, {"total": 0}, "greater than 0"),
        (Overload, {"max_bytes": "1KiB"}, "greater than or equal to 1048576"),
    ],
)
def test_sections_refuse_what_makes_no_sense(
    section: type[Section], data: dict[str, object], said: str
) -> None:
    """No time of nothing, no part of more than all, no limit of none."""
    with pytest.raises(ValidationError, match=said):
        section.model_validate(data)


@pytest.mark.parametrize(
    ("section", "data"),
    [
        (Health, {"failure_rate": 1, "max_ejected": 0, "slow_start": 0}),
        (Health, {"max_ejected": 1}),
        (Queue, {"max_wait": 0}),
        (Retry, {"attempts": 10, "budget": 0}),
    ],
)
def test_what_switches_something_off_is_taken(section: type[Section], data: dict[str, object]) -> None:
    """The ends of their ranges have a meaning."""
    made = section.model_validate(data)
    assert {name: getattr(made, name) for name in data} == data
