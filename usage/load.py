"""Daily rated usage from gzip JSON lines to exact sums, in DuckDB, never row by row in Python.

A line that is no JSON, has no identity, no day, or an amount that is no number or has more than 18
decimals (`usage.lines`) is a finding and is left out; the others go on, and the counts say how many
there were of each. GUIDs and currencies come in either case; they are written as on Microsoft's
invoice lines, which they must match.

Metered lines are split as fine as a customer's contract asks and no finer: always by Azure
subscription and meter category, and by resource group and tag where these are asked for. Azure's
names of tags and resource groups have no case; values of tags have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING

from domain.contract import UsageGrouping
from domain.problems import Finding, Severity
from domain.subscription import CostKind, CostLine, UsageShare, UsageSummary
from usage.lines import Part, Shape, ask, connect, each_part, text, trim, value

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MAX_SHARES = 20_000
"""Parts of one metered line that are kept with it; packed, so many fit into a row of Dataverse."""

_LINE = Shape(
    text=(
        "CustomerId",
        "SubscriptionId",
        "ProductId",
        "SkuId",
        "EntitlementId",
        "EntitlementDescription",
        "MeterCategory",
        "BillingCurrency",
        "ResourceGroup",
        "ResourceURI",
        "Tags",
        "PartnerEarnedCreditPercentage",
        "BenefitType",
        "ChargeType",
    ),
    dates=("UsageDate",),
    numbers=("Quantity", "BillingPreTaxTotal"),
    needed=("CustomerId", "SubscriptionId", "BillingCurrency"),
)

# The basic attribute set has no ResourceGroup, but the path of the resource names it. What is paid
# for ahead costs nothing here; a benefit that costs something is usage like any other.
_READ = """
SELECT
  number, fault, lower(CustomerId) AS customer, lower(SubscriptionId) AS plan,
  ProductId AS product, SkuId AS sku, lower(coalesce(EntitlementId, '')) AS entitlement,
  coalesce(EntitlementDescription, '') AS entitlement_name,
  coalesce(nullif(MeterCategory, ''), 'Other') AS category,
  UsageDate AS day, upper(BillingCurrency) AS currency,
  Quantity AS quantity, BillingPreTaxTotal AS cost,
  CASE WHEN ResourceGroup IS NOT NULL OR ResourceURI IS NOT NULL THEN coalesce(
    nullif(trim(ResourceGroup), ''),
    regexp_extract(ResourceURI, '/resourcegroups/([^/]+)', 1, 'i'), '') END AS resource_group,
  Tags AS tags,
  try_cast(PartnerEarnedCreditPercentage AS DECIMAL(9,4)) AS earned,
  CASE WHEN BillingPreTaxTotal <> 0 THEN '' ELSE
    CASE regexp_replace(lower(coalesce(BenefitType, '')), '[^a-z]', '', 'g')
    WHEN 'reservation' THEN 'reservation' WHEN 'savingsplan' THEN 'savings_plan'
    ELSE '' END END AS benefit,
  regexp_replace(lower(coalesce(ChargeType, '')), '[^a-z]', '', 'g') = 'customercredit' AS credit
FROM (SELECT * REPLACE ({values}) FROM {relation})
"""

_LINES = """
CREATE VIEW line AS
SELECT *, regexp_replace(parse_filename(filename), '[.]parquet$', '') AS file
FROM read_parquet({files}, filename = true, hive_partitioning = false)
"""

_FAULTS = """
SELECT file, fault, coalesce(customer, ''), count(*) FROM line WHERE fault IS NOT NULL
GROUP BY ALL ORDER BY ALL
"""

_SUMMARIES = """
SELECT customer, plan, entitlement, max(entitlement_name), category, day, currency,
       count(*), sum(quantity), sum(cost)
