"""The reference for rating usage: a plain loop, standard library only, one row after the other.

Written from the description of the command's folder, rules and result alone; it shares no code with
the engine. Every number is a Decimal from the first byte, and nothing may be rounded but the charge.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact, localcontext
from pathlib import Path
from typing import Any

EXACT = Context(prec=80, traps=[Inexact])
CENT = Decimal("0.01")

Rule = Mapping[str, Any]
Key = tuple[str, ...]


def rate(paths: Iterable[Path], rules: Sequence[Rule]) -> tuple[bytes, dict[Key | None, list[Any]]]:
    """Return the result's bytes and the sums by key; under None the lines that no one rule covers."""
    table: dict[tuple[str | None, str | None], list[Rule]] = {}
    for rule in rules:
        table.setdefault((rule["customer"], rule["family"]), []).append(rule)
    sums: dict[Key | None, list[Any]] = {}
    percents = {rule["id"]: Decimal(str(rule["percent"])) for rule in rules}
    with localcontext(EXACT):
        for path in paths:
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                for line in lines:
                    row = json.loads(line, parse_float=Decimal, parse_int=Decimal)
                    day = row["UsageDate"][:10]
                    rule = _rule(table, row["CustomerId"], row["MeterCategory"], day)
                    key = rule and (
                        row["BillingCurrency"],
                        row["CustomerId"],
                        row["SubscriptionId"],
                        row["ProductId"],
                        row["MeterCategory"],
                        row["MeterId"],
                        day[:7],
                        rule["id"],
                    )
                    entry = sums.get(key)
                    if entry is None:
                        entry = sums[key] = [0, Decimal(0), Decimal(0)]
                    entry[0] += 1
                    entry[1] += Decimal(row["Quantity"])
                    entry[2] += Decimal(row["BillingPreTaxTotal"])
        text = sorted(
            _line(key, entry, percents[key[-1]]) for key, entry in sums.items() if key is not None
        )
    return b"".join(text), sums


def _rule(
    table: Mapping[tuple[str | None, str | None], Sequence[Rule]],
    customer: str,
    family: str,
    day: str,
) -> Rule | None:
    for place in ((customer, family), (customer, None), (None, family), (None, None)):
        found = [
            rule
            for rule in table.get(place, ())
            if rule["from"] <= day and (rule["to"] is None or day < rule["to"])
        ]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _line(key: Key, entry: Sequence[Any], percent: Decimal) -> bytes:
    count, quantity, cost = entry
    exact = cost * (100 + percent) / 100
    with localcontext(Context(prec=80)):
        charge = exact.quantize(CENT, ROUND_HALF_UP) + 0  # no minus before nothing
    text = [*key, f"{count}", f"{quantity:.18f}", f"{cost:.18f}", f"{exact:.24f}", f"{charge:.2f}"]
    return ("\t".join(text) + "\n").encode()
