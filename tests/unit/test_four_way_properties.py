"""A random month is clean; one fault in it is named, with exactly its cause and its worth; so are two."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from domain.charge import Charge, ChargeType, Reason
from domain.money import Money, plain
from domain.period import Period, add_months
from domain.reconciliation import BookedLine, Cause, Comparison, SoldLine
from domain.subscription import CostInvoice, CostKind, CostLine
from rules.four_way import four_way
from tests.builders import a_charge, a_line, a_pass_on, day

OCTOBER = Period.month("2026-10")
_TYPES = {
    "cycleCharge": ChargeType.CYCLE,
    "addQuantity": ChargeType.ADD_QUANTITY,
    "cancelImmediate": ChargeType.CANCEL,
}


class Month:
    """Four sides that agree, and the faults that were put into them since."""

    def __init__(self):
        self.lines: list[CostLine] = []
        self.expected: list[Charge] = []
        self.due: list[Charge] = []
        self.sold: list[SoldLine] = []
        self.booked: list[BookedLine] = []
        self.heads: list[CostInvoice] = []
        self.named = Counter()

    def __repr__(self):
        kinds = ", ".join(f"{x.subscription_id} {x.charge_type} {x.subtotal}" for x in self.lines)
        return f"Month({kinds})"

    def owes(self, comparison, cause, amount, currency="USD"):
        if amount:
            self.named[comparison, cause, currency, amount.quantize(Decimal("0.01"))] += 1

    def found(self):
        return four_way(
            self.lines,
            self.sold,
            expected=self.expected,
            due=self.due,
            booked=self.booked,
            heads=self.heads,
            period=OCTOBER,
        )


def priced(quantity, price, service, full):
    exact = Fraction(quantity) * Fraction(price) * service.days / full.days
    return Money.rounded(exact, "USD").amount


def cut(quantity, price, service, full):
    """As Microsoft rounds: the unit down to the cent, then times the seats."""
    unit = int(Fraction(price) * service.days / full.days * 100)
    return Decimal(unit) / 100 * quantity


@st.composite
def months(draw):
    """Two to four customers with a subscription of seats each, some with a change, and some usage."""
    month = Month()
    for n in range(draw(st.integers(2, 4))):
        start = day("2026-10-01") + timedelta(draw(st.integers(0, 30)))
        full = Period(start, add_months(start, 1))
        seats = draw(st.integers(2, 60))
        cost = Decimal(draw(st.integers(200, 5000))) / 100
        price = (cost * Decimal("1.25")).quantize(Decimal("0.01"))
        parts = [("cycleCharge", seats, full)]
        if draw(st.booleans()):
            later = Period(start + timedelta(draw(st.integers(1, 15))), full.end)
            kind = draw(st.sampled_from(["addQuantity", "cancelImmediate"]))
            change = draw(st.integers(1, 9)) if kind == "addQuantity" else -seats
            parts.append((kind, change, later))
        for kind, quantity, service in parts:
            add_seats(
                month,
                place=n,
                kind=kind,
                quantity=quantity,
                cost=cost,
                price=price,
                service=service,
                full=full,
            )
        if draw(st.booleans()):
            amount = Decimal(draw(st.integers(1, 90000))) / 100
            add_usage(month, n, amount)
    total = sum((line.subtotal for line in month.lines), Decimal(0))
    month.heads.append(
        CostInvoice(
            id="I1", currency="USD", total=total, issued_on=day("2026-11-08"), billed=OCTOBER
        )
    )
    return month


def add_seats(month, *, place, kind, quantity, cost, price, service, full):
    customer, subscription = f"c{place}", f"s{place}"
    subtotal = cut(quantity, cost, service, full)
    line = a_line(
        kind,
        str(service.start),
        str(service.end),
        quantity,
        plain(cost),
        key=f"{subscription}/{kind}",
        customer_id=customer,
        subscription_id=subscription,
        product_id=f"P{place}",
        effective=plain(abs(subtotal / quantity)),
        subtotal=subtotal,
    )
    locked = Reason(rule="cost.locked", inputs={"line": line.key, "unit_price": plain(cost)})
    fields = {
        "customer_id": customer,
        "subscription_id": subscription,
        "sku": line.sku,
        "type": _TYPES[kind],
        "service": service,
        "full": full,
        "quantity": Decimal(quantity),
    }
    month.lines.append(line)
    month.expected.append(
        a_charge(str(subtotal), key=line.key, unit_price=cost, reasons=(locked,), **fields)
    )
    amount = priced(quantity, price, service, full)
    add_document(
        month,
        a_charge(
            str(amount),
            key=f"charge/{line.key}",
            unit_price=price,
            cost_lines=(line.key,),
            **fields,
        ),
    )


def add_usage(month, n, amount):
    customer = f"c{n}"
    line = a_pass_on(
        CostKind.USAGE, str(amount), key=f"usage/{n}", customer_id=customer, subscription_id=f"u{n}"
    )
    asked = Money.rounded(Fraction(amount) * Fraction("1.1"), "USD").amount
    charge = a_charge(
        str(asked),
        key=f"charge/{line.key}",
        customer_id=customer,
        subscription_id=f"u{n}",
        sku=line.sku,
        type=ChargeType.USAGE,
        service=OCTOBER,
        full=OCTOBER,
        quantity=Decimal(1),
        unit_price=asked,
        cost_lines=(line.key,),
    )
    month.lines.append(line)
    add_document(month, charge)


def add_document(month, charge):
    number = f"INV-{charge.key}"
    amount = charge.amount.amount
    tax = Money.rounded(Fraction(amount) * Fraction("0.19"), "USD").amount
    month.due.append(charge)
    month.sold.append(
        SoldLine(
            key=f"{number}/1",
            customer_id=charge.customer_id,
            currency="USD",
            amount=amount,
            subscription_id=charge.subscription_id,
            sku=charge.sku,
            name=charge.name,
            service=charge.service,
            quantity=charge.quantity,
            unit_price=charge.unit_price,
            tax=tax,
            document=number,
            line=1,
            charge_key=charge.key,
            cost_lines=charge.cost_lines,
        )
    )
    month.booked.append(
        BookedLine(
            key=f"books/{number}",
            document=number,
            currency="USD",
            amount=amount,
            tax=tax,
            line=1,
            quantity=charge.quantity,
            unit_price=charge.unit_price,
        )
    )


def less_known(month, how):
    """Forget what a partner's own file would not tell."""
    if how != "charge":
        month.sold = [replace(line, charge_key="", cost_lines=()) for line in month.sold]
    if how == "product":
        month.sold = [replace(line, subscription_id="") for line in month.sold]


