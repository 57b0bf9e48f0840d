"""Where did every cent of Microsoft's bill go? Nothing is lost and nothing is made to fit."""

from dataclasses import replace
from decimal import Decimal

import pytest

from domain.charge import ChargeType
from domain.contract import Alignment, Frequency, Timing
from domain.period import Period
from domain.problems import Severity
from domain.subscription import CostInvoice, CostKind
from rules.reconcile import Outcome, check_seats, complete, reconcile
from tests.builders import (
    OFFER,
    a_change,
    a_charge,
    a_contract,
    a_line,
    a_pass_on,
    checks,
    day,
    drafted,
    issued,
    period,
)


def check(lines, charges=(), *, contract=None, held=(), sold=None):
    contract = contract or a_contract()
    result = reconcile(
        lines=lines,
        charges=charges,
        contracts={contract.customer_id: contract},
        held=set(held),
        sold=sold or {},
    )
    for totals in result.totals:
        billed = [line.subtotal for line in lines if line.currency == totals.currency]
        assert totals.microsoft == sum(billed, Decimal(0))
    return result


def only(result):
    (totals,) = result.totals
    return totals


# --- is the import whole? ----------------------------------------------------------------------------


def head(total):
    return CostInvoice(
        id="I1",
        currency="USD",
        total=Decimal(total),
        issued_on=day("2026-11-08"),
        billed=period("2026-10-01", "2026-11-01"),
    )


def test_lines_that_sum_to_the_invoice_are_complete():
    assert complete(head("100.00"), [a_line()]) == []


@pytest.mark.parametrize("lines", [[], [a_line(quantity=9)], [a_line(), a_line()]])
def test_an_import_that_does_not_sum_blocks(lines):
    (finding,) = complete(head("100.00"), lines)
    assert (finding.check, finding.severity) == ("import.incomplete", Severity.BLOCK)
    assert f"The {len(lines)} imported lines of I1" in finding.sentence


# --- the outcomes --------------------------------------------------------------------------------------


def test_a_line_that_the_customer_was_charged_for_is_billed():
    result = check([a_line()], [a_charge()], sold={"USD": Decimal(120)})
    assert list(result.outcomes.values()) == [Outcome.BILLED]
    totals = only(result)
    assert (totals.billed, totals.residual, totals.sold) == (100, 0, 120)
    assert result.findings == ()


def test_a_credit_that_was_passed_on_is_credited():
    service = period("2026-10-16", "2026-11-14")
    line = a_line("cancelImmediate", "2026-10-16", "2026-11-14", -10, "9.35")
    credit = a_charge("-112.26", type=ChargeType.CANCEL, service=service, quantity=Decimal(-10))
    result = check([line], [credit])
    assert (only(result).credited, only(result).residual) == (Decimal("-93.50"), 0)
    assert result.findings == ()


def test_the_pair_of_a_change_is_answered_by_its_difference():
    lines = a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 15, effective="8.06")
    charge = a_charge(
        service=period("2026-10-20", "2026-11-14"),
        quantity=Decimal(5),
        type=ChargeType.ADD_QUANTITY,
    )
    result = check(lines, [charge])
    assert sorted(result.outcomes.values()) == [Outcome.BILLED, Outcome.CREDITED]
    assert (only(result).billed, only(result).credited) == (Decimal("120.90"), Decimal("-80.60"))
    assert result.findings == ()


def test_changes_that_undo_each_other_need_no_charge():
    lines = [
        *a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 15),
        *a_change("removeQuantity", "2026-10-20", "2026-11-14", 15, 10),
    ]
    result = check(lines)
    assert only(result).residual == 0
    assert result.findings == ()


def test_seats_that_undo_each_other_at_two_prices_do_not_vanish():
    lines = [
        *a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 15, effective="8.06"),
        *a_change("removeQuantity", "2026-10-20", "2026-11-14", 15, 10, effective="8.05"),
    ]
    result = check(lines)
    assert only(result).residual == Decimal("0.05")
    assert checks(result.findings) == ["reconcile.not_billed"] * 4


def test_what_the_customer_waits_for_is_held():
    result = check([a_line()], held={"c1"})
    assert (only(result).held, only(result).residual) == (100, 0)
    assert result.findings == ()


def test_what_a_contract_asks_for_with_a_later_bill_waits():
    quarterly = a_contract(frequency=Frequency.QUARTER, timing=Timing.ARREARS)
    for month, held in (("2026-10", 100), ("2026-11", 100), ("2026-12", 0)):
        result = reconcile(
            lines=[a_line()],
            charges=[],
            contracts={quarterly.customer_id: quarterly},
            held=set(),
            sold={},
            period=Period.month(month),
        )
        assert (only(result).held, only(result).residual) == (held, 100 - held)
        assert len(result.findings) == (0 if held else 1)


