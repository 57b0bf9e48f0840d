"""The whole of each finding about prices, usage and histories: on whom, on what, why, and what to do.

A finding without its customer holds nobody, and one that names the wrong record sends a person to
the wrong place; so each kind is written down once, in full.
"""

from dataclasses import replace
from decimal import Decimal

import pytest

from domain.contract import MarkupMethod, Package
from domain.period import BillingCycle, TermDuration
from domain.problems import Finding, Severity
from domain.subscription import CostKind
from rules.metering import Metered, meter_amount
from rules.pricing import PriceBook, Priced, check_prices
from rules.renewals import forecast
from rules.succession import check_conversions, overlaps
from tests.builders import (
    OFFER,
    a_line,
    a_pass_on,
    a_price,
    a_rule,
    a_share,
    a_subscription,
    day,
    rated_customer,
)

SEATS = Priced(
    customer_id="c1",
    record="subscription s1",
    kind="licence",
    sku=OFFER,
    on=day("2026-10-14"),
    currency="USD",
    term=TermDuration.YEAR,
    billing_cycle=BillingCycle.MONTHLY,
)


def told(finding):
    assert isinstance(finding, Finding)
    assert finding.severity is Severity.HOLD
    return (finding.check, finding.customer_id, finding.record, finding.sentence, finding.hint)


# --- prices ----------------------------------------------------------------------------------------


def test_no_price():
    assert told(PriceBook([], []).price(SEATS)) == (
        "price.missing",
        "c1",
        "subscription s1",
        f"No price list entry and no markup rule covers licence {OFFER} on 2026-10-14.",
        "add a markup rule for this kind, or a price for this product, in USD",
    )


@pytest.mark.parametrize(
    ("book", "what"),
    [
        (PriceBook([a_price(), a_price(key="price/2")], []), "price list entries"),
        (PriceBook([], [a_rule(key="price/2"), a_rule(key="price/1")]), "markup rules"),
    ],
)
def test_two_prices(book, what):
    assert told(book.price(SEATS)) == (
        "price.tie",
        "c1",
        "subscription s1",
        f"2 {what} apply equally to {OFFER} on 2026-10-14: price/1, price/2.",
        "end one of them, or make one more specific",
    )


@pytest.mark.parametrize(
    ("rule", "cost", "fault"),
    [
        (a_rule(), None, "its cost is not known"),
        (
            a_rule(method=MarkupMethod.ERP_MINUS),
            Decimal(10),
            "its suggested retail price is not known",
        ),
        (a_rule("-11", method=MarkupMethod.UPLIFT), Decimal(10), "its price would be below zero"),
        (
            a_rule("5", minimum=Decimal(1)),
            Decimal(10),
            "a minimum or maximum is agreed for usage",
        ),
    ],
)
def test_a_rule_that_cannot_price(rule, cost, fault):
    assert told(PriceBook([], [rule]).price(replace(SEATS, cost=cost))) == (
        "price.no_basis",
        "c1",
        "subscription s1",
        f"Rule rule/all cannot price {OFFER}: {fault}.",
        "add a price for this product to the price list, or a fixed-price rule",
    )


def test_a_price_that_cannot_be_meant_is_told_of_whom_it_was_asked_or_of_its_own_customer():
    broken = a_price("-1")
    expected = (
        "price.rule",
        "c1",
        "agreed price price/1",
        "The agreed price price/1 cannot be meant as it stands: no price is below zero.",
        "correct the row in the table Agreed prices",
    )
    assert told(PriceBook([broken], []).price(SEATS)) == expected
    own = replace(broken, customer_id="c1")
    assert [told(one) for one in check_prices([own], [])] == [expected]
    assert [one.customer_id for one in check_prices([broken], [])] == [""]


def test_a_rule_that_cannot_be_meant_is_told_of_whom_it_was_asked_or_of_its_own_customer():
    broken = a_rule("-1", method=MarkupMethod.FIXED)
    expected = (
        "price.rule",
        "c1",
        "markup rule rule/all",
        "Rule rule/all cannot be meant as it stands: no price is below zero.",
        "correct the row in the table Markup rules",
    )
    assert told(PriceBook([], [broken]).price(SEATS)) == expected
    own = replace(broken, customer_id="c1")
    assert [told(one) for one in check_prices([], [own])] == [expected]
    assert [one.customer_id for one in check_prices([], [broken])] == [""]


