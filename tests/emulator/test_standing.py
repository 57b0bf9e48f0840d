"""How a customer stands: agreements, the reseller relationship, qualifications, addresses, resellers."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import timedelta

import pytest

from emulator import Emulator
from tests.emulator.conftest import Desk
from tests.emulator.test_partner_center import keys, sample
from tests.emulator.test_webhooks import BODY, CONTROL, REGISTRATION, Worker
from tests.emulator.test_webhooks import sample as event_sample

AGREEMENTS = "/v1/customers/{}/agreements"


@pytest.fixture(scope="module")
def month():
    """The partner's month, put back by every test that changes it."""
    with closing(Emulator()) as emulated:
        yield Desk(emulated)


@pytest.fixture
def desk(month):
    month.control.reset()
    return month


def named(desk, company):
    return next(
        row["id"]
        for row in desk.emulator.world.customers()
        if row["companyProfile"]["companyName"] == company
    )


def act(desk, what, **details):
    return desk.session.post(f"{CONTROL}/act", json={"what": what, **details})


def listed(desk):
    return {row["id"] for row in desk.pc("/v1/customers?size=500").json()["items"]}


# --- agreements -------------------------------------------------------------------------------------


def consent(**changes):
    return sample("agreements/confirm-customer-consent-customer-agreement.d2111.request.2.json") | (
        changes
    )


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        ("", ["MicrosoftCloudAgreement"]),
        ("?agreementType=MicrosoftCustomerAgreement", ["MicrosoftCustomerAgreement"]),
        ("?agreementType=*", ["MicrosoftCloudAgreement", "MicrosoftCustomerAgreement"]),
        ("?agreementType=Treaty", []),
    ],
)
def test_what_may_be_agreed_to(desk, query, kinds):
    answer = desk.pc(f"/v1/agreements{query}").json()
    assert [row["agreementType"] for row in answer["items"]] == kinds
    published = sample("agreements/get-agreement-metadata.d2111.response-200.1.json")
    assert not kinds or keys(answer) == keys(published)
    if not query:
        assert answer["items"] == published["items"]


def test_a_confirmed_consent_is_an_agreement(desk):
    customer = named(desk, "Vinos Antiguos SL")
    path = AGREEMENTS.format(customer)
    wanted = f"{path}?agreementType=MicrosoftCustomerAgreement"
    assert desk.pc(wanted).json()["items"] == []
    answer = desk.pc(path, "POST", json=consent(dateAgreed="2026-11-08T00:00:00.000Z"))
    published = sample(
        "agreements/confirm-customer-consent-customer-agreement.d2111.response-201.3.json"
    )
    assert (answer.status_code, answer.json().keys()) == (201, published.keys())
    (row,) = desk.pc(wanted).json()["items"]
    assert row["dateAgreed"] == "2026-11-08T00:00:00"
    assert row["primaryContact"] == consent()["primaryContact"]
    assert row["type"] == "MicrosoftCustomerAgreement"


def test_a_second_consent_is_refused_as_published(desk):
    path = AGREEMENTS.format(named(desk, "Fabrikam Toys"))
    refused = desk.pc(path, "POST", json=consent())
    assert refused.status_code == 400
    published = sample(
        "agreements/confirm-customer-consent-customer-agreement.d2111.resource.1.json"
    )
    assert refused.json() == published


def test_a_newer_version_is_agreed_to_beside_the_older_one(desk):
    customer = named(desk, "Fabrikam Toys")
    path = AGREEMENTS.format(customer)
    newest = act(desk, "publish_agreement").json()
    assert newest["versionRank"] == 1
    listed = desk.pc("/v1/agreements?agreementType=MicrosoftCustomerAgreement").json()["items"]
    assert [row["versionRank"] for row in listed] == [0, 1]
    assert listed[-1] == newest
    body = consent(templateId=newest["templateId"], dateAgreed="2026-11-09")
    assert [desk.pc(path, "POST", json=body).status_code for _ in range(2)] == [201, 400]
    rows = desk.pc(f"{path}?agreementType=MicrosoftCustomerAgreement").json()["items"]
    assert [row["templateId"] for row in rows] == [row["templateId"] for row in listed]
    desk.control.reset()
    assert len(desk.pc("/v1/agreements?agreementType=*").json()["items"]) == 2


