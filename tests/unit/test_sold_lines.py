"""What documents ask for, as lines to compare: a charge and its adjustments are one line."""

from decimal import Decimal

from domain.charge import ChargeType
from domain.period import Period
from domain.problems import Finding, Severity
from domain.subscription import CostKind
from invoice.sold import sold_lines
from rules.four_way import findings_of, four_way
from tests.builders import (
    CUSTOMER,
    OFFER,
    SEATS,
    a_charge,
    a_line,
    a_pass_on,
    drafted,
    issued,
    period,
)

OCTOBER = Period.month("2026-10")


def lines_of(*documents):
    return [line for line, _ in sold_lines(documents)]


def told(lines, *documents):
    """The findings of a comparison of Microsoft's lines with documents."""
    sold = lines_of(*documents)
    found = four_way(lines, sold, period=OCTOBER)
    return findings_of(found.differences, {line.key for line in sold})


def test_a_charge_is_a_line_with_its_seats_days_price_and_tax():
    (line,) = lines_of(issued(drafted([a_charge(cost_lines=("k",))], percent="19"), "INV-7"))
    assert (line.key, line.document, line.line) == ("INV-7/1", "INV-7", 1)
    assert (line.customer_id, line.subscription_id, line.sku) == (CUSTOMER, SEATS, OFFER)
    assert (line.quantity, line.unit_price, line.amount, line.tax) == (
        10,
        12,
        Decimal("120.00"),
        Decimal("22.80"),
    )
    assert line.service == period("2026-10-14", "2026-11-14")
    assert line.cost_lines == ("k",)


def test_a_corrected_charge_is_one_line_as_it_stands():
    """10 seats were billed, 12 are right: an adjustment says so, and Microsoft's 12 are no gap."""
    before = issued(drafted([a_charge("120.00")]))
    after = issued(drafted([a_charge("144.00", quantity=Decimal(12))], [before]), "INV-2")
    (line,) = lines_of(after, before)
    assert (line.quantity, str(line.amount), line.document) == (12, "144.00", before.number)
    assert told([a_line(quantity=12)], after, before) == []
    (finding,) = told([a_line()], after, before)
    assert finding.check == "reconcile.quantity"


def test_what_was_withdrawn_asks_for_nothing():
    first = issued(drafted([a_charge(cost_lines=(a_line().key,))]))
    second = issued(drafted([], [first]), "CN-1")
    assert lines_of(first, second) == []
    third = issued(drafted([a_charge()], [first, second]), "INV-3")
    (line,) = lines_of(first, second, third)
    assert str(line.amount) == "120.00"
    assert told([a_line()], first, second, third) == []


def test_an_adjustment_whose_charge_is_void_stands_for_its_amount_alone():
    before = issued(drafted([a_charge("120.00")]))
    after = issued(drafted([a_charge("144.00", quantity=Decimal(12))], [before]), "INV-2")
    (line,) = lines_of(after)
    assert (str(line.amount), line.quantity, line.unit_price) == ("24.00", None, None)


def test_a_charge_in_two_currencies_is_two_lines():
    dollars = issued(drafted([a_charge()]))
    euros = issued(drafted([a_charge(currency="EUR")], currency="EUR"), "INV-2")
    assert sorted(line.currency for line in lines_of(dollars, euros)) == ["EUR", "USD"]


def test_another_number_of_seats_is_told_in_words():
    document = issued(drafted([a_charge()]), "INV-7")
    assert told([a_line(quantity=12)], document) == [
        Finding(
            check="reconcile.quantity",
            severity=Severity.WARN,
            customer_id=CUSTOMER,
            record="subscription s1 2026-10-14 to 2026-11-13",
            sentence=(
                "Business Premium, 2026-10-14 to 2026-11-13: Microsoft billed 12 for 120.00 USD, "
                "the customer was asked for 10 for 120.00 USD (quantity); 24.00 USD too little."
            ),
            hint="bill the customer for the difference",
        )
    ]


def test_a_charge_that_no_line_answers_is_told_in_words():
    (finding,) = told([], issued(drafted([a_charge()]), "INV-7"))
    assert finding.check == "reconcile.missing_subscription"
    assert finding.sentence == (
        "Business Premium, 2026-10-14 to 2026-11-13: the customer was asked for 10 for "
        "120.00 USD and nothing explains it; 120.00 USD too much."
    )
    assert "check that the subscription still runs" in finding.hint


def test_other_days_are_told_with_their_days():
    charge = a_charge(service=period("2026-10-14", "2026-11-11"), amount="108.39")
    (finding,) = told([a_line()], issued(drafted([charge])))
    assert finding.check == "reconcile.dates"
    assert "asked for 10 for 108.39 USD (2026-10-14 to 2026-11-10)" in finding.sentence


def test_what_needs_no_line_of_microsoft_is_not_told():
    usage = a_pass_on(CostKind.USAGE, "50.00")
    passed_on = a_charge(
        "57.50", type=ChargeType.USAGE, cost_lines=(usage.key,), quantity=Decimal(1)
    )
    assert told([usage], issued(drafted([passed_on]))) == []
    assert told([], issued(drafted([a_charge("0.00")]))) == []
    # Nobody was asked: the line's outcome tells that, once.
    assert told([a_line()]) == []


def test_a_charge_of_another_month_is_answered_by_another_invoice():
    late = a_charge(service=period("2026-09-14", "2026-10-14"))
    assert told([], issued(drafted([late]))) == []
