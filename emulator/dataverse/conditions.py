"""One condition on one column as SQL: the operators that FetchXML and query functions share.

Operators carry FetchXML's names. Relative dates are computed from the emulator's clock in UTC;
weeks begin on Sunday, as in an en-US organisation.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from emulator.dataverse import errors, values
from emulator.dataverse.schema import Column
from emulator.dataverse.values import Cell

Fragment = tuple[str, Sequence[Cell]]
_SIGNS = {"eq": "=", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_SPECIAL = {
    "EqualUserId": "eq-userid",
    "NotEqualUserId": "ne-userid",
    "Last7Days": "last-seven-days",
    "Next7Days": "next-seven-days",
    "OlderThanXDays": "olderthan-x-days",
    "OlderThanXMonths": "olderthan-x-months",
}
_TRUE = {"true", "1", "True"}
_GROUP = 100


def operator_of(function: str) -> str:
    """The FetchXML operator of a query function: OnOrAfter -> on-or-after."""
    special = _SPECIAL.get(function)
    return special or re.sub(r"(?<!^)(?=[A-Z])", "-", function).lower()


def cell(column: Column, value: Any) -> Cell:
    """A constant of a query as the cell it is compared with; 400 when it is of another type."""
    try:
        if column.kind in values.EXACT_KINDS:
            return format(Decimal(str(value)), "f")
        if column.kind == "Boolean":
            return int(str(value) in _TRUE)
        if column.kind in values.ID_KINDS:
            return values.parse_guid(str(value))
        if column.kind == "DateTime" and column.date_only:
            return values.parse_date(str(value)[:10])
        if column.kind == "DateTime":
            return values.parse_instant(str(value))
        if column.edm == "Edm.String":
            return str(value)
        number = int(value)
        if abs(number) >= 2**63:
            raise OverflowError  # noqa: TRY301 - one answer for all that does not fit
    except (OverflowError, ValueError, InvalidOperation, TypeError):
        message = f"The value '{value}' is not of the type {column.edm} of '{column.name}'."
        raise errors.bad_query(message) from None
    return number


def build(
    op: str, sql: str, column: Column, raw: Sequence[Any], *, now: datetime, user: str
) -> Fragment:
    """SQL and parameters of `column op values`; an unknown operator is a 400."""
    if op in ("null", "not-null"):
        return f"{sql} IS {'NOT ' if op == 'not-null' else ''}NULL", []
    if op in ("eq-userid", "ne-userid"):
        op, raw = op[:2], [user]
    if op in _SIGNS:
        return f"{sql} {_SIGNS[op]} ?", [cell(column, _first(op, raw))]
    if op in ("ne", "neq"):
        # Dataverse's "does not equal" includes rows without a value.
        return f"({sql} <> ? OR {sql} IS NULL)", [cell(column, _first(op, raw))]
    if op in ("in", "not-in"):
        marks = ", ".join("?" * len(raw))
        negation = "NOT " if op == "not-in" else ""
        return f"{sql} {negation}IN ({marks})", [cell(column, value) for value in raw]
    if op in ("between", "not-between"):
        if len(raw) != 2:
            raise errors.bad_query(f"The operator '{op}' needs two values.")
        negation = "NOT " if op == "not-between" else ""
        return f"{sql} {negation}BETWEEN ? AND ?", [cell(column, value) for value in raw]
    if op in ("contain-values", "not-contain-values", "does-not-contain-values"):
        hits = chain("or", [f"(',' || {sql} || ',') LIKE ?"] * len(raw))
        negation = "" if op == "contain-values" else "NOT "
        return f"{negation}{hits}", [f"%,{value},%" for value in raw]
    pattern = _pattern(op, raw)
    if pattern is not None:
        negation = "NOT " if op.startswith("not") else ""
        return f"{sql} {negation}LIKE ? ESCAPE '\\'", [pattern]
    if column.kind != "DateTime":
        raise errors.bad_query(f"The operator '{op}' is not valid for '{column.name}'.")
    start, end = _range(op, raw, now)
    parts: list[str] = []
    bounds: list[Cell] = []
    for sign, within_day, moment in ((">=", ">", start), ("<", "<=", end)):
        if moment is None:
            continue
        text = values.print_instant(moment)
        # A date counts as its midnight: a bound within a day includes or excludes it whole.
        inside = column.date_only and not text.endswith("T00:00:00Z")
        # The emulated clock stands still: what was written now is written by now.
        up_to_now = sign == "<" and moment == now
        parts.append(f"{sql} {within_day if inside or up_to_now else sign} ?")
        bounds.append(text[:10] if column.date_only else text)
    return f"({' AND '.join(parts)})", bounds


def chain(op: str, parts: Sequence[str]) -> str:
    """Parts joined by `and` or `or`, in groups: SQLite counts a chain's length as its depth."""
    while len(parts) > _GROUP:
        groups = range(0, len(parts), _GROUP)
        parts = [f"({f' {op} '.join(parts[start : start + _GROUP])})" for start in groups]
    return f"({f' {op} '.join(parts)})"


