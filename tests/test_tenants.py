import pytest
from fakes.configs import config

from proxy.config.settings import Client
from proxy.tenants import ANONYMOUS, Tenants

FIRST, SECOND, OTHER = "sk-first-000000000", "sk-second-00000000", "sk-other-000000000"


def clients(models: list[str]) -> tuple[Client, ...]:
    """Two clients, the first with two keys and these models."""
    return config(
        {"a": 1},
        clients=[
            {"name": "one", "keys": [FIRST, SECOND], "models": models, "allow_direct": True},
            {"name": "two", "keys": [OTHER], "models": ["*"]},
        ],
    ).clients


def test_a_key_leads_to_its_tenant() -> None:
    """Each of a client's keys is it; a key that nobody has is nobody."""
    tenants = Tenants(clients(["*"]), b"pepper")
    found = [tenants.of(key.encode()) for key in (FIRST, SECOND, OTHER)]
    assert [tenant.name for tenant in found if tenant] == ["one", "one", "two"]
    assert found[0] is not None
    assert found[0].allow_direct
    assert tenants.of(b"sk-unknown") is None
    assert tenants.of(b"\xff\x00") is None
    assert tenants.of(b"") is None
    assert tenants.of(None) is None


def test_open_to_all() -> None:
    """Without authentication everybody is the same client."""
    tenants = Tenants((), b"pepper", open_to_all=True)
    assert tenants.of(None) is tenants.of(b"anything") is ANONYMOUS
    assert ANONYMOUS.may_use("any")
    assert not ANONYMOUS.allow_direct


@pytest.mark.parametrize(
    ("models", "alias", "may"),
    [
        (["*"], "anything/at#all", True),
        (["small"], "small", True),
        (["small"], "smaller", False),
        (["small"], "a-small", False),
        (["gpt-*", "small"], "gpt-4o", True),
        (["gpt-*", "small"], "small", True),
        (["gpt-*"], "claude", False),
        (["gpt-[45]"], "gpt-4", True),
        (["a.c"], "abc", False),
    ],
)
def test_may_use(models: list[str], alias: str, may: bool) -> None:
    """Models are allowed by name or by shell pattern, always of the whole name."""
    tenant = Tenants(clients(models), b"pepper").of(FIRST.encode())
    assert tenant is not None
    assert tenant.may_use(alias) is may


def test_no_key_is_kept() -> None:
    """What is in memory are digests under a pepper: another pepper, other digests."""
    first, second = Tenants(clients(["*"]), b"a"), Tenants(clients(["*"]), b"b")
    assert first._by_digest.keys().isdisjoint(second._by_digest)
    assert FIRST.encode() not in b"".join(first._by_digest)
    assert FIRST not in repr(first.of(FIRST.encode()))


def test_tenants_by_name() -> None:
    """Each is listed once, however many keys it has, in the order of the configuration."""
    tenants = Tenants(clients(["*"]), b"pepper")
    assert tenants.names() == ["one", "two"]
    assert tenants.named("two") is tenants.of(OTHER.encode())
    assert tenants.named("three") is None
    everybody = Tenants((), b"pepper", open_to_all=True)
    assert everybody.names() == ["anonymous"]
    assert everybody.named("anonymous") is ANONYMOUS
    assert everybody.named("one") is None