def test_what_was_billed_before_the_hold_stays_billed():
    assert only(check([a_line()], [a_charge()], held={"c1"})).billed == 100


def test_excluded_products_are_excluded_even_on_hold():
    contract = a_contract(excluded_skus=(OFFER,))
    for held in ((), ("c1",)):
        result = check([a_line()], contract=contract, held=held)
        assert (only(result).excluded, only(result).residual) == (100, 0)


def test_changes_of_an_excluded_product_are_excluded_though_they_undo_each_other():
    lines = [
        *a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 15),
        *a_change("removeQuantity", "2026-10-20", "2026-11-14", 15, 10),
    ]
    result = check(lines, contract=a_contract(excluded_skus=(OFFER,)))
    assert set(result.outcomes.values()) == {Outcome.EXCLUDED}


@pytest.mark.parametrize(
    "line",
    [
        a_line(first="2026-09-30", end="2026-10-30"),
        a_pass_on(CostKind.ONE_TIME, "100.00", charged=None, ordered_on=day("2026-09-30")),
        a_pass_on(CostKind.CREDIT, "-100.00", ordered_on=day("2026-09-30")),
    ],
)
def test_what_was_served_before_the_contract_is_excluded(line):
    result = check([line])
    assert list(result.outcomes.values()) == [Outcome.EXCLUDED]
    assert result.findings == ()


def test_a_credit_granted_under_the_contract_is_not_excluded_for_what_it_credits():
    line = a_pass_on(
        CostKind.CREDIT,
        "-100.00",
        charged=period("2026-09-01", "2026-10-01"),
        ordered_on=day("2026-10-05"),
    )
    assert list(check([line]).outcomes.values()) == [Outcome.UNEXPLAINED]


def test_what_nothing_explains_stays_in_the_residual_and_is_named():
    result = check([a_line()])
    assert only(result).residual == 100
    (finding,) = result.findings
    assert (finding.check, finding.severity) == ("reconcile.not_billed", Severity.WARN)
    assert "Microsoft billed 100.00 USD for Business Premium" in finding.sentence


def test_a_line_worth_nothing_is_not_worth_a_finding():
    result = check([a_line(unit="0")])
    assert list(result.outcomes.values()) == [Outcome.UNEXPLAINED]
    assert result.findings == ()


def test_a_customer_without_a_contract_is_not_explained_away():
    assert only(check([a_line(customer_id="c2")])).residual == 100


# --- lines that are passed on ------------------------------------------------------------------------------


def test_a_passed_on_line_is_answered_by_name():
    line = a_pass_on(CostKind.USAGE, "50.00")
    usage = a_charge("57.50", type=ChargeType.USAGE, cost_lines=(line.key,))
    assert only(check([line], [usage])).billed == 50
    assert only(check([line], [replace(usage, cost_lines=("another",))])).residual == 50


def test_a_line_that_came_late_is_answered_by_the_adjustment_that_names_it():
    line = a_pass_on(CostKind.USAGE, "5.00", key="late")
    adjustment = a_charge("5.75", type=ChargeType.ADJUSTMENT, cost_lines=("late",))
    assert only(check([line], [adjustment])).billed == 5


# --- seats and charges that do not fit ---------------------------------------------------------------------


def test_what_was_withdrawn_answers_nothing():
    first = issued(drafted([a_charge(cost_lines=(a_line().key,))]))
    second = issued(drafted([], [first]), "CN-1")
    charges = [line.charge for document in (first, second) for line in document.lines]
    assert checks(check([], charges).findings) == []
    assert checks(check([a_line()], charges).findings) == ["reconcile.not_billed"]
    third = issued(drafted([a_charge()], [first, second]), "INV-3")
    charges += [line.charge for line in third.lines]
    assert check([a_line()], charges).findings == ()


def test_a_seat_line_may_be_answered_by_name():
    """Our line follows the contract's month, Microsoft's its charge cycle."""
    contract = a_contract(alignment=Alignment.CONTRACT)
    charge = a_charge(service=period("2026-10-01", "2026-11-01"), cost_lines=(a_line().key,))
    result = check([a_line()], [charge], contract=contract)
    assert only(result).billed == 100
    assert result.findings == ()


# --- currencies --------------------------------------------------------------------------------------------


def test_each_currency_has_its_own_total():
    result = check(
        [a_line(), a_line(key="e", currency="EUR", customer_id="c2", subscription_id="s2")],
        [a_charge()],
        held={"c2"},
    )
    assert [(t.currency, t.billed, t.held, t.residual) for t in result.totals] == [
        ("EUR", 0, 100, 0),
        ("USD", 100, 0, 0),
    ]


