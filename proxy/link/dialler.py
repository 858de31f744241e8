"""How a connection comes about: socket, TLS, and one round trip of greeting.

Everything the server must know is said in one write: HELLO with the credentials and our name, SELECT,
INFO (for the server's identity) and SCRIPT LOAD of each script. At most two attempts run at a time, so
a server that returns is not stormed by the diallers of one process.
"""

import asyncio
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from proxy.clock import Clock
from proxy.config.redis_url import Address, Credentials, Endpoint
from proxy.link.connection import Connection, Owner
from proxy.link.counters import Counters
from proxy.link.failure import Reason, ScriptError, Unavailable
from proxy.link.script import Script, pack

AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Settings:
    """The link's bounds, in seconds, and the name it goes by in CLIENT LIST.

    `deadline_s` bounds a batch, `connect_s` the making of a connection and again its greeting. An answer may
    come 50 ms later because Redis is silent, and what a loop needs to notice that is a part of it.
    """

    deadline_s: float = 0.045
    connect_s: float = 0.25
    name: str = "apex"


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a server said of itself. `run_id` is "" where we may not ask for it."""

    role: str
    run_id: str


class Dialler:
    """Makes the connections of one link."""

    def __init__(self, address: Address, settings: Settings, clock: Clock, counters: Counters) -> None:
        self._address = address
        self._settings = settings
        self._clock = clock
        self._counters = counters
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tls: ssl.SSLContext | None = address.tls.context() if address.tls else None

    async def dial(
        self, endpoint: Endpoint, owner: Owner, scripts: Iterable[Script] = ()
    ) -> tuple[Connection, Greeting]:
        """A greeted connection to a data server.

        Raises:
            Unavailable: no connection, no greeting in time, or the server is not fit.
        """
        async with self._slots:
            connection = await self._connect(endpoint, owner)
            try:
                greeting = await self._greet(connection, scripts)
            except BaseException:
                connection.abort(Reason.CLOSED, "not greeted")
                raise
        self._counters.connects += 1
        return connection, greeting

    async def ask(self, endpoint: Endpoint, *question: str) -> Any:
        """The reply of a sentinel to one command, on a connection of its own.

        Raises:
            Unavailable: it cannot be had.
        """
        commands = [pack(*question)]
        if self._address.sentinel_credentials is not None:
            commands.insert(0, _auth(self._address.sentinel_credentials))
        return await self._ask(endpoint, commands)

    async def ask_node(self, endpoint: Endpoint, *question: str) -> Any:
        """The same of a data server, whatever its state."""
        return await self._ask(endpoint, [self._hello(), pack(*question)])

    async def _ask(self, endpoint: Endpoint, commands: list[bytes]) -> Any:
        async with self._slots:
            connection = await self._connect(endpoint, Owner())
            try:
                replies = await connection.request(*commands, due=self._due())
            finally:
                connection.abort(Reason.CLOSED, "asked")
                await asyncio.shield(connection.closed)
        for reply in replies:
            if isinstance(reply, Exception):
                raise _as_unavailable(reply)
        return replies[-1]

    async def _connect(self, endpoint: Endpoint, owner: Owner) -> Connection:
        loop = asyncio.get_running_loop()

        def build() -> Connection:
            return Connection(owner, self._clock)

        try:
            async with asyncio.timeout(self._settings.connect_s):
                if endpoint.path:
                    return (await loop.create_unix_connection(build, endpoint.path))[1]
                host, port, tls = endpoint.host, endpoint.port, self._tls
                return (await loop.create_connection(build, host, port, ssl=tls))[1]
        except TimeoutError as error:
            raise Unavailable(Reason.TIMEOUT, f"connecting to {endpoint}") from error
        except (OSError, UnicodeError) as error:  # names that cannot be names are UnicodeErrors
            raise Unavailable(Reason.CONNECTION, _said(error, endpoint)) from error

    async def _greet(self, connection: Connection, scripts: Iterable[Script]) -> Greeting:
        select = [pack("SELECT", self._address.db)] if self._address.db else []
        loads = [pack("SCRIPT", "LOAD", script.text) for script in scripts]
        hello, info, *rest = await connection.request(
            self._hello(), pack("INFO", "server"), *select, *loads, due=self._due()
        )
        for reply in (hello, *rest):
            if isinstance(reply, Exception):
                raise _as_unavailable(reply)
        return Greeting(_role(hello), _run_id(info))

    def _hello(self) -> bytes:
        who = self._address.credentials
        auth = ("AUTH", who.username or "default", who.password) if who else ()
        return pack("HELLO", 2, *auth, "SETNAME", self._settings.name)

    def _due(self) -> float:
        return self._clock.monotonic() + self._settings.connect_s


def _auth(who: Credentials) -> bytes:
    return pack("AUTH", who.username, who.password) if who.username else pack("AUTH", who.password)


def _as_unavailable(error: Exception) -> Unavailable:
    """A server that refuses its greeting cannot be used, whatever it calls that."""
    if isinstance(error, Unavailable):
        return error
    assert isinstance(error, ScriptError)
    return Unavailable(Reason.REFUSED, str(error))


def _said(error: OSError | UnicodeError, endpoint: Endpoint) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS with {endpoint}: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS with {endpoint}: {error.reason}"
    return f"{type(error).__name__} at {endpoint}"


def _role(hello: list[bytes]) -> str:
    fields = dict(zip(hello[::2], hello[1::2], strict=False))
    return fields[b"role"].decode()


def _run_id(info: bytes | Exception) -> str:
    """The identity in INFO's text; a user who may not run INFO gets "" instead."""
    if isinstance(info, Exception):
        return ""
    _, _, after = info.partition(b"run_id:")
    return after[:40].decode("ascii", "replace")