# --- faults ------------------------------------------------------------------------------------------------


def change(month, n, cause, *, amount, **fields):
    """Change what the customer was asked for, in the accounting as well."""
    line = month.sold[n]
    off = line.amount - amount
    assume(off)
    month.sold[n] = replace(line, amount=amount, **fields)
    month.booked[n] = replace(month.booked[n], amount=amount)
    month.owes(Comparison.CUSTOMER, cause, off)


def wrong_quantity(month, n, k):
    line, charge = month.sold[n], month.due[n]
    quantity = line.quantity + k
    amount = priced(quantity, line.unit_price, charge.service, charge.full)
    change(month, n, Cause.QUANTITY, amount=amount, quantity=quantity)
    month.booked[n] = replace(month.booked[n], quantity=quantity)


def wrong_price(month, n, k):
    line, charge = month.sold[n], month.due[n]
    price = line.unit_price + Decimal(k) / 10
    amount = priced(line.quantity, price, charge.service, charge.full)
    # A cent for each seat could as well be rounding; a price is told apart by itself.
    change(month, n, Cause.PRICE, amount=amount, unit_price=price)


def wrong_dates(month, n, k):
    line, charge = month.sold[n], month.due[n]
    assume(line.service.days > k)
    service = Period(line.service.start, line.service.end - timedelta(k))
    amount = priced(line.quantity, line.unit_price, service, charge.full)
    change(month, n, Cause.DATES, amount=amount, service=service)


def wrong_proration(month, n, k):
    line = month.sold[n]
    amount = line.amount + abs(line.quantity) * Decimal("0.02") * k
    change(month, n, Cause.PRORATION, amount=amount)


def wrong_rounding(month, n, k):
    del k
    change(month, n, Cause.ROUNDING, amount=month.sold[n].amount + Decimal("0.01"))


