"""The whole of each finding of the reconciliation: on whom, on what, how much, and what to do."""

from decimal import Decimal

import pytest

from domain.problems import Finding, Severity
from domain.subscription import CostInvoice
from rules.reconcile import check_seats, complete, reconcile
from tests.builders import a_charge, a_contract, a_line, day, period


def of(check, severity, record, sentence, hint, *, customer_id="c1"):
    return Finding(
        check=check,
        severity=severity,
        customer_id=customer_id,
        record=record,
        sentence=sentence,
        hint=hint,
    )


def told(lines, charges):
    return list(
        reconcile(
            lines=lines, charges=charges, contracts={"c1": a_contract()}, held=set(), sold={}
        ).findings
    )


@pytest.mark.parametrize(
    ("lines", "count", "sums"), [([], 0, "0"), ([a_line(quantity=9)], 1, "90.00")]
)
def test_an_import_that_is_not_whole(lines, count, sums):
    invoice = CostInvoice(
        id="I1",
        currency="USD",
        total=Decimal("100.00"),
        issued_on=day("2026-11-08"),
        billed=period("2026-10-01", "2026-11-01"),
    )
    assert complete(invoice, lines) == [
        of(
            "import.incomplete",
            Severity.BLOCK,
            "Microsoft invoice I1",
            f"The {count} imported lines of I1 sum to {sums} USD, the invoice says 100.00: "
            "not reconcilable.",
            "run sync again; nothing is billed from an incomplete import",
            customer_id="",
        )
    ]


@pytest.mark.parametrize(
    ("lines", "check", "billed"),
    [([a_line(quantity=12)], "seats.difference", "12"), ([], "seats.no_cost", "none")],
)
def test_seats_that_are_not_microsofts(lines, check, billed):
    charges = [a_charge()]
    assert check_seats(charges, lines, charges) == [
        of(
            check,
            Severity.HOLD,
            "subscription s1 2026-10-14 to 2026-11-13",
            "Business Premium, 2026-10-14 to 2026-11-13: 10 seats would be charged, "
            f"Microsoft billed {billed}.",
            "compare the subscription's changes with Microsoft's invoice; then run sync",
        )
    ]


def test_a_line_that_nothing_answers():
    assert told([a_line()], []) == [
        of(
            "reconcile.not_billed",
            Severity.WARN,
            "cost line cost/I1/cycleCharge/2026-10-14/10",
            "Microsoft billed 100.00 USD for Business Premium (cycleCharge, 2026-10-14 to "
            "2026-11-13) and no customer line answers it.",
            "bill the customer if the charge is right, else claim it back from Microsoft",
        )
    ]
