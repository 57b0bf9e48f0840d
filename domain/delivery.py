"""What Microsoft delivered: one export in one version, part by part, as the archive keeps it.

A delivery is its own journal: written with every part that arrives, read again after a crash, and
kept for as long as the parts, so that any past month can be read as it was then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

JOURNAL = "journal.json"
"""Name of the journal beside its parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSum:
    """Exact control sums of the lines of one part in one currency; units are mixed in `quantity`."""

    quantity: Decimal
    amount: Decimal
    """Before tax: rated cost of usage, subtotal of invoice lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One compressed file of a delivery, as it was counted while it came in."""

    name: str
    size: int
    """Bytes as stored (compressed)."""
    sha256: str
    lines: int
    unread: int = 0
    """Lines that could not be summed; what is wrong with them is told where they are read."""
    sums: Mapping[str, PartSum] = field(default_factory=dict)
    """By currency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One export of Graph billing in one version. Without parts: Microsoft has no such data."""

    report: str
    """`usage/billed`, `reconciliation/billed`, and the same unbilled."""
    asked: Mapping[str, str]
    """What it was asked for: `invoiceId` or `currencyCode` and `billingPeriod`, `attributeSet`."""
    begun: datetime
    folder: str = ""
    """Where its journal and parts lie in the archive; a folder of their own for each version."""
    version: str = ""
    """Microsoft's InvoiceVersion; empty where it names none."""
    etag: str = ""
    announced: int = 0
    """Parts that the manifest names."""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    """As it came, without its signature."""
    parts: tuple[Part, ...] = ()
    """Those that have arrived, by name."""
    finished: datetime | None = None
    """When the last part had arrived."""

    @property
    def invoice_id(self) -> str:
        """The invoice that was asked for; empty for what is not billed yet."""
        return self.asked.get("invoiceId", "")

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all parts in the archive."""
        return tuple(f"{self.folder}/{part.name}" for part in self.parts)

    @property
    def distinct(self) -> tuple[str, ...]:
        """Names of the parts without repeats: the same bytes under two names are one part.

        Microsoft's parts are disjoint pieces of one set. Two that are equal to the last byte are one
        piece that was written twice, which a retry of its writer does. Equal lines inside a part are
        lines: a feed may well hold two charges that look alike.
        """
        first = {part.sha256: part.name for part in reversed(self.parts)}
        kept = set(first.values())
        return tuple(f"{self.folder}/{part.name}" for part in self.parts if part.name in kept)

    @property
    def repeated_lines(self) -> int:
        """Lines of the parts that `distinct` leaves out."""
        kept = {name.rpartition("/")[2] for name in self.distinct}
        return sum(part.lines for part in self.parts if part.name not in kept)

    def journal(self) -> bytes:
        """Write the delivery as JSON, numbers as exact text."""
        told = {
            "report": self.report,
            "asked": dict(self.asked),
            "begun": self.begun.isoformat(),
            "finished": self.finished.isoformat() if self.finished else None,
            "folder": self.folder,
            "version": self.version,
            "etag": self.etag,
            "announced": self.announced,
            "parts": [
                {
                    "name": part.name,
                    "size": part.size,
                    "sha256": part.sha256,
                    "lines": part.lines,
                    "unread": part.unread,
                    "sums": {
                        currency: {"quantity": f"{one.quantity:f}", "amount": f"{one.amount:f}"}
                        for currency, one in sorted(part.sums.items())
                    },
                }
                for part in self.parts
            ],
            "manifest": self.manifest,
        }
        return json.dumps(told, indent=1, default=str).encode()


def delivery_of(journal: bytes) -> Delivery:
    """Read a journal; ValueError, KeyError or TypeError when it is none."""
    told = json.loads(journal)
    return Delivery(
        report=told["report"],
        asked=told["asked"],
        begun=datetime.fromisoformat(told["begun"]),
        finished=datetime.fromisoformat(told["finished"]) if told["finished"] else None,
        folder=told["folder"],
        version=told["version"],
        etag=told["etag"],
        announced=told["announced"],
        manifest=told["manifest"],
        parts=tuple(
            Part(
                name=part["name"],
                size=part["size"],
                sha256=part["sha256"],
                lines=part["lines"],
                unread=part["unread"],
                sums={
                    currency: PartSum(
                        quantity=Decimal(one["quantity"]), amount=Decimal(one["amount"])
                    )
                    for currency, one in part["sums"].items()
                },
            )
            for part in told["parts"]
        ),
    )
