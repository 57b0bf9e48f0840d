"""Who sells and who buys, from what is stored about a customer."""

from dataclasses import replace

import pytest

from domain.customer import Account, Address
from domain.period import Period
from domain.tax import (
    Party,
    Seller,
    TaxCategory,
    TaxDecision,
    TaxPart,
    TaxRegistration,
)
from invoice.document import DocumentStatus
from invoice.explain import explain_document, fingerprint
from invoice.file import CustomerFile
from invoice.parties import buyer_of, seller_of
from invoice.render import to_html, to_text
from tests.builders import ALWAYS, a_charge, a_contract, a_customer, day, drafted, issued, vat

ON = day("2026-10-31")
MUNICH = Address(country="DE", city="München", line1="Hauptstraße 1", postal_code="80331")
GMBH = Seller(
    key="seller/gmbh",
    name="Contoso Distribution GmbH",
    address=MUNICH,
    registration_number="HRB 123456",
    email="billing@contoso.example",
)
LTD = Account(
    id="account-1",
    name="Fabrikam",
    address=Address(
        country="CA",
        region="QC",
        city="Montréal",
        line1="1 rue A",
        line2="Étage 2",
        postal_code="H2X",
    ),
    tax_number="123456789 RT0001",
)
GST = TaxPart(name="GST", jurisdiction="CA", percent=vat(5).percent)
QST = TaxPart(name="QST", jurisdiction="CA-QC", percent=vat("9.975").percent)


def registered(number, country="DE", region="", valid=ALWAYS):
    return TaxRegistration(
        key=f"registration/{number}",
        seller_key=GMBH.key,
        country=country,
        region=region,
        number=number,
        valid=valid,
    )


def a_file(**fields):
    return CustomerFile(
        **{
            "customer": a_customer(),
            "contract": a_contract(),
            "account": LTD,
            "seller": GMBH,
            "registrations": (registered("DE136695976"), registered("FR1", "FR")),
            **fields,
        }
    )


def decided(*parts, **fields):
    category = TaxCategory.STANDARD if parts else TaxCategory.REVERSE_CHARGE
    return TaxDecision(**{"category": category, "parts": parts, **fields})


def test_the_seller_shows_its_number_where_the_tax_is_due():
    assert seller_of(a_file(), decided(vat(19)), ON) == Party(
        name="Contoso Distribution GmbH",
        address=MUNICH,
        tax_numbers=("DE136695976",),
        registration_number="HRB 123456",
        email="billing@contoso.example",
    )
    assert seller_of(a_file(), decided(vat(20, "FR")), ON).tax_numbers == ("FR1",)


def test_where_no_tax_is_charged_the_seller_shows_the_number_that_decided_or_its_own():
    assert seller_of(a_file(), decided(), ON).tax_numbers == ("DE136695976",)
    told = decided(seller_tax_id="FR1")
    assert seller_of(a_file(), told, ON).tax_numbers == ("FR1",)


def test_two_taxes_show_two_numbers():
    numbers = (
        registered("9 TQ0001", "CA", "QC"),
        registered("9 RT0001", "CA"),
        registered("9 BC", "CA", "BC"),
    )
    found = seller_of(a_file(registrations=numbers), decided(GST, QST), ON)
    assert found.tax_numbers == ("9 RT0001", "9 TQ0001")
    told = decided(GST, QST, seller_tax_id="9 RT0001, 9 TQ0001")
    assert seller_of(a_file(), told, ON).tax_numbers == ("9 RT0001", "9 TQ0001")
    document = replace(
        between(), seller=seller_of(a_file(), told, ON), seller_tax_id="9 RT0001, 9 TQ0001"
    )
    assert "Seller  " not in to_text(document)


def test_a_citys_tax_is_charged_by_the_number_of_its_state():
    city = replace(QST, jurisdiction="US-NY New York City")
    numbers = (registered("NY-1", "US", "NY"), registered("TX-1", "US", "TX"))
    assert seller_of(a_file(registrations=numbers), decided(city), ON).tax_numbers == ("NY-1",)


def test_a_registration_that_is_over_or_without_a_number_is_not_shown():
    over = registered("DE1", valid=Period(day("2020-01-01"), ON))
    nameless = registered("")
    file = a_file(registrations=(over, nameless))
    assert seller_of(file, decided(vat(19)), ON).tax_numbers == ()
    assert seller_of(file, decided(vat(19)), day("2026-10-30")).tax_numbers == ("DE1",)


