"""What is stored of one response: what the client saw, and what is needed to go on from there. Pure."""

import msgspec

NEAREST = 128
"""The most ancestors that a document names. Older ones are named by the oldest of these."""


class Stored(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One response of one client.

    `created` is Unix time in seconds, `model` the alias that was asked for, `response` the JSON object as the
    client saw it. `input` are the items of this request alone, each with an id, `output` those of the reply
    with all that a replay needs, be it hidden from the client. `ancestors` are the ids of the responses
    before this one, oldest first, at most `NEAREST` of them; the last is `previous`. `replica` names who runs
    it, if it runs in the background.
    """

    id: str
    created: int
    model: str
    status: str
    response: msgspec.Raw
    input: tuple[msgspec.Raw, ...] = ()
    output: tuple[msgspec.Raw, ...] = ()
    previous: str | None = None
    ancestors: tuple[str, ...] = ()
    background: bool = False
    replica: str = ""

    @property
    def running(self) -> bool:
        """Whether it has no outcome yet."""
        return self.status in _RUNNING


_RUNNING = frozenset({"queued", "in_progress"})


def lineage(previous: Stored | None) -> tuple[str, ...]:
    """The `ancestors` of a response that follows `previous`."""
    return (*previous.ancestors, previous.id)[-NEAREST:] if previous is not None else ()


def encode(stored: Stored) -> bytes:
    """As JSON."""
    return msgspec.json.encode(stored)


def decode(data: bytes) -> Stored:
    """From JSON. Raises `msgspec.MsgspecError` for anything else; unknown fields are passed over."""
    return _DECODER.decode(data)


_DECODER = msgspec.json.Decoder(Stored)