FROM line WHERE fault IS NULL GROUP BY ALL ORDER BY ALL
"""

# First by the text of the tags, so that each text is read once and not on every line. A credit is
# a line of the invoice by itself: it says nothing of who used what.
_USED = """
CREATE TEMP TABLE used AS
WITH told AS (SELECT count(resource_group) > 0 AS grouped, count(tags) > 0 AS tagged FROM line)
SELECT line.customer, plan, coalesce(product, '') AS product, coalesce(sku, '') AS sku, currency,
       entitlement, max(entitlement_name) AS entitlement_name, category,
       CASE WHEN by_group AND grouped THEN lower(coalesce(resource_group, '')) END AS group_key,
       min(CASE WHEN by_group AND grouped THEN coalesce(resource_group, '') END) AS group_name,
       CASE WHEN len(asked.tags) > 0 AND tagged THEN trim(coalesce(line.tags, '')) END AS tag_text,
       earned, benefit,
       count(*) AS lines, sum(quantity) AS quantity, sum(cost) AS cost
FROM line CROSS JOIN told LEFT JOIN asked USING (customer) WHERE fault IS NULL AND NOT credit
GROUP BY ALL
"""

# Cost exports write tags without the braces.
_TAGGED = """
CREATE TEMP TABLE tagged AS
WITH texts AS (
  SELECT DISTINCT customer, tag_text, asked.tags AS names
  FROM used JOIN asked USING (customer) WHERE tag_text IS NOT NULL
), read AS (
  SELECT *, CASE WHEN json_valid(tag_text) AND json_type(tag_text) = 'OBJECT' THEN tag_text
                 WHEN json_valid('{' || tag_text || '}') THEN '{' || tag_text || '}' END AS whole
  FROM texts
), entered AS (
  SELECT *, map_entries(json_transform(whole, '"MAP(VARCHAR, VARCHAR)"')) AS entries FROM read
), found AS (
  SELECT *, list_transform(names, lambda name:
    list_filter(entries, lambda entry: lower(trim(entry.key)) = name)) AS matches
  FROM entered
)
SELECT customer, tag_text,
       entries IS NULL OR len(list_filter(matches, lambda match: len(match) > 1)) > 0 AS is_broken,
       list_transform(coalesce(matches, list_transform(names, lambda name: [])), lambda match:
         CASE WHEN len(match) = 1 THEN trim(coalesce(match[1].value, '')) ELSE '' END) AS tag_values
FROM found
"""

_BROKEN_TAGS = """
SELECT customer, count(DISTINCT tag_text), sum(lines), min(tag_text)
FROM used JOIN tagged USING (customer, tag_text) WHERE is_broken GROUP BY ALL ORDER BY ALL
"""

_SHARE = """
CREATE TEMP TABLE share AS
SELECT customer, plan, product, sku, currency, entitlement,
       max(entitlement_name) AS entitlement_name, category, group_key,
       min(group_name) AS group_name, tag_values, earned, benefit,
       sum(lines)::BIGINT AS lines, sum(quantity) AS quantity, sum(cost) AS cost
FROM used LEFT JOIN tagged USING (customer, tag_text) GROUP BY ALL
"""

_MANY = f"""
CREATE TEMP TABLE many AS
SELECT customer, plan, product, sku, currency, count(*) AS parts
FROM share GROUP BY ALL HAVING count(*) > {MAX_SHARES}
"""

_SHARES = """
SELECT share.customer, share.plan, share.product, share.sku, share.currency, entitlement,
       max(entitlement_name), category,
       CASE WHEN parts IS NULL THEN group_key END AS group_key,
       min(CASE WHEN parts IS NULL THEN group_name END),
       CASE WHEN parts IS NULL THEN tag_values END AS tag_values,
       earned, benefit, sum(lines)::BIGINT, sum(quantity), sum(cost)
FROM share LEFT JOIN many USING (customer, plan, product, sku, currency) GROUP BY ALL ORDER BY ALL
"""

Place = tuple[str, str, str, str, str]
"""Customer, Azure plan, product, SKU, currency: what a metered cost line and its daily lines share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageMonth:
    """The usage of one of Microsoft's invoices."""

    lines: int
    """All lines of the files, faulty ones included."""
    summaries: tuple[UsageSummary, ...]
    shares: Mapping[Place, tuple[UsageShare, ...]]
    findings: tuple[Finding, ...]


