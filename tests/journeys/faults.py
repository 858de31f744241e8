"""Every fault of the scripted provider, and what is expected of the proxy for each.

Each case plays in two situations: the faulty provider first with a healthy one behind it, and the faulty
one alone. Run this file to see the table of what clients get, which targets were tried and how long it took.
"""

import dataclasses
import sys
from collections.abc import Iterator
from typing import Literal

from stage import Setting, Stage, play
from wires import Got, ask, request

from mockprovider import Behaviour, Complaint

SHORT = {"first_token": 0.15, "total": 0.6, "idle": 0.15}
"""Timeouts (seconds) of a faulty provider where the case is one of waiting; all others are long, for the
machine may be busy."""
MODELS = {
    "pair": {"strategy": "ordered", "providers": [{"provider": "faulty"}, {"provider": "healthy"}]},
    "alone": {"strategy": "ordered", "providers": [{"provider": "alone"}]},
}

How = Literal["fails_over", "ends", "in_band", "harmless"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What follows from a fault.

    `how`: the next target is tried; or the request ends there, before or after the commit; or nothing is
    wrong. `reason` is the attempt's outcome, `status` and `code` what a client is told in the end, `tries`
    how often a lone target is tried, `health` what is remembered after one attempt.
    """

    reason: str = "ok"
    status: int = 502
    code: str | None = "upstream_error"
    how: How = "fails_over"
    tries: int = 2
    health: str = "failures=1"
    retry_after: float | None = None
    should_retry: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One fault and what follows, for a whole reply and for a stream; None where the two do not meet."""

    name: str
    life: Behaviour
    whole: Told | None
    stream: Told | None

    def __str__(self) -> str:
        """The name."""
        return self.name


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """What was seen of one case in one situation."""

    got: Got
    tried: list[str]
    health: str
    outcome: str
    sent: list[int]
    """How many requests each provider got: faulty, healthy, alone."""


FINE = Told(how="harmless", tries=1, health="none")
CALLERS = Told(how="ends", tries=1, health="none")
QUARANTINE = 300.0
"""Seconds for which a refused key is left alone, and so what a client is told where there is no other."""

CREDENTIALS = Told(
    code="upstream_credentials",
    tries=1,
    should_retry="false",
    health="quarantined_key",
    retry_after=QUARANTINE,
)
LIMITED = Told(status=429, code="rate_limit_exceeded", tries=1, health="back_off", retry_after=1.0)
OVERLOADED = Told(status=503, code="overloaded", retry_after=1.0)


def _status(status: int, told: Told, name: str = "", life: Behaviour | None = None) -> Case:
    told = dataclasses.replace(told, reason=f"status_{status}")
    return Case(name or f"status {status}", life or Behaviour(status=status), told, told)


def _limited(name: str, headers: dict[str, str | int | float], wait: float) -> Case:
    told = dataclasses.replace(LIMITED, retry_after=wait, should_retry="false" if wait > 60.0 else None)
    return _status(429, told, f"429 {name}", Behaviour(status=429, headers=headers))


def _broken(reason: str, how: How = "fails_over") -> Told:
    return Told(reason=reason, how=how, tries=1 if how == "in_band" else 2)


def _late(reason: str, how: How = "fails_over") -> Told:
    tries = 1 if reason == "total_timeout" or how == "in_band" else 2
    return Told(reason=reason, status=504, code="upstream_timeout", how=how, tries=tries)


STATUSES = [
    _status(400, dataclasses.replace(CALLERS, status=400, code=None)),
    _status(401, CREDENTIALS),
    _status(402, CREDENTIALS),
    _status(403, dataclasses.replace(CREDENTIALS, health="quarantined_model")),
    _status(404, Told(tries=1, health="none", should_retry="false")),
    _status(408, Told()),
    _status(409, Told(health="none")),
    _status(413, dataclasses.replace(CALLERS, status=413, code="request_too_large")),
    _status(422, dataclasses.replace(CALLERS, status=422, code=None)),
    _limited("plain", {}, 1.0),
    _limited("retry-after", {"retry-after": 7}, 7.0),
    _limited("retry-after-ms", {"retry-after-ms": 1300}, 1.3),
    _limited("reset", {"x-ratelimit-remaining-requests": 0, "x-ratelimit-reset-requests": "1m2.5s"}, 62.5),
    _status(
        429,
        CREDENTIALS,
        "429 insufficient_quota",
        Behaviour(status=429, error=Complaint(type="insufficient_quota", code="insufficient_quota")),
    ),
    _status(500, Told()),
    _status(502, Told()),
    _status(502, Told(), "502 web page", Behaviour(status=502, html=True)),
    _status(503, OVERLOADED),
    _status(504, Told()),
    _status(529, dataclasses.replace(OVERLOADED, tries=1, health="back_off")),
    _status(201, Told()),
    _status(302, Told()),
]

IN_BAND: How = "in_band"
_ROLE = "after the role"
BREAKS = [
    Case("cut before headers, FIN", Behaviour(cut_before_headers=True), _broken("reset"), _broken("reset")),
    Case(
        "cut before headers, RST",
        Behaviour(cut_before_headers=True, cut_with="rst"),
        _broken("reset"),
        _broken("reset"),
    ),
    Case("cut before events", Behaviour(cut_after_events=0), _broken("truncated"), _broken("truncated")),
    Case(f"cut {_ROLE}", Behaviour(cut_after_events=1), None, _broken("truncated")),
    Case("cut after 3 events, FIN", Behaviour(cut_after_events=3), None, _broken("truncated", IN_BAND)),
    Case(
        "cut after 3 events, RST",
        Behaviour(cut_after_events=3, cut_with="rst"),
        None,
        _broken("reset", IN_BAND),
    ),
    Case(
        "cut after 3 events, half closed",
        Behaviour(cut_after_events=3, cut_with="half"),
        None,
        _broken("truncated", IN_BAND),
    ),
    Case("cut after 100 bytes", Behaviour(cut_after_bytes=100), _broken("truncated"), _broken("truncated")),
    Case("cut after 900 bytes", Behaviour(cut_after_bytes=900), None, _broken("truncated", IN_BAND)),
    Case(
        "cut after 100 bytes, RST",
        Behaviour(cut_after_bytes=100, cut_with="rst"),
        _broken("reset"),
        _broken("reset"),
    ),
    Case(
        "stall before headers",
        Behaviour(stall_before_headers=True),
        _late("total_timeout", "ends"),
        _late("first_token_timeout"),
    ),
    Case(
        "stall before events",
        Behaviour(stall_after_events=0),
        _late("total_timeout", "ends"),
        _late("first_token_timeout"),
    ),
    Case(f"stall {_ROLE}", Behaviour(stall_after_events=1), None, _late("first_token_timeout")),
    Case("stall after 3 events", Behaviour(stall_after_events=3), None, _late("idle_timeout", IN_BAND)),
    Case(
        "stall after 100 bytes",
        Behaviour(stall_after_bytes=100),
        _late("total_timeout", "ends"),
        _late("first_token_timeout"),
    ),
    Case("stall after 900 bytes", Behaviour(stall_after_bytes=900), None, _late("idle_timeout", IN_BAND)),
    Case("first event late", Behaviour(delay_first_event_s=0.3), FINE, _late("first_token_timeout")),
    Case("headers late", Behaviour(delay_headers_s=0.05), FINE, FINE),
    Case("events slow but steady", Behaviour(delay_events_s=0.02), FINE, FINE),
    Case(
        "error at once", Behaviour(error_after_events=0), _broken("error_in_reply"), _broken("error_in_reply")
    ),
    Case(f"error {_ROLE}", Behaviour(error_after_events=1), None, _broken("error_in_reply")),
    Case(
        "error after 3 events",
        Behaviour(error_after_events=3, delay_events_s=0.02),
        None,
        _broken("error_in_reply", IN_BAND),
    ),
    Case("no body", Behaviour(empty="body"), _broken("empty"), _broken("empty")),
    Case("no event", Behaviour(empty="stream"), None, _broken("empty")),
    Case("role only", Behaviour(empty="opening"), None, _broken("empty")),
    Case("all of the grammar, no text", Behaviour(empty="lifecycle"), FINE, FINE),
    Case("not JSON", Behaviour(garbage="noise"), _broken("not_json"), _broken("not_json")),
    Case(
        "not JSON after 3 events",
        Behaviour(garbage="noise", garbage_after_events=3, delay_events_s=0.1),
        None,
        _broken("not_json", IN_BAND),
    ),
    Case("half of the JSON", Behaviour(garbage="truncated"), _broken("not_json"), _broken("not_json")),
    Case(
        "half of the JSON of one event",
        Behaviour(garbage="truncated", garbage_after_events=3, delay_events_s=0.1),
        None,
        _broken("not_json", IN_BAND),
    ),
    Case("web page", Behaviour(html=True), _broken("not_json"), _broken("not_json")),
    Case("no finish reason", Behaviour(terminal="none"), None, _broken("truncated", IN_BAND)),
    Case("no [DONE]", Behaviour(terminal="no_done"), None, FINE),
    Case("chunked", Behaviour(framing="chunked"), FINE, FINE),
    Case("wrong chunk size", Behaviour(framing="bad_chunk"), _broken("protocol"), _broken("protocol")),
    Case("ended by closing", Behaviour(framing="until_close"), FINE, FINE),
    Case("not HTTP", Behaviour(framing="not_http"), _broken("protocol"), _broken("protocol")),
    Case("content-length too long", Behaviour(content_length_delta=10), _broken("truncated"), None),
    Case("content-length too short", Behaviour(content_length_delta=-10), _broken("protocol"), None),
    Case("closes after its reply", Behaviour(close_after_reply_s=0.0), FINE, FINE),
    Case("odd content type", Behaviour(content_type="text/plain"), FINE, FINE),
]
CASES = STATUSES + BREAKS


def modes() -> Iterator[tuple[Case, bool, Told]]:
    """Every case with what is expected of it, for a whole reply and for a stream."""
    for case in CASES:
        if case.whole is not None:
            yield case, False, case.whole
        if case.stream is not None:
            yield case, True, case.stream


def perform(case: Case, told: Told, *, stream: bool) -> tuple[Row, Row]:
    """Play a case: the faulty provider before a healthy one, and alone."""

    async def scenario(stage: Stage) -> tuple[Row, Row]:
        pair = await _row(stage, "pair", "faulty", stream=stream)
        return pair, await _row(stage, "alone", "alone", stream=stream)

    lives = {"faulty": case.life, "healthy": Behaviour(), "alone": case.life}
    hasty = told.code == "upstream_timeout"
    config = {"models": MODELS, "queue": {"max_wait": 0}} | ({"timeouts": SHORT} if hasty else {})
    return play(Setting(providers=lives, config=config), scenario)


async def _row(stage: Stage, model: str, provider: str, *, stream: bool) -> Row:
    got = await stage.send(request(ask(model=model, stream=stream)))
    sent = [len(stage.seen(name)) for name in stage.mocks]
    await stage.until(lambda: stage.records and stage.records[-1].model == model)
    return Row(got, stage.tried, stage.effect(provider), stage.records[-1].outcome, sent)


def table() -> Iterator[str]:
    """The table, line by line, as Markdown."""
    yield "| fault | mode | situation | client sees | tried | ms | health of the faulty one |"
    yield "|---|---|---|---|---|---|---|"
    for case, stream, told in modes():
        rows = perform(case, told, stream=stream)
        for situation, row in zip(("healthy behind", "alone"), rows, strict=True):
            yield (
                f"| {case.name} | {'stream' if stream else 'whole'} | {situation} | {_seen(row.got)} | "
                f"{', '.join(row.tried)} | {row.got.elapsed * 1000:.0f} | {row.health} |"
            )


def _seen(got: Got) -> str:
    if got.status != 200:
        notes = [got.error["code"] or got.error["type"]]
        notes += (
            [f"retry-after-ms {got.headers['retry-after-ms']}"] if "retry-after-ms" in got.headers else []
        )
        return f"{got.status} {', '.join(notes)}"
    if any(event.startswith(b'{"error"') for event in got.events):
        return "200, then an error event and [DONE]"
    return "200"


if __name__ == "__main__":
    for line in table():
        sys.stdout.write(line + "\n")
