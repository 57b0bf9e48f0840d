"""What finance entered for a customer: one account, one contract in force, and the partner expected.

Nothing is billed by a contract that may be the wrong one. What Microsoft charges for outside of the
days of a contract is told, so that it is nobody's surprise that it is not billed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

from domain.contract import Alignment, BillingContract
from domain.period import Period, add_months
from domain.problems import Finding, Severity
from domain.subscription import CostLine
from rules.facts import Facts, StandingFacts
from rules.reconcile import due_until


def mapping(facts: StandingFacts) -> list[Finding]:
    """A customer is billed through exactly one contract, with one account that is in use."""
    contract = facts.contract
    if contract is None:
        return _no_contract(facts)
    return [*_several(facts), *_account(facts, contract), *_unused(facts, contract)]


def _no_contract(facts: StandingFacts) -> list[Finding]:
    running = facts.running
    if not running and not facts.history:
        return []  # nothing to bill: it is no customer of finance's yet
    count = f" for {len(running)} running subscriptions" if len(running) > 1 else ""
    return [
        facts.tell(
            "mapping.no_contract",
            "billing contract",
            f"The customer has no billing contract{count}.",
            "make a billing contract for the customer and choose its account",
        )
    ]


def _several(facts: StandingFacts) -> list[Finding]:
    """Two contracts that are in force on one day: which one bills that day is not known."""
    rows = sorted(facts.contracts, key=lambda one: (one.starts, one.key))
    # What both billed longer ago than the month that is billed is no question any more.
    first = (facts.today.replace(day=1) - timedelta(days=1)).replace(day=1)
    if isinstance(facts, Facts):
        first = min(first, facts.period.start)
    found = []
    for place, one in enumerate(rows):
        for other in rows[place + 1 :]:
            if one.ends is not None and one.ends <= other.starts:
                continue
            if other.ends is not None and other.ends <= other.starts:
                continue  # it is in force on no day
            if any(each.ends is not None and each.ends <= first for each in (one, other)):
                continue
            who = sorted({each.account_name or "no account" for each in (one, other)})
            found.append(
                facts.tell(
                    "mapping.several_contracts",
                    f"billing contract {other.key}",
                    f"The billing contracts {one.key} and {other.key} are both in force from "
                    f"{other.starts} on ({', '.join(who)}).",
                    "let the older contract end, and the newer one begin, on the first of a month "
                    "(a month is billed by one contract), or remove one",
                )
            )
    return found


def _account(facts: StandingFacts, contract: BillingContract) -> list[Finding]:
    record = f"billing contract {contract.key}"
    if not contract.account_id:
        return [
            facts.tell(
                "mapping.no_account",
                record,
                "The billing contract has no account.",
                "choose the account that is billed",
            )
        ]
    if facts.account is None:
        return [
            facts.tell(
                "mapping.account_gone",
                record,
                f"The account {contract.account_name or contract.account_id} of the billing "
                "contract could not be read: it was deleted, or the worker may not see it.",
                "choose the account that is billed, or give the worker's role the right to read it",
            )
        ]
    if not facts.account.active:
        return [
            facts.tell(
                "mapping.account_inactive",
                record,
                f"The account {facts.account.name} that is billed is inactive.",
                "activate the account, or choose another one on the billing contract",
            )
        ]
    mapped = facts.mapped_account
    if mapped is not None and mapped.id != facts.account.id:
        return [
            facts.tell(
                "mapping.account_differs",
                record,
                f"The billing contract bills the account {facts.account.name}; the customer is "
                f"mapped to the account {mapped.name}.",
                "choose the same account on both; where another company is meant to pay, release "
                "the finding, or let this check warn (CSP_SEVERITIES)",
            )
        ]
    return []


def _unused(facts: StandingFacts, contract: BillingContract) -> list[Finding]:
    """A contract by which nothing can be billed: its customer has nothing."""
    ended = contract.ends is not None and contract.ends <= facts.today
    if ended or facts.history or any(one.alive for one in facts.subscriptions):
        return []
    return [
        facts.tell(
            "mapping.no_subscriptions",
            f"billing contract {contract.key}",
            "The customer has no running subscription, and Microsoft never billed one: "
            "the billing contract bills nothing.",
            "end the contract, or check whether it names the right customer",
            Severity.WARN,
        )
    ]


# --- the month ---------------------------------------------------------------------------------------


def in_force(facts: Facts) -> list[Finding]:
    """The contract must be in force when what Microsoft bills is served."""
    contract = facts.contract
    if contract is None or not contract.account_id:
        return []
    record = f"billing contract {contract.key}"
    nothing = not facts.cost_lines and not facts.running
    if contract.ends is not None and contract.ends <= facts.period.start:
        if nothing:
            return []
        return [
            facts.tell(
                "mapping.contract_ended",
                record,
                f"The billing contract ended on {contract.ends}.",
                "renew the contract, or move the subscriptions away",
            )
        ]
    told = {line.key for _, _, lines in _left_behind(facts, contract) for line in lines}
    outside = [
        line
        for line in facts.cost_lines
        if _outside(line, contract) and line.key not in told and line.key not in facts.answered
    ]
    if not outside:
        return []
    worth = _worth(outside)
    until = f" to {contract.ends}" if contract.ends else ""
    lines, are, they = (
        ("1 line", "is", "it is")
        if len(outside) == 1
        else (f"{len(outside)} lines", "are", "they are")
    )
    return [
        facts.tell(
            "mapping.outside_contract",
            record,
            f"{lines} of Microsoft, worth {worth}, {are} for days outside of the billing contract "
            f"(from {contract.starts}{until}): {they} not billed.",
            "move the contract's first or last day, or bill these days in another way",
            Severity.WARN,
        )
    ]


def changed(facts: Facts) -> list[Finding]:
    """A month is billed by one contract: what the one before leaves behind is held, not lost.

    That is the contract in force on the month's last day. Limit: of an older contract with periods of
    its own the days are told in the month of the change alone, whatever was asked for them.
    """
    contract = facts.contract
    if contract is None:
        return []
    found = []
    for older, left, lines in _left_behind(facts, contract):
        newer = _follower(facts, older)
        count = "1 line" if len(lines) == 1 else f"{len(lines)} lines"
        what = f"{count} of Microsoft, worth {_worth(lines)}," if lines else "What was served"
        first = newer.starts.replace(day=1)
        where = (
            f"on the first of a month ({f'{first} or ' if older.starts < first else ''}"
            f"{add_months(first, 1)})"
            if newer.starts != first
            else f"on the first of a month with which a billing period of {older.key} ends"
        )
        found.append(
            facts.tell(
                "mapping.contract_changed",
                f"billing contracts {older.key} and {newer.key}",
                f"{what} from {left} would not be billed: these are days of the billing contract "
                f"{older.key}, and no month's bill asks for them, as {newer.key} follows on "
                f"{newer.starts}.",
                f"let {older.key} end, and {newer.key} begin, {where}, then bill the months from "
                f"{left.start:%Y-%m} on again; or bill these days in another way, and release this",
            )
        )
    return found


def _left_behind(
    facts: Facts, contract: BillingContract
) -> list[tuple[BillingContract, Period, list[CostLine]]]:
    """Return older contracts with days that no month's bill asks for, and Microsoft's lines of them."""
    found = []
    for older in sorted(facts.contracts, key=lambda one: (one.starts, one.key)):
        if older.starts >= contract.starts or (older.ends and older.ends <= older.starts):
            continue
        newer = _follower(facts, older)
        counted = newer.starts.replace(day=1) - timedelta(days=1)
        asked = due_until(older, Period.month(f"{counted:%Y-%m}"))
        start = max(older.starts, asked or older.starts)
        end = min(older.ends or newer.starts, newer.starts, facts.period.end)
        if start >= end:
            continue
        left = Period(start, end)
        lines = [
            line
            for line in facts.history
            if (day := line.falls_on)
            and day in left
            and line.key not in facts.answered
            and line.sku not in older.excluded_skus
        ]
        own_periods = older.alignment is Alignment.CONTRACT and end > facts.period.start
        if lines or (own_periods and facts.subscriptions):
            found.append((older, left, lines))
    return found


def _follower(facts: Facts, older: BillingContract) -> BillingContract:
    """Return the contract that counts after an older one."""
    return min(
        (
            one
            for one in facts.contracts
            if one.starts > older.starts and (one.ends is None or one.ends > one.starts)
        ),
        key=lambda one: (one.starts, one.key),
        default=facts.contract or older,
    )


def _worth(lines: Sequence[CostLine]) -> str:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for line in lines:
        sums[line.currency] += line.subtotal
    return " and ".join(f"{amount} {currency}" for currency, amount in sorted(sums.items()))


def _outside(line: CostLine, contract: BillingContract) -> bool:
    day = line.falls_on
    if day is None:
        return False
    return day < contract.starts or (contract.ends is not None and day >= contract.ends)


def partner_of_record(facts: Facts) -> list[Finding]:
    """The partner on subscriptions and on Microsoft's lines must be the expected one."""
    expected = facts.contract.expected_partner_id if facts.contract else ""
    return [*_differing(facts), *(_strangers(facts, expected) if expected else ())]


