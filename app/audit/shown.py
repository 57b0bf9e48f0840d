"""An audit on the terminal: the verdict, where the money is, and what to do first."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from app.screen import table
from domain.audit import Weight
from reports import audit as report
from reports.audit import AuditReport

_FIRST = 12
_SENTENCE = 600
"""A name may be of any length; the page has it whole."""


def tables(found: AuditReport, page: Path) -> None:
    """Print the audit for people."""
    print(report.verdict(found))
    if found.invoices:
        if found.invoices[24:]:
            print(f"({len(found.invoices) - 24} earlier invoices are on the page)")
        print()
        table(
            "Microsoft's invoices",
            ("invoice", "month", ">lines", ">billed", "", ">explained", ">daily usage", ">drift"),
            [
                (
                    _short(one.invoice_id),
                    one.month,
                    f"{one.lines:,}",
                    report.figure(one.subtotal, one.currency),
                    one.currency,
                    report.figure(one.exact + one.rounded, one.currency),
                    "-" if one.daily is None else report.figure(one.daily, one.currency),
                    "-" if one.daily is None else report.figure(one.daily_drift, one.currency),
                )
                for one in found.invoices[-24:]
            ],
        )
    todo = [p for p in report.by_worth(found.points) if p.weight is not Weight.NOTE]
    if todo:
        print()
        table(
            "What to do, by worth",
            (">worth", "", "what", "who"),
            [
                (
                    ""
                    if p.amount is None
                    else report.figure(abs(p.amount or Decimal(0)), p.currency),
                    p.currency if p.amount is not None else "",
                    report.remedy(p),
                    _short(p.customer or p.invoice_id),
                )
                for p in todo[:_FIRST]
            ],
        )
        for p in todo[:3]:
            print(f"- {_cut(p.sentence)}\n  To do: {p.hint}.")
        if todo[3:]:
            print(f"  and {len(todo) - 3} more, each with its reason, on the page")
    print(f"\nPage: {page}")


def _short(text: str) -> str:
    """Cut a foreign text to its place; what it holds is shown, never obeyed."""
    plain = _plain(text)
    return plain if len(plain) <= 40 else f"{plain[:37]}..."


def _cut(text: str) -> str:
    plain = _plain(text)
    return plain if len(plain) <= _SENTENCE else f"{plain[:_SENTENCE]}..."


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
