"""From the metered lines of one Azure plan to its charges, grouped as the contract asks.

Each line of Microsoft is split over those who used it, by largest remainder, so that its parts sum
to it exactly. What is priced as one is a *part*: a meter category under one rule within a group. A
group is one line of the invoice, rounded once, whatever rules its parts have; each rule is told its
portion, which a minimum or maximum counts. Tiers and packages look at the whole month of a plan and
meter category: by service that is a line of its own, else its amount is split over the groups.

Limits: the quantity of a meter category adds up meters of different units; a rule with tiers or a
package is best written for one product. Floor and cap hold for the average unit of a part.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction

from domain.charge import Charge, ChargeType, Reason
from domain.contract import (
    BillingContract,
    EarnedCredit,
    ExchangeRate,
    MarkupRule,
    TierBasis,
    UsageGroup,
    UsageGrouping,
)
from domain.money import Money, fit_to, minor_units, plain, round_half_up
from domain.period import Period
from domain.problems import Finding
from domain.subscription import CostLine, UsageShare
from rules.cost_rules import BY_LINE, BY_MONTH, cannot, line_rule
from rules.earned_credit import Earned, earned
from rules.grouping import EARNED, SPLIT, Billed, Group, family, fault_of, group_of
from rules.metering import Metered, meter_amount
from rules.pricing import PriceBook, rate_reason
from rules.usage_findings import credit_unknown, no_grouping, no_usage, not_grouped

Asked = tuple[str, date, Money]
"""A rule, the first day of what it priced, and its portion of a charge."""

_Rule = tuple[MarkupRule, ExchangeRate | None]
_Place = tuple[date, str, str, str]
"""First day, group, meter category and rule: what is priced as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The charges of one plan, what each rule asked in them, and what could not be priced."""

    charges: tuple[Charge, ...]
    asked: tuple[Asked, ...]
    findings: tuple[Finding, ...]


def rate_usage(
    lines: Iterable[CostLine], *, contract: BillingContract, book: PriceBook, billed: Billed
) -> Usage:
    """Make the charges of one Azure plan: one per group and period of a line.

    A month that was `billed` is proposed in the grouping in which it was billed.
    """
    reading = _Reading(contract, book, billed)
    for line in sorted(lines, key=lambda line: line.key):
        if line.falls_on is not None:
            reading.take(line, line.falls_on)
    return reading.usage()


@dataclass(slots=True)
class _Part:
    """What is priced as one: a meter category under one rule, within a group and period."""

    group: Group
    category: str
    line: CostLine
    rule: MarkupRule
    rates: dict[tuple[str, date], ExchangeRate] = field(default_factory=dict)
    """By currency and day: lines of one month are paid at as many rates as their days have."""
    costs: dict[str, Decimal] = field(default_factory=dict)
    """What Microsoft asks, by currency."""
    paid: Fraction = Fraction(0)
    """The cost in the currency of the sale."""
    basis: Fraction = Fraction(0)
    """What the markup is on, as sold: the cost, or the cost before the earned credit."""
    kept: dict[str, Fraction] = field(default_factory=dict)
    """The earned credit that stays with the partner, by currency of the lines."""
    daily: dict[tuple[object, ...], UsageShare] = field(default_factory=dict)
    """Daily lines by where they were read: lines of one meter share theirs."""
    earned: dict[str, Earned] = field(default_factory=dict)
    cost_lines: dict[str, CostLine] = field(default_factory=dict)

    @property
    def quantity(self) -> Fraction:
        """Units to be priced: what a reservation or savings plan paid for ahead is not."""
        used = (Fraction(share.quantity) for share in self.daily.values() if not share.benefit)
        return sum(used, Fraction(0))

    @property
    def name(self) -> str:
        """What the customer reads for its meter category."""
        return family(self.category, "Marketplace" if self.line.is_marketplace else "Azure")

    @property
    def told(self) -> str:
        """The currency, where the sale is in another: lines of one group then stay apart."""
        return f"/{self.line.currency}" if self.rates else ""

    def metered(self, name: str) -> Metered:
        """Return what a rule prices."""
        service = _service([self])
        return Metered(
            name=f"{name} ({service})",
            quantity=self.quantity,
            basis=self.basis,
            lines=sum(share.lines for share in self.daily.values()),
            customer_id=self.line.customer_id,
            record=f"usage of {self.category} from {service.start}",
        )


@dataclass(frozen=True, slots=True)
class _Piece:
    """What one part adds to the line of its group."""

    part: _Part
    exact: Fraction
    reasons: tuple[Reason, ...]
    month: str = ""
    """How the month's amount came about of which this is a portion, or the whole."""


