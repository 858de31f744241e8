from typing import Any

import pytest

from mockprovider import flavours
from mockprovider.answer import Unreadable
from mockprovider.behaviour import Flavour

_HI = {"role": "user", "content": "hi"}
_SCHEMA = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
_TOOL = {"type": "function", "function": {"name": "f", "parameters": _SCHEMA}}
_CUSTOM = {"type": "custom", "custom": {"name": "c"}}
_CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_CALLS = {"role": "assistant", "content": None, "tool_calls": [_CALL]}
_IMAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a"}}]}
_JSON = {"type": "json_schema", "json_schema": {"name": "n", "schema": _SCHEMA, "strict": True}}
_OBJECT = {"type": "json_object"}
_RESULT = {"role": "tool", "tool_call_id": "a", "content": "42"}


def _check(flavour: Flavour, *messages: Any, model: str = "m", **fields: Any) -> None:
    said = messages or (_HI,)
    flavours.check({"model": model, "messages": said, **fields}, said, flavour, model)


def _refused(flavour: Flavour, *messages: Any, model: str = "m", **fields: Any) -> str:
    _check("generic", *messages, model=model, **fields)
    with pytest.raises(Unreadable) as caught:
        _check(flavour, *messages, model=model, **fields)
    return str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"x_mock": {}, "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 5},
        {"tools": [_TOOL, _CUSTOM], "tool_choice": "auto", "parallel_tool_calls": False},
        {"response_format": _JSON, "stop": ["a", "b"], "logprobs": True, "top_logprobs": 2},
        {"model": "gpt-5", "max_completion_tokens": 5, "temperature": 1, "reasoning_effort": "low"},
        {"metadata": {"a": "b"}, "store": True},
    ],
)
def test_openai_takes_what_is_its_own(fields: dict[str, Any]) -> None:
    """Its fields, within its limits."""
    _check("openai", **fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"top_k": 5}, "Unknown parameter: 'top_k'."),
        ({"thinking": {}}, "Unknown parameter: 'thinking'."),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "at the same time is not supported"),
        ({"model": "gpt-5-mini", "max_tokens": 5}, "Use 'max_completion_tokens' instead."),
        ({"model": "o3", "temperature": 0.2}, "'temperature' does not support 0.2 with this model."),
        ({"model": "o3", "presence_penalty": 1}, "'presence_penalty' does not support 1"),
        ({"model": "o3", "logprobs": True}, "'logprobs' is not supported with this model."),
        ({"stop": list("abcde")}, "Expected an array with maximum length 4"),
        ({"stream_options": {}}, "only allowed when 'stream' is enabled"),
        ({"metadata": {}}, "only allowed when 'store' is enabled"),
        ({"top_logprobs": 1}, "only allowed when 'logprobs' is enabled"),
        ({"user": "x" * 65}, "Invalid 'user': string too long"),
        ({"tool_choice": "auto"}, "'tool_choice' is only allowed when 'tools' are specified"),
        ({"parallel_tool_calls": True}, "'parallel_tool_calls' is only allowed when 'tools' are specified"),
        ({"tools": [{**_TOOL, "cache_control": {}}]}, "Unknown parameter: 'tools[0].cache_control'."),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {}}}}]},
            "Invalid schema for function 'f'",
        ),
        (
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {"name": "f", "strict": True, "parameters": {"type": "object"}},
                    }
                ]
            },
            "'additionalProperties' is required",
        ),
        ({"tools": [{"type": "custom", "custom": {"name": "c", "x": 1}}]}, "tools[0].custom.x"),
        ({"response_format": {"type": "json_schema"}}, "'response_format.json_schema.name'"),
        ({"response_format": {**_JSON, "schema": {}}}, "Unknown parameter: 'response_format.schema'."),
        ({"response_format": _OBJECT}, "must contain the word 'json' in some form"),
    ],
)
def test_openai_refuses(fields: dict[str, Any], words: str) -> None:
    """What it does not know, what its models that reason have not got, and what needs something else."""
    assert words in _refused("openai", **fields)


