"""Propose, subtract, answer: what is missing is drafted, what was wrong is answered, once."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest

from domain.charge import ChargeType, Reason
from domain.contract import Timing
from domain.period import Frequency, Period
from domain.problems import Severity
from invoice.assemble import MAX_LINES_A_DAY, assemble, check_bounds
from invoice.document import DocumentKind, DocumentStatus
from tests.builders import (
    a_charge,
    a_contract,
    a_customer,
    a_tax,
    checks,
    day,
    drafted,
    issued,
    period,
)


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


def test_the_legs_of_a_conversion_stand_together():
    """From Standard to Premium: by name alone, the target would come before its source."""
    rest = period("2026-10-20", "2026-11-14")
    charges = [
        a_charge("100.00", key="cycle", name="Standard"),
        a_charge("-50.00", key="from", name="Standard", type=ChargeType.CONVERT, service=rest),
        a_charge("80.00", key="to", name="Premium", type=ChargeType.CONVERT, service=rest),
        a_charge("5.00", key="other", name="Quick", subscription_id="s2"),
    ]
    assert [key for key, _ in told(drafted(charges))] == ["other", "cycle", "from", "to"]


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
        "120.00 USD was billed for 2026-10-14 to 2026-11-13 (INV-202610-0001), 126.00 USD is right: "
        "10 running = 126.00 USD; the difference is 6.00 USD"
    )
    assert dict(line.charge.reasons[0].inputs) == {
        "answers": KEY,
        "document": "invoice/c1/2026-10/USD/1",
        "cause": "other",
        "billed": "120.00",
        "difference": "6.00",
        "quantity": "10",
        "unit_price": "12",
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
        "Charge withdrawn: 120.00 USD was billed for 2026-10-14 to 2026-11-13 (INV-202610-0001), "
        "nothing is due; the difference is -120.00 USD"
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


# --- the cause of an adjustment ----------------------------------------------------------------------


def corrected(right, *, documents=None, **was):
    """The causes, amounts and sentences by which one billed charge becomes right."""
    before = documents or [issued(drafted([a_charge(**was)]))]
    document = drafted([right] if right else [], before)
    return [
        (line.charge.reasons[0].inputs["cause"], str(line.amount.amount), line.charge.why)
        for line in document.lines
    ]


def test_a_changed_price_is_named():
    right = a_charge("126.00", unit_price=Decimal("12.6"))
    assert corrected(right) == [
        (
            "price",
            "6.00",
            (
                "Price changed from 12.00 USD to 12.60 USD: 120.00 USD was billed for 2026-10-14 to "
                "2026-11-13 (INV-202610-0001), 126.00 USD is right: 10 running = 126.00 USD; "
                "the difference is 6.00 USD"
            ),
        )
    ]


def test_a_changed_number_of_seats_is_named():
    ((cause, amount, why),) = corrected(a_charge("96.00", quantity=Decimal(8)))
    assert (cause, amount) == ("quantity", "-24.00")
    assert why.startswith("Quantity changed from 10 to 8: 120.00 USD was billed")


def test_another_service_period_is_named():
    ((cause, amount, why),) = corrected(
        a_charge("60.00", key=KEY, service=period("2026-10-14", "2026-10-30"))
    )
    assert (cause, amount) == ("dates", "-60.00")
    assert why.startswith(
        "Service period changed from 2026-10-14 to 2026-11-13 to 2026-10-14 to 2026-10-29: 120.00 "
    )


def test_seats_and_price_are_two_adjustments_and_each_can_be_checked():
    """14 of 28 days: 10 x 12 = 60.00; 15 x 12 = 90.00; 15 x 13 = 97.50."""
    part = {
        "key": "charge/s1/add_quantity/2026-03-01/0",
        "service": period("2026-03-01", "2026-03-15"),
        "full": period("2026-02-15", "2026-03-15"),
    }
    right = a_charge("97.50", quantity=Decimal(15), unit_price=Decimal(13), why="WHY", **part)
    documents = [issued(drafted([a_charge("60.00", **part)], starts=day("2026-02-01")))]
    assert corrected(right, documents=documents) == [
        (
            "quantity",
            "30.00",
            (
                "Quantity changed from 10 to 15: 60.00 USD was billed for 2026-03-01 to 2026-03-14 "
                "(INV-202610-0001), 90.00 USD at the price of then: 15 × 12.00 USD × 14/28 days = "
                "90.00 USD; the difference is 30.00 USD"
            ),
        ),
        (
            "price",
            "7.50",
            (
                "Price changed from 12.00 USD to 13.00 USD: of 90.00 USD so far 97.50 USD is right: WHY; "
                "the difference is 7.50 USD"
            ),
        ),
    ]
    second = drafted([right], documents)
    assert [line.key[-13:] for line in second.lines] == ["/adjustment/1", "/adjustment/2"]
    assert drafted([right], [*documents, issued(second, "INV-2")]) is None


def test_another_product_is_taken_back_whole_and_asked_for_anew():
    documents = [issued(drafted([a_charge("120.00", name="Standard", sku="p:1")]))]
    right = a_charge("150.00", name="Premium", sku="p:2", why="10 running × 15.00 USD = 150.00 USD")
    second = drafted([right], documents)
    lines = {line.charge.name: line.charge for line in second.lines}
    assert [(c.sku, str(c.amount)) for c in lines.values()] == [
        ("p:2", "150.00 USD"),
        ("p:1", "-120.00 USD"),
    ]
    assert lines["Standard"].why == (
        "Product changed from Standard to Premium: 120.00 USD was billed for 2026-10-14 to "
        "2026-11-13 (INV-202610-0001), nothing is due for Standard; the difference is -120.00 USD"
    )
    assert lines["Premium"].why == (
        "Product changed from Standard to Premium: 10 running × 15.00 USD = 150.00 USD; "
        "the difference is 150.00 USD"
    )
    documents.append(issued(second, "INV-2"))
    assert drafted([right], documents) is None
    third = a_charge("135.00", name="Premium", sku="p:2", unit_price=Decimal("13.5"))
    (line,) = drafted([third], documents).lines
    assert (line.charge.name, str(line.amount)) == ("Premium", "-15.00 USD")


def test_what_was_worth_nothing_takes_the_product_of_what_is_right():
    documents = [issued(drafted([a_charge("0.00", name="Trial", sku="p:1")]))]
    right = a_charge("150.00", name="Premium", sku="p:2")
    second = drafted([right], documents)
    assert [(x.charge.name, str(x.amount)) for x in second.lines] == [("Premium", "150.00 USD")]
    assert drafted([right], [*documents, issued(second, "INV-2")]) is None


def test_what_is_entangled_is_one_adjustment_with_all_its_causes():
    right = a_charge(
        "45.00",
        key=KEY,
        quantity=Decimal(8),
        unit_price=Decimal(13),
        service=period("2026-10-14", "2026-10-30"),
    )
    ((cause, amount, why),) = corrected(right)
    assert (cause, amount) == ("dates quantity price", "-75.00")
    assert (
        ", Quantity changed from 10 to 8, Price changed from 12.00 USD to 13.00 USD: 120.00" in why
    )


def test_a_second_correction_compares_with_the_first():
    documents = [issued(drafted([a_charge("120.00")]))]
    first = a_charge("126.00", unit_price=Decimal("12.6"))
    documents.append(issued(drafted([first], documents), "INV-2"))
    second = a_charge("100.80", unit_price=Decimal("12.6"), quantity=Decimal(8))
    ((cause, amount, why),) = corrected(second, documents=documents)
    assert (cause, amount) == ("quantity", "-25.20")
    assert why.startswith(
        "Quantity changed from 10 to 8: 126.00 USD was billed for 2026-10-14 to 2026-11-13 "
        "(INV-202610-0001, INV-2), 100.80 USD is right"
    )


def test_what_was_withdrawn_and_is_due_again_is_named():
    documents = [issued(drafted([a_charge()]))]
    documents.append(issued(drafted([], documents), "CN-1"))
    ((cause, amount, _),) = corrected(a_charge(), documents=documents)
    assert (cause, amount) == ("restored", "120.00")


@pytest.mark.parametrize(
    ("kind", "inputs", "cause"),
    [
        (ChargeType.USAGE, {"cost": "13 USD"}, "usage"),
        (ChargeType.USAGE, {"cost": "10 USD"}, "price"),
        (ChargeType.ONE_TIME, {"subtotal": "13"}, "source"),
        (ChargeType.CREDIT, {"subtotal": "10"}, "source"),
    ],
)
def test_what_was_passed_on_changed_at_its_source_or_in_its_price(kind, inputs, cause):
    was = a_charge("11.00", type=kind, reasons=(Reason(rule="usage", inputs={"cost": "10 USD"}),))
    right = replace(a_charge("14.30", type=kind), reasons=(Reason(rule="usage", inputs=inputs),))
    ((found, _, why),) = corrected(right, documents=[issued(drafted([was]))])
    assert found == cause
    assert "10 USD" not in why  # what it costs the partner


def test_a_charge_of_a_month_that_was_invoiced_says_that_it_is_late():
    october = issued(drafted([a_charge()]))
    late = a_charge("36.00", key="late", service=period("2026-10-20", "2026-11-14"))
    november = drafted([a_charge(), late], [october], month="2026-11")
    (line,) = november.lines
    assert line.charge.why == (
        "Known only after 2026-10-01 to 2026-10-31 was invoiced (INV-202610-0001): "
        "10 running = 36.00 USD"
    )
    assert line.charge.reasons[-1].inputs["cause"] == "late"
    assert line.charge.reasons[-1].inputs["document"] == october.key


def test_what_is_on_time_or_granted_now_is_not_late():
    october = issued(drafted([a_charge()]))
    for charge in (
        a_charge(service=NOVEMBER),
        a_charge("-5.00", key="sla", type=ChargeType.CREDIT),
        a_charge(key="before", service=period("2026-09-14", "2026-10-14")),  # nothing was invoiced
    ):
        (line,) = drafted([a_charge(), charge], [october], month="2026-11").lines
        assert line.charge == charge


def test_in_arrears_a_charge_is_late_when_the_bill_of_its_period_is_out():
    """The bill of October is for what was served in October; November's for November."""
    arrears = {"timing": Timing.ARREARS}
    october = issued(drafted([a_charge()], **arrears))
    on_time = a_charge(key="on time", service=period("2026-11-20", "2026-11-25"))
    late = a_charge(key="late", service=period("2026-10-20", "2026-11-14"))
    charges = [a_charge(), on_time, late]
    found = drafted(charges, [october], month="2026-11", **arrears).lines
    assert {line.key: line.charge.why.startswith("Known only") for line in found} == {
        "late": True,
        "on time": False,
    }


