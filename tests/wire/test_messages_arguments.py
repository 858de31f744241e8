from typing import Any

import pytest

from proxy.wire.messages import arguments


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        (" \n", {}),
        ("null", {}),
        ('{"a":1}', {"a": 1}),
        ("[1]", {"value": [1]}),
        ('"x"', {"value": "x"}),
        ('{"a":', {"_raw": '{"a":'}),
        ("[" * 5000, {"_raw": "[" * 5000}),
    ],
)
def test_arguments_are_always_an_object(text: str, found: dict[str, Any]) -> None:
    """Whatever a model wrote."""
    assert arguments.as_object(text) == found


def test_arguments_as_text() -> None:
    """As short as can be, with characters as they are and integers of any size."""
    assert arguments.as_text({"a": "ü", "b": [1]}) == '{"a":"ü","b":[1]}'
    assert arguments.as_text({"a": 2**80}) == f'{{"a":{2**80}}}'
