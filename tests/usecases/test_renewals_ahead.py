"""Renewals over all customers: prices from Microsoft's lines and sheets, through the contract."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from domain.contract import ExchangeRate, SheetPrice
from domain.customer import Address, Qualification
from domain.money import Money
from domain.period import BillingCycle, TermDuration
from domain.renewal import AtEnd
from invoice.file import CustomerFile
from rules.qualification import segment_of
from sync.renewals import EXTENDED_SHEET, SHEETS, renewals_ahead, renewals_of
from tests.builders import (
    ALWAYS,
    CUSTOMER,
    OFFER,
    PRODUCT,
    SKU,
    a_contract,
    a_customer,
    a_line,
    a_rule,
    a_subscription,
    day,
)
from tests.usecases.office import SYNC, an_office, work

TODAY = day("2027-09-20")


def a_row(unit_price, term=TermDuration.YEAR, plan="monthly", **fields):
    """A price of the sheet: for the whole term."""
    return SheetPrice(
        **{
            "product_id": PRODUCT,
            "sku_id": SKU,
            "term": term,
            "billing_plan": plan,
            "market": "US",
            "currency": "USD",
            "segment": "Commercial",
            "unit_price": Decimal(unit_price),
            "erp_price": None,
            "valid": ALWAYS,
            **fields,
        }
    )


def a_file(**fields):
    """Ten seats that cost 10.00 a month until 14 October 2027, sold at 20 % more."""
    return CustomerFile(
        **{
            "customer": a_customer(address=Address(country="US")),
            "contract": a_contract(),
            "subscriptions": (
                a_subscription(term_end=day("2027-10-14"), product_type="OnlineServicesNCE"),
            ),
            "cost_lines": (a_line(),),
            "rules": (a_rule("20"),),
            **fields,
        }
    )


def test_now_is_priced_by_microsofts_line_and_then_by_its_sheet():
    """126 a year is 10.50 a month: 12.60 with 20 %, 0.60 more for each of ten seats."""
    (one,) = renewals_of(a_file(), TODAY, rows=[a_row("126.00")])
    assert one.sentence == (
        "10 seats of Business Premium renew on 2027-10-14 00:00 UTC for one year at 12.60 USD a "
        "month (now 12.00): 10 × 12.60 × 12 − 10 × 12.00 × 12 = 72.00 USD a year more."
    )
    markup = [reason.inputs for reason in one.reasons if reason.rule == "price.markup"]
    assert [inputs["cost"] for inputs in markup] == ["10", "126"]
    assert "10.50" not in one.sentence


def test_a_cost_after_a_promotion_is_what_was_billed():
    line = a_line(effective="8.00", unit="10.00")
    (one,) = renewals_of(a_file(cost_lines=(line,)), TODAY, rows=[a_row("126.00")])
    assert one.now.unit_price == Decimal("9.60")


@pytest.mark.parametrize(
    "line",
    [
        a_line(subscription_start=day("2025-10-14")),
        a_line(subscription_id="s2"),
        a_line(sku_id="0002"),
        a_line("addQuantity"),
        a_line(charged=None),
    ],
)
def test_lines_of_another_term_or_product_or_of_a_part_tell_nothing(line):
    (one,) = renewals_of(a_file(cost_lines=(line,)), TODAY, rows=[a_row("120.00")])
    assert one.now.unit_price == one.then.unit_price == 12


def test_a_cost_in_another_currency_takes_the_rate_of_today_for_the_day_ahead():
    """100 GBP a year at 1.26 USD is 126: 10.50 a month, 12.60 with 20 %."""
    rate = ExchangeRate(
        source="Microsoft", base="GBP", quote="USD", rate=Decimal("1.26"), on=day("2027-09-01")
    )
    rows = [a_row("100.00", currency="GBP")]
    (one,) = renewals_of(a_file(rates=(rate,)), TODAY, rows=rows)
    assert one.then.unit_price == Decimal("12.60")
    told = [reason.inputs for reason in one.reasons if reason.rule == "price.exchange"]
    assert [inputs["date"] for inputs in told] == ["2027-09-01"]
    old = replace(rate, on=day("2027-05-01"))
    assert renewals_of(a_file(rates=(old,)), TODAY, rows=rows)[0].then.unit_price is None


def test_without_sheets_the_price_is_not_known_and_the_renewal_is_told():
    (one,) = renewals_of(a_file(), TODAY)
    assert one.then.unit_price is None
    assert one.now.unit_price == 12
    assert "at a price that is not known (Rule rule/all cannot price" in one.sentence


def test_two_prices_that_differ_leave_it_open_and_the_own_segment_comes_first():
    two = [a_row("126.00"), a_row("127.00")]
    assert renewals_of(a_file(), TODAY, rows=two)[0].then.unit_price is None
    school = a_customer(
        address=Address(country="US"),
        qualifications=(Qualification(name="Education", status="Approved"),),
    )
    rows = [a_row("126.00"), a_row("60.00", segment="Education"), a_row("126.00")]
    (one,) = renewals_of(a_file(customer=school), TODAY, rows=rows)
    assert one.then.unit_price == 6  # 5.00 with 20 %
    (common,) = renewals_of(a_file(customer=school), TODAY, rows=rows[:1])
    assert common.then.unit_price == Decimal("12.60")


@pytest.mark.parametrize(
    ("name", "status", "segment"),
    [
        ("education", "Approved", "Education"),
        ("nonprofit", "approved", "Charity"),
        ("governmentCommunityCloud", "Approved", "Government"),
        ("education", "InReview", "Commercial"),
        ("stateOwnedEntity", "Approved", "Commercial"),
    ],
)
def test_an_approved_qualification_is_a_segment(name, status, segment):
    customer = a_customer(qualifications=(Qualification(name=name, status=status),))
    assert segment_of(customer) == segment


def test_seats_that_are_on_no_sheet_cannot_renew_and_other_products_are_not_judged():
    rows = [a_row("126.00", sku_id="0002")]
    (gone,) = renewals_of(a_file(), TODAY, rows=rows)
    assert gone.at_end is AtEnd.CANNOT_RENEW
    other = a_subscription(term_end=day("2027-10-14"), product_type="SaaS")
    (kept,) = renewals_of(a_file(subscriptions=(other,)), TODAY, rows=rows)
    assert kept.at_end is AtEnd.RENEWS


def test_extended_service_follows_the_monthly_sheet_and_its_own_skus():
    """14.40 for the month, 3 % more, sold at 20 % more: 17.7984."""
    off = a_subscription(
        term_end=day("2027-10-14"), product_type="OnlineServicesNCE", auto_renew=False
    )
    rows = [a_row("126.00"), a_row("14.40", TermDuration.MONTH)]
    (one,) = renewals_of(a_file(subscriptions=(off,)), TODAY, rows=rows)
    assert (one.at_end, one.then.unit_price) == (AtEnd.EXTENDS, Decimal("17.7984"))
    already = replace(off, sku_id="E001", term=TermDuration.MONTH, term_end=day("2027-09-30"))
    extended = [a_row("14.80", TermDuration.MONTH, sku_id="E001")]
    (month,) = renewals_of(a_file(subscriptions=(already,)), TODAY, rows=rows, extended=extended)
    assert (month.at_end, month.then.unit_price) == (AtEnd.EXTENDS, Decimal("17.76"))


def test_what_is_not_passed_on_and_who_has_no_contract_is_not_forecast():
    assert renewals_of(a_file(contract=None), TODAY) == []
    assert renewals_of(a_file(contract=a_contract(excluded_skus=(OFFER,))), TODAY) == []
    assert renewals_of(a_file(), TODAY, 23) == []
    assert len(renewals_of(a_file(), TODAY, 24)) == 1


def test_all_customers_are_asked_and_each_sheet_is_read_once(tmp_path):
    office = an_office(tmp_path)
    center = office.partner_center
    center.people = [
        replace(one, address=Address(country="us"), details_known=True) for one in center.people
    ]
    center.running[0] = replace(
        center.running[0], term_end=day("2027-10-14"), product_type="OnlineServicesNCE"
    )
    work(office, SYNC)
    center.sheets = {("US", SHEETS[0]): [a_row("126.00")], ("US", EXTENDED_SHEET): []}
    asked = []
    read = center.sheet_prices

    def sheet_prices(market, view):
        asked.append((market, view))
        return read(market, view)

    center.sheet_prices = sheet_prices
    (one,) = renewals_ahead(office.ports, TODAY)
    assert one.customer_id == CUSTOMER
    assert one.difference == Money(Decimal("72.00"), "USD")
    assert sorted(asked) == sorted({("US", view) for view in (*SHEETS, EXTENDED_SHEET)})
    assert one.change_by == datetime(2027, 10, 14, tzinfo=UTC)
    assert one.now.billing_cycle is BillingCycle.MONTHLY
