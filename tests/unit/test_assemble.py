"""Propose, subtract, answer: what is missing is drafted, what was wrong is answered, once."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest

from domain.charge import ChargeType
from domain.problems import Severity
from invoice.assemble import MAX_LINES_A_DAY, check_bounds
from invoice.document import DocumentKind, DocumentStatus
from tests.builders import a_charge, checks, drafted, issued, period


def told(document):
    return [(line.key, str(line.amount.amount)) for line in document.lines]


NOVEMBER = period("2026-11-14", "2026-12-14")
KEY = "charge/s1/cycle/2026-10-14/0"


# --- drafting ----------------------------------------------------------------------------------------


def test_the_first_document_holds_every_charge_in_a_stable_order():
    charges = [
        a_charge("1.00", name="B", key="3"),
        a_charge("2.00", name="A", key="2", service=period("2026-10-20", "2026-11-14")),
        a_charge("3.00", name="A", key="1"),
    ]
    document = drafted(charges, percent="19")
    assert told(document) == [("1", "3.00"), ("2", "2.00"), ("3", "1.00")]
    assert told(drafted(list(reversed(charges)))) == told(document)
    assert [line.position for line in document.lines] == [1, 2, 3]
    assert document.key == "invoice/c1/2026-10/USD/1"
    assert (document.kind, document.status) == (DocumentKind.INVOICE, DocumentStatus.DRAFT)
    assert (document.account_name, document.customer_name) == ("Fabrikam Toys Ltd", "Fabrikam Toys")


def test_tax_is_rounded_line_by_line_and_totals_are_sums_of_lines():
    charges = [a_charge("0.13", key=str(n)) for n in range(3)]
    document = drafted(charges, percent="19")
    assert [str(line.tax.amount) for line in document.lines] == ["0.02"] * 3  # 0.0247
    assert (str(document.subtotal), str(document.tax), str(document.total)) == (
        "0.39 USD",
        "0.06 USD",
        "0.45 USD",
    )


def test_nothing_missing_is_no_document():
    assert drafted([]) is None
    document = issued(drafted([a_charge()]))
    assert drafted([a_charge()], [document]) is None


def test_a_draft_is_replaced_by_the_next_draft_under_its_key():
    first = drafted([a_charge("120.00")])
    second = drafted([a_charge("130.00")], [first])
    assert (second.key, told(second)) == (first.key, [(KEY, "130.00")])
    assert drafted([], [first]) is None


def test_after_an_issued_document_the_next_has_a_key_of_its_own():
    first = issued(drafted([a_charge()]))
    second = drafted([a_charge(), a_charge("5.00", key="late")], [first])
    assert (second.key, told(second)) == ("invoice/c1/2026-10/USD/2", [("late", "5.00")])


def test_drafts_of_other_months_hold_their_charges():
    october = drafted([a_charge()])
    later = a_charge(service=NOVEMBER)
    november = drafted([a_charge(), later], [october], month="2026-11")
    assert told(november) == [(later.key, "120.00")]


def test_another_currency_is_numbered_apart():
    dollars = issued(drafted([a_charge()]))
    euros = drafted([a_charge("5.00", key="new", currency="EUR")], [dollars], currency="EUR")
    assert euros.key == "invoice/c1/2026-10/EUR/1"


# --- answering ---------------------------------------------------------------------------------------


def test_too_little_is_answered_by_an_adjustment_up():
    document = issued(drafted([a_charge("120.00")]))
    (line,) = drafted([a_charge("126.00")], [document], month="2026-11").lines
    assert (line.key, str(line.amount)) == (f"{KEY}/adjustment/1", "6.00 USD")
    assert line.charge.type is ChargeType.ADJUSTMENT
    assert line.charge.answers == KEY
    assert line.charge.exact == Fraction(6)
    assert line.charge.why == (
        "120.00 USD was billed for 2026-10-14 to 2026-11-13, 126.00 USD is right: "
        "10 running = 126.00 USD; the difference is 6.00 USD"
    )
    assert dict(line.charge.reasons[0].inputs) == {
        "answers": KEY,
        "document": "invoice/c1/2026-10/USD/1",
        "billed": "120.00",
        "difference": "6.00",
    }


def test_too_much_is_answered_by_a_credit_note():
    document = issued(drafted([a_charge("120.00")]))
    credit = drafted([a_charge("100.00")], [document], month="2026-11")
    assert credit.kind is DocumentKind.CREDIT_NOTE
    assert str(credit.total) == "-20.00 USD"


def test_what_should_not_have_been_billed_is_taken_back_whole():
    document = issued(drafted([a_charge("120.00"), a_charge("5.00", key="x")]))
    credit = drafted([a_charge("5.00", key="x")], [document], month="2026-11")
    assert told(credit) == [(f"{KEY}/adjustment/1", "-120.00")]
    assert credit.lines[0].charge.why == (
        "120.00 USD was billed for 2026-10-14 to 2026-11-13, nothing is due; "
        "the difference is -120.00 USD"
    )


def test_a_correction_is_corrected_in_turn_and_then_rests():
    documents = [issued(drafted([a_charge("120.00")]))]
    for right, difference in (("100.00", "-20.00"), ("110.00", "10.00"), ("120.00", "10.00")):
        document = drafted([a_charge(right)], documents)
        assert told(document) == [(f"{KEY}/adjustment/{len(documents)}", difference)]
        documents.append(issued(document, f"INV-{len(documents)}"))
        assert drafted([a_charge(right)], documents) is None
    assert documents[-1].lines[0].charge.answers == KEY


def test_credits_and_charges_on_one_document_ask_for_their_difference():
    document = issued(drafted([a_charge("120.00")]))
    november = a_charge("150.00", service=NOVEMBER)
    mixed = drafted([a_charge("100.00"), november], [document], month="2026-11")
    assert (mixed.kind, str(mixed.total)) == (DocumentKind.INVOICE, "130.00 USD")


def test_an_adjustment_is_taxed_as_the_line_that_it_answers():
    """The rate has changed since; what was charged with 19 percent is given back with 19."""
    document = issued(drafted([a_charge("120.00")], percent="19"))
    november = a_charge("50.00", service=NOVEMBER)
    second = drafted([november], [document], month="2026-11", percent="21")
    assert [(str(line.tax_percent), str(line.tax.amount)) for line in second.lines] == [
        ("19", "-22.80"),
        ("21", "10.50"),
    ]
    assert str((document.tax + second.tax).amount) == "10.50"


def test_an_adjustment_names_the_lines_of_microsoft_that_came_late():
    usage = {"type": ChargeType.USAGE, "key": "usage"}
    document = issued(drafted([a_charge("10.00", cost_lines=("a",), **usage)]))
    (line,) = drafted([a_charge("15.00", cost_lines=("a", "b"), **usage)], [document]).lines
    assert line.charge.cost_lines == ("b",)


# --- void documents and other contracts ---------------------------------------------------------------


def test_a_void_document_holds_nothing():
    void = replace(issued(drafted([a_charge()])), status=DocumentStatus.VOID)
    again = drafted([a_charge()], [void])
    assert (again.key, told(again)) == ("invoice/c1/2026-10/USD/2", [(KEY, "120.00")])
    assert drafted([], [void]) is None


def test_an_adjustment_that_stands_alone_is_answered_and_then_rests():
    original = issued(drafted([a_charge("120.00")]))
    correction = issued(drafted([a_charge("100.00")], [original]), "CN-1")
    documents = [replace(original, status=DocumentStatus.VOID), correction]
    again = drafted([a_charge("100.00")], documents)
    assert str(again.total) == "120.00 USD"
    assert again.lines[0].charge.answers == KEY
    assert again.lines[0].key != correction.lines[0].key
    assert drafted([a_charge("100.00")], [*documents, issued(again, "INV-2")]) is None


def test_what_an_earlier_contract_billed_is_neither_billed_again_nor_taken_back():
    old = issued(drafted([a_charge(), a_charge("7.00", key="gone")], key="contract/old"))
    assert drafted([a_charge("130.00")], [old], key="contract/new") is None
    new = drafted([a_charge("130.00"), a_charge(key="new")], [old], key="contract/new")
    assert told(new) == [("new", "120.00")]


def test_what_was_billed_in_another_currency_is_left_alone():
    dollars = issued(drafted([a_charge()]))
    assert drafted([a_charge("110.00", currency="EUR")], [dollars], currency="EUR") is None


def test_later_service_is_left_alone():
    november = issued(drafted([a_charge(service=NOVEMBER)], month="2026-11"))
    assert drafted([], [november], month="2026-10") is None
    assert drafted([], [november], month="2026-11") is not None


# --- bounds ----------------------------------------------------------------------------------------------


def test_a_proper_month_is_within_bounds():
    charges = [
        a_charge(),
        a_charge(service=NOVEMBER),
        a_charge(subscription_id="s2"),
        a_charge(
            key="add", type=ChargeType.ADD_QUANTITY, service=period("2026-10-20", "2026-11-14")
        ),
    ]
    assert check_bounds(charges) == []


def test_one_key_twice_is_refused():
    findings = check_bounds([a_charge(type=ChargeType.USAGE), a_charge(type=ChargeType.USAGE)])
    assert checks(findings) == ["bounds.same_key"]
    assert findings[0].severity is Severity.HOLD


def test_two_cycles_for_one_day_are_refused():
    early = a_charge(service=period("2026-11-10", "2026-12-10"))
    findings = check_bounds([early, a_charge()])
    assert checks(findings) == ["bounds.overlap"]
    assert "2026-11-10 to 2026-12-09 is billed although 2026-10-14 to 2026-11-13" in (
        findings[0].sentence
    )


@pytest.mark.parametrize("ended", [ChargeType.CONVERT, ChargeType.CANCEL])
def test_a_cycle_that_was_credited_covers_no_more_than_its_days(ended):
    """An annual cycle, converted in its second month to a term with monthly billing."""
    charges = [
        a_charge(type=ChargeType.NEW, service=period("2026-01-10", "2027-01-10")),
        a_charge(
            "-100.00",
            key="back",
            type=ended,
            quantity=Decimal(-10),
            service=period("2026-02-20", "2027-01-10"),
        ),
        a_charge(service=period("2026-03-20", "2026-04-20")),
    ]
    assert check_bounds(charges) == []
    early = a_charge(service=period("2026-02-19", "2026-03-19"))
    assert checks(check_bounds([*charges, early])) == ["bounds.overlap"]


def test_too_many_charges_on_one_day_are_refused_but_for_usage():
    def day_of(kind, count):
        return [
            a_charge(key=str(n), type=kind, service=period("2026-10-20", "2026-11-14"))
            for n in range(count)
        ]

    assert check_bounds(day_of(ChargeType.ADD_QUANTITY, MAX_LINES_A_DAY)) == []
    findings = check_bounds(day_of(ChargeType.ADD_QUANTITY, MAX_LINES_A_DAY + 1))
    assert checks(findings) == ["bounds.too_many"]
    assert check_bounds(day_of(ChargeType.USAGE, MAX_LINES_A_DAY + 1)) == []