def test_people_attest_the_newest_version(desk):
    customer = named(desk, "Vinos Antiguos SL")
    newest = act(desk, "publish_agreement").json()
    act(desk, "attest_agreement", customer_id=customer).raise_for_status()
    path = AGREEMENTS.format(customer)
    (row,) = desk.pc(f"{path}?agreementType=MicrosoftCustomerAgreement").json()["items"]
    assert (row["templateId"], row["dateAgreed"]) == (newest["templateId"], "2026-11-09T00:00:00")
    assert "already" in act(desk, "attest_agreement", customer_id=customer).json()["error"]


def test_a_repeated_consent_is_answered_as_the_first(desk):
    path = AGREEMENTS.format(named(desk, "Vinos Antiguos SL"))
    headers = {"MS-RequestId": "6a4b2f4e-0000-4000-8000-000000000002"}
    answers = [desk.pc(path, "POST", json=consent(), headers=headers) for _ in range(2)]
    assert [one.status_code for one in answers] == [201, 201]


@pytest.mark.parametrize(
    "changes",
    [
        {"templateId": "998b88de-aa99-4388-a42c-1b3517d49490"},
        {"type": "MicrosoftCloudAgreement"},
        {"type": None},
        {"dateAgreed": "yesterday"},
        {"dateAgreed": "2026-11-10"},
        {"primaryContact": None},
        {"primaryContact": {"firstName": "Inma", "lastName": "Reyes"}},
    ],
)
def test_consents_that_are_not_valid(desk, changes):
    path = AGREEMENTS.format(named(desk, "Vinos Antiguos SL"))
    refused = desk.pc(path, "POST", json=consent(**changes))
    assert (refused.status_code, refused.json()["code"]) == (400, "3000")
    assert len(desk.pc(f"{path}?agreementType=*").json()["items"]) == 1


def test_the_phone_may_be_left_out_and_an_app_alone_may_not_confirm(desk):
    path = AGREEMENTS.format(named(desk, "Vinos Antiguos SL"))
    contact = {"firstName": "Inma", "lastName": "Reyes", "email": "inma@vinos.example"}
    body = consent(primaryContact=contact)
    assert desk.pc(path, "POST", json=body, app=True).json()["code"] == 900329
    assert desk.pc(path, "POST", json=body).status_code == 201


def test_a_customer_signs_directly(desk):
    customer = named(desk, "Vinos Antiguos SL")
    path = f"/v1/customers/{customer}/directSignedMicrosoftCustomerAgreementStatus"
    assert desk.pc(path).json() == {"isSigned": False}
    act(desk, "sign_directly", customer_id=customer).raise_for_status()
    assert desk.pc(path).json() == {"isSigned": True}
    act(desk, "sign_directly", customer_id=customer, signed=False).raise_for_status()
    assert desk.pc(path).json() == {"isSigned": False}


# --- the reseller relationship ----------------------------------------------------------------------


def suspend_everything(desk, customer):
    for row in desk.emulator.world.subscriptions(customer):
        if row["status"] == "active":
            path = f"/v1/customers/{customer}/subscriptions/{row['id']}"
            body = row | {"status": "suspended"}
            assert desk.pc(path, "PATCH", json=body).status_code == 200


def test_the_partner_removes_a_customer_without_active_subscriptions(desk):
    customer = named(desk, "Direct Harbour Ltd")
    path = f"/v1/customers/{customer}"
    body = sample(
        "relationships/remove-a-reseller-relationship-with-a-customer.d2111.request.1.json"
    )
    refused = desk.pc(path, "PATCH", json=body)
    assert (refused.status_code, refused.json()["code"]) == (400, "3000")
    assert customer in listed(desk)
    suspend_everything(desk, customer)
    removed = desk.pc(path, "PATCH", json=body)
    assert removed.status_code == 200
    assert removed.json() == sample(
        "relationships/remove-a-reseller-relationship-with-a-customer.d2111.response-200.2.json"
    )
    assert customer not in listed(desk)