def like_literal(text: str) -> str:
    """Text in which LIKE finds nothing special."""
    return re.sub(r"([%_\\])", r"\\\1", text)


def _first(op: str, raw: Sequence[Any]) -> Any:
    if len(raw) != 1:
        raise errors.bad_query(f"The operator '{op}' needs one value.")
    return raw[0]


def _pattern(op: str, raw: Sequence[Any]) -> str | None:
    if op in ("like", "not-like"):
        return str(_first(op, raw)).replace("\\", "\\\\")  # % and _ are wildcards here
    if op in ("begins-with", "not-begin-with"):
        return like_literal(str(_first(op, raw))) + "%"
    if op in ("ends-with", "not-end-with"):
        return "%" + like_literal(str(_first(op, raw)))
    return None


def _range(op: str, raw: Sequence[Any], now: datetime) -> tuple[datetime | None, datetime | None]:
    """The half-open span that a date operator means."""
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    one = timedelta(days=1)
    if op in ("on", "on-or-after", "on-or-before"):
        try:
            text = values.parse_instant(str(_first(op, raw)))
        except ValueError:
            raise errors.bad_query(f"'{raw[0]}' is not a date.") from None
        start = datetime.fromisoformat(text[:10]).replace(tzinfo=UTC)
        return {"on": (start, start + one), "on-or-after": (start, None)}.get(
            op, (None, start + one)
        )
    fixed = {"today": 0, "yesterday": -1, "tomorrow": 1}
    if op in fixed:
        start = day + fixed[op] * one
        return start, start + one
    if op in ("last-seven-days", "next-seven-days"):
        return (day - 7 * one, now) if op.startswith("last") else (now, day + 8 * one)
    match = re.fullmatch(r"(last|next|this)-(week|month|year)", op)
    if match:
        step = {"last": -1, "this": 0, "next": 1}[match[1]]
        if match[2] == "week":
            sunday = day - ((day.weekday() + 1) % 7) * one
            start = sunday + 7 * step * one
            return start, start + 7 * one
        months = 1 if match[2] == "month" else 12
        first = date(now.year, now.month if months == 1 else 1, 1)
        return _months(first, months * step), _months(first, months * (step + 1))
    match = re.fullmatch(r"(last|next|olderthan)-x-(hours|days|weeks|months|years)", op)
    if match:
        count = int(_first(op, raw)) * (1 if match[1] == "next" else -1)
        edge = _shift(now, day, match[2], count)
        if match[1] == "olderthan":
            return None, edge
        if match[1] == "last":
            return edge, now
        return now, edge if match[2] == "hours" else edge + one  # to the end of that day
    raise errors.bad_query(f"The operator '{op}' is not supported.")


def _shift(now: datetime, day: datetime, unit: str, count: int) -> datetime:
    if unit == "hours":
        return now + timedelta(hours=count)
    if unit in ("days", "weeks"):
        return day + timedelta(days=count * (7 if unit == "weeks" else 1))
    return _months(day.date(), count * (12 if unit == "years" else 1), day.day)


def _months(first: date, count: int, day: int = 1) -> datetime:
    index = first.year * 12 + first.month - 1 + count
    year, month = divmod(index, 12)
    if not 1 <= year <= 9998:
        raise errors.bad_query(f"A span of {count} months leaves the calendar.")
    return datetime(year, month + 1, min(day, monthrange(year, month + 1)[1]), tzinfo=UTC)
