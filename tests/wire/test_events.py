from proxy.errors import Said
from proxy.wire.conversation import Seal
from proxy.wire.events import Added, Began, Closed, Collector, Counted, Event, Failed, Finished, Opened, Piece
from proxy.wire.model import Dialect, Usage


def collected(*events: Event) -> Collector:
    """What these events add up to."""
    collector = Collector()
    for event in events:
        collector.take(event)
    return collector


def test_a_reply_adds_up() -> None:
    """Blocks with their text, in order; the last count is right."""
    sealed = Closed(Seal(Dialect.MESSAGES, "m", "sig"))
    reply = collected(
        Began("m", Usage(9)),
        Opened("thinking"),
        Added("h"),
        Added("m"),
        sealed,
        Opened("tool", "1", "f"),
        Closed(),
        Counted(Usage(9, 1)),
        Counted(Usage(9, 2)),
        Finished("tool_use"),
    )
    assert reply.pieces == [
        Piece(Opened("thinking"), "hm", sealed),
        Piece(Opened("tool", "1", "f"), "", Closed()),
    ]
    assert (reply.began.model, reply.usage, reply.finished) == ("m", Usage(9, 2), Finished("tool_use"))
    assert reply.failed is None


def test_what_was_known_at_the_beginning_stays() -> None:
    """Until something else is known."""
    assert collected(Began("m", Usage(9))).usage == Usage(9)
    assert collected(Counted(Usage(3)), Began("m")).usage == Usage(3)


def test_a_stream_that_broke() -> None:
    """What had come of the open block is kept, and it is not whole."""
    reply = collected(Began(), Opened("text"), Added("Hal"), Added("f"))
    reply.settle()
    assert reply.pieces == [Piece(Opened("text"), "Half")]
    reply.settle()
    assert reply.pieces[0].text == "Half"
    collected().settle()


def test_a_failure() -> None:
    """What the provider said of it."""
    assert collected(Began(), Failed(Said("bad"))).failed == Said("bad")
