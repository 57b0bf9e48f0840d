"""Files as a partner might hold them: the same lines in every spelling that Partner Center and Excel know."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from app.audit import audit
from emulator import Emulator, wire
from partner_center.columns import DATES, NUMBERS
from reports.audit import summary
from transport import exact_json

Row = dict[str, Any]
EUR, USD = "G000912346", "G000912345"
"""October 2026 of the emulated partner."""


def world(invoice: str) -> tuple[list[Row], list[Row]]:
    """Reconciliation and daily usage lines of one invoice, exact numbers as Microsoft exports them."""
    return lines(invoice), _exported(_world().usage_lines(invoice))


def lines(invoice: str) -> list[Row]:
    """Reconciliation lines alone."""
    return _exported(_world().reconciliation_lines(invoice))


def heads() -> list[Row]:
    return _exported(_world().invoices())


@cache
def _world() -> Any:
    return Emulator(seed=1, scenario="partner-month").world


def _exported(rows: Any) -> list[Row]:
    return [exact_json.loads(wire.encode(row)) for row in rows]


def answer(*paths: Path, **options: Any) -> dict[str, Any]:
    """audit.json, without what names files and rows: that differs by the form of a file."""
    data = summary(audit(paths, **options))
    data.pop("files")
    for point in data["points"]:
        point.pop("records")
    return data


def checks(data: dict[str, Any], weight: str = "") -> list[str]:
    return [p["check"] for p in data["points"] if weight in ("", p["weight"])]


def json_lines(rows: Sequence[Row]) -> str:
    return "".join(exact_json.dumps(row) + "\n" for row in rows)


def csv_text(
    rows: Sequence[Row],
    *,
    delimiter: str = ",",
    rename: Callable[[str], str] = lambda name: name,
    day: Callable[[str], str] = lambda text: text,
    number: Callable[[str], str] = lambda text: text,
) -> str:
    """A sheet: columns of all rows, dates and numbers as the writer's country has them."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    target = io.StringIO()
    writer = csv.writer(target, delimiter=delimiter)
    writer.writerow([rename(name) for name in columns])
    for row in rows:
        cells = []
        for name in columns:
            value = row.get(name, "")
            text = f"{value:f}" if isinstance(value, Decimal) else str(value)
            if name in DATES and text:
                text = day(text)
            elif name in NUMBERS and text:
                text = number(text)
            cells.append(text)
        writer.writerow(cells)
    return target.getvalue()


def us_day(text: str) -> str:
    year, month, day = text[:10].split("-")
    return f"{int(month)}/{int(day)}/{year}"


def uk_day(text: str) -> str:
    year, month, day = text[:10].split("-")
    return f"{day}/{month}/{year}"


def german_day(text: str) -> str:
    year, month, day = text[:10].split("-")
    return f"{day}.{month}.{year}"


def _grouped(text: str, group: str, sign: str) -> str:
    minus = "-" if text.startswith("-") else ""
    whole, _, rest = text.lstrip("-").partition(".")
    return minus + f"{int(whole):,}".replace(",", group) + (sign + rest if rest else "")


def german(text: str) -> str:
    return _grouped(text, ".", ",")


def french(text: str) -> str:
    return _grouped(text, "\u202f", ",")


def american(text: str) -> str:
    return _grouped(text, ",", ".")


def exponent(text: str) -> str:
    """1.5E-05, as a spreadsheet writes small numbers; the digits stay the same."""
    number = Decimal(text)
    return f"{number:E}" if number and abs(number) < Decimal("0.01") else text


OLD_NAMES = {
    "Tier2MpnId": "ResellerMpnId",
    "PartnerEarnedCreditPercentage": "RateOfPartnerEarnedCredit",
    "CreditPercentage": "RateOfCredit",
    "Unit": "UnitOfMeasure",
    "Total": "TotalForCustomer",
}


def old(name: str) -> str:
    return OLD_NAMES.get(name, name)


def camel(name: str) -> str:
    name = old(name)
    return "pcToBC" + name[6:] if name.startswith("PCToBC") else name[:1].lower() + name[1:]


def spaced(name: str) -> str:
    """`customer id`, `PC TO BC EXCHANGE RATE`: names as people retype them."""
    out = "".join(
        f" {c}" if c.isupper() and n and not name[n - 1].isupper() else c
        for n, c in enumerate(name)
    )
    return out.upper() if len(name) % 2 else out.lower()


def v1(rows: Sequence[Row]) -> list[Row]:
    return [{camel(name): value for name, value in row.items()} for row in rows]


def quoted(rows: Sequence[Row]) -> list[Row]:
    """Numbers as JSON text, as some answers of Microsoft have them."""
    return [
        {
            n: f"{v:f}" if isinstance(v, Decimal) else str(v) if n in NUMBERS else v
            for n, v in row.items()
        }
        for row in rows
    ]


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def zipped(path: Path, **members: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


FORMS: dict[str, Callable[[Path, Sequence[Row]], Path]] = {
    "json lines": lambda p, r: write(p, json_lines(r)),
    "json lines, gz": lambda p, r: write(p, gzip.compress(json_lines(r).encode())),
    "json lines with a mark": lambda p, r: write(p, b"\xef\xbb\xbf" + json_lines(r).encode()),
    "json lines in UTF-16": lambda p, r: write(p, json_lines(r).encode("utf-16")),
    "json lines, quoted numbers": lambda p, r: write(p, json_lines(quoted(r))),
    "json array": lambda p, r: write(p, exact_json.dumps(list(r))),
    "json array, indented": lambda p, r: write(p, json.dumps(quoted(r), indent=2)),
    "v1 items": lambda p, r: write(
        p,
        exact_json.dumps({"totalCount": len(r), "items": v1(r), "links": {"self": {"uri": "/x"}}}),
    ),
    "v1 items, zip": lambda p, r: zipped(p, **{"a.json": exact_json.dumps({"items": v1(r)})}),
    "csv": lambda p, r: write(p, csv_text(r)),
    "csv, gz": lambda p, r: write(p, gzip.compress(csv_text(r).encode())),
    "csv, zip": lambda p, r: zipped(p, **{"folder/lines.csv": csv_text(r)}),
    "csv with a mark, old names": lambda p, r: write(
        p, csv_text(r, rename=old).encode("utf-8-sig")
    ),
    "csv, v1 names": lambda p, r: write(p, csv_text(r, rename=camel)),
    "csv, names retyped": lambda p, r: write(p, csv_text(r, rename=spaced)),
    "csv, US": lambda p, r: write(p, csv_text(r, day=us_day, number=american)),
    "csv, UK, tabs, UTF-16": lambda p, r: write(
        p, csv_text(r, delimiter="\t", day=uk_day).encode("utf-16")
    ),
    "csv, German": lambda p, r: write(p, csv_text(r, delimiter=";", day=german_day, number=german)),
    "csv, French, with a mark": lambda p, r: write(
        p, csv_text(r, delimiter=";", day=uk_day, number=french).encode("utf-8-sig")
    ),
    "csv, exponents, line feeds": lambda p, r: write(
        p, csv_text(r, number=exponent).replace("\r\n", "\n")
    ),
}


def cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), rounding="ROUND_HALF_UP")


def full_price(line: Row) -> Decimal:
    """The subtotal of a metered line as Microsoft states it: cut to the cent twice."""
    cut = {"exp": Decimal("0.01"), "rounding": "ROUND_DOWN"}
    price = Decimal(str(line["EffectiveUnitPrice"])) * Decimal(str(line["BillableQuantity"]))
    return (price.quantize(**cut) * Decimal(str(line["PCToBCExchangeRate"]))).quantize(**cut)
