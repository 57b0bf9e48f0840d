"""The icon of the connector, drawn: a document with three lines and a sum, white on the brand colour."""

from __future__ import annotations

import struct
import zlib

COLOUR = "#0f4c5c"
_SIDE = 160
_TWICE = 2
"""Each point is looked at so often each way, which smooths edges."""


def icon() -> bytes:
    """Return it as PNG, 160 by 160."""
    ground = tuple(int(COLOUR[start : start + 2], 16) for start in (1, 3, 5))
    rows = bytearray()
    for y in range(_SIDE):
        rows.append(0)  # no filter
        for x in range(_SIDE):
            inside = sum(
                _is_white(x + (i + 0.5) / _TWICE, y + (j + 0.5) / _TWICE)
                for i in range(_TWICE)
                for j in range(_TWICE)
            )
            rows.extend(_mixed(part, inside) for part in ground)
    head = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(rows), 9)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _mixed(part: int, inside: int) -> int:
    most = _TWICE * _TWICE
    return (part * (most - inside) + 255 * inside) // most


def _is_white(x: float, y: float) -> bool:
    """Say whether a point is paper: a sheet with a folded corner, and lines cut out of it."""
    if not (46 <= x <= 114 and 30 <= y <= 130):
        return False
    if x - 92 > y - 30:  # the corner that is folded away
        return False
    lines = ((58, 92, 60, 66), (58, 102, 74, 80), (58, 102, 88, 94), (82, 102, 106, 115))
    return not any(left <= x <= right and top <= y <= bottom for left, right, top, bottom in lines)
