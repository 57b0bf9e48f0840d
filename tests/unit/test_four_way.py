"""Microsoft's line, the history, the customer's line and the accounting document, side by side."""

from dataclasses import replace
from decimal import Decimal

import pytest

from domain.charge import ChargeType, Reason
from domain.contract import Alignment, Frequency, Timing
from domain.money import Money
from domain.period import Period
from domain.reconciliation import BookedLine, Cause, Comparison, Remedy, SoldLine, worth
from domain.subscription import CostInvoice, CostKind
from rules import matching
from rules.four_way import four_way
from rules.shadow import predict
from tests.builders import (
    CUSTOMER,
    OFFER,
    SEATS,
    a_change,
    a_charge,
    a_contract,
    a_line,
    a_pass_on,
    a_rate,
    a_subscription,
    checks,
    day,
    period,
)

OCTOBER = Period.month("2026-10")
CYCLE = period("2026-10-14", "2026-11-14")


def sold(amount="120.00", quantity=10, **fields):
    """A line of the customer's invoice: 10 seats of the cycle from 14 October at 12.00."""
    return SoldLine(
        **{
            "key": f"INV-1/{amount}/{quantity}/{fields.get('subscription_id', SEATS)}",
            "customer_id": CUSTOMER,
            "currency": "USD",
            "amount": Decimal(amount),
            "subscription_id": SEATS,
            "sku": OFFER,
            "name": "Business Premium",
            "service": CYCLE,
            "quantity": None if quantity is None else Decimal(quantity),
            "unit_price": Decimal("12.00"),
            "tax": Decimal(0),
            "document": "INV-1",
            **fields,
        }
    )


def booked(amount="120.00", **fields):
    """The same line as it stands in the accounting."""
    return BookedLine(
        **{
            "key": f"xero/{amount}",
            "document": "INV-1",
            "currency": "USD",
            "amount": Decimal(amount),
            "name": "Business Premium",
            **fields,
        }
    )


def compare(lines, sold_lines, **sides):
    """Compare, and check what must hold of every comparison."""
    found = four_way(lines, sold_lines, **sides)
    for total in found.totals:
        assert set(total.residuals.values()) <= {0}
    again = four_way(
        list(reversed(lines)),
        None if sold_lines is None else list(reversed(sold_lines)),
        **{
            name: list(reversed(side)) if isinstance(side, list) else side
            for name, side in sides.items()
        },
    )
    assert (again.differences, again.totals, again.margins, again.findings) == (
        found.differences,
        found.totals,
        found.margins,
        found.findings,
    )
    return found


def told(found, comparison=Comparison.CUSTOMER):
    """Cause, remedy and worth of each difference."""
    return [
        (one.cause.value, one.remedy.value, f"{one.amount:f}")
        for one in found.differences
        if one.comparison is comparison
    ]


def due(**fields):
    """What the history and the prices say that the customer owes for the line."""
    return a_charge(**{"cost_lines": (a_line().key,), **fields})


# --- nothing to tell -------------------------------------------------------------------------------------


def test_a_month_in_which_all_sides_agree_has_no_difference():
    found = compare(
        [a_line("new")],
        [sold()],
        expected=predict([a_subscription()], (), [a_line("new")], OCTOBER),
        due=[due(cost_lines=(a_line("new").key,))],
        booked=[booked()],
        heads=[
            CostInvoice(
                id="I1",
                currency="USD",
                total=Decimal("100.00"),
                issued_on=day("2026-11-08"),
                billed=OCTOBER,
            )
        ],
    )
    assert found.differences == ()
    assert not found.needs_person
    (total,) = found.totals
    assert [total.microsoft, total.expected, total.due, total.sold, total.booked] == [
        100,
        100,
        120,
        120,
        120,
    ]
    assert set(total.residuals) == set(Comparison)


def test_sides_that_are_not_there_are_not_compared():
    found = compare([a_line()], None)
    (total,) = found.totals
    assert (found.differences, found.margins, total.residuals) == ((), (), {})
    assert (total.expected, total.due, total.sold, total.booked) == (None, None, None, None)


# --- which lines belong together ---------------------------------------------------------------------------


def test_the_pair_of_a_change_is_answered_by_one_line_of_added_seats():
    change = a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 15, effective="8.06")
    added = sold("48.39", 5, service=period("2026-10-20", "2026-11-14"))
    assert told(compare([a_line(), *change], [sold(), added])) == []


