"""Whether a text was signed by somebody whom a trusted authority names, with a certificate by address.

The sender says where its certificate stands. It is fetched from hosts on a list and from nowhere
else: https, no user, no other port, no query, no redirect, small, and soon. It is believed for its
chain to a trusted root, its days, its purpose and the organisation of its issuer, never for the
place where it stood.

A published certificate may come alone. What is missing between it and a root is taken from the same
file where it is a bundle, then from the trusted file of the settings, and last from the address that
the certificate itself names for its issuer (AIA), where that host is on a list of its own. Such an
address is often plain http; https is asked of it all the same, so that one rule holds for every fetch.
Limit: certificates that were revoked are not looked up; a fetched one is asked for again after a day.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509 import verification
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from domain.problems import ServiceError, Throttled, Unavailable, WorkerError
from transport.session import Http, Now

LIMIT = 64 * 1024
"""Bytes of a file of certificates; one is about two thousand."""
MOST = 8
"""Certificates of one file, and addresses that are remembered."""
STEPS = 3
"""Issuers that are fetched for one certificate, one above the other."""
LEAST_BITS = 2048
LIFE = timedelta(days=1)
AGAIN = timedelta(minutes=5)
"""Where a signature does not fit, its certificate may have been renewed: asked for again after this.
An address where nothing to believe stood is not asked for again sooner either."""
AFTER_OUTAGE = timedelta(seconds=30)
MOST_FAILURES = 256

_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


class Untrusted(WorkerError):  # noqa: N818 - a verdict, not a fault of ours
    """Something does not prove who sent it. The reason is for the log, never for the sender."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whom to believe: where certificates may stand, who may stand above them, and who issues."""

    origins: frozenset[str]
    """Scheme and host as `https://host`; anything else than https is an emulator on loopback."""
    issuer_hosts: frozenset[str] = frozenset()
    """Hosts of which the certificate of an issuer may be asked."""
    roots: tuple[x509.Certificate, ...]
    between: tuple[x509.Certificate, ...] = ()
    """Issuers that are no roots themselves, known beforehand."""
    organisation: str


@dataclass(frozen=True, slots=True)
class _Known:
    """What stood at an address: the certificate, those above it, and when it was fetched."""

    certificate: x509.Certificate
    above: tuple[x509.Certificate, ...]
    fetched_at: datetime


