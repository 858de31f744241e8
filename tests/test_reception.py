import asyncio
import dataclasses
import random

import msgspec
import pytest
from fakes.configs import config
from fakes.exchanges import HEAD, fleet_of, numbers

from proxy.clock import ManualClock
from proxy.ends import Body, Kept
from proxy.exchange import Exchange
from proxy.reception import Reception
from proxy.redaction import Redactor
from proxy.tracing import Tracer
from proxy.wire.dialects import CODECS
from proxy.wire.model import Dialect, Endpoint


def reception(seed: int = 1) -> Reception:
    """A reception over a small fleet."""
    return Reception(fleet_of(config({"a": 1})), ManualClock(), random.Random(seed), Redactor(()), numbers())


def received(desk: Reception, of: Exchange | None = None) -> Exchange:
    """An exchange that it opens."""
    voice = CODECS[Dialect.MESSAGES]
    return desk.open(Endpoint.MESSAGES, voice, HEAD, Body(b"{}"), Kept(), of)


def test_an_exchange_has_an_id_of_its_own() -> None:
    """A number for the request, and 96 random bits for its reply."""
    desk = reception()
    first, second = received(desk), received(desk)
    assert len(first.stamp.token) == 24
    assert int(first.stamp.token, 16) >= 0
    assert [first.request_id, second.request_id] == ["req_" + "1".zfill(24), "req_" + "2".zfill(24)]


def test_it_begins_now_with_the_snapshot_of_now() -> None:
    """By the clock that never goes back; the reply says Unix time."""
    desk = reception()
    exchange = received(desk)
    assert exchange.record.began == desk.clock.monotonic()
    assert exchange.stamp.created == int(desk.clock.wall())
    assert exchange.snapshot is desk.fleet.snapshot
    assert (exchange.record.endpoint, exchange.voice.dialect) == ("messages", Dialect.MESSAGES)


def test_what_is_made_of_another_has_its_ids() -> None:
    """Its own record, and that one's id and stamp."""
    desk = reception()
    outer = received(desk)
    inner = received(desk, outer)
    assert inner.stamp is outer.stamp
    assert inner.record is not outer.record
    assert inner.request_id == outer.request_id


@pytest.mark.parametrize(
    ("given", "trace"),
    [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "0af7651916cd43dd8448eb211c80319c"),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", ""),
        ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", ""),
        ("not a trace", ""),
    ],
)
def test_a_callers_trace_is_noted_where_it_has_one(given: str, trace: str) -> None:
    """As W3C Trace Context writes it, and nothing that only looks like it."""
    head = msgspec.structs.replace(HEAD, forwarded=(("openai-beta", "x"), ("traceparent", given)))
    exchange = reception().open(Endpoint.CHAT, CODECS[Dialect.CHAT], head, Body(b"{}"), Kept())
    assert exchange.record.trace == trace


def test_with_traces_each_request_has_a_place_in_one() -> None:
    """In its caller's, or in one that begins here; what is made of another is in that one's."""
    given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    desk = dataclasses.replace(reception(), tracer=Tracer(1.0, random.Random(1)))
    own = received(desk)
    assert own.record.span is not None
    assert (own.record.trace, own.record.span.parent) == (own.record.span.trace, "")
    inner = received(desk, own)
    assert inner.record.trace == own.record.trace
    assert inner.record.span != own.record.span
    head = msgspec.structs.replace(HEAD, forwarded=(("traceparent", given),))
    joined = desk.open(Endpoint.CHAT, CODECS[Dialect.CHAT], head, Body(b"{}"), Kept())
    assert joined.record.span is not None
    assert (joined.record.trace, joined.record.span.parent) == (given[3:35], given[36:52])
    assert received(reception()).record.span is None


def test_what_is_said_is_kept_only_where_the_log_is_to_have_it() -> None:
    """A reload turns it on and off; by default nothing stands between an exchange and its client."""
    desk = reception()
    quiet = received(desk)
    assert quiet.record.bodies is None
    assert isinstance(quiet.sink, Kept)
    loud = Reception(
        fleet_of(config({"a": 1}, log={"bodies": True})), desk.clock, desk.draw, desk.redactor, numbers()
    )
    exchange = received(loud)
    asyncio.run(exchange.source.body())
    assert exchange.record.bodies is not None
    assert exchange.record.bodies() == {"body_in": "{}"}
