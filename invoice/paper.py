"""A4 pages to set text on: fonts, wrapping, and what a reader program needs to read it aloud.

Each piece of text belongs to an element of the document's structure (heading, table, cell), in the
order in which it is read; what only decorates a page does not. Nothing of the clock and nothing
random goes in: the same calls make the same bytes, with the same versions of the library and of zlib.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache, lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from invoice.scripts import as_drawn, as_written, joined, right_to_left

WIDTH, HEIGHT = 595.28, 841.89
"""A4, in points of 1/72 inch, as every measure here."""
REPLACED = "\u25a1"
"""Stands for a character that no font here has."""

Align = Literal["left", "right"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How text looks."""

    size: float
    bold: bool = False
    colour: str = "#1d2430"

    @property
    def leading(self) -> float:
        """From one line to the next."""
        return self.size * 1.32


INK, SOFT, LINE = "#1d2430", "#5b6676", "#d9dee6"
TITLE = Style(size=18, bold=True)
TOTAL = Style(size=11, bold=True)
TEXT = Style(size=9)
STRONG = Style(size=9, bold=True)
CELL = Style(size=8.5)
LABEL = Style(size=8, colour=SOFT)
HEAD = Style(size=8, bold=True, colour=SOFT)
WHY = Style(size=7.5, colour=SOFT)


@dataclass(slots=True)
class _Element:
    """A node of the structure: its dictionary in the file, and its children there."""

    node: Any
    kids: list[Any]


