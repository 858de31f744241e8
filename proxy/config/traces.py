"""The section that says where traces go."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from proxy.config.fields import Headers, Url, Wait
from proxy.config.section import Section
from proxy.config.units import Number

PATH = "/v1/traces"


class Traces(Section):
    """Where a span of every request and of each of its attempts goes, by OpenTelemetry.

    It needs the extra, `pip install '.[traces]'` where the proxy is installed from.
    [operations.md](operations.md#traces) has the spans.
    """

    endpoint: Url | None = Field(
        default=None,
        description="A collector that takes OTLP over HTTP, such as `http://localhost:4318`; `/v1/traces` is "
        "added where it is not there. Nothing is traced unless given.",
    )
    headers: Headers = Field(
        default={}, repr=False, description="Headers sent to it, for instance a key; write it as `${NAME}`."
    )
    sample: Annotated[Number, Field(ge=0, le=1)] = Field(
        default=1.0,
        description="The share of requests that are traced. Where a caller's `traceparent` says whether one "
        "is, that decides.",
    )
    service_name: str = Field(
        default="apex-ai-proxy",
        min_length=1,
        description="The name under which they appear (`service.name`).",
    )
    timeout: Wait = Field(
        default=10.0,
        description="How long one export may take, with all that is tried again; then its spans are dropped.",
    )

    @model_validator(mode="after")
    def _headers_have_a_place(self) -> Self:
        if self.headers and self.endpoint is None:
            raise ValueError("`headers` only together with `endpoint`")
        return self

    @property
    def url(self) -> str:
        """Where exports are posted to; "" where nothing is traced."""
        base = (self.endpoint or "").rstrip("/")
        return base if not base or base.endswith(PATH) else base + PATH
