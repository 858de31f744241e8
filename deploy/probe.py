"""A container's health: exit status 0 when a path of this machine answers 200 within two seconds.

`python -I -S probe.py PORT PATH`, in place of curl. Sockets alone, since it runs every few seconds in each
container and an HTTP client takes longer to import than to be answered.
"""  # noqa: INP001  (a script, not a package)

import socket
import sys


def is_well(port: int, path: str) -> bool:
    """Whether `http://127.0.0.1:port/path` answers 200."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2.0) as connection:
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode()
            )
            return connection.makefile("rb").readline().split()[1:2] == [b"200"]
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(not is_well(int(sys.argv[1]), sys.argv[2]))