@pytest.mark.parametrize("flavour", ["openai", "deepseek", "dashscope", "vllm"])
def test_a_message_is_somebodys(flavour: Flavour) -> None:
    """Only the generic provider guesses whose."""
    assert _refused(flavour, {"content": "a"}) == "Missing required parameter: 'messages[0].role'."


def test_openai_reads_messages_closely() -> None:
    """No fields of other makers, no images from tools, no long ids."""
    thought = {**_CALLS, "reasoning_content": "hm"}
    assert "'messages[0].reasoning_content'" in _refused("openai", thought)
    seen = {**_RESULT, "content": _IMAGE["content"]}
    assert "'image_url'. Supported values are: 'text'" in _refused("openai", seen)
    long = {**_CALLS, "tool_calls": [{**_CALL, "id": "x" * 65}]}
    assert "'messages[0].tool_calls[0].id': string too long" in _refused("openai", long)
    _check("openai", {"role": "developer", "content": "a"}, _CALLS, _RESULT, _IMAGE)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            {"role": "developer", "content": "a"},
            "messages[0].role: unknown variant `developer`, expected one of",
        ),
        (_IMAGE, "messages[0]: unknown variant `image_url`, expected `text`"),
        ({"role": "user", "content": [{"type": "file", "file": {}}]}, "unknown variant `file`"),
    ],
)
def test_deepseek_takes_text_of_four_roles(message: dict[str, Any], words: str) -> None:
    """Anything else it cannot deserialize."""
    assert words in _refused("deepseek", message)


def test_deepseek_has_json_but_no_schemas() -> None:
    """And the prompt must say so; tools are functions."""
    assert _refused("deepseek", response_format=_JSON) == "This response_format type is unavailable now"
    assert "must contain the word 'json'" in _refused("deepseek", response_format=_OBJECT)
    _check("deepseek", {"role": "user", "content": "as JSON"}, response_format=_OBJECT)
    assert "unknown variant `custom`, expected `function`" in _refused("deepseek", tools=[_CUSTOM])
    _check("deepseek", top_k=5)


@pytest.mark.parametrize(
    "fields", [{"model": "deepseek-reasoner"}, {"model": "m", "thinking": {"type": "enabled"}}]
)
def test_deepseek_wants_its_reasoning_back(fields: dict[str, Any]) -> None:
    """With every message that called tools, be it empty; nor does it let itself be forced."""
    assert "Missing `reasoning_content` field" in _refused("deepseek", _HI, _CALLS, _RESULT, **fields)
    _check("deepseek", _HI, {**_CALLS, "reasoning_content": ""}, _RESULT, **fields)
    _check("deepseek", _HI, _CALLS, _RESULT)
    assert "does not support this tool_choice" in _refused("deepseek", tool_choice="required", **fields)


def test_dashscope_wants_json_to_be_mentioned() -> None:
    """Knows no developer, and does not think under a forced choice."""
    assert "must contain the word 'json'" in _refused("dashscope", response_format=_OBJECT)
    assert "developer is not one of" in _refused("dashscope", {"role": "developer", "content": "a"})
    assert "in thinking mode" in _refused("dashscope", enable_thinking=True, tool_choice="required")
    _check("dashscope", _IMAGE, enable_thinking=True, thinking_budget=5)


def test_vllm_wants_the_system_message_first() -> None:
    """Once, and by that name."""
    system = {"role": "system", "content": "a"}
    _check("vllm", system, _HI)
    assert _refused("vllm", _HI, system) == "System message must be at the beginning."
    assert _refused("vllm", system, system) == "System message must be at the beginning."
    assert _refused("vllm", {"role": "developer", "content": "a"}) == "Unexpected message role."
    assert "`tools` must be set" in _refused("vllm", tool_choice="auto")