def test_what_was_sold_in_a_currency_without_cost_is_shown():
    result = check([a_line()], [a_charge(currency="EUR")], sold={"EUR": Decimal(120)})
    assert [(t.currency, t.microsoft, t.sold) for t in result.totals] == [
        ("EUR", 0, 120),
        ("USD", 100, 0),
    ]


# --- seats against Microsoft's lines, before a document exists -----------------------------------------


def seats(charges, lines, asked=None):
    return check_seats(charges, lines, charges if asked is None else asked)


def test_the_same_seats_in_the_same_days_are_no_finding():
    change = [a_line("addQuantity", quantity=-10), a_line("addQuantity", quantity=15)]
    charges = [a_charge(), a_charge("60.00", key="added", quantity=Decimal(5))]
    assert seats(charges, [a_line(), *change]) == []


def test_seats_that_microsoft_does_not_bill_hold_the_customer():
    (finding,) = seats([a_charge()], [a_line(subscription_id="another")])
    assert (finding.check, finding.severity) == ("seats.no_cost", Severity.HOLD)
    assert "10 seats would be charged, Microsoft billed none" in finding.sentence


def test_another_number_of_seats_holds_the_customer():
    (finding,) = seats([a_charge()], [a_line(quantity=12)])
    assert (finding.check, finding.severity) == ("seats.difference", Severity.HOLD)
    assert "10 seats would be charged, Microsoft billed 12" in finding.sentence


def test_seats_that_microsoft_bills_for_other_days_hold_the_customer_and_name_them():
    (finding,) = seats([a_charge()], [a_line(end="2026-11-10")])
    assert finding.check == "seats.no_cost"
    assert "Microsoft billed 10 for 2026-10-14 to 2026-11-09" in finding.sentence


def aligned(charges, lines):
    return check_seats(charges, lines, charges, own_periods=True)


def test_lines_of_the_contracts_months_are_compared_by_their_first_day():
    """Microsoft bills from the 14th, the customer is billed by calendar month."""
    october = a_charge(service=period("2026-10-01", "2026-11-01"))
    before = a_line("new", "2026-09-14", "2026-10-14")
    assert aligned([october], [before, a_line()]) == []
    (finding,) = aligned([october], [replace(before, billable_quantity=Decimal(8)), a_line()])
    assert finding.check == "seats.difference"
    assert "2026-10-01 to 2026-10-31: 10 seats would be charged, Microsoft billed 8" in (
        finding.sentence
    )
    assert checks(aligned([october], [a_line()])) == ["seats.no_cost"]


def test_a_change_in_the_contracts_month_counts_with_its_cycle():
    october = a_charge(service=period("2026-10-01", "2026-11-01"))
    added = a_charge(
        "30.00",
        key="added",
        type=ChargeType.ADD_QUANTITY,
        quantity=Decimal(5),
        service=period("2026-10-20", "2026-11-01"),
    )
    lines = [
        a_line("new", "2026-09-14", "2026-10-14"),
        a_line(),
        *a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 15),
    ]
    assert aligned([october, added], lines) == []
    assert checks(aligned([october, added], lines[:2])) == ["seats.difference"]
    # The cycle began before the contract: only what was added is ours.
    assert aligned([added], lines) == []


def test_changes_of_a_day_that_come_to_nothing_need_no_line():
    charges = [a_charge("36.00", key="up"), a_charge("-36.00", key="down", quantity=Decimal(-10))]
    assert seats(charges, []) == []


def test_what_was_asked_for_earlier_counts_with_the_rest_of_its_days():
    late = a_charge("24.00", key="late", quantity=Decimal(2))
    assert seats([a_charge(), late], [a_line(quantity=12)], asked=[late]) == []


def test_settled_months_and_passed_on_lines_are_not_compared():
    earlier = a_charge(service=period("2026-09-14", "2026-10-14"))
    usage = a_charge(type=ChargeType.USAGE, cost_lines=("cost/I1/usage",))
    assert seats([earlier, usage], [], asked=[usage]) == []


def test_seats_that_cost_nobody_anything_hold_nobody():
    """A free trial that was cancelled: its two lines cancel out, and our credit of nothing is none."""
    free = a_charge("0.00", quantity=Decimal(25), type=ChargeType.NEW)
    pair = [a_line("new", quantity=25, unit="0"), a_line("cancelImmediate", quantity=-25, unit="0")]
    assert check_seats([free], pair, [free]) == []
    assert check_seats([free], [], [free]) == []
    paid = a_charge("250.00", quantity=Decimal(25), type=ChargeType.NEW)
    assert [f.check for f in check_seats([paid], pair, [paid])] == ["seats.difference"]
