from mockprovider.ledger import ENTRY_LIMIT, Entry, Ledger, key_id


def _entry() -> Entry:
    headers = {"authorization": "Bearer sk-secret", "x-api-key": "sk-secret", "accept": "*/*"}
    return Entry(1.0, "POST", "/v1/x", key_id("sk-secret"), headers, b'{"a":1}', body_bytes=7)


def test_a_keys_id_is_short_and_tells_nothing() -> None:
    """Ten hex digits of a hash; no key is a dash."""
    assert key_id("sk-a") == "731521a042"
    assert key_id("sk-a") != key_id("sk-b")
    assert key_id("") == "-"


def test_an_entry_tells_no_secret() -> None:
    """Neither repr nor the told form shows a credential; the id stands in its place."""
    entry = _entry()
    told = entry.told()
    assert "sk-secret" not in repr(entry)
    assert "sk-secret" not in repr(told)
    assert told["headers"] == {
        "authorization": f"*** ({entry.key_id})",
        "x-api-key": f"*** ({entry.key_id})",
        "accept": "*/*",
    }
    assert (told["body"], told["outcome"], told["gone_at"]) == ('{"a":1}', "open", None)


def test_requests_are_counted_by_what_they_are() -> None:
    """Paths, keys and models are counted apart."""
    ledger = Ledger()
    ledger.count("/a", "k1", "m")
    ledger.count("/b", "k1", "m")
    told = ledger.told()
    assert told["requests"] == 2
    assert (told["paths"], told["keys"], told["models"]) == ({"/a": 1, "/b": 1}, {"k1": 2}, {"m": 2})
    assert "entries" not in told


def test_entries_are_bounded() -> None:
    """Only the newest entries are kept."""
    ledger = Ledger()
    for _ in range(ENTRY_LIMIT + 5):
        ledger.entries.append(_entry())
    assert len(ledger.entries) == ENTRY_LIMIT
