"""Scenario files: an answer that a calculator confirms, or one sentence that names the field."""

from __future__ import annotations

import copy
import json

import pytest

from tests.app.conftest import command

# The example of the format, with an event of the convert kind and a renewal far ahead.
SCENARIO = {
    "currency": "USD",
    "side": "sell",
    "as_of": "2026-04-01",
    "contract": {
        "frequency": "P1M",
        "anchor_day": 1,
        "timing": "advance",
        "align": "charge_cycle",
        "proration": "days",
        "rounding": "half_up",
    },
    "subscriptions": [
        {
            "id": "s1",
            "sku": "CFQ7TTC0LH18:0001",
            "term": "P1Y",
            "billing_cycle": "monthly",
            "start": "2026-02-15",
            "quantity": 10,
            "unit_price": "12.00",
            "custom_term_end": None,
            "promotion": None,
            "events": [
                {"date": "2026-03-01", "type": "set_quantity", "quantity": 15},
                {"date": "2027-02-15", "type": "renew", "unit_price": "13.00"},
            ],
        }
    ],
    "usage": [
        {
            "meter": "m1",
            "date": "2026-03-04",
            "quantity": "24.0",
            "unit_price": "0.192",
            "cost": "4.61",
        }
    ],
    "markup_rules": [{"match": {"kind": "usage"}, "percent": "15"}],
    "tax": None,
    "bill": {"from": "2026-02-01", "to": "2026-04-01"},
}


@pytest.fixture
def ask(tmp_path):
    """Answer a scenario, or any text, as a program would ask."""

    def answer(content, *, as_json=True):
        path = tmp_path / "scenario.json"
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text, encoding="utf-8")
        return command("whatif", str(path), *(["--json"] if as_json else []))

    return answer


def changed(**fields):
    return {**copy.deepcopy(SCENARIO), **fields}


def seats(**fields):
    made = changed()
    made["subscriptions"][0].update(fields)
    return made


def lines(answer):
    return [
        (line["charge_type"], line["service_start"], line["service_end"], line["amount"])
        for line in answer["lines"]
    ]


def test_the_example_of_the_format(ask):
    answer = ask(SCENARIO)
    assert (answer.code, answer.err) == (0, "")
    assert lines(answer.data) == [
        ("new", "2026-02-15", "2026-03-15", "120.00"),
        ("add_quantity", "2026-03-01", "2026-03-15", "30.00"),
        ("cycle_charge", "2026-03-15", "2026-04-15", "180.00"),
        ("usage", "2026-03-04", "2026-03-05", "5.30"),
    ]
    assert (answer.data["subtotal"], answer.data["tax"], answer.data["total"]) == (
        "335.30",
        "0.00",
        "335.30",
    )
    assert answer.data["findings"] == []
    added = answer.data["lines"][1]
    assert {name: added[name] for name in added if name not in {"why", "reasons"}} == {
        "subscription": "s1",
        "charge_type": "add_quantity",
        "name": "CFQ7TTC0LH18:0001",
        "service_start": "2026-03-01",
        "service_end": "2026-03-15",
        "days": 14,
        "cycle_days": 28,
        "quantity": "5",
        "unit_price": "12.00",
        "amount": "30.00",
        "tax": "0.00",
        "due": "2026-03-01",
    }
    assert "5 added × 12.00 USD a month × 14/28 days" in added["why"]
    assert [reason["rule"] for reason in added["reasons"]] == [
        "term",
        "price.unit",
        "proration.days",
        "rounding.half_up",
    ]


def test_for_people_the_same(ask):
    answer = ask(SCENARIO, as_json=False)
    assert answer.code == 0
    assert "Subtotal 335.30, tax 0.00, total 335.30" in answer.out
    assert "m1: 24 × 0.220896 = 5.30 USD" in answer.out


def test_a_list_is_answered_by_a_list(ask):
    answer = ask([SCENARIO, seats(quantity=20)])
    assert [one["lines"][0]["amount"] for one in answer.data] == ["120.00", "240.00"]
    assert ask([]).data == []


