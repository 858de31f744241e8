"""A collector for traces: takes OTLP over HTTP on a socket of its own, in a thread, and keeps what came."""

import dataclasses
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

SERVER, CLIENT = 2, 3
"""Kinds of spans, as the protocol numbers them."""

UNSET, ERROR = 0, 2


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """One span, as it came; ids in hex digits, times in seconds."""

    name: str
    kind: int
    trace: str
    id: str
    parent: str
    status: int
    began: float
    ended: float
    attributes: dict[str, object]
    resource: dict[str, object]


class Collector:
    """Listens while its `with` block lasts. Answers with `status`, once `hold` is set."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.bodies: list[bytes] = []
        self.heads: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.hold = threading.Event()
        self.hold.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                collector.take(self)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    def take(self, request: BaseHTTPRequestHandler) -> None:
        """One export."""
        body = request.rfile.read(int(request.headers["content-length"]))
        self.hold.wait(10)
        self.paths.append(request.path)
        self.heads.append({name.lower(): value for name, value in request.headers.items()})
        self.bodies.append(body)
        request.send_response(self.status)
        request.send_header("content-length", "0")
        request.end_headers()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def spans(self) -> list[Told]:
        """All spans that came, by their begin; the longer of two first."""
        told = []
        for body in self.bodies:
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = {pair.key: _value(pair.value) for pair in group.resource.attributes}
                for scope in group.scope_spans:
                    told += [
                        Told(
                            span.name,
                            span.kind,
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            span.status.code,
                            span.start_time_unix_nano / 1e9,
                            span.end_time_unix_nano / 1e9,
                            {pair.key: _value(pair.value) for pair in span.attributes},
                            resource,
                        )
                        for span in scope.spans
                    ]
        return sorted(told, key=lambda span: (span.began, -span.ended))

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.hold.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _value(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind) if kind is not None else None
