"""What a tax decision says to the customer, to the auditor, and to whoever must lift a hold."""

import pytest

from app.vat import valid_vat
from domain.problems import Finding
from rules.tax import TaxDecision
from rules.tax_rates import read_rates
from rules.tax_supply import decide_supply
from tests.builders import day

DE, FR = "DE136695976", "FR61954506077"


def supply(
    seller, buyer, *, vat=None, on="2026-03-01", exempt=None, regions=("", ""), **arguments
) -> TaxDecision | Finding:
    return decide_supply(
        **{
            "seller_country": seller,
            "buyer_country": buyer,
            "seller_region": regions[0],
            "buyer_region": regions[1],
            "buyer_vat_id": vat,
            "exempt_until": exempt and day(exempt),
            "on": day(on),
            "check_vat": valid_vat,
            **arguments,
        }
    )


@pytest.mark.parametrize(
    ("decide", "rule", "inputs"),
    [
        (
            lambda: supply("DE", "FR", vat=FR),
            "tax.reverse_charge",
            {
                "seller": "DE",
                "buyer": "FR",
                "on": "2026-03-01",
                "percent": "0",
                "buyer_vat_id": FR,
                "number_checked": "form and check digits",
                "law": "Directive 2006/112/EC, art. 44 and 196",
            },
        ),
        (
            lambda: supply("CA", "CA", regions=("ON", "QC")),
            "tax.domestic",
            {
                "seller": "CA, ON",
                "buyer": "CA, QC",
                "on": "2026-03-01",
                "percent": "14.975",
            },
        ),
        (
            lambda: supply("DE", "DE", exempt="2026-07-01", certificate=" EX-1 "),
            "tax.exempt",
            {
                "seller": "DE",
                "buyer": "DE",
                "on": "2026-03-01",
                "percent": "0",
                "exempt_until": "2026-07-01",
                "certificate": "EX-1",
            },
        ),
        (
            lambda: supply("DE", "US", regions=("", "WA")),
            "tax.abroad",
            {"seller": "DE", "buyer": "US, WA", "on": "2026-03-01", "percent": "0"},
        ),
    ],
)
def test_the_facts_of_a_decision_are_its_reason(decide, rule, inputs):
    (reason,) = decide().reasons
    assert reason.rule == rule
    of_rate = {"tax", "rate_since", "source", "rate_note"}
    assert {k: v for k, v in reason.inputs.items() if k not in of_rate} == inputs
    assert of_rate.isdisjoint(reason.inputs) or rule == "tax.domestic"


def test_a_rate_is_told_with_its_name_its_first_day_and_its_source():
    table = read_rates(
        [
            "country,region,from,percent,tax,source,note",
            "US,TX,2024-01-01,6.6,sales tax,ours,since the reform",
            "US,OR,2024-01-01,0,,ours,Oregon has no sales tax.",
        ]
    )
    texas = supply("US", "US", regions=("", "TX"), rates=table)
    assert dict(texas.reasons[0].inputs) == {
        "seller": "US",
        "buyer": "US, TX",
        "on": "2026-03-01",
        "percent": "6.6",
        "tax": "sales tax",
        "rate_since": "2024-01-01",
        "source": "ours",
        "rate_note": "since the reform",
    }
    assert (texas.note, texas.buyer_tax_id) == ("", "")
    oregon = supply("US", "US", regions=("", "OR"), rates=table)
    assert (oregon.percent, oregon.note) == (0, "Oregon has no sales tax.")


@pytest.mark.parametrize(
    ("seller", "buyer", "number", "note"),
    [
        (
            "DE",
            "US",
            None,
            (
                "No VAT of DE: the service is supplied in US, where the customer is "
                "(Art. 44 of Directive 2006/112/EC)."
            ),
        ),
        (
            "CH",
            "DE",
            DE,
            (
                "No VAT of CH: the service is supplied in DE, where the customer is. "
                "Reverse charge: the customer accounts for the VAT (Art. 196 of Directive 2006/112/EC)."
            ),
        ),
        (
            "AU",
            "NZ",
            None,
            "No GST of AU: the service is supplied in NZ, where the customer is.",
        ),
    ],
)
def test_what_is_not_taxed_is_explained_to_the_customer(seller, buyer, number, note):
    assert supply(seller, buyer, vat=number).note == note


