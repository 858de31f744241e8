from prometheus_client import CollectorRegistry, generate_latest

from metrics.catalogue import Kind, Metric
from metrics.readings import Reading, Readings

HEIGHT = Metric("apex_height_bytes", Kind.GAUGE, "Height.", ("of",))
STEPS = Metric("apex_steps_total", Kind.COUNTER, "Steps.")


def test_readings_are_taken_at_the_scrape() -> None:
    """Nothing is asked before; readings of one metric are one family, whatever came between them."""
    asked = []

    def source() -> list[Reading]:
        asked.append(1)
        return [Reading(HEIGHT, 1, ("a",)), Reading(STEPS, len(asked)), Reading(HEIGHT, 2, ("b",))]

    registry = CollectorRegistry()
    registry.register(Readings(source))
    assert not asked
    text = generate_latest(registry).decode()
    assert text.count("# TYPE apex_height_bytes gauge") == 1
    assert 'apex_height_bytes{of="b"} 2.0' in text
    assert "# TYPE apex_steps_total counter\napex_steps_total 1.0" in text
    assert "apex_steps_total 2.0" in generate_latest(registry).decode()
