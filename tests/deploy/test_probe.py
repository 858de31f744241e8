"""The health check of containers."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cluster_files import DEPLOY, script

PROBE = script(DEPLOY / "probe.py")


class _Half(http.server.BaseHTTPRequestHandler):
    """Ready, and nothing else."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the library's name)
        pass


@contextmanager
def _served() -> Iterator[int]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Half) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_only_a_200_is_well() -> None:
    """Whatever else is said, and whoever does not listen, is not."""
    with _served() as port:
        assert PROBE.is_well(port, "/readyz")
        assert not PROBE.is_well(port, "/other")
    assert not PROBE.is_well(port, "/readyz")
