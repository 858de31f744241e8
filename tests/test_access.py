import msgspec
import pytest
from fakes.configs import CLIENT_KEY, MODEL, Tree, config
from fakes.exchanges import HEAD, opened

from proxy.access import authenticate, find_model, unreadable_type
from proxy.errors import Refusal
from proxy.exchange import Exchange, Head

NO_KEY = "You did not provide an API key: send `Authorization: Bearer <key>` or `x-api-key: <key>`."


def admitted(**client: object) -> Exchange:
    """An exchange whose tenant is known; `client` are the tenant's settings."""
    exchange = opened(config({"a": 1}, client=client))
    authenticate(exchange)
    return exchange


def test_a_key_leads_to_its_tenant() -> None:
    """Who asks is known from here on."""
    tenant = admitted().tenant
    assert tenant is not None
    assert tenant.name == "dev"


@pytest.mark.parametrize(
    ("credential", "said"),
    [
        (None, NO_KEY),
        (b"", NO_KEY),
        (b"sk-wrong", "You did not provide a valid API key."),
        (CLIENT_KEY.encode() + b" ", "You did not provide a valid API key."),
    ],
)
def test_without_a_key_of_ours_there_is_no_tenant(credential: bytes | None, said: str) -> None:
    """The message tells a missing key from a wrong one, and repeats neither."""
    exchange = opened(config({"a": 1}), head=msgspec.structs.replace(HEAD, credential=credential))
    with pytest.raises(Refusal) as caught:
        authenticate(exchange)
    refusal = caught.value
    assert (refusal.status, refusal.code, refusal.message) == (401, "invalid_api_key", said)
    assert refusal.should_retry is False
    assert exchange.tenant is None


@pytest.mark.parametrize(
    ("came", "said"),
    [
        (b"text/plain; charset=utf-8", "'text/plain; charset=utf-8'."),
        (b"a\x00\r\nb\x1b[1m\xe4", "'a???b?[1mä'."),
        (b"x" * 9_999, f"'{'x' * 100}'."),
    ],
)
def test_another_content_type_is_told_back(came: bytes, said: str) -> None:
    """As much of it as can be read by people."""
    refusal = unreadable_type(Head(content_type=came))
    assert (refusal.status, refusal.code) == (400, "unsupported_content_type")
    assert refusal.message == f"The content type must be application/json, not {said}"


def test_an_alias_is_found() -> None:
    """As the configuration has it."""
    exchange = admitted()
    assert find_model(exchange, MODEL) is exchange.snapshot.models[MODEL]


def refused(exchange: Exchange, name: str) -> Refusal:
    """Why there is no such model."""
    with pytest.raises(Refusal) as caught:
        find_model(exchange, name)
    return caught.value


def test_unknown_and_forbidden_are_alike() -> None:
    """Nobody learns which models others have."""
    for exchange, name in ((admitted(), "large"), (admitted(models=["large"]), MODEL)):
        refusal = refused(exchange, name)
        assert (refusal.status, refusal.code, refusal.param) == (404, "model_not_found", "model")
        assert refusal.message == f"The model '{name}' does not exist."
        assert refusal.should_retry is False


def test_a_long_name_is_not_repeated_whole() -> None:
    """An answer does not grow with what was asked."""
    assert len(refused(admitted(), "m" * 10_000).message) < 250


def test_a_provider_is_addressed_directly() -> None:
    """`model#provider`, by a client that may; a name may hold a `#` of its own."""
    exchange = admitted(allow_direct=True)
    found = find_model(exchange, "org/any#1#a")
    assert [target.model for target in found.targets] == ["org/any#1"]
    assert found.alias == ""


@pytest.mark.parametrize(
    ("client", "name"),
    [
        ({}, "any#a"),
        ({"allow_direct": True}, "any#b"),
        ({"allow_direct": True}, "any"),
        ({"allow_direct": True}, "#a"),
        ({"allow_direct": True}, "..#a"),
        ({"allow_direct": True}, "any thing#a"),
        ({"allow_direct": True}, "any\n#a"),
        ({"allow_direct": True}, "\u00e4#a"),
        ({"allow_direct": True}, "m" * 257 + "#a"),
    ],
)
def test_what_cannot_be_addressed_does_not_exist(client: Tree, name: str) -> None:
    """No right to it, no such provider, or a name that would change a URL or a header."""
    assert refused(admitted(**client), name).code == "model_not_found"