def test_what_is_left_out_or_null_is_empty(ask):
    bare = {name: SCENARIO[name] for name in ("currency", "bill")}
    for scenario in (bare, {**bare, "subscriptions": None, "usage": None, "markup_rules": None}):
        answer = ask(scenario)
        assert (answer.code, answer.data["lines"], answer.data["total"]) == (0, [], "0.00")


def test_exact_numbers_are_never_floats(ask):
    """2.675 x 1 rounds half up to 2.68; the float nearest to it would give 2.67."""
    for price in ('"2.675"', "2.675"):
        text = json.dumps(seats(quantity=1, events=None)).replace('"12.00"', price)
        assert ask(text).data["lines"][0]["amount"] == "2.68"
    text = json.dumps(changed()).replace('"4.61"', "0.1").replace('"15"', '"5"')
    assert ask(text).data["lines"][-1]["amount"] == "0.11"  # 0.105


def test_a_later_event_is_not_known_yet(ask):
    answer = ask(changed(as_of="2026-02-20"))
    assert lines(answer.data) == [
        ("new", "2026-02-15", "2026-03-15", "120.00"),
        ("cycle_charge", "2026-03-15", "2026-04-15", "120.00"),
    ]


def test_a_renewal_at_another_price(ask):
    answer = ask(
        changed(as_of="2027-03-01", usage=None, bill={"from": "2027-02-15", "to": "2027-03-01"})
    )
    assert lines(answer.data) == [("renew", "2027-02-15", "2027-03-15", "195.00")]


def test_a_year_in_twelve_instalments_sums_exactly(ask):
    answer = ask(
        {
            **seats(unit_price=None, annual_price="100.00", quantity=1, events=None),
            "usage": None,
            "as_of": None,
            "bill": {"from": "2026-02-15", "to": "2027-02-15"},
        }
    )
    assert len(answer.data["lines"]) == 12
    assert answer.data["total"] == "100.00"


def test_a_year_at_a_discount_sums_exactly_too(ask):
    discounted = seats(unit_price=None, annual_price="100.00", promotion={"percent": "15"})
    discounted["subscriptions"][0]["events"] = []
    answer = ask({**discounted, "usage": None, "bill": {"from": "2026-02-15", "to": "2027-02-15"}})
    assert (len(answer.data["lines"]), answer.data["subtotal"]) == (12, "850.00")
    # A twelfth of 850.00 is 70.8333..: four instalments are a cent more.
    assert [line["amount"] for line in answer.data["lines"]] == ["70.84"] * 4 + ["70.83"] * 8
    assert "10 bought × 85.00 USD a year ÷ 12, instalment 1 of 12" in answer.data["lines"][0]["why"]


def test_a_unit_price_is_written_as_it_was_asked(ask):
    free = seats(promotion={"percent": "100"}, events=[])
    free["subscriptions"].append(
        {
            "id": "o1",
            "sku": "X",
            "term": None,
            "billing_cycle": "one_time",
            "start": "2026-02-20",
            "quantity": 5,
            "unit_price": "33.333",
        }
    )
    answer = ask({**free, "usage": None})
    assert [line["unit_price"] for line in answer.data["lines"]] == ["0.00", "0.00", "33.333"]


def test_a_file_may_begin_with_a_byte_order_mark(ask):
    assert ask("\ufeff" + json.dumps(SCENARIO)).code == 0


def test_a_reduction_by_more_than_the_open_lot_says_how_many_may_go(ask):
    events = [
        {"date": "2026-02-24", "type": "set_quantity", "quantity": 15},
        {"date": "2026-02-28", "type": "set_quantity", "quantity": 9},
    ]
    answer = ask({**seats(events=events), "usage": None})
    assert answer.code == 3
    (finding,) = answer.data["findings"]
    assert finding["sentence"].endswith("was refused: only 5 seats can still be given back.")


