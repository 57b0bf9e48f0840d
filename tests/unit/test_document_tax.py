"""Tax on documents: rounded by line or by document, each tax for itself, corrected to the cent."""

from collections import defaultdict
from dataclasses import replace
from decimal import ROUND_FLOOR, Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.charge import ChargeType, Reason
from domain.money import Money
from domain.period import Period
from domain.tax import TaxCategory, TaxDecider, TaxPart, TaxRounding
from invoice.assemble import assemble
from invoice.document import ADDED_BY_ACCOUNTING, DocumentStatus, tax_on
from invoice.render import to_html, to_text
from invoice.rounding import rounding_of
from invoice.tax_words import category_words, tax_lines, tax_of_line, why_taxed
from tests.builders import (
    a_charge,
    a_contract,
    a_customer,
    a_tax,
    day,
    issued,
    of_before,
)

LINE, DOCUMENT = TaxRounding.LINE, TaxRounding.DOCUMENT
GST = TaxPart(name="GST", jurisdiction="CA", percent=Decimal(5))
QST = TaxPart(name="QST", jurisdiction="CA-QC", percent=Decimal("9.975"))
TEXAS = TaxPart(
    name="Sales tax",
    jurisdiction="US-TX",
    percent=Decimal("8.25"),
    taxable_percent=Decimal(80),
)


def charges(*amounts, currency="USD"):
    return [
        a_charge(amount, key=f"charge/{n}", subscription_id=f"s{n}", currency=currency)
        for n, amount in enumerate(amounts)
        if amount is not None
    ]


def made(proposed, tax, documents=(), *, month="2026-10", currency="USD"):
    return assemble(
        customer=a_customer(),
        contract=a_contract(currency=currency),
        period=Period.month(month),
        proposed=proposed,
        documents=documents,
        tax=tax,
    )


def taxes(document):
    return [str(line.tax.amount) for line in document.lines]


# --- by line and by document -----------------------------------------------------------------------

XERO = ("25.06", "25.61", "25.63")
"""The vendor's published example: 15 % of the lines is 11.44, of their sum 11.45."""


def test_by_line_each_line_is_rounded():
    document = made(charges(*XERO), a_tax("15"))
    assert taxes(document) == ["3.76", "3.84", "3.84"]
    assert str(document.tax) == "11.44 USD"
    assert list(tax_lines(document)) == [("VAT, 15 % of each line", Money(Decimal("11.44"), "USD"))]


def test_by_document_the_sum_is_rounded_and_its_lines_add_up_to_it():
    document = made(charges(*XERO), a_tax("15", rounding=DOCUMENT))
    assert taxes(document) == ["3.76", "3.84", "3.85"]  # 3.759, 3.8415, 3.8445
    assert str(document.tax) == "11.45 USD"
    assert list(tax_lines(document)) == [("VAT, 15 % of 76.30", Money(Decimal("11.45"), "USD"))]
    assert "Tax is rounded once for all lines of a rate" in to_text(document)
    assert tax_of_line(document.lines[2]) == (
        "VAT 15 % of 25.63 USD = 3.8445, which is 3.85 USD together with the lines that it is "
        "rounded with"
    )
    assert tax_of_line(document.lines[1]) == "VAT 15 % of 25.61 USD = 3.84 USD"


def test_a_currency_without_cents_is_rounded_to_its_own_unit():
    document = made(
        charges("105", "105", "105", currency="JPY"), a_tax("10", rounding=DOCUMENT), currency="JPY"
    )
    assert taxes(document) == ["11", "11", "10"]  # 31.5 is 32


@pytest.mark.parametrize(
    ("target", "set_to", "expected"),
    [
        ("", {}, LINE),
        ("xero", {"": DOCUMENT}, DOCUMENT),
        (" QuickBooks ", {"quickbooks": DOCUMENT, "": LINE}, DOCUMENT),
        ("xero", {"quickbooks": DOCUMENT}, LINE),
        ("", {"quickbooks": DOCUMENT}, LINE),
    ],
)
def test_each_accounting_target_has_its_rounding(target, set_to, expected):
    assert rounding_of(target, set_to) is expected


# --- several taxes and shares of a charge -----------------------------------------------------------


