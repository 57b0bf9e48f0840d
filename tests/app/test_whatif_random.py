"""Scenarios that nobody thought of: what holds for every answer, whatever is asked.

The strongest of these is the sum by the day: what a term comes to is the sum over its days of
seats x price / days of the cycle, whichever changes made it, but for the rounding of each line.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.whatif import rate, rate_file
from app.whatif.scenario import Scenario
from tests import strategies  # noqa: F401 - the same examples everywhere
from tests.app.conftest import command

PLACES = {"USD": 2, "JPY": 0, "KWD": 3}
PRICES = st.sampled_from(["0", "0.01", "1.25", "10.08", "12.00", "33.333", "365", "4999.99"])
FEW = st.integers(0, 40)
DAYS = st.dates(date(2023, 10, 1), date(2026, 3, 31))
SKUS = st.sampled_from(["E1", "E3", "E5"])
TERMS = [
    ("P1M", "monthly"),
    ("P1Y", "monthly"),
    ("P1Y", "quarterly"),
    ("P1Y", "half_yearly"),
    ("P1Y", "annual"),
    ("P3Y", "monthly"),
    ("P3Y", "annual"),
    ("P3Y", "triennial"),
    (None, "monthly"),
    (None, "weekly"),
    (None, "annual"),
]
PROMOTIONS = st.none() | st.sampled_from([{"percent": "10"}, {"amount": "1.25"}])


@st.composite
def prices(draw, cycle):
    if cycle in {"weekly", "triennial"} or draw(st.integers(0, 3)):
        return {"unit_price": draw(PRICES)}
    return {"annual_price": draw(PRICES)}


@st.composite
def events(draw, start, cycle, *, wild=True):
    """What may happen to seats; `wild`: also what ends, renews or moves them."""
    kinds = ["set_quantity", "set_quantity", "set_quantity", "convert"]
    if wild:
        kinds += ["cancel", "renew", "suspend", "resume", "transfer", "convert in part"]
    made = []
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(kinds))
        on = start + timedelta(days=draw(st.integers(0, 60) | st.integers(0, 800)))
        event = {"date": str(on), "type": kind.removesuffix(" in part")}
        if kind == "set_quantity":
            event["quantity"] = draw(FEW)
        elif kind.startswith("convert"):
            event |= {"sku": draw(SKUS), **draw(prices(cycle))}
            if kind != "convert":
                event["quantity"] = draw(st.integers(1, 10))
        elif kind == "renew":
            event |= draw(st.just({}) | prices(cycle))
            if draw(st.booleans()):
                event["quantity"] = draw(FEW)
        made.append(event)
    return made


@st.composite
def subscriptions(draw, name):
    term, cycle = draw(st.sampled_from(TERMS))
    start = draw(DAYS)
    one = {
        "id": name,
        "sku": draw(SKUS),
        "term": term,
        "billing_cycle": cycle,
        "start": str(start),
        "quantity": draw(FEW),
        **draw(prices(cycle)),
        "events": draw(events(start, cycle)),
        "promotion": draw(PROMOTIONS),
        "auto_renew": draw(st.booleans()),
    }
    extra = draw(st.sampled_from(["", "", "trial_end", "billed_from", "custom_term_end"]))
    if extra:
        one[extra] = str(start + timedelta(days=draw(st.integers(1, 50))))
    return one


@st.composite
def contracts(draw, side="sell"):
    frequency = draw(st.sampled_from(["P1W", "P1M", "P2M", "P3M", "P6M", "P1Y", "P3Y"]))
    rounding = draw(st.sampled_from(["ms_down", "ms_half_up"])) if side == "cost" else "half_up"
    return {
        "frequency": frequency,
        "anchor_day": draw(st.integers(1, 7 if frequency == "P1W" else 31)),
        "anchor_month": draw(st.none() | st.integers(1, 12)),
        "timing": draw(st.sampled_from(["advance", "arrears"])),
        "align": draw(st.sampled_from(["charge_cycle", "contract"])),
        "proration": draw(st.sampled_from(["days", "fixed_30", "months"])),
        "reductions": draw(st.sampled_from(["window", "any"])),
        "rounding": rounding,
    }


RULES = st.lists(
    st.sampled_from(
        [
            {"match": {"kind": "subscription"}, "percent": "5"},
            {"match": {"sku": "E5"}, "margin": "20"},
            {"match": {"kind": "subscription", "sku": "E1"}, "fixed": "9.99"},
            {"match": {"kind": "usage"}, "percent": "15", "minimum": "20"},
            {
                "match": {"kind": "usage", "meter": "m1"},
                "package": {"size": "10", "price": "3", "free": "5"},
            },
            {
                "match": {"meter": "m2"},
                "tiers": {
                    "mode": "graduated",
                    "steps": [
                        {"up_to": "10", "unit_price": "2"},
                        {"up_to": None, "unit_price": "1.5", "per": "3"},
                    ],
                },
            },
        ]
    ),
    max_size=4,
)
USAGE = st.lists(
    st.fixed_dictionaries(
        {
            "meter": st.sampled_from(["m1", "m2", "m3"]),
            "date": st.dates(date(2025, 1, 1), date(2026, 12, 31)).map(str),
            "quantity": st.sampled_from(["0.5", "7", "24", "1000"]),
            "cost": st.sampled_from(["0", "0.005", "4.61", "99.999"]),
        }
    ),
    max_size=5,
)
TAXES = st.none() | st.sampled_from(
    [
        {"seller_country": "DE", "buyer_country": "DE"},
        {"seller_country": "CH", "buyer_country": "CH"},
        {"seller_country": "DE", "buyer_country": "FR"},
        {"seller_country": "DE", "buyer_country": "US", "exempt_until": "2026-01-01"},
    ]
)


@st.composite
def scenarios(draw, side=None):
    """Any scenario: some of it is refused, which `read` leaves out."""
    side = side or draw(st.sampled_from(["sell", "sell", "cost"]))
    first = draw(DAYS)
    return {
        "currency": draw(st.sampled_from(list(PLACES))),
        "side": side,
        "as_of": draw(st.none() | DAYS.map(str)),
        "exchange_rate": draw(st.none() | st.just("0.9215")),
        "contract": draw(contracts(side)),
        "subscriptions": [
            draw(subscriptions(f"s{n}")) for n in range(draw(st.sampled_from([1, 1, 2])))
        ],
        "usage": draw(USAGE),
        "markup_rules": draw(RULES),
        "tax": draw(TAXES),
        "bill": {
            "from": str(first),
            "to": str(first + timedelta(days=draw(st.integers(1, 900)))),
        },
    }


def read(content) -> Scenario:
    try:
        return Scenario.model_validate(content)
    except ValidationError:
        assume(False)
        raise


def half_up(value: Fraction, places: int) -> Decimal:
    units = int(abs(value) * 10**places + Fraction(1, 2))
    return Decimal(-units if value < 0 else units).scaleb(-places)


def without(content, **fields):
    return {**content, **fields}


def by_day(content, first: str, last: str):
    return without(content, bill={"from": first, "to": last})


def told(lines):
    """Lines as they are compared: in whatever order."""
    return sorted(json.dumps(line, sort_keys=True) for line in lines)


# --- every answer ----------------------------------------------------------------------------------


@given(scenarios())
@settings(max_examples=150)
def test_an_answer_adds_up_and_explains_itself(content):
    answer = rate(read(content))
    places = PLACES[content["currency"]]
    money = re.compile(r"-?\d+" + (rf"\.\d{{{places}}}" if places else ""))
    for field in ("subtotal", "tax", "total"):
        assert money.fullmatch(answer[field])
    amounts = [Decimal(line["amount"]) for line in answer["lines"]]
    taxes = [Decimal(line["tax"]) for line in answer["lines"]]
    assert Decimal(answer["subtotal"]) == sum(amounts)
    assert Decimal(answer["tax"]) == sum(taxes)
    assert Decimal(answer["total"]) == sum(amounts) + sum(taxes)
    for line in answer["lines"]:
        assert money.fullmatch(line["amount"])
        assert money.fullmatch(line["tax"])
        assert content["bill"]["from"] <= line["service_start"] < content["bill"]["to"]
        assert line["service_start"] <= line["service_end"]
        assert line["why"]
        assert line["reasons"]
        assert line["due"] in {line["service_start"], line["service_end"]}
        if content["side"] == "cost":
            assert line["charge_start"] == line["service_start"]
            assert line["charge_end"] >= line["charge_start"]
    for finding in answer["findings"]:
        assert finding["sentence"]
        assert finding["hint"]


@given(scenarios(side="sell"))
@settings(max_examples=60)
def test_a_whole_cycle_is_quantity_times_price(content):
    for line in rate(read(content))["lines"]:
        kinds = {reason["rule"]: reason["inputs"] for reason in line["reasons"]}
        whole = kinds.get("proration.none")
        decimals = len(line["unit_price"].partition(".")[2])
        if whole is None or "parts" in whole or "credit.cap" in kinds or decimals >= 10:
            continue
        exact = Fraction(line["quantity"]) * Fraction(line["unit_price"])
        assert Decimal(line["amount"]) == half_up(exact, PLACES[content["currency"]])


@given(scenarios(), st.integers(0, 900))
@settings(max_examples=150)
def test_two_bills_that_touch_are_one(content, days):
    """Seats; usage is one line for each meter and bill."""
    content = without(
        content, usage=[], markup_rules=[r for r in content["markup_rules"] if "minimum" not in r]
    )
    first, last = content["bill"]["from"], content["bill"]["to"]
    middle = str(date.fromisoformat(first) + timedelta(days=days))
    assume(first < middle < last)
    whole = rate(read(content))
    parts = [rate(read(by_day(content, *cut))) for cut in ((first, middle), (middle, last))]
    assert told(whole["lines"]) == told(parts[0]["lines"] + parts[1]["lines"])


@given(scenarios())
@settings(max_examples=60)
def test_what_is_known_later_changes_nothing(content):
    assume(content["as_of"])
    past = without(
        content,
        as_of=None,
        usage=[one for one in content["usage"] if one["date"] <= content["as_of"]],
        subscriptions=[
            {**one, "events": [e for e in one["events"] if e["date"] <= content["as_of"]]}
            for one in content["subscriptions"]
        ],
    )
    assert rate(read(content)) == rate(read(past))


@given(scenarios(), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_the_order_in_the_file_says_nothing_but_of_one_kind_on_one_day(content, random):
    mixed = []
    for one in content["subscriptions"]:
        groups = defaultdict(list)
        for event in one["events"]:
            groups[event["date"], event["type"]].append(event)
        places = [key for key, group in groups.items() for _ in group]
        random.shuffle(places)
        mixed.append({**one, "events": [groups[key].pop(0) for key in places]})
    assert rate(read(content)) == rate(read(without(content, subscriptions=mixed)))


@given(st.lists(scenarios(), min_size=1, max_size=3))
@settings(max_examples=20)
def test_a_list_and_its_parts_agree(tmp_path_factory, contents):
    path = tmp_path_factory.mktemp("quotes") / "scenario.json"
    alone = [rate(read(content)) for content in contents]
    path.write_text(json.dumps(contents), encoding="utf-8")
    assert rate_file(path) == alone
    printed = command("whatif", str(path), "--json")
    assert printed.data == alone
    assert printed.code == (3 if any(one["findings"] for one in alone) else 0)
    assert not re.search(r'"(amount|tax|total|subtotal|unit_price|quantity)": [^"]', printed.out)
    assert command("whatif", str(path)).code == printed.code


# --- the sum by the day ----------------------------------------------------------------------------


@st.composite
def terms(draw):
    """One term of one subscription, without an end to its window, from its first day to its last."""
    cycle, months = draw(st.sampled_from([("monthly", 1), ("quarterly", 3), ("annual", 12)]))
    start = draw(DAYS)
    quantity = draw(FEW)
    return months, {
        "currency": "USD",
        "contract": {
            "reductions": "any",
            "align": draw(st.sampled_from(["charge_cycle", "contract"])),
            "frequency": draw(st.sampled_from(["P1Y", "P3Y"])),
            "anchor_day": draw(st.integers(1, 31)),
            "anchor_month": draw(st.integers(1, 12)),
        },
        "subscriptions": [
            {
                "id": "s1",
                "sku": "E3",
                "term": "P1Y",
                "billing_cycle": cycle,
                "start": str(start),
                "quantity": quantity,
                "unit_price": draw(PRICES),
                "auto_renew": False,
                "events": [
                    event
                    for event in draw(events(start, cycle, wild=False))
                    if "annual_price" not in event
                    and event["date"] < str(start + timedelta(days=364))
                ],
            }
        ],
        "bill": {"from": str(start), "to": str(start + timedelta(days=800))},
    }


def _month(first: date, n: int, day: int) -> date:
    """The n-th month after a month, on a day or on its last one: by counting, not by our code."""
    year, month = divmod(first.year * 12 + first.month - 1 + n, 12)
    for last in range(day, 27, -1):
        try:
            return date(year, month + 1, last)
        except ValueError:
            continue
    return date(year, month + 1, day)


def _cycle_days(on: date, anchor: date, day: int, months: int) -> int:
    starts = [_month(anchor, n * months, day) for n in range(-60 // months, 60 // months)]
    start = max(one for one in starts if one <= on)
    return (min(one for one in starts if one > on) - start).days


@given(terms())
@settings(max_examples=150)
def test_a_term_is_the_sum_of_its_days(made):
    months, content = made
    answer = rate(read(content))
    assert not answer["findings"]
    (one,), terms_of = content["subscriptions"], content["contract"]
    start = date.fromisoformat(one["start"])
    anchor, day = start, start.day
    if terms_of["align"] == "contract":
        anchor = date(start.year, terms_of["anchor_month"], 1)
        day = terms_of["anchor_day"]
    order = {"convert": 0, "set_quantity": 1}
    changes = sorted(one["events"], key=lambda e: (e["date"], order[e["type"]]))
    total, on = Fraction(0), start
    seats, price = one["quantity"], Fraction(one["unit_price"])
    end = _month(start, 12, start.day)
    while on < end:
        for change in [e for e in changes if e["date"] == str(on)]:
            seats = change.get("quantity", seats)
            price = Fraction(change.get("unit_price", price))
        total += seats * price / _cycle_days(on, anchor, day, months)
        on += timedelta(days=1)
    off = abs(Fraction(answer["subtotal"]) - total)
    assert off <= Fraction(len(answer["lines"]), 200)


@given(
    contracts(),
    DAYS,
    FEW,
    PRICES,
    st.sampled_from(
        [
            ("P1Y", "annual", "unit_price"),
            ("P3Y", "annual", "unit_price"),
            ("P3Y", "triennial", "unit_price"),
            ("P1Y", "monthly", "annual_price"),
            ("P1Y", "quarterly", "annual_price"),
            ("P3Y", "monthly", "annual_price"),
        ]
    ),
    st.sampled_from(list(PLACES)),
)
@settings(max_examples=100)
def test_instalments_sum_to_their_price(contract, start, quantity, price, plan, currency):  # noqa: PLR0917
    """A price that pays for several lines is their sum to the minor unit, on any grid."""
    term, cycle, field = plan
    paid = 3 if cycle == "triennial" else 1
    assume(paid * 12 > {"P1Y": 12, "P3Y": 36}.get(contract["frequency"], 0))
    answer = rate(
        read(
            {
                "currency": currency,
                "contract": contract,
                "subscriptions": [
                    {
                        "id": "s1",
                        "sku": "E3",
                        "term": term,
                        "billing_cycle": cycle,
                        "start": str(start),
                        "quantity": quantity,
                        field: price,
                        "auto_renew": False,
                    }
                ],
                "bill": {"from": str(start), "to": str(start + timedelta(days=1200))},
            }
        )
    )
    whole = half_up(quantity * Fraction(price), PLACES[currency])
    assert Decimal(answer["subtotal"]) == whole * (int(term[1]) // paid)


@pytest.mark.parametrize("side", ["sell", "cost"])
@given(data=st.data())
@settings(max_examples=60)
def test_up_and_down_on_one_day_is_nothing(side, data):
    content = data.draw(scenarios(side=side))
    one = content["subscriptions"][0]
    quiet = {**one, "events": []}
    day = str(date.fromisoformat(one["start"]) + timedelta(days=data.draw(st.integers(1, 300))))
    both = [
        {"date": day, "type": "set_quantity", "quantity": one["quantity"] + 5},
        {"date": day, "type": "set_quantity", "quantity": one["quantity"]},
    ]
    answers = [
        rate(read(without(content, subscriptions=[{**quiet, "events": changes}], as_of=None)))
        for changes in ([], both)
    ]
    assert answers[0]["total"] == answers[1]["total"]
