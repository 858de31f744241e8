"""Whole replies as the official SDKs put them together of a stream's events, with what they insist on."""

import copy
import json
from collections.abc import Sequence
from typing import Any


def assembled(dialect: str, told: Sequence[Any]) -> dict[str, Any]:
    """The reply that a client of `dialect` has at the end of a stream."""
    if dialect == "messages":
        return message(told)
    return completion(told) if dialect == "chat" else response(told)


def message(told: Sequence[Any]) -> dict[str, Any]:
    """A message: blocks strictly one after the other, input from its pieces, usage overwritten."""
    assert [value["type"] for value in told].count("message_start") == 1
    out: dict[str, Any] = {}
    pieces = ""
    for value in told:
        match value["type"]:
            case "message_start":
                out = copy.deepcopy(value["message"])
            case "content_block_start":
                assert value["index"] == len(out["content"])
                out["content"].append(copy.deepcopy(value["content_block"]))
                pieces = ""
            case "content_block_delta":
                assert value["index"] == len(out["content"]) - 1
                pieces += _add(out["content"][-1], value["delta"])
            case "content_block_stop":
                assert value["index"] == len(out["content"]) - 1
                if out["content"][-1]["type"] == "tool_use" and pieces:
                    out["content"][-1]["input"] = json.loads(pieces)
            case "message_delta":
                out |= value["delta"]
                out["usage"] |= value["usage"]
    return out


def _add(block: dict[str, Any], delta: dict[str, Any]) -> str:
    match block["type"], delta["type"]:
        case "text", "text_delta":
            block["text"] += delta["text"]
        case "text", "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]
        case "thinking", "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "thinking", "signature_delta":
            block["signature"] = delta["signature"]
        case "tool_use", "input_json_delta":
            piece: str = delta["partial_json"]
            return piece
        case kinds:
            raise AssertionError(f"a delta of another kind: {kinds}")
    return ""


def completion(told: Sequence[Any]) -> dict[str, Any]:
    """A chat completion: strings are concatenated, calls found by their index."""
    chunks = [value for value in told if isinstance(value, dict) and "error" not in value]
    out = {key: chunks[0].get(key) for key in ("id", "created", "model")} | {"object": "chat.completion"}
    said: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None, "annotations": []}
    choice: dict[str, Any] = {"index": 0, "message": said, "logprobs": None, "finish_reason": None}
    for chunk in chunks:
        out["usage"] = chunk.get("usage") or out.get("usage")
        for part in chunk["choices"]:
            _merge(said, part["delta"])
            choice["finish_reason"] = part["finish_reason"] or choice["finish_reason"]
    said["content"] = said["content"] or None
    return out | {"choices": [choice]}


def _merge(said: dict[str, Any], delta: dict[str, Any]) -> None:
    for key, value in delta.items():
        if key == "tool_calls":
            for call in value:
                _merge_call(said.setdefault("tool_calls", []), call)
        elif key in ("annotations", "thinking_blocks"):
            for entry in value:
                entries = said.setdefault(key, [])
                assert entry["index"] == len(entries), "an SDK adds entries up by their index"
                entries.append({name: part for name, part in entry.items() if name != "index"})
        elif key == "function_call":
            held = said.setdefault("function_call", {"name": "", "arguments": ""})
            held["name"] += value.get("name") or ""
            held["arguments"] += value.get("arguments") or ""
        elif key != "role" and isinstance(value, str):
            said[key] = (said.get(key) or "") + value
        elif value is not None and key != "role":
            said[key] = value


def _merge_call(calls: list[dict[str, Any]], call: dict[str, Any]) -> None:
    kind = "custom" if "custom" in call else "function"
    argument = "input" if kind == "custom" else "arguments"
    if call["index"] == len(calls):
        assert call["id"], "the first piece of a call names it"
        assert call[kind]["name"]
        calls.append(
            {"id": call["id"], "type": call["type"], kind: {"name": call[kind]["name"], argument: ""}}
        )
    else:
        assert call["index"] == len(calls) - 1, "pieces of a call are not interleaved with another's"
        assert "id" not in call, "an SDK would append a repeated id to the first"
        assert "name" not in call[kind]
    calls[-1][kind][argument] += call[kind].get(argument, "")


def response(told: Sequence[Any]) -> dict[str, Any]:
    """A response: that of the terminal event, to which the events before it have to add up."""
    told = [value for value in told if isinstance(value, dict)]
    final: dict[str, Any] = told[-1]["response"]
    assert {value["response"]["id"] for value in told if "response" in value} == {final["id"]}
    done = [value["item"] for value in told if value["type"] == "response.output_item.done"]
    if final["status"] != "failed":
        assert final["output"] == done
    added = {value["item"]["id"]: "" for value in told if value["type"] == "response.output_item.added"}
    assert set(added) >= {item["id"] for item in done}
    for value in told:
        if value["type"].endswith(".delta"):
            added[value["item_id"]] += value["delta"]
    for item in done:
        assert added[item["id"]] == _said(item)
    return final


def _said(item: dict[str, Any]) -> str:
    match item["type"]:
        case "message":
            return "".join(part.get("text", "") + part.get("refusal", "") for part in item["content"])
        case "function_call":
            return str(item["arguments"])
        case "custom_tool_call":
            return str(item["input"])
        case _:
            return "".join(part["text"] for part in [*item["summary"], *item.get("content", [])])
