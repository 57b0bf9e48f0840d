"""Certificates and signatures made for a test, and a web of hosts that show them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import requests
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID
from werkzeug.wrappers import Request, Response

from transport.certificates import Signers, Trust
from transport.mounts import mount_wsgi, new_session
from transport.session import Http, Patience

NOW = datetime(2026, 11, 9, 6, tzinfo=UTC)
MICROSOFT = "Microsoft Corporation"
HOST = "https://3psostorageacct.blob.core.windows.net"
AIA = "www.microsoft.com"
PLACE = f"{HOST}/cert/pcnotifications-dispatch.microsoft.com.cer"
USAGES = (
    "digital_signature content_commitment key_encipherment data_encipherment key_agreement "
    "key_cert_sign crl_sign encipher_only decipher_only"
).split()


@cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """A key by name, made once: making them is what takes time."""
    del name
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    del name
    return ec.generate_private_key(ec.SECP256R1())


def usage(*names: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name in names for name in USAGES})


@dataclass(frozen=True)
class Holder:
    """A certificate and the key of it."""

    certificate: x509.Certificate
    key: Any

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def sign(self, body: bytes) -> bytes:
        return self.key.sign(body, padding.PKCS1v15(), SHA256())


def issue(
    name: str,
    issuer: Holder | None = None,
    *,
    organisation: str | None = MICROSOFT,
    authority: bool = False,
    key: Any = None,
    start: datetime = NOW - timedelta(days=30),
    end: datetime = NOW + timedelta(days=30),
    key_usage: x509.KeyUsage | None = None,
    aia: str = "",
    depth: int | None = None,
) -> Holder:
    """A certificate; without an issuer it signs itself."""
    key = key or rsa_key(name)
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    if organisation:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    subject = x509.Name(parts)
    signer = issuer or Holder(None, key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()),
            critical=False,
        )
    )
    if authority:
        builder = builder.add_extension(x509.BasicConstraints(True, depth), critical=True)
        key_usage = key_usage or usage("key_cert_sign", "crl_sign")
    else:
        builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
        key_usage = key_usage or usage("digital_signature", "key_encipherment")
    builder = builder.add_extension(key_usage, critical=True)
    if aia:
        access = x509.AccessDescription(
            AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(aia)
        )
        builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
    return Holder(builder.sign(signer.key, SHA256()), key)


@cache
def root() -> Holder:
    return issue("Test Root", authority=True, organisation="A Root")


@cache
def between() -> Holder:
    return issue("Test Issuing CA 03", root(), authority=True)


@cache
def leaf() -> Holder:
    return issue("pcnotifications", between())


@dataclass
class Web:
    """Hosts that show what a test puts there, and count what was asked."""

    pages: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    session: requests.Session = field(default_factory=new_session)
    now: datetime = NOW
    waits: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        mount_wsgi(
            self.session, {HOST: self._of(HOST), f"https://{AIA}": self._of(f"https://{AIA}")}
        )

    def _of(self, origin: str) -> Callable[..., Any]:
        @Request.application
        def app(request: Request) -> Response:
            address = f"{origin}{request.path}"
            self.asked.append(address)
            page = self.pages.get(address, 404)
            if isinstance(page, BaseException):
                raise page
            if isinstance(page, int):
                return Response("no", status=page)
            if isinstance(page, str):
                return Response("", status=302, headers={"Location": page})
            return Response(page)

        return app

    def http(self, origin: str) -> Http:
        return Http(
            origin,
            service="Certificates",
            session=self.session,
            patience=Patience(tries=2),
            sleep=self.waits.append,
            now=lambda: self.now,
        )

    def signers(self, **trust: Any) -> Signers:
        return Signers(trust_of(**trust), self.http, now=lambda: self.now)


def trust_of(**changes: Any) -> Trust:
    """Whom a test believes."""
    given = {
        "origins": frozenset({HOST}),
        "issuer_hosts": frozenset({AIA}),
        "roots": (root().certificate,),
        "organisation": MICROSOFT,
    }
    return Trust(**given | changes)


def bundle(*holders: Holder) -> bytes:
    return b"".join(one.pem for one in holders)


def headers(
    body: bytes, signer: Holder | None = None, *, own: bool = True, place: str = PLACE
) -> dict[str, str]:
    """The headers of a post, with the signature in either place."""
    signature = base64.b64encode((signer or leaf()).sign(body)).decode()
    return {
        "Content-Type": "application/json",
        "x-ms-signature" if own else "Authorization": f"Signature {signature}",
        "X-MS-Certificate-Url": place,
        "X-MS-Signature-Algorithm": "rsa-sha256",
    }