def test_of_a_quarter_in_advance_all_months_are_on_one_bill():
    quarter = {"frequency": Frequency.QUARTER, "anchor_month": 10}
    october = issued(drafted([a_charge()], **quarter))
    late = a_charge(key="late", service=period("2026-12-20", "2027-01-14"))
    (line,) = drafted([a_charge(), late], [october], month="2027-01", **quarter).lines
    assert "(INV-202610-0001)" in line.charge.why


# --- tax ---------------------------------------------------------------------------------------------------


def at(percent, charges, documents=(), right_from=None):
    return assemble(
        customer=a_customer(),
        contract=a_contract(),
        period=Period.month("2026-10"),
        proposed=charges,
        documents=documents,
        tax=a_tax(percent, right_from=right_from and day(right_from)),
    )


def rates(document):
    return [(str(x.tax_percent), str(x.amount.amount), str(x.tax.amount)) for x in document.lines]


def test_the_tax_of_all_lines_is_the_tax_of_the_right_amount():
    """0.13 at 19 is 0.0247; twice that is 0.0494: 0.05 in all, not twice 0.02."""
    first = issued(at("19", [a_charge("0.13")]))
    second = at("19", [a_charge("0.26")], [first])
    assert rates(first) == [("19", "0.13", "0.02")]
    assert rates(second) == [("19", "0.13", "0.03")]
    third = at("19", [], [first, issued(second, "INV-2")])
    assert rates(third) == [("19", "-0.26", "-0.05")]


