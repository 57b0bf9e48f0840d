"""Draw a document as a PDF: what the page says (`render.to_html`), on A4, to be sent to a customer.

The same document gives the same bytes whenever it is drawn, whatever became of it after its issue:
the file's day is that of the issue, and nothing else of a clock or of chance goes in.
"""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock

from domain.money import plain
from invoice.document import DocumentStatus, Invoice, InvoiceLine
from invoice.paper import (
    CELL,
    HEAD,
    INK,
    LABEL,
    LINE,
    REPLACED,
    STRONG,
    TEXT,
    TITLE,
    TOTAL,
    WHY,
    WIDTH,
    Align,
    Paper,
    Style,
    wrapped,
)
from invoice.render import parties, tax_ids, tax_point, title, total_name
from invoice.tax_words import notes, tax_lines

LEFT, RIGHT, TOP, BOTTOM, FOOT = 42, WIDTH - 42, 56, 782, 806
_GAP = 14

_COLUMNS: tuple[tuple[str, float, Align, float], ...] = (
    ("#", LEFT, "left", 18),
    ("Product", 62, "left", 170),
    ("Service period", 238, "left", 106),
    ("Quantity", 394, "right", 46),
    ("Unit price", 448, "right", 50),
    ("Amount", 506, "right", 54),
    ("Tax", RIGHT, "right", 46),
)
"""Head, where it begins or ends, and how wide its cells may be."""
_MOST = 12
"""Lines of a product's name that stand beside its amount; more go on below."""
_PRODUCT, _AMOUNT = _COLUMNS[1], _COLUMNS[5]

_MARKS = {DocumentStatus.DRAFT: "DRAFT", DocumentStatus.VOID: "VOID"}
_DRAWING = Lock()
"""The library's table of fonts is shared by all threads, and nobody promises that it is safe."""


def to_pdf(document: Invoice) -> bytes:
    """Return the document as a PDF file: A4, tagged, the same bytes each time.

    Chinese, Japanese and Korean characters need fonts of the reader program; a character of a script
    that no font here has is printed as a box, and a line at the end says so.
    """
    with _DRAWING:
        counted = _Sheet(document, pages=0)
        counted.draw()
        sheet = _Sheet(document, pages=counted.paper.page)
        sheet.draw()
        return sheet.paper.finish()


