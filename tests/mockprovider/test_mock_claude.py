import pytest

from mockprovider import claude


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        ("claude-opus-4-8", (4, 8)),
        ("claude-sonnet-5", (5, 0)),
        ("claude-sonnet-4-20250514", (4, 0)),
        ("claude-opus-4-1-20250805", (4, 1)),
        ("anthropic/claude-haiku-4-5", (4, 5)),
        ("claude-3-5-sonnet-20241022", (3, 5)),
        ("claude-3-opus-20240229", (3, 0)),
        ("gpt-5", None),
        ("m", None),
    ],
)
def test_the_name_tells_the_generation(model: str, wanted: tuple[int, int] | None) -> None:
    """Wherever the numbers stand; a date is no minor number."""
    assert claude.generation(model) == wanted


@pytest.mark.parametrize(
    ("model", "able"),
    [
        ("claude-sonnet-4-5", {"samples", "prefills", "budgets"}),
        ("claude-sonnet-4-6", {"samples", "budgets", "adapts"}),
        ("claude-opus-4-7", {"adapts"}),
        ("claude-opus-4-8", {"adapts", "hears_system"}),
        ("claude-sonnet-5", {"adapts", "hears_system"}),
        ("m", {"samples", "prefills", "budgets", "adapts"}),
    ],
)
def test_generations_learn_and_unlearn(model: str, able: set[str]) -> None:
    """What each takes; a model of another name takes all but system messages in the middle."""
    abilities = ("samples", "prefills", "budgets", "adapts", "hears_system")
    assert {name for name in abilities if getattr(claude, name)(model)} == able