class Paper:
    """A document in the making. Heights count down from the top of the page."""

    def __init__(
        self, *, title: str, author: str, subject: str, on: date | None, of: str, mark: str
    ) -> None:
        """`on`: the day of making; `of`: what it is a print of; `mark`: printed across every page."""
        from reportlab.pdfgen.canvas import Canvas  # noqa: PLC0415 - heavy

        self._file = io.BytesIO()
        self._canvas: Any = Canvas(
            self._file,
            pagesize=(WIDTH, HEIGHT),
            invariant=1,
            lang="en",
            pdfVersion=(1, 7),
            initialFontName=_fonts()[False],
        )
        self._pdf: Any = self._canvas._doc  # noqa: SLF001 - the library has no door to the structure
        self._canvas.setTitle(title)
        self._canvas.setAuthor(author)
        self._canvas.setSubject(subject)
        self._canvas.setCreator("CSP Billing for Dataverse")
        self._canvas.setProducer("ReportLab")
        self._canvas.setKeywords(of)
        self._canvas.setViewerPreference("DisplayDocTitle", "true")
        _date(self._pdf, on)
        self._mark = mark
        self.page = 1
        self.replaced = False
        """Whether a character could not be printed."""
        self._parents: list[list[Any]] = [[]]
        self._open = [self._element("Document", None)]
        self._decorate_page()

    # Pages ---------------------------------------------------------------------------------------

    def next_page(self) -> None:
        """Begin a page; open elements go on there."""
        self._canvas.showPage()
        self.page += 1
        self._parents.append([])
        self._decorate_page()

    def _decorate_page(self) -> None:
        if not self._mark:
            return
        with self.decoration():
            self._canvas.saveState()
            self._canvas.setFillColor("#f3e3cf")
            self._canvas.translate(WIDTH / 2, HEIGHT / 2)
            self._canvas.rotate(50)
            self._canvas.setFont(_fonts()[True], 120)
            self._canvas.drawCentredString(0, -40, self._mark)
            self._canvas.restoreState()

    def finish(self) -> bytes:
        """Return the whole file."""
        from reportlab.pdfbase import pdfdoc  # noqa: PLC0415 - heavy

        self._canvas.showPage()
        pdf = self._pdf
        numbers: list[Any] = []
        for n, parents in enumerate(self._parents):
            page = pdf.idToObject[f"Page{n + 1}"]
            # The library does not know these two entries of a page.
            page.__NoDefault__ = [*page.__NoDefault__, "StructParents", "Tabs"]
            page.StructParents, page.Tabs = n, pdfdoc.PDFName("S")
            numbers += [n, pdfdoc.PDFArray(parents)]
        whole = self._open[0]
        root = pdfdoc.PDFDictionary({"Type": pdfdoc.PDFName("StructTreeRoot"), "K": whole.node})
        tree = pdfdoc.PDFDictionary({"Nums": pdfdoc.PDFArray(numbers)})
        root["ParentTree"] = pdf.Reference(tree)
        pdf.Catalog.StructTreeRoot = pdf.Reference(root)
        pdf.idToObject[whole.node.name]["P"] = pdf.Catalog.StructTreeRoot
        pdf.Catalog.MarkInfo = pdfdoc.PDFDictionary({"Marked": "true"})
        self._canvas.save()
        return self._file.getvalue()

    # Structure -----------------------------------------------------------------------------------

    @contextmanager
    def element(self, tag: str, *, scope: str = "", columns: int = 1) -> Iterator[None]:
        """Put what is written within into an element (H1, P, Table, TR, TH, TD ...).

        A head says its `scope` (Column, Row), a cell how many `columns` it spans.
        """
        self._open.append(self._element(tag, self._open[-1], scope, columns))
        try:
            yield
        finally:
            self._open.pop()

    def _element(
        self, tag: str, parent: _Element | None, scope: str = "", columns: int = 1
    ) -> _Element:
        from reportlab.pdfbase import pdfdoc  # noqa: PLC0415 - heavy

        kids: Any = pdfdoc.PDFArray([])
        entries = {"Type": pdfdoc.PDFName("StructElem"), "S": pdfdoc.PDFName(tag), "K": kids}
        of_table = {"Scope": pdfdoc.PDFName(scope)} if scope else {}
        if columns > 1:
            of_table["ColSpan"] = columns
        if of_table:
            entries["A"] = pdfdoc.PDFDictionary({"O": pdfdoc.PDFName("Table"), **of_table})
        if parent is not None:
            entries["P"] = parent.node
        node = self._pdf.Reference(pdfdoc.PDFDictionary(entries))
        if parent is not None:
            parent.kids.append(node)
        return _Element(node, kids.sequence)

    @contextmanager
    def decoration(self) -> Iterator[None]:
        """Draw what is no part of the content: rules, repeated heads, page numbers."""
        self._canvas._code.append("/Artifact BMC")  # noqa: SLF001 - as above
        try:
            yield
        finally:
            self._canvas._code.append("EMC")  # noqa: SLF001

    @contextmanager
    def _content(self, actual: str) -> Iterator[None]:
        """Number a piece of this page's content and note it in its element."""
        from reportlab.pdfbase import pdfdoc  # noqa: PLC0415 - heavy

        element, page = self._open[-1], self._parents[-1]
        reference = {
            "Type": pdfdoc.PDFName("MCR"),
            "Pg": self._pdf.thisPageRef(),
            "MCID": len(page),
        }
        element.kids.append(pdfdoc.PDFDictionary(reference))
        # A text that is drawn from right to left is read and copied as it was written.
        text = ("\ufeff" + actual).encode("utf-16-be").hex()
        said = f" /ActualText <{text}>" if actual else ""
        self._canvas._code.append(f"/Span <</MCID {len(page)}{said}>> BDC")  # noqa: SLF001
        page.append(element.node)
        try:
            yield
        finally:
            self._canvas._code.append("EMC")  # noqa: SLF001

    # Drawing -------------------------------------------------------------------------------------

    def write(  # noqa: PLR0917 - a place, a text, and how it looks
        self, x: float, y: float, line: str, style: Style, align: Align = "left", room: float = 0
    ) -> None:
        """Write one line with its left (or right) end at `x`, `y` below the top of the page.

        With `room` a line that is wider is set smaller: a number is never broken.
        """
        if not line:
            return
        with self._content(as_written(line) if right_to_left(line) else ""):
            self._draw(x, y, line, style, align, room)

    def decorate(self, x: float, y: float, line: str, style: Style, align: Align = "left") -> None:
        """Write a line that is no content: a repeated head, a page number."""
        with self.decoration():
            self._draw(x, y, line, style, align, 0)

    def _draw(  # noqa: PLR0917 - as above
        self, x: float, y: float, line: str, style: Style, align: Align, room: float
    ) -> None:
        size = style.size
        wide = width(line, style)
        if room and wide > room:
            size, wide = size * room / wide, room
        self._canvas.setFillColor(style.colour)
        if align == "right":
            x -= wide
        for font, part in _runs(as_drawn(line), bold=style.bold):
            self.replaced = self.replaced or REPLACED in part
            self._canvas.setFont(font, size)
            self._canvas.drawString(x, HEIGHT - y, part)
            x += _width(part, font, size)

    def rule(self, y: float, left: float, right: float, *, colour: str, thick: float = 0.5) -> None:
        """Draw a horizontal line."""
        with self.decoration():
            self._canvas.setStrokeColor(colour)
            self._canvas.setLineWidth(thick)
            self._canvas.line(left, HEIGHT - y, right, HEIGHT - y)


