"""How what is expected is laid beside what came. The notation is described in tests/golden/README.md."""

import copy
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MORE = "..."
_PLACEHOLDER = re.compile(r"[\w. :-]*\*\d*")
_CONSTANT = ("id", "object", "created", "model")


class Matching:
    """One comparison; `"x*1"` means the same text wherever it stands."""

    def __init__(self) -> None:
        self._bound: dict[str, str] = {}

    def differences(self, expected: Any, actual: Any, path: str = "") -> Iterator[str]:
        """Where `actual` is not as `expected`, in words."""
        if isinstance(expected, dict) and isinstance(actual, dict):
            yield from self._members(expected, actual, path)
        elif isinstance(expected, list) and isinstance(actual, list):
            if len(expected) != len(actual):
                yield f"{path}: {len(actual)} of {len(expected)}: {actual}"
            for place, (one, other) in enumerate(zip(expected, actual, strict=False)):
                yield from self.differences(one, other, f"{path}[{place}]")
        elif not self._same(expected, actual, path):
            yield f"{path}: {actual!r} is not {expected!r}"

    def _members(self, expected: Mapping[str, Any], actual: Mapping[str, Any], path: str) -> Iterator[str]:
        for key, value in expected.items():
            if key != MORE:
                yield from self.differences(value, actual.get(key), f"{path}.{key}")
        if MORE not in expected:
            for key, value in actual.items():
                if key not in expected and value is not None:
                    yield f"{path}.{key}: {value!r} was not expected"

    def _same(self, expected: Any, actual: Any, path: str) -> bool:
        if expected in ("<any>", "<int>"):
            return expected == "<any>" or type(actual) is int
        if not isinstance(expected, str) or not isinstance(actual, str):
            return bool(expected == actual) and isinstance(expected, bool) is isinstance(actual, bool)
        if path.endswith(".arguments"):
            return bool(_as_json(expected) == _as_json(actual))
        return self._stands_for(expected, actual) if _PLACEHOLDER.fullmatch(expected) else expected == actual

    def _stands_for(self, placeholder: str, actual: str) -> bool:
        prefix, _, number = placeholder.partition("*")
        if not actual.startswith(prefix):
            return False
        taken = {name for name, value in self._bound.items() if value == actual}
        return not number or (
            self._bound.setdefault(placeholder, actual) == actual and taken <= {placeholder}
        )


def _as_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def plain(dialect: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """A request body in which each content is a list of parts, as the dialects' shorthands mean it."""
    out = copy.deepcopy(dict(body))
    if isinstance(out.get("input"), str):
        out["input"] = [{"role": "user", "content": out["input"]}]
    if dialect == "messages" and isinstance(out.get("system"), str):
        out["system"] = [{"type": "text", "text": out["system"]}]
    for turn in out.get("messages", out.get("input", ())):
        if dialect == "responses" and "role" in turn:
            turn.setdefault("type", "message")
        if isinstance(turn.get("content"), str):
            said = {"responses": "output_text" if turn["role"] == "assistant" else "input_text"}
            turn["content"] = [{"type": said.get(dialect, "text"), "text": turn["content"]}]
    return out


def bare(dialect: str, told: Sequence[Any]) -> list[Any]:
    """Events without what is the same in each of them, which is looked at here."""
    if dialect == "responses":
        numbered = [value for value in told if isinstance(value, dict)]
        assert [value.get("sequence_number") for value in numbered] == list(range(len(numbered)))
        return [_without(value, ("sequence_number",)) for value in told]
    if dialect == "messages":
        return list(told)
    chunks = [value for value in told if isinstance(value, dict) and "error" not in value]
    heads = {tuple(value.get(key) for key in _CONSTANT) for value in chunks}
    assert len(heads) <= 1, "every chunk has the same id and model"
    assert all(str(head[0]).startswith("chatcmpl-") for head in heads)
    return [value if value not in chunks else _without(value, _CONSTANT) for value in told]


def _without(value: Any, keys: Sequence[str]) -> Any:
    return {k: v for k, v in value.items() if k not in keys} if isinstance(value, dict) else value


def joined(told: Sequence[Any]) -> list[Any]:
    """Events in which what was added to one block stands in one event."""
    out: list[Any] = []
    for value in told:
        piece = _piece(value)
        before = _piece(out[-1]) if out else None
        if piece is not None and before is not None and piece[:2] == before[:2]:
            holder, key = before[2], before[3]
            holder[key] += piece[2][piece[3]]
        else:
            out.append(copy.deepcopy(value))
    return out


_PIECES = {"input_json_delta": "partial_json", "text_delta": "text", "thinking_delta": "thinking"}


def _piece(event: Any) -> tuple[str, object, dict[str, Any], str] | None:
    """What an event adds: the kind of it, the block, and where the text stands."""
    if not isinstance(event, dict):
        return None
    kind = str(event.get("type", ""))
    if kind == "content_block_delta":
        delta = event["delta"]
        key = _PIECES.get(delta["type"])
        return (delta["type"], event["index"], delta, key) if key else None
    if kind.endswith(".delta"):
        return kind, (event["output_index"], event.get("content_index")), event, "delta"
    return next((piece for piece in map(_chat_piece, event.get("choices", ())) if piece), None)


def _chat_piece(choice: dict[str, Any]) -> tuple[str, object, dict[str, Any], str] | None:
    delta = choice.get("delta", {})
    if choice.get("finish_reason") or "role" in delta:
        return None
    for key in ("content", "reasoning_content", "refusal"):
        if isinstance(delta.get(key), str):
            return key, choice["index"], delta, key
    calls = delta.get("tool_calls") or [{"id": ""}]
    if "id" in calls[0]:
        return None
    return "arguments", (choice["index"], calls[0]["index"]), calls[0]["function"], "arguments"