def test_a_promotion_ends_before_its_day(ask):
    answer = ask(
        {**seats(promotion={"percent": "10", "until": "2026-03-15"}, events=None), "usage": None}
    )
    assert [line["amount"] for line in answer.data["lines"]] == ["108.00", "120.00"]


def test_a_purchase_that_is_made_once(ask):
    once = {"term": None, "billing_cycle": "one_time", "events": None, "start": "2026-03-10"}
    answer = ask({**seats(**once), "usage": None})
    assert lines(answer.data) == [("one_time", "2026-03-10", "2026-03-10", "120.00")]
    outside = ask({**seats(**{**once, "start": "2026-04-01"}), "usage": None})
    assert outside.data["lines"] == []


def test_markups_are_for_seats_too(ask):
    rules = [{"match": {"kind": "subscription"}, "percent": "5"}]
    answer = ask({**seats(events=None), "usage": None, "markup_rules": rules})
    assert answer.data["lines"][0]["amount"] == "126.00"


# --- rated with findings ---------------------------------------------------------------------------


def test_a_refused_reduction_is_a_finding_and_the_rest_is_rated(ask):
    late = [{"date": "2026-02-22", "type": "set_quantity", "quantity": 5}]  # day 8
    answer = ask({**seats(events=late), "usage": None})
    assert answer.code == 3
    assert [line["amount"] for line in answer.data["lines"]] == ["120.00", "120.00"]
    (finding,) = answer.data["findings"]
    assert finding["check"] == "window.closed"
    allowed = {**seats(events=late), "usage": None, "contract": {"reductions": "any"}}
    assert ask(allowed).code == 0


def test_usage_without_a_rule_is_a_finding(ask):
    answer = ask(changed(markup_rules=[]))
    assert (answer.code, len(answer.data["lines"])) == (3, 3)
    finding = answer.data["findings"][0]
    assert (finding["check"], finding["record"]) == ("price.missing", "meter m1")
    plain = ask(changed(markup_rules=[]), as_json=False)
    assert (plain.code, "no markup rule covers usage m1" in plain.out) == (3, True)


def test_a_subscription_without_a_price_is_a_finding(ask):
    answer = ask(seats(unit_price=None))
    assert (answer.code, answer.data["subtotal"]) == (3, "5.30")
    assert answer.data["findings"][0]["sentence"] == (
        "Subscription s1 has no price for CFQ7TTC0LH18:0001 on 2026-02-15."
    )


def test_two_rules_for_one_thing_are_a_finding(ask):
    answer = ask(changed(markup_rules=[{"percent": "5"}, {"percent": "6"}]))
    assert answer.code == 3
    assert {finding["check"] for finding in answer.data["findings"]} == {"price.tie"}
    assert answer.data["lines"] == []


