"""Who is asking, for what and how: from a key to its tenant, from an alias to its model. Pure."""

import re

from proxy import targets
from proxy.errors import Refusal
from proxy.exchange import Exchange, Head
from proxy.snapshot import Snapshot
from proxy.targets import Model
from proxy.tenants import Tenant

_MODEL_NAME = re.compile(r"(?!\.{1,2}$)[\x21-\x7e]{1,256}")
"""What a client may name directly: it ends up in a URL and in a response header."""


def authenticate(exchange: Exchange) -> None:
    """Find the tenant of the exchange's key; who opened it may have said who it is. Raises `Refusal` 401."""
    if exchange.tenant is not None:
        return
    exchange.tenant = exchange.snapshot.tenants.of(exchange.head.credential)
    if exchange.tenant is None:
        raise Refusal(
            401,
            "You did not provide a valid API key."
            if exchange.head.credential
            else "You did not provide an API key: send `Authorization: Bearer <key>` or `x-api-key: <key>`.",
            code="invalid_api_key",
            should_retry=False,
        )


def unreadable_type(head: Head) -> Refusal:
    """What is told of a body that says it is no JSON."""
    said = head.content_type[:100].decode("latin-1")
    shown = "".join(character if character.isprintable() else "?" for character in said)
    return Refusal(
        400, f"The content type must be application/json, not '{shown}'.", code="unsupported_content_type"
    )


def find_model(exchange: Exchange, name: str) -> Model:
    """The model that `name` stands for. Raises the same `Refusal` 404 for unknown and forbidden ones."""
    assert exchange.tenant is not None
    found = model_of(exchange.tenant, exchange.snapshot, name)
    if found is not None:
        return found
    raise Refusal(
        404,
        f"The model '{name[:200]}' does not exist.",
        code="model_not_found",
        param="model",
        should_retry=False,
    )


def model_of(tenant: Tenant, snapshot: Snapshot, name: str) -> Model | None:
    """The model that `name` stands for, for `tenant`; None where there is none, or not for everybody."""
    model = snapshot.models.get(name)
    if model is not None and tenant.may_use(name):
        return model
    if not tenant.allow_direct or "#" not in name:
        return None
    upstream_model, _, provider = name.rpartition("#")
    named = _MODEL_NAME.fullmatch(upstream_model)
    return targets.direct(snapshot.config, provider, upstream_model) if named else None
