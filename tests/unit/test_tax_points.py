"""The day whose tax counts for a charge is of the month in whose bill it belongs."""

import pytest

from domain.charge import ChargeType
from domain.contract import Timing
from domain.period import Frequency, Period
from invoice.tax_points import tax_point
from tests.builders import a_charge, a_contract, day

ADVANCE, ARREARS = Timing.ADVANCE, Timing.ARREARS
MONTH, QUARTER = Frequency.MONTH, Frequency.QUARTER


def point(kind, service, timing, frequency, latest="2027-06-30"):
    first, last = service.split("..")
    charge = a_charge("10.00", type=ChargeType(kind), service=Period(day(first), day(last)))
    contract = a_contract(timing=timing, frequency=frequency, anchor_day=1)
    return str(tax_point(charge, contract, day(latest)))


@pytest.mark.parametrize(
    ("kind", "service", "timing", "frequency", "expected"),
    [
        ("cycle_charge", "2026-10-14..2026-11-14", ADVANCE, MONTH, "2026-10-31"),
        ("cycle_charge", "2026-10-14..2027-10-14", ADVANCE, MONTH, "2026-10-31"),
        ("cycle_charge", "2026-10-14..2026-11-14", ARREARS, MONTH, "2026-10-31"),
        # Added within a quarter that was billed ahead: not before it began.
        ("add_quantity", "2026-11-03..2027-01-01", ADVANCE, QUARTER, "2026-11-30"),
        ("cycle_charge", "2026-10-14..2026-11-14", ARREARS, QUARTER, "2026-12-31"),
        # Usage is known when it is over; what is paid ahead for years is not.
        ("usage", "2026-10-20..2026-11-20", ADVANCE, MONTH, "2026-11-30"),
        ("reservation", "2026-10-20..2029-10-20", ADVANCE, MONTH, "2026-10-31"),
        # A credit belongs where it was granted.
        ("customer_credit", "2026-10-01..2026-11-01", ADVANCE, MONTH, "2027-06-30"),
    ],
)
def test_a_charge_belongs_to_a_month(kind, service, timing, frequency, expected):
    assert point(kind, service, timing, frequency) == expected


def test_what_is_billed_ahead_is_taxed_as_of_the_bill():
    ahead = point("cycle_charge", "2026-11-01..2026-12-01", ADVANCE, QUARTER, latest="2026-10-31")
    assert ahead == "2026-10-31"