@pytest.mark.parametrize("wanted", ["reseller", "advisor", None])
def test_nothing_else_of_the_relationship_can_be_changed(desk, wanted):
    path = f"/v1/customers/{named(desk, 'Direct Harbour Ltd')}"
    refused = desk.pc(path, "PATCH", json={"relationshipToPartner": wanted})
    assert (refused.status_code, refused.json()["code"]) == (400, "3000")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("", 404, "60003"),
        ("/profiles/company", 403, "20002"),
        ("/subscriptions", 403, "20002"),
        ("/orders", 403, "20002"),
        ("/agreements", 403, "20002"),
        ("/qualifications", 403, "20002"),
        ("/relationships", 403, "20002"),
    ],
)
def test_what_is_left_of_a_customer_that_left(desk, path, status, code):
    customer = named(desk, "Fabrikam Toys")
    assert desk.pc(f"/v1/customers/{customer}{path}").status_code == 200
    act(desk, "leave", customer_id=customer).raise_for_status()
    refused = desk.pc(f"/v1/customers/{customer}{path}")
    assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert customer not in listed(desk)


def test_a_customer_that_comes_back_is_told_of_and_has_all_it_had(desk):
    worker = Worker(desk)
    desk.pc(REGISTRATION, "POST", json=BODY).raise_for_status()
    customer = named(desk, "Fabrikam Toys")
    before = desk.pc(f"/v1/customers/{customer}/subscriptions").json()
    act(desk, "leave", customer_id=customer).raise_for_status()
    assert worker.heard == []
    act(desk, "accept", customer_id=customer).raise_for_status()
    (event,) = worker.events
    published = event_sample("event-reseller-relationship-accepted-by-customer.d2310.json")
    assert list(event) == list(published)
    assert event["EventName"] == published["EventName"]
    assert desk.pc(event["ResourceUri"]).json()["id"] == customer
    partner = desk.emulator.world.partner.tenant_id
    record = event["AuditUri"].rpartition("/")[2].split("_")
    assert record[:3] == [partner, customer, "resellerrelationshipacceptedbycustomer"]
    told = desk.pc(event["AuditUri"]).json()
    assert told["id"] == event["AuditUri"].rpartition("/")[2]
    assert (told["customerId"], told["resourceType"]) == (customer, "customer")
    assert desk.pc(event["AuditUri"] + "0").status_code == 404
    assert desk.pc(f"/v1/customers/{customer}/subscriptions").json() == before


def test_what_cannot_be_done_to_a_relationship(desk):
    customer = named(desk, "Fabrikam Toys")
    assert "already" in act(desk, "accept", customer_id=customer).json()["error"]
    act(desk, "leave", customer_id=customer).raise_for_status()
    assert "to end" in act(desk, "leave", customer_id=customer).json()["error"]
    assert "no customer" in act(desk, "leave", customer_id="nobody").json()["error"]


def test_billing_goes_on_as_it_was(desk):
    lines = desk.emulator.world.reconciliation_lines(desk.emulator.world.invoices()[0]["id"])
    totals = [(line["SubscriptionId"], line["Total"]) for line in lines]
    customer = named(desk, "Alpine Ski House GmbH")
    act(desk, "move", customer_id=customer, country="CH", city="Zürich").raise_for_status()
    act(desk, "leave", customer_id=customer).raise_for_status()
    lines = desk.emulator.world.reconciliation_lines(desk.emulator.world.invoices()[0]["id"])
    assert [(line["SubscriptionId"], line["Total"]) for line in lines] == totals


def test_the_audit_trail_tells_what_was_done_to_a_customer(desk):
    customer = named(desk, "Vinos Antiguos SL")

    def trail():
        only = json.dumps({"Field": "CustomerId", "Value": customer, "Operator": "equals"})
        query = {"startDate": "2026-11-09", "size": 500, "filter": only}
        rows = desk.pc("/v1/auditrecords", params=query).json()["items"]
        return [row["operationType"] for row in rows if row["resourceType"] != "subscription"]

    assert trail() == []
    desk.pc(AGREEMENTS.format(customer), "POST", json=consent()).raise_for_status()
    suspend_everything(desk, customer)
    body = {"relationshipToPartner": "none"}
    desk.pc(f"/v1/customers/{customer}", "PATCH", json=body).raise_for_status()
    act(desk, "accept", customer_id=customer).raise_for_status()
    assert trail() == [
        "create_agreement",
        "remove_partner_customer_relationship",
        "reseller_relationship_accepted_by_customer",
    ]