def test_a_line_without_a_subscription_is_matched_by_customer_and_product():
    for fields in ({"sku": OFFER}, {"sku": ""}, {"sku": "", "name": "business  PREMIUM"}):
        assert told(compare([a_line()], [sold(subscription_id="", **fields)])) == []
    (missing, unfounded) = told(
        compare([a_line()], [sold(subscription_id="", sku="", name="Another")])
    )
    assert missing == ("missing_invoice_line", "credit_customer", "-120.00")
    assert unfounded == ("missing_subscription", "bill_customer", "100.00")


def test_lines_of_two_subscriptions_that_cannot_be_told_apart_are_compared_together():
    lines = [a_line(), a_line(subscription_id="s2", key="second", quantity=4)]
    one_line = sold("168.00", 14, subscription_id="")
    assert told(compare(lines, [one_line])) == []
    found = compare(lines, [sold("144.00", 12, subscription_id="")])
    assert told(found) == [("quantity", "bill_customer", "24.00")]
    assert found.differences[0].subscription_id == ""
    assert checks(found.findings) == ["reconcile.ambiguous"]


def test_a_line_that_names_its_subscription_leaves_the_other_to_the_one_that_does_not():
    lines = [a_line(), a_line(subscription_id="s2", key="second", quantity=4)]
    found = compare(lines, [sold(), sold("48.00", 4, subscription_id="")])
    assert (told(found), found.findings) == ([], ())


def test_another_customers_line_answers_nothing():
    found = compare([a_line()], [sold(customer_id="c2")])
    assert len(told(found)) == 2


def test_lines_of_usage_are_answered_together():
    lines = [
        a_pass_on(CostKind.USAGE, "50.00", key="a"),
        a_pass_on(CostKind.USAGE, "30.00", key="b", sku_id="0002"),
    ]
    line = sold(
        "92.00", 1, subscription_id="plan-1", sku="", name="Azure", service=OCTOBER, unit_price=None
    )
    assert told(compare(lines, [line])) == []
    assert told(compare(lines, [replace(line, amount=Decimal("70.00"))])) == [
        ("price", "bill_customer", "10.00")
    ]


def test_a_purchase_that_was_taken_back_on_its_day_was_asked_for_and_given_back():
    lines = [a_line("new"), a_line("cancelImmediate", quantity=-10)]
    back = sold("-120.00", -10)
    assert told(compare(lines, [sold(), back])) == []
    assert told(compare(lines, [sold()])) == [("quantity", "credit_customer", "-120.00")]


def test_what_costs_nothing_beside_what_does_asks_for_nothing():
    """A trial of 25 seats before the first paid cycle; the customer's line names both."""
    trial = a_line(quantity=25, unit="0", end="2026-10-20", key="trial", sku_id="0009")
    line = sold(cost_lines=(a_line().key, "trial"))
    assert told(compare([a_line(), trial], [line])) == []


def test_changes_that_undo_each_other_need_no_line():
    lines = [
        *a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 15),
        *a_change("removeQuantity", "2026-10-20", "2026-11-14", 15, 10),
    ]
    assert told(compare(lines, [])) == []


def test_a_total_that_holds_the_added_seats_already_is_too_long_for_them():
    """15 seats were asked for from the 14th on; 5 of them came on the 20th."""
    change = a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 15, effective="8.06")
    assert told(compare([a_line(), *change], [sold("180.00", 15)])) == [
        ("dates", "credit_customer", "-11.61")
    ]


def test_a_calendar_month_pays_for_a_charge_cycle():
    assert told(compare([a_line()], [sold(service=OCTOBER)])) == []
    february = a_line(first="2026-02-14", end="2026-03-14")
    assert told(compare([february], [sold(service=Period.month("2026-02"))])) == []


# --- the causes on the customer's side ---------------------------------------------------------------------

QUANTITY = sold("96.00", 8)
DATES = sold("108.39", service=period("2026-10-14", "2026-11-11"))


