"""What ends when, what follows, what it costs, and until when it can be changed."""

import re
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.charge import Reason
from domain.contract import SheetPrice
from domain.money import Money, round_half_up
from domain.period import BillingCycle, TermDuration
from domain.problems import Finding, Severity
from domain.renewal import AtEnd
from domain.subscription import NextTerm, SubscriptionKind
from rules.lines import UnitPrice
from rules.renewals import (
    EXTENDED,
    EXTENDED_WITHOUT_MONTHLY,
    YEAR_BILLED_MONTHLY,
    forecast,
    sold_by,
)
from tests.builders import ALWAYS, OFFER, PRODUCT, SKU, a_subscription, day

TODAY = day("2026-11-22")
YEAR, MONTH, THREE = TermDuration.YEAR, TermDuration.MONTH, TermDuration.THREE_YEARS
MONTHLY, ANNUAL, TRIENNIAL = BillingCycle.MONTHLY, BillingCycle.ANNUAL, BillingCycle.TRIENNIAL
CHANGE = day("2027-01-01")
"""The day on which prices change in these tests."""


def seats(**fields):
    """Ten seats for a year, billed monthly, whose term ends on 15 February 2027."""
    return a_subscription(
        **{
            "start": day("2026-02-15"),
            "term_end": day("2027-02-15"),
            "product_type": "OnlineServicesNCE",
            **fields,
        }
    )


def list_of(prices, covers=None):
    """Prices by (sku, term, cycle): one value, or what holds before and from 2027 on."""

    def price_for(question):
        listed = prices.get((question.sku, question.term, question.billing_cycle))
        if listed is None:
            return Finding(
                check="price.missing",
                severity=Severity.HOLD,
                customer_id=question.customer_id,
                record=f"subscription {question.subscription_id}",
                sentence=f"No price list entry covers {question.sku}.",
                hint="add one",
            )
        old, new = listed if isinstance(listed, tuple) else (listed, listed)
        value = Fraction(Decimal(new if question.term_start >= CHANGE else old))
        reasons = (Reason(rule="price.test"),)
        return UnitPrice(value=value, covers=covers, reasons=reasons, cost=Decimal("7.77"))

    return price_for


def ahead(*subscriptions, prices=None, covers=None, **more):
    listed = prices or {(OFFER, YEAR, MONTHLY): ("12.00", "13.00")}
    return forecast(
        subscriptions,
        **{
            "price_for": list_of(listed, covers),
            "currency": "USD",
            "today": TODAY,
            "horizon_days": 100,
            **more,
        },
    )


def said(one):
    return f"{one.sentence} {one.hint}"


def test_a_year_renews_at_the_new_price_and_says_until_when_it_can_be_changed():
    (one,) = ahead(seats())
    assert one.at_end is AtEnd.RENEWS
    assert said(one) == (
        "10 seats of Business Premium renew on 2027-02-15 00:00 UTC for one year at 13.00 USD a "
        "month (now 12.00): 10 × 13.00 × 12 − 10 × 12.00 × 12 = 120.00 USD a year more. Change the "
        "number of seats, the plan or the renewal before then; after it, until 2027-02-22 00:00 "
        "UTC, seats can only be given back or all be cancelled, for a refund by the day."
    )
    assert one.change_by.isoformat() == "2027-02-15T00:00:00+00:00"
    assert one.return_by.isoformat() == "2027-02-22T00:00:00+00:00"
    assert (one.months, one.difference) == (12, Money(Decimal("120.00"), "USD"))
    assert (str(one.now.per_cycle), str(one.now.per_term)) == ("120.00 USD", "1,440.00 USD")
    assert (str(one.then.per_cycle), str(one.then.per_term)) == ("130.00 USD", "1,560.00 USD")
    assert not one.is_routine