# --- resellers and the partner of record ------------------------------------------------------------


def test_a_resellers_agreement_is_signed_and_lapses(desk):
    path = "/v1/compliance/csp/agreementstatus?mpnId=4847433"
    assert desk.pc(path).json() == {"isAgreementSigned": False}
    act(desk, "sign_reseller_agreement", mpn_id="4847433").raise_for_status()
    assert desk.pc(path).json() == {"isAgreementSigned": True}
    act(desk, "sign_reseller_agreement", mpn_id="4847433", signed=False).raise_for_status()
    assert desk.pc(path).json() == {"isAgreementSigned": False}
    assert (
        "no indirect reseller" in act(desk, "sign_reseller_agreement", mpn_id="1").json()["error"]
    )


def marina(desk):
    customer = named(desk, "Driftwood Marine")
    (row,) = [
        row
        for row in desk.emulator.world.subscriptions(customer)
        if row["friendlyName"] == "Marina seats"
    ]
    return customer, row


def test_the_partner_corrects_the_partner_of_record(desk):
    customer, row = marina(desk)
    path = f"/v1/customers/{customer}/subscriptions/{row['id']}"
    wrong = desk.pc(path, "PATCH", json=row | {"partnerId": "me"})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "2071")
    changed = desk.pc(path, "PATCH", json=row | {"partnerId": "4391507"})
    assert changed.json()["partnerId"] == "4391507"
    assert changed.json()["quantity"] == row["quantity"]


def test_another_partner_takes_over_by_microsofts_hand(desk):
    worker = Worker(desk)
    desk.pc(REGISTRATION, "POST", json=BODY).raise_for_status()
    customer, row = marina(desk)
    act(
        desk,
        "change_partner_of_record",
        customer_id=customer,
        subscription_id=row["id"],
        partner_id="4391507",
    ).raise_for_status()
    assert marina(desk)[1]["partnerId"] == "4391507"
    assert worker.names == ["subscription-updated"]
    unknown = act(
        desk,
        "change_partner_of_record",
        customer_id=customer,
        subscription_id="none",
        partner_id="4391507",
    )
    assert "no seats" in unknown.json()["error"]


def test_lines_name_the_partner_again(desk):
    customer = named(desk, "Driftwood Marine")

    def partners():
        (invoice,) = [
            row["id"] for row in desk.emulator.world.invoices()[:2] if row["currencyCode"] == "USD"
        ]
        lines = desk.emulator.world.reconciliation_lines(invoice)
        found = [line for line in lines if line["CustomerId"] == customer]
        return {line["MpnId"] for line in found}, {line["Tier2MpnId"] for line in found}

    assert partners() == ({"6034453"}, {"0", "7654321"})
    act(desk, "correct_lines_partner", customer_id=customer, reseller_id="0").raise_for_status()
    assert partners() == ({desk.emulator.world.partner.mpn_id}, {"0"})
    act(desk, "correct_lines_partner", customer_id=customer, mpn_id="4847383").raise_for_status()
    assert partners() == ({"4847383"}, {"0", "7654321"})


# --- qualifications, vetting, addresses -------------------------------------------------------------


def test_a_qualification_is_vetted_by_the_clock(desk):
    path = f"/v1/customers/{named(desk, 'Fabrikam Toys')}/qualifications"
    body = {"qualification": "education", "educationSegment": "K12", "website": "fabrikam.example"}
    asked = desk.pc(path, "POST", json=body)
    published = sample(
        "qualifications/get-customer-qualification-asynchronous.d2111.response-200.2.json"
    )
    assert (asked.status_code, asked.json().keys()) == (201, published[0].keys())
    assert [row["vettingStatus"] for row in desk.pc(path).json()] == ["InReview"]
    assert desk.pc(path, "POST", json=body).status_code == 409
    desk.clock.advance(timedelta(hours=24))
    assert [row["vettingStatus"] for row in desk.pc(path).json()] == ["Approved"]


