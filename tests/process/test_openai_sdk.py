"""The official SDK against `serve`: only the base URL and the key are ours."""

import asyncio
import json
from collections.abc import Iterator

import openai
import pytest
from harness import EMBEDDING, KEY, MODEL, Mock, Serve, configured
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolUnionParam

pytestmark = pytest.mark.process

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello, world!"}]
SAID = "Hello from mock. You said: Hello, world!"
WEATHER: ChatCompletionToolUnionParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
FAULTS: dict[str, dict[str, object]] = {
    "limited": {"status": 429, "headers": {"retry-after": 7}},
    "broken": {"status": 500},
    "overloaded": {"status": 503},
    "refused": {"status": 422, "error": {"message": "temperature is too high", "code": "too_hot"}},
    "cut": {"tokens": 20, "delay_events_s": 0.01, "cut_after_events": 5},
    "erring": {"tokens": 20, "delay_events_s": 0.01, "error_after_events": 5},
}


@pytest.fixture(scope="module")
def proxy() -> Iterator[Serve]:
    """A proxy before one provider, which fails for the models of `FAULTS`."""
    rules = [{"match": {"model": name}, "then": then} for name, then in FAULTS.items()]
    with Mock({"rules": rules}) as mock:
        config = configured(mock)
        models = config["models"]
        assert isinstance(models, dict)
        for name in (*FAULTS, "family/model#1"):
            models[name] = {"providers": [{"provider": "mock"}]}
        with Serve(config) as serve:
            yield serve


@pytest.fixture
def client(proxy: Serve) -> Iterator[openai.OpenAI]:
    """The SDK's client; it retries nothing by itself."""
    with openai.OpenAI(base_url=proxy.url, api_key=KEY, max_retries=0) as made:
        yield made


def test_a_chat_is_answered(client: openai.OpenAI) -> None:
    """The example of the API reference, with usage and the headers that say who answered."""
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO)
    completion = raw.parse()
    assert completion.choices[0].message.content == SAID
    assert completion.usage is not None
    assert (
        completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    )
    assert raw.headers["x-apex-target"] == f"mock/{MODEL}"
    assert raw.headers["x-apex-attempts"] == "1"
    assert raw.headers["x-request-id"] == raw.headers["request-id"] == completion._request_id


def test_a_stream_arrives_piece_by_piece(client: openai.OpenAI) -> None:
    """A stream is whole, and the usage that the proxy asked for stays with the proxy."""
    chunks = list(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == SAID
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_of_a_stream_is_given_to_who_asks(client: openai.OpenAI) -> None:
    """`stream_options.include_usage` brings the last chunk with usage and no choice."""
    stream = client.chat.completions.create(
        model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    last = list(stream)[-1]
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens > 0


def test_the_sdk_helper_for_streams_works(client: openai.OpenAI) -> None:
    """The SDK's own accumulation of a stream ends with the whole message."""
    with client.chat.completions.stream(model=MODEL, messages=HELLO) as stream:
        stream.until_done()
        assert stream.get_final_completion().choices[0].message.content == SAID


def test_tools_are_called(client: openai.OpenAI) -> None:
    """A tool call and its arguments come through, whole and streamed."""
    completion = client.chat.completions.create(
        model=MODEL, messages=HELLO, tools=[WEATHER], tool_choice="required"
    )
    calls = completion.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].type == "function"
    assert calls[0].function.name == "get_weather"
    assert set(json.loads(calls[0].function.arguments)) == {"city"}
    with client.chat.completions.stream(
        model=MODEL, messages=HELLO, tools=[WEATHER], tool_choice="required"
    ) as stream:
        streamed = stream.get_final_completion().choices[0].message.tool_calls
    assert streamed is not None
    assert streamed[0].function.arguments == calls[0].function.arguments


def test_embeddings_are_the_same_in_both_encodings(client: openai.OpenAI) -> None:
    """The SDK asks for base64 unless told otherwise; floats are the same numbers."""
    packed = client.embeddings.create(model=EMBEDDING, input="Text to embed")
    plain = client.embeddings.create(model=EMBEDDING, input="Text to embed", encoding_format="float")
    assert len(packed.data[0].embedding) > 100
    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-6)
    assert packed.usage.total_tokens > 0


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    """Every alias is listed; one is found by its id, slashes and hashes included."""
    listed = [model.id for model in client.models.list()]
    assert listed == [MODEL, EMBEDDING, *FAULTS, "family/model#1"]
    assert client.models.retrieve(MODEL).owned_by == "apex-ai-proxy"
    assert client.models.retrieve("family/model#1").id == "family/model#1"