def test_two_taxes_are_rounded_and_told_apart():
    """0.10 at 5 % and at 9.975 % is a cent each, although 14.975 % of it is one cent in all."""
    document = made(charges("0.10", "100.00"), a_tax("1", parts=(GST, QST)))
    assert [[str(one.tax.amount) for one in line.taxes] for line in document.lines] == [
        ["0.01", "0.01"],
        ["5.00", "9.98"],
    ]
    assert [(name, str(tax.amount)) for name, tax in tax_lines(document)] == [
        ("GST, 5 % of each line", "5.01"),
        ("QST (CA-QC), 9.975 % of each line", "9.99"),
    ]
    assert str(document.tax.amount) == "15.00"


def test_a_tax_on_a_part_of_the_charge_says_how_much_of_it():
    document = made(charges("200.00"), a_tax("1", parts=(TEXAS,)))
    assert [(name, str(tax.amount)) for name, tax in tax_lines(document)] == [
        ("Sales tax (US-TX), 8.25 % of 80 % of each line", "13.20")
    ]
    assert tax_of_line(document.lines[0]) == (
        "Sales tax (US-TX) 8.25 % of 80 % of 200.00 USD = 13.20 USD"
    )
    assert document.lines[0].tax_percent == Decimal("6.6")


def test_two_provinces_at_one_rate_are_one_sum_for_the_tax_and_two_for_the_reader():
    hst = [
        TaxPart(name="HST", jurisdiction=f"CA-{one}", percent=Decimal(15))
        for one in "NB PE".split()
    ]
    first = issued(made(charges("100.00"), a_tax("1", parts=(hst[0],))))
    second = made(charges("90.00", "40.00"), a_tax("1", parts=(hst[1],)), [first])
    assert [(name, str(tax.amount)) for name, tax in tax_lines(second)] == [
        ("HST (CA-NB), 15 % of each line of -10.00", "-1.50"),
        ("HST (CA-PE), 15 % of each line of 40.00", "6.00"),
    ]
    (one,) = second.taxed
    assert (one.category, one.net.amount, one.tax.amount) == (
        "S",
        Decimal("30.00"),
        Decimal("4.50"),
    )


# --- no tax without its reason ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decision", "title", "note"),
    [
        (
            {
                "category": TaxCategory.REVERSE_CHARGE,
                "note": "Reverse charge (Art. 196).",
                "seller_tax_id": "DE136695976",
                "buyer_tax_id": "FR53901821074",
            },
            "No tax: reverse charge, the buyer accounts for it",
            "Reverse charge (Art. 196).",
        ),
        (
            {"category": TaxCategory.EXEMPT, "note": "Exempt, certificate EX-7: school."},
            "No tax: exempt",
            "Exempt, certificate EX-7: school.",
        ),
        ({"category": TaxCategory.OUT_OF_SCOPE}, "No tax: outside the scope of the tax", ""),
        ({"category": TaxCategory.EXPORT}, "No tax: export", ""),
        ({"category": TaxCategory.ZERO}, "No tax: zero rated", ""),
        (
            {"category": TaxCategory.STANDARD, "decided_by": TaxDecider.ACCOUNTING},
            "Tax not included",
            ADDED_BY_ACCOUNTING,
        ),
    ],
)
def test_no_tax_says_why(decision, title, note):
    document = made(charges("10.00"), a_tax(**decision))
    assert list(tax_lines(document)) == [(title, Money(Decimal("0.00"), "USD"))]
    for told in (to_text(document), to_html(document)):
        assert title in told
        assert note in told
        assert decision.get("seller_tax_id", "") in told
        assert decision.get("buyer_tax_id", "") in told
    assert title.partition(": ")[2] in tax_of_line(document.lines[0])


def test_where_accounting_decides_our_document_is_before_tax():
    tax = a_tax("19", decided_by=TaxDecider.ACCOUNTING)
    document = made(charges("10.00"), tax)
    assert document.tax == Money(Decimal("0.00"), "USD")
    assert "Total before tax          10.00 USD" in to_text(document)
    assert "Total before tax USD" in to_html(document)
    assert ADDED_BY_ACCOUNTING in document.tax_note