def test_a_price_far_from_its_cost():
    asked = replace(SEATS, cost=Decimal("2.00"))
    assert told(PriceBook([a_price("12.00")], []).price(asked).doubt) == (
        "price.ratio",
        "c1",
        f"subscription s1 {OFFER} 12 against 2 USD",
        f"The price of {OFFER} is 6 times its cost: 12 against 2 USD for one billing cycle.",
        (
            "check whether one of them is for a year and the other for a month, and correct the "
            "price; where it is meant, release the finding"
        ),
    )


# --- lines and usage -------------------------------------------------------------------------------

PACKAGE = a_rule(
    None, method=MarkupMethod.PACKAGE, package=Package(size=Decimal(1), price=Decimal(1))
)


@pytest.mark.parametrize(
    ("kind", "subtotal", "rule", "fault"),
    [
        (
            CostKind.ONE_TIME,
            "10.00",
            PACKAGE,
            "tiers, packages, minimum and maximum are for usage",
        ),
        (
            CostKind.ONE_TIME,
            "10.00",
            a_rule("5", maximum=Decimal(1)),
            "tiers, packages, minimum and maximum are for usage",
        ),
        (
            CostKind.CREDIT,
            "-10.00",
            a_rule("5", method=MarkupMethod.FIXED),
            "a credit is passed on by percent or margin",
        ),
        (
            CostKind.ONE_TIME,
            "10.00",
            a_rule("-11", method=MarkupMethod.UPLIFT),
            "its price would be below zero",
        ),
        (
            CostKind.RESERVATION,
            "10.00",
            a_rule(method=MarkupMethod.ERP_MINUS),
            "this kind of line has no suggested retail price",
        ),
    ],
)
def test_a_line_that_a_rule_cannot_price(kind, subtotal, rule, fault):
    result = rated_customer([a_pass_on(kind, subtotal)], rules=[rule])
    assert result.charges == ()
    assert [told(one) for one in result.findings] == [
        (
            "price.no_basis",
            "c1",
            f"cost line cost/I1/{kind}/{subtotal}",
            f"Rule rule/all cannot price Azure plan: {fault}.",
            "add a rule that fits this kind of line",
        )
    ]


def test_usage_that_a_rule_of_lines_cannot_price():
    line = a_pass_on(CostKind.USAGE, "10.00", shares=(a_share("10"),))
    (finding,) = rated_customer([line], rules=[a_rule("5", method=MarkupMethod.UPLIFT)]).findings
    assert told(finding)[3] == (
        "Rule rule/all cannot price Azure plan: usage is priced by percent or margin."
    )


def test_a_line_without_a_rule():
    (finding,) = rated_customer([a_pass_on(CostKind.ONE_TIME, "10.00")], rules=[]).findings
    assert told(finding)[:4] == (
        "price.missing",
        "c1",
        "cost line cost/I1/one_time/10.00",
        "No price list entry and no markup rule covers one_time DZH318Z0BPS6:0001 on 2026-10-01.",
    )


def test_usage_that_nothing_explains():
    (finding,) = rated_customer([a_pass_on(CostKind.USAGE, "12.00")]).findings
    assert told(finding) == (
        "usage.missing",
        "c1",
        "cost line cost/I1/usage/12.00",
        "Microsoft billed 12.00 USD for Azure plan, but the daily usage explains none of it.",
        "run sync again tomorrow, as Microsoft may deliver usage a day late; if it stays, ask Microsoft",
    )


def test_usage_that_a_package_cannot_hold():
    share = a_share("-1", quantity=Decimal(-2))
    line = a_pass_on(CostKind.USAGE, "-1.00", shares=(share,))
    (finding,) = rated_customer([line], rules=[PACKAGE]).findings
    assert told(finding) == (
        "price.no_basis",
        "c1",
        "usage of Storage from 2026-10-01",
        (
            "Rule rule/all cannot price Azure Storage (2026-10-01 to 2026-10-31): "
            "a quantity of -2 makes no package."
        ),
        "add a rule that fits this usage",
    )


