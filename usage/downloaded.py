"""Daily usage files that a person downloaded: CSV or JSON lines to exact sums, in SQL over the files.

Every file becomes rows of one table of a few typed columns, with the row's number, so that a fault
can be found again. Which names the columns have and how the file writes numbers is told by the
caller; what a CSV file shows of its notation is asked of the data here. Two exports of one invoice
are one invoice: lines are matched by what they mean, and taken once; where both hold lines that the
other lacks, it is told. Limit: decimals beyond the 20th are not seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from domain.audit import UnearnedCredit, UsageSum
from domain.problems import InputError
from usage.download import (
    ControlRow,
    DownloadedUsage,
    Fault,
    Overlap,
    Repeat,
    Sample,
    UsageFile,
    UsageFileTotal,
    Writing,
)
from usage.lines import text, trim

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MAX_LINE_BYTES = 4 << 20

_TEXTS = (
    *"CustomerId CustomerName SubscriptionId InvoiceNumber ProductId SkuId SkuName UsageDate".split(),
    *"BillingCurrency PricingCurrency EntitlementId EntitlementDescription ResourceURI".split(),
    *"PublisherName ChargeType ChargeStartDate ChargeEndDate".split(),
)
_NUMBERS = (
    *"Quantity BillingPreTaxTotal EffectiveUnitPrice PCToBCExchangeRate".split(),
    *"PartnerEarnedCreditPercentage CreditPercentage".split(),
)

_LINE = """
CREATE TABLE line (
  file INTEGER, row BIGINT, invoice VARCHAR, customer VARCHAR, customer_name VARCHAR, plan VARCHAR,
  product VARCHAR, sku VARCHAR, name VARCHAR, entitlement VARCHAR, entitlement_name VARCHAR,
  publisher VARCHAR, day DATE, currency VARCHAR, pricing VARCHAR, quantity DECIMAL(38,20),
  cost DECIMAL(38,20), unit DECIMAL(38,20), rate DECIMAL(38,20), earned DECIMAL(38,20),
  credited DECIMAL(38,20), fault VARCHAR, mark UBIGINT, meaning UBIGINT, meter UBIGINT)
"""

_PICK = """
INSERT INTO line
SELECT
  {file}, row, coalesce(nullif(trim("InvoiceNumber"), ''), 'unbilled'), lower("CustomerId"),
  coalesce("CustomerName", ''), lower("SubscriptionId"), coalesce("ProductId", ''),
  coalesce("SkuId", ''), coalesce("SkuName", ''), lower(coalesce("EntitlementId", '')),
  coalesce("EntitlementDescription", ''), coalesce("PublisherName", ''), day,
  upper("BillingCurrency"), upper(coalesce("PricingCurrency", '')),
  "Quantity", "BillingPreTaxTotal", "EffectiveUnitPrice", "PCToBCExchangeRate",
  "PartnerEarnedCreditPercentage", "CreditPercentage",
  CASE
    WHEN broken THEN 'is no JSON object'
    -- the sum at the end of a sheet
    WHEN coalesce("SubscriptionId", '') = '' AND "BillingPreTaxTotal" IS NOT NULL
      AND regexp_full_match(lower(coalesce("CustomerId", '')), '|(grand |sub)?totals?:?|sum|summe|gesamt')
      AND day IS NULL THEN 'total'
    WHEN coalesce("CustomerId", '') = '' THEN 'has no CustomerId'
    WHEN coalesce("SubscriptionId", '') = '' THEN 'has no SubscriptionId'
    WHEN day IS NULL THEN 'has no UsageDate that is a date'
    WHEN coalesce("BillingCurrency", '') = '' THEN 'has no BillingCurrency'
    WHEN "Quantity" IS NULL THEN 'has no Quantity that is a number'
    WHEN "BillingPreTaxTotal" IS NULL THEN 'has no BillingPreTaxTotal that is a number'
    -- beyond this the sums of many lines would not fit
    WHEN abs("Quantity") >= 1e12 OR abs("BillingPreTaxTotal") >= 1e12
      OR abs("EffectiveUnitPrice"::DOUBLE * "Quantity"::DOUBLE) * greatest(1, coalesce("PCToBCExchangeRate", 1)::DOUBLE) >= 1e13
      THEN 'has a figure of more than twelve digits'
  END,
  hash(upper(coalesce("InvoiceNumber", '')), lower("CustomerId"), lower("SubscriptionId"),
    "ProductId", "SkuId", day, lower(coalesce("EntitlementId", '')), coalesce("ResourceURI", ''),
    lower(coalesce("ChargeType", '')), "Quantity", "BillingPreTaxTotal", "EffectiveUnitPrice"),
  -- what the line bills: a spreadsheet rewrites digits, and an export may lack columns
  hash(upper(coalesce("InvoiceNumber", '')), lower("CustomerId"), lower("SubscriptionId"),
    "ProductId", "SkuId", day, lower(coalesce("EntitlementId", '')), coalesce("ResourceURI", ''),
    round("BillingPreTaxTotal", 2)),
  hash(upper(coalesce("InvoiceNumber", '')), lower("CustomerId"), lower("SubscriptionId"),
    "ProductId", "SkuId", day, round("BillingPreTaxTotal", 2))
