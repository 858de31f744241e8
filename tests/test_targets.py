import hashlib
from typing import Any

import pytest
from fakes.chats import reply, request
from fakes.configs import MODEL, Tree, config, targets_of
from fakes.providers import Answer
from fakes.scenes import Scene
from fakes.virtual_loop import run

from proxy import targets
from proxy.targets import VERSION, Target
from proxy.wire.model import Dialect, Endpoint

Headers = tuple[tuple[str, str], ...]


def one(provider: Tree | int = 1, entry: Tree | None = None, **rest: Any) -> Target:
    """The only target of one provider `a`."""
    (target,) = targets_of(config({"a": provider}, entries={"a": entry or {}}, **rest))
    return target


def test_a_target_is_provider_key_and_model() -> None:
    """Its id names all three without telling the key; the label is what clients see."""
    target = one()
    name = hashlib.sha256(b"apexa1").hexdigest()[:10]
    assert targets.key_id("a1") == name
    assert target.id == f"a/a-model@{name}"
    assert (target.label, target.key_id) == ("a/a-model", f"a@{name}")
    assert (target.provider, target.model, target.origin) == ("a", "a-model", "http://a.test")
    assert "a1" not in repr(target).replace(name, "")


def test_headers_and_urls_are_complete() -> None:
    """What an attempt sends is worked out once; the one header that carries the key comes last."""
    target = one({"api_keys": ["k1"], "headers": {"x-team": "red"}})
    assert target.headers == (
        ("content-type", "application/json"),
        ("x-team", "red"),
        ("authorization", "Bearer k1"),
    )
    assert target.urls[Endpoint.CHAT] == "http://a.test/v1/chat/completions"
    assert target.urls[Endpoint.EMBEDDINGS] == "http://a.test/v1/embeddings"


BETA = ("anthropic-beta", "theirs")
NEW = ("anthropic-version", "2026-10-21")


@pytest.mark.parametrize(
    ("own", "vendor", "added"),
    [
        ({}, (), (VERSION,)),
        ({}, (NEW,), (NEW,)),
        ({}, (BETA,), (BETA, VERSION)),
        ({"anthropic-version": "2024-01-01"}, (NEW, BETA), (BETA,)),
        ({"anthropic-beta": "ours"}, (NEW, BETA), (NEW, BETA)),
    ],
)
def test_a_call_of_messages_names_one_version(own: Tree, vendor: Headers, added: Headers) -> None:
    """The operator's, else the client's, else the one that everybody takes; betas of both go out."""
    target = one({"kind": "anthropic", "api_keys": ["k1"], "headers": own})
    assert target.headers_of(Endpoint.MESSAGES, vendor) == target.headers + added
    assert target.headers_of(Endpoint.CHAT, vendor) == target.headers


def test_what_a_model_takes_is_its_kinds_and_the_operators() -> None:
    """By the kind, by the model's name, by the provider's settings, by the entry's: the last word counts."""
    provider = {"kind": "openai", "api_keys": ["k1"], "quirks": {"images": False, "audio": False}}
    target = one(provider, {"model": "gpt-5.1", "quirks": {"audio": True, "max_output": 9}})
    assert target.facts.model == "gpt-5.1"
    taken = target.facts.quirks
    assert (taken.developer_role, taken.sampling) == (True, False)
    assert (taken.images, taken.audio, taken.max_output) == (False, True, 9)


def test_the_keys_of_a_provider_are_one_account() -> None:
    """What one of them had sealed the others may open; elsewhere and at other providers nobody does."""
    elsewhere: Tree = {"a": {"base_url": "http://b.test/v1", "api_keys": ["a1"]}}
    keys = [target.facts.account for target in targets_of(config({"a": 2}))]
    others = {
        one(entry=elsewhere["a"]).facts.account,
        *(t.facts.account for t in targets_of(config({"b": 1}))),
    }
    assert len(set(keys)) == 1
    assert len(others - set(keys)) == 2