class _Sheet:
    """One document going onto paper, from top to bottom."""

    def __init__(self, document: Invoice, *, pages: int) -> None:
        """`pages`: how many there will be, as the foot of each says."""
        self.document = document
        self.pages = pages
        self.seller = document.seller.name if document.seller else ""
        self.paper = Paper(
            title=f"{title(document)}, {document.account_name or document.customer_name}",
            author=self.seller,
            subject=f"Billing period {document.period}",
            on=document.issued_on,
            of=document.fingerprint,
            mark=_MARKS.get(document.status, ""),
        )
        self.y: float = TOP
        self.in_table = False

    def draw(self) -> None:
        """Write everything; the last page stays open."""
        self._top()
        self._lines()
        self._totals()
        self._notes()
        self._foot()

    def _room(self, height: float) -> None:
        """Go on to the next page where less than that is left of this one."""
        if self.y + height <= BOTTOM:
            return
        self._foot()
        self.paper.next_page()
        self.y = TOP
        if self.in_table:
            self._repeat_head()

    def _foot(self) -> None:
        name = title(self.document)
        self.paper.rule(FOOT - 12, LEFT, RIGHT, colour=LINE)
        self.paper.decorate(LEFT, FOOT, f"{name}  {self.seller}".strip()[:110], LABEL)
        self.paper.decorate(RIGHT, FOOT, f"Page {self.paper.page} of {self.pages}", LABEL, "right")

    # Head ----------------------------------------------------------------------------------------

    def _top(self) -> None:
        paper = self.paper
        self.y += 8
        with paper.element("H1"):
            paper.write(LEFT, self.y, title(self.document), TITLE, room=RIGHT - LEFT)
        self.y += 26
        self._parties()
        self.y += 6
        for label, value in self._facts():
            self._room(TEXT.leading)
            with paper.element("P"):
                paper.write(LEFT, self.y, label, LABEL)
                for n, line in enumerate(wrapped(value, TEXT, RIGHT - LEFT - 90)):
                    if n:
                        self.y += TEXT.leading
                        self._room(0)
                    paper.write(LEFT + 90, self.y, line, TEXT)
            self.y += TEXT.leading
        self.y += _GAP

    def _parties(self) -> None:
        """Who sells and who buys, side by side."""
        sides = list(parties(self.document))
        room = (RIGHT - LEFT - _GAP) / 2
        columns = []
        for label, told in sides:
            strong = wrapped(told[0], STRONG, room)
            rest = [line for one in told[1:] for line in wrapped(one, TEXT, room)]
            columns.append(
                [
                    (label, LABEL),
                    *((one, STRONG) for one in strong),
                    *((one, TEXT) for one in rest),
                ]
            )
        top, page = self.y, self.paper.page
        lowest = top
        for n, column in enumerate(columns):
            self.y = top if page == self.paper.page else TOP
            with self.paper.element("P"):
                for line, style in column:
                    self._room(0)
                    self.paper.write(LEFT + n * (room + _GAP), self.y, line, style)
                    self.y += style.leading
            lowest = max(lowest, self.y)
        self.y = lowest

    def _facts(self) -> Iterator[tuple[str, str]]:
        document = self.document
        yield "Billing period", str(document.period)
        if document.issued_on:
            yield "Issued", str(document.issued_on)
        if document.issued_on and document.due_on:
            days = (document.due_on - document.issued_on).days
            yield "Due", f"{document.due_on} ({days} days from the day of issue)"
        if point := tax_point(document):
            yield "Tax point", str(point)
        yield from tax_ids(document)
        yield "Currency", document.currency

    # Lines ---------------------------------------------------------------------------------------

    def _lines(self) -> None:
        self._room(60)
        with self.paper.element("Table"):
            self._head()
            self.in_table = True
            for line in self.document.lines:
                self._line(line)
            self.in_table = False

    def _head(self) -> None:
        with self.paper.element("TR"):
            for head, x, align, _ in _COLUMNS:
                with self.paper.element("TH", scope="Column"):
                    self.paper.write(x, self.y, head, HEAD, align)
        self._below_head()

    def _repeat_head(self) -> None:
        for head, x, align, _ in _COLUMNS:
            self.paper.decorate(x, self.y, head, HEAD, align)
        self._below_head()

    def _below_head(self) -> None:
        self.paper.rule(self.y + 5, LEFT, RIGHT, colour=INK, thick=1)
        self.y += 5 + CELL.leading + 3

    def _line(self, line: InvoiceLine) -> None:
        """A line, and below it the sentence that says how its amount comes about."""
        charge = line.charge
        names = wrapped(charge.name, CELL, _PRODUCT[3]) or [""]
        why = wrapped(charge.why, WHY, RIGHT - _PRODUCT[1])
        beside = names[:_MOST]
        # The sentence begins on the page of its line, or the line goes with it.
        self._room(len(beside) * CELL.leading + min(len(why), 2) * WHY.leading)
        cells = (
            [str(line.position)],
            beside,
            [str(charge.service)],
            [plain(charge.quantity)],
            [plain(charge.unit_price)],
            [f"{line.amount.amount:,f}"],
            [f"{line.tax.amount:,f}"],
        )
        with self.paper.element("TR"):
            for cell, (_, x, align, room) in zip(cells, _COLUMNS, strict=True):
                with self.paper.element("TD"):
                    for n, told in enumerate(cell):
                        y = self.y + n * CELL.leading
                        self.paper.write(x, y, told, CELL, align, room)
        self.y += len(beside) * CELL.leading
        below = [(told, CELL) for told in names[_MOST:]] + [(told, WHY) for told in why]
        if below:
            with self.paper.element("TR"), self.paper.element("TD", columns=len(_COLUMNS)):
                for told, style in below:
                    self._room(0)
                    self.paper.write(_PRODUCT[1], self.y, told, style)
                    self.y += style.leading
        self.paper.rule(self.y - 4, LEFT, RIGHT, colour=LINE)
        self.y += 8

    # Below the lines -----------------------------------------------------------------------------

    def _totals(self) -> None:
        document = self.document
        rows = [("Subtotal", document.subtotal), *tax_lines(document)]
        self._room(4 * TEXT.leading)
        self.y += 4
        with self.paper.element("Table"):
            for name, amount in rows:
                self._sum(name, f"{amount.amount:,f}", TEXT)
            self._room(TOTAL.leading)
            self.y += 4
            asked = f"{total_name(document)} {document.currency}"
            self._sum(asked, f"{document.total.amount:,f}", TOTAL)

    def _sum(self, name: str, amount: str, style: Style) -> None:
        right = _AMOUNT[1]
        told = wrapped(name, style, right - 90 - LEFT)
        self._room(len(told) * style.leading)
        with self.paper.element("TR"):
            with self.paper.element("TH", scope="Row"):
                for n, line in enumerate(told):
                    self.paper.write(right - 90, self.y + n * style.leading, line, style, "right")
            self.y += (len(told) - 1) * style.leading
            with self.paper.element("TD"):
                self.paper.write(right, self.y, amount, style, "right", 84)
        self.y += style.leading

    def _notes(self) -> None:
        told = notes(self.document)
        if self.paper.replaced:
            told.append(f"{REPLACED} stands for a character that cannot be printed here.")
        self.y += _GAP
        for note in told:
            with self.paper.element("P"):
                for line in wrapped(note, CELL, RIGHT - LEFT):
                    self._room(0)
                    self.paper.write(LEFT, self.y, line, CELL)
                    self.y += CELL.leading
            self.y += 4
