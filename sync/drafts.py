"""What one customer's month comes to: a document, nothing, or a hold with its findings.

A pure computation over the customer's file; nothing is written here. A customer with a hold gets no
document, and its charges are proposed again by the next run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache

from domain.charge import Charge
from domain.contract import Alignment, BillingContract
from domain.period import Period
from domain.problems import Finding, InputError, Severity, WorkerError
from domain.subscription import SubscriptionEvent
from domain.tax import TaxDecider, TaxDecision
from invoice.answers import check_answers
from invoice.assemble import Tax, assemble, check_bounds
from invoice.document import DocumentStatus, Invoice
from invoice.file import CustomerFile
from invoice.parties import buyer_of, seller_of
from invoice.rounding import Roundings, rounding_of
from rules import grouping, reconcile, shadow, succession, tax
from rules.checks import Room, judged, of_rooms
from rules.facts import Demands, Facts, Policy
from rules.linking import linked
from rules.places import CODES, Atlas, Gazetteer
from rules.pricing import PriceBook
from rules.rating import Rated, rate_customer
from rules.validate import validate
from sync.documents import readable
from sync.due import check_day
from sync.findings import (
    concerning,
    current,
    of_another_contract,
)
from sync.looks import (
    AFTER_THE_CHARGES,
    answered,
    asked_so_far,
    lines_asked_for,
    unasked,
    unbilled_before,
    with_unasked,
)
from sync.ports import Ports
from sync.taxed import NOT_DECIDED_YET, ask_engine, known_of

DRAFT_CHECKS = of_rooms(Room.GATE, Room.TAX, Room.DRAFT)
"""Every check that draft() may find, so that one that is gone is closed."""
RECONCILE_CHECKS = (
    *of_rooms(Room.RECONCILE),
    "reconcile.no_cost",  # made by earlier versions
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What one customer's month comes to: a document, or nothing, or a hold with its findings."""

    document: Invoice | None
    findings: tuple[Finding, ...]
    """What the checks of a draft found."""
    standing: tuple[Finding, ...] = ()
    """What others found before, and what still stands: a record that could not be read."""
    elsewhere: tuple[Finding, ...] = ()
    """What is known of another contract of the customer: it stands, and holds no bill by this one."""

    @property
    def told(self) -> tuple[Finding, ...]:
        """Everything that a person should know about the customer."""
        return (*self.findings, *self.standing)

    @property
    def held(self) -> bool:
        """Say whether any finding keeps the customer out."""
        return any(finding.holds for finding in self.told)


def propose(ports: Ports, customer_id: str, period: Period) -> tuple[CustomerFile, Draft]:
    """Read one customer's file and compute its draft; writes nothing.

    Data that cannot be read or reckoned with is a finding: it holds its customer, and no other. Our
    own broken promises and outages are raised.
    """
    found = current(ports, customer_id=customer_id)
    try:
        file = ports.store.customer_file(customer_id, period.last_day)
    except InputError as fault:
        file = _bare(ports, customer_id)
        hint = f"{fault.hint or 'correct the row'}; the others are billed meanwhile"
        return file, _failed(
            file,
            found,
            "draft.unreadable",
            f"A row that decides the bill cannot be read: {fault}.",
            hint,
        )
    asked = {line.key for line in unbilled_before(file, period)}
    known = concerning(ports.store, found, period, file.cost_lines, asked=asked)
    by = file.contract.key if file.contract else ""
    elsewhere = tuple(one for one in known if by and of_another_contract(one, by))
    today = ports.today()
    taxing = tax.Known(policy=ports.tax_policy, check_number=ports.check_number)

    def make(taxing: tax.Known) -> Draft:
        made = draft(
            file,
            period,
            today,
            ports.policy,
            known,
            roundings=ports.tax_rounding,
            demands=ports.demands,
            atlas=ports.atlas,
            taxing=taxing,
        )
        return replace(made, elsewhere=elsewhere)

    try:
        if file.contract is not None and file.contract.tax_decider is TaxDecider.ENGINE:
            # It is asked about the lines as they are before tax.
            before = make(replace(taxing, answer=NOT_DECIDED_YET))
            if before.document is None:
                return file, before
            answer = ask_engine(ports.tax_engine, file, before.document, period)
            taxing = replace(taxing, answer=answer)
        drafted = make(taxing)
    except WorkerError:
        raise
    except Exception as fault:  # noqa: BLE001 - whatever bad data led to, the others are billed
        said = (
            f"The bill of {period.start:%Y-%m} cannot be computed: {type(fault).__name__}: {fault}."
        )
        hint = (
            "look for figures on the customer's contract, prices and lines that cannot be meant; "
            "if there are none, report this sentence"
        )
        drafted = _failed(file, known, "draft.failed", said, hint)
    return file, drafted


