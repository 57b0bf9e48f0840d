"""What the gate rests on, read from the emulated Partner Center and Graph as time passes and people act."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import pytest

from domain.customer import Agreement, Customer, DelegatedAdminRelationship, IndirectReseller
from domain.problems import Finding, NotAuthorised, NotFound, ServiceError, Severity
from domain.subscription import SubscriptionKind
from emulator import Emulator
from emulator.scenarios import STORIES
from tests.clients.embedded import partner_of

READERS = "88d8e3e3-8f55-4a1e-953a-9b9898b8876b"


@pytest.fixture(scope="module")
def emulator():
    with closing(Emulator()) as one:
        yield one


@pytest.fixture
def partner(emulator, tmp_path):
    emulator.control.reset()
    return partner_of(emulator, tmp_path)


@pytest.fixture
def client(partner):
    return partner.client()


@pytest.fixture
def directory(partner):
    return partner.directory()


def id_of(emulator, story):
    names = {row["companyProfile"]["companyName"]: row["id"] for row in emulator.world.customers()}
    return names[STORIES[story].customer]


def sorted_out(records):
    records = list(records)
    assert not [one for one in records if isinstance(one, Finding)]
    return records


# --- delegated administration -----------------------------------------------------------------------


def test_a_relationship_comes_with_who_has_access_by_which_roles(emulator, directory):
    found = sorted_out(directory.relationships(id_of(emulator, "seat-changes")))
    assert {one.customer_id for one in found} == {id_of(emulator, "seat-changes")}
    for one in found:
        assert one.active_assignments == sum(each.gives_access for each in one.assignments)
    held = {role for one in found for each in one.assignments for role in each.roles}
    assert READERS in held
    assert all(each.group_id for one in found for each in one.assignments)


def test_groups_that_are_pending_or_taken_away_are_read_and_give_no_access(emulator, directory):
    (one,) = sorted_out(directory.relationships(id_of(emulator, "gdap-without-assignment")))
    assert sorted(each.status for each in one.assignments) == ["deleted", "pending"]
    assert one.active_assignments == 0


def test_one_customers_relationships_are_those_of_the_whole_list(emulator, directory):
    everything = sorted_out(directory.relationships())
    for customer_id in {one.customer_id for one in everything if one.customer_id}:
        own = sorted_out(directory.relationships(customer_id.upper()))
        assert own == [one for one in everything if one.customer_id == customer_id]


def test_a_list_that_refuses_the_filter_is_filtered_here(emulator, directory):
    customer_id = id_of(emulator, "seat-changes")
    wanted = sorted_out(directory.relationships(customer_id))
    body = {"error": {"code": "BadRequest", "message": "Invalid filter clause"}}
    emulator.control.fail_next(
        "graph", path="/v1.0/tenantRelationships/delegatedAdminRelationships", status=400, body=body
    )
    assert sorted_out(directory.relationships(customer_id)) == wanted


def test_any_other_refusal_is_a_failure_and_not_an_empty_list(emulator, directory):
    body = {"error": {"code": "Forbidden", "message": "no"}}
    emulator.control.fail_next(
        "graph", path="/v1.0/tenantRelationships/delegatedAdminRelationships", status=403, body=body
    )
    with pytest.raises(NotAuthorised):
        list(directory.relationships("7f0c8a52-1111-4a55-9b0e-2a6a7d10c001"))


def test_a_name_with_a_quote_does_not_break_out_of_the_filter(directory):
    assert sorted_out(directory.relationships("x' or status eq 'active")) == []


def test_time_takes_a_relationship_from_expiring_to_expired(emulator, directory):
    customer_id = id_of(emulator, "gdap-expiring")

    def status() -> tuple[str, int]:
        (one,) = sorted_out(directory.relationships(customer_id))
        assert isinstance(one, DelegatedAdminRelationship)
        return one.status, one.active_assignments

    assert status()[0] == "expiring"
    emulator.clock.advance(timedelta(days=21))
    assert status() == ("expired", 0)


# --- agreements ------------------------------------------------------------------------------------------


def agreements(client, customer_id):
    return {one.type: one for one in sorted_out(client.agreements(customer_id))}


def test_an_acceptance_has_its_date_its_contact_and_its_version(emulator, client):
    customer_id = id_of(emulator, "seat-changes")
    found = agreements(client, customer_id)["MicrosoftCustomerAgreement"]
    assert isinstance(found, Agreement)
    assert found.agreed_on is not None
    assert "@" in found.contact
    assert " " in found.contact_name
    assert found.version == found.current_version is not None
    old = agreements(client, customer_id)["MicrosoftCloudAgreement"]
    assert (old.version, old.current_version) == (None, None)


def test_a_newer_version_makes_yesterdays_acceptance_an_older_one(emulator, client):
    customer_id = id_of(emulator, "seat-changes")
    emulator.parties.publish_agreement()
    found = agreements(client, customer_id)["MicrosoftCustomerAgreement"]
    assert found.version < found.current_version
    emulator.parties.attest_agreement(customer_id)
    versions = {
        one.version for one in client.agreements(customer_id) if one.version == one.current_version
    }
    assert found.current_version in versions


@pytest.mark.parametrize("status", [400, 403, 404])
def test_versions_that_are_not_told_are_not_known(emulator, client, status):
    body = {"code": "1000", "description": "no", "data": [], "source": "PartnerFD"}
    emulator.control.fail_next(
        "partner_center", path="/v1/agreements", status=status, body=body, count=9
    )
    found = agreements(client, id_of(emulator, "seat-changes"))["MicrosoftCustomerAgreement"]
    assert (found.version, found.current_version) == (None, None)


def test_an_agreement_with_microsoft_itself_comes_and_ends(emulator, client):
    customer_id = id_of(emulator, "direct-signed")
    assert [one.signed_directly for one in client.agreements(customer_id)] == [True]
    emulator.parties.sign_directly(customer_id, signed=False)
    assert list(client.agreements(customer_id)) == []


# --- resellers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("story", "signed"), [("indirect-reseller", True), ("reseller-not-signed", False)]
)
def test_an_indirect_reseller_is_read_with_what_it_signed(emulator, client, story, signed):
    customer = client.customer(id_of(emulator, story))
    assert isinstance(customer, Customer)
    (one,) = customer.resellers
    assert isinstance(one, IndirectReseller)
    assert one.partner_id.isdecimal()
    assert one.agreement_signed is signed
    emulator.parties.sign_reseller_agreement(one.partner_id, signed=not signed)
    (again,) = client.customer(customer.id).resellers
    assert again.agreement_signed is not signed


def test_a_direct_customer_has_no_reseller_and_that_is_known(emulator, client):
    customer = client.customer(id_of(emulator, "seat-changes"))
    assert (customer.resellers, customer.resellers_known) == ((), True)


@pytest.mark.parametrize("status", [400, 404])
def test_a_reseller_that_microsoft_does_not_know_is_unknown(emulator, client, status):
    body = {"code": 2200, "description": "MPN Id is either invalid or not yet migrated."}
    emulator.control.fail_next(
        "partner_center", path="/v1/compliance/csp/agreementstatus", status=status, body=body
    )
    (one,) = client.customer(id_of(emulator, "indirect-reseller")).resellers
    assert one.agreement_signed is None


def test_resellers_that_may_not_be_read_are_unknown_and_the_customer_is_read(emulator, client):
    body = {"code": "900308", "description": "Too few privileges", "data": [], "source": "x"}
    emulator.control.fail_next(
        "partner_center", path="/v1/customers/[^/]+/relationships", status=403, body=body
    )
    customer = client.customer(id_of(emulator, "indirect-reseller"))
    assert (customer.resellers, customer.resellers_known) == ((), False)
    assert customer.details_known


# --- access ---------------------------------------------------------------------------------------------


def test_where_access_is_lost_the_tenants_own_details_are_not_known(emulator, client):
    assert not client.customer(id_of(emulator, "gdap-expired")).details_known
    customer_id = id_of(emulator, "gdap-expiring")
    assert client.customer(customer_id).details_known
    emulator.clock.advance(timedelta(days=21))
    assert not client.customer(customer_id).details_known


def test_a_tenant_without_an_address_is_no_lost_access(emulator, client):
    customer_id = id_of(emulator, "seat-changes")
    shown = emulator.world.customer(customer_id)
    bare = shown | {"companyProfile": shown["companyProfile"] | {"address": None}}
    path = f"/v1/customers/{customer_id}$"
    emulator.control.fail_next("partner_center", path=path, status=200, body=bare)
    customer = client.customer(customer_id)
    assert customer.details_known
    assert customer.address.country == ""


def test_a_customer_that_left_is_gone_and_comes_back(emulator, client):
    customer_id = id_of(emulator, "seat-changes")
    emulator.parties.leave(customer_id)
    lost = client.customer(customer_id)
    assert isinstance(lost, Finding)
    assert (lost.check, lost.severity) == ("customer.unreachable", Severity.HOLD)
    (refused,) = client.subscriptions(customer_id)
    assert isinstance(refused, Finding)
    assert refused.check == "customer.unreachable"
    assert [one.check for one in client.agreements(customer_id)] == ["customer.unreachable"]
    emulator.parties.accept(customer_id)
    assert isinstance(client.customer(customer_id), Customer)


def test_data_that_may_not_be_read_is_told_in_their_place(emulator, client):
    customer_id = id_of(emulator, "seat-changes")
    body = {"code": "2032", "description": "Access denied", "data": [], "source": "PartnerFD"}
    emulator.control.fail_next(
        "partner_center", path="/v1/customers/[^/]+/subscriptions", status=403, body=body
    )
    assert [one.check for one in client.subscriptions(customer_id)] == ["access.denied"]


def test_a_refusal_of_ourselves_is_a_failure(emulator, client):
    body = {"code": "900308", "description": "Too few privileges", "data": [], "source": "x"}
    emulator.control.fail_next(
        "partner_center", path="/v1/customers/[^/]+/subscriptions", status=403, body=body
    )
    with pytest.raises(NotAuthorised):
        list(client.subscriptions(id_of(emulator, "seat-changes")))


def refusal(code):
    return {"code": code, "description": "no", "data": [], "source": "PartnerFD"}


def test_agreements_that_a_cloud_does_not_offer_are_unknown_and_the_customer_is_not_lost(
    emulator, client
):
    path = "/v1/customers/[^/]+/agreements"
    emulator.control.fail_next("partner_center", path=path, status=404, body=refusal("1000"))
    (found,) = client.agreements(id_of(emulator, "seat-changes"))
    assert (found.check, found.severity) == ("agreement.unknown", Severity.HOLD)
    assert "404 (code 1000)" in found.sentence


@pytest.mark.parametrize(
    ("story", "status", "expected"),
    [
        ("seat-changes", 404, ("agreement.unknown", Severity.WARN)),
        ("seat-changes", 403, ("agreement.unknown", Severity.WARN)),
        ("direct-signed", 404, ("agreement.unknown", Severity.HOLD)),
    ],
)
def test_a_direct_signature_that_is_not_told_matters_where_nothing_was_attested(
    emulator, client, story, status, expected
):
    path = "/v1/customers/[^/]+/directSigned"
    emulator.control.fail_next("partner_center", path=path, status=status, body=refusal("1000"))
    *others, found = client.agreements(id_of(emulator, story))
    assert (found.check, found.severity) == expected
    assert bool(others) == (story == "seat-changes")


def test_a_direct_signature_that_is_refused_is_a_refusal_where_nothing_was_attested(
    emulator, client
):
    path = "/v1/customers/[^/]+/directSigned"
    emulator.control.fail_next("partner_center", path=path, status=403, body=refusal("2032"))
    with pytest.raises(NotAuthorised):
        list(client.agreements(id_of(emulator, "direct-signed")))


def test_qualifications_that_are_not_found_are_no_lost_customer(emulator, client):
    path = "/v1/customers/[^/]+/qualifications"
    emulator.control.fail_next("partner_center", path=path, status=404, body=refusal("1000"))
    with pytest.raises(NotFound):
        client.customer(id_of(emulator, "seat-changes"))


@pytest.mark.parametrize(
    "told", [{}, {"relationshipToPartner": None}, {"relationshipToPartner": ""}]
)
def test_a_relationship_that_is_not_told_is_not_taken_for_one(emulator, client, told):
    customer_id = id_of(emulator, "seat-changes")
    shown = dict(emulator.world.customer(customer_id))
    shown.pop("relationshipToPartner", None)
    emulator.control.fail_next(
        "partner_center", path=f"/v1/customers/{customer_id}$", status=200, body=shown | told
    )
    assert client.customer(customer_id).relationship == ""


# --- qualifications and segments -------------------------------------------------------------------------


def test_a_qualification_comes_with_its_state_and_microsofts_reason(emulator, client):
    customer_id = id_of(emulator, "education")
    emulator.parties.vet(customer_id, "Education", "Denied", "Not an Education Customer")
    found = {one.name: one for one in client.customer(customer_id).qualifications}
    assert found["Education"].status == "Denied"
    assert found["Education"].reason == "Not an Education Customer"


def test_the_catalogue_is_asked_once_at_which_segments_price_seats_are_sold(emulator, client):
    customer_id = id_of(emulator, "education")
    path = "/v1/customers/[^/]+/products/"
    emulator.control.fail_next(
        "partner_center", path=path, status=200, body={"segment": "education"}, count=99
    )
    for _ in range(2):
        seats = {one.kind: one.segment for one in client.subscriptions(customer_id)}
        assert seats[SubscriptionKind.LICENCE] == "education"
    asked = [r["path"] for r in emulator.control.requests() if "/availabilities/" in r["path"]]
    assert len(asked) == len(set(asked)) > 0


def test_a_product_that_the_catalogue_does_not_know_has_no_segment(emulator, client):
    body = {"code": "400072", "description": "Item is not available"}
    emulator.control.fail_next(
        "partner_center", path="/v1/customers/[^/]+/products/", status=404, body=body, count=99
    )
    found = sorted_out(client.subscriptions(id_of(emulator, "education")))
    assert {one.segment for one in found} == {""}


def test_a_catalogue_that_refused_once_is_asked_again(emulator, client):
    customer_id = id_of(emulator, "education")
    path = "/v1/customers/[^/]+/products/"
    emulator.control.fail_next(
        "partner_center", path=path, status=403, body=refusal("900308"), count=99
    )
    assert {one.segment for one in client.subscriptions(customer_id)} == {""}
    emulator.control.reset()
    emulator.control.fail_next(
        "partner_center", path=path, status=200, body={"segment": "education"}, count=99
    )
    assert "education" in {one.segment for one in client.subscriptions(customer_id)}


def test_usage_has_no_segment_and_the_catalogue_is_not_asked(emulator, client):
    azure = [
        one
        for one in client.subscriptions(id_of(emulator, "azure-credit"))
        if one.kind is SubscriptionKind.USAGE
    ]
    assert azure
    asked = [r["path"] for r in emulator.control.requests() if "/availabilities/" in r["path"]]
    assert not any(one.product_id in path for one in azure for path in asked)


def test_an_outage_of_the_catalogue_is_one(emulator, client):
    path = "/v1/customers/[^/]+/products/"
    emulator.control.fail_next("partner_center", path=path, status=503, count=9)
    with pytest.raises(ServiceError):
        list(client.subscriptions(id_of(emulator, "education")))
