import dataclasses

import pytest
from pydantic import ValidationError

from proxy import profiles
from proxy.config.settings import Config
from proxy.config.translation import Quirks, Translation


def test_the_defaults_are_the_documented_ones() -> None:
    """What only tunes an answer may be lost; what only its vendor can do is refused."""
    assert Translation() == Translation(strict=False, drop_hosted_tools=False)


def test_every_quirk_can_be_said() -> None:
    """The section has the fields of the profiles' quirks, in their order and with their sentences."""
    known = [field.name for field in dataclasses.fields(profiles.Quirks)]
    assert list(Quirks.model_fields) == known == list(profiles.QUIRKS)
    for name, field in Quirks.model_fields.items():
        assert field.description == profiles.QUIRKS[name]
        assert field.default is None


def test_only_what_was_said_goes_before_the_profile() -> None:
    """Also where it says no."""
    assert Quirks().said == {}
    assert Quirks(images=False, max_output=5).said == {"images": False, "max_output": 5}


def test_an_entry_goes_before_its_provider() -> None:
    """In what it says; the rest is the provider's."""
    provider, entry = Quirks(images=False, top_k=True), Quirks(images=True, audio=False)
    assert provider.over(entry).said == {"images": True, "top_k": True, "audio": False}
    assert provider.said == {"images": False, "top_k": True}


@pytest.mark.parametrize(
    "quirks",
    [
        {"output_cap": "tokens"},
        {"max_output": 0},
        {"thinks": True},
        {"reasoning_history": "always"},
        {"images": "sometimes"},
        {"pictures": True},
    ],
)
def test_what_no_quirk_is_is_refused(quirks: dict[str, object]) -> None:
    """A wrong value, and a name that nobody knows."""
    with pytest.raises(ValidationError):
        Config.model_validate({"providers": {"a": {"kind": "openai", "quirks": quirks}}})
