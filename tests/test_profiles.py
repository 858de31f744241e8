import dataclasses
from typing import Any

import pytest

from proxy.profiles import (
    DIALECTS,
    KINDS,
    PROFILES,
    QUIRKS,
    Kind,
    Quirks,
    authorization,
    kind_of,
    quirks,
)


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("api.openai.com", "openai"),
        ("API.OpenAI.com", "openai"),
        ("my.openai.azure.com", "azure"),
        ("my.services.ai.azure.com", "azure"),
        ("api.deepseek.com", "deepseek"),
        ("dashscope-intl.aliyuncs.com", "dashscope"),
        ("api.mistral.ai", "mistral"),
        ("api.anthropic.com", "anthropic"),
        ("openai.azure.com.evil.example", "generic"),
        ("notapi.openai.com", "generic"),
        ("127.0.0.1", "generic"),
        ("", "generic"),
    ],
)
def test_a_kind_is_known_by_its_host(host: str, kind: Kind) -> None:
    """Whole host names and suffixes decide; everything else is generic."""
    assert kind_of(host) == kind


@pytest.mark.parametrize(
    ("kind", "header"),
    [
        ("openai", ("authorization", "Bearer k")),
        ("azure", ("api-key", "k")),
        ("anthropic", ("x-api-key", "k")),
        ("generic", ("authorization", "Bearer k")),
    ],
)
def test_a_key_travels_in_one_header(kind: Kind, header: tuple[str, str]) -> None:
    """Each kind has exactly one header for its key."""
    assert authorization(kind, "k") == header


def test_every_kind_has_a_profile() -> None:
    """The table is complete, speaks known dialects, and only generic has no address."""
    assert set(PROFILES) == set(KINDS)
    assert all(profile.dialects and set(profile.dialects) <= set(DIALECTS) for profile in PROFILES.values())
    assert [kind for kind, profile in PROFILES.items() if profile.base_url is None] == ["generic"]


def test_only_mistral_is_not_asked_for_usage() -> None:
    """Mistral refuses `stream_options.include_usage`; all others take it."""
    assert [kind for kind, profile in PROFILES.items() if not profile.include_usage] == ["mistral"]


def test_every_quirk_has_a_sentence() -> None:
    """For the reference pages, in the order of the fields."""
    assert list(QUIRKS) == [field.name for field in dataclasses.fields(Quirks)]
    assert all(sentence.endswith(".") for sentence in QUIRKS.values())


def test_families_say_what_quirks_there_are() -> None:
    """A name that nobody knows, or a value of another type, would be found by a request only."""
    usual = dataclasses.asdict(Quirks())
    for profile in PROFILES.values():
        for pattern, differs in profile.families:
            for name, value in differs.items():
                assert type(value) is type(usual[name]), (pattern, name)


@pytest.mark.parametrize(
    ("kind", "model", "overrides", "known"),
    [
        ("openai", "gpt-4.1", {}, {"thinks": "no", "sampling": True, "developer_role": True}),
        ("openai", "gpt-5.1", {}, {"thinks": "effort", "sampling": False}),
        ("openai", "GPT-5.1", {}, {"sampling": False}),
        ("openai", "gpt-5-chat-latest", {}, {"thinks": "no", "sampling": True, "seed_and_penalties": True}),
        ("openai", "chatgpt-4o-latest", {}, {"thinks": "no", "sampling": True}),
        ("openai", "o4-mini", {}, {"thinks": "effort", "sampling": False}),
        ("openai", "something-new", {}, {"thinks": "effort", "sampling": True}),
        ("anthropic", "claude-3-5-haiku-latest", {}, {"thinks": "no", "max_output": 8192}),
        (
            "anthropic",
            "claude-3-haiku-20240307",
            {},
            {"thinks": "no", "json_schema": False, "max_output": 4096},
        ),
        (
            "anthropic",
            "claude-3-7-sonnet-latest",
            {},
            {"thinks": "budget", "json_schema": False, "max_output": 32_000},
        ),
        ("anthropic", "claude-opus-4-20250514", {}, {"thinks": "budget", "mid_system": False}),
        ("anthropic", "claude-sonnet-4-5-20250929", {}, {"thinks": "budget", "top_k": True}),
        ("anthropic", "claude-haiku-4-5", {}, {"thinks": "budget", "json_schema": True}),
        ("anthropic", "claude-opus-4-6", {}, {"thinks": "adaptive", "mid_system": False, "top_k": True}),
        ("anthropic", "claude-opus-4-8", {}, {"mid_system": True, "sampling": False}),
        ("anthropic", "claude-opus-4-10", {}, {"thinks": "adaptive", "sampling": False}),
        ("anthropic", "claude-opus-4-20", {}, {"thinks": "adaptive", "sampling": False}),
        ("anthropic", "claude-opus-5", {}, {"thinks": "adaptive", "sampling": False}),
        ("deepseek", "deepseek-chat", {}, {"forced_choice": True, "json_word": True}),
        ("deepseek", "deepseek-reasoner", {}, {"forced_choice": False}),
        ("dashscope", "qwq-32b", {}, {"stream_only": True}),
        ("dashscope", "qwen-plus", {}, {"stream_only": False, "thinks": "dashscope"}),
        ("mistral", "mistral-small-latest", {}, {"seed_and_penalties": False}),
        ("generic", "gpt-5.1", {}, {"sampling": True, "system_anywhere": False}),
        ("openai", "gpt-5.1", {"sampling": True}, {"sampling": True, "thinks": "effort"}),
        ("openai", "gpt-4.1", {"max_output": 5}, {"max_output": 5}),
    ],
)
def test_what_a_model_takes(kind: Kind, model: str, overrides: dict[str, Any], known: dict[str, Any]) -> None:
    """By its kind, then by its name, and before all by what the operator says."""
    taken = quirks(kind, model, overrides)
    assert {name: getattr(taken, name) for name in known} == known


def test_the_common_case_makes_nothing_new() -> None:
    """A model like all others of its kind shares their quirks."""
    assert quirks("mistral", "any", {}) is PROFILES["mistral"].quirks