FROM typed
"""


class UsageReader:
    """A table of usage lines that takes in one file after another; use it as a context."""

    def __init__(self, scratch: Path, *, memory: str = "512MB", threads: int = 2) -> None:
        import duckdb  # noqa: PLC0415 - a heavy import that only usage needs

        scratch.mkdir(parents=True, exist_ok=True)
        config: dict[str, str | bool | int | float | list[str]] = {
            "threads": threads,
            "memory_limit": memory,
            "temp_directory": str(scratch / "spill"),
        }
        self._db: DuckDBPyConnection = duckdb.connect(str(scratch / "usage.duckdb"), config=config)
        self._db.execute("SET checkpoint_threshold = '64MB'")
        self._db.execute(_LINE)
        self._names: list[str] = []
        self._filled: list[frozenset[str]] = []
        self._exports: list[str] = []
        self._rejected: list[Fault] = []

    def __enter__(self) -> Self:
        """Return itself, open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the table; its file belongs to `scratch`."""
        self._db.close()

    def stage(self, file: UsageFile) -> None:
        """Read a file as text, to be looked at and then taken in; InputError where it is damaged."""
        import duckdb  # noqa: PLC0415

        try:
            if file.delimiter:
                self._stage_csv(file)
            else:
                self._stage_json(file)
        except duckdb.Error as error:
            reason = str(error).splitlines()[0].partition(": ")[2]
            raise InputError(
                f"{file.name} is damaged, or mixes line ends: {reason}", hint="download it again"
            ) from error

    def samples(
        self, file: UsageFile, dates: Sequence[str], numbers: Sequence[str]
    ) -> list[Sample]:
        """Return values of the staged CSV file that show every way in which it writes."""
        found: list[Sample] = []
        for column in sorted({*file.columns} & {*_TEXTS, *_NUMBERS}):
            if column in dates:
                query = f'SELECT "{column}", min(row) FROM staged GROUP BY 1'
            elif column in numbers:
                shape = (
                    f"concat(regexp_replace(\"{column}\", '[0-8]', '9', 'g'), "
                    f"regexp_matches(\"{column}\", '^[-+( ]*0'))"
                )
                query = (
                    f'SELECT first("{column}" ORDER BY row), min(row) FROM staged GROUP BY {shape}'
                )
            else:
                continue
            rows = self._db.execute(f"{query} ORDER BY 2").fetchall()
            found.extend(
                Sample(column=column, row=row + 1, value=value, is_date=column in dates)
                for value, row in rows
                if value
            )
        return found

    def take(self, file: UsageFile, writing: Writing) -> None:
        """Take the staged file in."""
        number = len(self._names)
        self._names.append(file.name)
        self._exports.append(file.export)
        told = [one for one in ("ResourceURI", "EntitlementId") if one in file.columns]
        counts = self._db.execute(
            f"SELECT {', '.join(['count(*)', *(_count_of(one) for one in told)])} FROM staged"
        ).fetchall()[0]
        self._filled.append(frozenset(one for one, n in zip(told, counts[1:], strict=True) if n))
        typed = _typed_csv(file, writing) if file.delimiter else _typed_json(file)
        self._db.execute(f"WITH typed AS ({typed}) {_picked(number)}")
        self._db.execute("DROP TABLE staged")

    def result(self) -> DownloadedUsage:
        """Add up what was taken in, overlapping exports once; InputError where no sum can hold it."""
        import duckdb  # noqa: PLC0415

        try:
            return self._result()
        except duckdb.OutOfRangeException as error:
            raise InputError(
                "the usage of these files sums to more digits than can be added exactly",
                hint="look for figures that cannot be right, or give fewer files at once",
            ) from error

    def _result(self) -> DownloadedUsage:
        overlaps = tuple(self._overlaps())
        return DownloadedUsage(
            sums=tuple(_sum(*row) for row in self._db.execute(_SUMS).fetchall()),
            unearned=tuple(_unearned(*row) for row in self._db.execute(_UNEARNED).fetchall()),
            overlaps=overlaps,
            repeats=tuple(
                Repeat(invoice_id=i, customer_id=c, currency=m, lines=n, cost=trim(cost))
                for i, c, m, n, cost in self._db.execute(_REPEATS).fetchall()
            ),
            faults=(
                *self._rejected,
                *(
                    Fault(
                        file=self._names[file],
                        row=row,
                        reason=reason,
                        lines=lines,
                        customer_id=customer,
                    )
                    for file, row, reason, customer, lines in self._db.execute(_FAULTS).fetchall()
                ),
            ),
            files=tuple(
                UsageFileTotal(file=self._names[file], lines=lines, taken=taken)
                for file, lines, taken in self._db.execute(_FILES).fetchall()
            ),
            controls=tuple(
                ControlRow(file=self._names[file], row=row, told=trim(told), cost=trim(cost))
                for file, row, told, cost in self._db.execute(_CONTROLS).fetchall()
            ),
            contents=tuple(
                (self._names[file], currency, invoice, lines, trim(cost))
                for file, currency, invoice, lines, cost in self._db.execute(_CONTENTS).fetchall()
            ),
            unnumbered=tuple(
                (self._names[file], blank, lines)
                for file, blank, lines in self._db.execute(_UNNUMBERED).fetchall()
            ),
            days={
                (invoice, currency): frozenset(days)
                for invoice, currency, days in self._db.execute(_DAYS).fetchall()
            },
        )

    def _stage_csv(self, file: UsageFile) -> None:
        wanted = {*_TEXTS, *_NUMBERS}
        picked = ", ".join(
            f'c{n} AS "{column}"' for n, column in enumerate(file.columns) if column in wanted
        )
        columns = ", ".join(f"'c{n}': 'VARCHAR'" for n in range(len(file.columns)))
        self._db.execute(
            f"""CREATE OR REPLACE TABLE staged AS
            SELECT row_number() OVER () AS row, {picked} FROM read_csv($file,
              columns = {{{columns}}}, auto_detect = false, header = true, delim = $delim,
              quote = '"', escape = '"', max_line_size = {MAX_LINE_BYTES}, store_rejects = true,
              null_padding = false, compression = $packed)""",
            {
                "file": str(file.path),
                "delim": file.delimiter,
                "packed": "gzip" if file.gzipped else "none",
            },
        )
        rejected = self._db.execute(
            "SELECT line, count(*) OVER (), error_message FROM reject_errors ORDER BY line LIMIT 1"
        ).fetchall()
        self._rejected.extend(
            Fault(
                file=file.name,
                row=line,
                reason="is not in UTF-8"
                if "unicode" in message
                else "has another number of fields than the header, or a quote too many",
                lines=count,
            )
            for line, count, message in rejected
        )
        self._db.execute("DROP TABLE IF EXISTS reject_errors")
        self._db.execute("DROP TABLE IF EXISTS reject_scans")

    def _stage_json(self, file: UsageFile) -> None:
        shape = {
            written: "DECIMAL(38,20)" if column in _NUMBERS else "VARCHAR"
            for column, written in file.columns.items()
            if column in {*_TEXTS, *_NUMBERS}
        }
        fields = ", ".join(
            f"j.{_name(written)} AS {_name(column)}"
            for column, written in file.columns.items()
            if column in {*_TEXTS, *_NUMBERS}
        )
        self._db.execute(
            f"""CREATE OR REPLACE TABLE staged AS
            WITH raw AS (
              SELECT row_number() OVER () AS row, l FROM read_csv($file,
                columns = {{l: 'VARCHAR'}}, auto_detect = false, header = false, delim = '{chr(1)}',
                quote = '', escape = '', max_line_size = {MAX_LINE_BYTES}, compression = $packed)
            ), parsed AS (
              SELECT row, CASE WHEN json_valid(l) THEN
                json_transform(l, {text(json.dumps(shape))}) END AS j
              FROM raw WHERE trim(l) <> ''
            )
            SELECT row, j IS NULL AS broken, {fields} FROM parsed""",
            {"file": str(file.path), "packed": "gzip" if file.gzipped else "none"},
        )

    def _overlaps(self) -> Iterator[Overlap]:
        """Leave out the lines of each file that an earlier one has too, where both are of one export."""
        if len(self._names) < 2:
            return
        exact = self._shared("mark")
        same = {mark: self._shared(mark) for mark in ("meaning", "meter")}
        sizes: dict[tuple[int, str], int] = {
            (file, invoice): count
            for file, invoice, count in self._db.execute(
                "SELECT file, invoice, count(*) FROM line WHERE fault IS NULL GROUP BY ALL"
            ).fetchall()
        }
        for one, other, invoice in sorted({*same["meaning"], *same["meter"]}):
            mark = "meaning" if self._filled[one] == self._filled[other] else "meter"
            pair = one, other, invoice
            shared = same[mark].get(pair, 0)
            least = min(sizes[one, invoice], sizes[other, invoice])
            parts = self._exports[one] and self._exports[one] == self._exports[other]
            # Parts of one export have lines alike by chance, never so many.
            if parts or (2 * shared < least and 20 * exact.get(pair, 0) < least):
                continue
            taken = self._leave_out(one, other, invoice, mark)
            if taken:
                yield Overlap(
                    file=self._names[other],
                    other=self._names[one],
                    invoice_id=invoice,
                    lines=taken,
                    left=least - shared,
                )

    def _shared(self, mark: str) -> dict[tuple[int, int, str], int]:
        """Return how many lines two files have in common, by the pair and the invoice."""
        rows = self._db.execute(
            f"""WITH marked AS (
              SELECT file, invoice, {mark}, count(*) AS n FROM line WHERE fault IS NULL GROUP BY ALL)
            SELECT a.file, b.file, a.invoice, sum(least(a.n, b.n))::BIGINT
            FROM marked a JOIN marked b USING (invoice, {mark}) WHERE a.file < b.file GROUP BY ALL"""
        ).fetchall()
        return {(one, other, invoice): count for one, other, invoice, count in rows}

    def _leave_out(self, one: int, other: int, invoice: str, mark: str) -> int:
        return int(
            self._db.execute(
                f"""WITH here AS (
                  SELECT rowid AS id, {mark}, row_number() OVER (PARTITION BY {mark} ORDER BY row) AS n
                  FROM line WHERE file = $other AND invoice = $invoice AND fault IS NULL
                ), there AS (
                  SELECT {mark}, count(*) AS n FROM line
                  WHERE file = $one AND invoice = $invoice AND fault IS NULL GROUP BY ALL)
                UPDATE line SET fault = 'taken' FROM here JOIN there USING ({mark})
                WHERE line.rowid = here.id AND here.n <= there.n""",
                {"one": one, "other": other, "invoice": invoice},
            ).fetchall()[0][0]
        )


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _count_of(column: str) -> str:
    return f"count(nullif({_name(column)}, ''))"


def _picked(number: int) -> str:
    return _PICK.replace("{file}", str(number))


def _typed_json(file: UsageFile) -> str:
    lacking = _lacking(file)
    return f'SELECT * {lacking}, try_cast(left("UsageDate", 10) AS DATE) AS day FROM staged'


def _lacking(file: UsageFile) -> str:
    there = set(file.columns)
    return "".join(
        f', NULL::{"DECIMAL(38,20)" if column in _NUMBERS else "VARCHAR"} AS "{column}"'
        for column in (*_TEXTS, *_NUMBERS)
        if column not in there
    )


def _typed_csv(file: UsageFile, writing: Writing) -> str:
    numbers = [column for column in _NUMBERS if column in file.columns]
    other = "," if writing.decimal == "." else "."
    # What is no number in this notation becomes NULL, and with that a fault.
    number = (
        f"CASE WHEN NOT contains(@, '{other}') OR regexp_full_match(@, "
        f"'[-+]?[0-9]{{1,3}}([{other}][0-9]{{3}})+([{writing.decimal}][0-9]*)?') "
        f"THEN try_cast(replace(replace(@, '{other}', ''), '{writing.decimal}', '.') "
        "AS DECIMAL(38,20)) END"
    )
    cleaned = (
        "regexp_replace(regexp_replace(replace(@, '−', '-'), "
        "'[\\s\\x{00a0}\\x{2007}\\x{2009}\\x{202f}''’_]', '', 'g'), "
        "'^(?:\\((.*)\\)|(.*[0-9])-)$', '-\\1\\2')"
    )
    exprs = ", ".join(
        f'{number.replace("@", cleaned.replace("@", _name(column)))} AS "{column}"'
        for column in numbers
    )
    form = "%m/%d/%Y" if writing.month_first else "%d/%m/%Y"
    date_text = "regexp_extract(trim(\"UsageDate\"), '^[0-9]+([-/.])[0-9]+[-/.][0-9]+')"
    day = (
        f"CASE WHEN regexp_matches(trim(\"UsageDate\"), '^[0-9]{{4}}') "
        f"THEN try_cast(replace(left(trim(\"UsageDate\"), 10), '/', '-') AS DATE) "
        f"WHEN contains({date_text}, '.') "
        f"THEN try_strptime(replace({date_text}, '.', '/'), '%d/%m/%Y')::DATE "
        f"ELSE try_strptime(replace({date_text}, '-', '/'), '{form}')::DATE END"
    )
    texts = ", ".join(
        f'trim("{column}") AS "{column}"' for column in _TEXTS if column in file.columns
    )
    return (
        f"SELECT row, false AS broken, {texts}, {exprs} {_lacking(file)}, {day} AS day FROM staged"
    )


_SUMS = """
SELECT invoice, customer, max(customer_name), plan, product, sku, max(name), max(publisher), currency,
  count(*), sum(quantity), sum(cost), max(coalesce(rate, 1)), min(coalesce(rate, 1)), min(day), max(day),
  count(*) FILTER (abs(off) > bound), coalesce(sum(off) FILTER (abs(off) > bound), 0)
