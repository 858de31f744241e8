from collections.abc import Container
from typing import Any

import pytest
from fakes.configs import config

from proxy.checking import sought, summary, unguarded
from proxy.config.settings import Config


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
    assert lines[4].endswith("chat  http://b.test/v1/chat/completions")
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


def test_where_requests_go_can_be_seen() -> None:
    """A base URL without its `/v1` shows; who speaks no chat is shown by the dialect of its own."""
    settings: dict[str, Any] = {
        "a": {"base_url": "http://a.test"},
        "b": {"kind": "anthropic", "base_url": "http://b.test"},
        "c": {"base_url": "http://c.test/v1", "dialects": ["messages", "responses"]},
        "d": {"kind": "azure", "base_url": "https://:name.openai.azure.com", "name": "r"},
    }
    lines = summary(config(settings), "x").splitlines()[3:7]
    assert [line.split()[-1] for line in lines] == [
        "http://a.test/chat/completions",
        "http://b.test/v1/messages",
        "http://c.test/v1/responses",
        "https://r.openai.azure.com/openai/deployments/d-model/chat/completions?api-version=2025-04-01-preview",
    ]


def notes(made: Config, listed: Container[str] = ()) -> list[str]:
    """What is remarked on below the tables of models."""
    return summary(made, "x", listed).split("\n\n")[1 + len(made.models) :]


def test_a_key_that_stands_twice_is_worth_a_line() -> None:
    """At a provider and at an entry; named by its place, never shown."""
    keys = ["sk-canary-1", "sk-canary-2", {"key": "sk-canary-1", "limits": {"concurrency": 1}}]
    entry = {"base_url": "http://c.test/v1", "api_keys": ["sk-canary-3", "sk-canary-3"]}
    made = config({"a": {"base_url": "http://a.test/v1", "api_keys": keys}, "b": 1}, entries={"b": entry})
    told = notes(made)
    assert told == [
        "providers.a.api_keys[2] is the same key as providers.a.api_keys[0].",
        "models.small.providers[1].api_keys[1] is the same key as models.small.providers[1].api_keys[0].",
    ]
    assert notes(config({"a": 3, "b": 3})) == []


def test_an_entry_that_stands_twice_is_worth_a_line() -> None:
    """Whatever its weight and priority: what has failed there is not asked again."""
    entries = [
        {"provider": "a", "model": "x"},
        {"provider": "a", "model": "y"},
        {"provider": "a", "model": "x", "priority": 2, "weight": 3},
        {"provider": "a", "model": "x", "extra_body": {"top_k": 1}},
    ]
    made = config({"a": 1}, models={"small": {"providers": entries}})
    assert notes(made) == ["models.small.providers[2] is the same place as models.small.providers[0]."]


def test_a_pattern_that_fits_no_model_is_worth_a_line() -> None:
    """A model by its whole name would be an error; `*` may have nothing to fit yet."""
    assert notes(config({"a": 1}, client={"models": ["smal*", "gpt4*"]})) == [
        'clients[0].models[1], "gpt4*", fits no model.'
    ]
    assert notes(config({"a": 1}, models={})) == ["Not used by any model: a."]


def test_a_vendor_without_a_key_is_worth_a_line() -> None:
    """Unless a header of the operator's carries one; a server of one's own may want none."""
    made: dict[str, Any] = {
        "a": {"kind": "openai", "base_url": "http://a.test/v1"},
        "b": {"kind": "anthropic", "base_url": "http://b.test", "headers": {"X-Api-Key": "sk-canary"}},
        "c": {},
        "d": {"kind": "deepseek", "base_url": "http://d.test", "api_keys": ["sk-canary"]},
    }
    assert notes(config(made)) == ["No key is sent to: a (openai)."]


@pytest.mark.parametrize(
    ("costs", "price", "noted"),
    [
        ({}, None, "b/b-model, c/c-model"),
        ({"lookup": False}, None, ""),
        ({"lookup": False}, {"input": 1}, "a/a-model, b/b-model"),
        ({}, {"input": 1}, "b/b-model"),
    ],
)
def test_a_vendor_without_a_price_is_worth_a_line(costs: Any, price: Any, noted: str) -> None:
    """Where costs are asked for: they are looked up, or some are given. Servers without TLS are nobody's."""
    sold = {name: {"base_url": f"https://{name}.test/v1", "api_keys": ["k"]} for name in "abc"}
    made = config({**sold, "d": 1}, costs=costs, entries={"c": {"price": price}} if price else {})
    wanted = [one.label for one in sought(made)]
    found = [note for note in notes(made, ["a/a-model"] if wanted else []) if "price" in note]
    assert found == (
        [f"No price is known for: {noted}. Cost is not counted there; `price` says one."] if noted else []
    )
    assert wanted == ([] if costs else ["a/a-model", "b/b-model"] + ["c/c-model"] * (price is None))


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