class Signers:
    """Checks signatures; safe for threads. `http` makes the client of one origin."""

    def __init__(self, trust: Trust, http: Callable[[str], Http], *, now: Now) -> None:
        self._trust = trust
        origins = {*trust.origins, *(f"https://{host}" for host in trust.issuer_hosts)}
        self._http = {origin: http(origin) for origin in sorted(origins)}
        self._now = now
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._failed: OrderedDict[str, tuple[WorkerError, datetime]] = OrderedDict()
        """What was wrong with an address, and until when it is not asked again."""
        self._lock = threading.Lock()

    def check(self, address: str, signature: bytes, content: bytes) -> None:
        """Check an RSA PKCS#1 v1.5 SHA-256 signature over bytes as they came.

        Untrusted says why it is not believed; Unavailable and Throttled: the certificate could not
        be had now, so that nothing is known either way.
        """
        origin = self._origin(address)
        known = self._remembered(address)
        found = known or self._obtain(origin, address)
        try:
            self._believe(found, signature, content)
        except Untrusted:
            if known is None or self._now() - known.fetched_at < AGAIN:
                raise
            # It may have been renewed at the same address.
            self._believe(self._obtain(origin, address), signature, content)

    def _obtain(self, origin: str, address: str) -> _Known:
        """Fetch what is to be believed; where that failed of late it fails again, and nothing is asked."""
        with self._lock:
            error, until = self._failed.get(address, (None, self._now()))
        if error is not None and self._now() < until:
            raise error.with_traceback(None)
        try:
            proved = self._proved(self._fetch(origin, address))
        except WorkerError as failure:
            pause = AGAIN if isinstance(failure, Untrusted) else AFTER_OUTAGE
            with self._lock:
                self._failed[address] = (failure, self._now() + pause)
                self._failed.move_to_end(address)
                while len(self._failed) > MOST_FAILURES:
                    self._failed.popitem(last=False)
            raise
        self._remember(address, proved)
        return proved

    def _believe(self, found: _Known, signature: bytes, content: bytes) -> None:
        proved = self._proved(found)
        key = proved.certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            raise Untrusted("the certificate's key is no RSA key")
        if key.key_size < LEAST_BITS:
            raise Untrusted(f"the certificate's key has {key.key_size} bits")
        try:
            key.verify(signature, content, padding.PKCS1v15(), SHA256())
        except InvalidSignature:
            raise Untrusted("the signature does not fit the body") from None

    # Where certificates stand --------------------------------------------------------------------

    def _origin(self, address: str) -> str:
        """Return scheme and host of an address that may be asked."""
        try:
            parts = urlsplit(address)
            host, port = parts.netloc.lower(), parts.port
        except ValueError:
            raise Untrusted("the certificate's address is no address") from None
        if port == 443 and parts.scheme == "https":
            host = host.removesuffix(":443")
        origin = f"{parts.scheme}://{host}"
        if origin not in self._trust.origins:
            raise Untrusted(f"certificates are not taken from {origin[:100]!r}")
        # One place has one spelling: each would be asked for and remembered by itself.
        odd = any(part in parts.path for part in ("//", "/.", "%", ";")) or parts.netloc not in {
            host,
            f"{host}:443",
        }
        plain = address.isascii() and address.isprintable() and " " not in address and not odd
        if not plain or parts.query or parts.fragment or len(address) > 500 or "\\" in address:
            raise Untrusted("the certificate's address is not a plain one")
        return origin

    def _fetch(self, origin: str, address: str) -> _Known:
        parts = urlsplit(address)
        found = self._read(self._http[origin], parts.path)
        return _Known(found[0], tuple(found[1:]), self._now())

    def _read(self, http: Http, path: str) -> list[x509.Certificate]:
        """Read a file of certificates; what the host refuses is as good as a wrong address."""
        try:
            answer = http.request("GET", path, headers={"Accept": "*/*"}, limit=LIMIT)
        except (Unavailable, Throttled):
            raise
        except ServiceError as error:
            raise Untrusted(f"there is no certificate: {error}") from None
        if answer.status != 200:
            raise Untrusted(f"the host of the certificate answers {answer.status}")
        return certificates_in(answer.content)

    # What is remembered --------------------------------------------------------------------------

    def _remembered(self, address: str) -> _Known | None:
        with self._lock:
            known = self._known.get(address)
            now = self._now()
            if known is None:
                return None
            ends = min(known.certificate.not_valid_after_utc, known.fetched_at + LIFE)
            if not known.fetched_at <= now < ends:
                del self._known[address]
                return None
            self._known.move_to_end(address)
            return known

    def _remember(self, address: str, known: _Known) -> None:
        with self._lock:
            self._known[address] = known
            self._known.move_to_end(address)
            while len(self._known) > MOST:
                self._known.popitem(last=False)

    # Whom to believe -----------------------------------------------------------------------------

    def _proved(self, found: _Known) -> _Known:
        """Return a certificate that is to be believed now, with all that its chain needed."""
        certificate = found.certificate
        try:
            issuers = certificate.issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
            if [one.value for one in issuers] != [self._trust.organisation]:
                raise Untrusted(f"the certificate was not issued by {self._trust.organisation}")
            for _ in range(STEPS):
                missing = self._missing(found)
                if not missing:
                    break
                found = replace(found, above=(*found.above, *missing))
            verifier = (
                verification.PolicyBuilder()
                .store(verification.Store(list(self._trust.roots)))
                .time(self._now())
                .max_chain_depth(STEPS + 1)
                .extension_policies(ca_policy=_of_issuers(), ee_policy=_of_signers())
                .build_client_verifier()
            )
            verifier.verify(certificate, [*found.above, *self._trust.between])
        except verification.VerificationError as error:
            raise Untrusted(f"the certificate has no chain to a trusted root: {error}") from None
        except _UNREADABLE as error:
            raise Untrusted(f"the certificate cannot be read: {error}") from None
        return found

    def _missing(self, found: _Known) -> list[x509.Certificate]:
        """Fetch the issuer of the highest certificate that is known, where it is not a root's."""
        by_name = {one.subject: one for one in (*self._trust.between, *found.above)}
        highest, seen = found.certificate, {found.certificate.subject}
        while (above := by_name.get(highest.issuer)) is not None and above.subject not in seen:
            highest = above
            seen.add(above.subject)
        roots = {one.subject for one in self._trust.roots}
        if highest.issuer in roots or highest.issuer == highest.subject:
            return []
        for address in _issuer_addresses(highest):
            parts = urlsplit(address)
            origin = f"https://{parts.netloc.lower()}"
            if parts.netloc.lower() in self._trust.issuer_hosts and not parts.query:
                return [
                    one
                    for one in self._read(self._http[origin], parts.path)
                    if one.subject == highest.issuer
                ]
        return []