class _Reading:
    """Reads the lines of one plan one by one into parts, then makes charges of them."""

    def __init__(self, contract: BillingContract, book: PriceBook, billed: Billed) -> None:
        self.contract = contract
        self.book = book
        self.billed = billed
        self.parts: dict[_Place, _Part] = {}
        self.by_service: dict[date, bool] = {}
        self.findings: list[Finding] = []

    # --- from lines to parts ----------------------------------------------------------------------

    def take(self, line: CostLine, day: date) -> None:
        """Split a line over the parts that used it; a line that cannot be split is a finding."""
        month = day.replace(day=1)
        billed = self.billed.get((line.subscription_id, month))
        grouping = billed.grouping if billed else self.contract.grouping
        self.by_service[month] = grouping.by is UsageGroup.SERVICE
        weights = _weights(line)
        if not weights:
            if line.subtotal:  # else billed at zero and used by nobody
                self.findings.append(no_usage(line))
            return
        groups = _groups(line, grouping)
        credit = earned(line)
        fault = fault_of(grouping)
        if fault:
            self.findings.append(no_grouping(self.contract, fault))
        elif isinstance(groups, str):
            self.findings.append(not_grouped(line, month, groups))
        elif credit is None and line.subtotal and self._keeps(line, day):
            self.findings.append(credit_unknown(line))
        else:
            self._split(line, day, weights, groups, credit)

    def _keeps(self, line: CostLine, day: date) -> bool:
        """Say whether the credit is the partner's; before the day that is agreed, as it was billed."""
        month = self.billed.get((line.subscription_id, day.replace(day=1)))
        since = self.contract.earned_credit_from
        billed = month.keeps_credit(day) if month and (since is None or day < since) else None
        return self.contract.keeps_credit(day) if billed is None else billed

    def _split(
        self,
        line: CostLine,
        day: date,
        weights: Sequence[Decimal],
        groups: Sequence[Group],
        credit: Earned | None,
    ) -> None:
        rules = {
            category: self._rule(line, day, category)
            for category in sorted({share.meter_category for share in line.shares})
        }
        sizes: dict[_Place, Fraction] = defaultdict(Fraction)
        shares: dict[_Place, list[UsageShare]] = defaultdict(list)
        named: dict[str, Group] = {}
        for share, weight, group in zip(line.shares, weights, groups, strict=True):
            place = self._place(line, day, group, share.meter_category, rules)
            sizes[place] += Fraction(weight)
            shares[place].append(share)
            named[group.key] = min(named.get(group.key, group), group, key=lambda one: one.name)
        places = sorted(sizes)
        amounts = fit_to(line.subtotal, [sizes[place] for place in places], _decimals(line))
        for place, amount in zip(places, amounts, strict=True):
            rule = rules[place[2]]
            if not isinstance(rule, Finding):
                priced_by, rate = rule
                new = _Part(named[place[1]], place[2], line, priced_by)
                part = self.parts.setdefault(place, new)
                part.group = min(part.group, named[place[1]], key=lambda one: one.name)
                self._add(part, line, day, amount, credit, rate)
                part.daily.update({_read_from(line, share): share for share in shares[place]})
        self.findings.extend(rule for rule in rules.values() if isinstance(rule, Finding))

    def _rule(self, line: CostLine, day: date, category: str) -> _Rule | Finding:
        found = line_rule(line, day, self.book, self.contract.currency, category)
        if not isinstance(found, Finding) and found[0].method not in BY_MONTH | BY_LINE:
            return cannot(line, found[0], "usage is priced by percent or margin")
        return found

    @staticmethod
    def _place(
        line: CostLine,
        day: date,
        group: Group,
        category: str,
        rules: Mapping[str, _Rule | Finding],
    ) -> _Place:
        found = rules[category]
        if isinstance(found, Finding):
            return day, group.key, category, ""
        rule, rate = found
        first = day.replace(day=1) if rule.method in BY_MONTH else day
        return first, group.key, category, f"{rule.key}/{line.currency}" if rate else rule.key

    def _add(  # noqa: PLR0917 - a line, what of it falls into the part, and how it is paid
        self,
        part: _Part,
        line: CostLine,
        day: date,
        amount: Decimal,
        credit: Earned | None,
        rate: ExchangeRate | None,
    ) -> None:
        sold = Fraction(1)
        if rate:
            sold = Fraction(rate.rate)
            part.rates[rate.base, rate.on] = rate
        before = Fraction(amount)
        if credit is not None and line.subtotal and self._keeps(line, day):
            before *= credit.before / Fraction(line.subtotal)
        currency = line.currency
        part.costs[currency] = part.costs.get(currency, Decimal(0)) + amount
        part.kept[currency] = part.kept.get(currency, Fraction(0)) + before - Fraction(amount)
        part.paid += Fraction(amount) * sold
        part.basis += before * sold
        part.cost_lines[line.key] = line
        if credit is not None and credit.percent:
            part.earned[line.key] = credit

    # --- from parts to charges --------------------------------------------------------------------

    def usage(self) -> Usage:
        """Price the parts, put them together by group, and round each group once."""
        lines: dict[tuple[date, str], list[_Piece]] = defaultdict(list)
        months: dict[tuple[date, str, str, bool], list[_Part]] = defaultdict(list)
        for (day, _, category, _), part in sorted(self.parts.items(), key=lambda one: one[0]):
            if part.rule.method in BY_MONTH:
                months[day, category, part.rule.key, part.line.is_marketplace].append(part)
                continue
            by_service = self.by_service[day.replace(day=1)]
            name = part.group.name if by_service else f"{part.name} in {part.group.name}"
            answer = meter_amount(part.rule, part.metered(name), self.contract.currency)
            if isinstance(answer, Finding):
                self.findings.append(answer)
                continue
            own = f"/{part.rule.sku}" if part.rule.sku and by_service else ""
            piece = _Piece(part, answer.exact, answer.reasons)
            lines[day, f"{part.group.key}{own}{part.told}"].append(piece)
        for (day, *_), parts in months.items():
            for piece in self._month(parts, split=not self.by_service[day]):
                own = piece.part.told if not self.by_service[day] else ""
                lines[day, f"{piece.part.group.key}{own}"].append(piece)
        charges: list[Charge] = []
        asked: list[Asked] = []
        for (day, key), pieces in sorted(lines.items(), key=lambda one: one[0]):
            plan = pieces[0].part.line.subscription_id
            charge = self._charge(f"charge/{plan}/usage/{day}/{key}", pieces)
            charges.append(charge)
            currency = charge.amount.currency
            portions = fit_to(
                charge.amount.amount, [piece.exact for piece in pieces], minor_units(currency)
            )
            for piece, portion in zip(pieces, portions, strict=True):
                asked.append((piece.part.rule.key, charge.service.start, Money(portion, currency)))
        return Usage(charges=tuple(charges), asked=tuple(asked), findings=tuple(self.findings))

    def _month(self, parts: Sequence[_Part], *, split: bool) -> Iterator[_Piece]:
        """Price the month of a meter category as one; its amount may be split over the groups."""
        whole = _together(parts)
        answer = meter_amount(whole.rule, whole.metered(whole.name), self.contract.currency)
        if isinstance(answer, Finding):
            self.findings.append(answer)
            return
        if not split:
            yield _Piece(whole, answer.exact, answer.reasons, answer.sentence)
            return
        tiers = whole.rule.tiers
        by_cost = tiers is not None and tiers.basis is TierBasis.COST
        used = [part.basis if by_cost else part.quantity for part in parts]
        total = sum(used, Fraction(0))
        asked = answer.amount
        targets = [Fraction(asked.amount) * one / total if total else total for one in used]
        portions = fit_to(asked.amount, targets, minor_units(asked.currency))
        for part, portion in zip(parts, portions, strict=True):
            told = {"rule": part.rule.key, "month": f"{asked.amount:f}", "portion": f"{portion:f}"}
            reasons = (*answer.reasons, Reason(rule="price.portion", inputs=told))
            yield _Piece(part, Fraction(portion), reasons, answer.sentence)

    def _charge(self, key: str, pieces: Sequence[_Piece]) -> Charge:
        """Make one line of the invoice; it is rounded here, once."""
        parts = [piece.part for piece in pieces]
        whole = _together(parts)
        first, service = parts[0], _service(parts)
        exact = sum((piece.exact for piece in pieces), Fraction(0))
        amount = Money.rounded(exact, self.contract.currency)
        lines = sum(share.lines for share in whole.daily.values())
        told = {
            **first.group.told,
            "meter_category": ", ".join(sorted({part.category for part in parts})),
            "usage_lines": str(lines),
            "invoice_lines": str(len(whole.cost_lines)),
            "cost": _by_currency(whole.costs),
        }
        return Charge(
            key=key,
            customer_id=first.line.customer_id,
            subscription_id=first.line.subscription_id,
            type=ChargeType.MARKETPLACE if first.line.is_marketplace else ChargeType.USAGE,
            name=first.group.name,
            sku=first.line.sku,
            service=service,
            full=service,
            quantity=Decimal(1),
            unit_price=round_half_up(exact, 10),
            exact=exact,
            amount=amount,
            unit_cost=round_half_up(whole.paid, 10)
            if whole.rates
            else sum(whole.costs.values(), Decimal(0)),
            why=_why(pieces, lines, service, amount) + _covered_said(whole),
            reasons=(
                Reason(rule=SPLIT, inputs={name: text for name, text in told.items() if text}),
                *_credit_reasons(whole, keeps=self._keeps(first.line, service.start)),
                *_covered_reasons(whole),
                *(rate_reason(whole.rates[which]) for which in sorted(whole.rates)),
                *(reason for piece in pieces for reason in piece.reasons),
            ),
            cost_lines=tuple(sorted(whole.cost_lines)),
        )


