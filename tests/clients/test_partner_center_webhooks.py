"""Posted events: in which headers the proof comes, and which record each event is about."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.notice import Notice
from domain.problems import InputError
from partner_center.webhooks import notice_of, verified
from tests.clients.signing import PLACE, Web, between, bundle, headers, leaf
from transport.certificates import Untrusted

SAMPLES = Path(__file__).resolve().parents[1] / "published/samples/webhooks"
CUSTOMER = "7f0c8a52-1111-4a55-9b0e-2a6a7d10c001"
SUBSCRIPTION = "0b6f2d7e-aaaa-4c11-8d21-5f0c3b9e1001"
OFFER = "2c6a0001-1111-4b22-8c33-9d44aa550001"
ASSIGNMENT = "5b1f0b5e-0000-4c11-8d21-5f0c3b9e1001"
API = "https://api.partnercenter.microsoft.com"
PORTAL = "https://partner.microsoft.com"
MOMENT = "2026-03-17T00:05:39.5485487+00:00"


def event(name="subscription-updated", uri=None, **fields):
    uri = uri if uri is not None else f"{API}/v1/customers/{CUSTOMER}/subscriptions/{SUBSCRIPTION}"
    content = {
        "EventName": name,
        "ResourceUri": uri,
        "ResourceName": "subscription",
        "AuditUri": None,
        "ResourceChangeUtcDate": MOMENT,
        **fields,
    }
    return json.dumps(content).encode()


BODY = event()


@pytest.fixture
def web():
    return Web(pages={PLACE: bundle(leaf(), between())})


def refused(web, sent, body=BODY):
    with pytest.raises(Untrusted) as caught:
        verified(web.signers(), sent, body)
    return str(caught.value)


# --- the proof ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [True, False])
def test_the_signature_may_stand_in_either_header(web, own):
    assert verified(web.signers(), headers(BODY, own=own), BODY).customer_id == CUSTOMER


def test_names_of_headers_have_any_case_and_the_scheme_may_be_left_out_of_its_own_header(web):
    sent = {name.upper(): value for name, value in headers(BODY).items()}
    sent["X-MS-SIGNATURE"] = sent["X-MS-SIGNATURE"].removeprefix("Signature ")
    assert verified(web.signers(), sent, BODY).name == "subscription-updated"


def test_another_kind_of_authorization_is_no_signature(web):
    sent = headers(BODY) | {"Authorization": "Bearer abc"}
    assert verified(web.signers(), sent, BODY).name == "subscription-updated"
    del sent["x-ms-signature"]
    assert refused(web, sent) == "there is no signature"


def proof():
    return base64.b64encode(leaf().sign(BODY)).decode()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"x-ms-signature": None}, "there is no signature"),
        ({"x-ms-signature": ""}, "the signature is none"),
        ({"x-ms-signature": "Signature "}, "the signature is none"),
        ({"x-ms-signature": "Signature not base64!"}, "the signature is none"),
        ({"x-ms-signature": "Signature YWJj"}, "the signature is none"),
        ({"x-ms-signature": f"Basic {proof()}"}, "the signature is none"),
        ({"x-ms-signature": f"Signature {proof()}, Signature {proof()}"}, "the signature is none"),
        ({"x-ms-signature": f"Signature {'QUJD' * 2000}"}, "the signature is none"),
        ({"Authorization": f"Signature {proof()}"}, "two signatures"),
        ({"X-MS-Signature-Algorithm": "rsa-sha1"}, "the algorithm of the signature is another"),
        ({"X-MS-Signature-Algorithm": "none"}, "the algorithm of the signature is another"),
        ({"X-MS-Signature-Algorithm": None}, "the algorithm of the signature is another"),
        ({"X-MS-Certificate-Url": None}, "it is not said where the certificate stands"),
        ({"X-MS-Certificate-Url": "  "}, "it is not said where the certificate stands"),
    ],
)
def test_headers_that_prove_nothing_are_refused_before_anything_is_fetched(web, change, reason):
    sent = {name: value for name, value in (headers(BODY) | change).items() if value is not None}
    assert reason in refused(web, sent)
    assert web.asked == []


def test_what_is_signed_is_the_bytes_as_they_came(web):
    spaced = json.dumps(json.loads(BODY), indent=2).encode()
    refused(web, headers(BODY), spaced)
    assert verified(web.signers(), headers(spaced), spaced) == notice_of(BODY)


def test_an_unproved_body_is_not_even_read(web):
    assert refused(web, headers(BODY), b"\xff{") == "the signature does not fit the body"


# --- what an event is about ---------------------------------------------------------------------------


def about(body):
    """What a notice says besides its name and moment."""
    notice = notice_of(body)
    fields = set(Notice.__dataclass_fields__) - {"name", "changed"}
    return {name: getattr(notice, name) for name in fields if getattr(notice, name)}


def test_a_subscription_and_its_customer():
    assert notice_of(BODY) == Notice(
        name="subscription-updated",
        changed=MOMENT,
        resource=SUBSCRIPTION,
        customer_id=CUSTOMER,
    )


@pytest.mark.parametrize(
    ("uri", "ids"),
    [
        (f"{API}/v1/customers/{CUSTOMER.upper()}", {"customer_id": CUSTOMER, "resource": CUSTOMER}),
        (f"{API}/v1/invoices/G000912345", {"invoice_id": "G000912345", "resource": "G000912345"}),
        (f"{API}/v1/customers/usagerecords", {}),
        (
            f"{PORTAL}/granularAdminRelationships/{OFFER}-{CUSTOMER}",
            {"relationship_id": f"{OFFER}-{CUSTOMER}", "resource": f"{OFFER}-{CUSTOMER}"},
        ),
        (
            f"{PORTAL}/granularAdminRelationships/{OFFER}-{CUSTOMER}/accessAssignments/{ASSIGNMENT}",
            {
                "relationship_id": f"{OFFER}-{CUSTOMER}",
                "resource": f"{OFFER}-{CUSTOMER}/{ASSIGNMENT}",
            },
        ),
        (
            f"{API}/webhooks/v1/registration/validationEvents/{OFFER}",
            {"correlation": OFFER, "resource": OFFER},
        ),
        (
            f"{API}/v1/fraudEvents?SubscriptionId={SUBSCRIPTION}&EventStatus=Active",
            {
                "azure_subscription_id": SUBSCRIPTION,
                "resource": SUBSCRIPTION,
                "status": "active",
            },
        ),
        (f"{API}/v1/invoices/G\u212a1", {}),
        (f"{API}/v1/fraudEvents?SubscriptionId=1'--&EventStatus=Active", {}),
        (f"{API}/v1/customers/../customers/{CUSTOMER}", {}),
        (f"{API}/v1/customers/{CUSTOMER}/orders/1", {}),
        (f"{API}/v1/customers/c1", {}),
        (f"{API}/v1/invoices/{'9' * 41}", {}),
        (f"{API}/v1/invoices/1/../../customers", {}),
        ("https://[::1", {}),
        ("x" * 5000, {}),
        ("", {}),
    ],
)
def test_ids_are_taken_from_addresses_that_are_known_and_from_no_others(uri, ids):
    assert about(event(uri=uri)) == ids


def test_an_event_without_an_address_is_about_the_customer_of_its_audit_record():
    audit = f"{API}/auditactivity/v1/auditrecords/{OFFER}_{CUSTOMER}_daprelationship_6383318558"
    body = event("dap-admin-relationship-terminated", uri="", ResourceUri=None, AuditUri=audit)
    assert about(body) == {"customer_id": CUSTOMER, "resource": CUSTOMER}


def test_names_of_fields_are_read_in_any_case():
    camel = {name[:1].lower() + name[1:]: value for name, value in json.loads(BODY).items()}
    assert notice_of(json.dumps(camel).encode()) == notice_of(BODY)


@pytest.mark.parametrize(
    "path",
    sorted(
        path
        for path in SAMPLES.glob("*.json")
        if path.name != "index.json" and "EventName" in path.read_text(encoding="utf-8")
    ),
    ids=lambda path: path.name,
)
def test_every_published_event_is_read(path):
    body = path.read_bytes()
    notice = notice_of(body)
    assert notice.name == json.loads(body)["EventName"].lower()
    # The samples have placeholders for ids, all but the customer of one.
    found = notice.customer_id
    assert found in {"", "4b2a6e33-8791-4386-bd2b-0d55baf25039"}
    assert bool(found) == ("reseller-relationship" in path.name)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        event(name=""),
        event(name="../x"),
        event(name="a" * 81),
        event(EventName=None),
        event(EventName={"a": 1}),
        event(ResourceChangeUtcDate=None),
        event(ResourceChangeUtcDate="yesterday"),
        event(ResourceChangeUtcDate=f"{MOMENT}\n; drop"),
        event(ResourceChangeUtcDate=20260317),
    ],
)
def test_what_is_signed_and_no_event_is_told_in_one_sentence(body):
    with pytest.raises(InputError) as caught:
        notice_of(body)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 100


texts = st.text(st.characters(max_codepoint=255), max_size=60)


@settings(max_examples=150)
@given(
    fields=st.dictionaries(
        st.sampled_from(list(json.loads(BODY))), st.one_of(texts, st.none(), st.integers())
    )
)
def test_nothing_else_than_a_small_notice_or_a_refusal_comes_of_any_event(fields):
    try:
        notice = notice_of(event(**fields))
    except InputError:
        return
    assert sum(len(getattr(notice, name)) for name in Notice.__dataclass_fields__) < 600