def test_the_buyer_is_the_account_by_the_name_of_the_contract():
    found = buyer_of(a_file(), decided(vat(19)))
    assert (found.name, found.address) == ("Fabrikam Toys Ltd", LTD.address)
    assert found.tax_numbers == ("123456789 RT0001",)
    told = decided(buyer_tax_id="FR53901821074")
    assert buyer_of(a_file(), told).tax_numbers == ("FR53901821074",)
    nameless = a_file(contract=replace(a_contract(), account_name=""))
    assert buyer_of(nameless, told).name == "Fabrikam"


def test_a_certificate_is_no_tax_number_of_the_buyer():
    told = decided(category=TaxCategory.EXEMPT, buyer_tax_id="EX-2026-7")
    assert buyer_of(a_file(), told).tax_numbers == ("123456789 RT0001",)
    document = replace(between(), buyer=buyer_of(a_file(), told), buyer_tax_id="EX-2026-7")
    assert "Tax id  EX-2026-7\n" in to_text(document)


def test_who_is_not_known_is_left_out():
    assert seller_of(a_file(seller=None), decided(), ON) is None
    assert buyer_of(a_file(account=None), decided()) is None
    bare = replace(LTD, address=Address(), tax_number="")
    assert buyer_of(a_file(account=bare), decided()).lines == ("Fabrikam Toys Ltd",)


# --- on the document --------------------------------------------------------------------------------


def between(**fields):
    decision = decided(seller_tax_id="DE136695976", buyer_tax_id="FR53901821074")
    return replace(
        drafted([a_charge()]),
        seller=seller_of(a_file(), decision, ON),
        buyer=buyer_of(a_file(), decision),
        seller_tax_id="DE136695976",
        buyer_tax_id="FR53901821074",
        **fields,
    )


def test_a_document_says_who_sells_and_who_buys():
    assert to_text(issued(between())).splitlines()[:13] == [
        "Invoice INV-202610-0001",
        "From    Contoso Distribution GmbH",
        "        Hauptstraße 1",
        "        80331 München, Germany",
        "        Tax number DE136695976",
        "        Registration number HRB 123456",
        "        billing@contoso.example",
        "For     Fabrikam Toys Ltd",
        "        1 rue A, Étage 2",
        "        Montréal QC H2X, Canada",
        "        Tax number FR53901821074",
        "Period  2026-10-01 to 2026-10-31",
        "Issued  2026-11-01, due 2026-12-01",
    ]


def test_a_page_says_the_same_and_escapes_it():
    document = between()
    hostile = replace(document.seller, name="<script>x</script> & Sons")
    page = to_html(replace(document, seller=hostile))
    assert "<script" not in page
    assert "&lt;script&gt;x&lt;/script&gt; &amp; Sons" in page
    for line in document.buyer.lines:
        assert f"<div>{line}</div>" in page
    assert page.count("FR53901821074") == 1


def test_numbers_are_told_once_and_always():
    lone = replace(between(), seller=None, buyer=None)
    text = to_text(lone)
    assert "Seller  DE136695976\n" in text
    assert "Tax id  FR53901821074\n" in text
    assert to_text(between()).count("DE136695976") == 1


def test_a_very_long_name_stays_within_the_width():
    seller = replace(between().seller, name="Word " * 60)
    text = to_text(replace(between(), seller=seller))
    assert max(map(len, text.splitlines())) <= 98


@pytest.mark.parametrize(
    "change",
    [
        {"seller": None},
        {"buyer": Party(name="Somebody else", address=LTD.address)},
        {"seller_tax_id": "DE999999999"},
        {"buyer_tax_id": ""},
        {"tax_point": day("2026-10-30")},
    ],
)
def test_what_a_customer_was_told_of_the_parties_shows_in_the_fingerprint(change):
    assert fingerprint(replace(between(), **change)) != fingerprint(between())
    assert fingerprint(replace(between(), status=DocumentStatus.PAID)) == fingerprint(between())


def test_the_parties_are_explained_as_data():
    told = explain_document(between())
    assert told["seller"] == {
        "name": "Contoso Distribution GmbH",
        "address": ["Hauptstraße 1", "", "80331", "München", "", "DE"],
        "tax_numbers": ["DE136695976"],
        "registration_number": "HRB 123456",
        "email": "billing@contoso.example",
    }
    assert told["buyer"]["tax_numbers"] == ["FR53901821074"]
