"""What is stored, as bytes: compressed with zstd, encrypted with AES-256-GCM where there are keys. Pure.

    byte 0      the version of this format, 1
    byte 1      flags: 1 compressed, 2 encrypted
    then        the data, or where it is encrypted: a byte with the length of the key's id, the id,
                a nonce of 12 bytes, the ciphertext with its tag

The header and the context (whose it is, and which) are authenticated: what was sealed for one client cannot
be opened as another's. Nonces are random: a key is good for 2^32 seals
(https://csrc.nist.gov/pubs/sp/800/38/d/final, 8.3). What was stored before there were keys stays readable.
"""

from collections.abc import Callable, Sequence

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from proxy.errors import ApexError

VERSION = 1
LEVEL = 3
SMALL = 512
"""Bytes up to which compression is not worth it."""

MOST = 256 * 1024**2
"""Bytes that anything may open to."""

_COMPRESSED = 1
_ENCRYPTED = 2
_NONCE = 12


class SealError(ApexError):
    """What was stored cannot be opened: damaged, not ours, or of a later version."""


class UnknownKeyError(SealError):
    """It is encrypted with a key that is not configured."""


class Sealer:
    """Seals and opens. `keys` are (id, 32 bytes), the one to encrypt with first; none: plain.

    `random` gives so many random bytes; `most` bounds what is opened, in bytes before compression.
    """

    def __init__(self, keys: Sequence[tuple[str, bytes]], random: Callable[[int], bytes]) -> None:
        self._keys = {id_.encode(): AESGCM(key) for id_, key in keys}
        self._first = keys[0][0].encode() if keys else None
        self._random = random

    def __repr__(self) -> str:
        """The ids of the keys."""
        return f"<Sealer {[id_.decode() for id_ in self._keys]}>"

    def seal(self, data: bytes, context: bytes) -> bytes:
        """`data` as it is stored for `context`."""
        flags = 0
        if len(data) > SMALL:
            data, flags = zstandard.ZstdCompressor(level=LEVEL).compress(data), _COMPRESSED
        if self._first is None:
            return bytes((VERSION, flags)) + data
        header = bytes((VERSION, flags | _ENCRYPTED, len(self._first))) + self._first
        nonce = self._random(_NONCE)
        return header + nonce + self._keys[self._first].encrypt(nonce, data, header + context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """The data again.

        Raises:
            UnknownKeyError: it is encrypted with a key that is not here.
            SealError: it is not what `seal` made for this context.
        """
        if len(sealed) < 2 or sealed[0] != VERSION or sealed[1] > _COMPRESSED | _ENCRYPTED:
            raise SealError("not a sealed document of a known version")
        data = self._decrypted(sealed, context) if sealed[1] & _ENCRYPTED else sealed[2:]
        return self._decompressed(data) if sealed[1] & _COMPRESSED else data

    def _decrypted(self, sealed: bytes, context: bytes) -> bytes:
        end = 3 + sealed[2] if len(sealed) > 2 else 3
        header, nonce, data = sealed[:end], sealed[end : end + _NONCE], sealed[end + _NONCE :]
        key = self._keys.get(header[3:])
        if key is None:
            raise UnknownKeyError(f"sealed with the key {header[3:].decode('ascii', 'replace')[:32]!r}")
        try:
            return key.decrypt(nonce, data, header + context)
        except (InvalidTag, ValueError) as error:  # a nonce that was cut off is a ValueError
            raise SealError("its tag does not fit") from error

    def _decompressed(self, data: bytes) -> bytes:
        try:
            if not 0 <= zstandard.frame_content_size(data) <= MOST:
                raise SealError("it opens to more than is ever stored")
            return zstandard.ZstdDecompressor().decompress(data)
        except zstandard.ZstdError as error:
            raise SealError("it cannot be decompressed") from error
