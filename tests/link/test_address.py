from pathlib import Path

import pytest

from proxy.link.address import Address, AddressError, Credentials, Endpoint, Layout, Tls, parse
from proxy.link.connection import Batch, Call
from proxy.link.script import pack

HERE = (Endpoint("h", 6379),)

FORMS = [
    ("redis://h", Address(Layout.SINGLE, HERE)),
    ("redis://h:7/3", Address(Layout.SINGLE, (Endpoint("h", 7),), db=3)),
    ("redis://h?db=4", Address(Layout.SINGLE, HERE, db=4)),
    ("redis://:p%40w@h", Address(Layout.SINGLE, HERE, credentials=Credentials("", "p@w"))),
    ("redis://pw@h", Address(Layout.SINGLE, HERE, credentials=Credentials("", "pw"))),
    ("redis://u:p@h", Address(Layout.SINGLE, HERE, credentials=Credentials("u", "p"))),
    ("redis://[::1]:9", Address(Layout.SINGLE, (Endpoint("::1", 9),))),
    ("rediss://h", Address(Layout.SINGLE, HERE, tls=Tls())),
    (
        "rediss://h?ca=/c&cert=/d&key=/e",
        Address(Layout.SINGLE, HERE, tls=Tls(Path("/c"), Path("/d"), Path("/e"))),
    ),
    ("unix:///a%20b/s?db=2", Address(Layout.SINGLE, (Endpoint("", 0, "/a b/s"),), db=2)),
    (
        "unix://u:p@/s",
        Address(Layout.SINGLE, (Endpoint("", 0, "/s"),), credentials=Credentials("u", "p")),
    ),
    (
        "redis+sentinel://a,b:1/svc/2?sentinel_username=x&sentinel_password=y",
        Address(
            Layout.SENTINEL,
            (Endpoint("a", 26379), Endpoint("b", 1)),
            service="svc",
            db=2,
            sentinel_credentials=Credentials("x", "y"),
        ),
    ),
    (
        "redis+cluster://a,b:1?tls=true",
        Address(Layout.CLUSTER, (Endpoint("a", 6379), Endpoint("b", 1)), tls=Tls()),
    ),
]

WRONG = [
    "http://h",
    "redis://a,b",
    "redis://h:70000",
    "redis://h:SECRET",
    "redis://:SEC/RET@h",
    "redis://h/SECRET",
    "redis://h?tls=SECRET",
    "redis://h?key=SECRET",
    "redis://h?SECRET=1",
    "redis://:pa?SECRET@h",
    "redis://",
    "unix://h/s",
    "unix://",
    "unix:///s?tls=1",
    "redis+sentinel://a,b",
    "redis+cluster://a/1",
]


@pytest.mark.parametrize(("url", "address"), FORMS, ids=[url for url, _ in FORMS])
def test_every_form_is_understood(url: str, address: Address) -> None:
    """Each documented form gives the value it stands for."""
    assert parse(url) == address


@pytest.mark.parametrize("url", WRONG)
def test_what_is_wrong_is_told_without_the_url(url: str) -> None:
    """An error names the part and what is allowed, and never repeats a value."""
    with pytest.raises(AddressError) as told:
        parse(url)
    assert "redis URL" in str(told.value)
    assert "SECRET" not in str(told.value)


def test_passwords_have_no_repr() -> None:
    """Neither the server's nor the sentinels' password can be printed by accident."""
    address = parse("redis+sentinel://u:SECRET1@a/s?sentinel_password=SECRET2")
    assert "SECRET" not in repr(address)
    assert "SECRET" not in str(address)
    greeting = Call(pack("AUTH", "u", "SECRET1"), None, prefix=b"SECRET2")
    assert "SECRET" not in repr(Batch([greeting], 1.0))


@pytest.mark.parametrize("query", ["ca=/nowhere", "cert=/nowhere"])
def test_a_certificate_that_is_not_there_is_named(query: str) -> None:
    """A missing PEM file is the operator's mistake, told with its path."""
    tls = parse(f"rediss://h?{query}").tls
    assert tls is not None
    with pytest.raises(AddressError, match="/nowhere cannot be used"):
        tls.context()


@pytest.mark.parametrize(("url", "text"), [("redis://[::1]:9", "single [::1]:9"), ("unix:///s", "single /s")])
def test_an_address_is_printed_for_people(url: str, text: str) -> None:
    """An address reads as it is written."""
    assert str(parse(url)) == text
