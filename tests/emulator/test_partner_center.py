"""Partner Center's manners: tokens, headers, envelopes, paging, replayed writes, refusals."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import requests

from tests.emulator.hand_world import (
    ADDON,
    AZURE,
    AZURE_SUBSCRIPTION,
    CUSTOMERS,
    INVOICE,
    INVOICE_OLD,
    RESELLER,
    SEATS,
)

SAMPLES = Path(__file__).resolve().parents[1] / "published/samples"
FIRST = f"/v1/customers/{CUSTOMERS[0]}"
SUBSCRIPTION = f"{FIRST}/subscriptions/{SEATS}"
TOKEN_HEADER = "MS-ContinuationToken"


def sample(name):
    return json.loads((SAMPLES / name).read_text(encoding="utf-8"))


def keys(value, prefix=""):
    """Every key path of a resource; list items count as one."""
    found = set()
    if isinstance(value, dict):
        for name, inner in value.items():
            found |= {prefix + name} | keys(inner, f"{prefix}{name}.")
    elif isinstance(value, list):
        for inner in value:
            found |= keys(inner, prefix)
    return found


def all_pages(desk, path, query, *, app=False):
    """The items of a seek-paged collection, page by page, as `links.next` says."""
    pages, token, headers = [], desk.token("partner_center", app=app), {}
    address = f"{path}?{query}"
    while True:
        body = desk.pc(address, token=token, headers=headers).json()
        pages.append(body["items"])
        assert body["totalCount"] == len(body["items"])
        follow = body["links"].get("next")
        if follow is None:
            return pages
        uri = follow["uri"]
        address = uri if uri.startswith("/v1/") else "/v1" + uri
        headers = {one["key"]: one["value"] for one in follow["headers"]}


# --- tokens ----------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", "not.a.token"])
def test_without_a_good_token_the_answer_is_empty(desk, token):
    refused = desk.pc("/v1/customers", token=token)
    assert (refused.status_code, refused.content) == (401, b"")
    assert refused.headers["WWW-Authenticate"].startswith("Bearer ")


def test_a_token_expires_by_the_emulators_clock(desk):
    token = desk.token("partner_center")
    desk.clock.advance(timedelta(seconds=3599))
    assert desk.pc("/v1/customers", token=token).status_code == 200
    desk.clock.advance(timedelta(seconds=1))
    refused = desk.pc("/v1/customers", token=token)
    assert (refused.status_code, refused.content) == (401, b"")
    assert "expired" in refused.headers["WWW-Authenticate"]


def test_tokens_for_other_audiences(desk):
    retired = desk.sign_in("https://graph.windows.net").json()["access_token"]
    refused = desk.pc("/v1/customers", token=retired)
    assert (refused.status_code, refused.json()["code"]) == (401, 900420)
    refused = desk.pc("/v1/customers", token=desk.token("graph"))
    assert (refused.status_code, refused.content) == (401, b"")


def test_a_user_without_second_factor_is_refused(desk):
    weak = desk.token("partner_center", mfa=False)
    refused = desk.pc("/v1/customers", token=weak, headers={"ValidateMfa": "true"})
    assert (refused.status_code, refused.json()["code"]) == (401, 900421)
    assert refused.headers["isMfaCompliant"] == "false"
    taken = desk.pc("/v1/customers", headers={"ValidateMfa": "true"})
    assert taken.headers["isMfaCompliant"] == "true"
    assert "isMfaCompliant" not in desk.pc("/v1/customers").headers


@pytest.mark.parametrize(
    "path",
    [
        f"{FIRST}/agreements",
        f"{FIRST}/directSignedMicrosoftCustomerAgreementStatus",
        f"{FIRST}/relationships",
        "/v1/compliance/csp/agreementstatus?mpnId=4847383",
        "/v1/auditrecords",
        f"/v1/invoices/{INVOICE}",
    ],
)
def test_some_operations_need_a_user(desk, path):
    refused = desk.pc(path, app=True)
    assert (refused.status_code, refused.json()["code"]) == (403, 900329)
    assert desk.pc(path).status_code == 200


@pytest.mark.parametrize(
    "path", ["/v1/customers", FIRST, f"{FIRST}/subscriptions", f"{FIRST}/orders", "/v1/invoices"]
)
def test_others_take_an_app_alone(desk, path):
    assert desk.pc(path, app=True).status_code == 200


# --- headers -----------------------------------------------------------------------------------


def test_headers_come_back(desk):
    sent = {"MS-RequestId": "r-1", "MS-CorrelationId": "c-1", "X-Locale": "de-DE"}
    given = desk.pc("/v1/customers", headers=sent).headers
    assert {name: given[name] for name in sent} == sent
    assert given["MS-CV"].endswith(".0")
    made = desk.pc("/v1/customers").headers
    assert made["MS-RequestId"] != desk.pc("/v1/customers").headers["MS-RequestId"]


def test_the_date_header_is_the_emulators_clock(desk):
    assert desk.pc("/v1/customers").headers["Date"] == "Mon, 09 Nov 2026 06:00:00 GMT"


# --- customers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 8, 500])
def test_pages_of_any_size_hold_the_same_customers(desk, size):
    pages = all_pages(desk, "/v1/customers", f"size={size}", app=True)
    assert [row["id"] for page in pages for row in page] == CUSTOMERS
    assert all(0 < len(page) <= size for page in pages)


def test_the_cap_shortens_pages_without_losing_rows(desk):
    desk.control.change(page_size_cap=3)
    pages = all_pages(desk, "/v1/customers", "size=500")
    assert [len(page) for page in pages] == [3, 3, 1]


def test_the_list_has_the_fields_of_the_published_sample(desk):
    published = sample("customers/get-a-list-of-customers.d2111.response-200.1.json")
    answer = desk.pc("/v1/customers?size=40").json()
    assert keys(answer) == keys(published)
    assert answer["links"]["self"]["uri"] == "/v1/customers?size=40"


def test_the_next_link_is_relative_and_its_token_belongs_to_its_query(desk):
    body = desk.pc("/v1/customers?size=2").json()
    follow = body["links"]["next"]
    assert follow["uri"] == "/customers?size=2&seekOperation=Next"
    token = {one["key"]: one["value"] for one in follow["headers"]}
    assert list(token) == [TOKEN_HEADER]
    filtered = '{"Field":"CompanyName","Value":"Fab","Operator":"starts_with"}'
    mixed = desk.pc(
        "/v1/customers",
        params={"size": 2, "seekOperation": "Next", "filter": filtered},
        headers=token,
    )
    assert (mixed.status_code, mixed.json()["code"]) == (400, "3000")


@pytest.mark.parametrize(
    "query",
    ["size=0", "size=two", "seekOperation=Next", "seekOperation=Sideways", "filter=nonsense"],
)
def test_bad_queries(desk, query):
    refused = desk.pc(f"/v1/customers?{query}")
    assert refused.status_code == 400
    assert refused.json().keys() == {"code", "description", "data", "source"}


@pytest.mark.parametrize(
    ("field", "value", "numbers"),
    [
        ("CompanyName", "fabrikam 3", [3]),
        ("Domain", "fabrikam5.", [5]),
        ("CompanyName", "Nobody", []),
        ("IndirectReseller", "4847383", [0, 1]),
        ("IndirectCloudSolutionProvider", RESELLER, [0, 1]),
    ],
)
def test_filters(desk, field, value, numbers):
    text = json.dumps({"Field": field, "Value": value, "Operator": "starts_with"})
    rows = desk.pc("/v1/customers", params={"size": 40, "filter": text}).json()["items"]
    assert [row["id"] for row in rows] == [CUSTOMERS[number] for number in numbers]


def test_a_filter_survives_paging(desk):
    text = json.dumps({"Field": "CompanyName", "Value": "Fab", "Operator": "starts_with"})
    query = desk.session.prepare_request(
        requests.Request("GET", "https://x.example", params={"filter": text})
    ).url.partition("?")[2]
    pages = all_pages(desk, "/v1/customers", f"size=2&{query}")
    assert [row["id"] for page in pages for row in page] == CUSTOMERS


def test_unknown_customers(desk):
    nobody = "00000000-0000-4000-8000-000000000000"
    for path, status, code in (
        (f"/v1/customers/{nobody}", 404, "60003"),
        (f"/v1/customers/{nobody}/subscriptions", 403, "20002"),
        ("/v1/customers/not-a-guid/subscriptions", 400, "3000"),
        ("/v1/nothing", 404, "1000"),
    ):
        refused = desk.pc(path)
        assert (refused.status_code, refused.json()["code"]) == (status, code)


def test_paths_do_not_care_about_case(desk):
    assert desk.pc(f"/V1/Customers/{CUSTOMERS[0].upper()}/Subscriptions").status_code == 200
    assert desk.pc("/v1/customers", "DELETE").status_code == 405


def test_the_billing_profile_needs_its_etag(desk):
    path = f"{FIRST}/profiles/billing"
    before = desk.pc(path).json()
    etag = before["attributes"]["etag"]
    changed = before | {"email": "new@fabrikam.example"}
    assert desk.pc(path, "PUT", json=changed).json()["code"] == "3000"
    stale = desk.pc(path, "PUT", json=changed, headers={"If-Match": '"-99"'})
    assert (stale.status_code, stale.json()["code"]) == (400, "2055")
    written = desk.pc(path, "PUT", json=changed, headers={"If-Match": f'"{etag}"'}).json()
    assert written["email"] == "new@fabrikam.example"
    assert written["attributes"]["etag"] != etag
    assert desk.pc(FIRST).json()["billingProfile"] == written


# --- subscriptions -------------------------------------------------------------------------------


def test_subscriptions_by_order_and_by_partner(desk):
    path = f"{FIRST}/subscriptions"

    def found(query):
        return [row["id"] for row in desk.pc(path + query).json()["items"]]

    assert found("") == [SEATS, ADDON, AZURE]
    assert found("?order_id=5a0000c0ff02") == [ADDON]
    assert found("?mpn_id=4847383") == [SEATS, AZURE]
    envelope = desk.pc(path).json()
    assert envelope["attributes"] == {"objectType": "Collection"}
    assert "links" not in envelope


def test_one_subscription_and_what_hangs_on_it(desk):
    assert desk.pc(SUBSCRIPTION).json()["quantity"] == 25
    assert [row["id"] for row in desk.pc(f"{SUBSCRIPTION}/addons").json()["items"]] == [ADDON]
    status = desk.pc(f"{SUBSCRIPTION}/provisioningstatus").json()
    assert keys(status) == keys(
        sample("subscriptions/get-subscription-provisioning-status.d2111.response-200.1.json")
    )
    plan = f"{FIRST}/subscriptions/{AZURE}/azureEntitlements"
    assert desk.pc(plan).json()["items"][0]["id"] == AZURE_SUBSCRIPTION
    assert desk.pc(f"{plan}/{AZURE_SUBSCRIPTION}").json()["subscriptionId"] == AZURE
    missing = desk.pc(f"{FIRST}/subscriptions/{CUSTOMERS[0]}")
    assert (missing.status_code, missing.json()["code"]) == (404, "20003")


def test_a_patch_with_one_request_id_acts_once(desk):
    headers = {"MS-RequestId": "11111111-1111-4111-8111-111111111111"}
    first = desk.pc(SUBSCRIPTION, "PATCH", json={"quantity": 30}, headers=headers)
    again = desk.pc(SUBSCRIPTION, "PATCH", json={"quantity": 99}, headers=headers)
    assert first.json()["quantity"] == again.json()["quantity"] == 30
    assert len(desk.emulator.world.patches) == 1
    other = {"MS-RequestId": "22222222-2222-4222-8222-222222222222"}
    assert (
        desk.pc(SUBSCRIPTION, "PATCH", json={"quantity": 99}, headers=other).json()["quantity"]
        == 99
    )


def test_a_lost_answer_is_recovered_by_the_request_id(desk):
    headers = {"MS-RequestId": "33333333-3333-4333-8333-333333333333"}
    token = desk.token("partner_center")
    desk.control.fail_next("partner_center", method="PATCH", kind="drop_after")
    with pytest.raises(requests.ConnectionError):
        desk.pc(SUBSCRIPTION, "PATCH", token=token, json={"quantity": 30}, headers=headers)
    again = desk.pc(SUBSCRIPTION, "PATCH", token=token, json={"quantity": 30}, headers=headers)
    assert again.json()["quantity"] == 30
    assert len(desk.emulator.world.patches) == 1


def test_refusals_of_commerce_look_like_the_published_one(desk):
    refused = desk.pc(SUBSCRIPTION, "PATCH", json={"quantity": 1})
    assert refused.status_code == 400
    assert refused.json() == sample(
        "errors/change-the-quantity-of-a-subscription.d2111.response.4.json"
    )
    assert desk.pc(SUBSCRIPTION, "PATCH", data=b"[1]").json()["code"] == "3000"


def test_stale_etags_are_refused(desk):
    stale = {"If-Match": '"v0"'}
    refused = desk.pc(SUBSCRIPTION, "PATCH", json={"quantity": 30}, headers=stale)
    assert (refused.status_code, refused.json()["code"]) == (400, "2055")
    within = {"quantity": 30, "attributes": {"etag": "v0"}}
    assert desk.pc(SUBSCRIPTION, "PATCH", json=within).json()["code"] == "2055"
    fresh = {"If-Match": '"v1"'}
    assert desk.pc(SUBSCRIPTION, "PATCH", json={"quantity": 30}, headers=fresh).status_code == 200


def test_a_pending_operation_and_reads_that_lag(desk):
    desk.control.change(pending_operation_seconds=60, stale_read_seconds=120)
    assert desk.pc(SUBSCRIPTION, "PATCH", json={"quantity": 30}).json()["quantity"] == 30
    refused = desk.pc(SUBSCRIPTION, "PATCH", json={"quantity": 31})
    assert (refused.status_code, refused.json()["code"]) == (409, 800060)
    assert desk.pc(SUBSCRIPTION).json()["quantity"] == 25
    desk.clock.advance(timedelta(seconds=61))
    assert desk.pc(SUBSCRIPTION).json()["quantity"] == 25
    desk.clock.advance(timedelta(seconds=60))
    assert desk.pc(SUBSCRIPTION).json()["quantity"] == 30
    assert desk.pc(SUBSCRIPTION, "PATCH", json={"quantity": 31}).status_code == 200


def test_orders(desk):
    assert len(desk.pc(f"{FIRST}/orders").json()["items"]) == 2
    annual = desk.pc(f"{FIRST}/orders?billingType=annual").json()["items"]
    assert [row["id"] for row in annual] == ["5A0000C0FF02"]
    assert desk.pc(f"{FIRST}/orders/5a0000c0ff02").json()["billingCycle"] == "annual"
    assert desk.pc(f"{FIRST}/orders/none").json()["code"] == "20000"


# --- may this customer be sold to ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        ("", ["MicrosoftCloudAgreement"]),
        ("?agreementType=MicrosoftCustomerAgreement", ["MicrosoftCustomerAgreement"]),
        ("?agreementType=*", ["MicrosoftCloudAgreement", "MicrosoftCustomerAgreement"]),
    ],
)
def test_agreements_without_a_type_are_the_old_ones(desk, query, kinds):
    rows = desk.pc(f"{FIRST}/agreements{query}").json()["items"]
    assert [row["type"] for row in rows] == kinds


def test_signed_with_microsoft_directly(desk):
    path = "directSignedMicrosoftCustomerAgreementStatus"
    assert desk.pc(f"{FIRST}/{path}").json() == {"isSigned": False}
    assert desk.pc(f"/v1/customers/{CUSTOMERS[1]}/{path}").json() == {"isSigned": True}


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("mpnId=4847383", {"isAgreementSigned": True}),
        (f"tenantId={RESELLER}", {"isAgreementSigned": False}),
    ],
)
def test_the_resellers_own_agreement(desk, query, answer):
    assert desk.pc(f"/v1/compliance/csp/agreementstatus?{query}").json() == answer


def test_bad_ids_of_resellers(desk):
    path = "/v1/compliance/csp/agreementstatus"
    published = sample("errors/verify-indirect-reseller-mpa-status.d2111.response-400.3.json")
    assert desk.pc(f"{path}?mpnId=abc").json() == published
    assert desk.pc(f"{path}?mpnId=123456").json()["code"] == 2200
    assert desk.pc(path).status_code == 400


def test_relationships(desk):
    published = sample(
        "relationships/get-indirect-resellers-of-a-customer.d2111.response-200.1.json"
    )
    answer = desk.pc(f"{FIRST}/relationships").json()
    assert keys(answer) == keys(published)
    mine = desk.pc("/v1/relationships?relationship_type=IsIndirectCloudSolutionProviderOf").json()
    assert [row["mpnId"] for row in mine["items"]] == ["4847383"]
    theirs = desk.pc("/v1/relationships?relationship_type=IsIndirectResellerOf").json()
    assert theirs["items"] == []
    assert desk.pc("/v1/relationships").status_code == 400
    assert desk.pc("/v1/customers/relationshiprequests").json()["url"].startswith("https://")


def test_qualifications_are_a_bare_array(desk):
    assert desk.pc(f"{FIRST}/qualifications").json() == [
        {"qualification": "education", "vettingStatus": "Approved"}
    ]
    status = desk.pc(f"{FIRST}/validationStatus?type=account").json()
    assert keys(status) == keys(
        sample("transitions/retrieve-validation-status.d2111.resource.1.json")
    )
    assert desk.pc(f"{FIRST}/validationStatus").status_code == 400


def test_own_profiles(desk):
    own = desk.pc("/v1/profiles/mpn").json()
    assert (own["mpnId"], own["profileType"]) == ("4391507", "MpnProfile")
    assert desk.pc("/v1/profiles/mpn?mpnId=4847383").json()["partnerName"] == "First Up Consultants"
    assert desk.pc("/v1/profiles/mpn?mpnId=1").status_code == 404
    assert desk.pc("/v1/profiles/legalbusiness").json()["vettingStatus"] == "authorized"
    assert desk.pc("/v1/profiles/organization").json()["domain"].endswith(".onmicrosoft.com")


# --- audit ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 5, 11, 23, 100])
def test_audit_pages_of_any_size_hold_the_same_records(desk, size):
    pages = all_pages(desk, "/v1/auditrecords", f"startDate=2026-10-01&size={size}")
    found = [row["id"] for page in pages for row in page]
    assert found == [f"record-{number}" for number in range(23)]


def test_audit_ranges_and_filters(desk):
    assert desk.pc("/v1/auditrecords").json()["totalCount"] == 14  # from 10 October, 30 days back
    day = desk.pc("/v1/auditrecords?startDate=2026-10-05&endDate=2026-10-05").json()["items"]
    assert [row["id"] for row in day] == ["record-4"]
    for field, value, count in (("ResourceType", "order", 12), ("CustomerId", CUSTOMERS[0], 4)):
        text = json.dumps({"Field": field, "Value": value, "Operator": "equals"})
        query = {"startDate": "2026-10-01", "filter": text}
        assert desk.pc("/v1/auditrecords", params=query).json()["totalCount"] == count
    assert desk.pc("/v1/auditrecords?startDate=2026-08-11").status_code == 200
    for bad in ("2026-08-10", "yesterday"):
        assert desk.pc(f"/v1/auditrecords?startDate={bad}").status_code == 400


# --- invoices ------------------------------------------------------------------------------------


def test_all_invoices_come_at_once_whatever_size_says(desk):
    body = desk.pc("/v1/invoices?size=1&offset=2").json()
    assert body["totalCount"] == 3
    assert body["links"]["self"]["uri"] == "/invoices?size=1&offset=2"


def test_invoices_by_date(desk):
    sides = [
        {"Field": "InvoiceDate", "Value": "2026-11-01", "Operator": "greater_than_or_equals"},
        {"Field": "InvoiceDate", "Value": "2026-11-08", "Operator": "less_than"},
    ]
    text = json.dumps({"LeftFilter": sides[0], "RightFilter": sides[1], "Operator": "and"})
    rows = desk.pc("/v1/invoices", params={"filter": text}).json()["items"]
    assert [row["id"] for row in rows] == [INVOICE]


def test_an_invoice_by_both_of_its_names_with_exact_amounts(desk):
    plain = desk.pc(f"/v1/invoices/{INVOICE}")
    assert '"totalCharges":2610.00,' in plain.text
    assert desk.pc(f"/v1/invoices/OneTime-{INVOICE}").text == plain.text
    assert desk.pc("/v1/invoices/G1").status_code == 404


def test_balances(desk):
    rows = json.loads(desk.pc("/v1/invoices/summaries").text, parse_float=Decimal)["items"]
    owed = {row["currencyCode"]: row["balanceAmount"] for row in rows}
    assert owed == {"EUR": Decimal("0.00"), "USD": Decimal("2610.00")}
    assert desk.pc("/v1/invoices/summary").json()["currencyCode"] == "EUR"


def test_line_items_are_frozen_for_new_invoices_and_paged_for_old_ones(desk):
    query = "provider=onetime&invoicelineitemtype=billinglineitems"
    new = desk.pc(f"/v1/invoices/{INVOICE}/lineitems?{query}").json()
    assert (new["totalCount"], new["items"]) == (0, [])
    pages = all_pages(desk, f"/v1/invoices/{INVOICE_OLD}/lineitems", f"{query}&size=2")
    assert [len(page) for page in pages] == [2, 2, 1]
    first = pages[0][0]
    assert first["resellerMpnId"] == "0"
    assert first["totalForCustomer"] == 217.5
    assert first["pcToBCExchangeRate"] == 1.0
    assert first["productQualifiers"] == ["Add-on"]
    body = desk.pc(f"/v1/invoices/{INVOICE_OLD}/lineitems?{query}&size=2").json()
    assert body["continuationToken"] == body["links"]["next"]["headers"][0]["value"]
    older = f"/v1/invoices/OneTime-{INVOICE_OLD}/lineitems/OneTime/BillingLineItems"
    assert desk.pc(older).json()["totalCount"] == 5


def test_one_time_is_spelt_differently_in_queries(desk):
    path = f"/v1/invoices/{INVOICE_OLD}/lineitems"
    refused = desk.pc(f"{path}?provider=one_time&invoicelineitemtype=billinglineitems")
    assert refused.status_code == 400
    assert refused.json()["description"] == "The request is invalid."
    unbilled = "/v1/invoices/unbilled/lineitems?provider=onetime"
    assert desk.pc(f"{unbilled}&invoicelineitemtype=billinglineitems").status_code == 410
