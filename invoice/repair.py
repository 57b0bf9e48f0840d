"""Subtract and answer: what documents hold is compared with what is right, charge by charge.

A charge that changed since it was billed, or that should not have been, is answered by one
adjustment for each cause that can be seen: the price, the quantity, the days, the usage, the tax, or
that it was withdrawn. Each names the charge it answers and the document that asked for it, and ends
where the next begins, so that all documents together say what one correct document would have
said: before tax always, and in tax where it is rounded by line; rounded by document, tax may be a
cent off for each document, and less than one for each line that is taken back (`invoice.rounding`). A rate of tax is corrected by taking the line back at the old rate and asking
for it at the right one: a tax on nothing would be refused by every electronic invoice.

Limit: changes that are entangled (the days and the price, a price that is no plain product) are
told in one line with all their causes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

from domain.charge import Charge, ChargeType, Reason
from domain.contract import BillingContract
from domain.money import Money, plain, price_text, total
from domain.period import Period
from domain.tax import TaxCategory, TaxRounding
from invoice.document import DocumentStatus, Invoice, InvoiceLine, Tax, Treatment
from invoice.rounding import Asked, taxes_of_steps, treatments_of
from invoice.tax_points import tax_point
from invoice.tax_words import tax_name

_PASSED_ON = {
    ChargeType.USAGE,
    ChargeType.ONE_TIME,
    ChargeType.RESERVATION,
    ChargeType.SAVINGS_PLAN,
    ChargeType.MARKETPLACE,
    ChargeType.CREDIT,
}
"""Charges whose quantity and price say less than the cost that they were made from."""


@dataclass(slots=True)
class _Told:
    """What the documents say about one charge."""

    lines: list[InvoiceLine] = field(default_factory=list)
    """Those that stand, under this contract."""
    count: int = 0
    """All lines that ever named it, void ones too: the number of the next adjustment."""
    elsewhere: bool = False
    """Held under another contract or in another currency, and left to it."""


def subtract(
    proposed: Sequence[Charge],
    documents: Sequence[Invoice],
    *,
    contract: BillingContract,
    period: Period,
    tax: Tax,
    until: date | None = None,
) -> list[Asked]:
    """Return the charges and adjustments that no document holds yet (void ones hold nothing).

    Only documents under this contract and in its currency are answered; what others hold is left to
    them, and not billed again. What was billed for service from `until` on (the end of the period)
    is left alone.
    """
    ours = [d for d in documents if _same_terms(d, contract)]
    standing = [d for d in ours if d.status is not DocumentStatus.VOID]
    told: dict[str, _Told] = defaultdict(_Told)
    for document in documents:
        for line in document.lines:
            entry = told[line.charge.answers or line.charge.key]
            entry.count += 1
            if document.status is DocumentStatus.VOID:
                continue
            if not _same_terms(document, contract):
                entry.elsewhere = True
            elif line.charge.service.start < (until or period.end):
                entry.lines.append(line)
    answered = {document.key: document for document in standing}
    missing: list[Asked] = []
    for charge in proposed:
        entry = told[charge.key]
        if entry.lines:
            missing.extend(_answer(charge.key, entry, charge, tax, answered, contract))
        elif not entry.elsewhere:
            asked = _late(charge, standing, contract)
            missing.append(_first_asked(asked, tax_point(charge, contract, period.last_day), tax))
    due = {charge.key for charge in proposed}
    for key, entry in told.items():
        if entry.lines and key not in due:
            missing.extend(_answer(key, entry, None, tax, answered, contract))
    return missing


def _first_asked(charge: Charge, point: date, tax: Tax) -> Asked:
    """Ask for a charge, taxed as of its own tax point; where that differs, it says so."""
    treatment, decided = tax.treatment_at(point), tax.decided_at(point)
    if treatment != tax.treatment:
        charge = replace(
            charge,
            why=f"{charge.why} ({_as_of(point)})",
            reasons=(*charge.reasons, *decided.reasons),
        )
    taxes = treatment.on(charge.amount) if tax.rounding is TaxRounding.LINE else None
    number = _number_of(treatment, decided.buyer_tax_id)
    return Asked(charge=charge, treatment=treatment, taxes=taxes, buyer_tax_id=number)


def _number_of(treatment: Treatment, buyer_tax_id: str) -> str:
    """Return by which number the buyer accounts for the tax itself; empty where it does not."""
    return buyer_tax_id if treatment.category is TaxCategory.REVERSE_CHARGE else ""


def _as_of(point: date) -> str:
    return f"taxed as of {point}"


def _same_terms(document: Invoice, contract: BillingContract) -> bool:
    return document.contract_key == contract.key and document.currency == contract.currency


def _late(charge: Charge, documents: Iterable[Invoice], contract: BillingContract) -> Charge:
    """Say of a charge that what it belongs to was invoiced without it."""
    if charge.type is ChargeType.CREDIT:
        return charge  # it belongs where it was granted, whatever it is for
    day = charge.service.start
    billed = ((one, contract.due(one.period)) for one in documents)
    month = next((one for one, due in billed if due and day in due), None)
    if month is None:
        return charge
    name = f" ({month.number})" if month.number else ""
    return replace(
        charge,
        why=f"Known only after {month.period} was invoiced{name}: {charge.why}",
        reasons=(
            *charge.reasons,
            Reason(rule="late", inputs={"cause": "late", "document": month.key}),
        ),
    )


# --- adjustments -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Step:
    """One adjustment in the making: its amount and tax, its cause and what a person reads."""

    amount: Money
    treatment: Treatment
    cause: str
    sentence: str
    subject: Charge
    """The charge whose product and days it is about."""


def _answer(  # noqa: PLR0917 - what is told, what is right, and the documents that are answered
    key: str,
    told: _Told,
    right: Charge | None,
    tax: Tax,
    documents: Mapping[str, Invoice],
    contract: BillingContract,
) -> Iterator[Asked]:
    """Yield the adjustments that a charge needs, if any."""
    lines = sorted(told.lines, key=_place)
    names = {line.invoice_key: documents[line.invoice_key].number for line in lines}
    taxed = list(zip(lines, treatments_of(lines, tax, documents), strict=True))
    first, treatment = lines[0].charge, taxed[-1][1]
    as_of = ""
    numbers = {told.rate: documents[line.invoice_key].buyer_tax_id for line, told in taxed}
    if right and tax.right_from is not None and first.service.start >= tax.right_from:
        asked_by = documents[lines[0].invoice_key]
        latest = asked_by.tax_point or asked_by.period.last_day
        point = tax_point(right, contract, latest)
        treatment = tax.treatment_at(point)
        numbers.setdefault(treatment.rate, tax.decided_at(point).buyer_tax_id)
        as_of = f" ({_as_of(point)})" if treatment != tax.treatment else ""
    steps = [*_other_rates(taxed, treatment, as_of), *_changes(lines, right, treatment, names)]
    if not steps:
        return
    currency = first.amount.currency
    amounts = [(step.amount, step.treatment) for step in steps]
    taxes = taxes_of_steps(amounts, taxed, treatment, tax.rounding)
    cost_lines = _new_cost_lines(lines, right)
    for n, (step, its_taxes) in enumerate(zip(steps, taxes, strict=True)):
        inputs = {
            "answers": key,
            "document": lines[0].invoice_key,
            "cause": step.cause,
            "billed": str(total((line.amount for line in lines), currency).amount),
            "difference": str(step.amount.amount),
            **(_state(right) if right else {}),
        }
        adjustment = Charge(
            key=f"{key}/adjustment/{told.count + n}",
            customer_id=first.customer_id,
            subscription_id=first.subscription_id,
            type=ChargeType.ADJUSTMENT,
            name=step.subject.name,
            sku=step.subject.sku,
            service=step.subject.service,
            full=step.subject.full,
            quantity=Decimal(1),
            unit_price=step.amount.amount,
            exact=Fraction(step.amount.amount),
            amount=step.amount,
            why=step.sentence,
            reasons=(Reason(rule="adjustment", inputs=inputs),),
            answers=key,
            cost_lines=cost_lines if n == len(steps) - 1 else (),
        )
        yield Asked(
            charge=adjustment,
            treatment=step.treatment,
            taxes=its_taxes,
            buyer_tax_id=_number_of(step.treatment, numbers[step.treatment.rate]),
        )


def _place(line: InvoiceLine) -> tuple[int, str]:
    """The charge itself first, then its adjustments in the order in which they were made."""
    number = line.key.rpartition("/adjustment/")[2]
    return (int(number) if line.charge.answers and number.isdigit() else 0), line.invoice_key


def _new_cost_lines(lines: Iterable[InvoiceLine], right: Charge | None) -> tuple[str, ...]:
    known = {cost for line in lines for cost in line.charge.cost_lines}
    return tuple(cost for cost in right.cost_lines if cost not in known) if right else ()


def _other_rates(
    taxed: Sequence[tuple[InvoiceLine, Treatment]], right: Treatment, as_of: str
) -> Iterator[_Step]:
    """Take back what was taxed in another way than the right one, and ask for it anew."""
    last = taxed[-1][0].charge
    currency = last.amount.currency
    others = {told.rate: told for _, told in taxed if told.rate != right.rate}
    same_percent = any(told.percent == right.percent for told in others.values())

    def named(treatment: Treatment) -> str:
        return tax_name(treatment) if same_percent else f"{plain(treatment.percent)} %"

    moved = Money.zero(currency)
    for wrong in sorted(others.values(), key=lambda told: (told.percent, told.category or "")):
        amount = total((line.amount for line, told in taxed if told.rate == wrong.rate), currency)
        if amount:
            moved += amount
            sentence = (
                f"Tax rate corrected: {amount} for {last.service} was taxed at {named(wrong)}, "
                f"{named(right)} is right{as_of}; taken back at {named(wrong)}"
            )
            yield _Step(-amount, wrong, "tax", sentence, last)
    if moved:
        sentence = f"Tax rate corrected: {moved} for {last.service} asked for at {named(right)}"
        yield _Step(moved, right, "tax", sentence, last)


def _changes(
    lines: Sequence[InvoiceLine],
    right: Charge | None,
    treatment: Treatment,
    names: Mapping[str, str],
) -> Iterator[_Step]:
    """Lead from what was billed to what is right, one step for each cause."""
    last = lines[-1].charge
    done = total((line.amount for line in lines), last.amount.currency)
    numbers = dict.fromkeys(names.get(line.invoice_key, "") for line in lines)
    on = ", ".join(number for number in numbers if number)
    billed = f"{done} was billed for {last.service}" + (f" ({on})" if on else "")

    def step(amount: Money, cause: str, sentence: str, subject: Charge = last) -> _Step:
        told = f"{sentence}; the difference is {amount}"
        return _Step(amount, treatment, cause, told, subject)

    if right is None:
        if done:
            yield step(-done, "withdrawn", f"Charge withdrawn: {billed}, nothing is due")
        return
    if _other_product(last, right) and done and right.amount:
        change = f"Product changed from {last.name} to {right.name}"
        yield step(-done, "product", f"{change}: {billed}, nothing is due for {last.name}")
        yield step(right.amount, "product", f"{change}: {right.why}", right)
        return
    difference = right.amount - done
    if not difference:
        return
    causes = _causes(last, right)
    middle = _with_old_price(last, right, done, causes)
    if middle is None:
        words = ", ".join(causes.values())
        due = f"{billed}, {right.amount} is right: {right.why}"
        cause = " ".join(causes) or "other"
        yield step(difference, cause, f"{words}: {due}" if words else due, right)
        return
    amount, sum_of = middle
    then = f"{billed}, {amount} at the price of then: {sum_of}"
    yield step(amount - done, "quantity", f"{causes['quantity']}: {then}", right)
    now = f"of {amount} so far {right.amount} is right: {right.why}"
    yield step(right.amount - amount, "price", f"{causes['price']}: {now}", right)


def _causes(was: Charge, right: Charge) -> dict[str, str]:
    """Name what differs from what was last told, in words; nothing where it cannot be seen."""
    before, now = _state(was), _state(right)
    if _other_product(was, right):
        return {"product": f"Product changed from {was.name} to {right.name}"}
    if not before:  # withdrawn, or an adjustment of before causes were kept
        withdrawn = any(reason.inputs.get("cause") == "withdrawn" for reason in was.reasons)
        return {"restored": "Charge due again"} if withdrawn else {}
    if right.type in _PASSED_ON:
        if before.get("basis") != now.get("basis"):
            if _is_usage(right):
                return {"usage": "Usage changed"}
            return {"source": "Microsoft's line changed"}
        return {"price": "Price changed"}
    money = right.amount.currency
    found: dict[str, str] = {}
    if was.service != right.service:
        found["dates"] = f"Service period changed from {was.service} to {right.service}"
    if before["quantity"] != now["quantity"]:
        found["quantity"] = f"Quantity changed from {before['quantity']} to {now['quantity']}"
    if before["unit_price"] != now["unit_price"]:
        old, new = (price_text(Decimal(s["unit_price"]), money) for s in (before, now))
        found["price"] = f"Price changed from {old} {money} to {new} {money}"
    return found


def _is_usage(charge: Charge) -> bool:
    return charge.type is ChargeType.USAGE or any(r.rule == "usage.split" for r in charge.reasons)


def _other_product(was: Charge, right: Charge) -> bool:
    """A line of usage is of many products, and names one of them."""
    return was.sku != right.sku and not _is_usage(right)


def _state(charge: Charge) -> dict[str, str]:
    """Return what a charge was made from; an adjustment remembers it of the charge it answers."""
    if charge.type is ChargeType.ADJUSTMENT:
        inputs = charge.reasons[0].inputs if charge.reasons else {}
        return {name: inputs[name] for name in _STATE if name in inputs}
    state = {"quantity": plain(charge.quantity), "unit_price": plain(charge.unit_price)}
    if charge.type in _PASSED_ON:
        told = [reason.inputs for reason in charge.reasons]
        bases = [inputs[name] for inputs in told for name in _BASES if name in inputs]
        state["basis"] = bases[0] if bases else ""
    return state


_STATE = ("quantity", "unit_price", "basis")
_BASES = ("cost", "subtotal")


def _with_old_price(
    was: Charge, right: Charge, done: Money, causes: Mapping[str, str]
) -> tuple[Money, str] | None:
    """Return what the new quantity costs at the old price, and how; None where it does not show.

    Only where both amounts are quantity x price x days, so that each step can be checked.
    """
    if set(causes) != {"quantity", "price"}:
        return None
    currency, service, full = done.currency, right.service, right.full
    if not full.days:
        return None
    share = Fraction(service.days, full.days)
    old = {name: Fraction(text) for name, text in _state(was).items()}

    def amount(quantity: Fraction, price: Fraction) -> Money:
        return Money.rounded(quantity * price * share, currency)

    if amount(old["quantity"], old["unit_price"]) != done:
        return None
    if amount(Fraction(right.quantity), Fraction(right.unit_price)) != right.amount:
        return None
    middle = amount(Fraction(right.quantity), old["unit_price"])
    if middle in {done, right.amount}:
        return None
    part = "" if service == full else f" × {service.days}/{full.days} days"
    price = price_text(old["unit_price"], currency)
    return middle, f"{plain(right.quantity)} × {price} {currency}{part} = {middle}"
