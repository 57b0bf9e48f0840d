"""Exact money: a Decimal with its currency, rounded once, split without losing a cent.

Ratios (days of a cycle, percentages) are Fractions, so that nothing is rounded before the one
half-up rounding of a line. There is no constructor from float, and arithmetic between two
currencies is a programming error, not a conversion.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, InvalidOperation
from fractions import Fraction
from math import lcm

from domain.record import stored_plainly

# ISO 4217 minor units that are not 2.
_MINOR_UNITS = {
    **dict.fromkeys(
        ("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF").split(),
        0,
    ),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
}

Exact = Decimal | Fraction | int

# The default context would round a sum to 28 digits in silence; this one raises beyond 100.
_EXACT = Context(prec=100, traps=[Inexact, InvalidOperation])


def minor_units(currency: str) -> int:
    """Return the number of decimals of a currency (ISO 4217; 2 unless it is listed)."""
    return _MINOR_UNITS.get(currency, 2)


def round_half_up(value: Exact, places: int) -> Decimal:
    """Round to `places` decimals, halves away from zero, by integer arithmetic alone.

    Decimal.quantize would round twice where a Fraction has no finite decimal form.
    """
    return _from_units(_half_up(value, places), places)


def _half_up(value: Exact, places: int) -> int:
    above, below = value.as_integer_ratio()
    units: int = (2 * abs(above) * 10**places + below) // (2 * below)
    return units if above >= 0 else -units


def _from_units(units: int, places: int) -> Decimal:
    # Read from text, which is exact: scaleb and quantize would round to the context's 28 digits.
    return Decimal(f"{units}E-{places}")


def allocate(total: Decimal, weights: Sequence[Exact], places: int) -> tuple[Decimal, ...]:
    """Split `total` by weights so that the parts sum to it exactly (largest remainder).

    `total` must already be a multiple of 10**-places. Equal remainders go to the earlier part.
    All weights zero: equal parts. Negative weights raise ValueError.
    """
    if not weights:
        msg = "nothing to allocate to: no weights"
        raise ValueError(msg)
    ratios = [weight.as_integer_ratio() for weight in weights]
    if min(above for above, _ in ratios) < 0:
        msg = "weights must not be negative"
        raise ValueError(msg)
    common = lcm(*(below for _, below in ratios))
    shares = [above * (common // below) for above, below in ratios]
    if not any(shares):
        shares = [1] * len(shares)
    above, below = total.as_integer_ratio()
    units, odd = divmod(abs(above) * 10**places, below)
    if odd:
        msg = f"{total} has more than {places} decimals"
        raise ValueError(msg)
    whole = sum(shares)
    parts = [units * share // whole for share in shares]
    by_remainder = sorted(range(len(parts)), key=lambda i: (-(units * shares[i] % whole), i))
    for index in by_remainder[: units - sum(parts)]:
        parts[index] += 1
    return tuple(_from_units(-part if above < 0 else part, places) for part in parts)


def fit_to(total: Decimal, parts: Sequence[Exact], places: int) -> tuple[Decimal, ...]:
    """Correct parts of either sign so that they sum to `total` exactly (largest remainder).

    What they differ from it is shared by their size, so that parts that cancel out are not blown
    up; parts of one sign are simply scaled. All parts zero: equal parts. `total` must be a multiple
    of 10**-places; equal remainders go to the earlier part. ValueError without parts.
    """
    if total < 0:
        return tuple(-part for part in fit_to(-total, [-part for part in parts], places))
    exact = [Fraction(part) for part in parts]
    if all(part >= 0 for part in exact):
        return allocate(total, exact, places)
    size = sum((abs(part) for part in exact), Fraction(0))
    excess = Fraction(total) - sum(exact, Fraction(0))
    units = [(part + excess * abs(part) / size) * 10**places for part in exact]
    whole = [unit.numerator // unit.denominator for unit in units]
    left = Fraction(total) * 10**places - sum(whole)
    if left.denominator != 1:
        msg = f"{total} has more than {places} decimals"
        raise ValueError(msg)
    by_remainder = sorted(range(len(units)), key=lambda i: (whole[i] - units[i], i))
    for index in by_remainder[: int(left)]:
        whole[index] += 1
    return tuple(_from_units(unit, places) for unit in whole)


def plain(value: Exact, places: int = 10) -> str:
    """Write an exact number for people: no exponent, no trailing zeros, at most `places` decimals."""
    units = _half_up(value, places)
    whole, decimals = divmod(abs(units), 10**places)
    text = f"{whole}.{decimals:0{places}}".rstrip("0") if decimals else str(whole)
    return f"-{text}" if units < 0 else text


def price_text(value: Exact, currency: str) -> str:
    """Write a price for people: at least the decimals of its currency, and at most ten."""
    whole, _, decimals = plain(value).partition(".")
    decimals = decimals.ljust(minor_units(currency), "0")
    return f"{whole}.{decimals}" if decimals else whole


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in one currency: an exact Decimal and its ISO 4217 code."""

    amount: Decimal
    currency: str

    def __post_init__(self) -> None:
        amount: object = self.amount  # what a careless caller may really have passed
        if not isinstance(amount, Decimal):
            msg = f"an amount is a Decimal, not {type(amount).__name__}"
            raise TypeError(msg)
        if not self.amount.is_finite():
            msg = f"an amount is a number, not {self.amount}"
            raise ValueError(msg)

    @classmethod
    def rounded(cls, value: Exact, currency: str) -> Money:
        """Round an exact value half-up to the minor unit of its currency: once, at the end."""
        return _money_of(amount=round_half_up(value, minor_units(currency)), currency=currency)

    @classmethod
    def zero(cls, currency: str) -> Money:
        """Return nothing, in the decimals of a currency."""
        return cls.rounded(0, currency)

    def __add__(self, other: Money) -> Money:
        return Money(_EXACT.add(self.amount, self._same(other).amount), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(_EXACT.subtract(self.amount, self._same(other).amount), self.currency)

    def __neg__(self) -> Money:
        return Money(_EXACT.minus(self.amount), self.currency)

    def __lt__(self, other: Money) -> bool:
        return self.amount < self._same(other).amount

    def __bool__(self) -> bool:
        return bool(self.amount)

    def __str__(self) -> str:
        return f"{self.amount:,f} {self.currency}"

    def allocate(self, weights: Sequence[Exact]) -> tuple[Money, ...]:
        """Split by weights so that the parts sum to the whole exactly (largest remainder)."""
        parts = allocate(self.amount, weights, minor_units(self.currency))
        return tuple(Money(part, self.currency) for part in parts)

    def _same(self, other: Money) -> Money:
        if self.currency != other.currency:
            msg = f"cannot mix {self.currency} and {other.currency}"
            raise ValueError(msg)
        return other


_money_of = stored_plainly(
    Money
)  # what was rounded here is a finite Decimal: no need to look again


def total(amounts: Iterable[Money], currency: str) -> Money:
    """Sum amounts of one currency; no amounts make zero."""
    result = Money.zero(currency)
    for amount in amounts:
        result += amount
    return result
