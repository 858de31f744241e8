import json

import pytest
from fakes.configs import config

from proxy.errors import Said
from proxy.redaction import DEEPEST, LONGEST, MOST, REMEMBERED, Redactor, secrets_of

CANARY = "canary-7f3a9c"
MASK = "[redacted]"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("nothing to hide", "nothing to hide"),
        (f"the key {CANARY} is bad", f"the key {MASK} is bad"),
        (f"<{CANARY}{CANARY}>", f"<{MASK}{MASK}>"),
        ("Incorrect API key provided: sk-proj-****abcd.", f"Incorrect API key provided: {MASK}"),
        ("see https://internal.example/x?y for more", f"see {MASK} for more"),
        ("Authorization: Bearer abcdefghij", f"Authorization: {MASK}"),
        ("token eyJhbGciOiJI.eyJzdWIi.c2ln here", f"token {MASK} here"),
        ("AKIA0123456789ABCDEF and ghp_abcdef0123456789", f"{MASK} and {MASK}"),
        ("AIzaSyA-0123456789_abcdefghijklmnopqrst, xoxb-123456-abc", f"{MASK}, {MASK}"),
        ("github_pat_11ABCDEFG0 AKIARA aiza", f"{MASK} AKIARA aiza"),
        ("ask admin@corp.example please", f"ask {MASK} please"),
        ("asking, skipping, keyboards", "asking, skipping, keyboards"),
        ("max_tokens is too large: 9", "max_tokens is too large: 9"),
    ],
)
def test_text(text: str, clean: str) -> None:
    """Known secrets, and what looks like one, are masked; other words stay."""
    assert Redactor([CANARY]).text(text) == clean


def test_the_longest_secret_goes_first() -> None:
    """A secret that begins like another is masked whole; what is too short to be one is left."""
    assert Redactor(["secret", "secret-and-more", "abc"]).text("secret-and-more abc") == f"{MASK} abc"


def test_a_text_has_a_longest_length() -> None:
    """Nobody needs a megabyte of error, and nothing is half a secret at the cut."""
    assert len(Redactor([]).text("x" * 100_000)) == LONGEST
    at_the_cut = "x" * (LONGEST - 5) + CANARY
    assert "canar" not in Redactor([CANARY]).text(at_the_cut)
    behind_much = "https://".ljust(LONGEST * 4 - 6, "x") + " " + CANARY
    assert "canar" not in Redactor([CANARY]).text(behind_much)


LONGEST_READ = 57_000


@pytest.mark.timeout(20)
@pytest.mark.parametrize("length", [LONGEST * 4, LONGEST_READ])
@pytest.mark.parametrize(
    "piece",
    [
        "eyJ",
        "eyJaaaaaaaa.",
        "eyJaaaaaaaa.b",
        "a.",
        "a@",
        "a@b",
        "a+",
        "a-",
        "sk-",
        "sk_a",
        "Bearer ",
        "Bearer\t",
    ],
)
def test_hostile_texts_take_no_longer(piece: str, length: int) -> None:
    """Texts made to send a matcher back and forth come out as masks and leftovers, and in time."""
    text = (piece * length)[:length]
    said = Said(text, extra={f"{number}": text for number in range(MOST)})
    clean = Redactor([CANARY]).said(said)
    assert len(clean.message) <= LONGEST
    assert clean.extra is not None
    assert all(isinstance(value, str) and len(value) <= 200 for value in clean.extra.values())
    assert Redactor([]).text(f"{text[:100]} {CANARY}") == Redactor([]).text(text[:100]) + f" {CANARY}"


def test_members_are_bounded() -> None:
    """Of an error's further members only so many are passed on, and only so deep."""
    deep: object = "end"
    for _ in range(600):
        deep = {"a": [deep]}
    wide = {f"{number}": list(range(1_000)) for number in range(1_000)}
    clean = Redactor([]).said(Said("x", extra={"deep": deep, "wide": wide})).extra
    assert clean is not None
    assert repr(clean["deep"]).count("[") <= DEEPEST // 2
    assert "end" not in repr(clean["deep"])
    few = clean["wide"]
    assert isinstance(few, dict)
    assert (len(few), set(map(len, few.values()))) == (MOST, {MOST})


def test_said() -> None:
    """Every string of a provider's error is cleaned, however deep."""
    said = Said(
        f"m {CANARY}",
        kind=f"k {CANARY}",
        code=None,
        param="p" * 500,
        extra={f"n {CANARY}": [{"deep": CANARY, "count": 3}, None], "plain": CANARY},
    )
    clean = Redactor([CANARY]).said(said)
    assert CANARY not in repr(clean)
    assert clean.code is None
    assert clean.param == "p" * 200
    assert clean.extra == {f"n {MASK}": [{"deep": MASK, "count": 3}, None], "plain": MASK}
    assert Redactor([CANARY]).said(Said("x", extra={})).extra is None