def test_the_price_is_locked_for_the_term_and_asked_for_the_day_of_renewal():
    asked = []

    def price_for(question):
        asked.append((str(question.term_start), str(question.full.start), str(question.on)))
        return UnitPrice(value=Fraction(12), reasons=())

    (one,) = ahead(seats(), price_for=price_for)
    assert asked == [
        ("2026-02-15", "2026-11-15", "2026-11-15"),  # the running cycle of the running term
        ("2027-02-15", "2027-02-15", "2027-02-15"),
    ]
    assert one.sentence.endswith(" at 12.00 USD a month as now.")
    assert one.difference == Money.zero("USD")


def test_no_reason_is_lost_and_no_cost_is_said():
    (one,) = ahead(seats(promotion_id="39NFJQT1X5T2"))
    assert [reason.rule for reason in one.reasons] == [
        "renewal.renews",
        "renewal.price_now",
        "price.test",
        "renewal.price_then",
        "price.test",
    ]
    assert one.reasons[0].inputs == {
        "term_end": "2027-02-15",
        "auto_renew": "yes",
        "scheduled": "no",
        "promotion": "39NFJQT1X5T2",
    }
    assert "7.77" not in one.sentence


def test_a_yearly_price_that_is_billed_monthly_is_a_twelfth_of_it():
    """149 a year: 12.4166... a month, ten seats 124.17 a month and 1490 a year."""
    (one,) = ahead(seats(), prices={(OFFER, YEAR, MONTHLY): ("149", "149")}, covers=12)
    assert (str(one.then.per_cycle), str(one.then.per_term)) == ("124.17 USD", "1,490.00 USD")


# --- what was scheduled ------------------------------------------------------------------------------


def test_scheduled_changes_are_what_renews():
    wish = NextTerm(sku="other:1", quantity=8, term=THREE, billing_cycle=ANNUAL)
    prices = {(OFFER, YEAR, MONTHLY): "12.00", ("other:1", THREE, ANNUAL): "150.00"}
    (one,) = ahead(seats(next_term=wish), prices=prices)
    assert one.sentence.startswith(
        "10 seats of Business Premium renew on 2027-02-15 00:00 UTC for three years with 8 seats "
        "as other:1 at 150.00 USD a year (now 12.00 a month): 10 × 12.00 × 12 − 8 × 150.00 = 240.00 "
        "USD a year less."
    )
    assert one.difference == Money(Decimal("-240.00"), "USD")
    assert one.then.per_term == Money(Decimal("3600.00"), "USD")
    assert one.reasons[0].inputs["scheduled"] == "yes"


def test_a_next_term_may_end_on_a_day_of_its_own():
    (one,) = ahead(seats(next_term=NextTerm(quantity=10, term_end=day("2027-07-01"))))
    assert " renew on 2027-02-15 00:00 UTC until 2027-06-30 at 13.00" in one.sentence
    assert one.then.per_term is None


def test_all_seats_but_none_may_be_scheduled_away():
    (one,) = ahead(seats(quantity=1, next_term=NextTerm(quantity=2)))
    assert one.sentence.startswith("1 seat of Business Premium renews on")
    assert "with 2 seats" in one.sentence


# --- promotions --------------------------------------------------------------------------------------


def test_a_promotion_ends_with_the_term_unless_the_next_one_has_its_own():
    (one,) = ahead(seats(promotion_id="P1"))
    assert one.sentence.endswith(" Promotion P1 ends with the term.")
    (kept,) = ahead(seats(promotion_id="P1", next_term=NextTerm(promotion_id="P2")))
    assert "Promotion" not in kept.sentence


# --- premiums ----------------------------------------------------------------------------------------


def test_a_year_billed_monthly_follows_from_the_year_where_it_has_no_price():
    """100 a year upfront is 105 by the month: 8.75."""
    prices = {(OFFER, YEAR, ANNUAL): "100"}
    (one,) = ahead(seats(), prices=prices)
    assert one.then.unit_price == Decimal("8.7500000000")
    assert "; that is with 5 % on the yearly price for paying it by the month." in one.sentence
    premium = next(r for r in one.reasons if r.rule == "premium.year_billed_monthly")
    assert premium.inputs == {
        "percent": "5",
        "on": "100",
        "unit_price": "8.75",
        "months": "12",
        "from": "2025-04-01",
    }