def _strangers(facts: Facts, expected: str) -> list[Finding]:
    seen: dict[str, set[str]] = defaultdict(set)
    for subscription in facts.subscriptions:
        # One that was deleted keeps the partner of its time.
        if subscription.alive and subscription.partner_of_record:
            seen[subscription.partner_of_record].add(subscription.id)
    for line in facts.cost_lines:
        partner = line.reseller_id or line.partner_id
        if partner:
            seen[partner].add(line.subscription_id)
    if not seen and (facts.subscriptions or facts.cost_lines):
        return [
            facts.tell(
                "partner_of_record.unknown",
                f"partner {expected}",
                f"Partner {expected} is expected, and neither the customer's subscriptions nor "
                "Microsoft's lines of the month name any partner.",
                "look up the partner of record in Partner Center, or clear the contract's "
                "expectation",
                Severity.WARN,
            )
        ]
    return [
        facts.tell(
            "partner_of_record.drift",
            f"partner {partner}",
            f"Partner {partner} stands on {len(subscriptions)} of the customer's subscriptions "
            f"({_named(subscriptions)}); "
            f"{expected} is expected.",
            "correct the partner of record in Partner Center, or the contract's expectation",
        )
        for partner, subscriptions in sorted(seen.items())
        if partner != expected
    ]


