import asyncio
import gc
import json
import weakref

from proxy.ends import Body, Kept
from proxy.redaction import Redactor
from proxy.transcript import Overheard, Transcript

REDACT = Redactor(["sk-known-secret", "api.example.com"]).excerpt


def overheard(most: int = 1000, body: bytes = b'{"model":"a"}') -> tuple[Transcript, Kept, Overheard]:
    """A transcript, the sink behind it, and what it has kept."""
    sink, kept = Kept(), Overheard(most, REDACT)
    return Transcript(Body(body), sink, kept), sink, kept


def test_what_passes_by_is_what_was_said() -> None:
    """Both ways, unchanged; an answer at once is what it is, a stream all its events."""
    transcript, sink, kept = overheard()

    async def exchange() -> None:
        assert await transcript.body() == b'{"model":"a"}'
        await transcript.start(200, [])
        await transcript.write(b"data: 1\n\n")
        await transcript.end(b"data: [DONE]\n\n")

    asyncio.run(exchange())
    assert kept.read() == {"body_in": '{"model":"a"}', "body_out": "data: 1\n\ndata: [DONE]\n\n"}
    assert transcript.started
    assert sink.started


def test_only_the_beginning_is_kept_and_the_size_said() -> None:
    """A secret that the cut may have halved is left out with the rest."""
    transcript, _, kept = overheard(30, b"hello " * 20)

    async def exchange() -> None:
        await transcript.body()
        await transcript.answer(200, [], b"a" * 10)

    asyncio.run(exchange())
    assert kept.read() == {"body_in": "hello hello hel [cut; 120 bytes]", "body_out": "a" * 10}


def test_secrets_go_and_files_are_named() -> None:
    """What is known as a secret, what looks like one, and runs of base64 that nobody could read."""
    picture = "data:image/png;base64," + "iVBORw0KGgo" * 50
    words = "key sk-known-secret at api.example.com, someone@example.org, Bearer abcdefgh"
    body = f'{{"a":"{words}","b":"{picture}"}}'
    transcript, _, kept = overheard(4096, body.encode())
    asyncio.run(transcript.body())
    said = kept.read()["body_in"]
    assert said == (
        '{"a":"key [redacted] at [redacted], [redacted], [redacted]","b":"data:image/png;base64,'
        '[550 characters of base64]"}'
    )


def test_of_nothing_nothing_is_said() -> None:
    """A request that was refused before its body came has none."""
    _, _, kept = overheard()
    assert kept.read() == {}


def test_what_a_stream_says_is_put_together_first() -> None:
    """A key that comes in pieces is one; what is left of a cut stream ends before half a one."""
    pieces = [
        b'data: {"choices":[{"index":0,"delta":{"content":%s}}]}\n\n' % json.dumps(piece).encode()
        for piece in ("a sk-kno", "wn-sec", "ret b")
    ]

    def said(most: int) -> str:
        transcript, _, kept = overheard(most)

        async def exchange() -> None:
            await transcript.start(200, [])
            for piece in pieces:
                await transcript.write(piece)
            await transcript.end(b"data: [DONE]\n\n")

        asyncio.run(exchange())
        return kept.read()["body_out"]

    assert said(1000) == "content: a [redacted] b"
    assert said(len(pieces[0]) + 20) == "content:  [cut; 201 bytes]"


def test_a_line_that_waits_holds_no_body() -> None:
    """A body may have 32 MB, of which the line shows the beginning."""
    transcript, sink, kept = overheard(10, b"a" * 1000)

    async def exchange(transcript: Transcript) -> None:
        await transcript.body()
        await transcript.write(b"b" * 1000)

    asyncio.run(exchange(transcript))
    gone = weakref.ref(transcript), weakref.ref(sink)
    del transcript, sink
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
    assert kept.read().keys() == {"body_in", "body_out"}
