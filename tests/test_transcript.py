import asyncio

from proxy.ends import Body, Kept
from proxy.redaction import Redactor
from proxy.transcript import Transcript

REDACT = Redactor(["sk-known-secret", "api.example.com"]).excerpt


def overheard(most: int = 1000, body: bytes = b'{"model":"a"}') -> tuple[Transcript, Kept]:
    """A transcript, and the sink behind it."""
    sink = Kept()
    return Transcript(Body(body), sink, most, REDACT), sink


def test_what_passes_by_is_what_was_said() -> None:
    """Both ways, unchanged; an answer at once is what it is, a stream all its events."""
    transcript, sink = overheard()

    async def exchange() -> None:
        assert await transcript.body() == b'{"model":"a"}'
        await transcript.start(200, [])
        await transcript.write(b"data: 1\n\n")
        await transcript.end(b"data: [DONE]\n\n")

    asyncio.run(exchange())
    assert transcript.read() == {"body_in": '{"model":"a"}', "body_out": "data: 1\n\ndata: [DONE]\n\n"}
    assert transcript.started
    assert sink.started


def test_only_the_beginning_is_kept_and_the_size_said() -> None:
    """A secret that the cut may have halved is left out with the rest."""
    transcript, _ = overheard(30, b"hello " * 20)

    async def exchange() -> None:
        await transcript.body()
        await transcript.answer(200, [], b"a" * 10)

    asyncio.run(exchange())
    assert transcript.read() == {"body_in": "hello hello hel [cut; 120 bytes]", "body_out": "a" * 10}


def test_secrets_go_and_files_are_named() -> None:
    """What is known as a secret, what looks like one, and runs of base64 that nobody could read."""
    picture = "data:image/png;base64," + "iVBORw0KGgo" * 50
    words = "key sk-known-secret at api.example.com, someone@example.org, Bearer abcdefgh"
    body = f'{{"a":"{words}","b":"{picture}"}}'
    transcript, _ = overheard(4096, body.encode())
    asyncio.run(transcript.body())
    said = transcript.read()["body_in"]
    assert said == (
        '{"a":"key [redacted] at [redacted], [redacted], [redacted]","b":"data:image/png;base64,'
        '[550 characters of base64]"}'
    )


def test_of_nothing_nothing_is_said() -> None:
    """A request that was refused before its body came has none."""
    transcript, _ = overheard()
    assert transcript.read() == {}
