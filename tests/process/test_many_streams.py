"""Many streams at once: nothing is changed, and nothing is held once the clients are gone."""

import many_streams
import pytest

pytestmark = pytest.mark.process


def test_every_event_of_200_streams_is_byte_identical() -> None:
    """What 200 clients get at once is what the provider sent, less the usage chunk they did not ask for."""
    figures = many_streams.run(many_streams.STREAMS)
    assert figures.seconds < 10.0


def test_killed_clients_let_go_of_the_provider() -> None:
    """SIGKILL of a process with 200 open streams closes all connections to the provider in half a second."""
    assert many_streams.left(many_streams.STREAMS) < 0.5
