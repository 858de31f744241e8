import msgspec
import pytest
from fakes.chats import request
from fakes.configs import config
from fakes.providers import Answer, ScriptedReply
from fakes.scenes import Scene
from fakes.speech import chat
from fakes.translations import translation
from fakes.virtual_loop import run

from metrics.record import Attempt
from proxy.answers import (
    answer_headers,
    broken,
    go_duration,
    identity_headers,
    limit_headers,
    moment,
    refusal_headers,
    status_of,
    stream_headers,
)
from proxy.errors import Refusal
from proxy.exchange import Exchange, Thread, Way
from proxy.wire import envelope
from proxy.wire.dialects import CODECS
from proxy.wire.model import Dialect, Endpoint
from ratelimit.quota import Decision, Room


async def _exchange(streamed: bool, dialect: Dialect) -> Exchange:
    scene = Scene(config({"a": 1}), {})
    exchange = scene.exchange(b"")
    exchange.envelope = envelope.read(request(stream=streamed), 16)
    exchange.target = scene.targets[0]
    exchange.voice = CODECS[dialect]
    exchange.attempts.append(Attempt("a/a-model", "a", 0.0))
    return exchange


def exchanged(*, streamed: bool = False, dialect: Dialect = Dialect.CHAT) -> Exchange:
    """A request of a client of `dialect` that is being tried at its first target."""
    return run(_exchange(streamed, dialect))


def test_identity() -> None:
    """Which request, how many attempts, and who answers as soon as that is known."""
    exchange = exchanged()
    number = exchange.request_id.encode()
    assert identity_headers(exchange) == [
        (b"x-request-id", number),
        (b"request-id", number),
        (b"x-apex-attempts", b"1"),
        (b"x-apex-target", b"a/a-model"),
    ]
    assert len(identity_headers(msgspec.structs.replace(exchange, target=None))) == 3


def test_an_early_stream_head_does_not_say_who_answers() -> None:
    """Before content another target may still answer."""
    exchange = exchanged(streamed=True)
    assert not [name for name, _ in stream_headers(exchange) if name.startswith(b"x-apex")]
    exchange.committed = True
    headers = dict(stream_headers(exchange))
    assert headers[b"x-apex-target"] == b"a/a-model"
    assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert headers[b"cache-control"] == b"no-cache"


@pytest.mark.parametrize("streamed", [False, True])
def test_of_the_providers_headers_few_pass(streamed: bool) -> None:
    """Its request id and timing are anybody's business, the rest is not; garbage is left out."""
    reply = ScriptedReply(
        Answer(
            headers={
                "x-request-id": "up-1",
                "openai-processing-ms": "5",
                "openai-version": "a\x00b",
                "openai-organization": "secret",
                "set-cookie": "secret",
            }
        )
    )
    headers = answer_headers(exchanged(streamed=streamed), reply)
    assert (b"x-upstream-request-id", b"up-1") in headers
    assert (b"openai-processing-ms", b"5") in headers
    assert {b"openai-version", b"openai-organization", b"set-cookie"}.isdisjoint(dict(headers))


@pytest.mark.parametrize(
    ("after", "again", "expected"),
    [
        (None, None, {}),
        (1.0, None, {b"retry-after": b"1", b"retry-after-ms": b"1000"}),
        (1.2, None, {b"retry-after": b"2", b"retry-after-ms": b"1200"}),
        (0.0001, None, {b"retry-after": b"1", b"retry-after-ms": b"1"}),
        (None, False, {b"x-should-retry": b"false"}),
        (None, True, {b"x-should-retry": b"true"}),
        (60.0, None, {b"retry-after": b"60", b"retry-after-ms": b"60000"}),
        (60.1, None, {b"retry-after": b"61", b"retry-after-ms": b"60100", b"x-should-retry": b"false"}),
        (545.0, True, {b"retry-after": b"545", b"retry-after-ms": b"545000", b"x-should-retry": b"false"}),
    ],
)
def test_when_to_come_back(after: float | None, again: bool | None, expected: dict[bytes, bytes]) -> None:
    """Whole seconds are rounded up, milliseconds exact; nobody comes back at once, or sleeps for long."""
    headers = dict(refusal_headers(Refusal(503, "No.", retry_after=after, should_retry=again)))
    assert headers == {b"content-type": b"application/json"} | expected


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-1.0, "0ms"),
        (0.0, "0ms"),
        (0.0004, "0ms"),
        (0.12, "120ms"),
        (0.9996, "1s"),
        (1.0, "1s"),
        (1.5, "1.5s"),
        (59.999, "59.999s"),
        (60.0, "1m0s"),
        (61.25, "1m1.25s"),
        (360.0, "6m0s"),
    ],
)
def test_durations_are_as_go_writes_them(seconds: float, said: str) -> None:
    """Milliseconds below a second, minutes above a minute: what clients of OpenAI parse."""
    assert go_duration(seconds) == said


