import pytest
from fakes.configs import config

from proxy.checking import summary


def test_targets_are_listed_in_the_order_they_are_tried() -> None:
    """By priority, the heavier first, each with its share of the requests and its key's public name."""
    text = summary(
        config(
            {"a": 1, "b": {}, "c": 1}, entries={"a": {"priority": 2}, "c": {"weight": 3}}, strategy="weighted"
        ),
        "apex.yaml",
    )
    lines = text.splitlines()
    assert lines[0] == "apex.yaml is valid: 1 model, 3 providers, 1 client."
    assert lines[2] == "small  (weighted)"
    assert [line.split()[4] if "%" in line else line for line in lines[3:]] == [
        "c/c-model",
        "b/b-model",
        "a/a-model",
    ]
    assert [" ".join(line.split()[:4]) for line in lines[3:]] == [
        "priority 1 75 %",
        "priority 1 25 %",
        "priority 2 100 %",
    ]
    assert "no key" in lines[4]
    assert lines[4].endswith("chat  http://b.test")
    assert "key a1" not in text


def test_an_ordered_model_has_no_shares() -> None:
    """Its targets come one after another, in the order written within a priority."""
    lines = summary(config({"b": 1, "a": 1, "c": 1}, entries={"b": {"priority": 2}}), "x").splitlines()
    assert [line.split()[3] for line in lines[3:]] == ["a/a-model", "c/c-model", "b/b-model"]
    assert all(" next " in line for line in lines[3:])


@pytest.mark.parametrize(
    ("clients", "noted"), [([], True), ([{"name": "x", "key": "sk-x-00000000000"}], False)]
)
def test_no_client_is_worth_a_line(clients: list[dict[str, str]], noted: bool) -> None:
    """Who forgets the clients is told before `serve` refuses."""
    assert ("No client is configured" in summary(config({"a": 1}, clients=clients), "x")) is noted
