"""Tests of `proxy.demo`: what it prints. That it works is a process test."""

import click
import pytest

from metrics.record import Attempt, Record
from proxy import demo
from proxy.demo import Show


class Paper:
    """Keeps what is printed, without colours."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, text: str) -> None:
        """Print a line or several."""
        self.lines += click.unstyle(text).split("\n")


def record(outcome: str, *tries: tuple[str, str], status: int = 200) -> Record:
    """A request that is over."""
    attempts = [Attempt(target, target.partition("/")[0], 0.0, 0.1, how) for target, how in tries]
    return Record(
        "req_1", "chat", 0.0, model="gpt", attempts=attempts, outcome=outcome, status=status, duration=0.25
    )


def test_the_welcome_can_be_copied() -> None:
    """Three commands with the address and the key, each under its title; and where the page is."""
    paper = Paper()
    Show(paper).welcome(8123, "sk-demo-1", 9123)
    assert any("http://127.0.0.1:9123/" in line for line in paper.lines)
    commands = [line for line in paper.lines if line.startswith("curl ")]
    assert len(commands) == 3
    assert all("http://127.0.0.1:8123/v1/" in line and "Bearer sk-demo-1" in line for line in commands)
    assert all(" -w '\\n' " in line for line in commands)
    assert [line for line in paper.lines if line.startswith("# ")] == [
        "# A chat",
        "# A stream",
        "# The models",
    ]


@pytest.mark.parametrize(
    ("made", "shown"),
    [
        (record("completed", ("steady/gpt", "ok")), "200 gpt chat             250 ms  steady ok"),
        (
            record("completed", ("unsteady/gpt", "status_503"), ("steady/gpt", "ok")),
            "200 gpt chat             250 ms  unsteady 503 -> steady ok",
        ),
        (
            record("failed", ("unsteady/gpt", "status_503"), status=503),
            "503 gpt chat             250 ms  unsteady 503  failed",
        ),
        (
            record("client_gone", ("steady/gpt", "cancelled"), status=0),
            "--- gpt chat             250 ms  steady cancelled  client_gone",
        ),
    ],
)
def test_a_request_leaves_a_line(made: Record, shown: str) -> None:
    """Its status, how long it took, who answered it and who failed before."""
    paper = Paper()
    Show(paper).request(made)
    assert paper.lines == [shown]


def test_a_line_of_a_request_is_short() -> None:
    """The longest model and three attempts fit a terminal of 100 columns."""
    tries = [("unsteady/gpt", "status_503"), ("unsteady/gpt", "status_503"), ("steady/gpt", "ok")]
    made = record("completed", *tries)
    made.model, made.endpoint, made.duration = demo.EMBEDDINGS, "embeddings", 12.0
    paper = Paper()
    Show(paper).request(made)
    assert len(paper.lines[0]) <= 100


def test_the_last_line_counts_the_requests() -> None:
    """The end of the demo is told."""
    paper = Paper()
    show = Show(paper)
    show.request(record("completed", ("steady/gpt", "ok")))
    show.farewell()
    assert paper.lines[-1].startswith("The demo has ended after 1 request: ")


def test_a_refused_request_leaves_its_reason() -> None:
    """Without an attempt there is still something to say."""
    paper = Paper()
    refused = record("refused", status=401)
    refused.error, refused.model = "invalid_api_key", ""
    Show(paper).request(refused)
    assert paper.lines[0].startswith("401 - chat")
    assert paper.lines[0].endswith("invalid_api_key")


def test_the_demo_binds_loopback_and_knows_one_client() -> None:
    """Nobody but the user of the machine can call it."""
    config = demo._config(8080, "sk-demo-12345678", 1, 2)
    assert config.listen.host == config.operations.host == "127.0.0.1"
    assert [client.name for client in config.clients] == ["demo"]
    assert set(config.models) == {demo.MODEL, demo.EMBEDDINGS}
    assert set(config.providers) == {"unsteady", "steady"}
