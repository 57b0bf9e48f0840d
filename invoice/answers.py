"""Who may answer a document: the company that sold, with its tax decided by whom it was decided."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from domain.charge import Reason
from domain.problems import Finding, Severity
from domain.tax import Party, TaxDecider
from invoice.document import DocumentStatus, Invoice

_DECIDERS = {
    TaxDecider.RULES: "the rules",
    TaxDecider.ENGINE: "the tax engine",
    TaxDecider.ACCOUNTING: "the accounting system",
}


def check_answers(draft: Invoice, documents: Iterable[Invoice]) -> list[Finding]:
    """Find what a draft corrects that was sold by another company, or taxed in another place.

    Such a correction would give back a tax in the name of who never asked for it, or leave out the
    tax that the accounting system added to what is given back.
    """
    answered = {line.charge.answers for line in draft.lines if line.charge.answers}
    found = [
        finding
        for document in documents
        if document.key != draft.key
        and document.status is not DocumentStatus.VOID
        and (document.contract_key, document.currency) == (draft.contract_key, draft.currency)
        and any((line.charge.answers or line.charge.key) in answered for line in document.lines)
        for finding in (*_other_seller(draft, document), *_other_decider(draft, document))
    ]
    return list({(finding.check, finding.record): finding for finding in found}.values())


def _other_seller(draft: Invoice, document: Invoice) -> Iterator[Finding]:
    then, now = document.seller, draft.seller
    if then is None or now is None or _same(then, now):
        return
    yield _hold(
        "correction.other_seller",
        draft,
        document,
        f"{_name(document)} was sold by {then.name}, and the billing contract now names {now.name}: "
        "no company corrects what another one billed.",
        f"let {then.name} sell under this contract again and end it with the last month that it "
        f"billed; enter another contract with {now.name} from then on, which leaves alone what was "
        f"billed before ({then.name} corrects that by hand)",
    )


def _same(one: Party, other: Party) -> bool:
    """A company may change its name, or get a number more; all of it changes with another one."""
    if one.registration_number and one.registration_number == other.registration_number:
        return True
    return one.name == other.name or not set(one.tax_numbers).isdisjoint(other.tax_numbers)


def _other_decider(draft: Invoice, document: Invoice) -> Iterator[Finding]:
    then, now = document.tax_decided_by, draft.tax_decided_by
    if then is now or TaxDecider.ACCOUNTING not in {then, now}:
        return  # rules and engine both state the tax on the document
    old, new = _DECIDERS[then], _DECIDERS[now]
    causes = {reason.inputs.get("cause") for reason in _adjustments(draft)}
    ways = []
    if causes != {"tax"}:
        ways.append(
            f"let {old} decide the tax of this bill, too, and change it for the next one; or end "
            f"this contract with the last month that was billed so, and enter another one that "
            f"{new} decides"
        )
    if "tax" in causes:
        ways.append(
            "set the day from which the tax profile corrects what was taxed otherwise after the "
            "service of that document, or empty it"
        )
    if then is TaxDecider.ACCOUNTING:
        ways.append("a wrong tax of that document is corrected in the accounting system")
    yield _hold(
        "correction.other_decider",
        draft,
        document,
        f"{_name(document)} bears the tax that {old} decided, and its correction would bear what "
        f"{new} decided: only the same one knows what tax to give back.",
        "; ".join(ways),
    )


def _adjustments(draft: Invoice) -> Iterator[Reason]:
    for line in draft.lines:
        if line.charge.answers:
            yield from (one for one in line.charge.reasons if one.rule == "adjustment")


def _name(document: Invoice) -> str:
    return document.number or f"The draft of {document.period.start:%Y-%m}"


def _hold(check: str, draft: Invoice, document: Invoice, sentence: str, hint: str) -> Finding:
    return Finding(
        check=check,
        severity=Severity.HOLD,
        customer_id=draft.customer_id,
        record=f"document {document.number or document.key}",
        sentence=sentence,
        hint=hint,
    )
