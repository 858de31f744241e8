"""Who is asking, and for what: from a key to its tenant, from an alias to its model. Pure."""

import re

from proxy import targets
from proxy.errors import Refusal
from proxy.exchange import Exchange
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
            else "You did not provide an API key.",
            code="invalid_api_key",
            should_retry=False,
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