def test_a_document_with_two_treatments_tells_the_sum_and_the_reason_of_each():
    first = issued(made(charges("100.00"), a_tax("19")))
    reverse = a_tax(category=TaxCategory.REVERSE_CHARGE, note="Reverse charge.", buyer_tax_id="FR1")
    second = made(charges("90.00", "50.00"), reverse, [first], month="2026-11")
    assert [(name, str(tax.amount)) for name, tax in tax_lines(second)] == [
        ("No tax: reverse charge, the buyer accounts for it (50.00)", "0.00"),
        ("VAT, 19 % of each line of -10.00", "-1.90"),
    ]
    assert [(one.category, one.lines) for one in second.taxed] == [("AE", 1), ("S", 1)]
    assert to_text(second).count("Reverse charge.") == 1
    third = made(
        charges("80.00", "50.00"), a_tax("21"), [first, issued(second, "2")], month="2026-12"
    )
    assert third.tax_note == ""  # what is given back was taxed without that wording
    last = made(
        charges("80.00", "30.00"), a_tax("21"), [first, issued(second, "2"), issued(third, "3")]
    )
    assert last.tax_note == "Reverse charge."  # and this was asked for with it


def test_why_it_is_taxed_so_is_one_sentence():
    reason = Reason(rule="tax.profile", inputs={"country": "DE", "percent": "19"})
    document = made(charges("1.00"), a_tax("19", point="2026-10-31", reasons=(reason,)))
    assert why_taxed(document) == (
        "Decided by the rules and rates of the seller as of 2026-10-31: "
        "tax.profile (country DE, percent 19)."
    )
    assert why_taxed(made(charges("1.00"), a_tax("19", decided_by=TaxDecider.ENGINE))) == (
        "Decided by the tax engine."
    )
    assert why_taxed(of_before(document)) == ""
    assert tax_of_line(of_before(document).lines[0]) == "tax 19 % = 0.19 USD"


def test_the_tax_point_is_told_where_the_day_of_issue_does_not_say_it():
    document = issued(made(charges("1.00"), a_tax("19", point="2026-10-31")))
    assert "Taxed   as of 2026-10-31 (tax point)" in to_text(document)
    assert "<dt>Tax point</dt><dd>2026-10-31</dd>" in to_html(document)
    same_day = issued(made(charges("1.00"), a_tax("19", point="2026-11-01")))
    assert "tax point" not in to_text(same_day) + to_html(same_day)


# --- corrections -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rounding", [LINE, DOCUMENT])
def test_what_is_taken_back_is_taken_back_with_the_tax_that_was_asked(rounding):
    tax = a_tax("15", rounding=rounding)
    first = issued(made(charges(*XERO), tax))
    back = made(charges("25.06", "25.61"), tax, [first])
    assert taxes(back) == [f"-{first.lines[2].tax.amount}"]
    rest = made([], tax, [first, issued(back, "2")])
    assert rest.tax + back.tax + first.tax == Money(Decimal("0.00"), "USD")


def test_by_document_what_comes_with_it_makes_the_sum_right():
    """25.63 goes back with the 3.85 that it bore; 15 % of what is left of both is still exact."""
    tax = a_tax("15", rounding=DOCUMENT)
    first = issued(made(charges(*XERO), tax))
    second = made(charges("25.06", "25.61", None, "30.03"), tax, [first])
    assert taxes(second) == ["-3.85", "4.51"]  # 4.5045, up so that 4.40 gives 0.66
    assert second.tax == tax_on(second.subtotal, Decimal(15))


def test_what_is_taken_back_in_two_steps_is_taken_back_with_the_tax_that_was_asked():
    """11 at 2.33 become 10 for nothing: 15 % of 25.63 is 3.8445, but 3.85 was asked."""
    tax = a_tax("15", rounding=DOCUMENT)
    seats = {"key": "charge/2", "subscription_id": "s2"}
    asked = a_charge("25.63", quantity=Decimal(11), unit_price=Decimal("2.33"), **seats)
    first = issued(made([*charges(*XERO[:2]), asked], tax))
    assert taxes(first) == ["3.76", "3.84", "3.85"]
    free = a_charge("0.00", quantity=Decimal(10), unit_price=Decimal(0), **seats)
    second = made([*charges(*XERO[:2]), free], tax, [first])
    assert [str(line.amount.amount) for line in second.lines] == ["-2.33", "-23.30"]
    assert taxes(second) == ["-0.35", "-3.50"]
    assert str(second.tax.amount) == "-3.85"


