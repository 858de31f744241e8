import pytest
from fakes.configs import config

from proxy.checking import summary, unguarded


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
    ("keys", "shares"),
    [
        ({"a": 8}, ["12.5 %"] * 8),
        ({"a": 3}, ["33.4 %", "33.3 %", "33.3 %"]),
        ({"a": 1, "b": 2}, ["50 %", "25 %", "25 %"]),
        ({"a": 7}, ["14.3 %"] * 6 + ["14.2 %"]),
    ],
)
def test_shares_are_a_hundred_together(keys: dict[str, int], shares: list[str]) -> None:
    """To a tenth of a percent, and what rounding leaves goes to the largest remainders."""
    lines = summary(config(keys, strategy="weighted"), "x").splitlines()
    assert [" ".join(line.split()[2:4]) for line in lines[3:]] == shares
    assert sum(float(share.split()[0]) for share in shares) == pytest.approx(100)


def test_columns_are_aligned() -> None:
    """Whatever the lengths of names, keys and dialects, each column begins at one place."""
    settings = {"base_url": "http://b.test/v1", "dialects": ["chat", "responses"]}
    lines = summary(config({"long-name": 1, "b": settings}, strategy="weighted"), "x").splitlines()[3:]
    assert len({line.index("http://") for line in lines}) == 1
    assert len({line.index("chat") for line in lines}) == 1


def test_providers_that_no_model_uses_are_named() -> None:
    """They may be there for `model#provider`, or by mistake."""
    made = config({"a": 1, "b": 1})
    lines = summary(made.model_copy(update={"providers": {**made.providers, "c": made.providers["a"]}}), "x")
    assert lines.endswith("\n\nNot used by any model: c.")
    assert "Not used" not in summary(made, "x")


@pytest.mark.parametrize(
    ("clients", "noted"), [([], True), ([{"name": "x", "key": "sk-x-00000000000"}], False)]
)
def test_no_client_is_worth_a_line(clients: list[dict[str, str]], noted: bool) -> None:
    """Who forgets the clients is told before `serve` refuses."""
    assert ("No client is configured" in summary(config({"a": 1}, clients=clients), "x")) is noted


@pytest.mark.parametrize(
    ("operations", "noted"),
    [
        ({}, False),
        ({"host": "localhost"}, False),
        ({"host": "::1"}, False),
        ({"host": "127.0.0.2"}, False),
        ({"host": "0.0.0.0"}, True),
        ({"host": "ops.internal"}, True),
        ({"host": "0.0.0.0", "token": "sk-operators-0123"}, False),
    ],
)
def test_an_open_operations_port_is_worth_a_line(operations: dict[str, str], noted: bool) -> None:
    """Whoever reaches it sees who calls what, and may change it."""
    made = config({"a": 1}, operations=operations)
    assert unguarded(made) is noted
    assert ("operations.token" in summary(made, "x")) is noted
