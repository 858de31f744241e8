import pytest

from proxy.errors import Refusal
from proxy.wire.choices import Choosable, without_tools
from proxy.wire.conversation import Choice, Tool
from proxy.wire.losses import Losses
from proxy.wire.model import Dialect

PLAIN, DOCS, MAIL = Tool("f"), Tool("f", namespace="docs"), Tool("f", namespace="mail")
FIND = Tool("find", namespace="docs")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("f", PLAIN),
        ("docs__f", DOCS),
        ("mail__f", MAIL),
        ("find", FIND),
        ("docs__find", FIND),
        ("gone", None),
    ],
)
def test_what_a_name_means(name: str, found: Tool | None) -> None:
    """The plain one, the flattened one, the only one."""
    assert Choosable((DOCS, MAIL, PLAIN, FIND)).find(name) == found


def test_a_name_that_may_mean_several_is_refused() -> None:
    """Rather than any of them called."""
    with pytest.raises(Refusal) as caught:
        Choosable((DOCS, MAIL)).find("f")
    assert (caught.value.status, caught.value.param) == (400, "tool_choice")
    assert "'docs__f', 'mail__f'" in caught.value.message


def test_which_tools_may_be_called() -> None:
    """Those that are named, and no namesakes."""
    tools = (DOCS, MAIL, PLAIN, FIND)
    for choice in (None, Choice("auto")):
        assert Choosable(tools).allowed(choice) == tools
    assert Choosable(tools).allowed(Choice("auto", allowed=("f", "docs__find"))) == (PLAIN, FIND)
    assert Choosable(tools).allowed(Choice("auto", allowed=("gone",))) == ()


@pytest.mark.parametrize(
    ("choice", "header"),
    [
        (None, ""),
        (Choice("auto"), ""),
        (Choice("none"), ""),
        (Choice("required"), "changed=tool_choice"),
        (Choice("named", "f"), "changed=tool_choice"),
    ],
)
def test_a_forced_choice_without_tools_is_named(choice: Choice | None, header: str) -> None:
    """It cannot be had."""
    losses = Losses(Dialect.CHAT)
    without_tools(choice, losses)
    assert losses.header() == header