def test_a_line_bears_no_more_than_its_own_cent_for_what_others_took_back():
    """Ten lines of 1.5 cents; the five that were rounded up go back: 5 cents more than theirs."""
    tax = a_tax("15", rounding=DOCUMENT)
    first = issued(made(charges(*["0.10"] * 10), tax))
    assert taxes(first) == ["0.02"] * 5 + ["0.01"] * 5
    second = made(charges(*[None] * 5, *["0.10"] * 5, "1.01"), tax, [first])
    assert sorted(taxes(second)) == ["-0.02"] * 5 + ["0.16"]  # 0.1515, rounded up
    assert str(tax_on(second.subtotal, Decimal(15))) == "0.08 USD"  # would leave 0.18 for it


def test_a_charge_of_before_is_corrected_in_the_words_of_today():
    first = of_before(issued(made(charges("100.00"), a_tax("19"))))
    (line,) = made(charges("90.00"), a_tax("19"), [first]).lines
    assert (line.tax_category, str(line.tax.amount)) == (TaxCategory.STANDARD, "-1.90")
    assert [one.part.name for one in line.taxes] == ["VAT"]
    (line,) = made(charges("90.00"), a_tax("21"), [first]).lines
    assert (line.tax_percent, str(line.tax.amount)) == (Decimal(19), "-1.90")
    assert [one.part.name for one in line.taxes] == ["Tax"]


def test_two_taxes_that_were_told_as_one_are_corrected_apart():
    both = a_tax("1", parts=(GST, QST))
    first = of_before(issued(made(charges("100.00"), both)))
    back = made([], both, [first])
    assert [str(one.tax.amount) for one in back.lines[0].taxes] == ["-5.00", "-9.98"]
    assert back.tax == -first.tax


@pytest.mark.parametrize(
    ("note", "category"),
    [("Reverse charge.", TaxCategory.REVERSE_CHARGE), ("Exempt by certificate.", None)],
)
def test_what_bore_no_tax_before_keeps_its_wording(note, category):
    """Why a line of before bore none is known from the wording alone."""
    reverse = a_tax(category=TaxCategory.REVERSE_CHARGE, note="Reverse charge.")
    first = of_before(issued(made(charges("100.00"), reverse)))
    first = replace(first, tax_note=note)
    (line,) = (back := made([], reverse, [first])).lines
    assert (line.tax_category, line.tax_note) == (category, note)
    assert note in to_text(back)


def test_a_wrong_category_is_corrected_when_a_person_says_from_when():
    exempt = a_tax(category=TaxCategory.EXEMPT, note="Exempt.")
    first = issued(made(charges("100.00"), exempt))
    tax = {"category": TaxCategory.REVERSE_CHARGE, "note": "Reverse charge.", "buyer_tax_id": "FR1"}
    assert made(charges("100.00"), a_tax(**tax), [first]) is None
    right = made(charges("100.00"), a_tax(**tax, right_from=day("2026-01-01")), [first])
    assert [(one.tax_category, str(one.amount)) for one in right.lines] == [
        ("E", "-100.00 USD"),
        ("AE", "100.00 USD"),
    ]
    assert right.lines[0].charge.why == (
        "Tax rate corrected: 100.00 USD for 2026-10-14 to 2026-11-13 was taxed at 0 % (exempt), "
        "0 % (reverse charge, the buyer accounts for it) is right; taken back at 0 % (exempt)"
    )
    assert right.tax_note == "Exempt.\nReverse charge."
    assert [(one.category, str(one.net), one.notes) for one in right.taxed] == [
        ("AE", "100.00 USD", ("Reverse charge.",)),
        ("E", "-100.00 USD", ("Exempt.",)),
    ]
    again = a_tax(**tax, right_from=day("2026-01-01"))
    assert made(charges("100.00"), again, [first, issued(right, "2")]) is None


def test_another_name_of_a_tax_corrects_nothing():
    first = issued(made(charges("100.00"), a_tax("19")))
    renamed = TaxPart(name="USt", jurisdiction="DE", percent=Decimal(19))
    tax = a_tax("19", parts=(renamed,), right_from=day("2026-01-01"))
    assert made(charges("100.00"), tax, [first]) is None


def test_a_document_of_before_is_not_corrected_for_having_no_category():
    for percent in ("0", "19"):
        first = of_before(issued(made(charges("100.00"), a_tax(percent, note="As agreed."))))
        tax = a_tax(percent, right_from=day("2026-01-01"))
        assert made(charges("100.00"), tax, [first]) is None


# --- whatever is decided and billed -----------------------------------------------------------------