OWN_ROWS = read_rates(
    ["country,region,from,percent,tax,source,note", "US,TX,2024-01-01,,sales tax,us,ask"]
)


@pytest.mark.parametrize(
    ("hold", "check", "record", "sentence", "hint"),
    [
        (
            lambda: supply("DE", ""),
            "unmapped_country",
            "supply DE to ",
            "An empty text is not the code of a country.",
            "give the two letters of ISO 3166, for example DE",
        ),
        (
            lambda: supply("DE", "zz", regions=(" BY ", " x ")),
            "unmapped_country",
            "supply DE, BY to ZZ, x",
            "ZZ is not the code of a country.",
            "give the two letters of ISO 3166, for example DE",
        ),
        (
            lambda: supply("BR", "DE"),
            "unmapped_country",
            "supply BR to DE",
            "The tax of sales from BR is not known here.",
            "add its rate to the table of tax rates, or let the accounting system decide",
        ),
        (
            lambda: supply("DE", "DE", on="2014-12-31"),
            "no_rate",
            "supply DE to DE",
            "The rules of tax are not known before 2015-01-01, and the tax point is 2014-12-31.",
            "enter the tax of so old a supply by hand",
        ),
        (
            lambda: supply("US", "US", regions=("", "TX"), rates=OWN_ROWS),
            "own_rules",
            "supply US to US, TX",
            "US, TX has tax rules of its own (sales tax: ask).",
            "ask your accountant, and add the rate to the table of tax rates",
        ),
        (
            lambda: supply("DE", "FR", vat="de 1"),
            "vat_country",
            "supply DE to FR",
            "The VAT number de 1 begins with DE, but the customer is in FR.",
            "correct the country or the number: they decide together where the supply is taxed",
        ),
        (
            lambda: supply("DE", "FR", vat="FR 1"),
            "vat_invalid",
            "supply DE to FR",
            "FR 1 is not a VAT number of FR: its form or its check digit is wrong.",
            (
                "ask the customer for the number, with FR in front; "
                "a wrong one is not printed on an invoice"
            ),
        ),
        (
            lambda: supply("DE", "CH", vat="CHE-107.787.578 IVA"),
            "vat_invalid",
            "supply DE to CH",
            "CHE-107.787.578 IVA is not a VAT number of CH: its form or its check digit is wrong.",
            "ask the customer for the number; a wrong one is not printed on an invoice",
        ),
        (
            lambda: supply("DE", "DE", exempt="2026-03-01", certificate="EX-1"),
            "lapsed",
            "supply DE to DE",
            "The exemption EX-1 ended on 2026-02-28, and the tax point is 2026-03-01.",
            "ask the customer for a new certificate, or remove the exemption to charge tax",
        ),
        (
            lambda: supply("CA", "CA", regions=("", "PE"), on="2016-09-30"),
            "no_rate",
            "supply CA to CA, PE",
            (
                "The tax rate of CA, PE is not known before 2016-10-01, "
                "and the tax point is 2016-09-30."
            ),
            "add the rate of that day to the table of tax rates",
        ),
        (
            lambda: supply("CA", "CA", regions=("", "Narnia")),
            "unmapped_region",
            "supply CA to CA, Narnia",
            "The table of tax rates has no row for CA, Narnia.",
            "correct the region, add its rate, or let the accounting system decide",
        ),
        (
            lambda: supply("CA", "CA"),
            "unmapped_region",
            "supply CA to CA",
            "The tax in CA depends on the region, and the customer has none.",
            "give the customer's state or province",
        ),
        (
            lambda: supply("DE", "FR"),
            "no_vat_number",
            "supply DE to FR",
            "The customer in FR has no checked VAT number, so it is not shown to be a business.",
            "ask the customer for its VAT number; a consumer there would be charged 20 % VAT",
        ),
        (
            lambda: supply(
                "GB",
                "FR",
                rates=read_rates(
                    ["country,region,from,percent,tax,source,note", "GB,,2011-01-04,20,VAT,x,"]
                ),
            ),
            "no_vat_number",
            "supply GB to FR",
            "The customer in FR has no checked VAT number, so it is not shown to be a business.",
            "ask the customer for its VAT number",
        ),
    ],
)
def test_what_is_held_says_why_and_what_to_do(hold, check, record, sentence, hint):
    held_by = hold()
    assert (held_by.check, held_by.record) == (f"tax.{check}", record)
    assert (held_by.sentence, held_by.hint) == (sentence, hint)


