from typing import Any

import pytest

from proxy.wire import free_text
from proxy.wire.conversation import Tool

RULE = {"syntax": "lark", "definition": "start: /a+/"}
SAID = "`input` has to fit this lark grammar:\nstart: /a+/"


def test_the_one_argument_is_a_string() -> None:
    """And nothing else is taken."""
    schema = free_text.arguments()
    assert schema["properties"] == {"input": {"type": "string"}}
    assert (schema["required"], schema["additionalProperties"]) == (["input"], False)


@pytest.mark.parametrize(
    ("description", "grammar", "words"),
    [
        (None, None, "`input` is free text."),
        ("Patch.", None, "Patch."),
        ("Patch.", {"type": "text"}, "Patch."),
        ("Patch.", {"type": "grammar", **RULE}, f"Patch.\n\n{SAID}"),
        (None, {"type": "grammar", "grammar": RULE}, SAID),
        (None, {"type": "grammar", "grammar": "odd"}, "`input` is free text."),
        ("Patch.", {"type": "grammar", "definition": 5}, "Patch."),
    ],
)
def test_the_description_says_what_is_wanted(
    description: str | None, grammar: dict[str, Any] | None, words: str
) -> None:
    """A grammar in either of its forms; what cannot be read says nothing."""
    tool = Tool("patch", description, custom=True, grammar=grammar)
    assert free_text.described(tool) == words
