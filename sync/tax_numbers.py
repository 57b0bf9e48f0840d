"""Ask the register about the tax numbers of the customers that are billed, and keep each answer.

What is asked about: the number of every tax profile of a contract in force, when there is no answer
yet, when it grows old, when the last attempt failed, when it was no. Each answer is stored as it
comes, so a crash loses none, and a look that comes again finds nothing due. Limits: so many numbers
and minutes at a time, one question after the other; the others wait for the next look. A register
that is down is not asked about more numbers in the same look.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from domain.problems import Finding, ServiceError
from domain.tax import TaxDecider, TaxNumberCheck, vat_country
from rules.checks import Room, judged, of_rooms
from rules.number_checks import (
    is_due,
    never_asked,
    still_counts,
    told_of,
    unanswered,
)
from sync.findings import current, replace_everywhere
from sync.ledger import Outcome
from sync.ports import NumberRegister, Ports

CHECKS = (*of_rooms(Room.NUMBERS), "tax.number_refuted")
"""What a look finds. The last one a bill finds too, in the same words, on what is stored."""
MOST_NUMBERS = 1000
MOST_TIME = timedelta(minutes=4)
STRIKES = 3
"""So many failures in a row, and the register is left alone until the next look."""
BILLED_LATER = timedelta(days=62)
"""A contract that ended so lately still has a bill to come."""
ONE_COUNTRY = "MS_"
"""How VIES's codes begin where the trouble is one member state's."""

_EVER = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A number that bills rest on, and what is known of it."""

    known: TaxNumberCheck
    source: str
    """Who would answer."""
    owners: tuple[tuple[str, str], ...]
    """Tenant ids, each with the name of the account that is billed."""

    @property
    def answered_at(self) -> datetime:
        """When it had its last answer."""
        return self.known.checked_at or _EVER

    @property
    def tried_at(self) -> datetime:
        """When it was asked about last."""
        return max(self.known.checked_at or _EVER, self.known.failed_at or _EVER)


@dataclass(slots=True)
class _Look:
    """One look at the numbers: what was asked, and who is better left alone."""

    ports: Ports
    register: NumberRegister
    started: datetime
    asked: int = 0
    written: int = 0
    strikes: int = 0
    down: set[str] = field(default_factory=set)
    """Prefixes whose register did not answer."""

    def ask(self, one: _Wanted) -> tuple[TaxNumberCheck, bool]:
        """Ask about a number and keep what comes of it; also say whether an answer came."""
        known = one.known
        prefix = known.number[:2]
        if self.asked == MOST_NUMBERS or self.strikes >= STRIKES or prefix in self.down:
            return known, False
        if self.ports.now() - self.started > MOST_TIME:
            return known, False
        self.asked += 1
        try:
            check, answered = self.register.check(known.country, known.number), True
        except ServiceError as problem:
            check, answered = unanswered(known, problem, self.ports.now()), False
            if problem.code.startswith(ONE_COUNTRY):
                self.down.add(prefix)
            elif problem.code != "INVALID_INPUT":
                self.strikes += 1
        if answered:
            self.strikes = 0
        saved = self.ports.store.save([check])
        self.written += saved.created + saved.updated
        return check, answered


def work(ports: Ports, day: date, customer_id: str = "") -> Outcome:
    """Look at the numbers of all customers, or of one.

    Held, so that the next run looks again, while a number has no answer of its register that
    counts.
    """
    register = ports.number_register
    if register is None:
        return Outcome(counts={"tax_numbers": 0})
    policy = ports.tax_policy
    look = _Look(ports, register, ports.now())
    wanted = _wanted(ports, register, day, customer_id)
    findings: list[Finding] = []
    waiting = 0
    # First whose answer stops to count first: those without one, then the oldest.
    for one in sorted(wanted, key=lambda one: (one.answered_at, one.tried_at, one.known.key)):
        check = one.known
        if is_due(check, one.source, look.started, policy):
            check, answered = look.ask(one)
            counts = check.by_register and still_counts(check, look.started, policy)
            waiting += not answered and not counts
        for owner, name in one.owners:
            findings += told_of(check, owner, name)
    findings = list(judged(findings, ports.policy, current(ports, customer_id=customer_id)))
    if customer_id:
        ports.store.replace_findings(CHECKS, customer_id, findings)
    else:
        replace_everywhere(ports.store, CHECKS, findings)
    return Outcome(
        held=bool(waiting),
        counts={
            "tax_numbers": len(wanted),
            "tax_numbers_asked": look.asked,
            "tax_numbers_waiting": waiting,
            "findings": len(findings),
            "written": look.written,
        },
    )


def _wanted(ports: Ports, register: NumberRegister, day: date, customer_id: str) -> list[_Wanted]:
    """List the numbers of the profiles of contracts in force, each once, with whose they are."""
    checks = {one.key: one for one in ports.store.number_checks()}
    owners: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for contract, profile in ports.store.taxed_contracts():
        over = contract.ends is not None and contract.ends + BILLED_LATER <= day
        elsewhere = contract.tax_decider is not TaxDecider.RULES
        if over or elsewhere or customer_id not in {"", contract.customer_id}:
            continue
        if number := profile.checked_number:
            owners[vat_country(profile.country), number].append(
                (contract.customer_id, contract.account_name)
            )
    wanted = []
    for (country, number), own in owners.items():
        source = register.source(country, number)
        known = never_asked(country, number, source)
        wanted.append(_Wanted(checks.get(known.key, known), source, tuple(own)))
    return wanted