# --- the table ---------------------------------------------------------------------------------------

COLUMNS = "country,region,from,percent,tax,source,note"


@pytest.mark.parametrize("percent", ["0", "0.5", "100"])
def test_a_rate_is_anything_from_nothing_to_the_whole(percent):
    (rate,) = read_rates([COLUMNS, f"US,TX|Texas,2024-01-01,{percent},sales tax,us,why"]).rates
    assert str(rate.percent) == percent
    assert (rate.country, rate.regions, rate.starts) == ("US", ("TX", "Texas"), day("2024-01-01"))
    assert (rate.tax, rate.source, rate.note) == ("sales tax", "us", "why")


def test_one_place_has_one_rate_from_a_day_under_any_of_its_names():
    first = "US,TX|Texas,2024-01-01,6,sales tax,us,"
    with pytest.raises(ValueError, match=r"^line 3 of the table of tax rates repeats a place and"):
        read_rates([COLUMNS, first, "US,texas,2024-01-01,7,sales tax,us,"])
    with pytest.raises(ValueError, match=r"^line 3 .* repeats a place and day$"):
        read_rates([COLUMNS, "US,,2024-01-01,1,tax,us,", "US,,2024-01-01,2,tax,us,"])
    more = [
        "US,TX,2025-01-01,7,sales tax,us,",
        "US,,2024-01-01,1,tax,us,",
        "CA,TX,2024-01-01,1,x,us,",
    ]
    assert len(read_rates([COLUMNS, first, *more]).rates) == 4


def test_a_table_that_is_not_one_says_what_it_should_be():
    with pytest.raises(ValueError, match=f"^the columns of a table of tax rates are {COLUMNS}$"):
        read_rates(["country,percent"])
    with pytest.raises(ValueError, match=r"^line 2 of the table of tax rates is not a rate$"):
        read_rates([COLUMNS, "US,,2024-01-01,6,tax,us"])
    open_quote = [COLUMNS, 'US,,2024-01-01,6,tax,us,"said', "CA,,2024-01-01,6,tax,us,"]
    with pytest.raises(ValueError):
        read_rates(open_quote)


def test_a_region_is_found_by_any_of_its_names_and_a_country_by_its_own_row():
    table = read_rates(
        [
            COLUMNS,
            "US,TX|Texas,2024-01-01,6,tax,us,",
            "US,TX|Texas,2025-01-01,7,tax,us,",
            "US,,2024-01-01,1,tax,us,",
        ]
    )
    on = day("2024-12-31")
    assert [str(table.find("US", name, on).percent) for name in ("us-tx", "TEXAS", " tx ")] == (
        ["6"] * 3
    )
    assert str(table.find("US", "TX", day("2025-01-01")).percent) == "7"
    assert str(table.find("US", "OR", on).percent) == "1"
    assert str(table.find("US", "", on).percent) == "1"
    assert table.find("US", "TX", day("2023-12-31")) is None
    assert table.find("CA", "", on) is None
    assert (table.has("US"), table.has("CA")) == (True, False)
