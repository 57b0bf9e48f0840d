"""What the files of an audit hold, and the point that they are not whole."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from domain.audit import BilledLine, Point, Weight
from domain.subscription import CostInvoice, CostKind
from usage.download import DownloadedUsage

UNBILLED = "unbilled"


@dataclass(slots=True)
class FileRead:
    """What became of one file."""

    name: str
    kind: str
    rows: int = 0
    taken: int = 0
    note: str = ""


@dataclass(slots=True)
class Material:
    """All that the files hold."""

    billed: list[BilledLine] = field(default_factory=list)
    unbilled: list[BilledLine] = field(default_factory=list)
    repeated: list[BilledLine] = field(default_factory=list)
    """Of `billed`: lines that are there once more, alike in every field."""
    usage: DownloadedUsage = field(default_factory=DownloadedUsage)
    heads: list[CostInvoice] = field(default_factory=list)
    files: list[FileRead] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)

    @property
    def months(self) -> dict[str, set[date]]:
        """Months of which there is an invoice, by currency."""
        found: dict[str, set[date]] = defaultdict(set)
        for (_, currency), month in self.invoice_months.items():
            found[currency].add(month)
        return found

    @property
    def invoice_months(self) -> dict[tuple[str, str], date]:
        """The month of each invoice and currency: its head's, else that of most of its lines."""
        told = {head.id: head.billed.start for head in self.heads}
        days: dict[tuple[str, str], Counter[date]] = defaultdict(Counter)
        for one in self.billed:
            line = one.line
            usage = line.kind is CostKind.USAGE and line.charged
            day = line.charged.start if usage and line.charged else line.ordered_on or line.falls_on
            if day:
                days[line.invoice_id, line.currency][day.replace(day=1)] += 1
        return {
            key: told.get(key[0]) or min(found, key=lambda day: (-found[day], day))
            for key, found in days.items()
        }


def incomplete(
    sentence: str,
    check: str,
    *,
    hint: str = "download the file again: what is missing cannot be reconciled",
    **fields: Any,
) -> Point:
    """Make the point that something is missing, so that nothing is proven."""
    return Point(
        check=check,
        cause="missing_rows",
        remedy="download_again",
        weight=Weight.INCOMPLETE,
        sentence=sentence,
        hint=hint,
        **fields,
    )


def number_of(value: Any) -> Decimal | None:
    """Read a number of JSON; None where there is none."""
    if value in (None, "") or isinstance(value, bool):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
