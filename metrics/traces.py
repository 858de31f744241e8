"""Where a record becomes spans, by OpenTelemetry, and how they get to a collector.

One span of the request (SERVER), and below it one of each attempt (CLIENT), made when the request is over,
with the ids that travelled upstream. They go out from a thread, in batches; what a collector does not take
is dropped and counted, and no request ever waits for it.

Names are those of OpenTelemetry's semantic conventions for GenAI, 0.1.0 (which are in development), and of
the general ones for errors, HTTP and servers. They define the client's side alone, so usage stands on
attempts only: who sums it up over a trace counts it once. What is ours is under `apex.`. Nothing that was
said is in a span, no header, and no text of a provider's.

Nobody imports this module but `proxy.exporting`, when traces are configured: its libraries are an extra.
"""

import functools
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

import requests
import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import AttributeValue

from metrics import catalogue
from metrics.instruments import REASONS
from metrics.readings import Reading
from metrics.record import BROKEN, CLIENT_GONE, CRASHED, Asked, Attempt, Record, Span

PENDING = 4096
"""Spans that wait for the collector; beyond that they are dropped."""

BATCH = 512
TOGETHER = 1.0
"""Spans of one export at the most, and seconds for which they wait for others."""

TURN = 8
PAUSE = 0.0005
"""Spans that are encoded at one go, some hundred microseconds in which the event loop may wait, and the
seconds between."""

CLOSING = 3.0
"""Seconds for the last exports when a replica ends."""

_OPERATIONS: Final[Mapping[str, str]] = MappingProxyType(
    {"chat": "chat", "responses": "chat", "messages": "chat", "embeddings": "embeddings"}
)
"""The conventions' name for what an endpoint does. Requests to others ask no model, and have no spans."""

_PROVIDERS: Final[Mapping[str, str]] = MappingProxyType({"mistral": "mistral_ai"})
"""The conventions' names of kinds of provider, where they differ from ours."""

_BLAMELESS = frozenset({"ok", "cancelled", "slow_client"})
"""How attempts end for which no provider is to blame."""

_OWN = TraceFlags(TraceFlags.SAMPLED)
_UNSET, _ERROR = Status(StatusCode.UNSET), Status(StatusCode.ERROR)

Attributes = dict[str, AttributeValue]


class _Paced(list[ReadableSpan]):
    """Spans that give other threads a turn every few: to encode them all takes as long as a hundred requests.

    Else the event loop would wait for the interpreter's switch interval, 5 ms, again and again meanwhile.
    """

    def __iter__(self) -> Iterator[ReadableSpan]:
        turn = threading.Event()  # nobody sets it
        for number, span in enumerate(super().__iter__()):
            if number % TURN == 0:
                turn.wait(PAUSE)
            yield span