def asked_twice(month, n, k):
    del k
    line = month.sold[n]
    month.sold.append(replace(line, key=f"{line.key}/again", line=2))
    month.booked.append(replace(month.booked[n], key=f"{line.key}/again", line=2))
    month.owes(Comparison.CUSTOMER, Cause.DUPLICATE, -line.amount)


def not_asked(month, n, k):
    del k
    line = month.sold[n]
    others = [
        x for x in month.sold if x and x.subscription_id == line.subscription_id and x is not line
    ]
    if line.amount < 0:
        cause = Cause.CREDIT_NOT_PASSED_ON
    else:
        cause = Cause.MISSING_INVOICE_LINE if others else Cause.MISSING_SUBSCRIPTION
    month.sold[n] = None
    month.booked[n] = None
    month.owes(Comparison.CUSTOMER, cause, line.amount)


def wrong_currency(month, n, k):
    del k
    line = month.sold[n]
    month.sold[n] = replace(line, currency="EUR")
    month.booked[n] = replace(month.booked[n], currency="EUR")
    month.owes(Comparison.CUSTOMER, Cause.CURRENCY, -line.amount, "EUR")
    month.owes(Comparison.CUSTOMER, Cause.CURRENCY, line.amount)


def asked_early(month, n, k):
    line = month.sold[n]
    later = Period(day("2027-03-01") + timedelta(k), day("2027-04-01") + timedelta(k))
    early = {"charge_key": f"later/{line.key}", "cost_lines": (), "service": later, "line": 2}
    month.sold.append(replace(line, key=f"{line.key}/early", **early))
    month.booked.append(replace(month.booked[n], key=f"{line.key}/early", line=2))
    month.owes(Comparison.CUSTOMER, Cause.TIMING, -line.amount)


def booked_tax(month, n, k):
    entry = month.booked[n]
    month.booked[n] = replace(entry, tax=entry.tax - k)
    month.owes(Comparison.ACCOUNTING, Cause.TAX, Decimal(k))


def booked_price(month, n, k):
    entry = month.booked[n]
    month.booked[n] = replace(entry, amount=entry.amount + k)
    month.owes(Comparison.ACCOUNTING, Cause.PRICE, Decimal(-k))


def not_booked(month, n, k):
    del k
    entry = month.booked[n]
    month.booked[n] = None
    month.owes(Comparison.ACCOUNTING, Cause.MISSING_INVOICE_LINE, entry.amount + entry.tax)


def microsofts_price(month, n, k):
    line = month.lines[n]
    assume(line.kind is CostKind.LICENCE and line.charge_type == "cycleCharge")
    more = Decimal(k) * line.seats
    month.lines[n] = replace(
        line,
        unit_price=line.unit_price + k,
        effective_unit_price=line.effective_unit_price + k,
        subtotal=line.subtotal + more,
    )
    month.heads[0] = replace(month.heads[0], total=month.heads[0].total + more)
    month.owes(Comparison.MICROSOFT, Cause.PRICE, more)


def microsofts_adjustment(month, n, k):
    del n
    month.heads[0] = replace(month.heads[0], total=month.heads[0].total + k)
    month.owes(Comparison.MICROSOFT, Cause.MICROSOFT_ADJUSTMENT, Decimal(k))


FAULTS = [
    wrong_quantity,
    wrong_price,
    wrong_dates,
    wrong_proration,
    wrong_rounding,
    asked_twice,
    not_asked,
    wrong_currency,
    asked_early,
    booked_tax,
    booked_price,
    not_booked,
    microsofts_price,
    microsofts_adjustment,
]
ON_SEATS = {wrong_quantity, wrong_price, wrong_dates, wrong_proration, wrong_rounding}


def spoil(month, fault, place, k):
    """Put a fault into a place of the month; the places of one month stay those of its lines."""
    line = month.lines[place]
    if fault in ON_SEATS:
        assume(line.kind is CostKind.LICENCE and line.subtotal > 0)
    if fault is wrong_currency:
        # The currency of a line without a charge is that of most of the customer's lines.
        assume(month.sold[place].charge_key)
    assume(fault is not asked_twice or line.subtotal > 0)
    assume(fault is not asked_early or line.subtotal > 0)
    fault(month, place, k)


