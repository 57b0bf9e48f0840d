"""How foreign payloads are read: tolerant of form, strict about identity, dates and amounts.

Field names match in any case and with or without spaces (`ReferenceID`, `referenceId`, `ERP Price`).
Null and empty text mean "not there". Numbers may arrive as JSON numbers or as text; floats are
refused, because they have lost digits already. Enumerations are open texts. Unknown fields are
ignored. What cannot be read becomes a `Finding` that names record, field and value, in the place of
the record.

Dates are taken as written: Microsoft's times of day are midnight, and converting them to another
zone would move the day. The year 1 means "none", the year 9999 "no end".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import cache, lru_cache
from hashlib import sha256
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from domain.period import BillingCycle, Period, TermDuration
from domain.problems import Finding, Severity
from transport import exact_json

T = TypeVar("T")
M = TypeVar("M", bound="Wire")

_NUMBER = re.compile(r"-?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_ISO_DAY = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:$|[T ])")
_US_DAY = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})(?:$| )")
_DIGITS = 30  # beyond this a number is nonsense, and its text form would be huge


class Wire(BaseModel):
    """A payload as it came. Fields are snake_case here and camelCase on the wire."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True)

    ALSO: ClassVar[Mapping[str, str]] = {}
    """Other wire names in lower case, and the field that they fill."""

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, payload: Any) -> Any:
        if not isinstance(payload, Mapping):
            return payload
        names = _wire_names(cls)
        found: dict[str, Any] = {}
        for key, value in payload.items():
            name = names.get(str(key).lower().replace(" ", "").replace("_", ""))
            if isinstance(value, str):
                value = value.strip()  # noqa: PLW2901
                value = _shared(value) if len(value) <= 200 else value  # noqa: PLW2901
            if name is not None and value is not None and value != "":
                found.setdefault(name, value)
        return found


@lru_cache(1 << 16)
def _shared(text: str) -> str:
    """Return the same object for the same text: large files repeat their ids, names and dates."""
    return text


_lower = lru_cache(1 << 16)(str.lower)


@cache
def _wire_names(model: type[Wire]) -> dict[str, str]:
    names = {to_camel(field).lower(): to_camel(field) for field in model.model_fields}
    return names | {other: to_camel(field) for other, field in model.ALSO.items()}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | Decimal | list):
        return exact_json.dumps(value)
    raise ValueError("is not text")


def _number(value: Any) -> Decimal:
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise ValueError("is not a number")
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError("is not an exact number")  # noqa: TRY004 - pydantic collects ValueErrors
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise ValueError("is not a number") from None
    if not number.is_finite() or not -_DIGITS <= number.adjusted() <= _DIGITS:
        raise ValueError("is not a number of reasonable size")
    return number


def _whole(value: Any) -> int:
    number = _number(value)
    if number != number.to_integral_value():
        raise ValueError("is not a whole number")
    return int(number)


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ValueError("is neither true nor false")


def day_of(value: Any) -> date | None:
    """Read the day as written, without moving it to another time zone; year 1: none."""
    found = _ISO_DAY.match(value) if isinstance(value, str) else None
    us_found = _US_DAY.match(value) if isinstance(value, str) and not found else None
    if found:
        year, month, day = (int(part) for part in found.groups())
    elif us_found:
        month, day, year = (int(part) for part in us_found.groups())
    else:
        raise ValueError("is not a date")
    try:
        written = date(year, month, day)
    except ValueError:
        raise ValueError("is not a date of the calendar") from None
    return None if year == 1 else written


def _moment(value: Any) -> datetime:
    if not isinstance(value, str):
        raise ValueError("is not a date with time")  # noqa: TRY004
    try:
        # Some published payloads put spaces around the colons.
        moment = datetime.fromisoformat(value.replace(": ", ":").strip())
    except ValueError:
        raise ValueError("is not a date with time") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


