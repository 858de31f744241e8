"""The configuration tree: every setting with its type, default, unit and sentence.

A Python attribute has the name it has in the file. Sections are frozen, unknown keys are errors, and keys
are `Secret`, which never shows itself. Rules that need only one section stand here; those that look across
sections are in `consistency`. The reference page is made from this tree, so a setting that is not
described cannot exist. Sections hold data only: what to do with it is decided elsewhere.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from proxy.config import fields
from proxy.config.fields import (
    Allowed,
    Body,
    ClientName,
    Dialects,
    DropParams,
    Headers,
    ModelName,
    Name,
    Origin,
    Port,
    Positive,
    RedisUrl,
    ServerUrl,
    Url,
    Version,
    Wait,
    listed,
)
from proxy.config.log import Log
from proxy.config.pricing import Costs, Price
from proxy.config.resilience import (
    AdaptiveConcurrency,
    Health,
    Overload,
    Queue,
    Retry,
    TimeoutOverrides,
    Timeouts,
)
from proxy.config.section import Section
from proxy.config.storage import Responses
from proxy.config.traces import Traces
from proxy.config.translation import Quirks, Translation
from proxy.config.units import ClientKey, Count, Derived, Duration, Number, ProviderKey, Size
from proxy.profiles import Kind

Strategy = Literal["weighted", "ordered", "least_busy", "least_latency"]
Window = Literal["smooth", "strict"]
OnOutage = Literal["share", "deny", "allow"]
ReserveOutput = Literal["p90", "max_tokens", "none"]


class Listen(Section):
    """The client port: `/v1` and the probes."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on for clients.")
    port: Port = Field(default=8080, description="Port for clients; 0 picks a free one.")
    keep_alive: Wait = Field(
        default=120.0,
        description="How long an idle client connection is kept; longer than a load balancer keeps it.",
    )
    workers: Positive = Field(
        default=1, description="Processes that share the client port, each a replica of its own."
    )


class Operations(Section):
    """The operations port: probes, metrics and administration. Keep it away from clients."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on for operators.")
    port: Port = Field(
        default=9090,
        description="Port for operators; worker i has this port + i to itself; 0 picks free ones.",
    )
    token: ClientKey | None = Field(
        default=None, description="What operators call with, as a bearer token; the probes want none."
    )


class Redis(Section):
    """Where the replicas share what they know."""

    url: RedisUrl = Field(
        default="embedded",
        repr=False,
        description="`embedded` starts a private server; else the URL of a Redis or Valkey "
        "(`redis://`, `rediss://`, `unix://`, `redis+sentinel://`, `redis+cluster://`). "
        "`$APEX_REDIS_URL` goes before it.",
    )
    responses_url: ServerUrl | None = Field(
        default=None,
        repr=False,
        description="Another server for stored responses alone; else they are kept at `url`.",
    )
    embedded_dir: Path | None = Field(
        default=None,
        description="Folder in which the embedded server keeps its data over a restart; without it, "
        "nothing is kept.",
    )
    embedded_memory: Annotated[Size, Field(ge=16 * 1024**2)] = Field(
        default=256 * 1024**2, description="The most memory the embedded server may use."
    )
    min_replicas: Positive = Field(
        default=1,
        description="While Redis is away, limits are divided by the replicas last seen alive, but by no "
        "fewer than this. Set it to the most replicas there may be.",
    )
    expected_replicas: Positive | None = Field(
        default=None,
        description="How many replicas there should be at least: with fewer an alert fires. Unless given it "
        "is `min_replicas`; a cluster that grows and shrinks with its load says the least.",
    )


class Limits(Section):
    """How much is allowed. A limit that is left out does not exist."""

    requests_per_minute: Allowed | None = Field(default=None, description="Requests per minute.")
    tokens_per_minute: Allowed | None = Field(
        default=None, description="Input and output tokens together, per minute."
    )
    concurrency: Allowed | None = Field(default=None, description="Requests in flight at one time.")
    burst: Allowed | None = Field(
        default=None, description="Requests at once after a pause; the per-minute figure unless given."
    )
    burst_tokens: Allowed | None = Field(
        default=None, description="Tokens at once after a pause; the per-minute figure unless given."
    )
    window: Window = Field(
        default="smooth",
        description="`smooth` admits at most burst + rate x t in any time t; `strict` never admits more "
        "than the per-minute figure in any 60 seconds.",
    )
    on_outage: OnOutage = Field(
        default="share",
        description="While Redis is away: `share` allows each replica its part of the limit, `deny` "
        "refuses, `allow` does not limit.",
    )

    @model_validator(mode="after")
    def _bursts_have_rates(self) -> Self:
        if self.burst is not None and self.requests_per_minute is None:
            raise ValueError("`burst` only together with `requests_per_minute`")
        if self.burst_tokens is not None and self.tokens_per_minute is None:
            raise ValueError("`burst_tokens` only together with `tokens_per_minute`")
        return self


class Client(Section):
    """Somebody who may call the proxy."""

    name: ClientName = Field(description="Its name in logs and metrics; each name once.")
    keys: Annotated[tuple[ClientKey, ...], BeforeValidator(listed)] = Field(
        min_length=1,
        description="The keys it may call with, each at least 8 characters; several while rotating; "
        "`key:` for one.",
    )
    models: Annotated[tuple[ModelName, ...], BeforeValidator(listed)] = Field(
        default=("*",),
        description="The models it may use, by alias; `*` and `?` stand for any text and any character.",
    )
    allow_direct: bool = Field(
        default=False, description="Whether it may address any provider as `model#provider`."
    )
    limits: Limits | None = Field(default=None, description="Limits over all its requests.")
    model_limits: Mapping[ModelName, Limits] = Field(
        default={}, description="Further limits for single models, by alias."
    )

    @model_validator(mode="before")
    @classmethod
    def _one_key(cls, data: object) -> object:
        return fields.plural(data, "key", "keys")


class ApiKey(Section):
    """A provider's key. A plain string stands for one without limits of its own."""

    key: ProviderKey = Field(description="The key itself; write it as `${NAME}`.")
    limits: Limits | None = Field(
        default=None, description="What this key allows; goes before the provider's `limits`."
    )

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, data: object) -> object:
        return data if isinstance(data, dict | ApiKey) else {"key": data}


