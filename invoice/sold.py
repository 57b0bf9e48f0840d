"""What documents ask of customers, as lines that can be compared with other sides.

A charge and its adjustments are one line, as the last adjustment left it; a charge that was
withdrawn asks for nothing and is no line.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

from domain.charge import Charge
from domain.reconciliation import SoldLine
from invoice.document import Invoice, InvoiceLine


def sold_lines(documents: Iterable[Invoice]) -> list[tuple[SoldLine, Charge]]:
    """Return what standing documents ask for: one line for each charge, as adjustments left it.

    With each comes the charge that it stands for; amounts and taxes are those of all its lines.
    """
    lines_of: dict[tuple[str, str], list[tuple[InvoiceLine, Invoice]]] = defaultdict(list)
    for document in documents:
        for line in document.lines:
            key = line.charge.answers or line.charge.key
            lines_of[key, document.currency].append((line, document))
    found: list[tuple[SoldLine, Charge]] = []
    for (key, currency), told in lines_of.items():
        told.sort(key=lambda one: (bool(one[0].charge.answers), _number(one[0].charge), one[1].key))
        line, document = told[0]
        charge = line.charge
        amount = sum((one.amount.amount for one, _ in told), Decimal(0))
        if not amount and _cause(told[-1][0].charge) == "withdrawn":
            continue
        named = tuple(dict.fromkeys(key for one, _ in told for key in one.charge.cost_lines))
        state = _state([one.charge for one, _ in told])
        found.append(
            (
                SoldLine(
                    key=f"{document.number or document.key}/{line.position}",
                    customer_id=document.customer_id,
                    currency=currency,
                    amount=amount,
                    subscription_id=charge.subscription_id,
                    sku=state.sku,
                    name=state.name,
                    service=state.service,
                    # An adjustment whose charge is not there says nothing of seats.
                    quantity=None if charge.answers else state.quantity,
                    unit_price=None if charge.answers else state.unit_price,
                    tax=sum((one.tax.amount for one, _ in told), Decimal(0)),
                    document=document.number or document.key,
                    line=line.position,
                    charge_key=key,
                    cost_lines=named,
                ),
                replace(charge, cost_lines=named),
            )
        )
    return found


def _state(charges: Sequence[Charge]) -> Charge:
    """Return a charge with quantity, price and days as its last adjustment left them."""
    state = charges[0]
    for one in charges[1:]:
        inputs = one.reasons[0].inputs if one.reasons else {}
        state = replace(
            state,
            sku=one.sku,
            name=one.name,
            service=one.service,
            quantity=Decimal(inputs.get("quantity", state.quantity)),
            unit_price=Decimal(inputs.get("unit_price", state.unit_price)),
        )
    return state


def _cause(adjustment: Charge) -> str:
    return adjustment.reasons[0].inputs.get("cause", "") if adjustment.reasons else ""


def _number(adjustment: Charge) -> int:
    number = adjustment.key.rpartition("/")[2]
    return int(number) if adjustment.answers and number.isdigit() else 0
