"""The ends of exchanges that are no HTTP connection: a body that is there already, an answer that is kept."""

from proxy.exchange import Headers


class Body:
    """A `Source` whose body is there already."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def body(self) -> bytes:
        """The whole body."""
        return self._body


class Kept:
    """A `Sink` that keeps the answer for whoever asked in the client's stead."""

    def __init__(self) -> None:
        self.started = False
        self.status = 0
        self.headers: Headers = []
        self.body = b""

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer at once."""
        self.started, self.status, self.headers, self.body = True, status, headers, body

    async def start(self, status: int, headers: Headers) -> None:
        """The status and headers of a stream."""
        self.started, self.status, self.headers = True, status, headers

    async def write(self, data: bytes) -> None:
        """Whole events of a stream."""
        self.body += data

    def push(self, data: bytes) -> bool:
        """The same: nobody is waited for."""
        self.body += data
        return True

    async def end(self, data: bytes = b"") -> None:
        """The last events."""
        self.body += data