Text = Annotated[str, PlainValidator(_text)]
Id = Annotated[str, PlainValidator(lambda value: _lower(_text(value)))]
"""GUIDs come in either case; in lower case they match each other."""
PartnerId = Annotated[
    str, PlainValidator(lambda value: "" if _text(value) in ("0", "-1") else _text(value))
]
"""MPN or PLA id; 0 and -1 are how Microsoft writes that there is none."""
Number = Annotated[Decimal, PlainValidator(_number)]
Whole = Annotated[int, PlainValidator(_whole)]
Flag = Annotated[bool, PlainValidator(_flag)]
Day = Annotated[date | None, PlainValidator(day_of)]
Moment = Annotated[datetime, PlainValidator(_moment)]


def day_after(last: date | None) -> date | None:
    """Make Microsoft's inclusive last day the exclusive end used inside; none or year 9999: None."""
    return None if last is None or last.year >= 9999 else last + timedelta(days=1)


def period_of(first: date | None, last: date | None) -> Period | None:
    """Make a period of Microsoft's inclusive days; None unless both are there."""
    end = day_after(last)
    return None if first is None or end is None else Period(first, end)


def term_of(text: str) -> TermDuration | None:
    """Read a term (P1M, P1Y, ...); None where there is none or it is new to us."""
    return next((term for term in TermDuration if term.value == text.upper()), None)


def cycle_of(text: str) -> BillingCycle | None:
    """Read a billing cycle (monthly, Annual, one_time, OneTime); None: none, or new to us."""
    wanted = text.lower().replace("_", "")
    return next((one for one in BillingCycle if one.value.replace("_", "") == wanted), None)


def read(
    model: type[M],
    payload: Any,
    to_domain: Callable[[M], T],
    *,
    check: str,
    record: str,
    customer_id: str = "",
) -> T | Finding:
    """Parse and translate one payload, or say what is wrong with it.

    The customer is held where it is known whose record it is; else the finding only warns.
    """
    try:
        return to_domain(model.model_validate(payload))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            fault = f"the field {field} is missing"
        else:
            reason = str(first.get("ctx", {}).get("error", first["msg"]))
            fault = f"the field {field} holds {_shown(first['input'])}, which {reason}"
            if not field:
                fault = "it is not an object"
    except ValueError as error:  # a translation found a contradiction
        fault = str(error)
    return fault_of(fault, check=check, record=record, customer_id=customer_id)


def fault_of(fault: str, *, check: str, record: str, customer_id: str = "") -> Finding:
    """Make the finding that stands in the place of an unreadable record."""
    return Finding(
        check=f"wire.{check}",
        severity=Severity.HOLD if customer_id else Severity.WARN,
        customer_id=customer_id,
        record=record[:120],
        sentence=f"Microsoft's {record[:120]} cannot be read: {fault}.",
        hint="Compare with Partner Center; if it shows the same there, report it to Microsoft.",
    )


def label(noun: str, payload: Any, *names: str) -> str:
    """Name a record: by its id, else by a mark of its content, whatever its place in the list."""
    if isinstance(payload, Mapping):
        folded = {str(key).lower(): value for key, value in payload.items()}
        for name in names or ("id",):
            if folded.get(name) not in (None, ""):
                return f"{noun} {str(folded[name]).lower()}"
    text = json.dumps(payload, sort_keys=True, default=str)
    return f"{noun} #{sha256(text.encode()).hexdigest()[:8]}"


def customer_of(payload: Any) -> str:
    """Find the customer's id in a payload that may be broken otherwise; empty: unknown."""
    if isinstance(payload, Mapping):
        for key, value in payload.items():
            if str(key).lower() == "customerid" and isinstance(value, str):
                return value.strip().lower()
    return ""


def objects(answer: Any) -> Iterator[Any]:
    """Yield the items of an answer: a collection, a bare array, or one object."""
    if isinstance(answer, Mapping):
        for name in ("items", "value"):
            if isinstance(answer.get(name), list):
                yield from answer[name]
                return
        yield answer
    elif isinstance(answer, list):
        yield from answer


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