def test_the_async_client_works(proxy: Serve) -> None:
    """Chat, stream and embeddings at the same time over one async client."""

    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=proxy.url, api_key=KEY, max_retries=0) as client:

            async def streamed() -> str:
                stream = await client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            completion, text, embedding = await asyncio.gather(
                client.chat.completions.create(model=MODEL, messages=HELLO),
                streamed(),
                client.embeddings.create(model=EMBEDDING, input=["a", "b"]),
            )
            assert completion.choices[0].message.content == text == SAID
            assert [item.index for item in embedding.data] == [0, 1]

    asyncio.run(main())


def test_a_wrong_key_is_an_authentication_error(proxy: Serve) -> None:
    """Unknown keys are refused on every route, in the shape the SDK reads."""
    with openai.OpenAI(base_url=proxy.url, api_key="sk-unknown-key", max_retries=0) as client:
        for call in (
            client.models.list,
            lambda: client.chat.completions.create(model=MODEL, messages=HELLO),
        ):
            with pytest.raises(openai.AuthenticationError) as caught:
                call()
            assert caught.value.code == "invalid_api_key"


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    """The error names the model and the parameter, for a chat and for a look-up."""
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="nothing", messages=HELLO)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert "'nothing'" in caught.value.message
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")


def test_a_rate_limit_says_when_to_come_back(client: openai.OpenAI) -> None:
    """A provider's 429 becomes the caller's when nobody else is left, and so does its window afterwards."""
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="limited", messages=HELLO)
    assert caught.value.code == "rate_limit_exceeded"
    assert caught.value.response.headers["retry-after"] == "7"
    with pytest.raises(openai.RateLimitError) as later:
        client.chat.completions.create(model="limited", messages=HELLO)
    assert later.value.code == "rate_limit_exceeded"
    assert later.value.response.headers["x-apex-attempts"] == "0"
    assert 1 <= int(later.value.response.headers["retry-after"]) <= 7


@pytest.mark.parametrize(
    ("model", "status", "code"), [("broken", 502, "upstream_error"), ("overloaded", 503, "overloaded")]
)
def test_a_failing_provider_is_a_server_error(
    client: openai.OpenAI, model: str, status: int, code: str
) -> None:
    """What only the provider did wrong is a 502 or 503, and never names its host."""
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model=model, messages=HELLO)
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert "127.0.0.1" not in caught.value.response.text


def test_what_the_caller_did_wrong_comes_back_as_it_is(client: openai.OpenAI) -> None:
    """A provider's 422 is the caller's 422, in the provider's words."""
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        client.chat.completions.create(model="refused", messages=HELLO)
    assert caught.value.code == "too_hot"
    assert "temperature is too high" in caught.value.message


@pytest.mark.parametrize("model", ["cut", "erring"])
def test_a_stream_that_breaks_raises(client: openai.OpenAI, model: str) -> None:
    """A stream that has begun and breaks ends with an error in it, never silently."""
    stream = client.chat.completions.create(model=model, messages=HELLO, stream=True)
    said: list[str] = []
    with pytest.raises(openai.APIError) as caught:
        said.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    assert "".join(said)
    assert not isinstance(caught.value, openai.APIStatusError)
