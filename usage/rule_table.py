"""Markup rules as tables: which rule is in force for a line of usage, decided by joins.

The same choice as `rules.pricing.PriceBook.rule` makes one by one: what names more counts more, and
two that count alike are a tie. Rules that match by the same fields become one table of half-open
spans of days in which exactly one rule, or a tie, is in force, so a join finds one row at most.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING

from domain.contract import MarkupMethod, MarkupRule
from domain.problems import InputError
from domain.subscription import CostKind
from rules.metering import fault_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

TIE = -1
"""In place of a rule's number: two apply equally."""

_FIELDS = ("customer_id", "sku", "meter_category", "currency")
# Tenant ids come in either case.
_ON = {
    "customer_id": 'lower({used}."CustomerId")',
    "sku": '{used}."ProductId" || \':\' || {used}."SkuId"',
    "meter_category": '{used}."MeterCategory"',
    "currency": '{used}."BillingCurrency"',
}


@dataclass(frozen=True, slots=True)
class _Level:
    """Rules that match by the same fields."""

    rank: int
    fields: tuple[str, ...]
    spans: tuple[tuple[str | date | int, ...], ...]
    """The values of the fields, the first day, the day after the last, and the rule's number."""


@dataclass(frozen=True, slots=True)
class RuleTable:
    """Rules by percent in the order of their numbers, and the levels on which they match."""

    rules: tuple[MarkupRule, ...]
    levels: tuple[_Level, ...]

    @classmethod
    def of(cls, rules: Iterable[MarkupRule]) -> RuleTable:
        """Compile the rules that may price usage; InputError for one that cannot be meant."""
        usable = tuple(rule for rule in rules if rule.kind in {"", CostKind.USAGE.value})
        for rule in usable:
            fault = fault_of(rule)
            if not fault and rule.method is not MarkupMethod.PERCENT:
                fault = f"{rule.method.value} is priced from a contract's month, not from lines"
            if not fault and any((rule.floor, rule.cap, rule.minimum, rule.maximum)):
                fault = "bounds are kept in a contract's month, not on lines"
            if fault:
                raise InputError(
                    f"rule {rule.key} cannot be used here: {fault}",
                    hint="correct or remove the rule",
                )
        by_fields: dict[tuple[int, tuple[str, ...]], list[int]] = defaultdict(list)
        for number, rule in enumerate(usable):
            fields = tuple(name for name in _FIELDS if getattr(rule, name))
            by_fields[rule.rank, fields].append(number)
        levels = [
            _Level(rank, fields, tuple(_spans(usable, fields, numbers)))
            for (rank, fields), numbers in by_fields.items()
        ]
        return cls(usable, tuple(sorted(levels, key=lambda level: (-level.rank, level.fields))))

    @property
    def names_skus(self) -> bool:
        """Say whether a rule looks at the product."""
        return any("sku" in level.fields for level in self.levels)

    @property
    def turns(self) -> tuple[date, ...]:
        """The days from which another rule may be in force."""
        days = {day for rule in self.rules for day in (rule.valid.start, rule.valid.end)}
        return tuple(sorted(days - {date.min, date.max}))

    def load(self, database: DuckDBPyConnection) -> None:
        """Make the tables `rule_0`, `rule_1`, ... of a database, and `rule_id`."""
        database.execute(
            "CREATE OR REPLACE TABLE rule_id (rule INTEGER, id VARCHAR, factor DECIMAL(9,6))"
        )
        _insert(
            database,
            "rule_id",
            [(n, r.key, str((100 + (r.value or 0)) / 100)) for n, r in enumerate(self.rules)],
        )
        for place, level in enumerate(self.levels):
            columns = "".join(f"{name} VARCHAR, " for name in level.fields)
            database.execute(
                f"CREATE OR REPLACE TABLE rule_{place} ({columns}first DATE, beyond DATE, rule INTEGER)"
            )
            _insert(database, f"rule_{place}", level.spans)

    def joins(self, used: str, day: str) -> str:
        """SQL that joins the tables to lines, or sums of lines, under the alias `used`."""
        joins = []
        for place, level in enumerate(self.levels):
            on = [f"{_ON[name].format(used=used)} = r{place}.{name}" for name in level.fields]
            on += [f"{day} >= r{place}.first", f"{day} < r{place}.beyond"]
            joins.append(f"LEFT JOIN rule_{place} AS r{place} ON {' AND '.join(on)}")
        return " ".join(joins)

    @property
    def choice(self) -> str:
        """SQL for the number of the one rule in force; TIE, or NULL where there is none."""
        by_rank: dict[int, list[str]] = defaultdict(list)
        for place, level in enumerate(self.levels):
            by_rank[level.rank].append(f"r{place}.rule")
        cases = []
        for found in by_rank.values():  # the highest rank first, as the levels are
            one = f"coalesce({', '.join(found)})" if len(found) > 1 else found[0]
            if len(found) > 1:
                count = " + ".join(f"({rule} IS NOT NULL)::INTEGER" for rule in found)
                cases.append(f"WHEN {count} > 1 THEN {TIE}")
            cases.append(f"WHEN {one} IS NOT NULL THEN {one}")
        return f"CASE {' '.join(cases)} END" if cases else "NULL::INTEGER"


def _spans(
    rules: Sequence[MarkupRule], fields: tuple[str, ...], numbers: Sequence[int]
) -> list[tuple[str | date | int, ...]]:
    """Cut the time of rules for the same values into spans in which the same ones are in force."""
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number in numbers:
        named = {name: str(getattr(rules[number], name)) for name in fields}
        if "customer_id" in named:
            named["customer_id"] = named["customer_id"].lower()
        groups[tuple(named.values())].append(number)
    spans: list[tuple[str | date | int, ...]] = []
    for values, own in groups.items():
        days = {day for n in own for day in (rules[n].valid.start, rules[n].valid.end)}
        turns = sorted(days)
        for first, beyond in pairwise(turns):
            active = [n for n in own if first in rules[n].valid]
            if active:
                spans.append((*values, first, beyond, active[0] if len(active) == 1 else TIE))
    return spans


def _insert(database: DuckDBPyConnection, table: str, rows: Sequence[tuple[object, ...]]) -> None:
    for start in range(0, len(rows), 500):  # row by row takes seconds for thousands of rules
        some = rows[start : start + 500]
        marks = f"({', '.join('?' * len(some[0]))})"
        values = [one for row in some for one in row]
        database.execute(f"INSERT INTO {table} VALUES {', '.join([marks] * len(some))}", values)