def test_a_resource_or_keys_of_an_entrys_own_are_another_account() -> None:
    """What an account is called holds no key."""
    own: list[Tree] = [{}, {"api_keys": ["sk-secret-1"]}, {"api_keys": ["sk-secret-2"]}]
    accounts = [one(entry=entry).facts.account for entry in own]
    assert len(set(accounts)) == len(own)
    assert not any("secret" in account for account in accounts)
    azure: Tree = {"kind": "azure", "name": "first", "api_keys": ["k"]}
    resources = [one(azure, entry=entry).facts.account for entry in ({}, {"name": "second"})]
    assert len(set(resources)) == 2


def test_without_a_key_none_is_sent() -> None:
    """A local server needs no key, and gets no empty one."""
    target = one({})
    assert "authorization" not in dict(target.headers)
    assert target.key_id == "a@none"


def test_keys_share_the_weight() -> None:
    """Two keys do not make an entry twice as heavy."""
    made = targets_of(config({"a": 2}, entries={"a": {"weight": 3, "priority": 2}}))
    assert [(target.weight, target.priority) for target in made] == [(1.5, 2), (1.5, 2)]
    assert made[0].id != made[1].id


def test_an_entry_goes_over_its_provider() -> None:
    """Headers and body fields are merged, dropped parameters added, keys replaced."""
    target = one(
        {
            "api_keys": ["k1"],
            "headers": {"x-a": "1", "x-b": "1"},
            "extra_body": {"p": 1, "q": 1},
            "drop_params": ["s"],
        },
        {"api_key": "k2", "headers": {"x-b": "2"}, "extra_body": {"q": 2}, "drop_params": ["t"]},
    )
    assert dict(target.headers) == {
        "content-type": "application/json",
        "x-a": "1",
        "x-b": "2",
        "authorization": "Bearer k2",
    }
    assert {name: bytes(raw) for name, raw in target.edits.extra.items()} == {"p": b"1", "q": b"2"}
    assert target.edits.drop == ("s", "t")
    assert bytes(target.edits.model) == b'"a-model"'


def test_another_base_url_does_not_get_the_providers_key() -> None:
    """An entry's own address is somebody else: no key goes there but its own."""
    target = one(1, {"base_url": "http://elsewhere.test/v1"})
    assert target.urls[Endpoint.CHAT] == "http://elsewhere.test/v1/chat/completions"
    assert "authorization" not in dict(target.headers)
    assert target.id != one().id
    assert target.id.startswith("a/a-model@none@")


def test_the_same_key_elsewhere_is_another() -> None:
    """What one host says of a key, or of none, is nothing against it at another."""
    entries = [{"base_url": f"http://{host}.test/v1", "model": "m"} for host in ("one", "two")]
    made = targets_of(config({}, models={MODEL: {"providers": entries}}))
    assert len({target.key_id for target in made}) == len({target.id for target in made}) == 2


def test_an_entry_may_stand_alone() -> None:
    """Without a provider an entry is one itself, known by its kind: no answer tells its host."""
    made = config({"a": 1}).model_validate(
        {
            "clients": [{"name": "dev", "keys": ["sk-client-0123456789"], "models": ["*"]}],
            "models": {
                MODEL: {"providers": [{"base_url": "http://own.test/v1", "api_key": "k9", "model": "m"}]}
            },
        }
    )
    (target,) = targets_of(made)
    assert (target.provider, target.label) == ("generic", "generic/m")
    assert dict(target.headers)["authorization"] == "Bearer k9"
    assert "own.test" not in target.id + target.key_id


@pytest.mark.parametrize(("kind", "takes_it"), [("openai", True), ("mistral", False), ("generic", True)])
def test_profiles_decide_about_usage(kind: str, takes_it: bool) -> None:
    """Mistral does not take the field that asks for usage."""
    assert one({"kind": kind, "api_keys": ["k1"]}).edits.include_usage is takes_it


