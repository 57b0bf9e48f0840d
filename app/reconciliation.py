"""What `reconcile` answers: differences by worth, margins and totals; tables or one JSON document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.screen import print_json, table
from domain.reconciliation import Remedy, worth
from reports.differences import (
    TO_DO,
    by_customer,
    difference_as_data,
    margin_as_data,
    side_as_data,
    worth_said,
)

if TYPE_CHECKING:
    from domain.reconciliation import Margin
    from domain.run import ControlTotal
    from sync.reconcile import Month

DONE, HOLDS = 0, 3


def show(month: Month, *, as_json: bool) -> int:
    """Show a reconciled month; the exit code says whether anything needs a person."""
    if as_json:
        print_json(as_data(month))
    else:
        _tables(month)
    return HOLDS if _needs_person(month) else DONE


def as_data(month: Month) -> dict[str, Any]:
    """Return a reconciled month as plain data; money is text."""
    sides, names = month.sides, month.customers
    return {
        "period": f"{month.period.start:%Y-%m}",
        "as_of": str(month.as_of),
        "needs_person": _needs_person(month),
        "totals": [_control(total) for total in month.totals],
        "sides": [side_as_data(total) for total in sides.totals],
        "differences": [difference_as_data(one, names) for one in sides.differences],
        "margins": [margin_as_data(one, names) for one in sides.margins],
        "findings": [
            {"check": one.check, "sentence": one.sentence, "hint": one.hint}
            for one in sides.findings
        ],
    }


def _needs_person(month: Month) -> bool:
    return month.sides.needs_person or any(total.residual for total in month.totals)


def _control(total: ControlTotal) -> dict[str, str]:
    names = ("microsoft", "billed", "credited", "held", "excluded", "residual", "sold")
    return {"currency": total.currency} | {name: f"{getattr(total, name):f}" for name in names}


def _tables(month: Month) -> None:
    sides, names = month.sides, month.customers
    print(f"{month.period.start:%Y-%m} as of {month.as_of}: {verdict(month)}")
    if sides.differences:
        table(
            "What to do, and what it is worth",
            ("what to do", "cause", ">places", ">worth", "currency"),
            [
                (TO_DO[remedy], cause.replace("_", " "), f"{count:,}", f"{amount:,f}", currency)
                for (remedy, cause, currency), (count, amount) in sorted(
                    worth(sides.differences).items(),
                    key=lambda one: (one[0][0] is Remedy.NONE, -abs(one[1][1])),
                )
            ],
        )
        print()
    todo = [one for one in sides.differences if one.remedy is not Remedy.NONE]
    if todo:
        table(
            "Differences",
            ("customer", "why", "what to do"),
            [
                (names.get(one.customer_id, one.customer_id or "(partner)"), one.sentence, one.hint)
                for one in todo
            ],
        )
        print()
    table(
        "The four sides",
        ("currency", ">Microsoft", ">expected", ">due", ">sold", ">booked", ">unexplained"),
        [
            (
                total.currency,
                *(
                    "-" if value is None else f"{value:,f}"
                    for value in (
                        total.microsoft,
                        total.expected,
                        total.due,
                        total.sold,
                        total.booked,
                    )
                ),
                f"{sum(map(abs, total.residuals.values())):,f}",
            )
            for total in sides.totals
        ],
    )
    print()
    _margins(month)
    for finding in sides.findings:
        print(f"Finding: {finding.sentence} {finding.hint[:1].upper()}{finding.hint[1:]}.")


def _margins(month: Month) -> None:
    """Show the margin of each customer, or of each product where one customer was asked for."""
    one_customer = len(month.customers) == 1
    margins = month.sides.margins if one_customer else by_customer(month.sides.margins)

    def row(one: Margin) -> tuple[str, ...]:
        return (
            one.name if one_customer else month.customers.get(one.customer_id, one.customer_id),
            f"{one.cost:,f}",
            f"{one.sold:,f}",
            "no rate" if one.margin is None else f"{one.margin:,f}",
            "" if one.percent is None else f"{one.percent}",
            one.currency,
        )

    what = "product" if one_customer else "customer"
    table(
        f"Margin by {what}",
        (what, ">cost", ">sold", ">margin", ">percent", "currency"),
        [row(one) for one in margins],
    )


def verdict(month: Month) -> str:
    """Say in one sentence whether the four sides agree, and what the rest is worth."""
    said = worth_said(month.sides.differences)
    explained = sum(one.remedy is Remedy.NONE for one in month.sides.differences)
    rest = f" ({explained} explained)" if explained else ""
    residual = " and ".join(
        f"{total.residual:,f} {total.currency}" for total in month.totals if total.residual
    )
    loose = f"; {residual} of Microsoft's bill is not answered" if residual else ""
    return f"{said or 'nothing'} {'need' if ' and ' in said or 'places' in said else 'needs'} you{rest}{loose}."