def test_what_a_configuration_holds() -> None:
    """Keys, header values that are long enough, hosts and resource names of providers and entries."""
    made = config(
        {
            "a": {
                "base_url": "http://a.internal:8443/v1",
                "api_keys": ["provider-key"],
                "headers": {"x-org": "organisation-1", "x-v": "1"},
                "extra_body": {
                    "safety_key": "body-secret",
                    "deep": [{"more": "deep-secret"}],
                    "size": "short",
                    "thinking": "disabled",
                    "n": 5,
                },
            },
            "b": {
                "kind": "azure",
                "base_url": "https://:name.openai.azure.com",
                "name": "my-resource",
                "api_keys": ["azure-key"],
            },
        },
        entries={"a": {"api_key": "entry-key"}},
        traces={"endpoint": "http://collector", "headers": {"x-key": "collector-key"}},
    )
    assert secrets_of(made) >= {
        "collector-key",
        "sk-client-0123456789",
        "provider-key",
        "azure-key",
        "entry-key",
        "organisation-1",
        "a.internal:8443",
        "a.internal",
        "my-resource",
        "body-secret",
        "deep-secret",
    }
    assert secrets_of(made).isdisjoint({"1", "short", "disabled", "safety_key"})


def test_secrets_of_earlier_configurations_are_removed_for_a_day() -> None:
    """Requests that were sent them are still on their way; what is configured still stays known."""
    redactor = Redactor(["first-key", "kept-key"])
    redactor.renew(["kept-key", "second-key"], 10.0)
    redactor.renew(["kept-key", "third-key"], 20.0)
    assert redactor.text("first-key second-key third-key kept-key") == " ".join([MASK] * 4)
    redactor.renew(["kept-key", "third-key"], 15.0 + REMEMBERED)
    assert redactor.text("first-key second-key third-key kept-key") == f"first-key {MASK} {MASK} {MASK}"


def stream(*texts: str) -> bytes:
    """What a model says, in so many pieces."""
    chunks = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in texts]
    return b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in chunks)


@pytest.mark.parametrize(
    ("said", "clean"),
    [
        (b"say canary-7f3a9c", f"say {MASK}"),
        (b'{"a":"canary\\u002D7f3a9c"}', f'{{"a":"{MASK}"}}'),
        (b'{"a":"{\\"b\\":\\"\\\\u0063anary-7f3a9c\\"}"}', f'{{"a":"{{\\"b\\":\\"{MASK}\\"}}"}}'),
        (
            b'{"a":"se\\/cr\\"et \\u0022\\n\\ud83d\\ude00\\u00e9"}',
            f'{{"a":"{MASK} \\u0022\\n\\ud83d\\ude00é"}}',
        ),
        (b'{"Password": "hun\\"ter2", "passwords": 2}', f'{{"Password": "{MASK}", "passwords": 2}}'),
        (b'{"a":"{\\"api_key\\":\\"hunter2\\"}"}', f'{{"a":"{{\\"api_key\\":\\"{MASK}\\"}}"}}'),
        (
            b'{"logprobs":[{"token":"can"},{"token":"ary"}]}',
            f'{{"logprobs":[{{"token":"{MASK}"}},{{"token":"{MASK}"}}]}}',
        ),
        (stream("a can", "ary-7f", "3a9c b"), f"content: a {MASK} b"),
        (stream("a can", "ary\\u002d7f", "3a9c b"), f"content: a {MASK} b"),
        (b"data: canary-7f3a9c\n\n", f"data: {MASK}\n\n"),
    ],
)
def test_excerpts(said: bytes, clean: str) -> None:
    """What is known is found however JSON writes it, and in a stream however it is cut."""
    assert Redactor([CANARY, 'se/cr"et']).excerpt(said, whole=True) == clean


def test_a_cut_excerpt_ends_before_half_a_secret() -> None:
    """Also where the half was written in escapes, and in the middle of one."""
    for end in ("canary-7f3a", "\\u0063\\u0061nary-\\u003", "canar\\", "canar\\u"):
        shown = Redactor([CANARY]).excerpt(f"hello hello hello {end}".encode(), whole=False)
        assert "ca" not in shown
        assert shown.startswith("hello")


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece", ["\\", '\\"', '"password":"', '\\"token\\":\\"', "\\u0", "\\u005c", "AKIA", '"token" ']
)
def test_hostile_excerpts_take_no_longer(piece: str) -> None:
    """As long a text as is kept, made to send a matcher back and forth."""
    text = (piece * 65_536)[:65_536]
    assert len(Redactor([CANARY]).excerpt(text.encode(), whole=True)) <= 65_536 * 2
