"""The day whose tax counts for a charge, however late it is billed or corrected."""

from __future__ import annotations

from datetime import date

from domain.charge import Charge, ChargeType
from domain.contract import BillingContract, Timing
from domain.period import Period

_METERED = frozenset({ChargeType.USAGE, ChargeType.MARKETPLACE})
"""Known only when its service is over."""


def tax_point(charge: Charge, contract: BillingContract, latest: date) -> date:
    """Return the last day of the month in whose bill a charge belongs, and never one after `latest`.

    What begins within a period that was billed ahead belongs to the month in which it begins. A
    credit belongs where it was granted, whatever it is for: that is `latest`.
    """
    if charge.type is ChargeType.CREDIT:
        return latest
    service = charge.service
    day = service.start
    if contract.timing is Timing.ARREARS:
        day = contract.grid.around(day).last_day
    if charge.type in _METERED:
        day = max(day, service.last_day)
    return min(Period.month(f"{day:%Y-%m}").last_day, latest)