def test_a_meter_without_a_cost():
    used = Metered.of(name="Storage", quantity=2)
    assert told(meter_amount(a_rule(), used, "USD")) == (
        "price.no_basis",
        "",
        "meter Storage",
        "Rule rule/all cannot price Storage: its cost is not known.",
        "add a rule that fits this usage",
    )
    named = Metered.total([used], name="Azure Storage", customer_id="c1")
    assert told(meter_amount(a_rule(), named, "USD"))[1:3] == ("c1", "meter Azure Storage")


def test_impossible_terms_of_a_month():
    rule = a_rule("5", kind="usage", minimum=Decimal(5), maximum=Decimal(4))
    (finding,) = rated_customer(rules=[rule]).findings
    assert told(finding)[:4] == (
        "price.rule",
        "c1",
        "markup rule rule/all",
        "Rule rule/all cannot be meant as it stands: its minimum is above its maximum.",
    )


# --- subscriptions ---------------------------------------------------------------------------------


def test_seats_of_nobody():
    (finding,) = rated_customer([a_line("new")]).findings
    assert told(finding) == (
        "subscription.unknown",
        "c1",
        "subscription s1",
        (
            "Microsoft billed Business Premium for subscription s1, "
            "which Partner Center does not list."
        ),
        "run sync again; if it stays, ask Microsoft which customer owns the subscription",
    )


def test_other_seats_than_are_shown():
    result = rated_customer([a_line("new")], subscriptions=[a_subscription(quantity=12)])
    assert result.findings == (
        Finding(
            check="history.mismatch",
            severity=Severity.WARN,
            customer_id="c1",
            record="subscription s1",
            sentence="Business Premium: the known changes end at 10 seats, "
            "Partner Center shows 12.",
            hint="a change may have been missed; compare with the next invoice of Microsoft",
        ),
    )


def test_half_of_an_upgrade():
    leg = a_line("convert", "2026-10-20", quantity=-10, reference_id="up-1")
    (finding,) = check_conversions([leg])
    assert told(finding) == (
        "history.half_conversion",
        "c1",
        "subscription s1 conversion up-1",
        (
            "Microsoft gives back 10 seats of Business Premium for an upgrade on 2026-10-20 "
            "(reference up-1), and no line charges them."
        ),
        (
            "run sync again: both sides of an upgrade stand on one invoice; else ask Microsoft, or "
            "release it: what is on the invoice is billed"
        ),
    )


def test_two_that_run_side_by_side():
    old = a_subscription(id="old", start=day("2026-10-03"), term=None, billing_cycle=None)
    new = a_subscription(id="new", start=day("2026-11-10"))
    assert overlaps([old, new], day("2026-11-22")) == [
        Finding(
            check="subscription.overlap",
            severity=Severity.WARN,
            customer_id="c1",
            record="subscriptions old and new",
            sentence="Business Premium: 10 seats without a term billed not (old) runs beside "
            "10 seats P1Y billed monthly (new) from 2026-11-10 without an end; both are billed.",
            hint="cancel the older one while its window is open, or switch its renewal off; "
            "if both are meant, there is nothing to do",
        )
    ]


def test_a_renewal_whose_cycle_is_not_known():
    one = a_subscription(term_end=day("2026-12-01"), billing_cycle=None)
    (renewal,) = forecast(
        [one],
        price_for=lambda _question: pytest.fail("it has no price"),
        currency="USD",
        today=day("2026-11-22"),
    )
    unknown = Finding(
        check="renewal.no_cycle",
        severity=Severity.WARN,
        customer_id="c1",
        record="subscription s1",
        sentence="How often Business Premium is billed is not known.",
        hint="run sync, which reads the subscription again",
    )
    assert renewal.findings == (unknown, unknown)
    assert renewal.sentence == (
        "10 seats of Business Premium renew on 2026-12-01 00:00 UTC for one year, at a price that "
        "is not known (How often Business Premium is billed is not known)."
    )
