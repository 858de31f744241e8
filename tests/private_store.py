"""A real store on a unix socket for tests, which can be killed and started again, empty."""

import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from proxy.embedded import bundled_server

SERVER = bundled_server() or Path(shutil.which("valkey-server") or shutil.which("redis-server") or "none")


class PrivateStore:
    """A server while its `with` block lasts."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name) / "s.sock"
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"unix://{self._path}"

    def start(self) -> None:
        """Start it and wait until it listens."""
        options = ["--port", "0", "--unixsocket", str(self._path), "--save", "", "--dir", self._folder.name]
        server = subprocess.Popen([str(SERVER), *options], stdout=subprocess.DEVNULL)
        self._server = server
        while server.poll() is None:
            with socket.socket(socket.AF_UNIX) as client:
                if client.connect_ex(str(self._path)) == 0:
                    return
        raise AssertionError("the server has ended")

    def kill(self) -> None:
        """End it at once. Harmless when repeated."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it and leave nothing."""
        self.kill()
        self._folder.cleanup()
