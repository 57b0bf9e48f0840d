"""Scenario files that cannot be meant: exit code 2 and one sentence that names file and field.

What can be meant but not rated ends with 3: the finding says what, and the rest stands beside it.
"""

from __future__ import annotations

import copy
import json

import pytest

from tests.app.conftest import command

SEATS = {
    "id": "s1",
    "sku": "E3",
    "term": "P1Y",
    "billing_cycle": "monthly",
    "start": "2026-02-15",
    "quantity": 10,
    "unit_price": "12.00",
}
BASE = {"currency": "USD", "bill": {"from": "2026-02-01", "to": "2026-04-01"}}
CONVERT = {"date": "2026-03-01", "type": "convert", "sku": "E5", "unit_price": "20.00"}
RENEW = {"date": "2027-02-15", "type": "renew"}
USED = {"meter": "m1", "date": "2026-03-04", "quantity": "10", "cost": "20.00"}


@pytest.fixture
def ask(tmp_path):
    def answer(content, *more):
        path = tmp_path / "scenario.json"
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text, encoding="utf-8")
        return command("whatif", str(path), *more)

    return answer


def scenario(**fields):
    return {**copy.deepcopy(BASE), **fields}


def seats(*events, **fields):
    made = {**SEATS, **fields, **({"events": list(events)} if events else {})}
    return scenario(subscriptions=[{k: v for k, v in made.items() if v != "left out"}])


def rule(**fields):
    return scenario(usage=[USED], markup_rules=[fields])


def usage(**fields):
    return scenario(usage=[{**USED, **fields}])


def taxed(**fields):
    return scenario(tax={"seller_country": "DE", "buyer_country": "DE", **fields})


def contract(**fields):
    return scenario(contract=fields)


def tiers(*steps, **fields):
    return rule(tiers={"mode": "graduated", "steps": list(steps), **fields})