def load(
    files: Sequence[Path],
    *,
    scratch: Path,
    asked: Mapping[str, Iterable[UsageGrouping]] | None = None,
    memory_mb: int = 512,
    threads: int = 2,
) -> UsageMonth:
    """Read the files of one export. `scratch` takes what does not fit into `memory_mb`.

    `asked` are the groupings, by tenant id, in which customers are or were billed; who is not
    named is split by Azure subscription and meter category.
    """
    if not files:
        return UsageMonth(lines=0, summaries=(), shares={}, findings=())
    read = scratch / "read"
    rmtree(read, ignore_errors=True)
    read.mkdir(parents=True)
    values = ", ".join(f'{value(name)} AS "{name}"' for name in _LINE.text)
    numbers = {path: number for number, path in enumerate(files)}
    names = {str(number): path.name for path, number in numbers.items()}

    def keep(database: DuckDBPyConnection, part: Part) -> None:
        """Keep the lines of a part with their types, a twentieth of its size."""
        query = _READ.format(values=values, relation=part.relation)
        kept = text(str(read / f"{numbers[part.path]}.parquet"))
        ask(database, part, f"COPY ({query}) TO {kept} (FORMAT parquet)")

    each_part(files, _LINE, keep, scratch=scratch, memory_mb=memory_mb, threads=threads)
    with connect(scratch / "spilled", memory_mb=memory_mb, threads=threads) as database:
        kept = ", ".join(text(str(read / f"{number}.parquet")) for number in names)
        database.execute(_LINES.format(files=f"[{kept}]"))
        (lines,) = database.execute("SELECT count(*) FROM line").fetchall()[0]
        findings = tuple(
            _fault(names[file], *row) for file, *row in database.execute(_FAULTS).fetchall()
        )
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
                quantity=trim(quantity),
                cost=trim(cost),
            )
            for customer, plan, entitlement, name, category, day, currency, count, quantity, cost in database.execute(
                _SUMMARIES
            ).fetchall()
        )
        shares = _shares(database, asked or {})
        findings += tuple(_broken(*row) for row in database.execute(_BROKEN_TAGS).fetchall())
        findings += tuple(
            _too_many(*row) for row in database.execute("FROM many ORDER BY ALL").fetchall()
        )
    return UsageMonth(lines=lines, summaries=summaries, shares=shares, findings=findings)


def _shares(
    database: DuckDBPyConnection, asked: Mapping[str, Iterable[UsageGrouping]]
) -> dict[Place, tuple[UsageShare, ...]]:
    """Split the month by place, for each customer by what its groupings need."""
    by_customer: dict[str, list[UsageGrouping]] = defaultdict(list)
    for customer, groupings in asked.items():
        by_customer[customer.lower()] += groupings
    names: dict[str, list[str]] = {}
    database.execute("CREATE TEMP TABLE asked (customer VARCHAR, by_group BOOLEAN, tags VARCHAR[])")
    for customer, wanted in by_customer.items():
        tags = names[customer] = sorted({g.tag_key for g in wanted if g.tag_key})
        by_group = any(grouping.needs_resource_group for grouping in wanted)
        database.execute("INSERT INTO asked VALUES (?, ?, ?)", [customer, by_group, tags])
    for step in (_USED, _TAGGED, _SHARE, _MANY):
        database.execute(step)
    shares: dict[Place, list[UsageShare]] = defaultdict(list)
    for row in database.execute(_SHARES).fetchall():
        customer, plan, product, sku, currency, entitlement, name, category = row[:8]
        _, group, values, earned, benefit, lines, quantity, cost = row[8:]
        shares[customer, plan, product, sku, currency].append(
            UsageShare(
                entitlement_id=entitlement,
                entitlement_name=name,
                meter_category=category,
                lines=lines,
                quantity=trim(quantity),
                cost=trim(cost),
                resource_group=group,
                tags=dict(zip(names[customer], values, strict=True)) if values is not None else {},
                earned_percent=None if earned is None else trim(earned),
                benefit=benefit,
            )
        )
    return {place: tuple(parts) for place, parts in shares.items()}