FROM (
  SELECT *,
    CASE WHEN unit <> 0 THEN
      cost - try_cast(try_cast(unit::DECIMAL(38,12) * quantity::DECIMAL(38,10) AS DECIMAL(38,14))
        * coalesce(rate, 1)::DECIMAL(38,10) AS DECIMAL(38,14))
    END AS off,
    -- one cent for the rounding, and what the twelfth decimal of the price can make
    0.0100001::DECIMAL(38,14) + abs(quantity)::DECIMAL(38,14) * 0.000001 AS bound
  FROM line WHERE fault IS NULL
) GROUP BY invoice, customer, plan, product, sku, currency ORDER BY ALL
"""

_UNEARNED = """
WITH earns AS (
  SELECT invoice, customer, max(earned) AS percent FROM line
  WHERE fault IS NULL AND earned > 0 GROUP BY ALL)
SELECT invoice, customer, max(customer_name), entitlement, max(entitlement_name), currency,
  count(*), sum(cost), max(percent)
FROM line JOIN earns USING (invoice, customer)
WHERE fault IS NULL AND earned = 0 AND cost > 0 AND coalesce(credited, 0) = 0
  AND (publisher = '' OR publisher ILIKE 'microsoft%')
GROUP BY invoice, customer, entitlement, currency ORDER BY ALL
"""

_REPEATS = """
SELECT invoice, customer, currency, sum(n - 1)::BIGINT, sum((n - 1) * cost)
FROM (SELECT file, invoice, customer, currency, cost, mark, count(*) AS n FROM line
  WHERE fault IS NULL GROUP BY ALL HAVING count(*) > 1)