def _bare(ports: Ports, customer_id: str) -> CustomerFile:
    """Return what is left of a file that cannot be read: who it is, and documents that can be."""
    customer = next(one for one in ports.store.customers() if one.id == customer_id)
    documents, _ = readable(ports.store, customer_id=customer_id)
    return CustomerFile(customer=customer, documents=tuple(documents))


def _failed(
    file: CustomerFile, known: Sequence[Finding], check: str, sentence: str, hint: str
) -> Draft:
    """Return a draft that came to nothing; what was known before stands, as nobody looked."""
    failed = Finding(
        check=check,
        severity=Severity.HOLD,
        customer_id=file.customer.id,
        record=f"customer {file.customer.id}",
        sentence=sentence,
        hint=hint,
    )
    mine = [one for one in known if one.check in DRAFT_CHECKS and one.key != failed.key]
    others = [one for one in known if one.check not in {*DRAFT_CHECKS, *RECONCILE_CHECKS}]
    return Draft(document=None, findings=(*mine, failed), standing=tuple(others))


def draft(
    file: CustomerFile,
    period: Period,
    today: date,
    policy: Policy,
    known: Sequence[Finding] = (),
    *,
    roundings: Roundings | None = None,
    demands: Demands = Demands(),  # noqa: B008 - frozen
    atlas: Atlas = CODES,
    taxing: tax.Known | None = None,
) -> Draft:
    """Compute one customer's document for a month; pure, writes nothing.

    Of the `known` findings those of others stand, and those of a draft are found again or gone: one
    that says what it said when a person released it stays released. `roundings` says by accounting
    target where tax is rounded; left out: at each line. `taxing` is what the partner asks of tax
    evidence, and a tax engine's answer.
    """
    own = {*DRAFT_CHECKS, *RECONCILE_CHECKS}
    others = tuple(finding for finding in known if finding.check not in own)
    customer, contract = file.customer, file.contract
    taxing = known_of(file, taxing or tax.Known(), today)
    billed = [line for line in file.cost_lines if (day := line.falls_on) and day in period]
    asked_for = lines_asked_for(file, period)
    findings = validate(
        Facts(
            customer=customer,
            agreements=file.agreements,
            relationships=file.relationships,
            subscriptions=file.subscriptions,
            cost_lines=asked_for,
            contract=contract,
            contracts=file.contracts,
            account=file.account,
            mapped_account=file.mapped_account,
            invoiced=file.invoiced,
            unreachable=any(one.check == "customer.unreachable" for one in known),
            history=file.cost_lines,
            tax_profile=file.tax_profile,
            exchange=file.rates,
            gazetteer=Gazetteer.of(atlas, file.tax_rates),
            period=period,
            today=today,
            demands=demands,
            taxing=taxing,
            answered=answered(file, period),
        ),
    )
    decision = tax.decide(file.tax_profile, customer.id, period.last_day, taxing)
    due = contract.due(period) if contract else None
    if contract is not None:
        findings.extend(check_day(contract))
    early = Draft(
        document=None,
        findings=with_unasked(judged(findings, policy, known), known, unasked(contract)),
        standing=others,
    )
    if contract is None or isinstance(decision, Finding) or due is None:
        return early
    until = min(contract.ends or due.end, due.end)
    if contract.starts >= until:
        return early
    told = _told(file)
    proposed = charges_of(file, contract, period, until, today)
    if proposed.until < until:
        until = proposed.until
        findings.append(_ahead(contract, period))
    charges = proposed.charges
    own_periods = contract.alignment is Alignment.CONTRACT
    expected = shadow.predict(file.subscriptions, told, file.cost_lines, period)
    findings.extend(proposed.findings)
    findings.extend(shadow.check(expected, billed))
    findings.extend(succession.check_conversions(asked_for))
    findings.extend(succession.overlaps(file.subscriptions, today, charges))
    findings.extend(check_bounds(charges))
    result = Draft(document=None, findings=judged(findings, policy, known), standing=others)
    if result.held:
        return replace(result, findings=with_unasked(result.findings, known, AFTER_THE_CHARGES))
    undecided: list[Finding] = []

    @cache
    def decided(on: date) -> TaxDecision:
        """What belongs to another month is taxed as of then, or holds the customer."""
        found = tax.decide(file.tax_profile, customer.id, on, taxing)
        if isinstance(found, Finding):
            undecided.append(_of_month(found, on, file))
            return decision
        return found

    document = assemble(
        customer=customer,
        contract=contract,
        period=period,
        until=until,
        proposed=charges,
        documents=file.documents,
        tax=Tax(
            decision=decision,
            rounding=rounding_of(contract.accounting_target, roundings or {}),
            point=period.last_day,
            right_from=file.tax_profile.right_from if file.tax_profile else None,
            decide=decided,
        ),
        seller=seller_of(file, decision, period.last_day),
        buyer=buyer_of(file, decision),
    )
    if undecided:
        findings.extend(undecided)
        held = judged(findings, policy, known)
        return replace(result, findings=with_unasked(held, known, AFTER_THE_CHARGES))
    if document is None:
        return result
    # What is billed ahead of Microsoft's own invoice cannot be compared with it yet.
    asked = [line.charge for line in document.lines if line.charge.service.start < period.end]
    findings.extend(reconcile.check_seats(charges, file.cost_lines, asked, own_periods=own_periods))
    findings.extend(check_answers(document, file.documents))
    result = replace(result, findings=judged(findings, policy, known))
    return result if result.held else replace(result, document=document)