class Provider(Section):
    """An account with somebody who answers requests."""

    kind: Annotated[Kind, Derived("by host")] = Field(
        default="generic",
        description="What it is. Left out, it is known by the host of `base_url`, else `generic`: any "
        "server with the OpenAI chat dialect.",
    )
    base_url: Annotated[Url, Derived("by kind")] = Field(
        description="Where it answers; may be left out for every kind but `generic`. Azure: a resource, "
        "a deployment URL, a base ending with `/models`, or a template with `:name` and `:model`."
    )
    name: Name | None = Field(
        default=None, description="The Azure resource that `:name` in `base_url` stands for."
    )
    api_version: Version | None = Field(
        default=None,
        description="Azure's `api-version`; else the one in `base_url`, else the kind's own.",
    )
    api_keys: Annotated[tuple[ApiKey, ...], BeforeValidator(listed)] = Field(
        default=(),
        description="Its keys, between which requests are spread: strings, or `{key, limits}`; `api_key:` "
        "for one. Without any, no key is sent.",
    )
    limits: Limits | None = Field(default=None, description="Limits for each of its keys.")
    reserve_output: ReserveOutput = Field(
        default="p90",
        description="How much output a token limit charges ahead: `p90`, what nine of ten replies have "
        "stayed under, `max_tokens`, the client's own cap, or `none`. Corrected when the reply is over.",
    )
    dialects: Annotated[Dialects, Derived("by kind")] = Field(
        default=("chat",), description="What it speaks; by its kind unless given."
    )
    headers: Headers = Field(
        default={}, repr=False, description="Headers added to every request; for instance an organisation."
    )
    extra_body: Body = Field(
        default={}, repr=False, description="Fields added to every request body, over what the client sent."
    )
    drop_params: DropParams = Field(
        default=(), description="Fields taken out of every request body, because it refuses them."
    )
    quirks: Quirks = Field(
        default=Quirks(), description="What its models take, where that differs from their kind."
    )
    timeouts: TimeoutOverrides | None = Field(default=None, description="Timeouts of its own.")

    @model_validator(mode="before")
    @classmethod
    def _by_kind(cls, data: object) -> object:
        return fields.with_kind(fields.plural(data, "api_key", "api_keys"))

    @model_validator(mode="after")
    def _one_auth_header(self) -> Self:
        fields.only_auth(self.headers, self.api_keys)
        return self


class Entry(Section):
    """One place where a model is answered: a provider, and what differs there for this model."""

    provider: Name | None = Field(
        default=None,
        description="The provider, by its name in `providers`; any name, or none, with `base_url`.",
    )
    model: Annotated[ModelName, Derived("the alias")] = Field(description="The model's name there.")
    weight: Annotated[Number, Field(gt=0, le=1_000_000)] = Field(
        default=1.0, description="Its share of the requests among entries of the same priority."
    )
    priority: Positive = Field(
        default=1, description="Lower is tried first; the next priority only when nothing is left in it."
    )
    kind: Kind | None = Field(default=None, description="As of a provider; for an entry with `base_url`.")
    base_url: Url | None = Field(
        default=None, description="Instead of the provider's, whose keys are then not sent either."
    )
    name: Name | None = Field(default=None, description="Instead of the provider's.")
    api_version: Version | None = Field(default=None, description="Instead of the provider's.")
    api_keys: Annotated[tuple[ApiKey, ...], BeforeValidator(listed)] = Field(
        default=(), description="Instead of the provider's; `api_key:` for one."
    )
    dialects: Dialects | None = Field(default=None, description="Instead of the provider's.")
    headers: Headers = Field(default={}, repr=False, description="Added to the provider's, and over them.")
    extra_body: Body = Field(default={}, repr=False, description="Added to the provider's, and over them.")
    drop_params: DropParams = Field(default=(), description="Added to the provider's.")
    quirks: Quirks = Field(default=Quirks(), description="Added to the provider's, and over them.")
    price: Price | None = Field(default=None, description="What it costs there; else it is looked up.")

    @model_validator(mode="before")
    @classmethod
    def _one_key(cls, data: object) -> object:
        return fields.plural(data, "api_key", "api_keys")

    @model_validator(mode="after")
    def _one_auth_header(self) -> Self:
        fields.only_auth(self.headers, self.api_keys)
        return self


