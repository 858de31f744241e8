from typing import Any

import pytest

from mockprovider.answer import Unreadable
from mockprovider.reading import Terms
from mockprovider.strict_blocks import LATEST
from mockprovider.strict_messages import check

_BODY: dict[str, Any] = {"model": "m", "max_tokens": 2000, "messages": [{"role": "user", "content": "hi"}]}
_SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False}
_THINKING = {"type": "enabled", "budget_tokens": 1024}
_MARK = {"type": "ephemeral"}


def _check(model: str = "m", version: str = "2023-06-01", **fields: object) -> None:
    check({**_BODY, **fields}, Terms(version=version), model)


def _refused(text: str, model: str = "m", version: str = "2023-06-01", **fields: object) -> None:
    with pytest.raises(Unreadable) as caught:
        _check(model, version, **fields)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"x_mock": {"status": 200}, "stream": True, "metadata": {"user_id": "u"}},
        {"temperature": 0, "top_p": 0.5, "top_k": 5, "stop_sequences": ["END"], "service_tier": "auto"},
        {"thinking": _THINKING, "temperature": 1, "top_p": 0.95},
        {"thinking": {"type": "disabled"}, "temperature": 0.2},
        {"thinking": {"type": "adaptive", "display": "omitted"}},
        {"output_config": {"effort": "max", "format": {"type": "json_schema", "schema": _SCHEMA}}},
        {"system": [{"type": "text", "text": "be brief", "cache_control": _MARK}]},
        {"max_tokens": 0},
    ],
)
def test_what_is_right_passes(fields: dict[str, Any]) -> None:
    """Each field with a value it may have."""
    _check(**fields)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"response_format": {}}, "response_format: Extra inputs are not permitted"),
        ({"context_management": {}}, "context_management: Extra inputs are not permitted"),
        ({"metadata": {"a": "b"}}, "metadata.a: Extra inputs are not permitted"),
        ({"service_tier": "flex"}, "service_tier: Input should be 'auto' or 'standard_only'"),
        ({"stop_sequences": "END"}, "stop_sequences: Input should be a valid list"),
        ({"stop_sequences": [None]}, "stop_sequences.0: Input should be a valid string"),
        ({"stop_sequences": [" "]}, "stop_sequences: each stop sequence must contain non-whitespace"),
        ({"messages": None}, "messages: Field required"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"system": {}}, "system: Input should be a valid string or list"),
        ({"system": [{"type": "text", "text": ""}]}, "system.0: text content blocks must be non-empty"),
        ({"system": [{"type": "image"}]}, "system.0.type: Input should be 'text'"),
        ({"tools": [{"name": "f"}]}, "tools.0.custom.input_schema: Field required"),
        ({"tool_choice": {"type": "auto"}}, "tool_choice may only be specified while providing tools"),
    ],
)
def test_fields_are_read(fields: dict[str, Any], text: str) -> None:
    """What is not known, or not what it must be, is named."""
    _refused(text, **fields)


def test_the_version_is_needed_and_known() -> None:
    """Without the header nothing is read."""
    _refused("anthropic-version: header is required", version="")
    _refused('anthropic-version: "2024-01-01" is not a valid version', version="2024-01-01")


def test_a_beta_brings_its_fields() -> None:
    """Which the plain API does not have."""
    check({**_BODY, "context_management": {}, "speed": "fast"}, Terms(beta=True), "m")
    with pytest.raises(Unreadable) as caught:
        check({**_BODY, "thread": {"type": "create"}}, Terms(beta=True), "m")
    assert caught.value.code == "thread_unsupported_request"


