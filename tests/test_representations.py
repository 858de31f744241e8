"""What a struct keeps to itself is in none of its representations, in all three packages."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

import metrics
import proxy
import ratelimit


def structs(parent: type[msgspec.Struct] = msgspec.Struct) -> Iterator[type[Any]]:
    """Every struct of the three packages."""
    for found in parent.__subclasses__():
        yield found
        yield from structs(found)


def discreet() -> list[type[Any]]:
    """Those that do not show all their fields: they have a representation of their own."""
    for package in (proxy, ratelimit, metrics):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    ours = {one for one in structs() if one.__module__.split(".")[0] in ("proxy", "ratelimit", "metrics")}
    own = [
        one
        for one in ours
        if any("__repr__" in vars(level) for level in one.__mro__[: one.__mro__.index(msgspec.Struct)])
    ]
    return sorted(own, key=lambda one: (one.__module__, one.__qualname__))


def test_who_keeps_something_to_itself_is_known() -> None:
    """So the test below has something to look at."""
    assert [f"{one.__module__}.{one.__qualname__}" for one in discreet()] == [
        "proxy.exchange.Head",
        "proxy.link.connection.Call",
        "proxy.upstream.seam.Call",
    ]


@pytest.mark.parametrize("of", discreet())
def test_no_representation_tells_more_than_another(of: type[Any]) -> None:
    """`__rich_repr__`, which pretty printers ask for, says nothing that `__repr__` does not say."""
    made = of(*(f"canary-{name}" for name in of.__struct_fields__))
    told = list(made.__rich_repr__())
    assert told
    assert [name for name, value in told if str(value) not in repr(made)] == []
