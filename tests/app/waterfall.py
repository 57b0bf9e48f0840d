"""Draws the trace of one bill run: `python -m tests.app.waterfall docs/trace.svg`.

A small partner's month, embedded, with a Dataverse that refuses every 40th call: so a second try shows.
Of calls that follow each other to the same service with the same answer one row is drawn.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind

from app import demo
from app.settings import Settings
from app.wiring import opened
from sync.messages import StartRun
from tests.app.telling import Told, said

WIDTH, ROW, LEFT, RIGHT = 1000, 19, 430, 90
COLOURS = {"Dataverse": "#0b6a8f", "Partner Center": "#8a3ffc", "refused": "#c4314b"}
OWN = {SpanKind.PRODUCER: "#6b6b6b", SpanKind.CONSUMER: "#2f7d32"}


@dataclass
class Row:
    """One row of the picture: a span, or several calls that are alike."""

    depth: int
    label: str
    colour: str
    start: int
    end: int
    note: str = ""


def rows(spans: list[ReadableSpan]) -> list[Row]:
    """The spans of one trace as rows, each below its parent, in the order of their beginnings."""
    below: dict[int | None, list[ReadableSpan]] = {}
    for span in sorted(spans, key=lambda one: (one.start_time, one.kind is SpanKind.CLIENT)):
        below.setdefault(span.parent.span_id if span.parent else None, []).append(span)
    made: list[Row] = []
    shown: set[str] = set()

    def draw(span: ReadableSpan, depth: int) -> None:
        told = [said(span, "csp.customer"), said(span, "csp.outcome")]
        note = ", ".join(str(one) for one in told if one)
        made.append(row([span], depth, span.name, OWN[span.kind], note))
        children = below.get(span.context.span_id, [])
        calls = [one for one in children if one.kind is SpanKind.CLIENT]
        # Of units that are alike the calls of the first are drawn; of a plan none.
        if span.name not in shown and not span.name.startswith("start"):
            shown.add(span.name)
            for (service, status, tries), group in groupby(calls, key=kind):
                alike = list(group)
                label = f"{service}: {alike[0].name.split('/')[-1] if len(alike) == 1 else ''}"
                label = f"{len(alike)} × {service}" if len(alike) > 1 else label
                colour = COLOURS["refused"] if status == 429 else COLOURS[service]
                made.append(row(alike, depth + 1, label, colour, again(status, tries)))
        for child in children:
            if child.kind is not SpanKind.CLIENT:
                draw(child, depth + 1)

    for first in below[None]:
        draw(first, 0)
    return made


def kind(call: ReadableSpan) -> tuple[str, int, int]:
    return (
        said(call, "csp.service"),
        said(call, "http.response.status_code"),
        said(call, "csp.tries"),
    )


def again(status: int, tries: int) -> str:
    return f"{status}, tried again" if status == 429 else f"try {tries}" if tries > 1 else ""


def row(alike: list[ReadableSpan], depth: int, label: str, colour: str, note: str) -> Row:
    start = min(one.start_time or 0 for one in alike)
    end = max(one.end_time or 0 for one in alike)
    return Row(depth, label, colour, start, end, note)


def svg(made: list[Row]) -> str:
    """The rows as a picture; a bar that begins at the right says its note at its left."""
    first, last = min(one.start for one in made), max(one.end for one in made)
    scale = (WIDTH - LEFT - RIGHT) / max(last - first, 1)
    height = ROW * (len(made) + 1) + 8
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
    out = [
        f'{head} font-family="Segoe UI, Helvetica, Arial, sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for number, one in enumerate(made):
        y = ROW * number + 8
        x = LEFT + (one.start - first) * scale
        width = max((one.end - one.start) * scale, 1.5)
        text = f"{one.label} · {one.note}" if one.note else one.label
        took = (one.end - one.start) / 1_000_000
        if number % 2:
            out.append(f'<rect y="{y}" width="{WIDTH}" height="{ROW}" fill="#f5f5f5"/>')
        place = f'x="{x:.1f}" y="{y + 4}" width="{width:.1f}" height="{ROW - 8}" rx="2"'
        out += [
            f'<text x="{8 + 18 * one.depth}" y="{y + 13}" fill="#222222">{escape(text[:66])}</text>',
            f'<rect {place} fill="{one.colour}"/>',
            f'<text x="{WIDTH - 8}" y="{y + 13}" text-anchor="end" fill="#555555">{took:.0f} ms</text>',
        ]
    return "\n".join([*out, "</svg>", ""])


def traced() -> list[ReadableSpan]:
    """The spans of one bill run."""
    told = Told()
    with tempfile.TemporaryDirectory() as state:
        settings = Settings.from_env({"CSP_STATE_DIR": state, "CSP_SCENARIO": "small"})
        with opened(settings, told.telemetry()) as worker:
            demo._provision(worker)
            demo._work(worker, StartRun(kind="sync", day=worker.today()))
            demo._key_in(worker, list(worker.store.customers()))
            assert worker.systems.emulator is not None
            worker.systems.emulator.control.throttle("dataverse", every=40)
            demo._work(worker, StartRun(kind="bill", period="2026-10"))
    spans = told.spans()
    (asked,) = [one for one in spans if one.name == "ask bill"]
    return [one for one in spans if one.context.trace_id == asked.context.trace_id]


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(svg(rows(traced())), encoding="utf-8")