def _groups(line: CostLine, grouping: UsageGrouping) -> list[Group] | str:
    """Return the group of each share, or what the usage does not say."""
    found: list[Group] = []
    for share in line.shares:
        group = group_of(share, grouping, marketplace=line.is_marketplace)
        if isinstance(group, str):
            return group
        found.append(group)
    return found


def _weights(line: CostLine) -> list[Decimal]:
    """Return by what the line is split: the cost of the days, else their units; else nothing.

    Days are cut to whole cents one by one, so that of little usage only the units are left.
    """
    costs = [share.cost for share in line.shares]
    if any(costs):
        return costs
    units = [Decimal(0) if share.benefit else share.quantity for share in line.shares]
    return units if any(units) or not line.subtotal else []


def _together(parts: Sequence[_Part]) -> _Part:
    """Return the sum of parts: as one to be priced, or as one to be told."""
    first = parts[0]
    suffix = "/marketplace" if first.line.is_marketplace else ""
    whole = _Part(first.group, first.category, first.line, first.rule)
    whole.group = Group(
        key=f"month/{first.category}/{first.rule.key}{suffix}",
        name=first.name,
        told={"grouping": UsageGroup.SERVICE.value},
    )
    for part in parts:
        whole.rates.update(part.rates)
        for currency, cost in part.costs.items():
            whole.costs[currency] = whole.costs.get(currency, Decimal(0)) + cost
        for currency, kept in part.kept.items():
            whole.kept[currency] = whole.kept.get(currency, Fraction(0)) + kept
        whole.paid += part.paid
        whole.basis += part.basis
        whole.daily.update(part.daily)
        whole.earned.update(part.earned)
        whole.cost_lines.update(part.cost_lines)
    return whole