# --- faults ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scenario", "fault"),
    [
        (changed(colour="red"), "colour: is not a field of this format"),
        (seats(seats=3), "subscriptions.0.seats: is not a field of this format"),
        (changed(contract={"align": "sideways"}), "contract.align: Input should be 'charge_cycle'"),
        (changed(side="both"), "side: Input should be 'sell'"),
        (
            changed(contract={"frequency": "P1W", "anchor_day": 8}),
            "contract: anchor_day is an ISO weekday",
        ),
        (changed(currency="dollars"), "currency: must be three capital letters"),
        (
            changed(bill={"from": "2026-04-01", "to": "2026-04-01"}),
            "bill: from must come before to",
        ),
        (changed(bill={"from": "2026-04-01"}), "bill.to: is missing"),
        (seats(annual_price="144"), "subscriptions.0: needs one of unit_price and annual_price"),
        (
            seats(quantity=-1),
            "subscriptions.0.quantity: Input should be greater than or equal to 0",
        ),
        (seats(quantity=2.5), "subscriptions.0.quantity: must be a whole number"),
        (seats(quantity="ten"), "subscriptions.0.quantity: must be a whole number"),
        (seats(unit_price="-1"), "subscriptions.0.unit_price: Input should be greater than"),
        (seats(unit_price="twelve"), "subscriptions.0.unit_price: 'twelve' is not a number"),
        (seats(unit_price="1_000"), "subscriptions.0.unit_price: '1_000' is not a number"),
        (seats(unit_price="١٢"), "is not a number"),
        (seats(unit_price=" 12"), "' 12' is not a number"),
        (seats(unit_price="1e3"), "'1e3' is not a number"),
        (seats(unit_price=True), "subscriptions.0.unit_price: must be a number or the text of one"),
        (seats(unit_price="1e999999999"), "is not a number"),
        (seats(start="2026-02-30"), "subscriptions.0.start: must be a date written as 2026-02-15"),
        (seats(start=1771113600), "subscriptions.0.start: must be a date written as 2026-02-15"),
        (seats(start="2026-02-15T00:00:00"), "subscriptions.0.start: must be a date"),
        (seats(auto_renew="no"), "subscriptions.0.auto_renew: must be true or false"),
        (seats(billing_cycle="annual", term="P1M"), "a term of P1M cannot be billed annual"),
        (seats(billing_cycle="fortnightly"), "subscriptions.0.billing_cycle: Input should be"),
        (seats(custom_term_end="2026-02-01"), "custom_term_end must lie inside the first term"),
        (seats(custom_term_end="2027-02-16"), "custom_term_end must lie inside the first term"),
        (seats(promotion={"percent": "101"}), "promotion.percent: Input should be less than"),
        (
            seats(events=[{"date": "2026-02-01", "type": "cancel"}]),
            "the cancel on 2026-02-01 comes before the start 2026-02-15",
        ),
        (
            seats(events=[{"date": "2026-03-01", "type": "cancel", "quantity": 3}]),
            "subscriptions.0.events.0: a cancel has no quantity",
        ),
        (
            seats(events=[{"date": "2026-03-01", "type": "set_quantity"}]),
            "subscriptions.0.events.0: a set_quantity needs a quantity",
        ),
        (
            seats(events=[{"date": "2026-03-01", "type": "convert", "sku": "A:1"}]),
            "a convert needs a sku and one of unit_price and annual_price",
        ),
        (
            seats(
                events=[{"date": "2026-03-01", "type": "convert", "sku": "B", "unit_price": "-5"}]
            ),
            "subscriptions.0.events.0.unit_price: Input should be greater than or equal to 0",
        ),
        (
            seats(
                events=[
                    {"date": "2027-02-15", "type": "renew", "unit_price": "5", "annual_price": "6"}
                ]
            ),
            "subscriptions.0.events.0: a renew has one of unit_price and annual_price",
        ),
        (
            seats(
                term="P3Y",
                billing_cycle="triennial",
                events=[{"date": "2027-02-15", "type": "renew", "annual_price": "6"}],
            ),
            "annual_price cannot be billed triennial",
        ),
        (
            seats(events=[{"date": "2026-02-15", "type": "renew", "unit_price": "9"}]),
            "subscriptions.0: two terms start on 2026-02-15: the renew is one too many",
        ),
        (
            seats(events=[{"date": "2027-02-15", "type": "renew"}] * 2),
            "subscriptions.0: two terms start on 2027-02-15",
        ),
        (
            seats(promotion={"percent": "10", "until": "2026-02-15"}),
            "the promotion ends on 2026-02-15, before the start 2026-02-15",
        ),
        (seats(start="2026-W07-1"), "subscriptions.0.start: must be a date written as 2026-02-15"),
        (seats(start="9999-12-31"), "subscriptions.0.start: must be a date between 1900 and 2200"),
        (
            changed(bill={"from": "9990-01-01", "to": "9999-12-31"}),
            "bill.from: must be a date between 1900 and 2200",
        ),
        (seats(id="a\nb\x1b[31m"), "subscriptions.0.id: must be 1 to 100 characters"),
        (changed(subscriptions={}), "subscriptions: must be a list"),
        (changed(tax={"seller_country": "DE"}), "tax.buyer_country: is missing"),
        (changed(markup_rules=[{"percent": "-150"}]), "markup_rules.0.percent: Input should be"),
        (
            changed(subscriptions=[*SCENARIO["subscriptions"], *SCENARIO["subscriptions"]]),
            "two subscriptions have one id",
        ),
        ([SCENARIO, changed(colour="red")], "[1].colour: is not a field of this format"),
        ([SCENARIO, 5], "[1]: must be an object with fields"),
    ],
)
def test_a_scenario_that_does_not_fit_is_refused_by_field(ask, scenario, fault):
    answer = ask(scenario)
    assert (answer.code, answer.out) == (2, "")
    assert "scenario.json: " in answer.complaint
    assert fault in answer.complaint
    assert answer.complaint.endswith("(the format is described in docs/whatif.md)")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "not readable as JSON: Expecting value: line 1 column 1 (char 0)"),
        ('{"currency": "USD"', "not readable as JSON: Expecting ',' delimiter"),
        ("5", "the scenario: must be an object with fields"),
        ("[" * 100_000, "not readable as JSON: nested too deeply"),
        ('{"currency": 1e99999999999999999999999}', "is out of range for a number"),
        ('{"currency": ' + "9" * 5000 + "}", "has 5000 digits, more than a number here may have"),
        ('{"currency": "USD", "currency": "EUR"}', "the field currency stands twice in one object"),
    ],
)
def test_a_file_that_is_no_scenario(ask, text, fault):
    answer = ask(text)
    assert (answer.code, answer.out) == (2, "")
    assert fault in answer.complaint


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e-99999999", "1e99999999", "1e-19"])
def test_numbers_that_are_none_or_absurd_are_refused_at_once(ask, number):
    answer = ask(json.dumps(SCENARIO).replace('"12.00"', number))
    assert answer.code == 2
    assert "subscriptions.0.unit_price: " in answer.complaint


