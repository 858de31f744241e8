"""What a Redis says that it has done, read so that the question itself does not count."""

import socket
from dataclasses import dataclass
from typing import Self

from capacity_model import BYTES_IN, BYTES_OUT, CALLS

WIRE = ("evalsha", "mget", "ping")
"""What replicas ask for. All else that a server counts runs inside scripts, or when a connection is made."""

CPU, PUBLISHED, CONNECTIONS = "us CPU", "published", "connections"
_ASK = b"*2\r\n$4\r\nINFO\r\n$3\r\nall\r\n"


@dataclass(frozen=True, slots=True)
class Reading:
    """The counters at one moment, less what the meter itself has added to them."""

    counted: dict[str, float]

    def since(self, before: Self) -> dict[str, float]:
        """What was done between two moments; connections are those that are open now."""
        passed = {name: value - before.counted[name] for name, value in self.counted.items()}
        return {**passed, CONNECTIONS: self.counted[CONNECTIONS]}


class Meter:
    """A connection that does nothing but ask."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 10.0)
        self._sent = 0
        self._told = 0

    def read(self) -> Reading:
        """The counters now."""
        self._socket.sendall(_ASK)
        self._sent += len(_ASK)
        text, size = self._answer()
        reading = reading_of(text, self._sent, self._told)
        self._told += size
        return reading

    def close(self) -> None:
        """End it."""
        self._socket.close()

    def _answer(self) -> tuple[str, int]:
        """The text of a reply, and how many bytes it came as."""
        told = b""
        while b"\r\n" not in told:
            told += self._more()
        head, _, text = told.partition(b"\r\n")
        size = len(head) + 2 + int(head[1:]) + 2
        while len(told) < size:
            told += self._more()
            text = told[len(head) + 2 :]
        return text.decode(), size

    def _more(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the server has closed the meter's connection")
        return data


def reading_of(info: str, sent: int, told: int) -> Reading:
    """The counters in the text of INFO, before which the meter had sent and been told so many bytes."""
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    return Reading(
        {
            CALLS: sum(_calls(fields, name) for name in WIRE),
            PUBLISHED: _calls(fields, "publish"),
            BYTES_IN: int(fields["total_net_input_bytes"]) - sent,
            BYTES_OUT: int(fields["total_net_output_bytes"]) - told,
            CPU: 1e6 * (float(fields["used_cpu_user"]) + float(fields["used_cpu_sys"])),
            CONNECTIONS: int(fields["connected_clients"]) - 1,
        }
    )


def _calls(fields: dict[str, str], command: str) -> int:
    told = fields.get(f"cmdstat_{command}", "calls=0")
    return int(told.partition("calls=")[2].partition(",")[0])
