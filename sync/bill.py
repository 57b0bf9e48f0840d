"""Bill the customers of one month: prove the input, draft what is missing, reconcile.

Drafting one customer is a pure computation over its file; only a difference is written. A customer
with a hold gets no document, and its charges are proposed again by the next run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from functools import cache

from domain.charge import Charge
from domain.contract import Alignment, BillingContract, counting
from domain.period import Period
from domain.problems import Finding, InputError, Severity, WorkerError
from domain.run import Run, RunStatus, UnitOfWork, UnitStatus
from domain.subscription import CostInvoice, CostLine, SubscriptionEvent
from domain.tax import TaxDecider, TaxDecision
from invoice.answers import check_answers
from invoice.assemble import Tax, assemble, check_bounds
from invoice.document import DocumentKind, DocumentStatus, Invoice
from invoice.explain import fingerprint
from invoice.file import CustomerFile
from invoice.parties import buyer_of, seller_of
from invoice.rounding import Roundings, rounding_of
from invoice.sold import sold_lines
from rules import grouping, reconcile, shadow, succession, tax
from rules.checks import Room, judged, of_rooms
from rules.facts import Demands, Facts, Policy
from rules.four_way import findings_of, four_way
from rules.linking import linked
from rules.places import CODES, Atlas, Gazetteer
from rules.pricing import PriceBook
from rules.rating import Rated, rate_customer
from rules.validate import validate
from sync import tax_numbers
from sync.documents import readable
from sync.findings import (
    concerning,
    current,
    held_customers,
    of_another_contract,
    of_their_contracts,
    replace_everywhere,
)
from sync.ledger import Ledger, Outcome
from sync.looks import (
    AFTER_THE_CHARGES,
    answered,
    asked_so_far,
    lines_asked_for,
    unasked,
    unbilled_before,
    with_unasked,
)
from sync.messages import BillUnit, StartRun
from sync.ports import Ports
from sync.taxed import NOT_DECIDED_YET, ask_engine, known_of


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
    today = ports.now().date()
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
    mine = [one for one in known if one.check in _CHECKS and one.key != failed.key]
    others = [one for one in known if one.check not in {*_CHECKS, *_RECONCILE_CHECKS}]
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
    own = {*_CHECKS, *_RECONCILE_CHECKS}
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


_CHECKS = of_rooms(Room.GATE, Room.TAX, Room.DRAFT)
"""Every check that draft() may find, so that one that is gone is closed."""
_RECONCILE_CHECKS = (
    *of_rooms(Room.RECONCILE),
    "reconcile.no_cost",  # made by earlier versions
)


def period_invoices(ports: Ports, period: Period) -> list[CostInvoice]:
    """Ask Partner Center for the invoices of a month; reading their heads is the completeness.

    Raises InputError where one cannot be read: it may be of this month.
    """
    heads: list[CostInvoice] = []
    for head in ports.partner_center.invoices():
        if isinstance(head, CostInvoice):
            if head.billed.start == period.start:
                heads.append(head)
        elif head.severity is not Severity.WARN:
            raise InputError(head.sentence, hint=head.hint)
    return heads


def plan(ports: Ports, message: StartRun) -> list[BillUnit]:
    """Prove that the month's input is complete, then list a unit for each customer.

    Raises InputError when Microsoft's invoices are not there yet, or not imported to the cent: an
    empty input is not a clean one.
    """
    if message.period is None:
        raise InputError("a bill run needs a period", hint="give it as --period 2026-10")
    period = Period.month(message.period)
    heads = period_invoices(ports, period)
    if all(head.voided_on for head in heads):
        raise InputError(
            f"Microsoft has not issued an invoice for {message.period} yet",
            hint="bill a month from about the 8th of the next one on",
        )
    lines = ports.store.cost_lines([head.id for head in heads])
    for head in heads:
        own = [line for line in lines if line.invoice_id == head.id]
        for finding in reconcile.complete(head, own):
            raise InputError(finding.sentence, hint="run sync first; then bill again")
    customers = ports.store.customers()
    if message.customer_id:
        customers = [c for c in customers if c.id == message.customer_id]
        if not customers:
            raise InputError(
                f"there is no customer {message.customer_id}",
                hint="give the tenant id; run sync first if the customer is new",
            )
    tax_numbers.work(ports, ports.now().date(), message.customer_id or "")
    return [
        BillUnit(run_key=message.run_key, customer_id=customer.id, period=message.period)
        for customer in customers
    ]


def work(ports: Ports, unit: BillUnit) -> UnitOfWork | None:
    """Draft one customer's month and save the difference, once; None where nothing is to be done.

    A settled month is worked again only while its document is a draft: a rule that was mended
    mends the draft. What comes out as it was, held or drafted, is left alone: nothing is written.
    """
    ledger = Ledger(ports.store, ports.now)
    settled = ledger.settled(unit.key)
    period = unit.month
    if settled and not drafted(ports, unit.period, unit.customer_id):
        return None
    file, result = propose(ports, unit.customer_id, period)
    kept = (*result.findings, *result.elsewhere)
    saved = ports.store.replace_findings(_CHECKS, unit.customer_id, kept)
    found = ports.store.unit(unit.key)
    stale = _drafts(file.documents, period)
    told = [fingerprint(document) for document in stale]
    wanted = [fingerprint(result.document)] if result.document else []
    held_before = found is not None and found[0].status is UnitStatus.HELD
    as_before = held_before if result.held else settled
    if as_before and told == wanted and not (saved.created or saved.updated):
        return None

    def settle() -> Outcome:
        for document in stale:
            if result.document is None or document.key != result.document.key:
                ports.store.discard_draft(document.key)
        lines = 0
        if result.document is not None:
            ports.store.save_document(result.document)
            lines = len(result.document.lines)
        return Outcome(
            held=result.held,
            counts={
                "documents": int(result.document is not None),
                "lines": lines,
                "findings": len(result.told),
            },
        )

    return ledger.run_once(unit.key, "bill", unit.run_key, settle, repeatable=settled)


def drafted(ports: Ports, period: str, customer_id: str = "") -> set[str]:
    """Return the customers whose document of a month is still a draft, or cannot be read."""
    drafts, faulty = readable(
        ports.store, period=period, status=DocumentStatus.DRAFT, customer_id=customer_id
    )
    return {draft.customer_id for draft in drafts} | faulty


def _drafts(documents: Iterable[Invoice], period: Period) -> list[Invoice]:
    return [d for d in documents if d.status is DocumentStatus.DRAFT and d.period == period]


def close(ports: Ports, run: Run) -> Run:
    """Reconcile the month of a bill run and return the run with totals, counts and its end.

    A run for one customer answers for that customer's lines alone.
    """

    def mine(customer_id: str) -> bool:
        return run.scope in {"", customer_id}

    period = Period.month(run.window)
    heads = period_invoices(ports, period)
    stored = ports.store.cost_lines([head.id for head in heads])
    lines = [line for line in stored if mine(line.customer_id)]
    # A month may be billed late, by a later month's document: all that stand may answer its lines.
    answering = [
        document
        for document in readable(ports.store, customer_id=run.scope)[0]
        if document.status is not DocumentStatus.VOID
    ]
    standing = [document for document in answering if document.period == period]
    asked = {key for d in standing for line in d.lines for key in line.charge.cost_lines}
    found = concerning(ports.store, current(ports, customer_id=run.scope), period, asked=asked)
    held = held_customers(of_their_contracts(found, standing)) | held_units(ports, run.key)
    sold: dict[str, Decimal] = defaultdict(Decimal)
    for document in standing:
        sold[document.currency] += document.subtotal.amount
    known = ports.store.contracts()
    contracts = counting(known, period.last_day)
    result = reconcile.reconcile(
        lines=lines,
        charges=[line.charge for document in answering for line in document.lines],
        contracts=contracts,
        held=held,
        sold=sold,
        period=period,
        began={one.customer_id: one.starts for one in sorted(known, key=_latest_first)},
    )
    residual = [*result.findings, *compared(lines, answering, contracts, held, period)]
    if run.scope:
        ports.store.replace_findings(_RECONCILE_CHECKS, run.scope, residual)
    else:
        replace_everywhere(ports.store, _RECONCILE_CHECKS, residual)
    return replace(
        run,
        status=RunStatus.DONE_WITH_HOLDS if held else RunStatus.DONE,
        totals=result.totals,
        counts={
            "customers": sum(mine(customer.id) for customer in ports.store.customers()),
            "held": len(held),
            "invoices": sum(d.kind is DocumentKind.INVOICE for d in standing),
            "credit_notes": sum(d.kind is DocumentKind.CREDIT_NOTE for d in standing),
            "charges": sum(len(d.lines) for d in standing),
            "cost_lines": len(lines),
            "residual_findings": len(residual),
        },
    )


def held_units(ports: Ports, run_key: str) -> set[str]:
    """Return the customers that a bill run left out, also where nothing holds them any more."""
    return {
        unit.key.split("/")[1]
        for unit in ports.store.units(run_key)
        if unit.status is UnitStatus.HELD
    }


def _latest_first(contract: BillingContract) -> int:
    return -contract.starts.toordinal()


def compared(
    lines: Sequence[CostLine],
    documents: Iterable[Invoice],
    contracts: Mapping[str, BillingContract],
    held: AbstractSet[str],
    period: Period,
) -> list[Finding]:
    """Find where a month's documents ask for other seats, days and credits than Microsoft.

    A line that nothing answers is told by its outcome already; `sync.reconcile` compares the prices too.
    """
    keys = {line.key for line in lines}
    days = {(line.subscription_id, line.charged) for line in lines if line.charged}
    sold = [
        line
        for line, charge in sold_lines(documents)
        if not keys.isdisjoint(charge.cost_lines)
        or (charge.subscription_id, charge.service) in days
        or (not charge.cost_lines and charge.service.start in period)
    ]
    sides = four_way(lines, sold, contracts=contracts, held=held, period=period)
    told = findings_of(sides.differences, {line.key for line in sold})
    return [*told, *sides.findings]
