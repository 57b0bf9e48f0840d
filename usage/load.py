"""Daily rated usage from gzip JSON lines to exact sums, in DuckDB, never row by row in Python.

Each line is read as text and transformed once: `json_transform` keeps every digit of a number where
DuckDB's own JSON reader goes through a double. A line that is no JSON, has no identity, no day, or
an amount that is no number or has more than 18 decimals is a finding and is left out; the others go
on, and the counts say how many there were of each. GUIDs and currencies come in either case; they
are written as on Microsoft's invoice lines, which they must match.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from domain.problems import Finding, Severity
from domain.subscription import CostKind, CostLine, UsageShare, UsageSummary

MAX_LINE_BYTES = 1_048_576

# Decimals are read with 20 places so that a 19th decimal shows, and is refused, not rounded away.
_SHAPE = """{
  "CustomerId": "VARCHAR", "SubscriptionId": "VARCHAR", "ProductId": "VARCHAR", "SkuId": "VARCHAR",
  "EntitlementId": "VARCHAR", "EntitlementDescription": "VARCHAR", "MeterCategory": "VARCHAR",
  "UsageDate": "VARCHAR", "BillingCurrency": "VARCHAR",
  "Quantity": "DECIMAL(38,20)", "BillingPreTaxTotal": "DECIMAL(38,20)"
}"""

# Only constants are put into the text; the file names are bound.
_LINES = f"""
CREATE TEMP TABLE line AS
WITH raw AS (
  SELECT l, parse_filename(filename) AS file FROM read_csv(
    $files, columns = {{l: 'VARCHAR'}}, auto_detect = false, header = false, delim = '\\x01',
    quote = '', escape = '', max_line_size = {MAX_LINE_BYTES}, compression = 'gzip',
    filename = true)
), parsed AS (
  SELECT l, file, CASE WHEN json_valid(l) THEN json_transform(l, '{_SHAPE}') END AS j FROM raw
)
SELECT
  file, l,
  lower(j.CustomerId) AS customer, lower(j.SubscriptionId) AS plan,
  j.ProductId AS product, j.SkuId AS sku, lower(coalesce(j.EntitlementId, '')) AS entitlement,
  coalesce(j.EntitlementDescription, '') AS entitlement_name,
  coalesce(nullif(j.MeterCategory, ''), 'Other') AS category,
  try_cast(left(j.UsageDate, 10) AS DATE) AS day,
  upper(j.BillingCurrency) AS currency, j.Quantity AS quantity, j.BillingPreTaxTotal AS cost,
  CASE
    WHEN j IS NULL THEN 'is no JSON object'
    WHEN coalesce(j.CustomerId, '') = '' THEN 'has no CustomerId'
    WHEN coalesce(j.SubscriptionId, '') = '' THEN 'has no SubscriptionId'
    WHEN try_cast(left(j.UsageDate, 10) AS DATE) IS NULL THEN 'has no UsageDate that is a date'
    WHEN coalesce(j.BillingCurrency, '') = '' THEN 'has no BillingCurrency'
    WHEN j.Quantity IS NULL THEN 'has no Quantity that is a number'
    WHEN j.BillingPreTaxTotal IS NULL THEN 'has no BillingPreTaxTotal that is a number'
    WHEN j.Quantity <> j.Quantity::DECIMAL(38,18)
      OR j.BillingPreTaxTotal <> j.BillingPreTaxTotal::DECIMAL(38,18)
      THEN 'has a number with more than 18 decimals'
  END AS fault
FROM parsed
"""  # noqa: S608

_FAULTS = """
SELECT file, fault, coalesce(customer, ''), count(*) FROM line WHERE fault IS NOT NULL
GROUP BY ALL ORDER BY ALL
"""

_SUMMARIES = """
SELECT customer, plan, entitlement, max(entitlement_name), category, day, currency,
       count(*), sum(quantity), sum(cost)
FROM line WHERE fault IS NULL GROUP BY ALL ORDER BY ALL
"""

_SHARES = """
SELECT plan, coalesce(product, ''), coalesce(sku, ''), currency,
       entitlement, max(entitlement_name), category, count(*), sum(quantity), sum(cost)
FROM line WHERE fault IS NULL GROUP BY ALL ORDER BY ALL
"""

Place = tuple[str, str, str, str]
"""Azure plan, product, SKU, currency: what a metered cost line and its daily lines share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageMonth:
    """The usage of one of Microsoft's invoices."""

    lines: int
    """All lines of the files, faulty ones included."""
    summaries: tuple[UsageSummary, ...]
    shares: Mapping[Place, tuple[UsageShare, ...]]
    findings: tuple[Finding, ...]


def load(
    files: Sequence[Path], *, scratch: Path, memory: str = "512MB", threads: int = 2
) -> UsageMonth:
    """Read the files of one export. `scratch` takes what does not fit into `memory`."""
    if not files:
        return UsageMonth(lines=0, summaries=(), shares={}, findings=())
    import duckdb  # noqa: PLC0415 - a heavy import that only this use case needs

    scratch.mkdir(parents=True, exist_ok=True)
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": threads,
        "memory_limit": memory,
        "temp_directory": str(scratch),
        "preserve_insertion_order": False,
    }
    with duckdb.connect(":memory:", config=config) as database:
        database.execute(_LINES, {"files": [str(path) for path in files]})
        (lines,) = database.execute("SELECT count(*) FROM line").fetchall()[0]
        findings = tuple(_fault(*row) for row in database.execute(_FAULTS).fetchall())
        summaries = tuple(
            UsageSummary(
                customer_id=customer,
                plan_id=plan,
                entitlement_id=entitlement,
                entitlement_name=name,
                meter_category=category,
                day=day,
                currency=currency,
                lines=count,
                quantity=_trim(quantity),
                cost=_trim(cost),
            )
            for customer, plan, entitlement, name, category, day, currency, count, quantity, cost in database.execute(
                _SUMMARIES
            ).fetchall()
        )
        shares: dict[Place, list[UsageShare]] = defaultdict(list)
        for row in database.execute(_SHARES).fetchall():
            plan, product, sku, currency, entitlement, name, category, count, quantity, cost = row
            shares[plan, product, sku, currency].append(
                UsageShare(
                    entitlement_id=entitlement,
                    entitlement_name=name,
                    meter_category=category,
                    lines=count,
                    quantity=_trim(quantity),
                    cost=_trim(cost),
                )
            )
    return UsageMonth(
        lines=lines,
        summaries=summaries,
        shares={place: tuple(parts) for place, parts in shares.items()},
        findings=findings,
    )


def with_shares(
    lines: Sequence[CostLine], shares: Mapping[Place, tuple[UsageShare, ...]]
) -> list[CostLine]:
    """Return the cost lines with the usage that explains the metered ones."""
    return [
        replace(
            line,
            shares=shares.get(
                (line.subscription_id, line.product_id, line.sku_id, line.currency), ()
            ),
        )
        if line.kind is CostKind.USAGE
        else line
        for line in lines
    ]


def _trim(number: Decimal) -> Decimal:
    """Drop the zeros that the column type added."""
    text = f"{number:f}"  # normalize() would round to the context's 28 digits
    return Decimal(text.rstrip("0").rstrip(".") if "." in text else text)


def _fault(file: str, fault: str, customer: str, count: int) -> Finding:
    return Finding(
        check="wire.usage",
        severity=Severity.HOLD if customer else Severity.WARN,
        customer_id=customer,
        record=f"usage file {file}: {fault}",
        sentence=f"A usage line of {file} {fault} (seen on {count}).",
        hint="pull the usage of this invoice again; if it stays, report the line to Microsoft",
    )