SUB, EVENT, RULE = "subscriptions.0", "subscriptions.0.events.0", "markup_rules.0"
FAULTS = [
    # --- the scenario
    ({}, "currency: is missing"),
    (scenario(currency=None), "currency: must be text"),
    (scenario(currency="usd"), "currency: must be three capital letters"),
    (scenario(currency="EURO"), "currency: must be three capital letters"),
    (scenario(side="buy"), "side: "),
    (scenario(as_of="yesterday"), "as_of: must be a date"),
    (scenario(as_of="2026-13-01"), "as_of: must be a date"),
    (scenario(bill=None), "bill: must be an object"),
    (scenario(bill={"to": "2026-04-01"}), "bill.from: is missing"),
    (scenario(bill={"from": "2026-04-01", "to": "2026-03-01"}), "bill: from must come before to"),
    (scenario(bill={"from": "2026-01-01", "to": "2099-01-01"}), "bill: from must come before to"),
    (scenario(bill={"start": "2026-01-01", "to": "2026-02-01"}), "bill"),
    (scenario(bill={**BASE["bill"], "until": "2026-05-01"}), "bill.until: is not a field"),
    (scenario(subscription=[]), "subscription: is not a field"),
    (scenario(subscriptions=[None]), "subscriptions.0: must be an object"),
    (scenario(subscriptions=[SEATS, SEATS]), "two subscriptions have one id"),
    (scenario(usage={}), "usage: must be a list"),
    (scenario(markup_rules="5"), "markup_rules: must be a list"),
    (scenario(earned_credit_percent="101"), "earned_credit_percent: "),
    # --- exchange
    (scenario(exchange_rate="0"), "exchange_rate.rate: "),
    (scenario(exchange_rate="-0.9"), "exchange_rate.rate: "),
    (scenario(exchange_rate={"source": "bank"}), "exchange_rate.rate: is missing"),
    (scenario(exchange_rate={"rate": "0.9", "from": "EUR"}), "exchange_rate.from: is not a field"),
    (scenario(exchange_rate={"rate": "0.9", "currency": "USD"}), "exchange_rate turns USD into"),
    (scenario(exchange_rate=True), "exchange_rate"),
    # --- the contract
    (contract(frequency="P5M"), "contract.frequency: "),
    (contract(frequency="monthly"), "contract.frequency: "),
    (contract(anchor_day=0), "contract.anchor_day: "),
    (contract(anchor_day=32), "contract.anchor_day: "),
    (contract(anchor_day="1"), "contract.anchor_day: must be a whole number"),
    (contract(frequency="P1W", anchor_day=8), "contract: anchor_day is an ISO weekday"),
    (contract(frequency="P3M", anchor_month=13), "contract.anchor_month: "),
    (contract(timing="later"), "contract.timing: "),
    (contract(align="calendar"), "contract.align: "),
    (contract(proration="hours"), "contract.proration: "),
    (contract(rounding="bankers"), "contract.rounding: "),
    (contract(reductions="never"), "contract.reductions: "),
    (contract(window=7), "contract.window: is not a field"),
    # --- subscriptions
    (seats(id=""), f"{SUB}.id: must be 1 to 100 characters"),
    (seats(id=7), f"{SUB}.id: must be text"),
    (seats(sku="left out"), f"{SUB}.sku: is missing"),
    (seats(start="left out"), f"{SUB}.start: is missing"),
    (seats(start="15.02.2026"), f"{SUB}.start: must be a date"),
    (seats(start="2025-02-29"), f"{SUB}.start: must be a date"),
    (seats(quantity="left out"), f"{SUB}.quantity: is missing"),
    (seats(quantity=-3), f"{SUB}.quantity: "),
    (seats(quantity=1.5), f"{SUB}.quantity: must be a whole number"),
    (seats(quantity=True), f"{SUB}.quantity: must be a whole number"),
    (seats(quantity=10**9), f"{SUB}.quantity: "),
    (seats(term="P2Y"), f"{SUB}.term: "),
    (seats(term="1 year"), f"{SUB}.term: "),
    (seats(billing_cycle="yearly"), f"{SUB}.billing_cycle: "),
    (seats(term="P1Y", billing_cycle="triennial"), f"{SUB}: a term of P1Y cannot be billed"),
    (seats(term="P1M", billing_cycle="quarterly"), f"{SUB}: a term of P1M cannot be billed"),
    (seats(unit_price="-0.01"), f"{SUB}.unit_price: "),
    (seats(unit_price="12,00"), f"{SUB}.unit_price: '12,00' is not a number"),
    (seats(unit_price="1.0000000000000000001"), f"{SUB}.unit_price: must be a number of at most"),
    (seats(unit_price=[12]), f"{SUB}.unit_price: must be a number"),
    (seats(unit_price="9" * 14), f"{SUB}.unit_price: "),
    (seats(annual_price="144"), f"{SUB}: needs one of unit_price and annual_price"),
    (
        seats(unit_price=None, annual_price="9", term="P3Y", billing_cycle="triennial"),
        f"{SUB}: annual_price cannot be billed triennial",
    ),
    (
        seats(unit_price=None, annual_price="9", term=None, billing_cycle="weekly"),
        f"{SUB}: annual_price cannot be billed weekly",
    ),
    (seats(billing_cycle="one_time"), f"{SUB}: a one_time purchase has no term"),
    (
        seats(CONVERT, billing_cycle="one_time", term=None),
        f"{SUB}: a one_time purchase has no term, no term end, no trial and no events",
    ),
    (seats(custom_term_end="2026-02-15"), f"{SUB}: custom_term_end must lie inside the first"),
    (seats(custom_term_end="2027-02-16"), f"{SUB}: custom_term_end must lie inside the first"),
    (seats(trial_end="2026-02-15"), f"{SUB}: the trial ends on 2026-02-15, before it starts"),
    (
        seats(trial_end="2026-03-15", custom_term_end="2026-03-15"),
        f"{SUB}: custom_term_end must lie inside the first term",
    ),
    (seats(billed_from="2026-02-15"), f"{SUB}: billed_from 2026-02-15 must come after"),
    (seats(erp_price="-1"), f"{SUB}.erp_price: "),
    (seats(auto_renew=None), f"{SUB}.auto_renew: must be true or false"),
    (seats(promotion={}), f"{SUB}.promotion: a promotion has one of percent and amount"),
    (seats(promotion={"percent": "5", "amount": "1"}), f"{SUB}.promotion: a promotion has one"),
    (seats(promotion={"percent": "0"}), f"{SUB}.promotion.percent: "),
    (seats(promotion={"amount": "-1"}), f"{SUB}.promotion.amount: "),
    (seats(promotion="10"), f"{SUB}.promotion: must be an object"),
    (
        seats(promotion={"percent": "5", "until": "2026-01-01"}),
        f"{SUB}: the promotion ends on 2026-01-01, before the start 2026-02-15",
    ),
    (seats(currency="EUR"), f"{SUB}.currency: is not a field"),
    # --- events
    (seats({"type": "cancel"}), f"{EVENT}.date: is missing"),
    (seats({"date": "2026-03-01", "type": "pause"}), f"{EVENT}.type: "),
    (seats({"date": "2026-02-14", "type": "cancel"}), "the cancel on 2026-02-14 comes before the"),
    (seats({"date": "2026-03-01", "type": "set_quantity"}), f"{EVENT}: a set_quantity needs"),
    (
        seats({"date": "2026-03-01", "type": "set_quantity", "quantity": -1}),
        f"{EVENT}.quantity: ",
    ),
    (
        seats({"date": "2026-03-01", "type": "set_quantity", "quantity": 5, "unit_price": "1"}),
        f"{EVENT}: a set_quantity has no unit_price",
    ),
    (seats({"date": "2026-03-01", "type": "suspend", "quantity": 5}), f"{EVENT}: a suspend has no"),
    (seats({"date": "2026-03-01", "type": "cancel", "sku": "E3"}), f"{EVENT}: a cancel has no sku"),
    (
        seats({"date": "2026-03-01", "type": "transfer", "term": "P1Y"}),
        f"{EVENT}: a transfer has no term",
    ),
    (seats({**CONVERT, "sku": None}), f"{EVENT}: a convert needs a sku and one of"),
    (seats({**CONVERT, "unit_price": None}), f"{EVENT}: a convert needs a sku and one of"),
    (seats({**CONVERT, "annual_price": "9"}), f"{EVENT}: a convert has one of unit_price and"),
    (seats({**CONVERT, "quantity": 0}), f"{EVENT}: a convert needs at least one seat"),
    (seats({**CONVERT, "term": "P3Y"}), f"{EVENT}: a convert has no term"),
    (
        seats({**CONVERT, "promotion": {"percent": "5", "until": "2026-03-01"}}),
        f"{EVENT}: the promotion ends on 2026-03-01, before it starts on 2026-03-01",
    ),
    (seats({**RENEW, "billing_cycle": "annual"}), f"{EVENT}: a renewal to another billing_cycle"),
    (
        seats({**RENEW, "billing_cycle": "one_time", "unit_price": "1"}),
        f"{EVENT}: a renewal cannot be billed one_time",
    ),
    (
        seats({**RENEW, "billing_cycle": "triennial", "unit_price": "1"}),
        f"{SUB}: a term of P1Y cannot be billed triennial",
    ),
    (
        seats({**RENEW, "term": "P1M"}, billing_cycle="annual"),
        f"{SUB}: a term of P1M cannot be billed annual",
    ),
    (
        seats({**RENEW, "custom_term_end": "2027-02-15"}),
        f"{EVENT}: the term ends on 2027-02-15, before it starts on 2027-02-15",
    ),
    (
        seats({**RENEW, "custom_term_end": "2028-02-16"}),
        f"{SUB}: custom_term_end must lie inside the term that starts on 2027-02-15",
    ),
    (seats({**RENEW, "date": "2026-02-15"}), f"{SUB}: two terms start on 2026-02-15"),
    (seats(RENEW, RENEW), f"{SUB}: two terms start on 2027-02-15"),
    (
        # The cycle that holds on the day counts, wherever the events stand in the file.
        seats(
            {**CONVERT, "date": "2030-02-15", "unit_price": None, "annual_price": "9"},
            {**RENEW, "term": "P3Y", "billing_cycle": "triennial", "unit_price": "1"},
        ),
        f"{SUB}: annual_price cannot be billed triennial",
    ),
    # --- usage
    (usage(meter=""), "usage.0.meter: must be 1 to 100 characters"),
    (usage(date="2026-02-30"), "usage.0.date: must be a date"),
    (usage(quantity="many"), "usage.0.quantity: 'many' is not a number"),
    (usage(quantity=None), "usage.0.quantity: must be a number"),
    (usage(cost="1e2"), "usage.0.cost: '1e2' is not a number"),
    (usage(earned_credit_percent="-1"), "usage.0.earned_credit_percent: "),
    (usage(tags={}), "usage.0.tags: is not a field"),
    # --- rules
    (rule(), f"{RULE}: a rule needs one of"),
    (rule(percent="5", margin="5"), f"{RULE}: a rule has one of"),
    (rule(percent="-101"), f"{RULE}.percent: "),
    (rule(margin="100"), f"{RULE}.margin: "),
    (rule(fixed="-1"), f"{RULE}.fixed: "),
    (rule(erp_minus="101"), f"{RULE}.erp_minus: "),
    (rule(percent="5", floor="3", cap="2"), f"{RULE}: floor 3 is above cap 2"),
    (rule(percent="5", minimum="3", maximum="2"), f"{RULE}: minimum 3 is above maximum 2"),
    (
        rule(**{"percent": "5", "from": "2026-03-01", "to": "2026-03-01"}),
        f"{RULE}: from must come before to",
    ),
    (rule(percent="5", match={"kind": "azure"}), f"{RULE}.match.kind: "),
    (rule(percent="5", match={"customer": "c"}), f"{RULE}.match.customer: is not a field"),
    (rule(percent="5", match={"sku": "a", "meter": "b"}), f"{RULE}.match: a rule matches a sku or"),
    (
        rule(percent="5", match={"kind": "subscription", "meter": "m1"}),
        f"{RULE}.match: a subscription has no meter and no family",
    ),
    (
        rule(match={"kind": "subscription"}, package={"size": "1", "price": "1"}),
        f"{RULE}: tiers, package, minimum and maximum are for usage",
    ),
    (
        rule(match={"kind": "subscription"}, percent="5", earned_credit_percent="5"),
        f"{RULE}: earned_credit_percent is for usage",
    ),
    (rule(package={"size": "0", "price": "1"}), f"{RULE}.package.size: "),
    (rule(package={"size": "10"}), f"{RULE}.package.price: is missing"),
    (rule(package={"size": "10", "price": "1", "free": "-1"}), f"{RULE}.package.free: "),
    (tiers(), f"{RULE}.tiers.steps: "),
    (tiers({"unit_price": "1"}), f"{RULE}.tiers.steps.0.up_to: is missing"),
    (tiers({"up_to": "0", "unit_price": "1"}), f"{RULE}.tiers.steps.0.up_to: "),
    (tiers({"up_to": None, "per": "1000"}), f"{RULE}.tiers.steps.0: per says how many units"),
    (tiers({"up_to": None, "unit_price": "1", "per": "0"}), f"{RULE}.tiers.steps.0.per: "),
    (
        tiers({"up_to": None, "unit_price": "1"}, {"up_to": "5", "unit_price": "1"}),
        f"{RULE}.tiers: only the last step may be without end",
    ),
    (
        tiers({"up_to": "5", "unit_price": "1"}, {"up_to": "5", "unit_price": "2"}),
        f"{RULE}.tiers: the limits of the steps must rise",
    ),
    (tiers({"up_to": None}, mode="stairs"), f"{RULE}.tiers.mode: "),
    (
        scenario(markup_rules=[{"id": "a", "percent": "1"}, {"id": "a", "percent": "2"}]),
        "two markup_rules have one id",
    ),
    # --- tax
    (taxed(buyer_country="Germany"), "tax.buyer_country: "),
    (taxed(buyer_country="de"), "tax.buyer_country: "),
    (taxed(seller_country=None), "tax.seller_country: must be text"),
    (taxed(rate="19"), "tax.rate: is not a field"),
    (taxed(seller_registered_in=["Texas"]), "tax.seller_registered_in.0: "),
    (taxed(seller_registered_in="DE"), "tax.seller_registered_in: "),
    (taxed(exempt_until="soon"), "tax.exempt_until: must be a date"),
    (taxed(certificate="NV-17"), "tax: a certificate needs exempt_until"),
]


