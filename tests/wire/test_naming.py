import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Refusal
from proxy.wire import naming
from proxy.wire.naming import Origin

LEGAL = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@pytest.mark.parametrize("text", ["call_1", "a-b", "x" * 64])
def test_what_is_legal_passes(text: str) -> None:
    """Byte for byte."""
    assert naming.legal(text) == text
    assert naming.legal(text, charset=False) == text


def test_other_characters() -> None:
    """They are legal where only the length counts."""
    assert naming.legal("functions.bash:0", charset=False) == "functions.bash:0"
    assert re.fullmatch(r"functions_bash_0_[0-9a-f]{8}", naming.legal("functions.bash:0"))


@given(one=st.text(max_size=200), other=st.text(max_size=200))
def test_everything_becomes_legal_and_stays_distinct(one: str, other: str) -> None:
    """The same in, the same out; two that differ stay two."""
    assert LEGAL.fullmatch(naming.legal(one))
    assert len(naming.legal(one, charset=False)) <= naming.LONGEST
    assert naming.legal(one) == naming.legal(one)
    assert (naming.legal(one) == naming.legal(other)) == (one == other)


def test_what_was_made_stays_as_it_is() -> None:
    """A name that is sent back and forth is changed once."""
    made = naming.legal("ä" * 99)
    assert naming.legal(made) == made


@pytest.mark.parametrize("user", ["u-1", "x" * 64])
def test_users_of_legal_names(user: str) -> None:
    """They are called by them."""
    assert naming.person(user) == user


@pytest.mark.parametrize("user", ["a@b.example", "x" * 65, ""])
def test_other_users(user: str) -> None:
    """They are called by a digest, which says nothing of them."""
    assert re.fullmatch(r"[0-9a-f]{64}", naming.person(user))


@pytest.mark.parametrize(
    ("name", "namespace", "sent"),
    [("f", None, "f"), ("f", "", "f"), ("find", "docs", "docs__find")],
)
def test_namespaces_are_flattened(name: str, namespace: str | None, sent: str) -> None:
    """Where there are none."""
    assert naming.flattened(name, namespace) == sent


def test_origins_are_kept_where_names_differ() -> None:
    """Or where a tool is sent as another kind."""
    tools = [("f", None, False), ("patch", None, True), ("find", "docs", False), ("a b", None, False)]
    assert naming.origins(tools) == {
        "patch": Origin("patch", custom=True),
        "docs__find": Origin("find", namespace="docs"),
        naming.legal("a b"): Origin("a b"),
    }


def test_tools_that_would_be_called_alike_are_refused() -> None:
    """A call could be either's. The very same tool twice is the provider's to judge."""
    with pytest.raises(Refusal) as caught:
        naming.origins([("find", "docs", False), ("docs__find", None, False)])
    assert (caught.value.status, caught.value.param) == (400, "tools")
    assert naming.origins([("f", None, False), ("f", None, False)]) == {}
