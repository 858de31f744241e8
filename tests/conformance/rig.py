"""The rig: a provider for each dialect, which speaks nothing else, and a real proxy in front of them."""

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import environments
from cells import APIS
from harness import KEY, Child, Serve

THOUGHT = "First I wonder, then I know."
BEHAVIOURS: Mapping[str, Mapping[str, object]] = {
    "plain": {},
    "parallel": {"tool_calls": 2},
    "json": {"text": '{"city": "Paris", "celsius": 21}'},
    "reasoning": {"reasoning": THOUGHT},
    "usage": {"prompt_tokens": 120, "cached_tokens": 40, "completion_tokens": 30},
    "long": {"tokens": 60},
    "halting": {"text": "one two three HALT four five six"},
    "refusing": {"text": "I would rather not.", "finish": "content_filter"},
    "slow": {"tokens": 400, "delay_events_s": 0.02},
    "refused": {"status": 400, "error": {"message": "That is too strange a question."}},
    "broken": {"status": 500},
    "erring": {"tokens": 20, "delay_events_s": 0.01, "error_after_events": 8},
    "cut": {"tokens": 20, "delay_events_s": 0.01, "cut_after_events": 8},
}
"""What the provider of an alias does, by the last word of the alias."""

PAUSING: Mapping[str, Mapping[str, object]] = {
    "limited": {"status": 429, "headers": {"retry-after": 7}},
    "overloaded": {"status": 503},
}
"""Behaviours after which a model is left alone for a while: an alias for each client API and environment."""

_PROVIDERS: Mapping[str, Mapping[str, object]] = {
    "chat": {"kind": "openai", "dialects": ["chat"]},
    "responses": {"kind": "openai", "dialects": ["responses"]},
    "messages": {"kind": "anthropic"},
}


class Provider(Child):
    """A scripted provider that speaks these dialects: one, or all if none is named."""

    def __init__(self, dialect: str | None = None) -> None:
        rules: list[object] = [
            {"match": {"model": f"mock-{name}"}, "then": then} for name, then in BEHAVIOURS.items()
        ]
        rules += [
            {"match": {"model": f"mock-{name}-*"}, "then": _then(name, then, dialect)}
            for name, then in PAUSING.items()
        ]
        options = ["--dialect", dialect] if dialect else []
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            json.dump({"rules": rules}, file)
            file.flush()
            super().__init__(
                sys.executable, "-m", "proxy", "mock", "--port", "0", "--script", file.name, *options
            )
            address = self.until(lambda: next(iter(self.out), None))
        self.port = int(address.rpartition(":")[2])


def _then(name: str, then: Mapping[str, object], dialect: str | None) -> Mapping[str, object]:
    """A behaviour as a provider of this dialect has it: Messages has a status of its own for overload."""
    return {**then, "status": 529} if (name, dialect) == ("overloaded", "messages") else then


@dataclass(frozen=True, slots=True)
class Rig:
    """A running proxy and the ports of its providers by what they speak."""

    proxy: Serve
    ports: Mapping[str, int]

    @property
    def root(self) -> str:
        """The address without `/v1`."""
        return self.proxy.url.removesuffix("/v1")


@contextlib.contextmanager
def matrix() -> Iterator[Rig]:
    """The proxy with an alias for each dialect and behaviour."""
    with contextlib.ExitStack() as stack:
        mocks = {dialect: stack.enter_context(Provider(dialect)) for dialect in APIS}
        pausing = [
            f"{pause}-{api}-{name}" for pause in PAUSING for api in APIS for name in environments.NAMES
        ]
        providers = {name: _provider(mocks[name].port, given) for name, given in _PROVIDERS.items()}
        models = {
            f"over-{name}-{behaviour}": {"providers": [{"provider": name, "model": f"mock-{behaviour}"}]}
            for name in APIS
            for behaviour in (*BEHAVIOURS, *pausing)
        }
        proxy = stack.enter_context(Serve(_config(providers, models)))
        yield Rig(proxy, {name: mock.port for name, mock in mocks.items()})


@contextlib.contextmanager
def examples(*, native: bool) -> Iterator[Serve]:
    """A proxy with the models of the API reference: over one provider that speaks chat, or each its own."""
    with contextlib.ExitStack() as stack:
        chat = stack.enter_context(Provider("chat"))
        providers = {"chat": _provider(chat.port, _PROVIDERS["chat"])}
        names = ["gpt-4o-mini", "claude-3-sonnet", "text-embedding-ada-002"]
        models = {name: {"providers": [{"provider": "chat"}]} for name in names}
        if native:
            everything = stack.enter_context(Provider())
            providers["openai"] = _provider(everything.port, {"kind": "openai"})
            providers["anthropic"] = _provider(everything.port, {"kind": "anthropic"})
            models = {name: {"providers": [{"provider": "openai"}]} for name in names}
            models["claude-3-sonnet"] = {"providers": [{"provider": "anthropic"}]}
        yield stack.enter_context(Serve(_config(providers, models)))


def _provider(port: int, given: Mapping[str, object]) -> dict[str, object]:
    return {"base_url": f"http://127.0.0.1:{port}/v1", "api_key": "sk-of-the-provider", **given}


def _config(providers: Mapping[str, object], models: Mapping[str, object]) -> dict[str, Any]:
    """Providers are never left alone for their failures: each cell shall meet the failure itself."""
    return {
        "listen": {"port": 0},
        "operations": {"port": 0},
        "clients": [{"name": "tests", "key": KEY}],
        "providers": dict(providers),
        "models": dict(models),
        "health": {"failures": 10_000, "failure_rate_requests": 10_000},
        "drain_grace": 0,
        "drain_timeout": 1,
    }


def log_since(proxy: Serve, line: int, most: int = 8) -> list[str]:
    """The newest lines of the proxy's log from this line on."""
    return proxy.err[line:][-most:]


__all__ = ["KEY", "Rig", "Serve", "examples", "log_since", "matrix"]
