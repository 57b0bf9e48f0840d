"""Which price a line takes: asked for once where it is said to last, else for each cycle and day."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction

from domain.charge import Reason
from domain.period import BillingCycle, Period, TermDuration
from domain.problems import Finding
from domain.record import stored_plainly
from rules.lines import UnitPrice
from rules.terms import Term


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceQuestion:
    """Which price is asked for: it is locked on `term_start` and asked for the cycle `full`."""

    subscription_id: str
    customer_id: str
    sku: str
    term: TermDuration | None
    billing_cycle: BillingCycle
    term_start: date
    full: Period
    on: date
    """First day of the service that is priced."""


_question = stored_plainly(PriceQuestion)

PriceFor = Callable[[PriceQuestion], UnitPrice | Finding]


@dataclass(slots=True, kw_only=True)
class Prices:
    """The prices of one subscription, as far as they were asked for."""

    subscription_id: str
    customer_id: str
    price_for: PriceFor
    findings: list[Finding]
    """Where it is told why there is no price, or why one is doubted, once each."""
    _known: dict[tuple[str, date, date, date], UnitPrice | None] = field(default_factory=dict)
    _lasting: tuple[str, date, Period, UnitPrice] | None = None
    """The price that holds on: its product, its term's start, its days and itself."""

    def find(self, term: Term, full: Period, on: date) -> UnitPrice | None:
        """Return the price of a day in a full period; None where the answer was a finding."""
        if term.is_trial:
            return _FREE
        if (lasting := self._lasting) is not None:
            sku, start, days, price = lasting
            if sku == term.sku and start == term.start and days.start <= on < days.end:
                return price
        memo = (term.sku, term.start, full.start, on)
        if memo in self._known:
            return self._known[memo]
        answer = self.price_for(
            _question(
                subscription_id=self.subscription_id,
                customer_id=self.customer_id,
                sku=term.sku,
                term=term.duration,
                billing_cycle=term.billing_cycle,
                term_start=term.start,
                full=full,
                on=on,
            )
        )
        if isinstance(answer, Finding):
            self.findings.append(answer)
            self._known[memo] = None
            return None
        if answer.doubt is not None:
            self.findings.append(answer.doubt)
        self._known[memo] = answer
        if answer.until is not None and on < answer.until:
            self._lasting = (term.sku, term.start, Period(on, answer.until), answer)
        return answer


_FREE = UnitPrice(value=Fraction(0), reasons=(Reason(rule="price.trial"),), until=date.max)
