"""Settings as the arithmetic takes them: whole milliseconds and thousandths. Pure."""

from proxy.circuit import Rules
from proxy.config.resilience import AdaptiveConcurrency, Health
from proxy.throttle import Steps


def rules(settings: Health) -> Rules:
    """The bounds as the script takes them: whole milliseconds and thousandths."""
    return Rules(
        failures=settings.failures,
        rate=round(settings.failure_rate * 1000),
        requests=settings.failure_rate_requests,
        window=_ms(settings.window),
        ejection=_ms(settings.ejection),
        ejection_cap=_ms(settings.ejection_cap),
        lease=_ms(settings.probe_lease),
        slow_start=_ms(settings.slow_start),
        forgive=_ms(settings.forgive),
        back_off=_ms(settings.back_off),
        back_off_cap=_ms(settings.back_off_cap),
        hint_cap=_ms(settings.hint_cap),
        quarantine=_ms(settings.quarantine),
        slow_from=round(settings.slow_start_from * 1000),
    )


def steps(settings: AdaptiveConcurrency) -> Steps:
    """The steps of the throttle."""
    return Steps(settings.least, settings.ratio, settings.most)


def _ms(seconds: float) -> int:
    return max(round(seconds * 1000), 1)