class Outlet(SpanExporter):
    """The exporter, watched: what it loses is counted, and told once until it takes spans again.

    `why` says what the last answer was. Only the thread that exports calls `export`.
    """

    def __init__(self, exporter: SpanExporter, why: Callable[[], str] = lambda: "") -> None:
        self._exporter = exporter
        self._why = why
        self._log = structlog.get_logger("traces")
        self.taken = 0
        """Spans that were handed to it, whatever came of them."""
        self.lost = 0
        self.failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send `spans`; however long that takes."""
        self.taken += len(spans)
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(_Paced(spans))
        finally:
            self._judge(len(spans), taken=result is SpanExportResult.SUCCESS)
        return result

    def _judge(self, count: int, *, taken: bool) -> None:
        if not taken:
            self.lost += count
        if taken is self.failing:  # it is otherwise than it was
            self.failing = not taken
            if taken:
                self._log.info("traces_exported_again", dropped=self.lost)
            else:
                hint = "spans are dropped until the collector at `traces.endpoint` takes them; requests go on"
                self._log.warning("traces_not_exported", reason=self._why(), hint=hint)

    def shutdown(self) -> None:
        """Let go of it: what it waits for is given up."""
        self._exporter.shutdown()


class Traces:
    """Makes spans of records and has them exported, from `start` to `close`.

    `resource` says whose spans they are. `ahead` is what Unix time is ahead of the records' monotonic one.
    """

    def __init__(self, outlet: Outlet, resource: Resource, version: str, ahead: Callable[[], float]) -> None:
        self._outlet = outlet
        self._resource = resource
        self._scope = InstrumentationScope("apex-ai-proxy", version)
        self._ahead = ahead
        self._processor: BatchSpanProcessor | None = None
        self._given = 0
        self._lost = 0

    def start(self) -> None:
        """Start the thread that exports."""
        library = logging.getLogger("opentelemetry")
        if (
            not library.handlers
        ):  # else it would write on standard error; what it has to say is told by `Outlet`
            library.addHandler(logging.NullHandler())
        self._processor = BatchSpanProcessor(self._outlet, PENDING, TOGETHER * 1000, BATCH)

    @property
    def dropped(self) -> int:
        """Spans that reached no collector, since the start."""
        return self._lost + self._outlet.lost

    def read(self) -> Iterator[Reading]:
        """What is told at a scrape."""
        yield Reading(catalogue.TRACES_DROPPED, self.dropped)

    def observe(self, record: Record) -> None:
        """A request ended: leave its spans to the exporter. Never waits."""
        span, operation = record.span, _OPERATIONS.get(record.endpoint)
        if span is None or not span.sampled or operation is None or self._processor is None:
            return
        made = list(self._spans(record, span, operation))
        if self._given - self._outlet.taken + len(made) > PENDING:
            self._lost += len(made)
            return
        self._given += len(made)
        for one in made:
            self._processor.on_end(one)

    def close(self, patience: float = CLOSING) -> None:
        """Export what is left, within so many seconds; without a try where the last one failed."""
        if self._processor is None:
            return
        if self._outlet.failing:
            self._outlet.shutdown()
        ending = threading.Thread(target=self._processor.shutdown, name="traces-end", daemon=True)
        ending.start()
        ending.join(patience)
        if ending.is_alive():
            self._outlet.shutdown()
        self._processor = None

    def _spans(self, record: Record, span: Span, operation: str) -> Iterator[ReadableSpan]:
        """The span of a request, and those of the attempts that were sent."""
        ahead = self._ahead()
        own = _context(span.trace, span.id)
        yield ReadableSpan(
            name=f"{operation} {record.model}" if record.model else operation,
            context=own,
            parent=_context(span.trace, span.parent, remote=True) if span.parent else None,
            resource=self._resource,
            attributes=_of_request(record, operation),
            kind=SpanKind.SERVER,
            status=_ERROR if _failed(record) else _UNSET,
            start_time=_nanoseconds(record.began + ahead),
            end_time=_nanoseconds(record.began + record.duration + ahead),
            instrumentation_scope=self._scope,
        )
        for attempt in record.attempts:
            if attempt.asked is None:
                continue
            operation = _OPERATIONS.get(attempt.asked.endpoint, operation)
            attributes = _of_attempt(record, attempt, attempt.asked, operation)
            if attempt is record.attempts[-1]:
                attributes.update(_of_answer(record, attempt))
            yield ReadableSpan(
                name=f"{operation} {attempt.asked.model}",
                context=_context(span.trace, attempt.asked.span),
                parent=own,
                resource=self._resource,
                attributes=attributes,
                kind=SpanKind.CLIENT,
                status=_UNSET if attempt.outcome in _BLAMELESS else _ERROR,
                start_time=_nanoseconds(attempt.began + ahead),
                end_time=_nanoseconds(attempt.began + attempt.duration + ahead),
                instrumentation_scope=self._scope,
            )


def over_http(url: str, headers: Mapping[str, str], timeout: float) -> Outlet:
    """An outlet to a collector that takes OTLP over HTTP, with so many seconds for each export."""
    session, last = requests.Session(), [0]

    def note(response: requests.Response, *_: object, **__: object) -> None:
        last[0] = response.status_code

    def why() -> str:
        status, last[0] = last[0], 0
        return f"status {status}" if status else "no answer"

    session.hooks["response"].append(note)
    return Outlet(OTLPSpanExporter(url, headers=dict(headers), timeout=timeout, session=session), why)


def resource(service: str, version: str, replica: str) -> Resource:
    """Whose spans they are, with what `$OTEL_RESOURCE_ATTRIBUTES` says beside."""
    return Resource.create(
        {"service.name": service, "service.version": version, "service.instance.id": replica}
    )


def _of_request(record: Record, operation: str) -> Attributes:
    sent = record.outcome != CLIENT_GONE  # to those that left, no status was
    error = _error(record) if record.error else None
    return _known(
        {
            "gen_ai.operation.name": operation,
            "gen_ai.request.model": record.model or None,
            "gen_ai.request.stream": record.stream or None,
            "http.response.status_code": (sent and record.status) or None,
            "error.type": _error(record) if _failed(record) else None,
            "apex.request.id": record.request_id,
            "apex.client": record.client or None,
            "apex.endpoint": record.endpoint,
            "apex.target": record.target or None,
            "apex.attempts": len(record.attempts),
            "apex.outcome": record.outcome,
            "apex.error": error,
            "apex.ttft": record.ttft,
            "apex.queued": record.queued or None,
            "apex.cost": record.cost,
            "apex.losses": [f"{field} {treatment}" for field, treatment in record.losses] or None,
        }
    )


def _of_attempt(record: Record, attempt: Attempt, asked: Asked, operation: str) -> Attributes:
    host, port, provider = _place(asked.url, asked.kind, attempt.provider)
    status = attempt.outcome.removeprefix("status_")
    code = int(status) if status != attempt.outcome else 200 if attempt.outcome == "ok" else None
    return _known(
        {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": asked.model,
            "gen_ai.request.stream": record.stream or None,
            "server.address": host,
            "server.port": port,
            "http.response.status_code": code,
            "error.type": status if attempt.outcome not in _BLAMELESS else None,
            "apex.endpoint": asked.endpoint,
            "apex.provider": attempt.provider,
            "apex.target": attempt.target,
            "apex.outcome": attempt.outcome,
        }
    )


def _of_answer(record: Record, attempt: Attempt) -> Attributes:
    """What the last attempt says of the answer, as far as there was one.

    The conventions count tokens as we do: what is cached or thought is part of the whole.
    """
    tokens = record.tokens
    first = record.began + record.ttft - attempt.began if record.ttft is not None else None
    if tokens is None:
        return _known({"gen_ai.response.time_to_first_chunk": first})
    return _known(
        {
            "gen_ai.response.time_to_first_chunk": first,
            "gen_ai.usage.input_tokens": tokens.input,
            "gen_ai.usage.output_tokens": tokens.output,
            "gen_ai.usage.cache_read.input_tokens": tokens.cached or None,
            "gen_ai.usage.cache_write.input_tokens": tokens.written or None,
            "gen_ai.usage.reasoning.output_tokens": tokens.reasoning or None,
        }
    )


def _known(found: Mapping[str, AttributeValue | None]) -> Attributes:
    return {name: value for name, value in found.items() if value is not None}


def _failed(record: Record) -> bool:
    """Whether a request's span is an error: a server's are not where the status is below 500."""
    return record.status >= 500 or record.outcome in (BROKEN, CRASHED)


def _error(record: Record) -> str:
    """What went wrong, out of a closed set: a code may be a provider's."""
    return record.error if record.error in REASONS else str(record.status or "_OTHER")


@functools.lru_cache(maxsize=4096)
def _place(url: str, kind: str, provider: str) -> tuple[str, int, str]:
    """Host and port of a URL, and the conventions' name of who answers there.

    Of a kind that may be anybody it is the name that the operator has given.
    """
    parts = urlsplit(url)
    name = _PROVIDERS.get(kind, kind)
    if kind == "azure":
        name = "azure.ai.openai" if "/openai/" in parts.path else "azure.ai.inference"
    elif kind == "generic":
        name = provider
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80), name


def _context(trace: str, span: str, *, remote: bool = False) -> SpanContext:
    return SpanContext(int(trace, 16), int(span, 16), is_remote=remote, trace_flags=_OWN)


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1_000_000_000)
