import pytest
from pydantic import ValidationError

from proxy.config.traces import Traces


def test_nothing_is_traced_by_default() -> None:
    """Without a collector there is nowhere to tell it."""
    assert (Traces().endpoint, Traces().url) == (None, "")


@pytest.mark.parametrize(
    "endpoint", ["http://c:4318", "http://c:4318/", "http://c:4318/v1/traces", "http://c:4318/v1/traces/"]
)
def test_a_collector_is_known_by_its_address(endpoint: str) -> None:
    """As OpenTelemetry's own variable has it, or as the whole URL."""
    assert Traces(endpoint=endpoint).url == "http://c:4318/v1/traces"
    assert Traces(endpoint="https://c/tenants/7").url == "https://c/tenants/7/v1/traces"


@pytest.mark.parametrize(
    "wrong",
    [
        {"endpoint": "c:4318"},
        {"endpoint": "http://user:secret@c:4318"},
        {"endpoint": "http://c", "sample": 1.1},
        {"endpoint": "http://c", "sample": -0.1},
        {"endpoint": "http://c", "timeout": 0},
        {"endpoint": "http://c", "service_name": ""},
        {"headers": {"x-key": "secret"}},
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    """Also headers that nobody would get."""
    with pytest.raises(ValidationError) as refused:
        Traces.model_validate(wrong)
    assert "secret" not in str(refused.value)


def test_headers_show_themselves_nowhere() -> None:
    """They may hold a key."""
    traces = Traces.model_validate({"endpoint": "http://c", "headers": {"X-Key": "secret"}})
    assert traces.headers == {"x-key": "secret"}
    assert "secret" not in f"{traces!r} {traces.model_dump()} {traces.model_dump_json()}"
