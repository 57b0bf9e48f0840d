"""The whole of an adjustment, of a late charge, of a document's head, and of a safety bound."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest

from domain.charge import Charge, ChargeType, Reason
from domain.money import Money
from domain.period import Period
from domain.problems import Finding, Severity
from invoice.assemble import MAX_LINES_A_DAY, assemble, check_bounds
from invoice.document import DocumentKind, DocumentStatus
from invoice.explain import fingerprint
from invoice.file import Saved
from invoice.render import to_text
from invoice.sources import fold, source_as_data
from tests.builders import (
    OFFER,
    a_change,
    a_charge,
    a_contract,
    a_customer,
    a_line,
    a_tax,
    day,
    drafted,
    issued,
    of_before,
    period,
)

OCTOBER = period("2026-10-14", "2026-11-14")
KEY = "charge/s1/cycle/2026-10-14/0"
BILLED = "120.00 USD was billed for 2026-10-14 to 2026-11-13 (INV-202610-0001)"


def answered(right, *documents, month="2026-11", **fields):
    """The charges of the document that answers 120.00 which was issued."""
    first = issued(drafted([a_charge("120.00", **fields)]))
    found = drafted(right, [first, *documents], month=month)
    return [] if found is None else [line.charge for line in found.lines]


def usd(text):
    return Money(Decimal(text), "USD")


# --- adjustments ---------------------------------------------------------------------------------------


def test_a_changed_price_in_full():
    right = a_charge("130.00", unit_price=Decimal(13), cost_lines=("cost/late",))
    (charge,) = answered([right])
    assert charge == Charge(
        key=f"{KEY}/adjustment/1",
        customer_id="c1",
        subscription_id="s1",
        type=ChargeType.ADJUSTMENT,
        name="Business Premium",
        sku=OFFER,
        service=OCTOBER,
        full=OCTOBER,
        quantity=Decimal(1),
        unit_price=Decimal("10.00"),
        exact=Fraction(10),
        amount=usd("10.00"),
        why=f"Price changed from 12.00 USD to 13.00 USD: {BILLED}, 130.00 USD is right: "
        "10 running = 130.00 USD; the difference is 10.00 USD",
        reasons=(
            Reason(
                rule="adjustment",
                inputs={
                    "answers": KEY,
                    "document": "invoice/c1/2026-10/USD/1",
                    "cause": "price",
                    "billed": "120.00",
                    "difference": "10.00",
                    "quantity": "10",
                    "unit_price": "13",
                },
            ),
        ),
        answers=KEY,
        cost_lines=("cost/late",),
    )


def test_what_is_withdrawn_in_full_and_what_is_due_again():
    (charge,) = answered([])
    assert charge.amount == usd("-120.00")
    assert charge.why == (
        f"Charge withdrawn: {BILLED}, nothing is due; the difference is -120.00 USD"
    )
    assert dict(charge.reasons[0].inputs) == {
        "answers": KEY,
        "document": "invoice/c1/2026-10/USD/1",
        "cause": "withdrawn",
        "billed": "120.00",
        "difference": "-120.00",
    }
    first = issued(drafted([a_charge("120.00")]))
    back = issued(drafted([], [first]), "CRN-1")
    (again,) = drafted([a_charge("120.00")], [first, back]).lines
    assert again.key == f"{KEY}/adjustment/2"
    assert again.charge.reasons[0].inputs["cause"] == "restored"
    assert again.charge.why == (
        "Charge due again: 0.00 USD was billed for 2026-10-14 to 2026-11-13 (INV-202610-0001, "
        "CRN-1), 120.00 USD is right: 10 running = 120.00 USD; the difference is 120.00 USD"
    )


def test_another_product_in_full():
    right = a_charge("200.00", sku="other:1", name="E5")
    back, anew = answered([right])
    said = "Product changed from Business Premium to E5"
    assert (back.name, back.sku, back.amount) == ("Business Premium", OFFER, usd("-120.00"))
    assert back.why == (
        f"{said}: {BILLED}, nothing is due for Business Premium; the difference is -120.00 USD"
    )
    assert (anew.name, anew.sku, anew.amount) == ("E5", "other:1", usd("200.00"))
    assert anew.why == f"{said}: 10 running = 200.00 USD; the difference is 200.00 USD"
    assert [c.reasons[0].inputs["cause"] for c in (back, anew)] == ["product", "product"]


def test_seats_and_price_in_full():
    """12 at the old 12.00 are 144.00; at 13.00 they are 156.00."""
    right = a_charge("156.00", quantity=Decimal(12), unit_price=Decimal(13), cost_lines=("late",))
    more, dearer = answered([right])
    assert more.why == (
        f"Quantity changed from 10 to 12: {BILLED}, 144.00 USD at the price of then: "
        "12 × 12.00 USD = 144.00 USD; the difference is 24.00 USD"
    )
    assert dearer.why == (
        "Price changed from 12.00 USD to 13.00 USD: of 144.00 USD so far 156.00 USD is right: "
        "10 running = 156.00 USD; the difference is 12.00 USD"
    )
    assert (more.cost_lines, dearer.cost_lines) == ((), ("late",))
    assert (more.key, dearer.key) == (f"{KEY}/adjustment/1", f"{KEY}/adjustment/2")


def test_of_what_was_not_numbered_no_number_is_said():
    first = replace(issued(drafted([a_charge("120.00")])), number="")
    (line,) = drafted([], [first]).lines
    assert line.charge.why.startswith(
        "Charge withdrawn: 120.00 USD was billed for 2026-10-14 to 2026-11-13, nothing is due"
    )


@pytest.mark.parametrize(
    ("kind", "was", "now", "said"),
    [
        (ChargeType.USAGE, "10", "11", "Usage changed"),
        (ChargeType.ONE_TIME, "10", "11", "Microsoft's line changed"),
        (ChargeType.ONE_TIME, "10", "10", "Price changed"),
    ],
)
def test_what_was_passed_on_says_whose_change_it_was(kind, was, now, said):
    told = {cost: (Reason(rule="cost.line", inputs={"subtotal": cost}),) for cost in (was, now)}
    right = a_charge("130.00", type=kind, reasons=told[now])
    (charge,) = answered([right], type=kind, reasons=told[was])
    assert charge.why.startswith(f"{said}: {BILLED}")


def test_nine_adjustments_and_a_tenth_are_in_the_order_in_which_they_were_made():
    """What was last told is what the newest adjustment says, not the one with the largest text."""
    documents = [issued(drafted([a_charge("120.00")]))]
    for n in range(1, 12):
        right = a_charge(f"{120 + n}.00", unit_price=12 + Decimal(n) / 10)
        made = issued(drafted([right], documents), f"N{n}")
        assert made.lines[0].key == f"{KEY}/adjustment/{n}"
        before = f"{12 + Decimal(n - 1) / 10:.2f}"
        assert f"Price changed from {before} USD to " in made.lines[0].charge.why
        documents.append(made)


def test_what_begins_on_the_day_until_which_a_bill_looks_is_left_alone():
    ahead = a_charge("120.00", service=period("2026-11-01", "2026-12-01"))
    first = issued(drafted([ahead]))
    assert drafted([], [first]) is None
    eve = a_charge("120.00", service=period("2026-10-31", "2026-11-30"))
    assert drafted([], [issued(drafted([eve]))]) is not None


def test_an_adjustment_counts_what_void_documents_hold_as_well():
    charges = [a_charge("120.00", key="a"), a_charge("120.00", key="b")]
    void = replace(issued(drafted(charges)), status=DocumentStatus.VOID)
    again = issued(drafted(charges, [void]), "INV-2")
    assert [line.key for line in again.lines] == ["a", "b"]
    assert [line.key for line in drafted([], [void, again]).lines] == [
        "a/adjustment/2",
        "b/adjustment/2",
    ]


def test_what_was_taxed_at_two_wrong_rates_is_asked_for_at_the_right_one():
    """100.00 at 7 % and 20.00 at 16 %: 120.00 belong at 19 %."""
    first = issued(drafted([a_charge("100.00", unit_price=Decimal(10))], percent="7"))
    more = assembled([a_charge("120.00")], [first], "16", right_from=None)
    assert [str(line.tax_percent) for line in more.lines] == ["7"]  # as it was taxed
    second = issued(assembled([a_charge("120.00")], [first], "16", right_from=day("2027-01-01")))
    lines = [replace(line, tax_percent=Decimal(16)) for line in second.lines]
    second = replace(second, lines=tuple(lines))
    right = assembled([a_charge("120.00")], [first, second], "19", right_from=day("2026-01-01"))
    assert [(str(line.tax_percent), str(line.amount)) for line in right.lines] == [
        ("7", "-100.00 USD"),
        ("16", "-20.00 USD"),
        ("19", "120.00 USD"),
    ]
    assert right.lines[-1].charge.why == (
        "Tax rate corrected: 120.00 USD for 2026-10-14 to 2026-11-13 asked for at 19 %"
    )


def assembled(charges, documents, percent, until=None, **tax):
    return assemble(
        customer=a_customer(),
        contract=a_contract(),
        period=Period.month("2026-10"),
        proposed=charges,
        documents=documents,
        tax=a_tax(percent, **tax),
        until=until,
    )


def test_a_bill_that_looks_ahead_compares_what_it_looks_at():
    ahead = a_charge("120.00", service=period("2026-11-14", "2026-12-14"))
    first = issued(drafted([ahead]))
    assert assembled([], [first], "0") is None
    assert assembled([], [first], "0", until=day("2026-11-14")) is None
    assert assembled([], [first], "0", until=day("2026-11-15")) is not None


# --- late charges ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "said"), [("INV-1", " (INV-1)"), ("", "")])
def test_a_late_charge_in_full(number, said):
    first = issued(drafted([a_charge("120.00")]), number)
    late = a_charge("12.00", key="late", service=period("2026-10-20", "2026-11-14"))
    (line,) = drafted([late, a_charge("120.00")], [first], month="2026-11").lines
    assert line.charge == replace(
        late,
        why=f"Known only after 2026-10-01 to 2026-10-31 was invoiced{said}: {late.why}",
        reasons=(
            *late.reasons,
            Reason(rule="late", inputs={"cause": "late", "document": "invoice/c1/2026-10/USD/1"}),
        ),
    )


# --- the head of a document --------------------------------------------------------------------------------


def test_a_draft_has_no_number_and_names_its_account():
    document = drafted([a_charge("1.00")])
    assert (document.number, document.account_id) == ("", "account-1")
    assert (document.status, document.contract_key) == (DocumentStatus.DRAFT, "contract/c1")


@pytest.mark.parametrize(("amount", "kind"), [("0.00", "invoice"), ("0.50", "invoice")])
def test_what_asks_for_nothing_or_little_is_no_credit_note(amount, kind):
    assert drafted([a_charge(amount)]).kind is DocumentKind(kind)


def test_a_fingerprint_is_of_the_text_as_it_is():
    """It is stored with issued documents, so how it is made must never change."""
    named = of_before(drafted([a_charge("1.00", name="Büro")]))
    told = "291bbdc5ab4ed4cde04729729e7e9ea5b734e247e76e1c240e8d20f95b75b8d4"
    assert fingerprint(named) == told


def test_a_long_note_is_wrapped_at_the_width_of_the_document():
    document = replace(drafted([a_charge("1.00")]), tax_note="word " * 30)
    lines = to_text(document).splitlines()
    assert max(len(line) for line in lines[-2:]) == 94  # 19 words and their spaces


def test_what_was_saved_adds_up():
    one = Saved(created=1, updated=2, unchanged=3)
    assert one + one == Saved(created=2, updated=4, unchanged=6)


# --- safety bounds -------------------------------------------------------------------------------------------


def bound(check, fault, day="2026-10-14"):
    return Finding(
        check=check,
        severity=Severity.HOLD,
        customer_id="c1",
        record=f"subscription s1 from {day}",
        sentence=f"Safety bound on Business Premium: {fault}.",
        hint="compare the subscription's changes with Partner Center, as they contradict each other; then run sync",
    )


def test_the_bounds_in_full():
    twice = [a_charge(key="k", type=ChargeType.ADD_QUANTITY)] * 2
    assert check_bounds(twice) == [bound("bounds.same_key", "the charge k is proposed twice")]
    later = a_charge(key="b", service=period("2026-10-20", "2026-11-20"))
    assert check_bounds([a_charge(key="a"), later]) == [
        bound(
            "bounds.overlap",
            "2026-10-20 to 2026-11-19 is billed although 2026-10-14 to 2026-11-13 covers part "
            "of it",
            "2026-10-20",
        )
    ]
    many = [a_charge(key=str(n), type=ChargeType.ADD_QUANTITY) for n in range(MAX_LINES_A_DAY + 1)]
    assert check_bounds(many) == [bound("bounds.too_many", "41 charges start on 2026-10-14")]
    assert check_bounds(many[1:]) == []


def test_each_overlap_is_a_finding_of_its_own():
    """Of one that was released a further one is not let through."""
    first = a_charge(key="a", service=period("2026-10-14", "2026-11-14"))
    second = a_charge(key="b", service=period("2026-10-20", "2026-11-14"))
    third = a_charge(key="c", service=period("2026-11-01", "2026-12-01"))
    seen = check_bounds([first, second])
    both = check_bounds([first, second, third])
    assert both[:1] == seen
    assert len({one.key for one in both}) == 2


@pytest.mark.parametrize(
    ("kind", "quantity", "refused"),
    [
        (ChargeType.CANCEL, -10, False),
        (ChargeType.CONVERT, -10, False),
        (ChargeType.CONVERT, 10, True),  # arrives; nothing was given back
        (ChargeType.CONVERT, 0, True),
        (ChargeType.REMOVE_QUANTITY, -4, True),  # the others go on
    ],
)
def test_only_what_ends_a_cycle_makes_room_for_another(kind, quantity, refused):
    rest = period("2026-10-14", "2026-11-14")
    cut = a_charge("-1.00", key="cut", type=kind, quantity=Decimal(quantity), service=rest)
    again = a_charge(key="again", type=ChargeType.NEW)
    assert bool(check_bounds([a_charge(key="first"), cut, again])) is refused


# --- Microsoft's lines, folded ---------------------------------------------------------------------------------


def conversion(quantity, sku, name, reference="up-1", on="s1"):
    return a_line(
        "convert",
        "2026-10-20",
        quantity=quantity,
        sku_id=sku,
        name=name,
        reference_id=reference,
        subscription_id=on,
        key=f"{sku}/{quantity}/{reference}",
    )


def test_conversions_are_folded_by_their_reference():
    legs = [
        conversion(-10, "0001", "E3"),
        conversion(10, "0002", "E5"),
        conversion(1, "0003", "F3", "up-2"),
    ]
    assert [source.sentence for source in fold(legs)] == [
        "-10 seats from E3, 10 seats to E5, 2026-10-20 to 2026-11-13: 0.00 USD",
        "1 seat to F3, 2026-10-20 to 2026-11-13: 10.00 USD",
    ]
    unnamed = [replace(leg, reference_id="") for leg in legs]
    assert len(fold(unnamed)) == 1


def test_changes_of_two_subscriptions_are_two_steps():
    lines = [
        *a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 15),
        *a_change("addQuantity", "2026-10-20", "2026-11-14", 1, 2, subscription_id="s2"),
    ]
    assert sorted(source.sentence.partition(",")[0] for source in fold(lines)) == [
        "1 -> 2 seats",
        "10 -> 15 seats",
    ]


def test_totals_that_do_not_meet_are_all_told():
    lines = [
        *a_change("addQuantity", "2026-10-20", "2026-11-14", 10, 15),
        *a_change("addQuantity", "2026-10-20", "2026-11-14", 20, 25),
    ]
    (source,) = fold(lines)
    assert source.sentence.startswith("10 and 20 -> 15 and 25 seats, ")


def test_a_source_without_dates_says_none():
    line = replace(a_line(), charged=None, ordered_on=None)
    (source,) = fold([line])
    data = source_as_data(source)
    assert data["sentence"] == "10 seats, no dates: 100.00 USD"
    assert [data["lines"][0][name] for name in ("start", "end", "ordered_on")] == [None] * 3
    (dated,) = source_as_data(fold([a_line()])[0])["lines"]
    assert (dated["start"], dated["end"], dated["ordered_on"]) == (
        "2026-10-14",
        "2026-11-14",
        "2026-10-14",
    )


def test_lines_stand_by_the_day_on_which_they_fall():
    later = a_line("new", "2026-10-20", key="a", ordered_on=day("2026-10-20"))
    sooner = a_line("new", "2026-10-14", key="b", ordered_on=day("2026-10-14"))
    assert [source.lines[0].key for source in fold([later, sooner])] == ["b", "a"]
