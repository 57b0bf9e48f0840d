"""Text from right to left on a page that reads from left to right: Hebrew and Arabic names.

Arabic letters are joined by the forms that Unicode has for that, and each printed line is put in
the order in which it is drawn. Enough for names, addresses and sentences in a document that is
English otherwise; embeddings, and marks that other scripts place around a letter, are not known.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from itertools import groupby

_RIGHT_TO_LEFT = frozenset({"R", "AL"})
_NUMBERS = frozenset({"EN", "AN", "ES", "ET", "CS"})
_MARK = "NSM"


def right_to_left(text: str) -> bool:
    """Say whether any letter of a text is written from right to left."""
    return not text.isascii() and any(
        unicodedata.bidirectional(letter) in _RIGHT_TO_LEFT for letter in text
    )


def joined(text: str) -> str:
    """Return a text with its Arabic letters as they look beside their neighbours, in reading order."""
    if not any("\u0600" <= letter <= "\u06ff" for letter in text):
        return text
    forms = _forms()
    out: list[str] = []
    tied = False  # whether the letter before reaches over to this one
    rest = text
    while rest:
        size = 2 if rest[:2] in forms else 1
        letter, rest = rest[:size], rest[size:]
        shapes = forms.get(letter)
        if shapes is None:
            out.append(letter)
            tied = tied and unicodedata.bidirectional(letter) == _MARK
            continue
        following = next((one for one in rest if unicodedata.bidirectional(one) != _MARK), "")
        reaches = "initial" in shapes and "final" in forms.get(following, {})
        tied = tied and "final" in shapes
        place = {(True, True): "medial", (True, False): "final", (False, True): "initial"}
        out.append(shapes.get(place.get((tied, reaches), "isolated"), letter))
        tied = reaches
    return "".join(out)


def as_written(line: str) -> str:
    """Return a joined line in plain letters again."""
    return "".join(
        unicodedata.normalize("NFKC", one) if "\ufb50" <= one <= "\ufefc" else one for one in line
    )


@cache
def _forms() -> dict[str, dict[str, str]]:
    """By letter, or by a pair that is written as one: how it looks isolated, initial, medial, final."""
    forms: dict[str, dict[str, str]] = {}
    for code in (*range(0xFB50, 0xFBB2), *range(0xFE80, 0xFEFD)):
        place, *letters = unicodedata.decomposition(chr(code)).split() or [""]
        text = "".join(chr(int(one, 16)) for one in letters)
        if place in {"<isolated>", "<initial>", "<medial>", "<final>"}:
            forms.setdefault(text, {})[place.strip("<>")] = chr(code)
    return forms


def as_drawn(line: str) -> str:
    """Return one printed line in the order in which it is drawn, from left to right."""
    if not right_to_left(line):
        return line
    marked = [(letter, rtl) for letter, rtl in zip(line, _directions(line), strict=True)]
    parts = []
    for rtl, letters in groupby(marked, key=lambda one: one[1]):
        part = "".join(letter for letter, _ in letters)
        parts.append(_reversed(part) if rtl else part)
    return "".join(parts)


def _directions(line: str) -> list[bool]:
    """Whether each letter belongs to a part from right to left: what is neutral goes with its sides."""
    kinds = [unicodedata.bidirectional(letter) for letter in line]
    strong = [True if kind in _RIGHT_TO_LEFT else False if kind == "L" else None for kind in kinds]
    before, runs = False, []
    for n, kind in enumerate(kinds):
        before = before if strong[n] is None else bool(strong[n])
        # A number within such a text stays in it, whatever comes after.
        runs.append(before if strong[n] is not None or kind in {"EN", "AN", _MARK} else None)
    after = False
    for n in reversed(range(len(runs))):
        if runs[n] is None:
            earlier = next((one for one in reversed(runs[:n]) if one is not None), False)
            runs[n] = earlier and after
        after = bool(runs[n])
    settled = [bool(one) for one in runs]
    opened: list[int] = []
    for n, letter in enumerate(line):  # brackets that belong together go one way
        if letter in _PAIRS:
            opened.append(n)
        elif opened and letter == _PAIRS[line[opened[-1]]]:
            settled[n] = settled[opened.pop()]
    return settled


def _reversed(part: str) -> str:
    """Reverse a part from right to left; numbers in it, and marks behind their letter, stay as they are."""
    pieces: list[str] = []
    number = False
    for letter in part:
        kind = unicodedata.bidirectional(letter)
        digit = kind in {"EN", "AN"} or (number and kind in _NUMBERS)
        if pieces and ((digit and number) or kind == _MARK):
            pieces[-1] += letter
        else:
            pieces.append(_MIRRORED.get(letter, letter))
        number = digit
    return "".join(reversed(pieces))


_PAIRS = {"(": ")", "[": "]", "{": "}"}
_MIRRORED = dict(zip("()[]{}<>«»", ")(][}{><»«", strict=True))
