"""Microsoft's lines behind a charge, folded into what a person can read; the raw ones beneath."""

import itertools
import json
from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from domain.subscription import CostKind
from invoice.explain import fingerprint
from invoice.sources import fold, source_as_data
from tests.builders import a_change, a_charge, a_line, a_pass_on, drafted, of_before, period

CYCLE = period("2026-02-15", "2026-03-15")


def sentences(lines, full=CYCLE):
    return [source.sentence for source in fold(lines, full)]


def change(kind, old, new, **fields):
    """10.00 × 14/28 days = 5.00 a seat."""
    return a_change(kind, "2026-03-01", "2026-03-15", old, new, effective="5.00", **fields)


def test_the_pair_of_a_change_is_one_sentence():
    lines = change("addQuantity", 10, 15)
    (source,) = fold(reversed(lines), CYCLE)
    assert source.sentence == (
        "10 -> 15 seats, 14 of 28 days (2026-03-01 to 2026-03-14): 25.00 USD"
    )
    assert source.lines == tuple(lines)
    assert source.subtotal == Decimal("25.00")


def test_several_pairs_of_a_day_are_one_step_and_stand_in_their_order():
    """10, 12, 15 up and down to 11: the totals between are reached and left again."""
    lines = [
        *change("addQuantity", 10, 12),
        *change("addQuantity", 12, 15),
        *change("removeQuantity", 15, 11),
    ]
    (source,) = fold(lines, CYCLE)
    assert source.sentence.startswith("10 -> 11 seats, 14 of 28 days")
    assert source.subtotal == Decimal("5.00")
    (up,) = fold(lines[:4], CYCLE)
    assert [int(line.seats) for line in up.lines] == [-10, 12, -12, 15]
    (down,) = fold(change("removeQuantity", 15, 12) + change("removeQuantity", 12, 9), CYCLE)
    assert [int(line.seats) for line in down.lines] == [-15, 12, -12, 9]


def test_a_step_from_no_seats_or_to_none():
    (first,) = change("addQuantity", 0, 5)[1:]
    (last,) = change("removeQuantity", 5, 0)[:1]
    assert sentences([first])[0].startswith("0 -> 5 seats")
    assert sentences([last])[0].startswith("5 -> 0 seats")
    there_and_back = [*change("addQuantity", 10, 15), *change("removeQuantity", 15, 10)]
    assert sentences(there_and_back)[0].startswith("0 more or fewer seats")


def test_a_whole_cycle_and_a_cancellation():
    assert sentences([a_line()], period("2026-10-14", "2026-11-14")) == [
        "10 seats, 2026-10-14 to 2026-11-13: 100.00 USD"
    ]
    back = a_line("cancelImmediate", "2026-03-01", "2026-03-15", -1, "5.00")
    assert sentences([back]) == ["-1 seat, 14 of 28 days (2026-03-01 to 2026-03-14): -5.00 USD"]


def test_the_legs_of_a_conversion_are_one_sentence():
    legs = [
        a_line("convert", "2026-03-01", "2026-03-15", -5, "5.00", name="E3", reference_id="r"),
        a_line("convert", "2026-03-01", "2026-03-15", 5, "8.00", name="E5", reference_id="r"),
    ]
    assert sentences(legs) == [
        "-5 seats from E3, 5 seats to E5, 14 of 28 days (2026-03-01 to 2026-03-14): 15.00 USD"
    ]
    assert sentences(legs[:1]) == [
        "-5 seats from E3, 14 of 28 days (2026-03-01 to 2026-03-14): -25.00 USD"
    ]


def test_what_is_not_of_seats_stands_by_its_name():
    lines = [
        a_pass_on(CostKind.USAGE, "7.50", meter="D4s v5 - US East"),
        a_pass_on(CostKind.CREDIT, "-2.00", credit_reason="SLA credit", key="2"),
        a_pass_on(CostKind.ONE_TIME, "9.00", charged=None, name="Windows Server", key="3"),
    ]
    assert sorted(sentences(lines)) == [
        "D4s v5 - US East, 2026-10-01 to 2026-10-31: 7.50 USD",
        "SLA credit, 2026-10-01 to 2026-10-31: -2.00 USD",
        "Windows Server, no dates: 9.00 USD",
    ]


def test_a_cycle_that_is_not_a_part_of_our_period_shows_its_own_days():
    assert sentences([a_line()], period("2026-10-01", "2026-11-01")) == [
        "10 seats, 2026-10-14 to 2026-11-13: 100.00 USD"
    ]


def test_a_source_is_plain_data():
    (source,) = fold([a_line(promotion_id="P", exchange_rate=Decimal("0.9"))])
    told = source_as_data(source)
    assert json.loads(json.dumps(told)) == told
    assert told["subtotal"] == "100.00"
    assert told["lines"] == [
        {
            "key": "cost/I1/cycleCharge/2026-10-14/10",
            "invoice": "I1",
            "charge_type": "cycleCharge",
            "product": "Business Premium",
            "start": "2026-10-14",
            "end": "2026-11-14",
            "ordered_on": "2026-10-14",
            "quantity": "10",
            "unit_price": "10",
            "effective_unit_price": "10",
            "exchange_rate": "0.9",
            "subtotal": "100.00",
            "currency": "USD",
            "reference": None,
            "promotion": "P",
        }
    ]


@given(st.lists(st.integers(0, 40), min_size=2, max_size=7), st.randoms(use_true_random=False))
def test_no_line_is_lost_and_the_step_is_from_the_first_to_the_last(totals, random):
    lines = []
    for n, (old, new) in enumerate(itertools.pairwise(totals)):
        if old != new:
            kind = "addQuantity" if new > old else "removeQuantity"
            pair = change(kind, old, new)
            lines += [
                replace(line, key=f"{n}/{side}") for side, line in enumerate(pair) if line.seats
            ]
    random.shuffle(lines)
    folded = fold(lines, CYCLE)
    assert sorted(x.key for source in folded for x in source.lines) == sorted(x.key for x in lines)
    if lines and totals[0] != totals[-1]:
        (source,) = folded
        assert source.sentence.startswith(f"{totals[0]} -> {totals[-1]} seats")


def test_the_hash_of_a_document_of_before_is_what_it_was():
    """Documents are stored with this hash: what is told of a line must not change in silence."""
    assert fingerprint(of_before(drafted([a_charge()], percent="19"))) == (
        "b8556f26ab2c38ea061cf2047b15ed5c6612e7fdba81062feae10a021bb2fe71"
    )
