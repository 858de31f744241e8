"""TLS sessions: a server that is met again need not prove itself anew, which saves a round trip's work."""

import ssl
from typing import NamedTuple

_SESSIONS = 256  # as many are kept at most
_PROOF = 3600.0  # seconds after which a server has to prove itself anew


class Known(NamedTuple):
    """A session, and when the handshake was in which its server showed its certificate."""

    session: ssl.SSLSession
    proven: float


class ResumingContext(ssl.SSLContext):
    """A client's context that begins with the session a server has given last.

    Event loops have no argument for that, but all of them call `wrap_bio`. A server's ticket arrives after
    the handshake, with its first bytes, so a session is noted when a connection has served. Times are of the
    caller's own clock, in seconds.
    """

    _sessions: dict[str, Known]

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002  (the signature of what it overrides)
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """See `ssl.SSLContext.wrap_bio`."""
        if session is None and isinstance(server_hostname, str):
            known = self.known.get(server_hostname)
            session = known.session if known is not None else None
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)

    @property
    def known(self) -> dict[str, Known]:
        """Sessions by the name of their server."""
        try:
            return self._sessions
        except AttributeError:  # made in C, without `__init__`
            self._sessions = {}
            return self._sessions

    def note(self, secured: ssl.SSLObject, now: float) -> None:
        """Keep the session of a connection that has served. What was resumed proves nothing anew."""
        name, session = secured.server_hostname, secured.session
        if name is None or session is None or not session.has_ticket:
            return
        known = self.known
        earlier = known.get(name)
        if secured.session_reused:
            if earlier is not None:
                known[name] = Known(session, earlier.proven)
            return
        if len(known) >= _SESSIONS and earlier is None:
            known.clear()
        known[name] = Known(session, now)

    def expire(self, name: str, now: float) -> None:
        """No more of that session if its server has not shown its certificate for an hour."""
        known = self.known.get(name)
        if known is not None and now - known.proven > _PROOF:
            self.forget(name)

    def forget(self, name: str) -> None:
        """No more of that session: a connection could not be made."""
        self.known.pop(name, None)


def verifying_context() -> ResumingContext:
    """A context that trusts the system's authorities and speaks HTTP/1.1."""
    context = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    return context