@pytest.mark.parametrize(
    ("line", "cause", "remedy", "amount"),
    [
        (QUANTITY, "quantity", "bill_customer", "24.00"),
        (sold("144.00", 12), "quantity", "credit_customer", "-24.00"),
        (DATES, "dates", "bill_customer", "11.61"),
        (sold("110.00", unit_price=Decimal(11)), "price", "bill_customer", "10.00"),
        (sold("130.00", unit_price=Decimal(13)), "price", "credit_customer", "-10.00"),
        (sold("100.00"), "proration", "bill_customer", "20.00"),
        (sold("119.99"), "rounding", "none", "0.01"),
        (sold(currency="EUR"), "currency", "bill_customer", "120.00"),
    ],
)
def test_a_line_that_is_not_what_is_due_has_its_cause(line, cause, remedy, amount):
    found = told(compare([a_line()], [line], due=[due()]))
    assert (cause, remedy, amount) in found
    assert told(compare([a_line()], [sold()], due=[due()])) == []


def test_without_prices_seats_and_days_are_measured_by_the_customers_own_price():
    assert told(compare([a_line()], [QUANTITY])) == [("quantity", "bill_customer", "24.00")]
    assert told(compare([a_line()], [DATES])) == [("dates", "bill_customer", "11.61")]
    assert told(compare([a_line()], [sold("200.00", unit_price=Decimal(20))])) == []


def test_where_a_file_tells_no_quantity_only_the_cost_can_be_compared():
    line = sold(quantity=None, service=None, unit_price=None)
    assert told(compare([a_line(quantity=8)], [line])) == []
    assert told(compare([a_line(quantity=13)], [line])) == [("price", "bill_customer", "10.00")]


def test_below_cost_is_a_price_that_nobody_agreed_on():
    line = sold("90.00", unit_price=Decimal(9))
    assert told(compare([a_line()], [line])) == [("price", "bill_customer", "10.00")]
    agreed = {CUSTOMER: a_contract()}
    assert told(compare([a_line()], [line], contracts=agreed)) == []
    assert told(compare([a_line()], [replace(line, currency="EUR")])) == []


def test_several_causes_of_a_line_sum_to_its_difference():
    """8 instead of 10 seats at 11.00 instead of 12.00: the quantity first, at the price that was."""
    line = sold("88.00", 8, unit_price=Decimal(11))
    assert told(compare([a_line()], [line], due=[due()])) == [
        ("quantity", "bill_customer", "22.00"),
        ("price", "bill_customer", "10.00"),
    ]


def test_seats_that_joined_were_not_prorated():
    change = a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 15, effective="8.06")
    days = period("2026-10-20", "2026-11-14")
    whole_price = sold("60.00", 5, service=days)
    assert told(compare([a_line(), *change], [sold(), whole_price])) == [
        ("proration", "credit_customer", "-11.61")
    ]
    by_its_days = sold("48.40", 5, service=days, unit_price=Decimal("9.68"))
    assert told(compare([a_line(), *change], [sold(), by_its_days])) == []
    # Without the cycle's own line nobody can say what a whole cycle costs.
    assert told(compare(change, [whole_price])) == []


def test_a_promotion_that_was_agreed_and_not_given():
    reduced = due(
        amount="108.00",
        unit_price=Decimal("10.80"),
        reasons=(Reason(rule="price.discount", inputs={"percent": "10"}),),
    )
    assert told(compare([a_line()], [sold()], due=[reduced])) == [
        ("promotion", "credit_customer", "-12.00")
    ]
    given = sold("108.00", unit_price=Decimal("10.80"))
    assert told(compare([a_line()], [given], due=[reduced])) == []
    dear = sold("117.00", unit_price=Decimal("11.70"))
    assert told(compare([a_line()], [dear], due=[reduced])) == [
        ("price", "credit_customer", "-9.00")
    ]


def test_another_currency_than_the_customers():
    euros = sold("110.00", currency="EUR")
    found = compare([a_line()], [euros], contracts={CUSTOMER: a_contract()})
    assert [(d.currency, d.cause, str(d.amount)) for d in found.differences] == [
        ("EUR", Cause.CURRENCY, "-110.00"),
        ("USD", Cause.CURRENCY, "100.00"),
    ]
    assert (
        told(compare([a_line()], [euros], contracts={CUSTOMER: a_contract(currency="EUR")})) == []
    )
    # Nobody says what the customer's currency is, and all its lines agree.
    assert told(compare([a_line()], [euros])) == []


