"""What a forecast of a renewal says: its reasons in full, one seat and many, weeks, small changes."""

from decimal import Decimal
from fractions import Fraction

import pytest

from domain.charge import Reason
from domain.period import BillingCycle, TermDuration
from domain.renewal import AtEnd
from domain.subscription import NextTerm
from rules.lines import UnitPrice
from rules.renewals import forecast, sold_by
from tests.builders import a_subscription, day

TODAY = day("2026-11-22")


def ahead(now="12.00", then="13.00", *, price_for=None, currency="USD", sold=None, **fields):
    """The end of one term on 15 February 2027, at a price that changes with the new year."""

    def listed(question):
        value = then if question.term_start >= day("2027-01-01") else now
        return UnitPrice(value=Fraction(Decimal(value)), reasons=(Reason(rule="price.test"),))

    one = a_subscription(
        **{
            "start": day("2026-02-15"),
            "term_end": day("2027-02-15"),
            "product_type": "OnlineServicesNCE",
            **fields,
        }
    )
    (renewal,) = forecast(
        [one],
        price_for=price_for or listed,
        currency=currency,
        today=TODAY,
        horizon_days=100,
        sold=sold,
    )
    return renewal


def test_the_reasons_in_full():
    renewal = ahead(promotion_id="39N", next_term=NextTerm(quantity=9))
    assert (renewal.customer_id, renewal.subscription_id) == ("c1", "s1")
    assert (renewal.name, str(renewal.on)) == ("Business Premium", "2027-02-15")
    assert renewal.reasons == (
        Reason(
            rule="renewal.renews",
            inputs={
                "term_end": "2027-02-15",
                "auto_renew": "yes",
                "scheduled": "yes",
                "promotion": "39N",
            },
        ),
        Reason(rule="renewal.price_now", inputs={"unit_price": "12"}),
        Reason(rule="price.test"),
        Reason(rule="renewal.price_then", inputs={"unit_price": "13"}),
        Reason(rule="price.test"),
    )
    assert renewal.sentence == (
        "10 seats of Business Premium renew on 2027-02-15 00:00 UTC for one year with 9 seats at "
        "13.00 USD a month (now 12.00): 10 × 12.00 × 12 − 9 × 13.00 × 12 = 36.00 USD a year less. "
        "Promotion 39N ends with the term."
    )


def test_what_ends_says_so_for_one_seat_and_for_many():
    many = ahead(auto_renew=False, product_type="Other")
    assert (many.at_end, many.then, many.return_by) == (AtEnd.ENDS, None, None)
    assert many.sentence == (
        "10 seats of Business Premium end on 2027-02-15 00:00 UTC: renewal is off."
    )
    assert many.hint == "Switch it on before then where they are still needed."
    assert many.reasons[0].inputs == {
        "term_end": "2027-02-15",
        "auto_renew": "no",
        "scheduled": "no",
    }
    assert ahead(auto_renew=False, product_type="Other", quantity=1).sentence == (
        "1 seat of Business Premium ends on 2027-02-15 00:00 UTC: renewal is off."
    )


def test_one_seat_that_goes_on_by_the_month():
    """13.00 a month and 3 percent are 13.39."""
    one = ahead(auto_renew=False, quantity=1, term_end=day("2027-02-15"))
    assert (one.at_end, one.then.billing_cycle) == (AtEnd.EXTENDS, BillingCycle.MONTHLY)
    assert one.sentence == (
        "Renewal is off: 1 seat of Business Premium goes on month by month from 2027-02-15 00:00 "
        "UTC at 13.39 USD a month (now 12.00): 1 × 13.39 − 1 × 12.00 = 1.39 USD a month more; "
        "that is with 3 % on the monthly price in the extended service term."
    )


def test_a_yearly_plan_that_goes_on_does_so_by_the_month():
    one = ahead(auto_renew=False, billing_cycle=BillingCycle.ANNUAL, now="120.00")
    assert (one.then.term, one.then.billing_cycle) == (TermDuration.MONTH, BillingCycle.MONTHLY)


@pytest.mark.parametrize(
    ("now", "then", "said"),
    [
        ("12.00", "12.005", "10 × 12.005 × 12 − 10 × 12.00 × 12 = 0.60 USD a year more"),
        ("12.005", "12.00", "10 × 12.005 × 12 − 10 × 12.00 × 12 = 0.60 USD a year less"),
        ("1200.00", "1300.00", "= 12,000.00 USD a year more"),
    ],
)
def test_a_difference_below_one_is_more_or_less_as_well(now, then, said):
    assert said in ahead(now, then).sentence


def test_weeks_are_52_a_year():
    one = ahead("2.50", "3.00", billing_cycle=BillingCycle.WEEKLY)
    assert one.sentence.endswith(
        " for one year at 3.00 USD a week (now 2.50): "
        "10 × 3.00 × 52 − 10 × 2.50 × 52 = 260.00 USD a year more."
    )
    assert (one.difference.amount, one.then.per_term) == (260, None)


def test_weeks_of_a_month_are_a_twelfth_of_52():
    one = ahead("3.00", "6.00", billing_cycle=BillingCycle.WEEKLY, term=TermDuration.MONTH)
    assert "10 × 6.00 × 13 / 3 − 10 × 3.00 × 13 / 3 = 130.00 USD a month more" in one.sentence


def test_what_has_no_term_says_no_length():
    one = ahead("12.00", "12.00", term=None)
    assert one.sentence == (
        "10 seats of Business Premium renew on 2027-02-15 00:00 UTC at 12.00 USD a month as now."
    )


def test_what_is_sold_without_a_cycle_is_not_what_the_sheets_sell():
    sold = sold_by([])
    assert not sold("sku", TermDuration.YEAR, None, TODAY)
    assert ahead(sold=sold).at_end is AtEnd.CANNOT_RENEW


def test_a_month_ahead_is_asked_whether_it_is_sold_on_the_day_on_which_it_begins():
    asked = []

    def sold(sku, term, cycle, on):
        asked.append((term, cycle, str(on)))
        return True

    ahead(auto_renew=False, sold=sold)
    assert asked == [(TermDuration.MONTH, BillingCycle.MONTHLY, "2027-02-15")]