def test_files_that_cannot_be_read(tmp_path):
    missing = command("whatif", str(tmp_path / "none.json"))
    assert (missing.code, "No such file" in missing.complaint) == (2, True)
    folder = command("whatif", str(tmp_path))
    assert (folder.code, "Is a directory" in folder.complaint) == (2, True)
    (tmp_path / "latin.json").write_bytes(b'{"currency": "\xe9"}')
    latin = command("whatif", str(tmp_path / "latin.json"))
    assert (latin.code, "not readable as JSON" in latin.complaint) == (2, True)
    (tmp_path / "long.json").write_bytes(b" " * (16 * 1024 * 1024 + 1))
    long = command("whatif", str(tmp_path / "long.json"))
    assert (long.code, "larger than" in long.complaint) == (2, True)


# --- what the format says in one sentence ---------------------------------------------------------


def alone(ask, contract=None, bill=("2026-02-01", "2026-04-01"), **fields):
    made = seats(promotion=None, events=[], **fields)
    made.update(contract=contract or {}, usage=None, bill={"from": bill[0], "to": bill[1]})
    return lines(ask(made).data)


def test_weekly_billing_follows_the_contracts_weeks(ask):
    """4 February 2026 is a Wednesday: five days to the Sunday."""
    weeks = {"align": "contract", "frequency": "P1W", "anchor_day": 1}
    weekly = {"term": None, "billing_cycle": "weekly", "start": "2026-02-04", "quantity": 1}
    assert alone(ask, weeks, ("2026-02-01", "2026-02-10"), unit_price="70", **weekly) == [
        ("new", "2026-02-04", "2026-02-09", "50.00"),
        ("cycle_charge", "2026-02-09", "2026-02-16", "70.00"),
    ]


def test_what_was_taken_over_from_another_partner_begins_within_its_cycle(ask):
    assert alone(ask, billed_from="2026-03-01") == [
        ("new", "2026-03-01", "2026-03-15", "60.00"),
        ("cycle_charge", "2026-03-15", "2026-04-15", "120.00"),
    ]


