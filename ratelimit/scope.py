"""Where limits live, and what is held of them.

A scope is what shares one hash tag in Redis, and so one script call: a client with its limits per model, a
model, or a provider key. Each of its limits has one key:

    rl:{<kind>:<tag>}:<smooth|strict>              the scope's own limit
    rl:{<kind>:<tag>}:<smooth|strict>:<model>      a client's limit for one model

The window is part of the name because a smooth level and a strict log cannot be told in each other's terms:
a limit whose window is changed starts anew. Every other change of a figure keeps what was used.
"""

import dataclasses
import enum
from collections.abc import Mapping

import msgspec

from ratelimit.gauge import Gauge
from ratelimit.quota import UNLIMITED, Decision, Demand, Quota

_FORBIDDEN = frozenset("{}")


class Kind(enum.StrEnum):
    """Whose limit it is: a client of the proxy, a public model, or a provider's key."""

    CLIENT = "client"
    MODEL = "model"
    KEY = "key"


@dataclasses.dataclass(frozen=True, slots=True)
class Limit:
    """One quota, the hash tag of its scope and the key its state lives under.

    `name` is for messages: "client acme, model gpt-4o".
    """

    tag: str
    key: str
    name: str
    quota: Quota
    gauge: Gauge = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gauge", Gauge.of(self.quota))


Limits = tuple[Limit, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Scope:
    """The limits under one hash tag, built once per config by `Scope.of`."""

    kind: Kind
    tag: str
    own: Limits
    per_model: Mapping[str, Limits]

    @classmethod
    def of(
        cls, kind: Kind, tag: str, quota: Quota, per_model: Mapping[str, Quota] | None = None, name: str = ""
    ) -> "Scope":
        """The scope of `tag`: a digest or a name without braces, which go into Redis as they are.

        `per_model` are a client's further limits by model. `name` replaces the tag in messages. Raises
        `ValueError` for a tag with a brace or none at all.
        """
        if not tag or _FORBIDDEN & set(tag):
            raise ValueError(f"a hash tag is not empty and has no braces: {tag!r}")
        whole, shown = f"{kind}:{tag}", f"{kind} {name or tag}"
        root = f"rl:{{{whole}}}:"
        own: Limits = () if quota.unlimited else (Limit(whole, f"{root}{quota.window}", shown, quota),)
        models = {
            model: (*own, Limit(whole, f"{root}{inner.window}:{model}", f"{shown}, model {model}", inner))
            for model, inner in (per_model or {}).items()
            if not inner.unlimited
        }
        return cls(kind, tag, own, models)

    @property
    def all(self) -> Limits:
        """Its own limit and those of all models."""
        return (*self.own, *(limits[-1] for limits in self.per_model.values()))

    def limits(self, model: str = "") -> Limits:
        """What limits a request for `model`: the scope's own limit and the model's. Empty: nothing."""
        return self.per_model.get(model, self.own)


class Reservation(msgspec.Struct, frozen=True):
    """What was taken of a scope, to be settled or released once; both are harmless twice.

    `limits` are those that were charged: empty where nothing limits the request.
    """

    id: str
    limits: Limits
    demand: Demand
    decision: Decision


class Refusal(msgspec.Struct, frozen=True):
    """Why nothing was taken. `cached` says that no store was asked: the last answer still holds."""

    limits: Limits
    demand: Demand
    decision: Decision
    cached: bool = False


def unlimited(demand: Demand) -> Reservation:
    """The reservation of a demand that nothing limits."""
    return Reservation("", (), demand, UNLIMITED)
