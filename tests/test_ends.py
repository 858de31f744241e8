import asyncio

from proxy.ends import Body, Kept


def test_a_body_that_is_there_is_given() -> None:
    """As often as it is asked for."""
    source = Body(b"{}")
    assert [asyncio.run(source.body()) for _ in range(2)] == [b"{}", b"{}"]


def test_a_whole_answer_is_kept() -> None:
    """With its status and headers."""
    sink = Kept()
    assert not sink.started
    asyncio.run(sink.answer(404, [(b"a", b"b")], b"no"))
    assert (sink.started, sink.status, sink.headers, sink.body) == (True, 404, [(b"a", b"b")], b"no")


def test_a_stream_is_kept_as_it_adds_up() -> None:
    """Event by event, with the last ones."""

    async def scenario() -> Kept:
        sink = Kept()
        await sink.start(200, [])
        await sink.write(b"one")
        await sink.write(b"two")
        await sink.end(b"three")
        return sink

    sink = asyncio.run(scenario())
    assert (sink.started, sink.status, sink.body) == (True, 200, b"onetwothree")
