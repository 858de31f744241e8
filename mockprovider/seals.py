"""Seals: what a provider hands out with its reasoning and takes back only as it was.

Rule: a seal tells what it is for (`thinking`, `redacted`, `reasoning`, `compaction`), whose it is (a model's
or a provider's) and a digest of the text, under a check over all three. So it can be verified without memory,
it is the same in every run, and what was made up, altered, or comes from elsewhere is found.
"""

import base64
import binascii
import hashlib


def seal(kind: str, owner: str, text: str) -> str:
    """The seal of a text, as base64."""
    told = f"{kind}|{owner}|{_digest(text)}"
    return base64.b64encode(f"{told}|{_digest(told)}".encode()).decode()


def issued(kind: str, owner: str, sealed: str) -> bool:
    """Whether it is a seal of this kind and owner, over whatever text."""
    try:
        told, _, check = base64.b64decode(sealed, validate=True).decode().rpartition("|")
    except (binascii.Error, ValueError):
        return False
    return check == _digest(told) and told.rpartition("|")[0] == f"{kind}|{owner}"


def _digest(text: str) -> str:
    return hashlib.sha256(b"mock" + text.encode(errors="surrogatepass")).hexdigest()[:32]
