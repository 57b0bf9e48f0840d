"""What must hold whatever happens: nothing is lost, nothing is billed twice, all can be checked."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from domain.charge import Charge, ChargeType
from domain.money import Money, allocate, minor_units, round_half_up, total
from domain.period import Period, add_months
from domain.subscription import CostKind, EventType, SubscriptionEvent
from invoice.assemble import check_bounds
from invoice.document import Invoice
from rules.events import from_cost_lines, order
from rules.reconcile import reconcile
from tests.builders import (
    a_change,
    a_charge,
    a_contract,
    a_line,
    a_pass_on,
    drafted,
    issued,
    purchase,
    rated,
    seats,
)
from tests.strategies import (
    CURRENCIES,
    PRICES,
    PRODUCT_PRICES,
    WEIGHTS,
    Story,
    amounts,
    stories,
    with_delays,
)

Prices = Mapping[str, Decimal]


def charges_of(
    events: Iterable[SubscriptionEvent], prices: Prices, window: Period, currency: str = "USD"
) -> list[Charge]:
    found, findings = rated(
        *events, window=window, price=lambda asked: prices[asked.sku], currency=currency
    )
    assert findings == []
    return found


# --- money -----------------------------------------------------------------------------------------


@given(amounts(), WEIGHTS)
def test_the_parts_of_a_split_sum_to_the_whole_and_each_is_within_a_unit(whole, weights):
    parts = allocate(whole, weights, 2)
    assert sum(map(Fraction, parts)) == Fraction(whole)
    weights = weights if any(weights) else [Fraction(1)] * len(weights)
    for part, weight in zip(parts, weights, strict=True):
        assert abs(Fraction(part) - Fraction(whole) * weight / sum(weights)) < Fraction(1, 100)


@given(st.fractions(), CURRENCIES)
def test_rounding_errs_by_half_a_unit_at_most_and_has_no_bias_of_sign(exact, currency):
    places = minor_units(currency)
    rounded = round_half_up(exact, places)
    assert abs(Fraction(rounded) - exact) <= Fraction(1, 2 * 10**places)
    assert round_half_up(-exact, places) == rounded.copy_negate()
    assert -rounded.as_tuple().exponent == places


@given(st.lists(amounts(), max_size=20))
def test_a_sum_of_money_loses_no_digit(parts):
    whole = total((Money(part, "USD") for part in parts), "USD")
    assert Fraction(whole.amount) == sum(map(Fraction, parts))


# --- charges ---------------------------------------------------------------------------------------


def seats_of_day(story: Story, day) -> tuple[int, str]:
    """How many seats of which product run on a day, counted without the engine."""
    quantity, sku = 0, ""
    for event in order(story.events):
        if event.effective > day:
            break
        if event.type is EventType.CANCEL:
            return 0, sku
        quantity = quantity if event.quantity is None else event.quantity
        sku = event.sku or sku
    return quantity, sku


@given(stories(), PRODUCT_PRICES)
def test_all_charges_together_pay_for_each_seat_and_day_once(story, prices):
    """Seat by seat and day by day, a day of a cycle costs the price over the days of the cycle."""
    first = story.events[0]
    months = first.billing_cycle.months
    window = Period(story.start, add_months(story.start, max(months, 12)))
    expected = Fraction(0)
    for n in range(max(12, months) // months):
        start, end = (add_months(story.start, months * k) for k in (n, n + 1))
        for offset in range((end - start).days):
            quantity, sku = seats_of_day(story, start + timedelta(days=offset))
            if quantity:
                expected += quantity * Fraction(prices[sku]) / (end - start).days
    assert sum((c.exact for c in charges_of(story.events, prices, window)), Fraction(0)) == expected


@given(stories(), PRODUCT_PRICES, CURRENCIES)
def test_a_whole_cycle_costs_quantity_times_price_and_a_line_errs_by_half_a_unit(
    story, prices, currency
):
    for charge in charges_of(story.events, prices, story.window(), currency):
        price = Fraction(prices[charge.sku])
        if charge.service == charge.full:
            assert charge.exact == Fraction(charge.quantity) * price
        unit = Fraction(1, 10 ** minor_units(currency))
        assert abs(Fraction(charge.amount.amount) - charge.exact) <= unit / 2


_SENTENCE = re.compile(
    r"(?P<quantity>-?\d+) \w[\w ]* × (?P<price>[\d.]+) USD (?:a|for) [\w-]+(?: years)?"
    r"(?: × (?P<days>\d+)/(?P<cycle>\d+) days)? \([^)]+\) = (?P<amount>-?[\d.]+) USD"
)


@given(stories(), PRODUCT_PRICES)
def test_every_line_can_be_recomputed_from_its_sentence(story, prices):
    for charge in charges_of(story.events, prices, story.window()):
        said = _SENTENCE.fullmatch(charge.why)
        assert said, charge.why
        share = Fraction(int(said["days"] or 1), int(said["cycle"] or 1))
        value = int(said["quantity"]) * Fraction(said["price"]) * share
        assert (
            str(Money.rounded(value, "USD").amount) == said["amount"] == str(charge.amount.amount)
        )
        assert charge.reasons


@given(stories(), PRODUCT_PRICES)
def test_credits_never_exceed_what_was_charged(story, prices):
    left: dict[tuple[Period, str], Fraction] = defaultdict(Fraction)
    for charge in charges_of(story.events, prices, story.window()):
        left[charge.full, charge.sku] += charge.exact
        assert left[charge.full, charge.sku] >= 0


@given(stories(), PRODUCT_PRICES, st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(story, prices, random):
    shuffled = list(story.events)
    random.shuffle(shuffled)
    window = story.window()
    assert charges_of(shuffled, prices, window) == charges_of(story.events, prices, window)


@given(stories(), PRODUCT_PRICES)
def test_a_window_cut_in_two_holds_the_same_charges(story, prices):
    window = story.window()
    parts = window.split_at(add_months(window.start, 3))
    apart = [c for part in parts for c in charges_of(story.events, prices, part)]
    whole = charges_of(story.events, prices, window)
    assert sorted(c.key for c in apart) == sorted(c.key for c in whole)
    assert sum(c.exact for c in apart) == sum(c.exact for c in whole)


@given(stories(), PRODUCT_PRICES)
def test_what_could_have_happened_is_within_the_safety_bounds(story, prices):
    assert check_bounds(charges_of(story.events, prices, story.window())) == []


@given(stories(ends=False), PRODUCT_PRICES, st.integers(0, 200), st.integers(1, 50))
def test_more_and_then_as_many_less_on_one_day_net_to_nothing(story, prices, offset, more):
    day = story.start + timedelta(days=offset)
    quantity, _ = seats_of_day(story, day)
    both = (
        seats(str(day), quantity + more, sequence=100),
        seats(str(day), quantity, sequence=101),
    )
    window = story.window()
    plain = charges_of(story.events, prices, window)
    busy = charges_of((*story.events, *both), prices, window)
    assert total((c.amount for c in busy), "USD") == total((c.amount for c in plain), "USD")


# --- documents -------------------------------------------------------------------------------------


def bill_months(
    told: Sequence[tuple[SubscriptionEvent, int]], story: Story, prices: Prices, months: int
) -> list[Invoice]:
    """Bill and issue month by month, with what was known by then; each month twice."""
    documents: list[Invoice] = []
    starts = story.window().start
    for n in range(months):
        end = add_months(starts, n + 1)
        known = [event for event, late in told if add_months(event.effective, late) < end]
        proposed = charges_of(known, prices, Period(starts, end))
        month = f"{add_months(starts, n):%Y-%m}"
        draft = drafted(proposed, documents, month=month, starts=starts)
        if draft is not None:
            documents.append(issued(draft, f"N-{n}"))
        assert drafted(proposed, documents, month=month, starts=starts) is None
    return documents


def by_charge(lines: Iterable[tuple[str, Money]]) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for key, amount in lines:
        sums[key] += amount.amount
    return {key: amount for key, amount in sums.items() if amount}


@given(stories(), PRODUCT_PRICES, st.data())
def test_late_news_end_in_the_documents_that_one_correct_document_would_have_said(
    story, prices, data
):
    told = data.draw(with_delays(story))
    months = 12
    documents = bill_months(told, story, prices, months)
    window = story.window(months)
    right = charges_of(story.events, prices, window)
    lines = [line for document in documents for line in document.lines]
    assert by_charge((line.charge.answers or line.key, line.amount) for line in lines) == by_charge(
        (charge.key, charge.amount) for charge in right
    )
    assert len({line.key for line in lines}) == len(lines)
    for line in lines:
        assert line.charge.why
        assert line.charge.reasons
        assert (line.charge.type is ChargeType.ADJUSTMENT) == bool(line.charge.answers)


@given(stories(), PRODUCT_PRICES, PRODUCT_PRICES)
def test_a_corrected_price_list_is_answered_once(story, wrong, right):
    window = story.window(3)
    month, starts = f"{add_months(window.start, 2):%Y-%m}", window.start
    documents = []
    for prices in (wrong, right):
        draft = drafted(
            charges_of(story.events, prices, window), documents, month=month, starts=starts
        )
        documents += [issued(draft)] if draft else []
    correct = charges_of(story.events, right, window)
    assert drafted(correct, documents, month=month, starts=starts) is None
    asked = total((document.subtotal for document in documents), "USD")
    assert asked == total((charge.amount for charge in correct), "USD")


@given(st.lists(amounts(), min_size=1, max_size=8), st.decimals("0", "27", places=2))
def test_the_total_is_the_sum_of_its_rounded_lines(parts, percent):
    charges = [a_charge(str(part), key=str(n)) for n, part in enumerate(parts)]
    document = drafted(charges, percent=str(percent))
    assert Fraction(document.total.amount) == sum(
        Fraction(line.amount.amount) + Fraction(line.tax.amount) for line in document.lines
    )


# --- Microsoft's side --------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 60), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_a_day_of_changes_is_read_as_its_net_step_in_any_order(totals, random):
    lines, old = [], 30
    for new in totals:
        if new != old:
            kind = "addQuantity" if new > old else "removeQuantity"
            # Microsoft writes no line for no seats.
            lines += [x for x in a_change(kind, "2026-10-20", "2026-11-14", old, new) if x.seats]
            old = new
    random.shuffle(lines)
    events = from_cost_lines(lines)
    assert [event.quantity for event in events] == ([old] if old not in {0, 30} else [])


@st.composite
def _invoices(draw):
    lines = []
    for n in range(draw(st.integers(0, 12))):
        subtotal = Decimal(draw(st.integers(-50000, 50000))) / 100
        fields = {
            "key": f"cost/{n}",
            "customer_id": draw(st.sampled_from(["c1", "c2", "c3"])),
            "currency": draw(st.sampled_from(["USD", "EUR"])),
            "subscription_id": draw(st.sampled_from(["s1", "s2"])),
            "sku_id": draw(st.sampled_from(["0001", "0002"])),
        }
        kind = draw(st.sampled_from(list(CostKind)))
        if kind is CostKind.LICENCE:
            quantity = draw(st.integers(-5, 5))
            lines.append(a_line(quantity=quantity, subtotal=subtotal, **fields))
        else:
            lines.append(a_pass_on(kind, str(subtotal), **fields))
    return lines


@given(_invoices(), st.sets(st.sampled_from(["c1", "c2", "c3"])), st.booleans(), st.data())
def test_every_cent_of_microsofts_bill_has_one_outcome(lines, held, excludes, data):
    charges = [a_charge()] if data.draw(st.booleans()) else []
    named = data.draw(st.lists(st.sampled_from(lines), max_size=4)) if lines else []
    charges.append(a_charge(key="u", cost_lines=tuple(line.key for line in named)))
    contract = a_contract(excluded_skus=("CFQ7TTC0LH18:0002",) if excludes else ())
    result = reconcile(lines=lines, charges=charges, contracts={"c1": contract}, held=held, sold={})
    assert set(result.outcomes) == {line.key for line in lines}
    for totals in result.totals:
        own = [line for line in lines if line.currency == totals.currency]
        assert totals.microsoft == sum(line.subtotal for line in own)
        unexplained = [
            line.subtotal for line in own if result.outcomes[line.key].value == "unexplained"
        ]
        assert totals.residual == sum(unexplained, Decimal(0))
    unnamed = [
        line for line in lines if result.outcomes[line.key].value == "unexplained" and line.subtotal
    ]
    told = [f.record for f in result.findings if f.check == "reconcile.not_billed"]
    assert sorted(told) == sorted(f"cost line {line.key}" for line in unnamed)


@given(st.integers(1, 300), PRICES)
def test_bought_and_never_changed_is_the_same_every_cycle(quantity, price):
    bought = replace(purchase("2026-01-31", quantity), quantity=quantity)
    charges, _ = rated(
        bought, window=Period(bought.effective, add_months(bought.effective, 12)), price=str(price)
    )
    assert {charge.amount for charge in charges} == {
        Money.rounded(quantity * Fraction(price), "USD")
    }
    assert len(charges) == 12