def test_a_subscription_that_was_never_billed_to_the_customer():
    lines = [a_line(), a_line(subscription_id="s2", key="second", quantity=4)]
    assert told(compare(lines, [sold()])) == [("missing_subscription", "bill_customer", "40.00")]
    both = [sold(), sold("48.00", 4, subscription_id="s2")]
    assert told(compare(lines, both)) == []


def test_a_subscription_that_microsoft_does_not_bill():
    assert told(compare([], [sold()])) == [("missing_subscription", "credit_customer", "-120.00")]


def test_asked_for_twice_and_never_billed_by_microsoft_is_no_duplicate():
    lines = [sold(), sold(key="INV-2/1", document="INV-2")]
    assert told(compare([], lines)) == [
        ("missing_subscription", "credit_customer", "-120.00"),
        ("missing_subscription", "credit_customer", "-120.00"),
    ]


def test_a_line_that_the_customer_was_not_asked_for_is_worth_the_markup_of_the_subscription():
    later = a_line(first="2026-10-20", end="2026-11-14", quantity=5, key="later", effective="8.06")
    found = compare([a_line(), later], [sold()])
    assert told(found) == [("missing_invoice_line", "bill_customer", "48.36")]
    assert "Microsoft billed 5 for 40.30 USD" in found.differences[0].sentence
    assert "later" in found.differences[0].records


def test_a_line_that_nothing_explains_is_credited():
    twice = sold("60.00", 5, service=period("2026-10-20", "2026-11-14"))
    assert told(compare([a_line()], [sold(), twice])) == [
        ("missing_invoice_line", "credit_customer", "-60.00")
    ]


def test_a_line_that_was_asked_for_twice():
    lines = [sold(), sold(key="INV-2/1", document="INV-2")]
    for sides in ({}, {"due": [due()]}):
        assert told(compare([a_line()], lines, **sides)) == [
            ("duplicate", "credit_customer", "-120.00")
        ]
    # Two lots of ten seats are no duplicate.
    assert told(compare([a_line(quantity=20)], lines)) == []
    usage = a_pass_on(CostKind.USAGE, "50.00")
    line = sold("55.00", None, subscription_id="plan-1", service=OCTOBER, unit_price=None)
    assert told(compare([usage], [line, replace(line, key="again")])) == [
        ("duplicate", "credit_customer", "-55.00")
    ]


def test_a_credit_that_was_not_passed_on():
    back = a_line("cancelImmediate", "2026-10-16", "2026-11-14", -10, "9.35")
    assert told(compare([a_line(), back], [sold()])) == [
        ("credit_not_passed_on", "credit_customer", "-112.20")
    ]
    credit = sold("-112.26", -10, service=period("2026-10-16", "2026-11-14"))
    assert told(compare([a_line(), back], [sold(), credit])) == []


def test_a_service_credit_that_was_passed_on_in_part():
    credit = a_pass_on(CostKind.CREDIT, "-50.00")
    half = sold("-30.00", None, subscription_id="plan-1", service=OCTOBER, unit_price=None)
    assert told(compare([credit], [half])) == [
        ("credit_not_passed_on", "credit_customer", "-20.00")
    ]
    assert told(compare([credit], [replace(half, amount=Decimal("-50.00"))])) == []
    assert told(compare([credit], [])) == [("credit_not_passed_on", "credit_customer", "-50.00")]


def test_what_was_asked_for_in_another_month_is_timing():
    early = sold(service=period("2026-11-14", "2026-12-14"))
    assert told(compare([a_line()], [sold(), early], period=OCTOBER)) == [
        ("timing", "none", "-120.00")
    ]
    found = compare([a_line()], [sold(), early])
    assert told(found) == [("missing_invoice_line", "credit_customer", "-120.00")]


def test_what_the_contract_asks_for_with_a_later_bill_is_timing():
    quarterly = a_contract(frequency=Frequency.QUARTER, timing=Timing.ARREARS)
    found = compare([a_line()], [], contracts={CUSTOMER: quarterly}, period=OCTOBER)
    assert told(found) == [("timing", "none", "100.00")]
    assert not found.needs_person
    monthly = a_contract()
    found = compare([a_line()], [], contracts={CUSTOMER: monthly}, period=OCTOBER)
    assert told(found) == [("missing_subscription", "bill_customer", "100.00")]