def _service(parts: Iterable[_Part]) -> Period:
    lines = [line for part in parts for line in part.cost_lines.values()]
    charged = [line.charged for line in lines if line.charged]
    if not charged:
        day = lines[0].falls_on or date.min
        return Period(day, day)
    return Period(min(p.start for p in charged), max(p.end for p in charged))


def _read_from(line: CostLine, share: UsageShare) -> tuple[object, ...]:
    return (
        line.invoice_id,
        line.sku,
        share.entitlement_id,
        share.meter_category,
        share.resource_group,
        *sorted(share.tags.items()),
        share.earned_percent,
        share.benefit,
    )


def _decimals(line: CostLine) -> int:
    """Cents, or as many decimals as Microsoft wrote: the parts must sum to the line."""
    exponent = line.subtotal.as_tuple().exponent
    return max(minor_units(line.currency), -exponent if isinstance(exponent, int) else 0)


# --- what is told ------------------------------------------------------------------------------------


def _why(pieces: Sequence[_Piece], lines: int, service: Period, amount: Money) -> str:
    """What the customer reads; of many meters there is no product of a quantity and a price."""
    of_months = [piece for piece in pieces if piece.month]
    if len(pieces) == len(of_months) == 1 and pieces[0].part.group.key.startswith("month/"):
        return pieces[0].month
    said = f"{_count(lines, 'usage line')} of Microsoft for {service} = {amount.amount:f} {amount.currency}"
    for piece in of_months:
        portion = Money.rounded(piece.exact, amount.currency)
        said += f"; in it {portion.amount:f} {amount.currency} of {piece.month}"
    return said