def test_counting_needs_no_limit_and_takes_fewer_fields() -> None:
    """A count is no completion."""
    counted = {name: value for name, value in _BODY.items() if name != "max_tokens"}
    check(counted, Terms(), "m", counting=True)
    with pytest.raises(Unreadable, match=r"^max_tokens: Field required"):
        check(counted, Terms(), "m")
    with pytest.raises(Unreadable, match=r"^stream: Extra inputs"):
        check({**counted, "stream": True}, Terms(), "m", counting=True)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"thinking": {"type": "auto"}}, "thinking: Input tag 'auto'"),
        ({"thinking": {"type": "enabled"}}, "thinking.enabled.budget_tokens: Field required"),
        (
            {"thinking": {**_THINKING, "budget_tokens": 1023}},
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        ),
        ({"thinking": _THINKING, "max_tokens": 1024}, "`max_tokens` must be greater than `thinking.budget_"),
        ({"thinking": _THINKING, "temperature": 0.5}, "`temperature` may only be set to 1 when thinking"),
        ({"thinking": _THINKING, "top_p": 0.5}, "`top_p` must be greater than or equal to 0.95"),
        ({"thinking": _THINKING, "top_k": 5}, "`top_k` must be unset when thinking is enabled"),
        ({"thinking": {"type": "adaptive"}, "temperature": 0.5}, "`temperature` may only be set to 1"),
        ({"thinking": {**_THINKING, "effort": 1}}, "thinking.enabled.effort: Extra inputs"),
        ({"thinking": {**_THINKING, "display": "all"}}, "thinking.enabled.display: Input should be"),
        ({"temperature": 1.5}, "temperature: range: 0..1"),
        ({"temperature": "x"}, "temperature: Input should be a valid number"),
        ({"max_tokens": -1}, "max_tokens: must be greater than or equal to 0"),
        ({"max_tokens": "x"}, "max_tokens: Input should be a valid integer"),
        ({"top_p": "x"}, "top_p: Input should be a valid number"),
    ],
)
def test_thinking_has_its_price(fields: dict[str, Any], text: str) -> None:
    """A budget within bounds, and no sampling beside it."""
    _refused(text, **fields)


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
def test_sampling_has_gone(name: str) -> None:
    """From the newest version of the API, whatever the value, and from newer models."""
    given: dict[str, Any] = {name: 1}
    _refused(f"{name}: not supported in API version {LATEST}", version=LATEST, **given)
    _refused(f"`{name}` is deprecated for this model", model="claude-opus-4-7", **given)
    _check(version=LATEST)


def test_how_to_ask_for_thinking_depends_on_the_model() -> None:
    """Older models take a budget, newer ones decide themselves."""
    _check("claude-sonnet-4-5", thinking=_THINKING)
    _refused('"thinking.type.enabled" is not supported', model="claude-opus-4-7", thinking=_THINKING)
    _check("claude-opus-4-7", thinking={"type": "adaptive"})
    _refused("adaptive thinking is not", model="claude-sonnet-4-5", thinking={"type": "adaptive"})


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ([], "output_config: Input should be a valid dictionary"),
        ({"efforts": 1}, "output_config.efforts: Extra inputs"),
        (
            {"effort": "none"},
            "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
        ),
        ({"format": {"type": "json_object"}}, "output_config.format.type: Input should be 'json_schema'"),
        ({"format": {"type": "json_schema"}}, "output_config.format.schema: Field required"),
        (
            {"format": {"type": "json_schema", "schema": _SCHEMA, "name": "n"}},
            "output_config.format.name: Extra inputs",
        ),
        (
            {"format": {"type": "json_schema", "schema": {"type": "object"}}},
            "output_config.format.schema: For 'object' type, 'additionalProperties' must be",
        ),
    ],
)
def test_the_format_of_the_output_is_read(config: object, text: str) -> None:
    """Only a schema, of the subset that can be kept to."""
    _refused(text, output_config=config)


def test_a_history_of_calls_needs_tools() -> None:
    """Also when no more are to be made."""
    use = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "a"}
    messages = [
        *_BODY["messages"],
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
    ]
    _check(messages=messages, tools=[{"name": "f", "input_schema": {"type": "object"}}])
    _refused("Requests which include `tool_use` or `tool_result` blocks must define tools", messages=messages)


def test_four_things_can_be_cached_and_no_more() -> None:
    """Counted over tools, system, messages and the body itself."""
    tool = {"name": "f", "input_schema": {"type": "object"}, "cache_control": _MARK}
    text = {"type": "text", "text": "a", "cache_control": _MARK}
    said = [{"role": "user", "content": [text, text]}]
    marked: dict[str, Any] = {"tools": [tool], "system": [text], "messages": said}
    _check(**marked)
    _refused(
        "A maximum of 4 blocks with cache_control may be provided. Found 5.", **marked, cache_control=_MARK
    )


def test_what_is_cached_for_long_comes_first() -> None:
    """And for how long is one of two times."""
    system = [{"type": "text", "text": "a", "cache_control": _MARK}]
    long = [{"role": "user", "content": [{**system[0], "cache_control": {**_MARK, "ttl": "1h"}}]}]
    _check(messages=long)
    _refused("a ttl='1h' cache_control block must not come after", system=system, messages=long)
    _refused("cache_control.type: Input should be 'ephemeral'", cache_control={"type": "persistent"})
    _refused("cache_control.ephemeral.ttl: Input should be", cache_control={**_MARK, "ttl": "30m"})