def certificates_in(content: bytes) -> list[x509.Certificate]:
    """Read one certificate or a bundle (DER, PEM, PKCS#7); Untrusted when it is none.

    First comes the one that issued none of the others: a bundle need not begin with it.
    """
    try:
        if b"-----BEGIN CERTIFICATE-----" in content:
            found = x509.load_pem_x509_certificates(content)
        else:
            try:
                found = [x509.load_der_x509_certificate(content)]
            except ValueError:
                found = pkcs7.load_der_pkcs7_certificates(content)
        # Names are parsed only when they are asked for.
        issuers = {one.issuer for one in found if one.issuer != one.subject}
        found.sort(key=lambda one: one.subject in issuers)
    except _UNREADABLE:
        found = []
    if not 1 <= len(found) <= MOST:
        raise Untrusted("what stands at the certificate's address is no certificate")
    return found


def roots_in(bundle: bytes) -> list[x509.Certificate]:
    """Read a long PEM file of roots, one by one: a few have lasted longer than the rules for them.

    One that this library does not read is left out, and no chain leads to it.
    """
    found = []
    for block in re.findall(
        rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", bundle, re.DOTALL
    ):
        with warnings.catch_warnings(), suppress(*_UNREADABLE):
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            found.append(x509.load_pem_x509_certificate(block))
    return found


def split_trusted(
    certificates: Iterable[x509.Certificate],
) -> tuple[tuple[x509.Certificate, ...], tuple[x509.Certificate, ...]]:
    """Part roots, which name themselves as their issuer, from what stands between."""
    every = list(certificates)
    roots = tuple(one for one in every if one.subject == one.issuer)
    return roots, tuple(one for one in every if one.subject != one.issuer)


def _issuer_addresses(certificate: x509.Certificate) -> list[str]:
    try:
        known = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    except x509.ExtensionNotFound:
        return []
    return [
        one.access_location.value
        for one in known.value
        if one.access_method == AuthorityInformationAccessOID.CA_ISSUERS
        and isinstance(one.access_location, x509.UniformResourceIdentifier)
    ]


def _of_issuers() -> verification.ExtensionPolicy:
    """Issuers as on the web; what their own certificates are for is not told for signing events."""
    return verification.ExtensionPolicy.webpki_defaults_ca().may_be_present(
        x509.ExtendedKeyUsage, verification.Criticality.AGNOSTIC, None
    )


def _of_signers() -> verification.ExtensionPolicy:
    """A signer is no authority, and where its key's usage is told, it may sign."""

    def usage(_: object, __: object, extension: x509.KeyUsage | None) -> None:
        if extension is not None and not extension.digital_signature:
            raise ValueError("its key is not for signatures")

    def constraints(_: object, __: object, extension: x509.BasicConstraints | None) -> None:
        if extension is not None and extension.ca:
            raise ValueError("it is the certificate of an authority")

    return (
        verification.ExtensionPolicy.permit_all()
        .may_be_present(x509.KeyUsage, verification.Criticality.AGNOSTIC, usage)
        .may_be_present(x509.BasicConstraints, verification.Criticality.AGNOSTIC, constraints)
    )
