"""The section that says how responses are stored.

Like all of the tree, it holds data only. See `settings`.
"""

import base64
import binascii
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from proxy.config.fields import Positive, Wait
from proxy.config.section import Section
from proxy.config.units import Secret, Size

KEY_BYTES = 32


def _key(secret: Secret) -> Secret:
    try:
        key = base64.b64decode(secret.get_secret_value().strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError("32 random bytes in base64, as `openssl rand -base64 32` writes them")
    return Secret(base64.b64encode(key).decode())


class EncryptionKey(Section):
    """A key that stored responses are encrypted with."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,32}$")] = Field(
        description="Its name, stored beside what it encrypts; never give it to another key."
    )
    key: Annotated[Secret, AfterValidator(_key)] = Field(
        description="32 random bytes in base64 (AES-256-GCM); write it as `${NAME}`."
    )

    def raw(self) -> bytes:
        """The 32 bytes."""
        return base64.b64decode(self.key.get_secret_value())


class Responses(Section):
    """How responses are stored for their clients. Each client sees only its own."""

    store_by_default: bool = Field(
        default=True, description="Whether a response is stored whose request says nothing of `store`."
    )
    ttl: Wait = Field(default=30 * 86_400.0, description="How long a response is kept.")
    max_size: Annotated[Size, Field(ge=1024, le=64 * 1024**2)] = Field(
        default=8 * 1024**2,
        description="The largest response that is stored, its new input included, before compression; "
        "a larger one is answered but not kept.",
    )
    client_quota: Annotated[Size, Field(ge=1024**2)] = Field(
        default=1024**3,
        description="The most that is stored for one client, as it is stored; beyond it the client's oldest "
        "responses go first.",
    )
    keys: tuple[EncryptionKey, ...] = Field(
        default=(),
        description="Keys for encryption: the first encrypts, all of them decrypt. A new key goes first, and "
        "an old one may go when `ttl` has passed. Without any, responses are only compressed.",
    )
    event_bytes: Annotated[Size, Field(ge=1024)] = Field(
        default=4 * 1024**2,
        description="The most bytes of events kept of one background response; beyond it the oldest go.",
    )
    event_ttl: Wait = Field(
        default=3600.0,
        description="How long the events of a background response can be read after the last of them.",
    )
    outbox_entries: Positive = Field(
        default=1_000, description="The most responses that one replica keeps while Redis is away."
    )
    outbox_bytes: Annotated[Size, Field(ge=1024**2)] = Field(
        default=64 * 1024**2, description="The most bytes of them."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.max_size + self.event_bytes > self.client_quota:
            raise ValueError("`max_size` and `event_bytes` together at most `client_quota`")
        if self.event_ttl > self.ttl:
            raise ValueError("`event_ttl` at most `ttl`")
        if len({key.id for key in self.keys}) != len(self.keys):
            raise ValueError("each id of `keys` once")
        return self
