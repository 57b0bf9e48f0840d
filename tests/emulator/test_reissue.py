"""An invoice that is issued anew with other usage: head, lines and daily usage say the same."""

from __future__ import annotations

from contextlib import closing
from decimal import Decimal

import pytest

from emulator import Emulator

INVOICE, INVOICE_EUR = "G000912345", "G000912346"


@pytest.fixture
def emulator():
    with closing(Emulator()) as one:
        yield one


def metered(emulator, invoice=INVOICE):
    """Total of the head and of the lines; units by plan and SKU on the lines and in daily usage."""
    (head,) = [one for one in emulator.world.invoices() if one["id"] == invoice]
    lines = emulator.world.reconciliation_lines(invoice)
    billed: dict[tuple[str, str], Decimal] = {}
    for line in lines:
        if line["TermAndBillingCycle"] == "Azure plan":
            place = line["SubscriptionId"], line["ProductId"] + line["SkuId"]
            billed[place] = billed.get(place, Decimal(0)) + Decimal(line["BillableQuantity"])
    used: dict[tuple[str, str], Decimal] = {}
    for line in emulator.world.usage_lines(invoice):
        place = line["SubscriptionId"], line["ProductId"] + line["SkuId"]
        used[place] = used.get(place, Decimal(0)) + Decimal(line["Quantity"])
    return head["totalCharges"], sum(Decimal(line["Total"]) for line in lines), billed, used


@pytest.mark.parametrize("change", ["more", "less", "gone"])
def test_it_says_something_else_and_says_it_everywhere(emulator, change):
    head, total, billed, used = metered(emulator)
    assert (head, used) == (total, billed)

    assert emulator.reissue(INVOICE, change=change) == 2
    new_head, new_total, new_billed, new_used = metered(emulator)
    assert (new_head, new_used) == (new_total, new_billed)
    (place,) = [place for place in billed if billed[place] != new_billed.get(place)]
    if change == "gone":
        assert place not in new_billed
    else:
        # A day's consumption is whole millionths of a unit, cut off below.
        share = new_billed[place] / billed[place]
        assert share == pytest.approx(Decimal("1.5" if change == "more" else "0.5"))
    assert (new_head > head) == (change == "more")

    assert emulator.reissue(INVOICE) == 3
    assert metered(emulator)[0] == new_head


def test_it_changes_neither_other_invoices_nor_what_is_not_billed(emulator):
    def others():
        rest = [one for one in emulator.world.invoices() if one["id"] != INVOICE]
        return (
            rest,
            emulator.world.usage_lines(INVOICE_EUR),
            emulator.world.unbilled_usage_lines("USD", "current"),
            emulator.world.unbilled_reconciliation_lines("USD", "current"),
        )

    before = others()
    emulator.reissue(INVOICE, change="more")
    assert others() == before


def test_it_is_of_the_customer_that_is_named(emulator):
    customer = max(line["CustomerId"] for line in emulator.world.usage_lines(INVOICE))
    before = metered(emulator)[2]
    assert emulator.world.correct(INVOICE, "less", customer)["customerId"] == customer
    plans = {place[0] for place, units in metered(emulator)[2].items() if units != before[place]}
    assert {
        line["CustomerId"]
        for line in emulator.world.usage_lines(INVOICE)
        if line["SubscriptionId"] in plans
    } == {customer}


@pytest.mark.parametrize(
    ("details", "sentence"),
    [
        ({"change": "less", "customer_id": "nobody"}, "has no metered line"),
        ({"change": "other"}, "one of more, less, gone"),
        ({"invoice_id": "G1", "change": "more"}, "there is no invoice G1"),
    ],
)
def test_what_cannot_be_changed_leaves_the_version_as_it_was(emulator, details, sentence):
    with pytest.raises(ValueError, match=sentence):
        emulator.reissue(**({"invoice_id": INVOICE} | details))
    assert emulator.reissue(INVOICE) == 2


def test_a_reset_forgets_it(emulator):
    before = metered(emulator)
    emulator.reissue(INVOICE, change="gone")
    emulator.control.reset()
    assert metered(emulator) == before