def _covered_said(whole: _Part) -> str:
    names = {share.benefit for share in whole.daily.values() if share.benefit}
    if not names:
        return ""
    lines = sum(share.lines for share in whole.daily.values() if share.benefit)
    by = " and ".join(f"a {name.replace('_', ' ')}" for name in sorted(names))
    return f"; {_count(lines, 'line')} of them paid for ahead by {by}"


def _covered_reasons(whole: _Part) -> Iterator[Reason]:
    """Tell what a reservation or savings plan paid for: it is shown, and costs nothing here."""
    for benefit in sorted({share.benefit for share in whole.daily.values() if share.benefit}):
        covered = [share for share in whole.daily.values() if share.benefit == benefit]
        quantity = sum((Fraction(share.quantity) for share in covered), Fraction(0))
        told = {
            "benefit": benefit,
            "usage_lines": str(sum(share.lines for share in covered)),
            "quantity": plain(quantity),
        }
        yield Reason(rule="usage.covered", inputs=told)


def _credit_reasons(whole: _Part, *, keeps: bool) -> Iterator[Reason]:
    """Tell whose the earned credit is, how much of it there is and how that is known."""
    if not whole.earned:
        return
    told = {
        "policy": (EarnedCredit.KEPT if keeps else EarnedCredit.PASSED_ON).value,
        "percent": ", ".join(plain(p) for p in sorted({e.percent for e in whole.earned.values()})),
        "known_from": ", ".join(sorted({e.source for e in whole.earned.values()})),
    }
    if keeps:
        told["credit"] = _by_currency(whole.kept)
    yield Reason(rule=EARNED, inputs=told)


def _by_currency(amounts: Mapping[str, Decimal] | Mapping[str, Fraction]) -> str:
    """Tell amounts apart by currency: they do not add up."""
    return " + ".join(f"{plain(amounts[one])} {one}" for one in sorted(amounts))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
