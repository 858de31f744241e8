"""The sections that say how the proxy lives with trouble: timeouts, retries, health, queue, overload.

Like all of the tree, they hold data only. See `settings`.
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from proxy.config.fields import Positive, Wait
from proxy.config.section import Section
from proxy.config.units import Count, Duration, Number, Size


class TimeoutOverrides(Section):
    """The timeouts that differ from the general ones; those left out stay as they are."""

    connect: Wait | None = Field(default=None, description="Overrides `timeouts.connect`.")
    first_token: Wait | None = Field(default=None, description="Overrides `timeouts.first_token`.")
    total: Wait | None = Field(
        default=None,
        description="Overrides `timeouts.total`. A provider's own bounds each attempt there; where it is "
        "longer, all requests for a model that it serves have as long.",
    )
    idle: Wait | None = Field(default=None, description="Overrides `timeouts.idle`.")
    max_stream: Wait | None = Field(default=None, description="Overrides `timeouts.max_stream`.")


class Timeouts(Section):
    """How long the proxy waits for a provider."""

    connect: Wait = Field(default=5.0, description="To connect, TLS included, for each attempt.")
    first_token: Wait = Field(default=60.0, description="Streams: to the first content, for each attempt.")
    total: Wait = Field(
        default=600.0,
        description="The whole request with all its attempts; for a stream, until its first content.",
    )
    idle: Wait = Field(default=60.0, description="Streams: between two events after the first content.")
    max_stream: Wait = Field(default=3600.0, description="Streams: the longest life of one.")


class Retry(Section):
    """How often a request is tried again."""

    attempts: Annotated[Count, Field(ge=1, le=10)] = Field(
        default=3, description="The most attempts for one request, over all providers."
    )
    budget: Annotated[Number, Field(ge=0, le=1)] = Field(
        default=0.2,
        description="The share of requests that may be tried a second time at the same target, when no "
        "other is left.",
    )


class Health(Section):
    """When a target is left alone, and how it comes back."""

    failures: Positive = Field(
        default=5, description="So many failures in a row, over all replicas, open a target's circuit."
    )
    failure_rate: Annotated[Number, Field(gt=0, le=1)] = Field(
        default=0.5, description="So large a part of the requests within `window` opens it as well."
    )
    failure_rate_requests: Positive = Field(
        default=20, description="The fewest requests within `window` that make a failure rate."
    )
    window: Wait = Field(default=10.0, description="The time in which the failure rate is counted.")
    max_ejected: Annotated[Number, Field(ge=0, le=1)] = Field(
        default=0.5,
        description="The largest part of a model's targets that failure rates may keep away; failures in a "
        "row always do.",
    )
    ejection: Wait = Field(
        default=5.0, description="How long the first ejection lasts; the n-th in a row lasts n times as long."
    )
    ejection_cap: Wait = Field(default=300.0, description="The longest ejection.")
    forgive: Wait = Field(
        default=60.0, description="For each such time without an ejection, one is forgotten."
    )
    probe_lease: Annotated[Wait, Field(ge=1)] = Field(
        default=10.0,
        description="How long a probe outlives its replica: after this another may try. Renewed while the "
        "probe is on its way.",
    )
    slow_start: Duration = Field(
        default=30.0,
        description="In this time a target that came back goes from `slow_start_from` of its share to all.",
    )
    slow_start_from: Annotated[Number, Field(gt=0, le=1)] = Field(
        default=0.1, description="The part of its requests that a target gets when it has just come back."
    )
    back_off: Wait = Field(
        default=1.0,
        description="How long a key and model are left alone after a 429 or 529 that gives no time; doubled "
        "for each in a row, less up to half by lot.",
    )
    back_off_cap: Wait = Field(default=60.0, description="The longest such wait.")
    hint_cap: Wait = Field(
        default=300.0, description="The longest wait that a provider may ask for; then it is tried again."
    )
    quarantine: Wait = Field(
        default=300.0,
        description="How long a key is left alone that was refused (401, 402; 403 for the one model); then "
        "one request tries it again.",
    )

    @model_validator(mode="after")
    def _caps_are_caps(self) -> Self:
        for name in ("ejection", "back_off"):
            if getattr(self, name) > getattr(self, f"{name}_cap"):
                raise ValueError(f"`{name}` at most `{name}_cap`")
        return self


class AdaptiveConcurrency(Section):
    """How far each replica holds back from a target that has too much to do.

    Signs of that are 429, 503, 529 and no first token in time. A target that gives none is not limited.
    """

    least: Positive = Field(default=4, description="The fewest requests in flight that are always allowed.")
    ratio: Annotated[Number, Field(gt=0, lt=1)] = Field(
        default=0.9, description="What is left of the requests in flight after such a sign."
    )
    most: Positive = Field(
        default=1_000, description="When so many are allowed again, the target is not limited any more."
    )

    @model_validator(mode="after")
    def _least_is_less(self) -> Self:
        if self.least > self.most:
            raise ValueError("`least` at most `most`")
        return self


class Queue(Section):
    """Where requests wait when every target of a model is backing off or full."""

    max_wait: Duration = Field(
        default=2.0,
        description="The longest that a request waits; 0 refuses at once, or, where it may be a probe, "
        "when that was answered (0.1 s).",
    )
    max_length: Positive = Field(
        default=1_000,
        description="The most requests that wait on one replica. Beyond it the client that has most of them "
        "gives one up.",
    )


class Overload(Section):
    """When a replica has enough: beyond these bounds requests are refused at once, with 503."""

    max_in_flight: Positive = Field(default=2_000, description="The most requests in flight on one replica.")
    max_bytes: Annotated[Size, Field(ge=1024**2)] = Field(
        default=1024**3, description="The most bytes of request bodies in flight on one replica."
    )
    max_lag: Wait = Field(
        default=1.0, description="How late the event loop may be before new requests are refused."
    )
