"""Behaviour: everything one reply of the mock may do, healthy or broken, as one frozen value.

Rule: every knob is off by default, so `Behaviour()` is a healthy provider, and knobs combine unless they
contradict each other (a reply cannot both be cut and stall). Every time is in seconds and every size in
bytes, and the name says which. The same fields are spelt in a script file, in a request header, in a
request body and in a model name, so that a fault that was tried by hand can be pasted into a script.
"""

import random
from typing import Annotated, Literal

import msgspec

Seconds = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Pieces = Annotated[int, msgspec.Meta(ge=0, le=200_000)]

Finish = Literal["stop", "length", "content_filter"]
Closing = Literal["fin", "rst", "half"]
Emptiness = Literal["body", "stream", "opening", "lifecycle"]
Garbage = Literal["noise", "truncated"]
Terminal = Literal["full", "no_done", "none"]
LineEnd = Literal["lf", "crlf", "cr"]
Flavour = Literal["generic", "openai", "deepseek", "dashscope", "vllm"]
Framing = Literal["auto", "chunked", "bad_chunk", "until_close", "not_http"]


class Delay(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A wait that changes.

    With `over_s` (or `over_n`) it is a ramp: `from_s` at the rule's start (at its first request), `to_s`
    when `over_s` seconds (`over_n` requests) have gone by, and `to_s` from then on. With neither it is drawn
    evenly between the two for each wait.
    """

    from_s: Seconds
    to_s: Seconds
    over_s: Annotated[float, msgspec.Meta(gt=0)] | None = None
    over_n: Positive | None = None

    def at(self, elapsed_s: float, count: int, dice: random.Random) -> float:
        """The wait in seconds, `elapsed_s` after the rule's start and for its `count`th request (from 1)."""
        if self.over_s is not None:
            share = elapsed_s / self.over_s
        elif self.over_n is not None:
            share = (count - 1) / self.over_n
        else:
            share = dice.random()
        return self.from_s + (self.to_s - self.from_s) * min(max(share, 0.0), 1.0)


Wait = Seconds | Delay


class Complaint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an error says, in place of the text, type and code that go with its status."""

    message: str | None = None
    type: str | None = None
    code: str | None = None


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one request is answered. A "first event" of a reply that is no stream is its body.

    What is said:
        text: the reply's text, in place of the greeting and echo.
        reasoning: text of a reasoning (thinking) part that comes before the answer.
        redacted: where the dialect has it, the reasoning comes as a block that cannot be read.
        declined: a refusal, in these words, instead of an answer.
        tokens: the number of text pieces; the text is repeated or cut to have exactly so many.
        piece_bytes: bytes of each text piece; without it a piece is a word.
        huge_bytes: puts one more text piece, of this many bytes, in front.
        tool_calls: the number of tools called; 0 never calls one. Without it the request decides.
        tool_arguments: the arguments of each call, in place of a sample of the tool's schema.
        tool_input: the text that each custom tool is given, in place of the user's.
        interleaved: the arguments of several calls arrive in turns, in chat.
        finish: why the reply ends.
        prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens: usage to claim, in place of what
            was counted. Tokens of the cache are part of the prompt's.
        omit_usage: leaves usage out where the dialect allows it.

    How HTTP answers:
        status, headers, body, content_type: as they are sent; a `body` that is a mapping is sent as JSON.
            A status of 400 or more without `body` brings the dialect's own error body.
        error: what an error body or error event says.
        html: the body is a web page.

    When: delay_headers_s, delay_first_event_s (from the headers), delay_events_s (between events),
        write_pause_s (between the writes made by `write_bytes`).

    What breaks:
        cut_before_headers, cut_after_events, cut_after_bytes (of the body): the connection ends there,
            `cut_with` FIN, RST, or half closed: FIN while still reading.
        stall_before_headers, stall_after_events, stall_after_bytes: nothing more comes, ever.
        error_after_events: an error event inside the 200 after so many events (0: it is the first). A reply
            that is no stream becomes a JSON error body with status 200.
        empty: `body` no byte at all; `stream` no event; `opening` only the role or lifecycle start, then the
            end of the body; `lifecycle` all of the grammar but no content.
        garbage: `noise` sends what is not JSON (from event `garbage_after_events` on); `truncated` cuts the
            JSON of the body (of that one event) in half.
        terminal: `none` ends the body before the finish reason; `no_done` leaves out `[DONE]`.
        framing: `chunked` even for JSON; `bad_chunk` breaks the chunk size after the first write;
            `until_close` has no length and ends by closing; `not_http` is another protocol.
        content_length_delta: added to the true content-length; too long a promise ends with `cut_with`.
        close_after_reply_s: an announced keep-alive connection is closed when idle so long.

    How a stream is spelt:
        line_end, comments (one before each event), no_space (`data:{`), join_events (events in one write),
        write_bytes: writes of so many bytes each (a list of sizes is repeated), a chunk each.
    """

    text: str | None = None
    reasoning: str | None = None
    redacted: bool = False
    declined: str | None = None
    tokens: Pieces | None = None
    piece_bytes: Positive | None = None
    huge_bytes: Count = 0
    tool_calls: Count | None = None
    tool_arguments: dict[str, object] | None = None
    tool_input: str | None = None
    interleaved: bool = False
    finish: Finish = "stop"
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    cached_tokens: Count = 0
    cache_write_tokens: Count = 0
    omit_usage: bool = False

    status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 200
    headers: dict[str, str | int | float] = {}
    body: str | dict[str, object] | None = None
    content_type: str | None = None
    error: Complaint = Complaint()
    html: bool = False

    delay_headers_s: Wait = 0.0
    delay_first_event_s: Wait = 0.0
    delay_events_s: Wait = 0.0
    write_pause_s: Seconds = 0.0

    cut_before_headers: bool = False
    cut_after_events: Count | None = None
    cut_after_bytes: Count | None = None
    cut_with: Closing = "fin"
    stall_before_headers: bool = False
    stall_after_events: Count | None = None
    stall_after_bytes: Count | None = None
    error_after_events: Count | None = None
    empty: Emptiness | None = None
    garbage: Garbage | None = None
    garbage_after_events: Count = 0
    terminal: Terminal = "full"
    framing: Framing = "auto"
    content_length_delta: int = 0
    close_after_reply_s: Seconds | None = None

    line_end: LineEnd = "lf"
    comments: bool = False
    no_space: bool = False
    join_events: Positive = 1
    write_bytes: Positive | Annotated[tuple[Positive, ...], msgspec.Meta(min_length=1)] | None = None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself; msgspec turns the ValueError into one that names the place."""
        if self.cuts and self.stalls:
            raise ValueError("a reply cannot both be cut and stall")
        if self.framing != "auto" and self.content_length_delta:
            raise ValueError("content_length_delta needs framing auto")

    @property
    def cuts(self) -> bool:
        """Whether the connection ends before the reply does."""
        return (
            self.cut_before_headers or self.cut_after_events is not None or self.cut_after_bytes is not None
        )

    @property
    def stalls(self) -> bool:
        """Whether the reply stops without an end."""
        return (
            self.stall_before_headers
            or self.stall_after_events is not None
            or self.stall_after_bytes is not None
        )

    @property
    def silent(self) -> bool:
        """Whether not even the headers are sent."""
        return self.cut_before_headers or self.stall_before_headers

    @property
    def event_limit(self) -> int | None:
        """How many events are sent before the break, or None."""
        return self.cut_after_events if self.cut_after_events is not None else self.stall_after_events

    @property
    def byte_limit(self) -> int | None:
        """How many bytes of the body are sent before the break, or None."""
        return self.cut_after_bytes if self.cut_after_bytes is not None else self.stall_after_bytes


HEALTHY = Behaviour()