def test_held_and_excluded_lines_are_not_due():
    assert told(compare([a_line()], [], held={CUSTOMER})) == []
    assert told(compare([a_line()], [], excluded={a_line().key})) == []
    contract = a_contract(excluded_skus=(OFFER,))
    assert told(compare([a_line()], [], contracts={CUSTOMER: contract})) == []
    # What was billed before the hold is compared as ever.
    assert told(compare([a_line()], [QUANTITY], held={CUSTOMER})) == [
        ("quantity", "bill_customer", "24.00")
    ]


def test_lines_of_the_contracts_own_periods_are_measured_by_what_is_due_alone():
    contract = {CUSTOMER: a_contract(alignment=Alignment.CONTRACT)}
    part = sold("65.81", service=period("2026-10-14", "2026-11-01"), cost_lines=(a_line().key,))
    assert told(compare([a_line()], [part], contracts=contract)) == []
    wanted = due(service=part.service, full=OCTOBER, amount="69.68")
    assert told(compare([a_line()], [part], contracts=contract, due=[wanted])) == [
        ("proration", "bill_customer", "3.87")
    ]


# --- Microsoft against the history -------------------------------------------------------------------------


def against_history(lines, *, known=None, **sides):
    """Compare Microsoft's lines with what the first line's term lets expect."""
    expected = predict([a_subscription()], (), known or lines, OCTOBER)
    found = compare(lines, None, expected=expected, **sides)
    return told(found, Comparison.MICROSOFT)


def test_billed_more_than_the_history_says_is_claimed():
    known = [a_line("new")]
    assert against_history(known) == []
    assert against_history([a_line("new", unit="11.00")], known=known) == [
        ("price", "claim", "10.00")
    ]
    assert against_history([a_line("new", quantity=12)], known=known) == [
        ("quantity", "claim", "20.00")
    ]
    assert against_history([a_line("new", subtotal=Decimal("103.00"))], known=known) == [
        ("proration", "claim", "3.00")
    ]


def test_billed_less_is_told_and_left_alone():
    assert against_history([a_line("new", unit="9.00")], known=[a_line("new")]) == [
        ("price", "none", "-10.00")
    ]


def test_the_causes_of_microsofts_line_sum_to_its_difference():
    line = a_line("new", quantity=12, unit="11.00")
    assert against_history([line], known=[a_line("new")]) == [
        ("quantity", "claim", "22.00"),
        ("price", "claim", "10.00"),
    ]


def test_a_promotion_that_microsoft_forgot():
    first = a_line("new", effective="9.00", promotion_id="P1")
    assert against_history([first]) == []
    forgotten = replace(a_line("new"), promotion_id="")
    assert against_history([forgotten], known=[first]) == [("promotion", "claim", "10.00")]


def test_other_days_than_expected():
    short = a_line("new", end="2026-11-04", subtotal=Decimal("67.70"))
    found = against_history([short], known=[a_line("new")])
    assert found == [("dates", "none", "-32.30")]


def test_a_cent_for_each_seat_is_rounding():
    assert against_history([a_line("new", subtotal=Decimal("100.10"))], known=[a_line("new")]) == [
        ("rounding", "none", "0.10")
    ]


def test_a_line_for_a_subscription_that_nobody_knows_is_claimed():
    strange = a_line("new", subscription_id="s9", key="strange")
    found = against_history([a_line("new"), strange], known=[a_line("new")])
    assert found == [("missing_subscription", "claim", "100.00")]
    found = against_history(
        [a_line("new"), strange], known=[a_line("new")], subscriptions={SEATS, "s9"}
    )
    assert found == [("quantity", "claim", "100.00")]


def test_the_same_line_twice_is_claimed_once():
    twins = [a_line("new"), a_line("new", key="again")]
    assert against_history(twins, known=[a_line("new")]) == [("duplicate", "claim", "100.00")]


def test_a_line_that_microsoft_did_not_bill():
    assert against_history([], known=[a_line("new")]) == [
        ("missing_invoice_line", "none", "-100.00")
    ]


def test_what_belongs_to_no_change_of_a_subscription_is_an_adjustment_of_microsofts():
    extra = a_line("manualAdjustment", key="extra", first="2026-10-20", quantity=1)
    assert against_history([a_line("new"), extra], known=[a_line("new")]) == [
        ("microsoft_adjustment", "claim", "10.00")
    ]


