"""What decides tax, as people key it in and link it in Dynamics, read for a customer's bill."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from dataverse.client import Query
from dataverse.schema import FIRST_OPTION
from domain.contract import BillingContract, TaxProfile
from domain.customer import Address
from domain.period import Period
from domain.problems import Severity
from domain.tax import (
    ExemptionCertificate,
    Seller,
    TaxDecider,
    TaxRate,
    TaxRegistration,
    TaxTreatment,
)
from tests.clients.dataverse_environment import a_customer, new_environment

ALWAYS = Period(date.min, date.max)
SELLER = Seller(
    key="seller/contoso",
    name="Contoso GmbH",
    address=Address(country="DE", city="Köln", line1="Am Dom 1", postal_code="50667"),
    registration_number="HRB 1",
    email="billing@contoso.example",
)
REGISTRATION = TaxRegistration(
    key="registration/de",
    seller_key="seller/contoso",
    country="DE",
    number="DE136695976",
    valid=Period(date(2020, 1, 1), date.max),
)
CERTIFICATE = ExemptionCertificate(
    key="certificate/c1/1",
    customer_id="c1",
    country="US",
    region="TX",
    kind="resale",
    number="RES-1",
    reason="Sale for resale",
    issued_on=date(2026, 1, 2),
    valid=Period(date(2026, 1, 1), date(2027, 1, 1)),
    document="https://papers.example/1",
    verified_by="Ann",
    verified_on=date(2026, 1, 3),
)
RATE = TaxRate(
    country="US",
    region="TX|Texas",
    locality="Marfa",
    tax="sales tax",
    starts=date(2026, 1, 1),
    percent=Decimal("1.5"),
    taxable_percent=Decimal(80),
    regional=True,
    source="comptroller",
)
PROFILE = TaxProfile(
    key="tax/c1",
    country="US",
    region="TX",
    locality="Marfa",
    treatment=TaxTreatment.BY_RULES,
    business=True,
)
CONTRACT = BillingContract(
    key="contract/c1",
    customer_id="c1",
    account_id="",
    account_name="",
    currency="USD",
    starts=date(2026, 1, 1),
    tax_profile_key="tax/c1",
    seller_key="seller/contoso",
    tax_decider=TaxDecider.ENGINE,
    accounting_target="xero",
)


@pytest.fixture
def environment():
    return new_environment()


@pytest.fixture
def store(environment):
    return environment.store()


@pytest.fixture
def client(environment):
    return environment.client()


def read(store):
    return store.customer_file("c1")


def id_of(client, table, where=""):
    (row,) = client.read(Query(table=table, select=(f"{table}id",), where=where))
    return row[f"{table}id"]


def test_what_is_stored_is_read_for_its_customer_again(store):
    store.save([a_customer(), SELLER, REGISTRATION, CERTIFICATE, RATE, PROFILE, CONTRACT])
    file = read(store)
    assert (file.seller, file.registrations) == (SELLER, (REGISTRATION,))
    assert (file.certificates, file.tax_rates, file.tax_faults) == ((CERTIFICATE,), (RATE,), ())
    assert (file.tax_profile, file.contract) == (PROFILE, CONTRACT)


def test_a_certificate_is_its_customers_alone(store):
    store.save([a_customer(), SELLER, CONTRACT, replace(CERTIFICATE, customer_id="c2")])
    assert read(store).certificates == ()


def test_with_one_company_contracts_need_not_name_it_and_with_two_they_must(store):
    silent = replace(CONTRACT, seller_key="")
    store.save([a_customer(), SELLER, silent])
    assert read(store).seller == SELLER
    other = replace(SELLER, key="seller/fabrikam", name="Fabrikam")
    store.save([other])
    assert read(store).seller is None
    store.save([replace(silent, seller_key="seller/fabrikam")])
    assert read(store).seller == other
    store.save([replace(silent, seller_key="seller/nobody")])
    assert read(store).seller is None


def test_registrations_of_another_company_are_not_read(store):
    other = replace(SELLER, key="seller/fabrikam", name="Fabrikam")
    foreign = replace(REGISTRATION, key="registration/fr", seller_key=other.key, country="FR")
    store.save([a_customer(), SELLER, other, REGISTRATION, foreign, CONTRACT])
    assert read(store).registrations == (REGISTRATION,)


def test_what_people_key_in_and_link_counts_without_any_key_of_ours(store, client):
    store.save([a_customer(), replace(CONTRACT, seller_key="", tax_profile_key="")])
    seller = client.create("csp_seller", {"csp_name": "Contoso Inc", "csp_country": "US"})
    client.create("csp_seller", {"csp_name": "Another", "csp_country": "DE"})
    of_seller = {"csp_SellerId@odata.bind": f"/{client.id_path('csp_seller', seller)}"}
    client.write("csp_billingcontract", "contract.c1", of_seller)
    client.create(
        "csp_taxregistration",
        {**of_seller, "csp_country": "US", "csp_region": "TX", "csp_number": "32"},
    )
    customer = id_of(client, "csp_customer")
    paper = {
        "csp_CustomerId@odata.bind": f"/{client.id_path('csp_customer', customer)}",
        "csp_country": "US",
        "csp_number": "MTC-1",
    }
    client.create("csp_taxcertificate", paper)
    client.create("csp_taxrate", {"csp_country": "US", "csp_region": "CO", "csp_tax": "sales tax"})
    file = read(store)
    assert file.tax_faults == ()
    assert (file.seller.name, file.seller.address.country) == ("Contoso Inc", "US")
    (registration,) = file.registrations
    assert (registration.region, registration.number, registration.valid) == ("TX", "32", ALWAYS)
    (certificate,) = file.certificates
    assert (certificate.customer_id, certificate.number) == ("c1", "MTC-1")
    assert certificate.valid == ALWAYS
    (rate,) = file.tax_rates
    assert (rate.percent, rate.taxable_percent, rate.starts) == (None, None, date.min)


def test_a_change_in_dynamics_counts_in_the_next_draft(store, client):
    store.save([a_customer(), SELLER, RATE, CERTIFICATE, CONTRACT])
    assert read(store).tax_rates[0].percent == Decimal("1.5")
    rate = id_of(client, "csp_taxrate")
    client.call("PATCH", client.id_path("csp_taxrate", rate), body={"csp_ratepercent": 2})
    paper = id_of(client, "csp_taxcertificate")
    client.call(
        "PATCH",
        client.id_path("csp_taxcertificate", paper),
        body={"csp_validuntil": "2026-07-01"},
    )
    file = read(store)
    assert file.tax_rates[0].percent == Decimal(2)
    assert file.certificates[0].valid.end == date(2026, 7, 1)


def test_a_row_that_cannot_be_read_is_a_finding_and_no_crash(store, client):
    store.save([a_customer(), SELLER, REGISTRATION, CONTRACT])
    row = id_of(client, "csp_taxregistration")
    backwards = {"csp_validuntil": "2019-12-31"}
    client.call("PATCH", client.id_path("csp_taxregistration", row), body=backwards)
    file = read(store)
    assert file.registrations == ()
    (fault,) = file.tax_faults
    assert (fault.check, fault.severity) == ("tax.unreadable_row", Severity.HOLD)
    assert fault.customer_id == "c1"
    assert fault.sentence == (
        "A row under Tax registrations cannot be read: csp_taxregistration registration/de: "
        "a period cannot end (2019-12-31) before it starts (2020-01-01)."
    )
    assert fault.hint == "correct the row under Tax registrations, or deactivate it"


def test_a_registration_of_nobody_is_told(store, client):
    store.save([a_customer(), SELLER, CONTRACT])
    client.create("csp_taxregistration", {"csp_country": "DE", "csp_number": "DE136695976"})
    (fault,) = read(store).tax_faults
    assert fault.sentence == (
        "A row under Tax registrations cannot be read: the selling company is missing."
    )


@pytest.mark.parametrize(
    ("table", "field"),
    [
        ("csp_seller", "seller"),
        ("csp_taxregistration", "registrations"),
        ("csp_taxcertificate", "certificates"),
        ("csp_taxrate", "tax_rates"),
    ],
)
def test_a_row_that_is_deactivated_stays_and_decides_nothing(store, client, table, field):
    store.save([a_customer(), SELLER, REGISTRATION, CERTIFICATE, RATE, PROFILE, CONTRACT])
    assert getattr(read(store), field)
    row = client.id_path(table, id_of(client, table))
    client.call("PATCH", row, body={"statecode": 1, "statuscode": 2})
    assert not getattr(read(store), field)
    assert read(store).tax_faults == ()
    client.call("PATCH", row, body={"statecode": 0, "statuscode": 1})
    assert getattr(read(store), field)


def test_a_certificate_is_of_the_customer_that_it_is_linked_to_whatever_its_text_says(
    store, client
):
    other = a_customer(id="c2", name="Other", domain="other.example")
    store.save([a_customer(), other, SELLER, CERTIFICATE, CONTRACT])
    c2 = id_of(client, "csp_customer", "csp_tenantid eq 'c2'")
    link = {"csp_CustomerId@odata.bind": f"/{client.id_path('csp_customer', c2)}"}
    paper = client.id_path("csp_taxcertificate", id_of(client, "csp_taxcertificate"))
    client.call("PATCH", paper, body=link)
    assert store.customer_file("c1").certificates == ()
    (found,) = store.customer_file("c2").certificates
    assert (found.customer_id, found.number) == ("c2", CERTIFICATE.number)


def test_a_certificate_of_nobody_is_told(store, client):
    store.save([a_customer(), SELLER, CONTRACT])
    client.create("csp_taxcertificate", {"csp_country": "US", "csp_number": "MTC-1"})
    (fault,) = read(store).tax_faults
    assert (fault.check, fault.sentence) == (
        "tax.unreadable_row",
        "A row under Exemption certificates cannot be read: the customer is missing.",
    )


def test_a_profile_that_says_nothing_is_decided_by_rules(store, client):
    """A row that a person adds without touching the treatment."""
    store.save([a_customer(), CONTRACT])
    by_rules = FIRST_OPTION + 4
    profile = client.create("csp_taxprofile", {"csp_country": "DE", "csp_treatment": by_rules})
    link = {"csp_TaxProfileId@odata.bind": f"/{client.id_path('csp_taxprofile', profile)}"}
    client.write("csp_billingcontract", "contract.c1", link)
    found = read(store).tax_profile
    assert (found.treatment, found.business) == (TaxTreatment.BY_RULES, False)
