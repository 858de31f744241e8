import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.responses.sealing import SMALL, VERSION, Sealer, SealError, UnknownKeyError
from responses.shelves import Dice, sealer

SOME = b"{}" * 600
CONTEXT = b"apex:resp:{x}:resp_1"
BODIES = st.one_of(
    st.binary(max_size=2_000), st.builds(bytes.__mul__, st.binary(max_size=20), st.integers(0, 500))
)
KEYS = st.sampled_from([(), ("a",), ("b", "a")])


@given(data=BODIES, keys=KEYS, context=st.binary(max_size=50))
def test_what_is_sealed_opens_again(data: bytes, keys: tuple[str, ...], context: bytes) -> None:
    """With keys and without, short and long."""
    seal = sealer(*keys)
    assert seal.open(seal.seal(data, context), context) == data


@given(data=BODIES, at=st.integers(0), flip=st.integers(1, 255))
def test_a_changed_byte_is_seen(data: bytes, at: int, flip: int) -> None:
    """Be it in the header: nothing else than what was sealed ever comes out."""
    seal = sealer("a")
    sealed = bytearray(seal.seal(data, CONTEXT))
    sealed[at % len(sealed)] ^= flip
    try:
        opened = seal.open(bytes(sealed), CONTEXT)
    except SealError:
        return
    # Only one who takes the encryption away gets through, for there may be documents from before it.
    assert sealed[1] & 2 == 0
    assert opened != data


@given(sealed=st.binary(max_size=100))
def test_strange_bytes_are_an_error_or_plain(sealed: bytes) -> None:
    """Never anything else."""
    try:
        opened = sealer("a").open(sealed, CONTEXT)
    except SealError:
        return
    assert sealed[0] == VERSION
    assert sealed[1] & 2 == 0
    assert opened == sealed[2:] or sealed[1] == 1


@given(data=BODIES)
def test_keys_are_rotated_without_losing_anything(data: bytes) -> None:
    """A new first key encrypts; the old one still decrypts, until it is taken away."""
    old, both, new = sealer("a"), sealer("b", "a"), sealer("b")
    sealed = old.seal(data, CONTEXT)
    assert both.open(sealed, CONTEXT) == data
    assert new.open(both.seal(data, CONTEXT), CONTEXT) == data
    with pytest.raises(UnknownKeyError, match="'a'"):
        new.open(sealed, CONTEXT)


def test_nobody_elses_context_opens_it() -> None:
    """Not another owner's, not another id's."""
    seal = sealer("a")
    with pytest.raises(SealError, match="tag"):
        seal.open(seal.seal(SOME, CONTEXT), CONTEXT + b"2")


def test_another_key_of_the_same_name_does_not_open_it() -> None:
    """The tag says so."""
    sealed = sealer("a").seal(SOME, CONTEXT)
    with pytest.raises(SealError, match="tag"):
        Sealer([("a", bytes(32))], Dice()).open(sealed, CONTEXT)


def test_compression_is_for_what_is_large() -> None:
    """Small ones stay as they are; without keys they can be read with the eye."""
    plain = sealer()
    assert plain.seal(b"x" * SMALL, CONTEXT) == bytes((VERSION, 0)) + b"x" * SMALL
    assert len(plain.seal(b"x" * (SMALL + 1), CONTEXT)) < 40


def test_every_nonce_is_new() -> None:
    """The same text never looks the same."""
    seal = sealer("a")
    assert len({seal.seal(b"again", CONTEXT) for _ in range(100)}) == 100


def test_nothing_of_the_text_shows() -> None:
    """Nor does a key in the repr."""
    assert b"secret" not in sealer("a").seal(b"secret", CONTEXT)
    assert repr(sealer("b", "a")) == "<Sealer ['b', 'a']>"


@pytest.mark.parametrize(
    "sealed",
    [
        b"",
        b"\x01",
        b"\x02\x00later",
        b"\x01\x04flag",
        b"\x01\x02",
        b"\x01\x02\x01a",
        b"\x01\x02\x01ashort",
        b"\x01\x01not zstd",
        b"\x01\x01\x28\xb5\x2f\xfd\xa4\xff\xff\xff\xff",
    ],
)
def test_what_cannot_be_opened(sealed: bytes) -> None:
    """Cut off, of a later version, not ours, or too large when open."""
    with pytest.raises(SealError):
        sealer("a").open(sealed, CONTEXT)