class Model(Section):
    """A model as clients name it."""

    providers: tuple[Entry, ...] = Field(min_length=1, description="Where it is answered.")
    strategy: Strategy = Field(
        default="weighted",
        description="How requests spread within a priority: by weight, in the order written, to the entry "
        "with the fewest requests in flight over the cluster for its weight, or to the one that answers "
        "soonest (time to first token, times the requests in flight).",
    )
    limits: Limits | None = Field(default=None, description="Limits over all requests for this model.")
    timeouts: TimeoutOverrides | None = Field(
        default=None, description="Timeouts of its own; they go before the provider's."
    )


class Bounds(Section):
    """How much the proxy takes from a client or a provider before it refuses."""

    body: Annotated[Size, Field(ge=1024)] = Field(
        default=32 * 1024**2, description="Largest request body; a larger one is refused while it is read."
    )
    header_block: Annotated[Size, Field(ge=1024)] = Field(
        default=32 * 1024, description="Largest block of request headers."
    )
    json_depth: Annotated[Count, Field(ge=8, le=512)] = Field(
        default=128, description="Deepest nesting of a JSON body."
    )
    header_read: Wait = Field(default=10.0, description="How long a client may take to send its headers.")
    body_read: Wait = Field(default=60.0, description="How long a client may take to send its body.")
    reply: Annotated[Size, Field(ge=1024)] = Field(
        default=64 * 1024**2, description="Largest reply of a provider that is not a stream."
    )


class Cors(Section):
    """Which web pages may call the proxy from a browser."""

    origins: Annotated[tuple[Origin, ...], BeforeValidator(listed)] = Field(
        min_length=1,
        description="Their origins, such as `https://app.example.com`; `*` for every page. No other page may "
        "open a WebSocket either.",
    )
    max_age: Duration = Field(
        default=600.0, description="How long a browser may remember the answer to its preflight."
    )


class Config(Section):
    """The whole configuration."""

    listen: Listen = Field(default=Listen(), description="The client port.")
    operations: Operations = Field(default=Operations(), description="The operations port.")
    redis: Redis = Field(default=Redis(), description="Where the replicas share what they know.")
    clients: tuple[Client, ...] = Field(default=(), description="Who may call the proxy.")
    providers: Mapping[Name, Provider] = Field(default={}, description="Who answers, by a name of your own.")
    models: Mapping[ModelName, Model] = Field(
        default={}, description="What clients may ask for, by the alias they use."
    )
    timeouts: Timeouts = Field(default=Timeouts(), description="How long the proxy waits for a provider.")
    bounds: Bounds = Field(default=Bounds(), description="How much the proxy takes before it refuses.")
    cors: Cors | None = Field(
        default=None, description="Which web pages may call the proxy; none unless given."
    )
    retry: Retry = Field(default=Retry(), description="How often a request is tried again.")
    health: Health = Field(
        default=Health(), description="When a target is left alone, and how it comes back."
    )
    adaptive_concurrency: AdaptiveConcurrency = Field(
        default=AdaptiveConcurrency(), description="Holding back from a target that has too much to do."
    )
    queue: Queue = Field(
        default=Queue(), description="Where requests wait when there is nobody to call at the moment."
    )
    responses: Responses = Field(
        default=Responses(), description="How responses are stored for their clients."
    )
    translation: Translation = Field(
        default=Translation(), description="Between dialects: what may be lost on the way."
    )
    overload: Overload = Field(default=Overload(), description="When a replica has enough.")
    costs: Costs = Field(default=Costs(), description="What requests cost.")
    drain_grace: Duration = Field(
        default=5.0,
        description="How long requests are still taken after SIGTERM, while the replica says that it is not "
        "ready: until load balancers have noticed.",
    )
    drain_timeout: Duration = Field(
        default=120.0, description="How long requests in flight may go on after that."
    )
    log: Log = Field(default=Log(), description="What the program says about itself.")
    traces: Traces = Field(default=Traces(), description="Where traces go; nowhere unless given.")

    @model_validator(mode="before")
    @classmethod
    def _aliases(cls, data: object) -> object:
        return fields.with_models(data)
