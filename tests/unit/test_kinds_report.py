"""What documents ask for, by kind: every line is of one kind, and the kinds sum to the documents."""

from decimal import Decimal

import pytest

from domain.charge import ChargeType
from reports.kinds import sold_by_kind
from tests.builders import a_charge, drafted


def documents(*kinds, **fields):
    charges = [a_charge("10.00", type=kind, key=f"c/{n}", **fields) for n, kind in enumerate(kinds)]
    return [drafted(charges, currency=fields.get("currency", "USD"))]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ChargeType.NEW, "Seats"),
        (ChargeType.CANCEL, "Seats"),
        (ChargeType.USAGE, "Usage"),
        (ChargeType.MARKETPLACE, "Marketplace"),
        (ChargeType.RESERVATION, "Reservations"),
        (ChargeType.SAVINGS_PLAN, "Savings plans"),
        (ChargeType.ONE_TIME, "One-time purchases"),
        (ChargeType.CREDIT, "Credits"),
        (ChargeType.ADJUSTMENT, "Corrections"),
    ],
)
def test_every_type_of_charge_is_of_one_kind(kind, name):
    (sold,) = sold_by_kind(documents(kind))
    assert (sold.kind, sold.currency, sold.lines, str(sold.amount)) == (name, "USD", 1, "10.00")


def test_the_kinds_of_each_currency_sum_to_its_documents():
    found = [*documents(*ChargeType), *documents(*ChargeType, currency="EUR")]
    sold = sold_by_kind(found)
    assert [one.kind for one in sold if one.currency == "EUR"] == [
        "Seats",
        "Usage",
        "Marketplace",
        "Reservations",
        "Savings plans",
        "One-time purchases",
        "Credits",
        "Corrections",
    ]
    for document in found:
        own = [one for one in sold if one.currency == document.currency]
        assert sum(one.lines for one in own) == len(document.lines)
        assert sum((one.amount for one in own), Decimal(0)) == document.subtotal.amount


def test_no_documents_are_of_no_kind():
    assert sold_by_kind([]) == []
