import datetime as dt
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from proxy.config.redis_url import Address, AddressError, Credentials, Endpoint, Layout, Tls, parse
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
    assert str(told.value)
    assert "SECRET" not in str(told.value)


def test_passwords_have_no_repr() -> None:
    """Neither the server's nor the sentinels' password can be printed by accident."""
    address = parse("redis+sentinel://u:SECRET1@a/s?sentinel_password=SECRET2")
    assert "SECRET" not in repr(address)
    assert "SECRET" not in str(address)
    greeting = Call(pack("AUTH", "u", "SECRET1"), None, prefix=b"SECRET2")
    assert "SECRET" not in repr(Batch([greeting], 1.0))


def test_a_plus_is_a_plus() -> None:
    """An address is no form: passwords in base64 have some, and so have paths."""
    address = parse("redis+sentinel://u:a+b%2Fc@a/s?sentinel_password=a+b%2Fc&ca=/etc/c++/ca.pem")
    assert address.credentials is not None
    assert address.sentinel_credentials is not None
    assert address.credentials.password == address.sentinel_credentials.password == "a+b/c"
    assert address.tls is not None
    assert str(address.tls.ca) == "/etc/c++/ca.pem"


@pytest.mark.parametrize("query", ["ca=/nowhere", "cert=/nowhere"])
def test_a_certificate_that_is_not_there_is_named(query: str) -> None:
    """A missing PEM file is the operator's mistake, told with its path."""
    tls = parse(f"rediss://h?{query}").tls
    assert tls is not None
    with pytest.raises(AddressError, match="/nowhere cannot be used"):
        tls.context()


def named(name: str) -> x509.Name:
    """The subject of a certificate."""
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def draft(subject: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    """A certificate yet to be signed by the authority, for a hundred years."""
    return x509.CertificateBuilder(
        issuer_name=named("authority"),
        subject_name=named(subject),
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
        not_valid_after=dt.datetime(2120, 1, 1, tzinfo=dt.UTC),
    )


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the barest authority there is, a server `h` that it vouches for, and another one."""
    folder = tmp_path_factory.mktemp("certificates")
    authority, server, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    name = x509.SubjectAlternativeName([x509.DNSName("h")])
    made = {
        "authority": draft("authority", authority).add_extension(constraints, critical=True),
        "server": draft("h", server).add_extension(name, critical=False),
        "other": draft("authority", other).add_extension(constraints, critical=True),
    }
    for file, drafted in made.items():
        signed = drafted.sign(other if file == "other" else authority, SHA256())
        (folder / file).write_bytes(signed.public_bytes(Encoding.PEM))
    key = server.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key").write_bytes(key)
    return folder


def shake_hands(ca: Path, name: str) -> None:
    """A whole handshake with the server `h`, by a client that trusts `ca` and wants `name`."""
    tls = parse(f"rediss://h?ca={ca}").tls
    assert tls is not None
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(ca.with_name("server"), ca.with_name("key"))
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls.context().wrap_bio(back, there, server_hostname=name)
    server = serving.wrap_bio(there, back, server_side=True)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert client.version() is not None


@pytest.mark.parametrize("ca", ["authority", "server"])
def test_what_is_named_is_trusted_whichever_python_runs(certificates: Path, ca: str) -> None:
    """A bare authority is enough, and so is the server's own certificate."""
    shake_hands(certificates / ca, "h")


@pytest.mark.parametrize(
    ("ca", "name"), [("other", "h"), ("authority", "elsewhere"), ("server", "elsewhere")]
)
def test_another_authority_or_another_name_is_refused(certificates: Path, ca: str, name: str) -> None:
    """Only who vouches for the server, and only under the name it has."""
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(certificates / ca, name)


@pytest.mark.parametrize(("url", "text"), [("redis://[::1]:9", "single [::1]:9"), ("unix:///s", "single /s")])
def test_an_address_is_printed_for_people(url: str, text: str) -> None:
    """An address reads as it is written."""
    assert str(parse(url)) == text
