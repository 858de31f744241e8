"""Exchanges of a configuration, without a pipeline around them."""

import itertools
import random
from collections.abc import Callable

from proxy.clock import ManualClock
from proxy.config.settings import Config
from proxy.ends import Body, Kept
from proxy.exchange import Exchange, Head
from proxy.fleet import Fleet, snapshot
from proxy.reception import Reception
from proxy.redaction import Redactor
from proxy.tenants import Tenants
from proxy.wire import envelope
from proxy.wire.dialects import CODECS
from proxy.wire.model import DIALECT_OF, Endpoint

from .configs import CLIENT_KEY, MODEL

HEAD = Head(credential=CLIENT_KEY.encode(), content_type=b"application/json")


def fleet_of(made: Config) -> Fleet:
    """The fleet of a configuration, in which nothing has happened yet."""
    tenants = Tenants(made.clients, b"pepper")
    return Fleet(snapshot(made, tenants, 1_800_000_000), ManualClock(), random.Random(7))


def numbers() -> Callable[[], str]:
    """Ids of requests, in order."""
    count = itertools.count(1)
    return lambda: f"req_{next(count):024x}"


def opened(
    made: Config, body: bytes = b"", endpoint: Endpoint = Endpoint.CHAT, head: Head = HEAD
) -> Exchange:
    """An exchange that has just begun; with a `body`, one that has been read and routed to the one model."""
    fleet = fleet_of(made)
    reception = Reception(fleet, ManualClock(), random.Random(7), Redactor(()), numbers())
    exchange = reception.open(endpoint, CODECS[DIALECT_OF[endpoint]], head, Body(body), Kept())
    if body:
        exchange.envelope = envelope.read(body, 64)
        exchange.model = fleet.snapshot.models[MODEL]
    return exchange
