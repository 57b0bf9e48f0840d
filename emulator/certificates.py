"""Certificates: one for loopback, made when the server starts and worthless when it stops.

Clients that nobody may modify decide what it looks like: `requests` takes a bundle of authorities
from REQUESTS_CA_BUNDLE, Node from NODE_EXTRA_CA_CERTS, and both check the address. So a small
authority signs one certificate for 127.0.0.1 and localhost, and its own key is forgotten at once.
Making certificates is beyond the standard library: `cryptography` comes with azure-identity, and
this module is imported only by a server that speaks TLS and by notifications that are signed.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_DAYS = 30
_PLACES = [x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")]


class Loopback(NamedTuple):
    """PEM files: the authority that clients must trust, a server's certificate and its key."""

    bundle: Path
    chain: Path
    key: Path


def loopback_files(folder: Path) -> Loopback:
    """Make a certificate for this machine; its key is for its owner's eyes alone."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    # Clients compare with their own clock, so the world's is not asked here.
    today = datetime.now(UTC)
    valid = (today - timedelta(days=1), today + timedelta(days=_DAYS))
    authority = issue(named("Emulator on this machine"), authority_key, valid=valid)
    certificate = issue(
        named("localhost"),
        key,
        valid=valid,
        issuer=authority,
        signer=authority_key,
        places=_PLACES,
    )
    made = Loopback(*(folder / name for name in ("ca.pem", "server.pem", "server.key")))
    made.bundle.write_bytes(authority.public_bytes(Encoding.PEM))
    made.chain.write_bytes(certificate.public_bytes(Encoding.PEM))
    descriptor = os.open(made.key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made


def loopback_context(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS settings, and the PEM file of the authority that its clients must trust.

    The server's key lies in `folder` only while it is being loaded.
    """
    made = loopback_files(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.chain, made.key)
    made.key.unlink()
    return context, made.bundle


def issue(
    subject: x509.Name,
    key: PrivateKey,
    *,
    valid: tuple[datetime, datetime],
    issuer: x509.Certificate | None = None,
    signer: PrivateKey | None = None,
    places: Sequence[x509.GeneralName] = (),
) -> x509.Certificate:
    """A certificate for a key; without an issuer it signs itself.

    With `places` it is one that a server shows there, without them an authority's.
    """
    is_authority = not places
    signer = signer or key
    usage = dict.fromkeys(
        (
            "content_commitment key_encipherment data_encipherment key_agreement crl_sign "
            "encipher_only decipher_only"
        ).split(),
        False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
        .add_extension(
            x509.BasicConstraints(ca=is_authority, path_length=0 if is_authority else None),
            critical=True,
        )
        .add_extension(
            x509.KeyUsage(digital_signature=not is_authority, key_cert_sign=is_authority, **usage),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if places:
        server = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(server, critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName(places), critical=False)
    return builder.sign(signer, SHA256())


def named(common_name: str, organisation: str = "") -> x509.Name:
    """A subject of a common name and, where it has one, an organisation."""
    parts = [x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, common_name)]
    if organisation:
        parts.insert(0, x509.NameAttribute(x509.oid.NameOID.ORGANIZATION_NAME, organisation))
    return x509.Name(parts)
