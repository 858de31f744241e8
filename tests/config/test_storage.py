import base64

import pytest
from pydantic import ValidationError

from proxy.config.storage import EncryptionKey, Responses

KEY = base64.b64encode(bytes(range(32))).decode()


def test_the_defaults_are_the_documented_ones() -> None:
    """A file that says nothing of stored responses stores them for a month, unencrypted."""
    assert Responses() == Responses(
        store_by_default=True,
        ttl=30 * 86_400.0,
        max_size=8 * 2**20,
        client_quota=2**30,
        keys=(),
        event_bytes=4 * 2**20,
        event_ttl=3_600.0,
        outbox_entries=1_000,
        outbox_bytes=64 * 2**20,
    )


def test_units_are_those_of_the_rest_of_the_file() -> None:
    """Durations and sizes with a unit."""
    made = Responses.model_validate({"ttl": "90d", "max_size": "1MiB", "client_quota": "1GB"})
    assert (made.ttl, made.max_size, made.client_quota) == (90 * 86_400, 2**20, 10**9)


def test_keys_are_32_bytes_and_do_not_show_themselves() -> None:
    """A mounted file may end with a newline."""
    key = EncryptionKey.model_validate({"id": "2026-01", "key": f"{KEY}\n"})
    assert key.raw() == bytes(range(32))
    assert KEY not in repr(key)
    assert KEY not in str(key.model_dump())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"ttl": 0}, "greater than 0"),
        ({"max_size": "1KB"}, "greater than or equal to 1024"),
        ({"max_size": "65MiB"}, "less than or equal to 67108864"),
        ({"client_quota": "1MB"}, "greater than or equal to 1048576"),
        ({"client_quota": "11MiB"}, "`max_size` and `event_bytes` together at most `client_quota`"),
        ({"event_ttl": "31d"}, "`event_ttl` at most `ttl`"),
        ({"event_bytes": 0}, "greater than or equal to 1024"),
        ({"outbox_entries": 0}, "greater than or equal to 1"),
        ({"outbox_bytes": "1KiB"}, "greater than or equal to 1048576"),
        ({"keys": [{"id": "a", "key": KEY}] * 2}, "each id of `keys` once"),
        ({"keys": [{"id": "a b", "key": KEY}]}, "should match pattern"),
        ({"keys": [{"id": "a", "key": KEY[4:]}]}, "32 random bytes in base64"),
        ({"keys": [{"id": "a", "key": "not base64!"}]}, "32 random bytes in base64"),
        ({"keys": [{"id": "a", "key": "ü" * 44}]}, "32 random bytes in base64"),
    ],
)
def test_what_makes_no_sense_is_refused(data: dict[str, object], said: str) -> None:
    """With what is allowed."""
    with pytest.raises(ValidationError, match=said):
        Responses.model_validate(data)


def test_a_refused_key_is_not_repeated() -> None:
    """It may be a real one that was cut off."""
    with pytest.raises(ValidationError) as caught:
        Responses.model_validate({"keys": [{"id": "a", "key": KEY[4:]}]})
    assert KEY[4:] not in str(caught.value)