def _of_month(finding: Finding, on: date, file: CustomerFile) -> Finding:
    """Say of a hold which month it is about, and how to get past it."""
    hint = f"{finding.hint}; this is about what belongs to {on:%Y-%m}"
    if all(on not in one.period or one.status in _OPEN for one in file.documents):
        hint += ", which can be billed before"
    if file.tax_profile is not None and file.tax_profile.right_from is not None:
        hint += (
            "; if it was taxed rightly, empty the day from which the tax profile corrects what was "
            "taxed otherwise"
        )
    return replace(finding, hint=hint)


_OPEN = {DocumentStatus.DRAFT, DocumentStatus.VOID}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """All charges of a contract that should exist, with Microsoft's lines behind them."""

    charges: tuple[Charge, ...]
    until: date
    """First day whose service is not among them."""
    findings: tuple[Finding, ...]


def charges_of(
    file: CustomerFile, contract: BillingContract, period: Period, until: date, today: date
) -> Proposed:
    """Rate a customer from the start of the contract up to a day, for the bill of a month."""
    told = _told(file)
    groupings = grouping.as_billed(asked_so_far(file.documents, period))
    rated = _rated(file, contract, told, until, today, groupings)
    if until > period.end > contract.starts and _unpriced(rated.findings):
        # What lies ahead of Microsoft's invoices may hang on a cost that nobody knows yet.
        known = _rated(file, contract, told, period.end, today, groupings)
        if not _unpriced(known.findings):
            rated, until = known, period.end
    own_periods = contract.alignment is Alignment.CONTRACT
    charges = linked(rated.charges, file.cost_lines, own_periods=own_periods).charges
    return Proposed(charges=charges, until=until, findings=tuple(rated.findings))


def _told(file: CustomerFile) -> list[SubscriptionEvent]:
    return [*file.events, *succession.migrations(file.subscriptions)]


def _rated(  # noqa: PLR0917 - what decides a bill
    file: CustomerFile,
    contract: BillingContract,
    told: Sequence[SubscriptionEvent],
    until: date,
    today: date,
    billed: grouping.Billed,
) -> Rated:
    return rate_customer(
        contract=contract,
        subscriptions=file.subscriptions,
        told=told,
        cost_lines=file.cost_lines,
        book=PriceBook(file.price_list, file.rules, file.rates),
        window=Period(contract.starts, until),
        today=today,
        billed=billed,
    )


def _unpriced(findings: Iterable[Finding]) -> bool:
    return any(finding.check in {"price.no_basis", "price.missing"} for finding in findings)


def _ahead(contract: BillingContract, period: Period) -> Finding:
    return Finding(
        check="price.ahead",
        severity=Severity.WARN,
        customer_id=contract.customer_id,
        record=f"billing contract {contract.key}",
        sentence=(
            f"Service from {period.end} on is not billed ahead yet: "
            "what the next term costs is not known before Microsoft bills it."
        ),
        hint="agree prices for these products to bill them ahead; else the next due bill asks for it",
    )
