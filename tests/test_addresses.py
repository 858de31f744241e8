import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.addresses import Endpoint, address, checked, filled, host, needs_name
from proxy.profiles import KINDS, Kind

DATED = "?api-version=2025-04-01-preview"
RESOURCE = "https://r.openai.azure.com"


@pytest.mark.parametrize(
    ("kind", "base_url", "endpoint", "url"),
    [
        ("openai", "https://api.openai.com/v1", "chat", "https://api.openai.com/v1/chat/completions"),
        ("openai", "https://api.openai.com/v1/", "embeddings", "https://api.openai.com/v1/embeddings"),
        ("openai", "https://api.openai.com", "responses", "https://api.openai.com/v1/responses"),
        (
            "openai",
            "https://api.openai.com/v1/chat/completions",
            "models",
            "https://api.openai.com/v1/models",
        ),
        ("deepseek", "https://api.deepseek.com", "chat", "https://api.deepseek.com/chat/completions"),
        ("mistral", "https://api.mistral.ai", "chat", "https://api.mistral.ai/v1/chat/completions"),
        (
            "dashscope",
            "https://dashscope.aliyuncs.com",
            "chat",
            "https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions",
        ),
        ("generic", "http://127.0.0.1:8000/v1", "chat", "http://127.0.0.1:8000/v1/chat/completions"),
        ("generic", "http://[::1]:8000", "messages", "http://[::1]:8000/messages"),
        ("generic", "http://h/:model/v1", "chat", "http://h/org%2Fm%20x/v1/chat/completions"),
        ("anthropic", "https://api.anthropic.com", "messages", "https://api.anthropic.com/v1/messages"),
        ("anthropic", "https://api.anthropic.com/v1/", "messages", "https://api.anthropic.com/v1/messages"),
        ("anthropic", "https://h/anthropic", "models", "https://h/anthropic/v1/models"),
    ],
)
def test_an_endpoint_is_joined_to_its_base(kind: Kind, base_url: str, endpoint: Endpoint, url: str) -> None:
    """Bases with and without version, slash or a pasted endpoint lead to the same address."""
    assert address(kind, base_url, None, None, "org/m x", endpoint) == url


@pytest.mark.parametrize(
    ("base_url", "endpoint", "url"),
    [
        (RESOURCE, "chat", f"{RESOURCE}/openai/deployments/gpt%2F4/chat/completions{DATED}"),
        (f"{RESOURCE}/openai/", "chat", f"{RESOURCE}/openai/deployments/gpt%2F4/chat/completions{DATED}"),
        (RESOURCE, "embeddings", f"{RESOURCE}/openai/deployments/gpt%2F4/embeddings{DATED}"),
        (RESOURCE, "responses", f"{RESOURCE}/openai/responses{DATED}"),
        (RESOURCE, "models", f"{RESOURCE}/openai/models{DATED}"),
        (RESOURCE, "messages", f"{RESOURCE}/anthropic/v1/messages"),
        (
            "https://:name.openai.azure.com",
            "chat",
            "https://res.openai.azure.com/openai/deployments/gpt%2F4/chat/completions" + DATED,
        ),
        (
            "https://:name.azure.com/openai/deployments/:model",
            "chat",
            "https://res.azure.com/openai/deployments/gpt%2F4/chat/completions" + DATED,
        ),
        (
            f"{RESOURCE}/openai/deployments/d",
            "chat",
            f"{RESOURCE}/openai/deployments/d/chat/completions{DATED}",
        ),
        (f"{RESOURCE}/openai/deployments/d", "responses", f"{RESOURCE}/openai/responses{DATED}"),
        (
            f"{RESOURCE}/openai/deployments/d/chat/completions?api-version=2024-10-21",
            "chat",
            f"{RESOURCE}/openai/deployments/d/chat/completions?api-version=2024-10-21",
        ),
        (
            f"{RESOURCE}/openai/deployments/d/chat/completions?api-version=2024-10-21",
            "embeddings",
            f"{RESOURCE}/openai/deployments/d/embeddings?api-version=2024-10-21",
        ),
        (
            "https://r.services.ai.azure.com/models",
            "chat",
            "https://r.services.ai.azure.com/models/chat/completions?api-version=2024-05-01-preview",
        ),
        (
            "https://r.services.ai.azure.com/models",
            "responses",
            f"https://r.services.ai.azure.com/openai/responses{DATED}",
        ),
        (f"{RESOURCE}/openai/v1/", "chat", f"{RESOURCE}/openai/v1/chat/completions"),
        (
            f"{RESOURCE}/openai/responses?api-version=2025-03-01-preview",
            "responses",
            f"{RESOURCE}/openai/responses?api-version=2025-03-01-preview",
        ),
    ],
)
def test_azure_takes_every_form_of_base(base_url: str, endpoint: Endpoint, url: str) -> None:
    """Resources, deployments, `/models`, `/openai/v1` and templates all find the endpoint."""
    assert address("azure", base_url, "res", None, "gpt/4", endpoint) == url


