"""TLS sessions: a server that is met again need not prove itself anew, which saves a round trip's work."""

import ssl

_SESSIONS = 256  # as many are kept at most


class ResumingContext(ssl.SSLContext):
    """A client's context that begins with the session a server has given last.

    Event loops have no argument for that, but all of them call `wrap_bio`. A server's ticket arrives after
    the handshake, with its first bytes, so a session is noted when a connection has served.
    """

    _sessions: dict[str, ssl.SSLSession]

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
            session = self.known.get(server_hostname)
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)

    @property
    def known(self) -> dict[str, ssl.SSLSession]:
        """Sessions by the name of their server."""
        try:
            return self._sessions
        except AttributeError:  # made in C, without `__init__`
            self._sessions = {}
            return self._sessions

    def note(self, secured: ssl.SSLObject) -> None:
        """Keep the session of a connection that has served."""
        name, session = secured.server_hostname, secured.session
        if name is None or session is None or not session.has_ticket:
            return
        known = self.known
        if len(known) >= _SESSIONS and name not in known:
            known.clear()
        known[name] = session

    def forget(self, name: str) -> None:
        """No more of that session: a handshake has failed."""
        self.known.pop(name, None)


def verifying_context() -> ResumingContext:
    """A context that trusts the system's authorities and speaks HTTP/1.1."""
    context = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    return context
