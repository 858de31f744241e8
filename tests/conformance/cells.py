"""A cell of the matrix: one feature of one client API over one kind of provider; and what its check may ask.

Everything here and in the modules of the clients runs in the environments of the SDKs, so it stands on the
standard library and the SDKs alone.
"""

import dataclasses
import http.client
import json
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

APIS = ("chat", "responses", "messages")
"""What a client speaks, and what a provider speaks."""

ROWS = (
    "text",
    "stream",
    "stream helper",
    "events valid",
    "system prompt",
    "several turns",
    "tool call",
    "tool loop",
    "parallel tools",
    "forced tool",
    "custom tool",
    "legacy functions",
    "structured output",
    "reasoning",
    "reasoning and tools",
    "other providers",
    "image input",
    "file input",
    "usage",
    "max tokens",
    "stop sequence",
    "refusal",
    "stored chain",
    "background",
    "compaction",
    "web socket",
    "beta API",
    "count tokens",
    "embeddings",
    "models",
    "wrong key",
    "unknown model",
    "bad request",
    "rate limit",
    "server error",
    "overloaded",
    "broken stream",
    "async client",
    "cancelled stream",
    "pydantic-ai",
    "openai-agents",
)
"""The features, in the order of the table."""

SAID = "Hello from mock. You said: "
PATIENCE = 5.0

Check = Callable[["Place"], None]
Features = Mapping[str, Check]
Fields = dict[str, Any]


def _stamp() -> str:
    return uuid.uuid4().hex[:12]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a check runs: the proxy, the kind of provider behind it, and a word that only this cell says.

    `ports` are those of the providers by their kind, which tell what they were asked; `environment` is where
    the SDK is.
    """

    url: str
    key: str
    kind: str
    ports: Mapping[str, int]
    environment: str
    word: str = field(default_factory=_stamp)

    def model(self, behaviour: str = "plain") -> str:
        """The alias whose provider behaves so; the behaviours are those of the rig."""
        return f"over-{self.kind}-{behaviour}"

    def others(self) -> "list[Place]":
        """The same cell over each other kind of provider."""
        return [dataclasses.replace(self, kind=kind) for kind in APIS if kind != self.kind]

    def pausing(self, behaviour: str, api: str) -> str:
        """A behaviour after which a model is left alone, under a name that nobody else asks for."""
        return f"{behaviour}-{api}-{self.environment}"

    def asked(self) -> list[Fields]:
        """The bodies that the provider got with the word of this cell in them, the oldest first."""
        return [json.loads(entry["body"]) for entry in self.entries()]

    def entries(self) -> list[Fields]:
        """What the provider keeps of the requests with the word of this cell in them, the oldest first."""
        with closing(
            http.client.HTTPConnection("127.0.0.1", self.ports[self.kind], timeout=PATIENCE)
        ) as connection:
            connection.request("GET", "/_mock/requests?last=40")
            told = json.loads(connection.getresponse().read())["requests"]
        return sorted((entry for entry in told if self.word in entry["body"]), key=lambda entry: entry["at"])


def eventually(holds: Callable[[], bool], what: str) -> None:
    """Wait until `holds`. Fails with `what` when that takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(what)
        time.sleep(0.02)


def same(found: object, wanted: object) -> None:
    """Fail with both sides unless they are equal: a plain `assert` would not say them."""
    if found != wanted:
        raise AssertionError(f"found {found!r}, wanted {wanted!r}")


def holds(condition: object, what: str) -> None:
    """Fail with `what` unless the condition is true."""
    if not condition:
        raise AssertionError(what)