def _differing(facts: Facts) -> list[Finding]:
    """Lines whose reseller is another than the one on their subscription now, or nobody."""
    now = {one.id: one.partner_of_record for one in facts.subscriptions if one.partner_of_record}
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for line in facts.cost_lines:
        known = now.get(line.subscription_id)
        named = {line.reseller_id, line.partner_id} - {""}
        if known and named and known not in named:
            found[line.reseller_id, known].add(line.subscription_id)
    return [
        facts.tell(
            "partner_of_record.differs",
            f"partner {on_line or 'none'} on lines, {known} on subscriptions",
            f"Microsoft's lines of {_subscriptions(ids)} name "
            f"{f'the reseller {on_line}' if on_line else 'no reseller'}, the "
            f"{'subscription itself names' if len(ids) == 1 else 'subscriptions themselves name'} "
            f"{known}.",
            "check since when the partner of record is another, and who is paid for the month",
            Severity.WARN,
        )
        for (on_line, known), ids in sorted(found.items())
    ]


def _named(ids: set[str]) -> str:
    """Name them all: who releases the finding has seen these, and no others."""
    return ", ".join(one[:8] or "none" for one in sorted(ids))


def _subscriptions(ids: Sequence[str] | set[str]) -> str:
    return "1 subscription" if len(ids) == 1 else f"{len(ids)} subscriptions"