PERCENTS = st.sampled_from("0 2.5 5 7.7 8.1 8.25 9.975 15 19 25".split()).map(Decimal)
SHARES = st.sampled_from((Decimal(100), Decimal(80), Decimal("33.3")))
WORDS = st.sampled_from(("", "Reverse charge.", "Exempt, certificate 7."))
AMOUNTS = st.none() | st.integers(-9999, 99999).map(lambda cents: f"{Decimal(cents) / 100:.2f}")


@st.composite
def decided(draw, rounding):
    """Any decision: taxed with up to three taxes, or not taxed for any reason."""
    category = draw(st.sampled_from(TaxCategory))
    parts = [
        TaxPart(name=f"T{n}", jurisdiction="CA-QC", percent=percent, taxable_percent=draw(SHARES))
        for n, percent in enumerate(draw(st.lists(PERCENTS, min_size=1, max_size=3)))
    ]
    return a_tax(
        rounding=rounding,
        category=category,
        parts=tuple(parts) if category is TaxCategory.STANDARD else (),
        note=draw(WORDS),
    )


def one_after_the_other(runs):
    """The documents of some runs; each knows what is right to ask for and how it is taxed."""
    documents = []
    for n, (amounts, tax) in enumerate(runs):
        draft = made(charges(*amounts), tax, documents)
        if draft is not None:
            documents.append(issued(draft, f"N-{n}"))
    return documents


@st.composite
def histories(draw, rounding, *, one_tax=False):
    first = draw(decided(rounding))
    lists = draw(st.lists(st.lists(AMOUNTS, max_size=6), min_size=1, max_size=4))
    return [(one, first if one_tax else draw(st.just(first) | decided(rounding))) for one in lists]


ROUNDINGS = st.sampled_from(TaxRounding)


@settings(max_examples=60)
@given(ROUNDINGS.flatmap(histories))
def test_totals_add_up_and_everything_is_told(runs):
    for document in one_after_the_other(runs):
        text = " ".join(to_text(document).split())
        assert document.total == document.subtotal + document.tax
        assert sum(one.tax.amount for one in document.taxed) == document.tax.amount
        assert sum(one.net.amount for one in document.taxed) == document.subtotal.amount
        assert sum(tax.amount for _, tax in tax_lines(document)) == document.tax.amount
        for line in document.lines:
            assert sum(one.tax.amount for one in line.taxes) == line.tax.amount
            assert sum(one.part.effective for one in line.taxes) == line.tax_percent
            assert line.amount or not line.tax
            assert line.tax_note in text
            for one in line.taxes:
                assert one.part.name in text
                assert (
                    abs(_error(line, one)) < 2
                )  # a step of a correction ends where the next begins
        for name, tax in tax_lines(document):
            assert f"{name} {tax.amount:,f} USD" in text
        for one in document.taxed:
            if not one.parts:
                (title,) = [name for name, _ in tax_lines(document) if _is_reason(name, one)]
                assert title


def _is_reason(name, one):
    words = category_words(one.category) if one.category != "S" else "not included"
    return words in name


def _error(line, tax):
    """How many cents a tax is off its exact value."""
    return Fraction(tax.tax.amount) * 100 - Fraction(line.amount.amount) * Fraction(
        tax.part.effective
    )


@settings(max_examples=60)
@given(histories(LINE, one_tax=True))
def test_by_line_all_documents_say_what_one_correct_document_would_have_said(runs):
    documents = one_after_the_other(runs)
    alone = made(charges(*runs[-1][0]), runs[-1][1])
    assert _by_charge(documents) == _by_charge([alone] if alone else [])


def _by_charge(documents):
    """The net and each tax of each charge; nothing where nothing is asked for."""
    found = defaultdict(Decimal)
    for document in documents:
        for line in document.lines:
            key = line.charge.answers or line.key
            found[key, "net"] += line.amount.amount
            for one in line.taxes:
                found[key, one.part.name] += one.tax.amount
    return {place: amount for place, amount in found.items() if amount}


@settings(max_examples=60)
@given(ROUNDINGS.flatmap(histories))
def test_a_wrong_tax_leaves_nothing_at_its_rate(runs):
    """Whatever was decided before: all documents end in what is right, taxed as it is right."""
    amounts, last = runs[-1]
    right = replace(last, right_from=day("2026-01-01"))
    documents = one_after_the_other([*runs[:-1], (amounts, right)])
    alone = made(charges(*amounts), right)
    told = _by_rate(documents)
    assert {place: net for place, (net, _) in told.items() if net} == {
        place: net for place, (net, _) in _by_rate([alone] if alone else []).items() if net
    }
    assert all(not tax for net, tax in told.values() if not net)
    if right.rounding is LINE and alone:
        assert sum(one.tax.amount for one in documents) == alone.tax.amount