def test_the_rest_of_a_cycle_that_began_before_the_window_is_charged(ask):
    assert alone(ask, bill=("2026-03-01", "2026-03-15"), billed_from="2026-03-01") == [
        ("new", "2026-03-01", "2026-03-15", "60.00"),
    ]


def test_a_part_that_is_converted_leaves_the_rest_as_it_is(ask):
    event = {
        "date": "2026-03-01",
        "type": "convert",
        "sku": "E5",
        "unit_price": "20",
        "quantity": 4,
    }
    answer = ask({**seats(events=[event]), "usage": None})
    assert [
        (line["name"][:2], *line_of)
        for line, line_of in zip(answer.data["lines"], lines(answer.data), strict=True)
    ] == [
        ("CF", "new", "2026-02-15", "2026-03-15", "120.00"),
        ("CF", "convert", "2026-03-01", "2026-03-15", "-24.00"),
        ("E5", "convert", "2026-03-01", "2026-03-15", "40.00"),
        ("CF", "cycle_charge", "2026-03-15", "2026-04-15", "72.00"),
        ("E5", "cycle_charge", "2026-03-15", "2026-04-15", "80.00"),
    ]


def test_nobody_asks_the_price_of_what_lies_before_the_window(ask):
    """Between the purchase and its first renewal no price is known; from then on it is."""
    renewed = {"date": "2027-02-15", "type": "renew", "unit_price": "13"}
    later = {"from": "2027-02-15", "to": "2027-03-15"}
    answer = ask(
        {**seats(unit_price=None, events=[renewed]), "usage": None, "as_of": None, "bill": later}
    )
    assert (answer.code, lines(answer.data)) == (
        0,
        [("renew", "2027-02-15", "2027-03-15", "130.00")],
    )


def test_seats_that_were_bought_in_a_promotion_are_credited_at_its_price(ask):
    """Half price until 1 March; all twelve seats are given back for 9 of 28 days at 6.00."""
    events = [
        {"date": "2026-03-05", "type": "set_quantity", "quantity": 12},
        {"date": "2026-03-06", "type": "cancel"},
    ]
    made = seats(promotion={"percent": "50", "until": "2026-03-01"}, events=events)
    answer = ask({**made, "contract": {"reductions": "any"}, "usage": None})
    assert [(line["quantity"], line["amount"]) for line in answer.data["lines"]] == [
        ("10", "60.00"),
        ("2", "4.29"),
        ("-12", "-23.14"),
    ]


def test_a_minimum_is_about_usage_and_a_percentage_about_both(ask):
    answer = ask(changed(markup_rules=[{"percent": "15", "minimum": "10"}]))
    assert answer.code == 0
    assert [line["amount"] for line in answer.data["lines"]] == [
        *("138.00", "34.50", "207.00"),
        *("5.30", "4.70"),
    ]


def test_tiers_are_about_usage_also_where_a_rule_does_not_say_so(ask):
    tiers = {"mode": "volume", "steps": [{"up_to": None, "unit_price": "0.25"}]}
    answer = ask(changed(markup_rules=[{"tiers": tiers}]))
    assert [line["amount"] for line in answer.data["lines"]] == [
        *("120.00", "30.00", "180.00"),
        "6.00",
    ]


def test_after_a_shortened_term_cycles_stay_on_the_purchase_day(ask):
    """Cut off on 1 May: 16 days of the cycle to 15 May before it, 14 days after it."""
    end = {"custom_term_end": "2026-05-01", "unit_price": "30", "quantity": 1}
    assert alone(ask, bill=("2026-04-01", "2026-06-01"), **end) == [
        ("cycle_charge", "2026-04-15", "2026-05-01", "16.00"),
        ("renew", "2026-05-01", "2026-05-15", "14.00"),
        ("cycle_charge", "2026-05-15", "2026-06-15", "30.00"),
    ]


def test_weeks_go_on_through_a_renewal(ask):
    weekly = {"billing_cycle": "weekly", "start": "2026-01-31", "quantity": 1, "unit_price": "70"}
    assert alone(ask, bill=("2027-01-23", "2027-02-07"), **weekly) == [
        ("cycle_charge", "2027-01-23", "2027-01-30", "70.00"),
        ("cycle_charge", "2027-01-30", "2027-02-06", "70.00"),
        ("cycle_charge", "2027-02-06", "2027-02-13", "70.00"),
    ]


