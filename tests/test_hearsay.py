import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Fault, FaultKind, Said
from proxy.hearsay import LONGEST, PLAIN, READ, heard

NAMES = ("m3/gpt-4o-mini", "m3", "gpt-4o-mini")

MESSAGES = st.lists(
    st.one_of(
        st.text(),
        st.sampled_from(sorted(PLAIN)),
        st.sampled_from(NAMES),
        st.sampled_from(
            [*string.punctuation, *string.whitespace, "\N{HORIZONTAL ELLIPSIS}", "\N{KELVIN SIGN}"]
        ),
    )
).map("".join) | st.lists(st.sampled_from(sorted(PLAIN)) | st.text()).map(" ".join)


def told(message: str, *, kind: str | None = None, code: str | None = None, param: str | None = None) -> str:
    """What is kept of a provider's error."""
    said = Said(message, kind=kind, code=code, param=param)
    return heard(Fault(FaultKind.STATUS, "it failed", status=400, said=said), NAMES)


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        (
            "The model `gpt-4o-mini` does not exist or you do not have access to it.",
            "The model `gpt-4o-mini` does not exist or you do not have access to it.",
        ),
        (
            "Incorrect API key provided: sk-ab****wxyz. You can find your API key at https://m3.example/keys.",
            "Incorrect API key provided: … You can find your API key at …",
        ),
        ("Incorrect API key provided: [redacted].", "Incorrect API key provided: [redacted]."),
        ("Rate limit reached for M3: Limit 30000, Used 29731.", "Rate limit reached for M3: Limit … Used …"),
        ("Your credit balance is too low.", "Your credit balance is too low."),
        ("(max_tokens) can't exceed the rate-limit", "(max_tokens) can't exceed the rate-limit"),
        ("Busy\n\tnow\x1b[2J", "Busy …"),
        ("", ""),
    ],
)
def test_the_words_of_errors_and_the_names_of_the_target_are_kept(message: str, kept: str) -> None:
    """With what punctuation they have."""
    assert told(message) == kept


@pytest.mark.parametrize(
    "quoted",
    [
        "hunter2",
        "Zoë",
        "Zoe\N{COMBINING DIAERESIS}",
        "密码是一二三",
        "\N{BIRD}",
        "to\N{KELVIN SIGN}en",
        "mod\N{ZERO WIDTH SPACE}el",
        r"\u0063anary",
        r"\\\\u0063anary",
        "%63anary",
        "Y2FuYXJ5",
        "555 12 34",
        "+44 20-7946-0018",
        "12",
        "****a1b2",
        "sk-in-a-key",
        "model=canary",
        "model.canary",
        "max_canary",
        "a--a",
        "gpt-4o-mini-2024",
        "((((model))))",
        "'---' ?!?",
        "canary,\ncanary: canary",
    ],
)
def test_everything_else_is_one_ellipsis(quoted: str) -> None:
    """In any spelling, split up or not, for nothing is recognised."""
    assert told(f"Invalid value: {quoted} is not supported") == "Invalid value: … is not supported"


@pytest.mark.parametrize(
    "word",
    [
        "model_not_found",
        "429",
        "20015",
        "Throttling.AllocationQuota",
        "ServiceQuotaExceededException",
        "messages[12].content[0]",
        "tools.0.function.parameters",
    ],
)
def test_identifiers_are_kept(word: str) -> None:
    """Names and numbers of errors, and of fields."""
    assert told("Busy", code=word) == f"Busy; {word}"


@pytest.mark.parametrize(
    "word",
    [
        "not one word",
        "Zoë",
        "a@b",
        "x" * 65,
        "1980-05-12",
        "12.5.80",
        "12_5_80",
        "born_in_198005",
        "5551234567",
        "AbCdEfGhIjKlMnOpQrStUvWxYzA",
        "abcdefghijklmnopqrstu",
        "key_ABCDEFGHIJKLMNOPQRSTU",
    ],
)
def test_what_is_no_identifier_is_not(word: str) -> None:
    """Neither texts nor dates, numbers of persons or what may be a key."""
    assert told("Busy", kind=word, code=word, param=word) == "Busy"


def test_all_words_of_an_error_are_told_once() -> None:
    """The message, then `type`, `code` and `param`."""
    assert told("overloaded", kind="overloaded", code="529", param="model") == "overloaded; 529; model"


@given(MESSAGES)
def test_no_word_is_kept_that_is_not_listed(message: str) -> None:
    """Whatever a provider says."""
    kept = told(message)
    assert len(kept) <= LONGEST
    assert "… …" not in kept
    for word in kept.split():
        bare = word.strip(string.punctuation)
        assert word == "…" or bare.lower() in NAMES or PLAIN.issuperset(re.split("[-_/]", bare.lower()))


@given(st.text(min_size=READ, max_size=READ), st.text())
def test_what_comes_late_is_not_looked_at(beginning: str, rest: str) -> None:
    """So the work is bounded, whatever a provider says."""
    assert told(beginning + rest) == told(beginning)


@pytest.mark.parametrize("words", ["limit of tokens " * 100, "x limit " * 100, "a " * 99 + "tokens " * 9])
def test_what_is_long_ends_with_a_whole_word(words: str) -> None:
    """Half a word would be another."""
    kept = told(words)
    assert LONGEST - 10 < len(kept) <= LONGEST
    assert kept.endswith(" …")
    assert set(kept.split()) <= {*words.split(), "…"}


@pytest.mark.parametrize("kind", [FaultKind.DNS, FaultKind.TLS, FaultKind.CONNECT])
def test_what_broke_on_the_way_is_told_whole(kind: FaultKind) -> None:
    """Those are words of the proxy's own."""
    assert heard(Fault(kind, "no connection (ECONNREFUSED)"), NAMES) == "no connection (ECONNREFUSED)"


def test_a_status_without_a_word_tells_enough() -> None:
    """Its number stands elsewhere."""
    assert heard(Fault(FaultKind.STATUS, "it answered with status 503", status=503), NAMES) == ""