def test_another_kind_speaks_its_own_dialects() -> None:
    """An entry that is of another kind than its provider speaks what that kind speaks, unless told."""
    elsewhere = {"kind": "anthropic", "base_url": "http://elsewhere.test", "api_key": "k2"}
    assert one(1, elsewhere).dialects == {Dialect.MESSAGES}
    assert one(1, elsewhere | {"dialects": ["chat"]}).dialects == {Dialect.CHAT}


def test_timeouts_from_general_to_particular() -> None:
    """The model's own go over the provider's, and both over the general ones."""
    tree = {
        "providers": {
            "a": {"base_url": "http://a.test", "timeouts": {"idle": 5, "first_token": 5}},
            "b": {"base_url": "http://b.test"},
        },
        "models": {
            "own": {"providers": [{"provider": "a", "model": "m"}], "timeouts": {"idle": 3}},
            "plain": {"providers": [{"provider": "b", "model": "m"}]},
        },
        "timeouts": {"total": 9, "idle": 9},
    }
    found = targets.models(config({"a": 1}).model_validate(tree))
    waits = found["own"].targets[0].timeouts
    assert (waits.idle, waits.first_token, waits.total, waits.connect) == (3, 5, 9, 5)
    assert found["plain"].targets[0].timeouts.idle == 9


@pytest.mark.parametrize(
    ("general", "provider", "model", "total"),
    [(600, 900, None, 900), (600, 100, None, 600), (600, 900, 300, 300), (600, None, 900, 900)],
)
def test_a_request_has_the_time_of_its_most_patient_target(
    general: int, provider: int | None, model: int | None, total: int
) -> None:
    """A provider's own total lengthens it and never shortens it, for others may follow; a model's decides."""
    tree = {
        "providers": {
            "slow": {"base_url": "http://a.test", "timeouts": {"total": provider}},
            "b": {"base_url": "http://b.test"},
        },
        "models": {
            "both": {
                "providers": [{"provider": "slow", "model": "m"}, {"provider": "b", "model": "m"}],
                "timeouts": {"total": model},
            },
            "quick": {"providers": [{"provider": "b", "model": "m"}]},
        },
        "timeouts": {"total": general},
    }
    made = config({"a": 1}).model_validate(tree)
    found = targets.models(made)
    assert found["both"].timeouts.total == total
    assert found["both"].targets[1].timeouts.total == (model or general)
    assert found["quick"].timeouts.total == general
    asked = targets.direct(made, "slow", "m")
    assert asked is not None
    assert asked.timeouts.total == max(provider or 0, general)


def test_a_slow_provider_is_given_its_time() -> None:
    """It may answer when the general total has long been over."""
    slow: Tree = {"api_keys": ["a1"], "timeouts": {"total": "900s"}}

    async def scenario() -> None:
        scene = Scene(config({"a": slow}), {"a": [Answer([reply()], before=[700.0])]})
        sink = await scene.ask(request())
        assert (sink.status, scene.outcomes) == (200, ["ok"])

    run(scenario())


def test_limits_of_a_key_go_first() -> None:
    """A key's own limits, else those of its provider."""
    made = targets_of(
        config(
            {
                "a": {
                    "api_keys": [{"key": "k1", "limits": {"requests_per_minute": 5}}, "k2"],
                    "limits": {"requests_per_minute": 50},
                }
            }
        )
    )
    assert [target.limits.requests_per_minute for target in made if target.limits] == [5, 50]


def test_a_model_says_how_many_failure_rates_may_keep_away() -> None:
    """The configuration's part of its targets; of a provider addressed directly as well."""
    made = config({"a": 2}, health={"max_ejected": 0.25})
    assert targets.models(made)[MODEL].most_ejected == 0.25
    found = targets.direct(made, "a", "anything")
    assert found is not None
    assert found.most_ejected == 0.25


def test_direct() -> None:
    """A provider addressed directly is a model without an alias; an unknown one is none."""
    made = config({"a": 2})
    found = targets.direct(made, "a", "anything")
    assert found is not None
    assert found.alias == ""
    assert [target.label for target in found.targets] == ["a/anything", "a/anything"]
    assert targets.direct(made, "nobody", "anything") is None