def test_another_currency_of_microsofts_line():
    line = a_line("new", currency="EUR")
    expected = predict([a_subscription()], (), [a_line("new")], OCTOBER)
    found = compare([line], None, expected=expected)
    assert [(d.currency, d.cause, d.remedy, str(d.amount)) for d in found.differences] == [
        ("EUR", Cause.CURRENCY, Remedy.CLAIM, "100.00"),
        ("USD", Cause.CURRENCY, Remedy.NONE, "-100.00"),
    ]


@pytest.mark.parametrize(
    ("total", "differences"),
    [
        ("100.00", []),
        ("103.00", [("microsoft_adjustment", "claim", "3.00")]),
        ("95.00", [("microsoft_adjustment", "none", "-5.00")]),
    ],
)
def test_an_invoice_that_asks_for_more_than_its_lines(total, differences):
    head = CostInvoice(
        id="I1",
        currency="USD",
        total=Decimal(total),
        issued_on=day("2026-11-08"),
        billed=OCTOBER,
    )
    assert told(compare([a_line()], None, heads=[head]), Comparison.MICROSOFT) == differences


# --- the accounting ----------------------------------------------------------------------------------------


def in_books(sold_lines, entries):
    return told(compare([a_line()], sold_lines, booked=entries), Comparison.ACCOUNTING)


def test_a_document_that_is_booked_as_it_is():
    assert in_books([sold()], [booked()]) == []
    assert in_books([sold(line=1)], [booked(line=1, name="another name")]) == []


@pytest.mark.parametrize(
    ("entries", "cause", "amount"),
    [
        ([], "missing_invoice_line", "144.00"),
        ([booked(tax=Decimal("20.00"))], "tax", "4.00"),
        ([booked("110.00", tax=Decimal("24.00"))], "price", "10.00"),
        ([booked("96.00", tax=Decimal("24.00"), quantity=Decimal(8))], "quantity", "24.00"),
        ([booked(tax=Decimal("23.99"))], "rounding", "0.01"),
        (
            [booked(tax=Decimal("24.00")), booked(tax=Decimal("24.00"), key="b")],
            "duplicate",
            "-144.00",
        ),
        (
            [booked(tax=Decimal("24.00")), booked("5.00", key="b", name="Fee")],
            "missing_invoice_line",
            "-5.00",
        ),
        (
            [booked(tax=Decimal("24.00")), booked(tax=Decimal("24.00"), key="b", document="INV-9")],
            "duplicate",
            "-144.00",
        ),
        (
            [booked(tax=Decimal("24.00")), booked("7.00", key="b", document="INV-9")],
            "missing_invoice_line",
            "-7.00",
        ),
    ],
)
def test_what_the_accounting_has_otherwise_is_corrected_there(entries, cause, amount):
    remedy = "none" if cause == "rounding" else "correct_accounting"
    assert in_books([sold(tax=Decimal("24.00"))], entries) == [(cause, remedy, amount)]


def test_a_document_booked_in_another_currency():
    found = compare([a_line()], [sold()], booked=[booked(currency="EUR")])
    assert [(d.currency, d.cause, str(d.amount)) for d in found.differences] == [
        ("EUR", Cause.CURRENCY, "-120.00"),
        ("USD", Cause.CURRENCY, "120.00"),
    ]


def test_an_accounting_that_keeps_one_amount_for_a_document():
    lines = [sold(tax=Decimal("24.00")), sold("30.00", 1, key="x", tax=Decimal("6.00"), name="Fee")]
    assert in_books(lines, [booked("150.00", tax=Decimal("30.00"))]) == []
    assert in_books(lines, [booked("140.00", tax=Decimal("29.00"))]) == [
        ("price", "correct_accounting", "10.00"),
        ("tax", "correct_accounting", "1.00"),
    ]


@pytest.mark.parametrize(
    ("amount", "told"),
    [
        ("2000.00", []),
        ("1999.99", [("rounding", "none", "0.01")]),
        ("1998.00", [("price", "correct_accounting", "2.00")]),
    ],
)
def test_a_long_document_that_is_booked_in_one_amount_agrees_to_the_cent(amount, told):
    lines = [sold("10.00", 1, key=f"INV-1/{n}") for n in range(200)]
    assert in_books(lines, [booked(amount)]) == told


