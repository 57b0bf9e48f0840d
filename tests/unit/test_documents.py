"""What a document says: explained as data, drawn as text and as a page, and what of it is frozen."""

import json
from dataclasses import replace
from decimal import Decimal

import pytest

from domain.charge import ChargeType, Reason
from domain.money import Money
from invoice.document import DocumentStatus
from invoice.explain import explain_document, explain_line, fingerprint
from invoice.file import Saved
from invoice.render import WIDTH, title, to_html, to_text
from tests.builders import a_charge, drafted, issued, of_before, period


def a_document(**fields):
    charges = [
        a_charge(
            "1234.50",
            why="10 running × 123.45 USD (2026-10-14 to 2026-11-13) = 1234.50 USD",
            unit_price=Decimal("123.4500000000"),
            unit_cost=Decimal("100.1"),
        ),
        a_charge(
            "-7.00",
            key="credit/1",
            name="Support <b>& more</b>",
            type=ChargeType.CREDIT,
            quantity=Decimal(-1),
            service=period("2026-10-20", "2026-10-20"),
            why="Microsoft's credit for 2026-10-20: -7 USD passed on as it is = -7.00 USD",
            cost_lines=("cost/I1/x",),
        ),
    ]
    return replace(drafted(charges, percent="19"), **fields)


# --- explained -----------------------------------------------------------------------------------------


def test_a_line_is_explained_as_plain_data():
    first = a_document().lines[0]
    assert explain_line(first) == {
        "position": 1,
        "charge": "charge/s1/cycle/2026-10-14/0",
        "charge_type": "cycle_charge",
        "name": "Business Premium",
        "sku": "CFQ7TTC0LH18:0001",
        "subscription": "s1",
        "service_start": "2026-10-14",
        "service_end": "2026-11-14",
        "days": 31,
        "cycle_days": 31,
        "quantity": "10",
        "unit_price": "123.45",
        "amount": "1234.50",
        "tax_percent": "19",
        "tax": "234.56",
        "why": "10 running × 123.45 USD (2026-10-14 to 2026-11-13) = 1234.50 USD",
        "answers": None,
        "cost_lines": [],
        "reasons": [{"rule": "price.test", "inputs": {}}],
        "tax_category": "S",
        "taxes": [
            {
                "name": "VAT",
                "jurisdiction": "DE",
                "percent": "19",
                "taxable_percent": "100",
                "tax": "234.56",
            }
        ],
        "tax_note": "",
        "tax_why": "VAT 19 % of 1,234.50 USD = 234.56 USD",
    }


def test_a_document_is_explained_with_its_totals_and_is_json():
    told = explain_document(a_document())
    assert json.loads(json.dumps(told)) == told
    assert (told["subtotal"], told["tax"], told["total"]) == ("1227.50", "233.23", "1460.73")
    assert (told["period"], told["kind"], told["status"]) == ("2026-10", "invoice", "draft")
    assert [line["position"] for line in told["lines"]] == [1, 2]


# --- frozen --------------------------------------------------------------------------------------------


def test_approval_does_not_change_what_a_customer_was_told():
    draft = a_document()
    assert fingerprint(issued(draft)) == fingerprint(draft)
    assert len(fingerprint(draft)) == 64


@pytest.mark.parametrize(
    "change",
    [
        lambda charge: replace(charge, amount=Money(Decimal("1234.51"), "USD")),
        lambda charge: replace(charge, why="because"),
        lambda charge: replace(charge, reasons=(Reason(rule="price.other"),)),
        lambda charge: replace(charge, service=period("2026-10-14", "2026-11-13")),
    ],
)
def test_a_changed_line_shows_in_the_fingerprint(change):
    document = a_document()
    first, *rest = document.lines
    changed = replace(document, lines=(replace(first, charge=change(first.charge)), *rest))
    assert fingerprint(changed) != fingerprint(document)


def test_changed_terms_show_in_the_fingerprint():
    document = a_document()
    for terms in ({"tax_note": "Reverse charge"}, {"account_name": "Somebody else"}):
        assert fingerprint(replace(document, **terms)) != fingerprint(document)


# --- drawn ---------------------------------------------------------------------------------------------

TEXT = """\
Invoice INV-202610-0001
For     Fabrikam Toys Ltd
Period  2026-10-01 to 2026-10-31
Issued  2026-11-01, due 2026-12-01
Tax id  DE123

    Product, and how its amount comes about                    Quantity         Amount         Tax
  1 Business Premium                                                 10       1,234.50      234.56
      10 running × 123.45 USD (2026-10-14 to 2026-11-13) = 1234.50 USD
  2 Support <b>& more</b>                                            -1          -7.00       -1.33
      Microsoft's credit for 2026-10-20: -7 USD passed on as it is = -7.00 USD
--------------------------------------------------------------------------------------------------
                                                               Subtotal       1,227.50 USD
                                                 Tax, 19 % of each line         233.23 USD
                                                                  Total       1,460.73 USD

Reverse charge.
"""


def test_a_document_of_before_categories_were_kept_is_drawn_as_it_was():
    document = issued(a_document(tax_note="Reverse charge.", buyer_tax_id="DE123"))
    assert to_text(of_before(document)) == TEXT


def test_a_document_as_text_names_its_tax():
    document = issued(a_document(tax_note="Reverse charge.", buyer_tax_id="DE123"))
    assert to_text(document) == TEXT.replace("Tax, 19 %", "VAT, 19 %")


def test_long_names_and_sentences_stay_within_the_width():
    charge = a_charge(name="A" * 90, why="word " * 60)
    text = to_text(drafted([charge]))
    assert max(map(len, text.splitlines())) == WIDTH


def test_a_document_is_named_as_people_do():
    draft = a_document()
    assert title(draft) == "Invoice (draft)"
    assert title(issued(draft, "INV-7")) == "Invoice INV-7"
    credit = drafted([a_charge("-1.00")])
    assert title(credit) == "Credit note (draft)"
    assert title(replace(credit, status=DocumentStatus.PAID, number="CN-1")) == "Credit note CN-1"


def test_a_page_says_the_same_and_escapes_names():
    name = "<script>alert('x')</script>"
    page = to_html(issued(a_document(account_name=name, tax_note="<i>note</i>")))
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page
    assert "Support &lt;b&gt;&amp; more&lt;/b&gt;" in page
    assert "&lt;i&gt;note&lt;/i&gt;" in page
    for shown in (
        "VAT, 19 % of each line",
        "INV-202610-0001",
        "1,234.50",
        "234.56",
        "1,460.73",
        "123.45",
        "2026-10-20</td>",
    ):
        assert shown in page
    assert "http" not in page


def test_a_page_of_a_draft_says_so():
    assert '<h1 class="draft">Invoice (draft)</h1>' in to_html(a_document())
    assert "Issued" not in to_html(a_document())


def test_what_saves_did_adds_up():
    assert Saved(created=1, updated=2) + Saved(updated=3, unchanged=4) == Saved(
        created=1, updated=5, unchanged=4
    )
