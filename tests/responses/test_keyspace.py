import re

import pytest

from proxy.link.cluster import slot_of
from proxy.responses import keyspace


def test_all_keys_of_a_client_are_in_one_slot() -> None:
    """Else no script could see them together."""
    keys = {keyspace.index("me"), keyspace.document("me", "resp_1"), keyspace.name("me", "resp_2")}
    assert len({slot_of(key) for key in keys}) == 1


def test_clients_share_nothing() -> None:
    """Not even those whose names look alike; and odd names make no odd keys."""
    names = ["me", "me ", "Me", "me}:doc:resp_1", "{me}", "ü", "", "a" * 500]
    keys = {keyspace.document(name, "resp_1") for name in names}
    assert len(keys) == len(names)
    assert all(re.fullmatch(r"apex:resp:\{[0-9a-f]{32}\}:doc:resp_1", key) for key in keys)


@pytest.mark.parametrize("text", ["resp_1", "a", "A-z_9", "a" * 128])
def test_ids(text: str) -> None:
    """What we mint, and what others do."""
    assert keyspace.is_id(text)


@pytest.mark.parametrize("text", ["", "a" * 129, "a:b", "a b", "a\n", "é", "{a}", "../x", "a\x00"])
def test_what_is_no_id(text: str) -> None:
    """It is not looked for."""
    assert not keyspace.is_id(text)


def test_events_have_contexts_of_their_own() -> None:
    """One cannot stand in for another."""
    name = keyspace.name("me", "resp_1")
    assert len({keyspace.event(name, 1), keyspace.event(name, 11), name.encode()}) == 3