def test_before_april_2025_nothing_follows_from_the_year():
    old = seats(start=day("2025-03-31"), term_end=day("2026-12-01"))
    (one,) = ahead(old, prices={(OFFER, YEAR, ANNUAL): "100"})
    assert one.now.unit_price is None
    assert one.then.unit_price == Decimal("8.75")
    assert [finding.check for finding in one.findings] == ["price.missing"]
    assert one.difference is None
    assert " at 8.75 USD a month (what they cost now is not known); that is" in one.sentence


def test_where_nothing_is_known_it_says_so():
    (one,) = ahead(seats(), prices={("none", YEAR, MONTHLY): "1"})
    assert (
        f"for one year, at a price that is not known (No price list entry covers {OFFER}). Change"
    ) in said(one)
    (odd,) = ahead(seats(billing_cycle=None))
    assert {finding.check for finding in odd.findings} == {"renewal.no_cycle"}


def test_seats_that_do_not_renew_go_on_by_the_month_three_percent_dearer():
    """14.40 for a month + 3 % = 14.832: ten seats are 28.32 a month more than now."""
    prices = {(OFFER, YEAR, MONTHLY): "12.00", (OFFER, MONTH, MONTHLY): "14.40"}
    (one,) = ahead(seats(auto_renew=False), prices=prices)
    assert (one.at_end, one.return_by) == (AtEnd.EXTENDS, None)
    assert said(one) == (
        "Renewal is off: 10 seats of Business Premium go on month by month from 2027-02-15 00:00 "
        "UTC at 14.832 USD a month (now 12.00): 10 × 14.832 − 10 × 12.00 = 28.32 USD a month more; "
        "that is with 3 % on the monthly price in the extended service term. Renew, or choose the "
        "end, before then; after it they can be cancelled on any day, for a refund by the day."
    )
    assert (one.months, str(one.then.per_cycle)) == (1, "148.32 USD")
    assert one.then.term is MONTH


def test_a_product_without_a_monthly_plan_goes_on_23_percent_dearer_than_the_year():
    """120 a year is 10 a month, + 23 % = 12.30."""
    prices = {
        (OFFER, YEAR, MONTHLY): "10.50",
        (OFFER, YEAR, ANNUAL): "120.00",
        (OFFER, MONTH, MONTHLY): "99.00",
    }
    sold = sold_by([a_row(YEAR, "Annual"), a_row(YEAR, "Monthly")])
    (one,) = ahead(seats(auto_renew=False), prices=prices, sold=sold)
    assert one.then.unit_price == Decimal("12.30")
    assert "23 % on the yearly price by the month" in one.sentence
    (unknown,) = ahead(seats(auto_renew=False), prices={("x", YEAR, ANNUAL): "1"}, sold=sold)
    assert unknown.at_end is AtEnd.EXTENDS
    assert "at a price that is not known" in unknown.sentence


def a_row(term, plan, first="2026-01-01", end="2030-01-01", **fields):
    return SheetPrice(
        **{
            "product_id": PRODUCT,
            "sku_id": SKU,
            "term": term,
            "billing_plan": plan,
            "market": "US",
            "currency": "USD",
            "segment": "Commercial",
            "unit_price": Decimal(1),
            "erp_price": None,
            "valid": type(ALWAYS)(day(first), day(end)),
            **fields,
        }
    )


@pytest.mark.parametrize(
    ("start", "end", "at_end"),
    [
        ("2025-05-04", "2026-05-03", AtEnd.ENDS),  # a day too early for extended service
        ("2025-05-04", "2026-05-04", AtEnd.EXTENDS),
        ("2025-04-01", "2026-06-01", AtEnd.EXTENDS),
        ("2025-03-31", "2026-06-01", AtEnd.ENDS),  # bought before the rule
    ],
)
def test_extended_service_is_only_for_terms_from_its_dates_on(start, end, at_end):
    one = seats(auto_renew=False, start=day(start), term_end=day(end))
    (found,) = ahead(one, today=day(end) - timedelta(days=1))
    assert found.at_end is at_end