@pytest.mark.parametrize("place", ["alone", "in a list"])
@pytest.mark.parametrize(("content", "fault"), FAULTS)
def test_what_cannot_be_meant_is_refused_by_file_and_field(ask, content, fault, place):
    answer = ask(content if place == "alone" else [BASE, content], "--json")
    assert (answer.code, answer.out) == (2, "")
    where = "" if place == "alone" else "[1]."
    told = answer.complaint.partition("scenario.json: ")[2]
    assert fault in told
    assert told.startswith(where.rstrip("."))
    assert answer.complaint.endswith("(the format is described in docs/whatif.md)")


@pytest.mark.parametrize("field", sorted({*BASE, "subscriptions", "usage", "contract", "tax"}))
@pytest.mark.parametrize("value", [0, "", "x", True, [1], {"x": 1}, "\ud800", 1e400])
def test_nonsense_in_any_field_is_refused(ask, field, value):
    if value == "\ud800":
        value = "\\ud800"
    text = json.dumps({**BASE, field: "VALUE"})
    shown = '"\\ud800"' if value == "\\ud800" else json.dumps(value)
    answer = ask(text.replace('"VALUE"', shown))
    assert (answer.code, answer.out) == (2, "")
    assert "scenario.json: " in answer.complaint


RATED_WITH_FINDINGS = [
    (seats(unit_price=None), "price.missing", "0.00"),
    (seats({"date": "2026-02-25", "type": "cancel"}), "window.closed", "240.00"),
    (
        seats({"date": "2026-02-25", "type": "set_quantity", "quantity": 9}),
        "window.closed",
        "240.00",
    ),
    (
        seats(
            {"date": "2026-02-15", "type": "cancel"},
            {"date": "2026-02-16", "type": "set_quantity", "quantity": 3},
        ),
        "history.after_end",
        "0.00",
    ),
    (scenario(usage=[USED]), "price.missing", "0.00"),
    (
        scenario(usage=[{**USED, "cost": None}], markup_rules=[{"percent": "5"}]),
        "price.no_basis",
        "0.00",
    ),
    (rule(fixed="5"), "price.no_basis", "0.00"),
    (rule(uplift="5"), "price.no_basis", "0.00"),
    (tiers({"up_to": "5", "unit_price": "1"}), "price.no_basis", "0.00"),
    (scenario(usage=[USED], markup_rules=[{"percent": "5"}] * 2), "price.tie", "0.00"),
    (
        {**seats(), "markup_rules": [{"match": {"sku": "E3"}, "erp_minus": "5"}]},
        "price.no_basis",
        "0.00",
    ),
    (
        {**seats(), "tax": {"seller_country": "DE", "buyer_country": "FR"}},
        "tax.no_vat_number",
        "240.00",
    ),
    (
        {**seats(), "tax": {"seller_country": "DE", "buyer_country": "XX"}},
        "tax.unmapped_country",
        "240.00",
    ),
    ({**seats(unit_price=None), "side": "cost"}, "price.missing", "0.00"),
    ({**usage(cost=None), "side": "cost"}, "price.missing", "0.00"),
]


