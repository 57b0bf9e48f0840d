"""Which tax numbers must be asked about, what an answer changes, and what a person should know.

An answer counts for as long as the policy says; it is asked for anew some days earlier, so that a
register that is down for a few days holds nobody. What a register said is never overwritten by no
answer, nor by the form of the number alone while it still counts. Whether a document may rest on an
answer, `rules.tax` decides.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from datetime import datetime, timedelta
from difflib import SequenceMatcher
from fractions import Fraction

from domain.problems import Finding, NotAuthorised, ServiceError, Severity
from domain.tax import (
    FORM_ONLY,
    NumberState,
    TaxNumberCheck,
    TaxPolicy,
)

MARGIN_DAYS = 10
"""An answer is asked for anew so many days before it stops to count."""
REFUSED = "refused: "
"""How a problem begins that does not pass by itself."""

_LEGAL_FORMS = frozenset(
    """
    ab ad ag aps as asa bt bv bvba co comm company corp corporation cv da doo dooel eeig eg ehf ei
    eirl eood et eu ev gbr gesmbh ggmbh gmbh hf inc ivs kb kd kda kft kg kgaa ks limited llc llp lp
    ltd lda mbh nv nyrt ood oe ooo ou oy oyj plc pvt rt sa sas sarl sarls sas sca scop scrl se sia
    sl slu snc soc spa spolka spj srl sro ug unipessoal uab vof zoo zrt the und and et y e i
    """.split()
)
_ALIKE = Fraction(6, 10)
"""From this likeness on (0 to 1), two names may be one company's."""


def is_due(check: TaxNumberCheck, source: str, now: datetime, policy: TaxPolicy) -> bool:
    """Say whether a number must be asked about, when `source` would answer."""
    if check.checked_at is None:
        return True
    days = max(policy.number_days - MARGIN_DAYS, 1)
    old = now - check.checked_at >= timedelta(days=days)
    if source == FORM_ONLY:
        if not check.by_register:
            return old
        # The better answer stays while it counts; a no, until a register is asked again.
        return check.state is NumberState.VALID and not still_counts(check, now, policy)
    if check.source != source or check.failed_at is not None:
        return True
    if check.state is not NumberState.VALID:
        return check.checked_at.date() < now.date()
    return old


def still_counts(check: TaxNumberCheck, now: datetime, policy: TaxPolicy) -> bool:
    """Say whether there is an answer, and it is not too old."""
    if check.checked_at is None:
        return False
    return now - check.checked_at <= timedelta(days=policy.number_days)


def unanswered(before: TaxNumberCheck, problem: ServiceError, now: datetime) -> TaxNumberCheck:
    """Return what is kept where no answer came: the last one, with what went wrong.

    The day of the failure counts, not the moment: the same trouble on the same day is not news.
    """
    what = f"{problem.code or type(problem).__name__}: {problem.args[0]}"
    if isinstance(problem, NotAuthorised):
        what = f"{REFUSED}{what}"
    told = f"{what}; {problem.hint}" if problem.hint else what
    today = before.failed_at is not None and before.failed_at.date() == now.date()
    if today and before.problem == told:
        return before
    return replace(before, failed_at=now, problem=told)


def never_asked(country: str, number: str, source: str) -> TaxNumberCheck:
    """Return what is known of a number before its first answer."""
    return TaxNumberCheck(
        number=number, country=country, state=NumberState.UNKNOWN, checked_at=None, source=source
    )


def is_refuted(known: TaxNumberCheck) -> bool:
    """Say whether a register said that a number is not valid."""
    return known.by_register and known.state is NumberState.INVALID


def refuted(known: TaxNumberCheck, customer_id: str) -> Finding:
    """Return the finding that holds a customer, the same whether a sync or a bill comes upon it."""
    return Finding(
        check="tax.number_refuted",
        severity=Severity.HOLD,
        customer_id=customer_id,
        record=f"tax number {known.number}",
        sentence=f"{known.source} says that {known.number} is not a valid tax number.",
        hint="ask the customer for its valid number, or to register anew, and correct the tax "
        "profile; what was billed while it was not valid may need correcting",
    )


def told_of(known: TaxNumberCheck, customer_id: str, name: str) -> list[Finding]:
    """Return what a person should know of a number whose customer we bill as `name`.

    That a number is not well-formed, or has no answer that counts, the rules of tax tell.
    """
    findings = []

    def tell(check: str, severity: Severity, sentence: str, hint: str) -> None:
        findings.append(
            Finding(
                check=check,
                severity=severity,
                customer_id=customer_id,
                record=f"tax number {known.number}",
                sentence=sentence,
                hint=hint,
            )
        )

    if is_refuted(known):
        findings.append(refuted(known, customer_id))
    if known.by_register and known.state is NumberState.VALID and differ(name, known.name):
        tell(
            "tax.number_name",
            Severity.WARN,
            f"The tax number {known.number} is that of {_line(known.name)}, says {known.source}; "
            f"the account is named {name}.",
            "make sure that the number is the customer's: it may be another company of its group, "
            "or an earlier name",
        )
    if known.failed_at is not None and known.problem.startswith(REFUSED):
        what, _, hint = known.problem.removeprefix(REFUSED).partition("; ")
        tell(
            "tax.number_refused",
            Severity.WARN,
            f"{known.source} refuses to answer about the tax number {known.number} ({what}).",
            hint or "look the number up by hand, and run check-config",
        )
    return findings


def differ(ours: str, theirs: str) -> bool:
    """Say whether two names can hardly be one company's; what cannot be compared does not differ.

    Legal forms, accents, order and punctuation do not count. A register may tell several names
    (a trade name after `||`): one that fits is enough.
    """
    own = _words(ours)
    told = [words for part in re.split(r"\|\||\n", theirs) if (words := _words(part))]
    if not own or not told:
        return False
    return not any(_alike(own, words) for words in told)


def _alike(own: list[str], told: list[str]) -> bool:
    common = set(own) & set(told)
    if common and 2 * len(common) >= min(len(set(own)), len(set(told))):
        return True
    ours, theirs = "".join(own), "".join(told)
    shorter, longer = sorted((ours, theirs), key=len)
    if len(shorter) >= 4 and shorter in longer:
        return True
    return SequenceMatcher(None, ours, theirs, autojunk=False).ratio() >= _ALIKE


def _words(name: str) -> list[str]:
    """Return the words of a name that tell companies apart, in Latin letters; else nothing.

    Other scripts are not transcribed: a guess would tell differences that are none.
    """
    folded = unicodedata.normalize("NFKD", name.casefold().replace("ß", "ss").replace("&", " "))
    latin = "".join(_LETTERS.get(c, c) for c in folded if not unicodedata.combining(c))
    if any(c.isalpha() and not c.isascii() for c in latin):
        return []
    # S.p.A. and A/S are one word each.
    joined = re.sub(r"\b(\w)[./](?=\w\b)", r"\1", latin)
    words = re.findall(r"[a-z0-9]+", joined)
    return [word for word in words if word not in _LEGAL_FORMS] or words


_LETTERS = {"ł": "l", "ø": "o", "æ": "ae", "œ": "oe", "đ": "d", "ð": "d", "þ": "th", "ı": "i"}


def _line(name: str) -> str:
    return ", ".join(part.strip() for part in re.split(r"\|\||\n", name) if part.strip())