@pytest.mark.parametrize(
    "fields",
    [
        {"product_type": "SaaS"},
        {"product_type": ""},
        {"is_trial": True},
        {"product_type": "Software"},
    ],
)
def test_other_products_and_trials_simply_end(fields):
    (one,) = ahead(seats(auto_renew=False, **fields))
    assert (one.at_end, one.then, one.difference) == (AtEnd.ENDS, None, None)
    assert said(one) == (
        "10 seats of Business Premium end on 2027-02-15 00:00 UTC: renewal is off. Switch it on "
        "before then where they are still needed."
    )


def test_what_is_extended_already_goes_on_at_its_own_price():
    extended = seats(
        term=MONTH, auto_renew=False, sku_id="E001", term_end=day("2026-12-15"), product_type="x"
    )
    prices = {(f"{PRODUCT}:E001", MONTH, MONTHLY): "14.83"}
    (one,) = ahead(extended, prices=prices, extended_skus={f"{PRODUCT}:E001"})
    assert one.at_end is AtEnd.EXTENDS
    assert one.then.unit_price == Decimal("14.83")
    assert one.sentence.endswith(" at 14.83 USD a month as now.")


def test_the_premiums_are_what_microsoft_announced():
    """Facts 13.5: 5 % from 1 April 2025; 3 % and 23 % from 4 May 2026."""
    told = [
        (premium.percent, str(premium.valid.start))
        for premium in (YEAR_BILLED_MONTHLY, EXTENDED, EXTENDED_WITHOUT_MONTHLY)
    ]
    assert told == [(5, "2025-04-01"), (3, "2026-05-04"), (23, "2026-05-04")]


# --- end of sale -------------------------------------------------------------------------------------


def test_what_is_not_sold_any_more_cannot_renew():
    sold = sold_by([a_row(YEAR, "Monthly", end="2027-02-01")])
    (one,) = ahead(seats(), sold=sold)
    assert (one.at_end, one.then, one.return_by) == (AtEnd.CANNOT_RENEW, None, None)
    assert said(one) == (
        "10 seats of Business Premium cannot renew on 2027-02-15 00:00 UTC: the product is not "
        "sold in this plan any more. Schedule another product or plan before then."
    )
    still = sold_by([a_row(YEAR, "monthly", end="2027-02-16")])
    assert ahead(seats(), sold=still)[0].at_end is AtEnd.RENEWS
    wish = NextTerm(sku="other:1")
    assert ahead(seats(next_term=wish), sold=still)[0].at_end is AtEnd.CANNOT_RENEW


# --- trials, months, and who is asked ----------------------------------------------------------------


def test_a_trial_costs_nothing_until_it_renews():
    trial = seats(is_trial=True, term=MONTH, term_end=day("2026-12-15"), quantity=25)
    (one,) = ahead(trial, prices={(OFFER, MONTH, MONTHLY): "14.40"})
    assert (str(one.now.per_cycle), str(one.then.per_cycle)) == ("0.00 USD", "360.00 USD")
    assert "at 14.40 USD a month (now 0.00): 25 × 14.40 − 25 × 0.00 = 360.00" in one.sentence
    assert not one.is_routine


def test_a_month_that_follows_a_month_is_routine_until_its_price_changes():
    month = seats(term=MONTH, start=day("2026-11-15"), term_end=day("2026-12-15"))
    (one,) = ahead(month, prices={(OFFER, MONTH, MONTHLY): ("14.40", "15.00")})
    assert one.is_routine
    late = seats(term=MONTH, start=day("2026-12-15"), term_end=day("2027-01-15"))
    (dearer,) = ahead(
        late, prices={(OFFER, MONTH, MONTHLY): ("14.40", "15.00")}, today=day("2026-12-20")
    )
    assert not dearer.is_routine
    assert "10 × 15.00 − 10 × 14.40 = 6.00 USD a month more" in dearer.sentence
    (fewer,) = ahead(seats(term=MONTH, next_term=NextTerm(quantity=9)))
    assert not fewer.is_routine