def _by_rate(documents):
    """The net and the tax of each charge at each rate."""
    found = defaultdict(lambda: (Decimal(0), Decimal(0)))
    for document in documents:
        for line in document.lines:
            parts = tuple(one.part for one in line.taxes)
            place = (line.charge.answers or line.key, line.tax_category, line.tax_percent, parts)
            net, tax = found[place]
            found[place] = (net + line.amount.amount, tax + line.tax.amount)
    return found


@settings(max_examples=80)
@given(histories(DOCUMENT, one_tax=True))
def test_by_document_the_tax_of_each_document_is_that_of_its_sum(runs):
    """Unless lines were taken back wholly: they bring the tax that was asked for them."""
    for document in one_after_the_other(runs):
        back = _taken_back(document)
        for group in document.taxed:
            for one in group.parts:
                right = tax_on(one.net, one.part.effective)
                assert abs(one.tax.amount - right.amount) * 100 <= len(back)
        for line in document.lines:
            if line.key not in back:
                for one in line.taxes:
                    assert abs(_error(line, one)) < 1


def _taken_back(document):
    """The lines that take back all that was asked for a charge, or for one product of it."""
    return {
        line.key
        for line in document.lines
        if line.charge.type is ChargeType.ADJUSTMENT
        and line.charge.reasons[0].inputs["billed"] == str(-line.amount.amount)
    }


@settings(max_examples=80)
@given(histories(DOCUMENT, one_tax=True))
def test_by_document_what_nothing_is_due_for_bears_no_tax_in_the_end(runs):
    documents = one_after_the_other([*runs, ([], runs[-1][1])])
    assert _by_charge(documents) == {}
    assert sum(document.tax.amount for document in documents) == 0


@settings(max_examples=80)
@given(histories(DOCUMENT, one_tax=True))
def test_by_document_all_documents_are_within_a_cent_each_of_one_correct_document(runs):
    """And within a cent for each line that was taken back wholly: its tax was not rounded alone."""
    documents = one_after_the_other(runs)
    alone = made(charges(*runs[-1][0]), runs[-1][1])
    allowed = len(documents) + sum(len(_taken_back(one)) for one in documents)
    right = {
        one.part: one.tax.amount for group in (alone.taxed if alone else ()) for one in group.parts
    }
    told = defaultdict(Decimal)
    for document in documents:
        for group in document.taxed:
            for one in group.parts:
                told[one.part] += one.tax.amount
    for part in right.keys() | told.keys():
        assert abs(told[part] - right.get(part, Decimal(0))) * 100 <= allowed


@settings(max_examples=60)
@given(ROUNDINGS, ROUNDINGS, histories(LINE, one_tax=True))
def test_another_rounding_later_leaves_no_tax_on_nothing(first, later, runs):
    """An accounting target may change; what it asked for is taken back as it was asked for."""
    documents = []
    for n, (amounts, tax) in enumerate([*runs, ([], runs[-1][1])]):
        rounding = later if n else first
        draft = made(charges(*amounts), replace(tax, rounding=rounding), documents)
        if draft is not None:
            documents.append(issued(draft, f"N-{n}"))
    assert _by_charge(documents) == {}


def test_a_void_document_has_no_part_in_the_rounding():
    tax = a_tax("15", rounding=DOCUMENT)
    first = issued(made(charges(*XERO), tax))
    void = replace(first, status=DocumentStatus.VOID)
    assert taxes(made(charges(*XERO), tax, [void])) == taxes(first)


def test_a_share_is_the_exact_tax_rounded_up_or_down():
    document = made(charges("0.07", "0.07", "-0.05", "0.00"), a_tax("19", rounding=DOCUMENT))
    for line in document.lines:
        exact = line.amount.amount * Decimal("0.19")
        down = exact.quantize(Decimal("0.01"), ROUND_FLOOR)
        assert line.tax.amount in {down, down + Decimal("0.01")}
    assert document.tax == tax_on(document.subtotal, Decimal(19))
    assert document.lines[-1].tax == Money(Decimal("0.00"), "USD")