GROUP BY ALL ORDER BY ALL
"""

_FAULTS = """
SELECT file, min(row), fault, coalesce(customer, ''), count(*) FROM line
WHERE fault IS NOT NULL AND fault NOT IN ('taken', 'total') GROUP BY file, fault, coalesce(customer, '') ORDER BY ALL
"""

_CONTROLS = """
SELECT file, row, line.cost, coalesce(sums.cost, 0) FROM line LEFT JOIN (
  SELECT file, sum(cost) AS cost FROM line WHERE fault IS NULL OR fault = 'taken' GROUP BY file
) sums USING (file) WHERE fault = 'total' ORDER BY ALL
"""

_DAYS = """
SELECT invoice, currency, list(DISTINCT day) FROM line WHERE fault IS NULL GROUP BY ALL
"""

_CONTENTS = """
SELECT file, coalesce(currency, ''), invoice, count(*) FILTER (fault IS DISTINCT FROM 'taken'),
  coalesce(sum(cost) FILTER (fault IS NULL OR fault = 'taken'), 0)
FROM line WHERE fault IS DISTINCT FROM 'total' GROUP BY ALL ORDER BY ALL
"""

_UNNUMBERED = """
SELECT file, count(*) FILTER (invoice = 'unbilled') AS blank, count(*) FROM line
WHERE fault IS NULL OR fault = 'taken' GROUP BY file
HAVING blank > 0 AND blank < count(*) ORDER BY file
"""

_FILES = """
SELECT file, count(*), count(*) FILTER (fault IS NULL) FROM line
WHERE fault IS DISTINCT FROM 'total' GROUP BY file ORDER BY file
"""


def _sum(*row: Any) -> UsageSum:
    invoice, customer, customer_name, plan, product, sku, name, publisher, currency, *rest = row
    lines, quantity, cost, rate, lowest_rate, first, last, off_lines, off = rest
    return UsageSum(
        invoice_id=invoice,
        customer_id=customer,
        customer_name=customer_name,
        plan_id=plan,
        product_id=product,
        sku_id=sku,
        name=name,
        publisher=publisher,
        currency=currency,
        lines=lines,
        quantity=trim(quantity),
        cost=trim(cost),
        rate=trim(rate),
        lowest_rate=trim(lowest_rate),
        first=first,
        last=last,
        off_lines=off_lines,
        off=trim(off),
    )


def _unearned(*row: Any) -> UnearnedCredit:
    invoice, customer, customer_name, entitlement, name, currency, lines, cost, percent = row
    return UnearnedCredit(
        invoice_id=invoice,
        customer_id=customer,
        customer_name=customer_name,
        entitlement_id=entitlement,
        entitlement_name=name,
        currency=currency,
        lines=lines,
        cost=trim(cost),
        percent=trim(percent),
    )