def _words(named):
    return sorted(" ".join(map(str, one)) for one in named.elements())


def check(month, how):
    month.sold = [line for line in month.sold if line is not None]
    month.booked = [entry for entry in month.booked if entry is not None]
    less_known(month, how)
    found = month.found()
    told = Counter(
        (d.comparison, d.cause, d.currency, d.amount.quantize(Decimal("0.01")))
        for d in found.differences
    )
    assert _words(told) == _words(month.named)
    for total in found.totals:
        assert set(total.residuals.values()) <= {0}
    assert found.findings == ()
    return found


HOW = st.sampled_from(["charge", "subscription", "product"])
calm = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.filter_too_much]
)


@calm
@given(month=months(), how=HOW)
def test_a_month_that_agrees_has_no_difference(month, how):
    found = check(month, how)
    assert found.differences == ()
    billed = sum((line.subtotal for line in month.lines), Decimal(0))
    (total,) = found.totals
    assert (total.microsoft, total.expected) == (billed, billed)
    assert sum((m.cost for m in found.margins), Decimal(0)) == billed
    assert sum((m.sold for m in found.margins), Decimal(0)) == total.sold == total.due


@calm
@given(
    month=months(),
    how=HOW,
    fault=st.sampled_from(FAULTS),
    place=st.integers(0, 11),
    k=st.integers(1, 9),
)
def test_one_fault_is_named_with_its_cause_and_its_worth(month, how, fault, place, k):
    assume(place < len(month.lines))
    spoil(month, fault, place, k)
    check(month, how)


@calm
@given(
    month=months(),
    how=HOW,
    faults=st.tuples(st.sampled_from(FAULTS), st.sampled_from(FAULTS)),
    places=st.tuples(st.integers(0, 11), st.integers(0, 11)),
    k=st.integers(1, 9),
)
def test_two_faults_of_different_places_are_named_likewise(month, how, faults, places, k):
    assume(max(places) < len(month.lines))
    one, other = (month.lines[place].customer_id for place in places)
    assume(one != other)
    assume(faults != (microsofts_adjustment,) * 2)
    spoil(month, faults[0], places[0], k)
    spoil(month, faults[1], places[1], k)
    check(month, how)


# --- without prices ----------------------------------------------------------------------------------------


def measured(month):
    """Compare as an audit of files does: nobody tells what is due, who agreed on what, or how."""
    return four_way(month.lines, [line for line in month.sold if line is not None])


@calm
@given(month=months(), how=HOW)
def test_without_prices_a_month_that_agrees_has_no_difference_either(month, how):
    less_known(month, how)
    found = measured(month)
    assert [one.sentence for one in found.differences] == []
    assert found.findings == ()


@calm
@given(
    month=months(),
    how=HOW,
    fault=st.sampled_from([wrong_quantity, wrong_dates, asked_twice]),
    place=st.integers(0, 11),
    k=st.integers(1, 9),
)
def test_without_prices_seats_and_days_are_measured_by_microsofts(month, how, fault, place, k):
    assume(place < len(month.lines))
    assume(month.lines[place].kind is CostKind.LICENCE)
    spoil(month, fault, place, k)
    less_known(month, how)
    (cause,) = {cause for _, cause, _, _ in month.named}
    found = measured(month)
    assert {one.cause for one in found.differences} == {cause}
    ((_, _, _, wanted),) = month.named
    # The line's amount was rounded; measured by it, more seats or days repeat its half cent.
    worth = sum((one.amount for one in found.differences), Decimal(0))
    factor = max(abs(worth / month.sold[place].amount), Decimal(1)) + 1
    assert abs(worth - wanted) <= Decimal("0.01") * factor


@calm
@given(month=months(), how=HOW, place=st.integers(0, 11))
def test_without_prices_what_was_not_asked_is_named_once(month, how, place):
    assume(place < len(month.lines))
    spoil(month, not_asked, place, 1)
    month.sold = [line for line in month.sold if line is not None]
    assume(month.named)
    less_known(month, how)
    found = measured(month)
    ((_, cause, _, wanted),) = month.named
    assert [one.cause for one in found.differences] == [cause]
    assert (found.differences[0].amount < 0) == (wanted < 0)