@pytest.mark.parametrize(("content", "check", "subtotal"), RATED_WITH_FINDINGS)
def test_what_cannot_be_rated_is_found_and_the_rest_stands(ask, content, check, subtotal):
    answer = ask(content, "--json")
    assert answer.code == 3
    assert {finding["check"] for finding in answer.data["findings"]} == {check}
    assert answer.data["subtotal"] == subtotal
    for finding in answer.data["findings"]:
        assert finding["sentence"].endswith(".")
        assert finding["record"]
        assert finding["hint"]
    told = ask(content)
    assert told.code == 3
    assert answer.data["findings"][0]["sentence"] in told.out


def test_one_list_with_a_finding_ends_with_3(ask):
    answer = ask([seats(), scenario(usage=[USED])], "--json")
    assert answer.code == 3
    assert [len(one["findings"]) for one in answer.data] == [0, 1]


def test_a_minimum_counts_the_lines_of_its_own_rule(ask):
    """Two ids of which one ends like the other are two rules."""
    answer = ask(
        scenario(
            usage=[{**USED, "cost": "10"}, {**USED, "meter": "m2", "cost": "10"}],
            markup_rules=[
                {"id": "a", "match": {"meter": "m1"}, "percent": "0", "minimum": "30"},
                {"id": "b/a", "match": {"meter": "m2"}, "percent": "0"},
            ],
        ),
        "--json",
    )
    assert [line["amount"] for line in answer.data["lines"]] == ["10.00", "10.00", "20.00"]


def test_what_is_empty_is_left_out(ask):
    whole = ask(scenario(), "--json")
    for empty in ([], None):
        fields = dict.fromkeys(("subscriptions", "usage", "markup_rules"), empty)
        assert ask(scenario(**fields), "--json").out == whole.out
    for empty in ({}, None):
        assert ask(scenario(tax=empty), "--json").out == whole.out


def test_a_renewal_within_a_month_of_the_contract_that_another_term_began_in(ask):
    """February's line would run to 2 March; the term ends on the 1st, and is renewed on the 2nd."""
    answer = ask(
        {
            **seats({"date": "2025-03-02", "type": "renew"}, term="P1M", start="2025-02-01"),
            "contract": {"align": "contract", "anchor_day": 3},
            "bill": {"from": "2025-02-01", "to": "2025-03-04"},
        },
        "--json",
    )
    assert answer.code == 0
    # 2 of 31 days of January's line, 26 of 28 of February's, a day of it for each new term, March.
    amounts = [line["amount"] for line in answer.data["lines"]]
    assert amounts == ["7.74", "111.43", "4.29", "4.29", "120.00"]