def test_a_cycle_that_began_in_a_promotion_has_its_price_to_the_end(ask):
    """The two seats of 5 March come after its last day, and 10 of 28 days at 6.00 are left."""
    events = [{"date": "2026-03-05", "type": "set_quantity", "quantity": 12}]
    made = seats(promotion={"percent": "50", "until": "2026-03-01"}, events=events)
    answer = ask({**made, "usage": None})
    assert [(line["unit_price"], line["amount"]) for line in answer.data["lines"]] == [
        ("6.00", "60.00"),
        ("6.00", "4.29"),
        ("12.00", "144.00"),
    ]


def test_a_partner_may_pass_on_lines_as_microsoft_rounds_them(ask):
    """10.085 is cut to 10.08 a unit, and 14 of 28 days of it, 5.0425, to 5.04."""
    added = [{"date": "2026-03-01", "type": "set_quantity", "quantity": 11}]
    made = seats(unit_price="10.085", events=added)
    answer = ask({**made, "contract": {"rounding": "ms_down"}, "usage": None})
    assert [line["amount"] for line in answer.data["lines"]] == ["100.80", "5.04", "110.88"]


def test_an_answer_carries_the_name_of_its_scenario_and_seats_may_be_text(ask):
    answer = ask({**seats(quantity="10"), "name": "ten seats", "usage": None})
    assert (answer.data["name"], answer.data["lines"][0]["amount"]) == ("ten seats", "120.00")


def test_a_lapsed_exemption_is_held_and_shows_what_is_due_without_a_new_one(ask):
    exempt = {"seller_country": "DE", "buyer_country": "DE", "exempt_until": "2026-03-01"}
    answer = ask({**seats(events=[]), "usage": None, "tax": exempt})
    assert answer.code == 3
    assert [line["tax"] for line in answer.data["lines"]] == ["0.00", "22.80"]
    assert [finding["check"] for finding in answer.data["findings"]] == ["tax.lapsed"]


def of_march(ask, *events, until="2026-04-01", **fields):
    made = seats(start="2026-01-01", unit_price="12", events=list(events), **fields)
    return [
        (line["charge_type"], line["quantity"], line["amount"])
        for line in ask(
            {**made, "usage": None, "bill": {"from": "2026-03-02", "to": until}, "as_of": None}
        ).data["lines"]
    ]


def a_part(day, quantity, price):
    return {"date": day, "type": "convert", "sku": "B", "unit_price": price, "quantity": quantity}


def test_two_parts_that_are_converted_keep_the_price_of_their_conversion(ask):
    """22 and 12 of 31 days; from April five seats at 12.00, two at 20.00 and three at 25.00."""
    parts = a_part("2026-03-10", 2, "20"), a_part("2026-03-20", 3, "25")
    assert of_march(ask, *parts, until="2026-04-02") == [
        ("convert", "-2", "-17.03"),
        ("convert", "2", "28.39"),
        ("convert", "-3", "-13.94"),
        ("convert", "3", "29.03"),
        ("cycle_charge", "5", "60.00"),
        ("cycle_charge", "2", "40.00"),
        ("cycle_charge", "3", "75.00"),
    ]


def test_a_part_that_was_converted_ends_with_its_subscription(ask):
    transfer = {"date": "2026-03-20", "type": "transfer"}
    assert of_march(ask, a_part("2026-03-10", 4, "20"), transfer, until="2026-05-01") == [
        ("convert", "-4", "-34.06"),
        ("convert", "4", "56.77"),
        ("transfer", "-6", "-27.87"),
        ("transfer", "-4", "-30.97"),
    ]