def test_limits_are_told_in_openais_names() -> None:
    """Each dimension that is limited, in every answer of the request; nothing where nothing is."""
    exchange = exchanged()
    assert limit_headers(exchange) == []
    exchange.limited = Decision(True, requests=Room(60, 59, 1.0), concurrency=Room(5, 4, 0.0))
    requests = [
        (b"x-ratelimit-limit-requests", b"60"),
        (b"x-ratelimit-remaining-requests", b"59"),
        (b"x-ratelimit-reset-requests", b"1s"),
    ]
    assert limit_headers(exchange) == requests
    assert identity_headers(exchange)[-3:] == requests
    exchange.limited = Decision(False, tokens=Room(6000, -7, 0.25))
    assert limit_headers(exchange) == [
        (b"x-ratelimit-limit-tokens", b"6000"),
        (b"x-ratelimit-remaining-tokens", b"0"),
        (b"x-ratelimit-reset-tokens", b"250ms"),
    ]


def test_limits_are_told_in_anthropics_names() -> None:
    """Its SDK looks for them, and for a time instead of a duration."""
    exchange = exchanged(dialect=Dialect.MESSAGES)
    exchange.limited = Decision(True, requests=Room(60, 59, 1.5), tokens=Room(6000, -7, 60.0))
    assert limit_headers(exchange) == [
        (b"anthropic-ratelimit-requests-limit", b"60"),
        (b"anthropic-ratelimit-requests-remaining", b"59"),
        (b"anthropic-ratelimit-requests-reset", b"2027-01-15T08:00:02Z"),
        (b"anthropic-ratelimit-tokens-limit", b"6000"),
        (b"anthropic-ratelimit-tokens-remaining", b"0"),
        (b"anthropic-ratelimit-tokens-reset", b"2027-01-15T08:01:00Z"),
    ]


def test_moments_are_rounded_up() -> None:
    """Who comes back at that time does not come too early."""
    assert moment(0) == "1970-01-01T00:00:00Z"
    assert moment(1_800_000_000.001) == "2027-01-15T08:00:01Z"


def test_what_was_lost_on_the_way_is_told() -> None:
    """By the way that was taken in the end; nothing where nothing was."""
    exchange = exchanged()
    for body, said in ((chat(), None), (chat(seed=1, logit_bias={"1": 1}), b"dropped=seed,logit_bias")):
        exchange.way = Way(Endpoint.MESSAGES, translation("chat", "messages", body), native=False)
        assert dict(identity_headers(exchange)).get(b"x-apex-warnings") == said


@pytest.mark.parametrize(
    ("outcome", "said"),
    [(None, None), ("stored", None), ("deferred", b"deferred"), ("too_large", b"too_large")],
)
def test_what_became_of_storing_is_told_where_it_matters(outcome: str | None, said: bytes | None) -> None:
    """A response that is stored needs no word."""
    exchange = exchanged()
    exchange.thread = Thread(outcome=outcome)
    assert dict(identity_headers(exchange)).get(b"x-apex-store") == said


@pytest.mark.parametrize(
    ("dialect", "code", "status"),
    [
        (Dialect.MESSAGES, "overloaded", 529),
        (Dialect.MESSAGES, "no_target_available", 503),
        (Dialect.CHAT, "overloaded", 503),
        (Dialect.RESPONSES, "overloaded", 503),
    ],
)
def test_overload_has_its_own_status_at_anthropic(dialect: Dialect, code: str, status: int) -> None:
    """Its SDK knows 529."""
    assert status_of(exchanged(dialect=dialect), Refusal(503, "No.", code=code)) == status


def test_a_stream_that_breaks_ends_as_it_began() -> None:
    """What the client heard of a reply decides; before that the dialect alone."""
    exchange = exchanged(streamed=True, dialect=Dialect.RESPONSES)
    refusal = Refusal(502, "It broke.")
    early = broken(exchange, refusal)
    assert early == exchange.voice.broken(refusal, exchange.request_id)
    reply = translation("responses", "chat", {"model": "m", "input": "Hi", "stream": True}).stream()
    exchange.reply = reply
    assert broken(exchange, refusal) == early
    reply.feed(b'data: {"choices": [{"index": 0, "delta": {"content": "Hi"}}]}\n\n')
    exchange.committed = True
    assert b"Hi" in broken(exchange, refusal)


@pytest.mark.parametrize(
    ("cost", "wanted", "said"),
    [(0.0000125, True, b"0.000013"), (1.5, True, b"1.500000"), (None, True, None), (1.5, False, None)],
)
def test_the_cost_is_told_where_that_is_wished(cost: float | None, wanted: bool, said: bytes | None) -> None:
    """In dollars, to a millionth."""

    async def scenario() -> Exchange:
        return Scene(config({"a": 1}, costs={"header": wanted}), {}).exchange(b"")

    exchange = run(scenario())
    exchange.record.cost = cost
    assert dict(identity_headers(exchange)).get(b"x-apex-cost") == said
