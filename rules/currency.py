"""The currency of a contract: whether it is one, and that of Microsoft's lines and of the account.

What cannot be priced for want of an exchange rate holds where it is rated (`price.no_basis`); here
it is told once, before a bill is due.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from domain.contract import BillingContract, ExchangeRate
from domain.customer import Account
from domain.problems import Finding, Severity
from domain.subscription import CostLine
from rules.places import Atlas


def check(
    *,
    contract: BillingContract | None,
    account: Account | None,
    cost_lines: Iterable[CostLine],
    rates: Sequence[ExchangeRate],
    atlas: Atlas,
    today: date,
) -> list[Finding]:
    """Return what is missing or differs about the currency of a contract; none without one."""
    if contract is None:
        return []

    def _find(severity: Severity, check: str, record: str, sentence: str, hint: str) -> Finding:
        return Finding(
            check=check,
            severity=severity,
            customer_id=contract.customer_id,
            record=record,
            sentence=sentence,
            hint=hint,
            seen=today,
        )

    currency, record = contract.currency, f"billing contract {contract.key}"
    if not atlas.is_currency(currency):
        code = currency.strip().upper()
        return [
            _find(
                Severity.HOLD,
                "currency.incomplete",
                record,
                f"The billing contract says currency “{currency}”, which is no code of ISO 4217."
                if code
                else "The billing contract has no currency.",
                f"write {code} on the billing contract"
                if atlas.is_currency(code)
                else "choose the currency of the invoices on the billing contract, by its code (EUR)",
            )
        ]
    convertible = {rate.base for rate in rates if rate.quote == currency} | {currency, ""}
    findings = [
        _find(
            Severity.WARN,
            "currency.differs",
            f"{record}, {other}",
            f"Microsoft bills in {other}, the billing contract sells in {currency}, "
            "and no exchange rate between them is known.",
            f"enter a rate from {other} to {currency}, or agree prices in {currency} for what "
            f"Microsoft bills in {other}",
        )
        for other in sorted({line.currency for line in cost_lines} - convertible)
    ]
    if account is not None and account.currency not in {"", currency}:
        findings.append(
            _find(
                Severity.WARN,
                "currency.account_differs",
                "account",
                f"The account {account.name} has currency {account.currency}, "
                f"its billing contract {currency}.",
                "correct the currency of the account in Dynamics, or that of the billing contract",
            )
        )
    return findings