def with_shares(
    lines: Sequence[CostLine], shares: Mapping[Place, tuple[UsageShare, ...]]
) -> list[CostLine]:
    """Return the cost lines with the usage that explains the metered ones.

    Microsoft bills a meter twice where only a part of its usage earned the partner a credit. Where
    lines and days agree on the percentages, each line is explained by its own days.
    """
    told: dict[Place, set[Decimal | None]] = defaultdict(set)
    for line in lines:
        if line.kind is CostKind.USAGE:
            told[_place(line)].add(line.earned_percent or Decimal(0))
    return [
        replace(line, shares=_own(line, shares.get(_place(line), ()), told[_place(line)]))
        if line.kind is CostKind.USAGE
        else line
        for line in lines
    ]


def _place(line: CostLine) -> Place:
    return line.customer_id, line.subscription_id, line.product_id, line.sku_id, line.currency


def _own(
    line: CostLine, shares: tuple[UsageShare, ...], told: AbstractSet[Decimal | None]
) -> tuple[UsageShare, ...]:
    if len(told) > 1 and {share.earned_percent for share in shares} == told:
        percent = line.earned_percent or Decimal(0)
        return tuple(share for share in shares if share.earned_percent == percent)
    return shares


def not_on_invoice(lines: Iterable[CostLine], month: UsageMonth) -> list[Finding]:
    """Find usage that cost something and that no metered line of the invoice answers."""
    billed = {_place(line) for line in lines if line.kind is CostKind.USAGE}
    missing: dict[tuple[str, str, str], list[Decimal]] = defaultdict(list)
    for place, shares in month.shares.items():
        cost = sum((share.cost for share in shares), Decimal(0))
        if cost and place not in billed:
            customer, plan, _, _, currency = place
            missing[customer, plan, currency].append(cost)
    return [
        Finding(
            check="usage.no_line",
            severity=Severity.WARN,
            customer_id=customer,
            record=f"Azure plan {plan} {currency}",
            sentence=(
                f"Daily usage of {sum(costs, Decimal(0)):f} {currency} of {len(costs)} "
                f"{'product' if len(costs) == 1 else 'products'} stands on no line of this invoice."
            ),
            hint="it is late or not billed yet, and comes with a later invoice of Microsoft; "
            "nothing is billed for it until then",
        )
        for (customer, plan, currency), costs in sorted(missing.items())
    ]


def _fault(file: str, fault: str, customer: str, count: int) -> Finding:
    return Finding(
        check="wire.usage",
        severity=Severity.HOLD if customer else Severity.WARN,
        customer_id=customer,
        record=f"usage file {file}: {fault}",
        sentence=f"A usage line of {file} {fault} (seen on {count}).",
        hint="run sync again; if it stays, report the line to Microsoft",
    )


def _broken(customer: str, texts: int, lines: int, example: str) -> Finding:
    shown = example if len(example) <= 80 else f"{example[:80]}..."
    return Finding(
        check="wire.usage",
        severity=Severity.WARN,
        customer_id=customer,
        record="tags of usage",
        sentence=(
            f"The tags of {lines} usage lines cannot be read, or name a tag twice, and count as "
            f"none: {texts} different texts, such as {shown!r}."
        ),
        hint="correct the tags in Azure; until then this usage stands under untagged",
    )


def _too_many(  # noqa: PLR0917 - a row of `many`
    customer: str, plan: str, product: str, sku: str, currency: str, parts: int
) -> Finding:
    return Finding(
        check="wire.usage",
        severity=Severity.WARN,
        customer_id=customer,
        record=f"usage of {product}:{sku} {currency} in plan {plan}",
        sentence=(
            f"The usage of {product}:{sku} falls into {parts} parts, more than the {MAX_SHARES} "
            "that are kept with a line: it is kept by Azure subscription and meter category."
        ),
        hint="group the usage of this customer by a tag with fewer values, or by service",
    )
