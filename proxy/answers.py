"""The headers of answers: which request this is, who answered it, and when to come back.

Of a provider's own headers only a short list passes: whatever else it says of itself, of its limits or
of its operator's account is nobody's business downstream.
"""

import datetime as dt
import math

from proxy.errors import Refusal
from proxy.exchange import Exchange, Headers
from proxy.upstream import Reply
from proxy.wire.model import Dialect

_PASSED_BACK = {
    "x-request-id": b"x-upstream-request-id",
    "request-id": b"x-upstream-request-id",
    "openai-processing-ms": b"openai-processing-ms",
    "openai-version": b"openai-version",
}
_JSON = (b"content-type", b"application/json")

LONGEST_SLEEP = 60.0
"""Seconds for which an SDK may sleep before it asks again; of a longer wait its caller is told at once.

Anthropic's sleeps for whatever `retry-after` says, beside its own timeout, OpenAI's for up to two minutes.
Older ones of both heed nothing above a minute, and come back within seconds.
"""

_SAID = b"limit", b"remaining", b"reset"
_OPENAI = [[b"x-ratelimit-%b-%b" % (said, what) for said in _SAID] for what in (b"requests", b"tokens")]
_ANTHROPIC = [
    [b"anthropic-ratelimit-%b-%b" % (what, said) for said in _SAID] for what in (b"requests", b"tokens")
]
"""How limits are called, of requests and of tokens."""


def limit_headers(exchange: Exchange) -> Headers:
    """What is left of the client's own limits, in its vendor's names; nothing where it has none.

    OpenAI says how long until a limit is whole again, Anthropic when (RFC 3339).
    """
    decision = exchange.limited
    if decision is None:
        return []
    anthropic = exchange.voice.dialect is Dialect.MESSAGES
    requests, tokens = _ANTHROPIC if anthropic else _OPENAI
    headers: Headers = []
    for (limit, remaining, reset), room in ((requests, decision.requests), (tokens, decision.tokens)):
        if room is None:
            continue
        until = moment(exchange.stamp.created + room.reset) if anthropic else go_duration(room.reset)
        headers.append((limit, b"%d" % room.limit))
        headers.append((remaining, b"%d" % max(0, room.remaining)))
        headers.append((reset, until.encode()))
    return headers


def moment(unix: float) -> str:
    """A Unix time as RFC 3339 in UTC, in whole seconds, rounded up."""
    return dt.datetime.fromtimestamp(math.ceil(unix), dt.UTC).isoformat().replace("+00:00", "Z")


def status_of(exchange: Exchange, refusal: Refusal) -> int:
    """The status in the caller's dialect: Anthropic says 529 where others say that they are overloaded."""
    if refusal.code == "overloaded" and exchange.voice.dialect is Dialect.MESSAGES:
        return 529
    return refusal.status


def broken(exchange: Exchange, refusal: Refusal) -> bytes:
    """The events that end a stream which broke: what was said of a reply so far decides how."""
    if exchange.committed and exchange.reply is not None:
        return exchange.reply.broken(refusal, exchange.request_id)
    return exchange.voice.broken(refusal, exchange.request_id)


def go_duration(seconds: float) -> str:
    """Seconds as Go writes a duration, the way OpenAI says resets: `120ms`, `1.5s`, `6m0s`."""
    milliseconds = max(0, round(seconds * 1000))
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    tail = f"{rest / 1000:g}s"
    return f"{minutes}m{tail}" if minutes else tail


def identity_headers(exchange: Exchange) -> Headers:
    """Which request this is, who answered it and after how many attempts."""
    request_id = exchange.request_id.encode()
    headers = [
        (b"x-request-id", request_id),
        (b"request-id", request_id),
        (b"x-apex-attempts", b"%d" % len(exchange.attempts)),
    ]
    if exchange.target is not None:
        headers.append((b"x-apex-target", exchange.target.label.encode()))
    if exchange.limited is not None:
        headers += limit_headers(exchange)
    if exchange.thread is not None and exchange.thread.outcome not in (None, "stored"):
        headers.append((b"x-apex-store", exchange.thread.outcome.encode()))
    if exchange.record.cost is not None and exchange.snapshot.config.costs.header:
        headers.append((b"x-apex-cost", b"%.6f" % exchange.record.cost))
    losses = exchange.way.passage.losses if exchange.way is not None else None
    if losses is not None and losses.fields:
        headers.append((b"x-apex-warnings", losses.header().encode()))
    return headers


def stream_headers(exchange: Exchange) -> Headers:
    """The head of an event stream. Sent before content, it cannot say yet who answers."""
    headers = identity_headers(exchange)
    if not exchange.committed:
        headers = [header for header in headers if not header[0].startswith(b"x-apex-")]
    return [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-cache"),
        (b"x-accel-buffering", b"no"),
        *headers,
    ]


def answer_headers(exchange: Exchange, reply: Reply) -> Headers:
    """The headers of a good answer: ours, and the few of the provider's that are anybody's business."""
    assert exchange.envelope is not None
    streamed = exchange.envelope.stream
    headers = stream_headers(exchange) if streamed else [_JSON, *identity_headers(exchange)]
    for name, ours in _PASSED_BACK.items():
        value = reply.headers.get(name)
        if value is not None and value.isascii() and value.isprintable():  # no server would write the rest
            headers.append((ours, value.encode("latin-1")))
    return headers


def refusal_headers(refusal: Refusal) -> Headers:
    """When to come back, if at all. `retry-after` is whole seconds rounded up, `retry-after-ms` exact.

    What has to wait for longer than `LONGEST_SLEEP` is not for the client's SDK to try again by itself.
    """
    headers, again = [_JSON], refusal.should_retry
    if refusal.retry_after is not None:
        milliseconds = max(1, round(refusal.retry_after * 1000))
        headers.append((b"retry-after", b"%d" % -(-milliseconds // 1000)))
        headers.append((b"retry-after-ms", b"%d" % milliseconds))
        again = False if milliseconds > LONGEST_SLEEP * 1000 else again
    if again is not None:
        headers.append((b"x-should-retry", b"true" if again else b"false"))
    return headers
