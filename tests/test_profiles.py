import pytest

from proxy.profiles import DIALECTS, KINDS, PROFILES, Kind, authorization, kind_of


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