def test_seats_that_came_before_a_conversion_may_leave_after_it_within_their_window(ask):
    """Five seats of the 10th leave on the 13th: 19 of 31 days at the new product's 20.00."""
    assert of_march(
        ask,
        {"date": "2026-03-10", "type": "set_quantity", "quantity": 15},
        {"date": "2026-03-12", "type": "convert", "sku": "B", "unit_price": "20"},
        {"date": "2026-03-13", "type": "set_quantity", "quantity": 10},
    )[-1] == ("remove_quantity", "-5", "-61.29")


def test_a_promotion_of_a_yearly_cycle_is_the_same_in_the_contracts_months(ask):
    half = {"percent": "50", "until": "2026-03-01"}
    year = {"billing_cycle": "annual", "promotion": half, "unit_price": "120", "events": []}
    made = {**seats(start="2026-01-01", **year), "usage": None}
    made["bill"] = {"from": "2026-01-01", "to": "2027-01-01"}
    for contract in ({}, {"align": "contract"}):
        assert ask({**made, "contract": contract}).data["subtotal"] == "600.00"


def test_a_renewals_price_is_not_one_of_a_part_that_was_converted(ask):
    renewed = {"date": "2027-01-01", "type": "renew", "unit_price": "13"}
    made = seats(start="2026-01-01", events=[a_part("2026-03-10", 2, "20"), renewed])
    january = {"from": "2027-01-01", "to": "2027-02-01"}
    answer = ask({**made, "usage": None, "as_of": None, "bill": january})
    assert [(line["name"], line["amount"]) for line in answer.data["lines"]] == [
        ("CFQ7TTC0LH18:0001", "104.00"),
        ("B", "40.00"),
    ]


def test_a_part_that_another_partner_converted_is_billed_from_the_day_of_the_transfer(ask):
    """Three seats at 20.00 for the 12 days from 20 March, not from the 10th."""
    lines_of_march = of_march(ask, a_part("2026-03-10", 3, "20"), billed_from="2026-03-20")
    assert ("convert", "3", "23.23") in lines_of_march


def test_a_part_keeps_the_cycle_of_its_subscription_after_a_shortened_term(ask):
    """4 seats leave on 15 April for the 25 days to 9 May, and arrive for the same ones."""
    shortened = {"start": "2026-01-10", "custom_term_end": "2026-03-20", "unit_price": "12"}
    made = seats(events=[a_part("2026-04-15", 4, "20")], **shortened)
    april = {"from": "2026-04-11", "to": "2026-05-11"}
    assert lines(ask({**made, "usage": None, "as_of": None, "bill": april}).data) == [
        ("convert", "2026-04-15", "2026-05-10", "-40.00"),
        ("convert", "2026-04-15", "2026-05-10", "66.67"),
        ("cycle_charge", "2026-05-10", "2026-06-10", "72.00"),
        ("cycle_charge", "2026-05-10", "2026-06-10", "80.00"),
    ]


def test_a_part_of_a_trial_is_free_until_the_trial_ends(ask):
    trial = {"start": "2026-01-01", "trial_end": "2026-02-01", "unit_price": "12"}
    made = seats(events=[a_part("2026-01-10", 4, "20")], **trial)
    window = {"from": "2026-01-01", "to": "2026-03-01"}
    answer = ask({**made, "usage": None, "as_of": None, "bill": window})
    assert [line["amount"] for line in answer.data["lines"]] == ["0.00", "0.00", "72.00", "80.00"]


def test_a_renewal_within_a_trial_begins_the_paid_term(ask):
    """From 15 January 14.00 is paid; the day on which the trial would have ended begins nothing."""
    renewed = {"date": "2026-01-15", "type": "renew", "unit_price": "14"}
    trial = {"start": "2026-01-01", "trial_end": "2026-02-01", "unit_price": "12"}
    window = {"from": "2026-01-01", "to": "2026-03-01"}
    made = {**seats(events=[renewed], **trial), "usage": None, "as_of": None, "bill": window}
    kinds = [line["charge_type"] for line in ask(made).data["lines"]]
    assert kinds == ["new", "renew", "cycle_charge"]
