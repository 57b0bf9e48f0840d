"""Events that Partner Center posts: who may be believed, and which record each is about.

An event is a hint and carries nothing into the product: of a verified one the name, the ids in its
addresses and its moment are kept, and what they name is read from the source. So a forged id leads
to a question that Partner Center answers, and an event that is sent again to a look at what is there.

The signature stands in `x-ms-signature`, or in `Authorization` where the registration does not ask
for the other; whether the word `Signature` precedes it in the first is UNCONFIRMED, so either is read.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from pydantic import ValidationError

from domain.notice import Notice
from domain.problems import InputError
from partner_center.wire import Text, Wire
from transport import exact_json
from transport.certificates import Signers, Untrusted

ALGORITHM = "rsa-sha256"
ORGANISATION = "Microsoft Corporation"
"""Of the issuer of every certificate that signs events."""

_GUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,79}")
_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)?",
    re.ASCII,  # else a digit is any digit of any script
)
_CUSTOMER = re.compile(rf"/v1/customers/({_GUID})(?:/subscriptions/({_GUID}))?")
_INVOICE = re.compile(r"/v1/invoices/([a-z0-9-]{1,40})", re.IGNORECASE | re.ASCII)
_RELATIONSHIP = re.compile(
    rf".*/granularadminrelationships/({_GUID}-{_GUID})(?:/accessassignments/({_GUID}))?"
)
_TEST = re.compile(rf"/webhooks/v1/registration/validationevents/({_GUID})")
_AUDIT = re.compile(
    rf"/auditactivity/v1/auditrecords/{_GUID}_({_GUID})_[a-z_]{{1,100}}_[0-9]{{1,20}}"
)


class _Event(Wire):
    event_name: Text
    resource_change_utc_date: Text
    resource_uri: Text = ""
    audit_uri: Text = ""


def verified(signers: Signers, headers: Mapping[str, str], body: bytes) -> Notice:
    """Return what a posted event is about, once its signature proves that Partner Center sent it.

    `body` is as it came, byte for byte. Untrusted: it is not proved. InputError: it is proved and no
    event. Unavailable or Throttled: the certificate could not be had, so let it be sent again.
    """
    sent = {name.lower(): value for name, value in headers.items()}
    signature = _signature(sent)
    if sent.get("x-ms-signature-algorithm", "").strip().lower() != ALGORITHM:
        raise Untrusted("the algorithm of the signature is another or not said")
    address = sent.get("x-ms-certificate-url", "").strip()
    if not address:
        raise Untrusted("it is not said where the certificate stands")
    signers.check(address, signature, body)
    return notice_of(body)


def notice_of(body: bytes) -> Notice:
    """Read which record an event is about; InputError when it is no event."""
    hint = "compare with the events that Partner Center documents"
    try:
        event = _Event.model_validate(exact_json.loads(body))
    except (ValidationError, ValueError, RecursionError):
        raise InputError("this is no event of Partner Center", hint=hint) from None
    name = event.event_name.lower()
    if not _NAME.fullmatch(name):
        raise InputError("the event has no name", hint=hint)
    if not _MOMENT.fullmatch(event.resource_change_utc_date):
        raise InputError("the event does not say when the record changed", hint=hint)
    return Notice(
        name=name,
        changed=event.resource_change_utc_date,
        **_ids(event.audit_uri, event.resource_uri),
    )


def _signature(sent: Mapping[str, str]) -> bytes:
    """Return the one signature; two of them would leave open which one counts."""
    authorization = sent.get("authorization", "").strip()
    scheme, _, rest = authorization.partition(" ")
    texts = [rest.strip()] if scheme.lower() == "signature" else []
    if "x-ms-signature" in sent:
        text = sent["x-ms-signature"].strip()
        scheme, _, rest = text.partition(" ")
        texts.append(rest.strip() if scheme.lower() == "signature" else text)
    if len(texts) != 1:
        raise Untrusted("two signatures" if texts else "there is no signature")
    try:
        signature = base64.b64decode(texts[0], validate=True)
    except (binascii.Error, ValueError):
        signature = b""
    if not 128 <= len(signature) <= 2048:
        raise Untrusted("the signature is none")
    return signature


def _ids(audit: str, resource: str) -> dict[str, str]:
    """Return the ids in an event's addresses; hosts do not matter, nothing is asked of them."""
    path = _path(resource)
    found: dict[str, str] = {}
    if match := _AUDIT.fullmatch(_path(audit).lower()):
        found["customer_id"] = found["resource"] = match[1]
    if match := _CUSTOMER.fullmatch(path.lower()):
        found["customer_id"] = match[1]
        found["resource"] = match[2] or match[1]
    elif match := _RELATIONSHIP.fullmatch(path.lower()):
        # Its second half looks like a tenant's id, and in published examples is not the customer's.
        found["relationship_id"] = match[1]
        found["resource"] = f"{match[1]}/{match[2]}" if match[2] else match[1]
    elif match := _INVOICE.fullmatch(path):
        found["invoice_id"] = found["resource"] = match[1]
    elif match := _TEST.fullmatch(path.lower()):
        found["correlation"] = found["resource"] = match[1]
    elif path.lower() == "/v1/fraudevents":
        asked = {name.lower(): value.lower() for name, value in _query(resource)}
        subscription = asked.get("subscriptionid", "")
        if re.fullmatch(_GUID, subscription):
            found["azure_subscription_id"] = found["resource"] = subscription
            if re.fullmatch(r"[a-z]{1,40}", status := asked.get("eventstatus", "")):
                found["status"] = status
    return found


def _path(address: str) -> str:
    try:
        return urlsplit(address[:2000]).path.rstrip("/")
    except ValueError:
        return ""


def _query(address: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(urlsplit(address[:2000]).query, max_num_fields=20)
    except ValueError:
        return []
