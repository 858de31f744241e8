import json

from mockprovider import models


def test_the_list_has_the_openai_shape() -> None:
    """All ids are listed as models, and a single one stands alone."""
    told = json.loads(models.listing(("a", "b"), ""))
    assert told["object"] == "list"
    assert [each["id"] for each in told["data"]] == ["a", "b"]
    assert json.loads(models.listing((), "org/c"))["id"] == "org/c"


def test_the_list_has_the_anthropic_shape() -> None:
    """The page names its first and last id; an empty one has none."""
    told = json.loads(models.anthropic_listing(("a", "b"), ""))
    assert (told["first_id"], told["last_id"], told["has_more"]) == ("a", "b", False)
    assert [each["type"] for each in told["data"]] == ["model", "model"]
    assert json.loads(models.anthropic_listing((), ""))["first_id"] is None
    assert json.loads(models.anthropic_listing((), "c"))["display_name"] == "c"
