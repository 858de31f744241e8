import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import seals
from proxy.wire.conversation import Seal
from proxy.wire.model import Dialect

SEAL = Seal(Dialect.MESSAGES, "claude-opus-4-8", "sig+/==")


@given(
    dialect=st.sampled_from(Dialect),
    model=st.none() | st.text(min_size=1, max_size=40),
    value=st.text(max_size=200),
)
def test_what_is_packed_comes_out_as_it_was(dialect: Dialect, model: str | None, value: str) -> None:
    """Whatever the vendor's bytes look like, and in letters that any JSON or header takes."""
    seal = Seal(dialect, model, value)
    packed = seals.pack(seal)
    assert seals.unpack(packed) == seal
    assert packed.startswith(seals.TAG)
    assert packed.isascii()


def test_a_body_that_holds_one_is_known() -> None:
    """By the tag at the start of a JSON string."""
    body = f'{{"signature": "{seals.pack(SEAL)}"}}'.encode()
    assert seals.MARK in body
    assert seals.held(msgspec.Raw(body))
    assert not seals.held(msgspec.Raw(body.replace(b"ax1", b"ax2")))


@pytest.mark.parametrize("at", [0, 131_067, 131_068, 131_070, 131_071, 131_072, 200_000, 262_143])
def test_a_large_body_that_holds_one_is_known(at: int) -> None:
    """Wherever in it."""
    assert seals.held(msgspec.Raw(b"," * at + seals.MARK + b"," * (300_000 - at)))
    assert not seals.held(msgspec.Raw(b"," * at + seals.MARK[:-1] + b"," * (300_000 - at)))


PACKED = seals.pack(SEAL)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sig",
        "ax1.",
        "ax1.messages.x",
        "ax1.morse.eA.eA",
        "ax1.messages.eA.e",
        "ax1.messages.eA.e!A=",
        "ax1.messages.eA.ü",
        "ax1.messages._w.eA",
        "x" + PACKED,
        PACKED + ".more",
    ],
)
def test_what_was_not_packed_here(text: str) -> None:
    """It is somebody else's, and never a failure."""
    assert seals.unpack(text) is None


def test_what_a_client_sends() -> None:
    """Ours unpacked, its own vendor's as it is, and a broken one of ours is none."""
    assert seals.read(PACKED, Dialect.RESPONSES) == SEAL
    assert seals.read("sig", Dialect.MESSAGES) == Seal(Dialect.MESSAGES, None, "sig")
    assert seals.read("", Dialect.MESSAGES) is None
    assert seals.read("ax1.messages.broken", Dialect.MESSAGES) is None


@pytest.mark.parametrize(
    ("seal", "fits"),
    [
        (SEAL, True),
        (None, False),
        (Seal(Dialect.RESPONSES, "claude-opus-4-8", "sig"), False),
        (Seal(Dialect.MESSAGES, "claude-sonnet-4-5", "sig"), False),
        (Seal(Dialect.MESSAGES, None, "sig"), False),
    ],
)
def test_only_what_a_model_made_fits_it(seal: Seal | None, fits: bool) -> None:
    """In its own dialect."""
    assert seals.fits(seal, Dialect.MESSAGES, "claude-opus-4-8") is fits
