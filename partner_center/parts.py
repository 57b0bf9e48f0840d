"""One part of an export, counted while it comes in: bytes, digest, lines, exact sums.

A part is gzip with one JSON object on a line. It is unpacked beside being stored, so that what was
cut off, is empty or is no gzip at all never reaches the archive. About 2.5 microseconds a line.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any

import msgspec

from domain.delivery import Part, PartSum
from domain.problems import Incomplete

_SLICE = 1 << 14
"""Compressed bytes that are unpacked at once: a thousandfold of it is bounded, too."""
_LINE_LIMIT = 4 << 20
_GZIP = 31
# A quantity of 18 decimals over ten million lines has fewer digits; what has more is no number of
# Microsoft's, and is not rounded away.
_EXACT = Context(prec=80, traps=[Inexact, InvalidOperation])


class _Line(msgspec.Struct):
    """What is summed: of a usage line, or of an invoice line."""

    quantity: Decimal | None = msgspec.field(name="Quantity", default=None)
    cost: Decimal | None = msgspec.field(name="BillingPreTaxTotal", default=None)
    subtotal: Decimal | None = msgspec.field(name="Subtotal", default=None)
    usage_currency: str = msgspec.field(name="BillingCurrency", default="")
    currency: str = msgspec.field(name="Currency", default="")


_READ = msgspec.json.Decoder(_Line)


class Counter:
    """Passes the blocks of one part on and counts what they hold; `service` names their source."""

    def __init__(self, name: str, service: str) -> None:
        self._name = name
        self._service = service
        self._unpacker = zlib.decompressobj(_GZIP)
        self._rest = b""
        self._sums: dict[str, tuple[Decimal, Decimal]] = {}
        self.lines = 0
        self.unread = 0
        self.unpacked = 0

    def through(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the blocks as they are; Incomplete at the end of a part that is not whole."""
        for block in blocks:
            for start in range(0, len(block), _SLICE):
                self._unpack(block[start : start + _SLICE])
            yield block
        if not self._unpacker.eof:
            raise self.fault("is cut off")
        self._count(self._rest)

    def part(self, size: int, sha256: str) -> Part:
        """Return what was counted; `size` and `sha256` are of the bytes as stored."""
        return Part(
            name=self._name,
            size=size,
            sha256=sha256,
            lines=self.lines,
            unread=self.unread,
            sums={
                currency: PartSum(quantity=quantity, amount=amount)
                for currency, (quantity, amount) in sorted(self._sums.items())
            },
        )

    def fault(self, what: str) -> Incomplete:
        """Return the error that says what is wrong with the part."""
        return Incomplete(
            f"the part {self._name} {what}",
            service=self._service,
            hint="run sync again: the part is asked for anew",
        )

    def _unpack(self, packed: bytes) -> None:
        while packed:
            if self._unpacker.eof:  # a gzip file may hold several streams, one after the other
                self._unpacker = zlib.decompressobj(_GZIP)
            try:
                text = self._unpacker.decompress(packed)
            except zlib.error as error:
                raise self.fault(f"is no readable gzip ({error})") from error
            packed = self._unpacker.unused_data
            self.unpacked += len(text)
            text = self._rest + text
            end = text.rfind(b"\n") + 1
            self._rest = text[end:]
            if len(self._rest) > _LINE_LIMIT:
                raise self.fault(f"has a line of more than {_LINE_LIMIT} bytes")
            self._count(text[:end])

    def _count(self, text: bytes) -> None:
        """Count and sum whole lines."""
        try:
            found: list[_Line | None] = [*_READ.decode_lines(text)]
        except ValueError:  # msgspec's errors are of this kind
            # Somewhere among them is one that is no such line: now one by one.
            found = [_read(line) for line in text.splitlines() if line.strip()]
        self.lines += len(found)
        for line in found:
            if line is None or not self._add(line):
                self.unread += 1

    def _add(self, line: _Line) -> bool:
        """Add a line to the sums; False where it has no amount that could be one."""
        amount = line.subtotal if line.cost is None else line.cost
        if amount is None or not amount.is_finite():
            return False
        currency = (line.usage_currency or line.currency).upper()
        quantity, so_far = self._sums.get(currency, (_ZERO, _ZERO))
        try:
            so_far = _EXACT.add(so_far, amount)
            if line.quantity is not None:
                quantity = _EXACT.add(quantity, line.quantity)
        except ArithmeticError:
            return False
        self._sums[currency] = (quantity, so_far)
        return True


_ZERO = Decimal(0)


def _read(line: bytes) -> _Line | None:
    try:
        found: Any = _READ.decode(line)
    except ValueError:
        return None
    return found if isinstance(found, _Line) else None