def _date(pdf: Any, on: date | None) -> None:
    """Give the file a day of its own, or the fixed one of the library where it has none."""
    if on is not None:
        at = datetime(on.year, on.month, on.day, tzinfo=UTC)
        stamp = pdf._timeStamp  # noqa: SLF001 - the library only knows its own clock
        stamp.t, stamp.YMDhms = at.timestamp(), at.timetuple()[:6]
        stamp.dhh = stamp.dmm = 0


# Fonts and words ----------------------------------------------------------------------------------


def wrapped(text: str, style: Style, room: float) -> list[str]:
    """Return a text as lines that fit; a word that is wider than a line is broken."""
    lines: list[str] = []
    space, left = width(" ", style), 0.0
    for word in joined(printable(text)).split(" "):
        wide = width(word, style)
        if lines and space + wide <= left:
            lines[-1] = f"{lines[-1]} {word}"
            left -= space + wide
            continue
        lines += _pieces(word, style, room)
        left = room - width(lines[-1], style)
    return lines


def _pieces(word: str, style: Style, room: float) -> Iterator[str]:
    """Yield a word in pieces that fit, each as long as can be."""
    while width(word, style) > room and len(word) > 1:
        low, high = 1, len(word)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if width(word[:middle], style) <= room else (low, middle - 1)
        yield word[:low]
        word = word[low:]
    yield word


def printable(text: str) -> str:
    """Return a text in one line of characters that are printed: no tabs, breaks or control codes."""
    plain = unicodedata.normalize("NFC", text)
    shown = ("" if unicodedata.category(one) == "Cf" else one for one in plain)
    spaced = (" " if unicodedata.category(one)[0] in "CZ" else one for one in shown if one)
    return " ".join("".join(spaced).split())


def width(line: str, style: Style) -> float:
    """Return how wide a line is."""
    return sum(_width(part, font, style.size) for font, part in _runs(line, bold=style.bold))


@lru_cache(maxsize=10_000)  # the words of documents come again and again
def _width(part: str, font: str, size: float) -> float:
    from reportlab.pdfbase import pdfmetrics  # noqa: PLC0415 - heavy

    return float(pdfmetrics.stringWidth(part, font, size))


_FOLDER = Path(__file__).with_name("fonts")
_EASTERN = (
    ("HeiseiKakuGo-W5", "cp932", ("\u3040", "\u30ff")),
    ("HYGothic-Medium", "cp949", ("\uac00", "\ud7a3")),
    ("STSong-Light", "gbk", ("\u0000", "\uffff")),
)
"""Fonts that a reader program has or fetches by itself, with the characters that each knows, and
those by whose presence in a text it is chosen: 10 MB each, they are named and not embedded."""


@cache
def _fonts() -> dict[bool, str]:
    """Register the fonts; returns their names, by whether they are bold."""
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont  # noqa: PLC0415 - heavy
    from reportlab.pdfbase.pdfmetrics import registerFont  # noqa: PLC0415
    from reportlab.pdfbase.ttfonts import TTFont  # noqa: PLC0415

    names = {False: "DejaVuSansCondensed", True: "DejaVuSansCondensed-Bold"}
    for name in names.values():
        registerFont(TTFont(name, _FOLDER / f"{name}.ttf"))
    for name, _, _ in _EASTERN:
        registerFont(UnicodeCIDFont(name))
    return names


@cache
def _known(font: str) -> frozenset[int]:
    from reportlab.pdfbase.pdfmetrics import getFont  # noqa: PLC0415 - heavy

    # Beyond the first plane the library writes a map back to text that readers do not accept.
    return frozenset(one for one in getFont(font).face.charToGlyph if one < 0x10000)


def _runs(line: str, *, bold: bool) -> Sequence[tuple[str, str]]:
    """Cut a line where its font must change; a character without a font is replaced."""
    own = _fonts()[bold]
    known = _known(own)
    if line.isascii() or all(ord(one) in known for one in line):
        return [(own, line)]
    chosen = [(own if ord(one) in known else _eastern(one, line), one) for one in line]
    set_ = [(font or own, one if font else REPLACED) for font, one in chosen]
    return [
        (font, "".join(one for _, one in run))
        for font, run in groupby(set_, key=lambda one: one[0])
    ]


def _eastern(letter: str, text: str) -> str:
    """Return the font of a Chinese, Japanese or Korean character; empty where none has it."""
    for font, charset, (first, last) in _EASTERN:
        if any(first <= one <= last for one in text):
            try:
                letter.encode(charset)
            except UnicodeEncodeError:
                continue
            return font
    return ""
