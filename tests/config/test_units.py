import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from proxy.config.units import (
    ClientKey,
    Count,
    Number,
    ProviderKey,
    Secret,
    Unit,
    duration,
    duration_text,
    quantity_text,
    size,
    size_text,
)


class Holder(BaseModel):
    """One field of each type that pydantic must run."""

    client: ClientKey | None = None
    provider: ProviderKey | None = None
    count: Count | None = None
    number: Number | None = None


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (5, 5.0),
        (0.25, 0.25),
        ("30", 30.0),
        ("500ms", 0.5),
        ("2s", 2.0),
        (" 1.5 s ", 1.5),
        ("5m", 300.0),
        ("1h", 3600.0),
        ("1d", 86_400.0),
        (0, 0.0),
    ],
)
def test_durations_are_seconds(written: object, seconds: float) -> None:
    """A number counts seconds; text may carry a unit."""
    assert duration(written) == seconds


@pytest.mark.parametrize(
    "written", ["", "5x", "s", "-1s", -1, True, None, [5], float("inf"), "1h30m", "999999d"]
)
def test_other_durations_are_refused(written: object) -> None:
    """What is no duration is refused with the forms that are."""
    with pytest.raises(ValueError, match="500ms, 2s, 5m, 1h"):
        duration(written)


@pytest.mark.parametrize(
    ("written", "count"),
    [
        (65_536, 65_536),
        ("10", 10),
        ("10B", 10),
        ("64KB", 64_000),
        ("64 KiB", 65_536),
        ("32MiB", 33_554_432),
        ("1.5MB", 1_500_000),
        ("1GiB", 1_073_741_824),
        ("2GB", 2_000_000_000),
    ],
)
def test_sizes_are_bytes(written: object, count: int) -> None:
    """A number counts bytes; KB are 1000 of them and KiB 1024."""
    assert size(written) == count


@pytest.mark.parametrize("written", ["", "5x", "64K", "0.5B", 1.5, -1, False, None, "9999999GiB"])
def test_other_sizes_are_refused(written: object) -> None:
    """What is no size in whole bytes is refused with the forms that are."""
    with pytest.raises(ValueError, match="64KB, 32MiB, 1GiB"):
        size(written)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (0.5, "500ms"),
        (5.0, "5s"),
        (60.0, "1m"),
        (90.0, "90s"),
        (3600.0, "1h"),
        (172_800.0, "2d"),
    ],
)
def test_durations_are_shown_in_their_unit(seconds: float, text: str) -> None:
    """The largest unit that divides a duration is the one it is shown in."""
    assert duration_text(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0B"), (10, "10B"), (64_000, "64KB"), (33_554_432, "32MiB")])
def test_sizes_are_shown_in_their_unit(count: int, text: str) -> None:
    """The largest unit that divides a size is the one it is shown in."""
    assert size_text(count) == text


@given(st.integers(min_value=0, max_value=30_000_000))
def test_a_shown_duration_reads_back(milliseconds: int) -> None:
    """What is shown of a duration may be written into a file."""
    seconds = milliseconds / 1000
    assert duration(duration_text(seconds)) == pytest.approx(seconds, rel=1e-4)


@given(st.integers(min_value=0, max_value=2**50))
def test_a_shown_size_reads_back(count: int) -> None:
    """What is shown of a size may be written into a file."""
    assert size(size_text(count)) == count


def test_a_secret_does_not_show_itself() -> None:
    """Neither repr, str, format nor a dump gives the text of a secret."""
    secret = Secret("canary-key")
    holder = Holder(client=secret)
    shown = f"{secret} {secret!r} {holder!r} {holder.model_dump()} {holder.model_dump_json()}"
    assert "canary" not in shown
    assert str(secret) == "***"
    assert secret.get_secret_value() == "canary-key"
    assert repr(Secret("")) == "Secret('')"


def test_keys_lose_the_newline_of_a_mounted_file() -> None:
    """Space around a key is not part of it."""
    holder = Holder.model_validate({"client": "canary-key\n", "provider": " k "})
    assert holder.client == Secret("canary-key")
    assert holder.provider == Secret("k")


@pytest.mark.parametrize(
    "given_",
    [
        {"client": "1234567"},
        {"client": "with space inside"},
        {"provider": ""},
        {"provider": "a\r\nb"},
        {"provider": "schlüssel"},
        {"count": True},
        {"number": True},
        {"number": float("nan")},
        {"count": 1.5},
    ],
)
def test_what_no_header_or_count_can_hold_is_refused(given_: dict[str, object]) -> None:
    """Keys must fit into a header, clients' keys be long enough, and numbers be numbers."""
    with pytest.raises(ValidationError):
        Holder.model_validate(given_)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (90.0, Unit("duration"), "90s"),
        (16 * 1024**2, Unit("size"), "16MiB"),
        (0.25, None, "0.25"),
        (1_000_000, None, "1000000"),
    ],
)
def test_a_number_is_written_in_its_unit(value: float, unit: Unit | None, text: str) -> None:
    """In none if it has none."""
    assert quantity_text(value, unit) == text
