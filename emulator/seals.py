"""What notifications are signed with: an authority, a certificate of it, and ones that must not pass.

The issuer's organisation reads Microsoft Corporation, as receivers are told to look for; everything
else in the certificates is invented. They are valid for decades, because a receiver may go by its
own clock or by the emulator's. Keys are made once in a process, when the first event is signed: the
one thing that the seed does not decide.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from emulator.certificates import issue, named

ALGORITHM = "rsa-sha256"
_BITS = 2048
_PLACE = "notifications.emulator.invalid"
_LONG = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2060, 1, 1, tzinfo=UTC))
_PAST = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))
_MICROSOFT = "Microsoft Corporation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """A key and the certificate that is shown for it."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        """The certificate as it is served."""
        return self.certificate.public_bytes(Encoding.DER)

    def sign(self, body: bytes) -> str:
        """RSA PKCS #1 v1.5 with SHA-256 over the raw bytes, in base64."""
        return base64.b64encode(self.key.sign(body, padding.PKCS1v15(), SHA256())).decode()


@cache
def seals() -> dict[str, Seal]:
    """The certificates by the name under which they are served; `notifications` is the good one."""
    authority = _authority(_MICROSOFT)
    stranger = _authority("Fabrikam Forgery")
    own = _key()
    alone = issue(named(_PLACE, _MICROSOFT), own, valid=_LONG, places=[x509.DNSName(_PLACE)])
    return {
        "notifications": _leaf(authority, _LONG),
        "another": _leaf(authority, _LONG),
        "expired": _leaf(authority, _PAST),
        "other-issuer": _leaf(stranger, _LONG),
        "self-signed": Seal(key=own, certificate=alone),
        "authority": authority,
    }


def trust_anchor() -> str:
    """The authority that receivers must trust, PEM."""
    return seals()["authority"].certificate.public_bytes(Encoding.PEM).decode()


def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=_BITS)


def _authority(organisation: str) -> Seal:
    key = _key()
    certificate = issue(named("Emulated notifications CA", organisation), key, valid=_LONG)
    return Seal(key=key, certificate=certificate)


def _leaf(authority: Seal, valid: tuple[datetime, datetime]) -> Seal:
    key = _key()
    certificate = issue(
        named(_PLACE, _MICROSOFT),
        key,
        valid=valid,
        issuer=authority.certificate,
        signer=authority.key,
        places=[x509.DNSName(_PLACE)],
    )
    return Seal(key=key, certificate=certificate)