def test_a_denied_qualification_says_why_and_may_be_asked_for_again(desk):
    customer = named(desk, "Fabrikam Toys")
    path = f"/v1/customers/{customer}/qualifications"
    body = {"qualification": "StateOwnedEntity"}
    desk.pc(path, "POST", json=body).raise_for_status()
    act(
        desk,
        "vet",
        customer_id=customer,
        qualification="stateOwnedEntity",
        status="Denied",
        reason="Not owned by a state",
    ).raise_for_status()
    desk.clock.advance(timedelta(days=9))
    (row,) = desk.pc(path).json()
    published = sample(
        "qualifications/get-customer-qualification-asynchronous.d2111.response-200.3.json"
    )
    assert row.keys() == published[0].keys()
    assert (row["vettingStatus"], row["vettingReason"]) == ("Denied", "Not owned by a state")
    assert desk.pc(path, "POST", json=body).status_code == 201
    assert len(desk.pc(path).json()) == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"qualification": "nonprofit"},
        {"qualification": "education"},
        {"qualification": "education", "educationSegment": "Night school", "website": "x.example"},
        {"qualification": "education", "educationSegment": "K12"},
    ],
)
def test_qualifications_that_cannot_be_asked_for(desk, body):
    path = f"/v1/customers/{named(desk, 'Fabrikam Toys')}/qualifications"
    assert desk.pc(path, "POST", json=body).status_code == 400
    assert desk.pc(path).json() == []


def test_an_account_is_vetted(desk):
    customer = named(desk, "Grachten Groep BV")
    path = f"/v1/customers/{customer}/validationStatus?type=account"
    assert desk.pc(path).json()["status"] == "UnderReview"
    act(desk, "vet_account", customer_id=customer, status="Allowed").raise_for_status()
    assert desk.pc(path).json()["status"] == "Allowed"


def test_a_company_moves(desk):
    customer = named(desk, "Alpine Ski House GmbH")
    path = f"/v1/customers/{customer}/profiles/company"
    before = desk.pc(path).json()["address"]
    act(desk, "move", customer_id=customer, country="DE", city="Lindau").raise_for_status()
    after = desk.pc(path).json()["address"]
    assert (after["country"], after["city"]) == ("DE", "Lindau")
    assert {**before, "country": "DE", "city": "Lindau"} == after
    refused = act(desk, "move", customer_id=customer, planet="Mars")
    assert "unknown: planet" in refused.json()["error"]


def test_a_registration_number_changes(desk):
    customer = named(desk, "Alpine Ski House GmbH")
    path = f"/v1/customers/{customer}/profiles/company"
    assert desk.pc(path).json()["organizationRegistrationNumber"] == "ATU00000024"
    act(desk, "change_registration_number", customer_id=customer, number=None).raise_for_status()
    assert desk.pc(path).json()["organizationRegistrationNumber"] is None


# --- what nothing here causes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "published"),
    [
        ("dap-admin-relationship-terminated", "event-dap-admin-relationship-terminated.d2310.json"),
        ("azure-fraud-event-detected", "event-azure-fraud-event-detected.d2310.json"),
        ("dap-admin-relationship-approved", None),
        ("dap-admin-relationship-terminated-by-microsoft", None),
        ("indirect-reseller-relationship-accepted-by-customer", None),
        ("usagerecords-thresholdExceeded", None),
    ],
)
def test_events_on_demand(desk, event, published):
    worker = Worker(desk)
    desk.pc(REGISTRATION, "POST", json=BODY).raise_for_status()
    customer = named(desk, "Fabrikam Toys")
    assert act(desk, "announce", event=event, customer_id=customer).json() == {"queued": True}
    (sent,) = worker.events
    assert sent["EventName"] == event
    if published:
        assert sent.keys() == event_sample(published).keys()
        assert (sent["ResourceUri"] is None) == (event_sample(published)["ResourceUri"] is None)


def test_events_that_have_a_cause_are_not_announced(desk):
    refused = act(desk, "announce", event="invoice-ready")
    assert "something causes it" in refused.json()["error"]
    quiet = act(desk, "announce", event="dap-admin-relationship-approved")
    assert quiet.json() == {"queued": False}


def test_unknown_acts(desk):
    refused = act(desk, "rule")
    assert "known: approve_relationship, end_relationship, give_access" in refused.json()["error"]
    assert act(desk, "leave").status_code == 400
    assert "leave" in desk.session.get(f"{CONTROL}/").json()["acts"]
