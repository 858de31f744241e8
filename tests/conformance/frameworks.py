"""Agent frameworks on the proxy: pydantic-ai and openai-agents run their tool loops to the end.

Only in the environment that has them; there is nothing here that the type checker could look into.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

import agents  # type: ignore[import-not-found]  # only there where it runs
import anthropic
import openai
import parts
import upstream
from cells import SAID, Features, Place, same
from pydantic_ai import Agent  # type: ignore[import-not-found]  # only there where it runs
from pydantic_ai.models.anthropic import AnthropicModel  # type: ignore[import-not-found]  # as above
from pydantic_ai.models.openai import (  # type: ignore[import-not-found]  # as above
    OpenAIChatModel,
    OpenAIResponsesModel,
)
from pydantic_ai.providers.anthropic import AnthropicProvider  # type: ignore[import-not-found]  # as above
from pydantic_ai.providers.openai import OpenAIProvider  # type: ignore[import-not-found]  # as above

LOOPS = (("plain", 1), ("parallel", 2), ("reasoning", 1))
"""Behaviours of the provider, and how many calls it makes at once."""

Asked = list[tuple[str, str]]
Loop = Callable[[Place, str, str, Asked], Coroutine[Any, Any, str]]
AGENTS_MODELS: Mapping[str, Any] = {
    "chat": agents.OpenAIChatCompletionsModel,
    "responses": agents.OpenAIResponsesModel,
}


def _openai(at: Place) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{at.url}/v1", api_key=at.key, max_retries=0, timeout=10)


@contextlib.asynccontextmanager
async def _model(api: str, at: Place, name: str) -> AsyncIterator[Any]:
    """The model as pydantic-ai knows it."""
    if api == "messages":
        async with anthropic.AsyncAnthropic(
            base_url=at.url, api_key=at.key, max_retries=0, timeout=10
        ) as client:
            yield AnthropicModel(name, provider=AnthropicProvider(anthropic_client=client))
        return
    made = OpenAIChatModel if api == "chat" else OpenAIResponsesModel
    async with _openai(at) as client:
        yield made(name, provider=OpenAIProvider(openai_client=client))


def _tools(asked: Asked) -> list[Callable[..., str]]:
    def get_weather(city: str) -> str:
        """Tell the weather of a city."""
        asked.append(("get_weather", city))
        return "sunny"

    def get_time(city: str) -> str:
        """Tell the time of a city."""
        asked.append(("get_time", city))
        return "noon"

    return [get_weather, get_time]


def _looped(at: Place, loop: Loop) -> None:
    """Each behaviour of the provider: all tools are called, their results go back, the answer comes."""
    for behaviour, count in LOOPS:
        prompt = f"use a tool {at.word} {behaviour} {loop.__name__}"
        asked: Asked = []
        same(asyncio.run(loop(at, at.model(behaviour), prompt, asked)), SAID + prompt)
        same(sorted(asked), sorted([("get_weather", prompt), ("get_time", prompt)][:count]))
        results = [text for _, text in upstream.results(at.kind, at.asked()[-1])]
        same(results, ["sunny", "noon"][:count])


def pydantic_ai(api: str) -> Callable[[Place], None]:
    """The check of pydantic-ai's tool loop on one client API."""

    async def whole(at: Place, name: str, prompt: str, asked: Asked) -> str:
        async with _model(api, at, name) as model:
            agent = Agent(model, instructions="be brief", tools=_tools(asked))
            return str((await agent.run(prompt)).output)

    async def streamed(at: Place, name: str, prompt: str, asked: Asked) -> str:
        async with _model(api, at, name) as model:
            agent = Agent(model, instructions="be brief", tools=_tools(asked))
            async with agent.run_stream(prompt) as result:
                return "".join([piece async for piece in result.stream_text(delta=True)])

    async def shaped(at: Place) -> str:
        async with _model(api, at, at.model()) as model:
            return str((await Agent(model, output_type=parts.Weather).run(at.word)).output.city)

    def check(at: Place) -> None:
        _looped(at, whole)
        _looped(at, streamed)
        same(asyncio.run(shaped(at)), at.word)

    return check


def openai_agents(api: str) -> Callable[[Place], None]:
    """The check of openai-agents' tool loop on one client API."""

    def agent(client: openai.AsyncOpenAI, name: str, asked: Asked) -> Any:
        agents.set_tracing_disabled(True)
        return agents.Agent(
            name="assistant",
            instructions="be brief",
            tools=[agents.function_tool(tool) for tool in _tools(asked)],
            model=AGENTS_MODELS[api](name, openai_client=client),
        )

    async def whole(at: Place, name: str, prompt: str, asked: Asked) -> str:
        async with _openai(at) as client:
            return str((await agents.Runner.run(agent(client, name, asked), prompt)).final_output)

    async def streamed(at: Place, name: str, prompt: str, asked: Asked) -> str:
        async with _openai(at) as client:
            running = agents.Runner.run_streamed(agent(client, name, asked), prompt)
            async for _ in running.stream_events():
                pass
            return str(running.final_output)

    def check(at: Place) -> None:
        _looped(at, whole)
        _looped(at, streamed)

    return check


FEATURES: Mapping[str, Features] = {
    "chat": {"pydantic-ai": pydantic_ai("chat"), "openai-agents": openai_agents("chat")},
    "responses": {"pydantic-ai": pydantic_ai("responses"), "openai-agents": openai_agents("responses")},
    "messages": {"pydantic-ai": pydantic_ai("messages")},
}
