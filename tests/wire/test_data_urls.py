import base64

import pytest

from proxy.errors import Refusal
from proxy.wire import data_urls
from proxy.wire.conversation import Inline, Url

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n....").decode()
WEBP = base64.b64encode(b"RIFF\x24\x01\x00\x00WEBPVP8 ").decode()


@pytest.mark.parametrize("url", ["http://x/y.png", "https://x/y.png", "HTTPS://x"])
def test_addresses(url: str) -> None:
    """They are the provider's to fetch."""
    assert data_urls.source(url, "p") == Url(url)


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("data:text/csv;base64,eA==", Inline("text/csv", "eA==")),
        ("data:text/csv;charset=utf-8;base64,eA==", Inline("text/csv", "eA==")),
        ("DATA:Text/CSV;BASE64,eA==", Inline("text/csv", "eA==")),
        ("data:;base64,eA==", Inline(data_urls.UNKNOWN, "eA==")),
        (f"data:image/jpeg;base64,{PNG}", Inline("image/png", PNG)),
        (f"data:;base64,{PNG}", Inline("image/png", PNG)),
        ("data:image/jpg;base64,eA==", Inline("image/jpeg", "eA==")),
    ],
)
def test_data(url: str, file: Inline) -> None:
    """With further parameters, in any letters, and with the type that the bytes have."""
    assert data_urls.source(url, "p") == file


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (PNG, "image/png"),
        (WEBP, "image/webp"),
        (base64.b64encode(b"\xff\xd8\xff\xe0").decode(), "image/jpeg"),
        (base64.b64encode(b"GIF89a").decode(), "image/gif"),
        (base64.b64encode(b"%PDF-1.7").decode(), "application/pdf"),
        (base64.b64encode(b"RIFF\x24\x01\x00\x00WAVEfmt ").decode(), "audio/wav"),
    ],
)
def test_types_by_the_first_bytes(data: str, media_type: str) -> None:
    """What they do not tell is believed."""
    assert data_urls.sniffed("audio/wav", data) == media_type


def test_bare_base64() -> None:
    """Some clients send a file so."""
    assert data_urls.inline(PNG, "p") == Inline("image/png", PNG)


@pytest.mark.parametrize("url", ["data:text/plain,x", "data:x"])
def test_data_in_another_form(url: str) -> None:
    """It is refused with its place."""
    with pytest.raises(Refusal) as caught:
        data_urls.inline(url, "messages[0].x")
    assert (caught.value.status, caught.value.param) == (400, "messages[0].x")


@pytest.mark.parametrize("url", ["ftp://x", "file:///etc/passwd", "x", ""])
def test_other_addresses(url: str) -> None:
    """Nobody is asked to fetch them."""
    with pytest.raises(Refusal) as caught:
        data_urls.source(url, "p")
    assert caught.value.param == "p"


def test_back_again() -> None:
    """The same file."""
    file = Inline("image/png", PNG)
    assert data_urls.source(data_urls.data_url(file), "p") == file