def test_three_years_are_compared_by_the_year():
    three = seats(term=THREE, billing_cycle=TRIENNIAL, start=day("2024-02-15"))
    (one,) = ahead(three, prices={(OFFER, THREE, TRIENNIAL): ("360.00", "390.00")})
    assert (
        "at 390.00 USD three years (now 360.00): 10 × 390.00 / 3 − 10 × 360.00 / 3 = 100.00 USD a "
        "year more"
    ) in one.sentence


@pytest.mark.parametrize(
    "other",
    [
        {"status": "deleted"},
        {"kind": SubscriptionKind.USAGE},
        {"term_end": None},
        {"term_end": TODAY - timedelta(days=1)},
        {"term_end": TODAY + timedelta(days=101)},
    ],
)
def test_what_has_no_end_ahead_is_not_in_the_forecast(other):
    assert ahead(seats(**other)) == []


def test_suspended_seats_renew_too_and_the_first_end_comes_first():
    found = ahead(
        seats(id="late", term_end=TODAY + timedelta(days=100)),
        seats(id="today", term_end=TODAY, status="suspended"),
        seats(id="b", name="B", term_end=day("2026-12-01")),
        seats(id="a", name="A", term_end=day("2026-12-01")),
    )
    assert [one.subscription_id for one in found] == ["today", "a", "b", "late"]


# --- properties --------------------------------------------------------------------------------------

units = st.decimals("0.01", "900", places=2)
counts = st.integers(1, 500)
_SUMS = re.compile(r": (?P<sums>[\d.×/ −]+) = (?P<amount>[\d,.]+) USD a (?:year|month) ")


@given(
    st.tuples(units, units),
    st.tuples(counts, counts),
    st.sampled_from([YEAR, MONTH, THREE]),
    st.booleans(),
)
def test_the_difference_can_be_recomputed_from_the_sentence(price, count, term, renews):
    old, new = price
    before, after = count
    wish = NextTerm(quantity=after) if renews else None
    prices = {(OFFER, one, MONTHLY): (str(old), str(new)) for one in (YEAR, MONTH, THREE)}
    (found,) = ahead(
        seats(quantity=before, term=term, auto_renew=renews, next_term=wish), prices=prices
    )
    assert found.difference is not None
    sums = _SUMS.search(found.sentence)
    assert (sums is None) is not bool(found.difference)
    if sums:
        value = Fraction(0)
        for sign, product in zip((1, -1), sums["sums"].split(" − "), strict=True):
            factors = product.split(" × ")
            part = Fraction(1)
            for factor in factors:
                whole, _, by = factor.partition(" / ")
                part *= Fraction(Decimal(whole)) / int(by or 1)
            value += sign * part
        amount = Decimal(sums["amount"].replace(",", ""))
        assert round_half_up(value, 2) == amount
        assert abs(found.difference.amount) == amount
    assert found.reasons


@given(
    st.lists(st.integers(0, 200), max_size=6), st.integers(0, 120), st.integers(0, 80), st.data()
)
def test_a_longer_horizon_only_adds_and_the_order_of_the_input_does_not_matter(
    offsets, horizon, more, data
):
    all_seats = [
        seats(id=f"s{n}", term_end=TODAY + timedelta(days=days)) for n, days in enumerate(offsets)
    ]
    near = ahead(*all_seats, horizon_days=horizon)
    far = ahead(*data.draw(st.permutations(all_seats)), horizon_days=horizon + more)
    assert far[: len(near)] == near
    assert all(one.on > TODAY + timedelta(days=horizon) for one in far[len(near) :])
