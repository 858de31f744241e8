"""The list of models on the wire, in the two shapes that clients know.

Rule: the ids are the script's; any other model is served all the same, it is just not listed. A single
model is described under whatever id is asked for.
"""

from collections.abc import Sequence

import msgspec

_CREATED = 1_800_000_000
_CREATED_TEXT = "2027-01-15T08:00:00Z"


def listing(ids: Sequence[str], one: str) -> bytes:
    """`{"object": "list", "data": [...]}`, or only the model `one` if it is not empty."""
    if one:
        return msgspec.json.encode(_model(one))
    return msgspec.json.encode({"object": "list", "data": [_model(each) for each in ids]})


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "mock"}


def anthropic_listing(ids: Sequence[str], one: str) -> bytes:
    """`{"data": [...], "has_more", "first_id", "last_id"}`, or only the model `one` if it is not empty."""
    if one:
        return msgspec.json.encode(_anthropic_model(one))
    page = {"has_more": False, "first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}
    return msgspec.json.encode({"data": [_anthropic_model(each) for each in ids], **page})


def _anthropic_model(name: str) -> dict[str, object]:
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": _CREATED_TEXT,
        "capabilities": None,
        "max_input_tokens": None,
        "max_tokens": None,
    }