def test_a_wrong_rate_is_taken_back_and_asked_for_at_the_right_one():
    first = issued(at("0", [a_charge("100.00")]))
    assert at("19", [a_charge("100.00")], [first]) is None  # the rate only changed since
    assert at("19", [a_charge("100.00")], [first], right_from="2026-10-15") is None
    second = at("19", [a_charge("100.00")], [first], right_from="2026-10-14")
    assert rates(second) == [("0", "-100.00", "0.00"), ("19", "100.00", "19.00")]
    assert [line.charge.reasons[0].inputs["cause"] for line in second.lines] == ["tax", "tax"]
    assert second.lines[0].charge.why == (
        "Tax rate corrected: 100.00 USD for 2026-10-14 to 2026-11-13 was taxed at 0 %, 19 % is "
        "right; taken back at 0 %"
    )
    assert second.kind is DocumentKind.INVOICE
    documents = [first, issued(second, "INV-2")]
    assert at("19", [a_charge("100.00")], documents, right_from="2026-10-14") is None
    third = at("19", [a_charge("90.00")], documents, right_from="2026-10-14")
    assert rates(third) == [("19", "-10.00", "-1.90")]


def test_a_rate_that_was_too_high_makes_a_credit_note():
    first = issued(at("19", [a_charge("100.00")]))
    second = at("7", [a_charge("100.00")], [first], right_from="2026-01-01")
    assert rates(second) == [("19", "-100.00", "-19.00"), ("7", "100.00", "7.00")]
    assert second.kind is DocumentKind.CREDIT_NOTE


def test_a_wrong_rate_and_a_wrong_price_are_corrected_together():
    first = issued(at("0", [a_charge("100.00")]))
    right = [a_charge("110.00", unit_price=Decimal(11))]
    second = at("19", right, [first], right_from="2026-10-01")
    assert rates(second) == [
        ("0", "-100.00", "0.00"),
        ("19", "100.00", "19.00"),
        ("19", "10.00", "1.90"),
    ]
    assert at("19", right, [first, issued(second, "INV-2")], right_from="2026-10-01") is None


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


@pytest.mark.parametrize("ended", [ChargeType.CONVERT, ChargeType.CANCEL, ChargeType.TRANSFER])
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
