"""Rules that look across sections: names that must exist, names and keys that must differ, ports.

They read the plain data, not the finished tree, so that they can be told together with the errors of
single fields; what has the wrong shape is skipped here, for the tree complains about it already.
"""

from collections.abc import Iterator, Mapping

from proxy import addresses
from proxy.config.fields import AUTH_HEADERS, with_kind
from proxy.config.problems import Fault, Path, nearest, shown, shown_key, written

Mapped = Mapping[str, object]

_KEYS = frozenset({"api_key", "api_keys"})


def faults(data: object) -> list[Fault]:
    """Every breach of a rule across sections."""
    if not isinstance(data, dict):
        return []
    config = _mapping(data)
    return [
        *_client_names(config),
        *_client_keys(config),
        *_client_models(config),
        *_entries(config),
        *_azure_names(config),
        *_something_to_call(config),
        *_ports(config),
    ]


def _mapping(value: object) -> Mapped:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value] if isinstance(value, str) else []


def _clients(config: Mapped) -> Iterator[tuple[Path, Mapped]]:
    for index, client in enumerate(_list(config.get("clients"))):
        yield ("clients", index), _mapping(client)


def _all_entries(config: Mapped) -> Iterator[tuple[Path, Mapped]]:
    for alias, model in _mapping(config.get("models")).items():
        for index, entry in enumerate(_list(_mapping(model).get("providers"))):
            if isinstance(entry, dict):
                yield ("models", alias, "providers", index), entry


def _client_names(config: Mapped) -> Iterator[Fault]:
    seen: dict[str, Path] = {}
    for path, client in _clients(config):
        name = client.get("name")
        if isinstance(name, str) and seen.setdefault(name, path) != path:
            found = f"{shown(name)}, which {written(seen[name])} has too"
            yield Fault((*path, "name"), found, "each name once", "choose another name")


def _keys(client: Mapped, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(client.get("key"), str):
        yield (*path, "key"), str(client["key"]).strip()
    keys = client.get("keys")
    for index, key in enumerate(_list(keys)):
        if isinstance(key, str):
            yield (*path, "keys", index) if isinstance(keys, list) else (*path, "keys"), key.strip()


def _client_keys(config: Mapped) -> Iterator[Fault]:
    seen: dict[str, Path] = {}
    for path, client in _clients(config):
        for place, key in _keys(client, path):
            if seen.setdefault(key, place) != place:
                found = f"the same key as {written(seen[key])}"
                yield Fault(place, found, "each key once", "give every client a key of its own")


def _client_models(config: Mapped) -> Iterator[Fault]:
    models = _mapping(config.get("models"))
    for path, client in _clients(config):
        for index, name in enumerate(_list(client.get("models"))):
            if isinstance(name, str) and not {"*", "?"}.intersection(name):
                yield from _known((*path, "models", index), name, models)
        for name in _mapping(client.get("model_limits")):
            yield from _known((*path, "model_limits", name), name, models)
        if client.get("models") == [] and not client.get("allow_direct"):
            mend = "name a model, or set `allow_direct: true`"
            yield Fault((*path, "models"), "an empty list", "a client that may use something", mend)


def _known(path: Path, name: str, models: Mapped) -> Iterator[Fault]:
    if name not in models:
        mend = nearest(name, models) or "add it to `models`"
        yield Fault(path, f"{shown(name)}, which is no model", "an alias from `models`", mend)


def _entries(config: Mapped) -> Iterator[Fault]:
    providers = _mapping(config.get("providers"))
    for path, entry in _all_entries(config):
        name = entry.get("provider")
        if name is None and "base_url" not in entry:
            yield Fault((*path, "provider"), "nothing", "a name from `providers`", "add `provider:`")
        elif isinstance(name, str) and name not in providers and "base_url" not in entry:
            names = [shown_key(("providers", known)) for known in providers]
            allowed = f"a name from `providers` ({', '.join(names) or 'which is empty'})"
            mend = nearest(name, names) or "add it to `providers`"
            yield Fault((*path, "provider"), f"{shown(name)}, which is no provider", allowed, mend)
        yield from _auth_headers(path, entry, _mapping(providers.get(str(name))))


def _auth_headers(path: Path, entry: Mapped, provider: Mapped) -> Iterator[Fault]:
    """An entry without keys or address of its own sends the provider's: its headers may not carry another."""
    headers = _mapping(entry.get("headers"))
    if _KEYS.isdisjoint(provider) or not (_KEYS | {"base_url"}).isdisjoint(entry):
        return
    for header in headers:
        if header.lower() in AUTH_HEADERS:
            found = f"the header `{header}` beside the provider's keys"
            yield Fault((*path, "headers", header), found, "one of them in a request", "remove the header")


def _azure_names(config: Mapped) -> Iterator[Fault]:
    providers = _mapping(config.get("providers"))
    for name, provider in providers.items():
        full = _mapping(with_kind(provider))
        if _lacks_name(full.get("base_url"), full):
            yield _no_name(("providers", name, "name"))
    for path, entry in _all_entries(config):
        provider = _mapping(providers.get(str(entry.get("provider"))))
        if _lacks_name(entry.get("base_url"), {**provider, **entry}):
            yield _no_name((*path, "name"))


def _lacks_name(base_url: object, section: Mapped) -> bool:
    return isinstance(base_url, str) and addresses.needs_name(base_url) and section.get("name") is None


def _no_name(path: Path) -> Fault:
    allowed = "the resource that `:name` in `base_url` stands for"
    return Fault(path, "nothing", allowed, "add `name:`, or write the host out in `base_url`")


def _something_to_call(config: Mapped) -> Iterator[Fault]:
    if config.get("models"):
        return
    clients = [client for _, client in _clients(config)]
    direct = not clients or any(client.get("allow_direct") for client in clients)
    if not config.get("providers"):
        mend = "add `providers:` and `models:`"
        yield Fault(("models",), "no model and no provider", "something to call", mend)
    elif not direct:
        mend = "add `models:`, or `allow_direct: true` to a client"
        yield Fault(("models",), "no model that a client may use", "at least one model", mend)


def _ports(config: Mapped) -> Iterator[Fault]:
    listen, operations = _mapping(config.get("listen")), _mapping(config.get("operations"))
    port, first, workers = listen.get("port", 8080), operations.get("port", 9090), listen.get("workers", 1)
    if not (isinstance(port, int) and isinstance(first, int) and isinstance(workers, int)) or first == 0:
        return
    last = first + workers - 1
    if last > 65_535:
        found = f"{first} with {workers} workers"
        yield Fault(("operations", "port"), found, "ports up to 65535", "choose a lower port")
    elif first <= port <= last:
        found = f"{port}, one of the operations ports {first} to {last}"
        yield Fault(("listen", "port"), found, "a port of its own", "choose another port")
