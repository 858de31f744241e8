"""Where responses are kept follows from the configuration, and from whose server it is."""

import base64

from fakes.configs import config

from proxy import shelving
from proxy.responses.sealing import SealError

MIB = 1024**2
KEY = base64.b64encode(bytes(32)).decode()


def test_of_a_private_server_responses_take_half() -> None:
    """The other half is for limits and health."""
    made = config({"a": 1}, redis={"embedded_memory": "64MiB"})
    assert shelving.rules(made, "one", private=True).budget == 32 * MIB
    assert shelving.rules(made, "one", private=False).budget == 0


def test_a_server_of_their_own_is_the_operators_to_size() -> None:
    """Even beside a private one."""
    made = config({"a": 1}, redis={"responses_url": "redis://kept:6379"})
    assert shelving.rules(made, "one", private=True).budget == 0


def test_what_is_kept_is_encrypted_with_the_configured_keys() -> None:
    """The first encrypts, all decrypt; without any it is only compressed."""
    plain = shelving.sealer(config({"a": 1}))
    keyed = shelving.sealer(config({"a": 1}, responses={"keys": [{"id": "k1", "key": KEY}]}))
    sealed = keyed.seal(b"secret", b"whose")
    assert b"secret" not in sealed
    assert keyed.open(sealed, b"whose") == b"secret"
    try:
        plain.open(sealed, b"whose")
    except SealError:
        return
    raise AssertionError("it was opened without its key")