@pytest.mark.parametrize("number", ["inv-1", "INV-1 ", " Inv-1"])
def test_a_document_is_found_in_any_case_and_without_the_blanks_around_its_number(number):
    assert in_books([sold()], [booked(document=number)]) == []
    assert in_books([sold(tax=None)], [booked(document=number, tax=Decimal(9))]) == []


def test_thousands_of_meters_of_one_plan_are_not_looked_through_for_each_line(monkeypatch):
    looked = []
    same_way = matching._Places._same_way
    monkeypatch.setattr(
        matching._Places,
        "_same_way",
        staticmethod(lambda ask, line: looked.append(0) or same_way(ask, line)),
    )
    meters = range(300)
    costs = [
        a_pass_on(CostKind.USAGE, "1.00", key=f"cost/{n}", sku_id=f"{n:04}", name=f"Meter {n}")
        for n in meters
    ]
    asks = matching.asks_of_lines(costs)
    for fields in (
        {"subscription_id": costs[0].subscription_id, "sku": ""},
        {"subscription_id": "", "sku": costs[0].product_id},
        {"subscription_id": "", "sku": costs[0].product_id, "service": None},
    ):
        looked.clear()
        lines = [
            sold("1.10", None, **{"service": costs[0].charged, **fields, "key": f"i/{n}"})
            for n in meters
        ]
        (place,) = matching.places(
            asks, [replace(x, name=f"Meter {n}") for n, x in enumerate(lines)]
        )
        assert (len(place.asks), len(place.sold)) == (300, 300)
        assert len(looked) <= 2 * len(meters)


def test_a_tax_that_our_side_does_not_tell_is_not_compared():
    assert in_books([sold(tax=None)], [booked(tax=Decimal("24.00"))]) == []


# --- margins -----------------------------------------------------------------------------------------------


def margin_of(lines, sold_lines, **sides):
    return [
        (m.product, m.currency, str(m.cost), str(m.sold), m.margin and str(m.margin))
        for m in compare(lines, sold_lines, **sides).margins
    ]


def test_the_margin_of_a_customer_and_product():
    found = compare([a_line()], [sold()])
    assert margin_of([a_line()], [sold()]) == [(OFFER, "USD", "100.00", "120.00", "20.00")]
    assert str(found.margins[0].percent) == "16.7"
    by_name = sold(subscription_id="", sku="")
    assert margin_of([a_line()], [by_name]) == [(OFFER, "USD", "100.00", "120.00", "20.00")]


def test_cost_in_another_currency_is_turned_by_the_rate_or_shown_apart():
    line = sold("110.00", currency="EUR")
    rate = a_rate("0.9", "2026-10-01", base="USD", quote="EUR")
    assert margin_of([a_line()], [line], rates=[rate]) == [
        (OFFER, "EUR", "90.00", "110.00", "20.00")
    ]
    apart = [(OFFER, "EUR", "0.00", "110.00", None), (OFFER, "USD", "100.00", "0.00", None)]
    assert margin_of([a_line()], [line]) == apart
    late = replace(rate, on=day("2026-11-02"))
    assert margin_of([a_line()], [line], rates=[late], period=OCTOBER) == apart
    another = replace(rate, rate=Decimal("0.8"), source="Another")
    assert margin_of([a_line()], [line], rates=[rate, another]) == apart


# --- sums --------------------------------------------------------------------------------------------------


def test_worth_adds_up_by_remedy_cause_and_currency():
    lines = [a_line(), a_line(subscription_id="s2", key="second", quantity=4)]
    found = compare(lines, [QUANTITY, sold("36.00", 3, subscription_id="s2")])
    assert worth(found.differences) == {
        (Remedy.BILL_CUSTOMER, Cause.QUANTITY, "USD"): (2, Decimal("36.00"))
    }


def test_a_charge_and_its_line_meet_by_name_whatever_their_days():
    charge = due(key="charge/x", type=ChargeType.USAGE, amount="55.00")
    usage = a_pass_on(CostKind.USAGE, "50.00", key=a_line().key)
    line = sold("55.00", 1, charge_key="charge/x", service=period("2026-09-01", "2026-10-01"))
    found = compare([usage], [line], due=[charge])
    assert told(found) == []
    assert [match.sold for match in found.matches] == [Decimal("55.00")]
    assert charge.amount == Money(Decimal("55.00"), "USD")
