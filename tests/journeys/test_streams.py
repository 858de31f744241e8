"""Streams through the whole app: what arrives, byte for byte, and how a stream may end."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from stage import Setting, Stage, play
from wires import KEY, Got, Wire, ask, request

from mockprovider import Behaviour
from proxy.relay import Patience

HEAD = b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}'
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}'
DONE = b"data: [DONE]"
PAUSE = 0.05


def said(text: str) -> bytes:
    """A content event without its end."""
    return (
        b'data: {"choices":[{"index":0,"delta":{"content":%b}}]}'
        % json.dumps(text, ensure_ascii=False).encode()
    )


def stream_of(*events: bytes, end: bytes = b"\n\n") -> bytes:
    """Whole events."""
    return b"".join(event + end for event in events)


def of(life: Behaviour, *, config: Mapping[str, Any] | None = None, **fields: Any) -> tuple[Got, Stage]:
    """Stream from one provider; what the client got, and the stage afterwards."""

    async def scenario(stage: Stage) -> tuple[Got, Stage]:
        got = await stage.post(stream=True, **fields)
        await stage.until(lambda: stage.records)
        return got, stage

    return play(Setting(providers={"one": life}, config=config or {}), scenario)


PLAIN = stream_of(HEAD, said("Grüße, "), said("日本 🎉"), FINISH, DONE)
SPELT = {
    "plain": PLAIN,
    "crlf": stream_of(HEAD, said("a"), said("b"), FINISH, DONE, end=b"\r\n\r\n"),
    "cr": stream_of(HEAD, said("a"), said("b"), FINISH, DONE, end=b"\r\r"),
    "comments": stream_of(HEAD, said("a"), b": one", b": two\n: three", FINISH, DONE),
    "no_space": PLAIN.replace(b"data: ", b"data:"),
    "names_and_ids": stream_of(b"event: chunk\nid: 7\nretry: 10\n" + HEAD, said("a"), FINISH, DONE),
    "two_data_lines": stream_of(
        HEAD, b'data: {"choices":\ndata: [{"index":0,"delta":{"content":"a"}}]}', FINISH, DONE
    ),
    "mark": b"\xef\xbb\xbf" + PLAIN,
}


@pytest.mark.parametrize("write_bytes", [None, 1, 7, (1, 50, 3, 2000)], ids=str)
@pytest.mark.parametrize("spelling", SPELT)
def test_events_arrive_byte_for_byte(spelling: str, write_bytes: int | tuple[int, ...] | None) -> None:
    """However a stream is spelt and cut into writes, even inside a character, the same bytes arrive."""
    got, _ = of(Behaviour(body=SPELT[spelling].decode(), write_bytes=write_bytes))
    assert got.body == SPELT[spelling]
    assert got.whole


def test_no_event_is_split_over_writes() -> None:
    """Though the provider writes seven bytes at a time, each chunk the client gets ends with an event."""

    async def scenario(stage: Stage) -> list[bytes]:
        wire = await stage.wire()
        wire.send(request(ask(stream=True)))
        await wire.head()
        chunks = []
        while chunk := await wire.chunk():
            chunks.append(chunk)
        return chunks

    chunks = play(Setting(providers={"one": Behaviour(body=PLAIN.decode(), write_bytes=7)}), scenario)
    assert b"".join(chunks) == PLAIN
    assert all(chunk.endswith(b"\n\n") for chunk in chunks)
    assert len(chunks) > 1


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (None, False),
        ({}, False),
        ("null", False),
        ({"include_usage": False}, False),
        ({"include_usage": True}, True),
        ({"include_usage": True, "include_obfuscation": False}, True),
    ],
)
def test_usage_is_asked_for_and_withheld(options: dict[str, bool] | str | None, kept: bool) -> None:
    """The provider is always asked for usage; the client gets the chunk only if it asked."""
    body = stream_of(HEAD, said("a"), FINISH, USAGE, DONE)
    given = options if isinstance(options, dict) else None
    fields: dict[str, Any] = {} if options is None else {"stream_options": given}
    got, stage = of(Behaviour(body=body.decode()), **fields)
    assert got.body == (body if kept else body.replace(USAGE + b"\n\n", b""))
    asked = json.loads(stage.seen("one")[0].body)["stream_options"]
    assert asked == (given or {}) | {"include_usage": True}
    tokens = stage.records[0].tokens
    assert tokens is not None
    assert (tokens.input, tokens.output) == (3, 2)


def test_usage_in_the_last_chunk_with_choices_is_kept() -> None:
    """A provider that puts usage beside choices loses nothing: only the extra chunk is withheld."""
    last = FINISH.replace(b'"usage":null', b'"usage":{"prompt_tokens":3,"completion_tokens":2}')
    body = stream_of(HEAD, said("a"), last, DONE)
    got, stage = of(Behaviour(body=body.decode()))
    assert got.body == body
    assert stage.records[0].tokens is not None


@pytest.mark.parametrize("options", [None, {"include_usage": True}, {"include_usage": True, "x": 1}])
def test_mistral_is_not_asked(options: dict[str, object] | None) -> None:
    """A provider that does not take the field is not sent it, whatever the client asked."""

    async def scenario(stage: Stage) -> dict[str, object]:
        fields: dict[str, Any] = {} if options is None else {"stream_options": options}
        await stage.post(stream=True, **fields)
        return dict(json.loads(stage.seen("one")[0].body))

    sent = play(Setting(providers={"one": Behaviour()}, accounts={"one": {"kind": "mistral"}}), scenario)
    assert "include_usage" not in json.dumps(sent)
    assert sent.get("stream_options") == ({"x": 1} if options and "x" in options else None)


def test_several_choices() -> None:
    """With n=2 the stream ends only after both choices have."""
    got, stage = of(Behaviour(text="one two three"), n=2)
    ends = [event for event in got.events if b'"finish_reason":"stop"' in event]
    assert len(ends) == 2
    assert got.events[-1] == b"[DONE]"
    assert stage.tried == ["one:ok"]


def test_one_choice_of_two_is_no_end() -> None:
    """A stream that ends after the first of two choices is broken, and says so."""
    got, stage = of(Behaviour(body=stream_of(HEAD, said("a"), FINISH).decode()), n=2)
    assert b'"error"' in got.events[-2]
    assert got.events[-1] == b"[DONE]"
    assert stage.tried == ["one:truncated"]


@pytest.mark.parametrize("end", [b"\n\n", b"\n", b""])
def test_a_missing_last_empty_line_is_forgiven(end: bytes) -> None:
    """A provider that leaves out the last empty line loses nothing, and the client gets whole events."""
    body = stream_of(HEAD, said("a"), FINISH, DONE)[:-2]
    got, stage = of(Behaviour(body=(body + end).decode()))
    assert got.body.rstrip(b"\n") == body
    assert got.body.endswith(b"\n\n")
    assert stage.tried == ["one:ok"]


def test_a_part_of_an_event_is_never_sent() -> None:
    """Where only the close ends a stream, what it cut in half is left out."""
    whole = stream_of(HEAD, said("a"), FINISH)
    got, stage = of(Behaviour(body=(whole + USAGE[:40]).decode(), framing="until_close"))
    assert got.body == whole + DONE + b"\n\n"
    assert stage.tried == ["one:ok"]


def test_an_end_marker_is_the_end() -> None:
    """After its own end marker a provider may dawdle or break: the client has its whole answer at once."""
    life = Behaviour(body=PLAIN.decode(), framing="chunked", stall_after_bytes=len(PLAIN))
    got, stage = of(life)
    assert got.body == PLAIN
    assert got.elapsed < 1.0
    assert stage.tried == ["one:ok"]


@pytest.mark.parametrize("size", [1024 * 1024, 8 * 1024 * 1024])
def test_a_huge_event_passes(size: int) -> None:
    """One event of megabytes, such as an image, passes whole."""
    got, stage = of(Behaviour(huge_bytes=size))
    assert stage.tried == ["one:ok"]
    assert max(map(len, got.events)) > size
    assert got.events[-1] == b"[DONE]"


def test_an_event_beyond_the_bound_is_a_fault() -> None:
    """An event of more than 16 MiB is not kept in memory: the next target is asked."""

    async def scenario(stage: Stage) -> Got:
        got = await stage.post(stream=True)
        assert stage.tried == ["huge:protocol", "fine:ok"]
        return got

    lives = {"huge": Behaviour(huge_bytes=17 * 1024 * 1024), "fine": Behaviour()}
    assert play(Setting(providers=lives), scenario).attempts == 2


def test_held_back_events_come_with_the_first_content() -> None:
    """What came before the first content goes out with it, in order; only comments are dropped."""
    body = stream_of(HEAD, HEAD, said("a"), FINISH, DONE)
    waiting = b": warming up\n\n"
    got, _ = of(Behaviour(body=(waiting + body).decode(), write_bytes=60, write_pause_s=0.002))
    assert got.body == body


@pytest.mark.parametrize("cut", [True, False], ids=["then broken", "then a page"])
def test_what_is_no_content_does_not_commit(cut: bool) -> None:
    """Seventy comments, or a page of seventy paragraphs, are no answer: the next target gives one."""
    page = "<html>\n\n" + "<p>We are busy.</p>\n\n" * 70
    bad = (
        Behaviour(body=": busy\n\n" * 70, framing="chunked", cut_after_bytes=600)
        if cut
        else Behaviour(body=page)
    )

    async def scenario(stage: Stage) -> Got:
        got = await stage.post(stream=True)
        assert stage.tried == ["bad:truncated" if cut else "bad:not_json", "fine:ok"]
        return got

    got = play(Setting(providers={"bad": bad, "fine": Behaviour(text="hello")}), scenario)
    assert (got.status, got.text, got.attempts) == (200, "hello", 2)


def test_hold_back_is_bounded() -> None:
    """After 64 events without content the stream counts as begun."""
    many = stream_of(*[HEAD] * 100)

    async def scenario(stage: Stage) -> bytes:
        wire = await stage.wire()
        wire.send(request(ask(stream=True)))
        status, _ = await wire.head()
        assert status == 200
        return await wire.chunk()

    life = Behaviour(body=many.decode(), stall_after_bytes=len(many), framing="chunked")
    assert play(Setting(providers={"one": life}), scenario).startswith(HEAD)


QUIET = Patience(pulse=PAUSE)


def test_a_quiet_stream_is_kept_alive() -> None:
    """In a silence between events comes a comment, and the events are unharmed."""

    async def scenario(stage: Stage) -> Got:
        return await stage.post(stream=True)

    life = Behaviour(text="a b", delay_events_s=PAUSE * 2.5)
    got = play(Setting(providers={"one": life}, patience=QUIET), scenario)
    assert b": ping\n\n" in got.body
    assert got.text == "a b"
    assert got.events[-1] == b"[DONE]"


def test_kept_alive_before_content_and_then_another_target() -> None:
    """The 200 and pings may go out before content; failover stays possible, and says in-band who answers."""

    async def scenario(stage: Stage) -> Got:
        got = await stage.post(stream=True)
        assert stage.tried == ["slow:status_503", "fine:ok"]
        return got

    lives = {"slow": Behaviour(status=503, delay_headers_s=PAUSE * 3), "fine": Behaviour(text="hello")}
    got = play(Setting(providers=lives, patience=QUIET), scenario)
    assert got.status == 200
    assert got.body.startswith(b": ping\n\n")
    assert b": x-apex-target: fine/up; x-apex-attempts: 2\n\n" in got.body
    assert "x-apex-target" not in got.headers
    assert got.headers["x-request-id"]
    assert got.text == "hello"


def test_kept_alive_before_content_and_then_nothing() -> None:
    """If all targets fail after the 200 went out, the failure is told in-band."""
    got, stage = quiet_failure()
    assert got.status == 200
    assert got.body.startswith(b": ping\n\n")
    assert json.loads(got.events[-2])["error"]["code"] == "overloaded"
    assert got.events[-1] == b"[DONE]"
    assert got.whole
    assert stage.records[0].outcome == "failed"


def quiet_failure() -> tuple[Got, Stage]:
    """A lone provider that fails after pings have gone out."""

    async def scenario(stage: Stage) -> tuple[Got, Stage]:
        got = await stage.post(stream=True)
        await stage.until(lambda: stage.records)
        return got, stage

    life = Behaviour(status=503, delay_headers_s=PAUSE * 3)
    return play(Setting(providers={"one": life}, patience=QUIET), scenario)


BIG = Behaviour(tokens=20_000, piece_bytes=2000, text="x")
"""40 MB: far more than all buffers between a provider and a client that does not read."""


async def slow_reader(stage: Stage) -> Wire:
    """A client that asks for a big stream and reads nothing of it."""
    wire = await stage.wire(receive_buffer=16 * 1024)
    wire.send(request(ask(stream=True), key=KEY))
    return wire


def test_a_slow_reader_holds_the_provider_up() -> None:
    """While a client does not read, its provider stops sending: nothing piles up in between."""

    async def scenario(stage: Stage) -> None:
        wire = await slow_reader(stage)
        await stage.until(lambda: stage.seen("one"))
        written = await settled(stage)
        assert written < 20 * 1024 * 1024
        assert stage.mocks["one"].streams_open == 1
        await wire.close()

    play(Setting(providers={"one": BIG}), scenario)


async def settled(stage: Stage) -> int:
    """How much the provider has written when it writes no more."""
    before = -1
    while before != (now := stage.seen("one")[0].bytes_written):
        before = now
        await asyncio.sleep(0.1)
    return before


def test_a_client_that_never_reads_is_given_up() -> None:
    """After its patience the proxy drops the client, frees the provider and says whose fault it was."""

    async def scenario(stage: Stage) -> None:
        await slow_reader(stage)
        await stage.until(lambda: stage.records, seconds=5)
        assert stage.records[0].outcome == "client_gone"
        assert stage.records[0].error == "slow_client"
        assert stage.effect("one") == "none"
        await stage.until(lambda: not stage.mocks["one"].streams_open)

    play(Setting(providers={"one": BIG}, patience=Patience(slow=0.2)), scenario)


def test_a_slow_reader_gets_everything() -> None:
    """A client that stops for longer than the idle timeout, and then reads on, gets its whole stream."""

    async def scenario(stage: Stage) -> Got:
        wire = await slow_reader(stage)
        await asyncio.sleep(0.3)
        return await wire.answer()

    life = Behaviour(tokens=4_000, piece_bytes=1000, text="x")
    config = {"timeouts": {"idle": 0.2}}
    got = play(Setting(providers={"one": life}, config=config), scenario)
    assert got.whole
    assert got.events[-1] == b"[DONE]"
    assert len(got.text) >= 4_000_000


def test_many_streams_at_once_do_not_mix() -> None:
    """Forty streams at once: each client gets what was said to it."""

    async def scenario(stage: Stage) -> list[Got]:
        asked = [
            stage.post(stream=True, messages=[{"role": "user", "content": f"number {place}"}])
            for place in range(40)
        ]
        return await asyncio.gather(*asked)

    gots = play(Setting(providers={"one": Behaviour(delay_events_s=0.005)}), scenario)
    assert [got.text.split(": ")[1] for got in gots] == [f"number {place}" for place in range(40)]
