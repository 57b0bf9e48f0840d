"""The key pair with which tokens for others are signed, as Entra ID publishes its public half.

Who must judge a token by itself (an API that somebody registered, a federated sign-in, Azure Storage)
gets RS256. The pair is made once in a process, when the first one asks: with the certificates of
`seals` the one thing that the seed does not decide.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from emulator import wire

_BITS = 2048
_EXPONENT = 65537


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(_EXPONENT, _BITS)


def published() -> dict[str, Any]:
    """The public key as a member of a JSON Web Key Set (RFC 7517)."""
    numbers = _key().public_key().public_numbers()
    modulus = _b64(numbers.n.to_bytes(_BITS // 8, "big"))
    key_id = _b64(hashlib.sha256(modulus.encode()).digest()[:20])
    return {
        "kty": "RSA",
        "use": "sig",
        "kid": key_id,
        "x5t": key_id,
        "n": modulus,
        "e": _b64(_EXPONENT.to_bytes(3, "big")),
    }


def sign(claims: dict[str, Any]) -> str:
    """A JWT signed RS256 by the published key."""
    key_id = published()["kid"]
    header = {"typ": "JWT", "alg": "RS256", "kid": key_id, "x5t": key_id}
    text = ".".join(_b64(wire.encode(part).encode()) for part in (header, claims))
    return f"{text}.{_b64(_key().sign(text.encode(), padding.PKCS1v15(), SHA256()))}"


def read(token: str) -> dict[str, Any] | None:
    """The claims of a token that the published key signed."""
    text, _, signature = token.rpartition(".")
    if text.count(".") != 1:
        return None
    try:
        _key().public_key().verify(_bytes(signature), text.encode(), padding.PKCS1v15(), SHA256())
        claims: dict[str, Any] = wire.decode(_bytes(text.partition(".")[2]))
    except (InvalidSignature, ValueError):
        return None
    return claims


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
