"""Transports beside each other behind the `upstream` seam, over loopback, in one process.

    python benchmarks/upstreams.py [--seconds 1] [--rounds 5]

A raw server in another process answers every request at once, or streams fifty events a second. Rounds are
interleaved, so what else the machine does meets all transports alike. Figures are medians: the ratios count.
"""

import argparse
import asyncio
import contextlib
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import trustme
import uvloop

from proxy.upstream import Call, Upstream
from proxy.upstream.transport import PooledUpstream

TRANSPORTS = {"pooled": PooledUpstream}
"""Another one joins by an entry, as in `tests/upstream/transports.py`."""

IN_FLIGHT = 64
STREAMS = 100
PERIOD = 0.02  # seconds between the events of a stream

_FIELDS = b"".join(b"x-field-%d: a value of an ordinary length\r\n" % number for number in range(8))
_BODY = b'{"choices": [{"message": {"content": "' + b"word " * 150 + b'"}}]}'
_ANSWER = b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (_FIELDS, len(_BODY), _BODY)
_STREAM = b"HTTP/1.1 200 OK\r\n%btransfer-encoding: chunked\r\n\r\n" % _FIELDS
_EVENT = b'data: {"choices": [{"delta": {"content": "word "}}], "id": "chatcmpl-1"}\n\n'
_CHUNK = b"%x\r\n%b\r\n" % (len(_EVENT), _EVENT)
_REQUEST = b'{"model": "m", "messages": [{"role": "user", "content": "' + b"a" * 900 + b'"}]}'
_HEADERS = tuple((f"x-header-{number}", "a value of an ordinary length") for number in range(6))


class _Server(asyncio.Protocol):
    """Answers whatever ends as our requests do."""

    def __init__(self) -> None:
        self._heard = bytearray()
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer a request once it is whole."""
        self._heard += data
        if self._heard.endswith(_REQUEST):
            if self._heard.startswith(b"POST /stream"):
                self._transport.write(_STREAM)
                self._tick()
            else:
                self._transport.write(_ANSWER)
            self._heard.clear()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (the loop's signature)
        """The client has left."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        self._transport.write(_CHUNK)
        self._timer = asyncio.get_running_loop().call_later(PERIOD, self._tick)


async def _serve(certificate: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    ports = []
    for tls in (None, context):
        server = await loop.create_server(_Server, "127.0.0.1", 0, ssl=tls)
        ports.append(server.sockets[0].getsockname()[1])
    print(*ports, flush=True)
    await asyncio.Event().wait()


@contextlib.contextmanager
def _server(folder: str) -> Iterator[tuple[str, str, str]]:
    """The plain and the secure address of a server, and the file of its authority."""
    authority, certificate = Path(folder, "authority.pem"), Path(folder, "server.pem")
    made = trustme.CA()
    made.cert_pem.write_to_path(authority)
    made.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    process = subprocess.Popen([sys.executable, __file__, "--serve", certificate], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        plain, secure = process.stdout.readline().split()
        yield f"http://127.0.0.1:{int(plain)}", f"https://127.0.0.1:{int(secure)}", str(authority)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def _calls(upstream: Upstream, origin: str, seconds: float) -> tuple[float, float]:
    """Calls a second and us of CPU a call, with `IN_FLIGHT` at a time."""
    count, until = 0, time.perf_counter() + seconds

    async def one_after_the_other() -> None:
        nonlocal count
        while time.perf_counter() < until:
            reply = await upstream.send(Call("POST", f"{origin}/v1/chat/completions", _HEADERS, _REQUEST))
            while await reply.read():
                pass
            reply.close()
            count += 1

    began, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*[one_after_the_other() for _ in range(IN_FLIGHT)])
    return count / (time.perf_counter() - began), (time.process_time() - used) / count * 1e6


async def _streams(upstream: Upstream, origin: str, seconds: float) -> tuple[float, float]:
    """Events a second and us of CPU an event, of `STREAMS` streams."""
    replies = [
        await upstream.send(Call("POST", f"{origin}/stream", _HEADERS, _REQUEST)) for _ in range(STREAMS)
    ]
    size, until = 0, time.perf_counter() + seconds

    async def drink(number: int) -> None:
        nonlocal size
        while time.perf_counter() < until:
            part = await replies[number].read()
            size += len(part)
        replies[number].close()

    began, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*[drink(number) for number in range(STREAMS)])
    events = size / len(_EVENT)
    return events / (time.perf_counter() - began), (time.process_time() - used) / events * 1e6


async def _measure(seconds: float, rounds: int) -> None:
    figures: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder, _server(folder) as (plain, secure, authority):
        for _ in range(rounds):
            for scene, work, origin in (
                ("calls", _calls, plain),
                ("calls, TLS", _calls, secure),
                ("streams", _streams, plain),
                ("streams, TLS", _streams, secure),
            ):
                for name, transport in TRANSPORTS.items():
                    upstream = transport({}, ca_file=authority)
                    await work(upstream, origin, 0.1)
                    figures.setdefault((scene, name), []).append(await work(upstream, origin, seconds))
                    await upstream.close()
    print(f"{'':14}{'':10}{'per second':>12}{'us CPU each':>13}")
    for (scene, name), measured in figures.items():
        rate, cost = (statistics.median(values) for values in zip(*measured, strict=True))
        print(f"{scene:14}{name:10}{rate:12,.0f}{cost:13.1f}")


def main() -> None:
    """Measure, or be the server."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    given = parser.parse_args()
    uvloop.run(_serve(given.serve) if given.serve else _measure(given.seconds, given.rounds))


if __name__ == "__main__":
    main()
