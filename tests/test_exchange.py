from fakes.configs import config
from fakes.scenes import Scene
from fakes.virtual_loop import run

from metrics.record import Attempt
from proxy.exchange import Exchange, Head


async def _exchange() -> Exchange:
    return Scene(config({"a": 1}), {}).exchange(b"")


def test_an_exchange_tells_its_record() -> None:
    """The request id and the attempts are the record's own."""
    exchange = run(_exchange())
    exchange.attempts.append(Attempt("a/m", "a", 0.0))
    assert exchange.request_id == exchange.record.request_id
    assert exchange.request_id.startswith("req_")
    assert exchange.attempts is exchange.record.attempts
    assert not exchange.committed
    assert exchange.faults == []


def test_a_head_does_not_show_its_key() -> None:
    """The client's key is in no representation."""
    assert "canary" not in repr(Head(credential=b"canary"))
    assert "client-0123456789" not in repr(run(_exchange()))