def test_the_configured_version_goes_before_the_one_in_the_url() -> None:
    """`api_version` wins over the base's query, which wins over the kind's own."""
    base_url = f"{RESOURCE}/openai/deployments/d?api-version=2024-10-21"
    assert address("azure", base_url, None, "2025-01-01", "m", "chat").endswith("?api-version=2025-01-01")
    assert address("azure", f"{RESOURCE}/openai/v1", None, "preview", "m", "chat").endswith(
        "api-version=preview"
    )


def test_a_template_without_a_name_is_an_error() -> None:
    """`:name` cannot be guessed."""
    with pytest.raises(ValueError, match="no name is configured"):
        address("azure", "https://:name.openai.azure.com", None, None, "m", "chat")


def test_templates_are_whole_words() -> None:
    """`:models` is no template, and a port is none either."""
    assert filled("http://h:80/:models/:model", None, "a b") == "http://h:80/:models/a%20b"
    assert not needs_name("http://h/:names")
    assert needs_name("https://:name.openai.azure.com")


@pytest.mark.parametrize(
    ("base_url", "name"),
    [("https://:name.openai.azure.com", "name.openai.azure.com"), ("http://[::1", ""), ("/v1", "")],
)
def test_the_host_of_a_base_is_found(base_url: str, name: str) -> None:
    """Templates do not hide the host; what has none gives an empty text."""
    assert host(base_url) == name


@pytest.mark.parametrize(
    "base_url",
    [
        "http://127.0.0.1:8000/v1",
        "https://[::1]:443",
        "https://:name.openai.azure.com/openai/deployments/:model",
        f"{RESOURCE}/openai/deployments/d/chat/completions?api-version=2024-10-21",
    ],
)
def test_callable_bases_pass(base_url: str) -> None:
    """HTTP, private hosts and Azure's pasted URLs are the operator's to choose."""
    assert checked(base_url) == base_url


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "api.openai.com/v1",
        "ftp://h/v1",
        "https://",
        "https://user:password@h/v1",
        "https://h/v1?key=x",
        "https://h/v1?api-version=1&key=x",
        "https://h/v1#part",
        "https://h:99999/v1",
        "https://h:0/v1",
        "https://h /v1",
        "https://h/v 1",
        "https://h\\@evil/v1",
        "https://hö/v1",
        "http://[::1/v1",
    ],
)
def test_other_bases_are_refused(base_url: str) -> None:
    """A base with a password, a foreign query or no host is refused, and is not repeated."""
    with pytest.raises(ValueError, match="an http:// or https:// URL") as caught:
        checked(base_url)
    assert "password" not in str(caught.value).replace("user name, password", "")


@given(
    st.sampled_from(KINDS),
    st.sampled_from(["https://h", "https://h/openai/deployments/:model", "https://h/models", "https://h/v1"]),
    st.text(min_size=1, max_size=20),
)
def test_a_models_name_stays_in_its_segment(kind: Kind, base_url: str, model: str) -> None:
    """No name of a model can add a segment, a query or a fragment to the address."""
    plain = address(kind, base_url, None, None, "m", "chat")
    odd = address(kind, base_url, None, None, model, "chat")
    assert [odd.count(mark) for mark in "/?#"] == [plain.count(mark) for mark in "/?#"]
