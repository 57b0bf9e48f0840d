"""Usage rated in SQL: every line gets the one rule in force, every invoice line its exact charge.

Each part of an export is summed on its own (`usage.lines`), the sums are joined, and only what
becomes an invoice line is priced: the sum of exact costs times one factor is the sum of the exact
charges. A charge is rounded once, half-up to cents; how far the rounded charges drift from the exact
total is a control total of its own. Lines that no rule covers, that two rules cover alike, or that
cannot be read are held, counted and told; lines in = lines rated + lines held, and so the money.

Limit: rules by percent. What tiers, packages and commitments come to hangs on a contract's month and
is priced from sums (`rules.metering`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Context, Decimal, Inexact
from functools import reduce
from pathlib import Path
from shutil import move, rmtree
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import TYPE_CHECKING, Any

from domain.contract import MarkupRule
from domain.money import plain
from domain.problems import Finding, InputError, InvariantBroken, Severity
from usage.lines import Part, Shape, ask, checked_scratch, connect, each_part, text, value
from usage.rule_table import TIE, RuleTable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

KEYS = ("BillingCurrency", "CustomerId", "SubscriptionId", "ProductId", "MeterCategory", "MeterId")
"""What an invoice line is for, with the month and the rule."""

SHAPE = Shape(
    text=KEYS,
    dates=("UsageDate",),
    numbers=("Quantity", "BillingPreTaxTotal"),
    needed=("BillingCurrency", "CustomerId", "SubscriptionId"),
    plain=KEYS,  # one would break the text of the result
)
TOLD = 1000
"""Findings that are told one by one; the counts are of all."""

_EXACT = Context(prec=100, traps=[Inexact])  # the default context rounds at 28 digits
_CHARGE = "DECIMAL(38,24)"  # a cost of 18 decimals times a factor of 6: no digit is lost
_STALE_SECONDS = 24 * 3600
_BATCH = 10_000
_HINT = "fetch the export again; nothing is rated from input that is not proven to be whole"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageTotal:
    """One currency: what came in and where it went; cost_in = cost + cost_held, to the last digit."""

    currency: str
    lines_in: int
    quantity_in: Decimal
    cost_in: Decimal
    lines: int
    """Rated."""
    cost: Decimal
    """Of what is rated."""
    cost_held: Decimal
    charge_exact: Decimal
    charge: Decimal

    @property
    def rounding(self) -> Decimal:
        """The drift of the rounded charges from the exact total."""
        return _EXACT.subtract(self.charge, self.charge_exact)


@dataclass(frozen=True, slots=True, kw_only=True)
class RatedUsage:
    """What an export comes to. Where it is not reconcilable nothing was written."""

    source_lines: int = 0
    held_lines: int = 0
    unreadable_lines: int = 0
    """Of the held ones: their cost is not known."""
    invoice_lines: int = 0
    totals: tuple[UsageTotal, ...] = ()
    sha256: str = ""
    """Of the bytes of the result; empty where nothing was written."""
    findings: tuple[Finding, ...] = ()

    @property
    def reconcilable(self) -> bool:
        """Say whether the input is proven to be whole."""
        return not any(finding.severity is Severity.BLOCK for finding in self.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a manifest says that an export holds; None where it does not say."""

    parts: int | None = None
    names: frozenset[str] = frozenset()
    """Parts that must be there."""
    lines: int | None = None
    quantity: Mapping[str, Decimal] | None = None
    """By currency; under an empty key the sum over all."""
    cost: Mapping[str, Decimal] | None = None


def rate(
    paths: Sequence[Path],
    rules: Sequence[MarkupRule],
    *,
    scratch: Path,
    out: Path | None = None,
    annotated: Path | None = None,
    expected: Expected | None = None,
    memory_mb: int = 512,
    threads: int = 2,
    progress: Callable[[Path, int], None] = lambda _path, _lines: None,
) -> RatedUsage:
    """Rate the parts of one export; `out` takes the invoice lines as text separated by tabs.

    Columns: the keys, month and rule, lines, quantity and cost (18 decimals), exact charge (24),
    charge (2); sorted as bytes. `annotated` is a folder for every source line with its rule and exact
    charge, one Parquet file for each part. Both appear when all is rated, or not at all; `progress`
    hears of each part and its lines. InputError for a rule that cannot be meant.
    """
    table = RuleTable.of(rules)
    own = checked_scratch(scratch) / "csp-billing-rate"
    if annotated is not None:
        _check_folder(annotated)
    if not paths:
        return _refused(
            "the folder holds no usage file (*.json.gz): an empty input is not a clean one"
        )
    own.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=own, prefix="rate-") as name:
        folder = Path(name)
        _sweep(folder)
        parts = _Parts(folder, paths, table, annotate=annotated is not None)
        try:
            counts = each_part(
                paths,
                parts.shape,
                parts.sum_up,
                scratch=folder,
                memory_mb=memory_mb,
                threads=threads,
                progress=progress,
            )
        except InputError as error:
            return _refused(str(error))
        with connect(folder / "spilled", memory_mb=memory_mb, threads=threads) as database:
            rated = _rated(database, parts)
            if rated.source_lines != sum(counts):
                raise InvariantBroken(
                    f"{sum(counts)} lines were read and {rated.source_lines} summed"
                )
            missing = _missing(rated, expected or Expected(), paths)
            if missing:
                return replace(rated, findings=(*missing, *rated.findings))
            rated = replace(rated, sha256=_write(_text_lines(database), out))
        if annotated is not None:
            rmtree(annotated, ignore_errors=True)
            annotated.parent.mkdir(parents=True, exist_ok=True)
            for number, path in enumerate(paths):
                (parts.lines / f"{number}.parquet").rename(parts.lines / f"{path.name}.parquet")
            move(parts.lines, annotated)
    return rated


def _rated(database: DuckDBPyConnection, parts: _Parts) -> RatedUsage:
    """Join the sums of the parts; InputError where a sum has more digits than can be kept."""
    import duckdb  # noqa: PLC0415 - a heavy import that only usage needs

    try:
        _join(database, parts)
        return _told(database, parts)
    except (duckdb.OutOfRangeException, duckdb.ConversionException) as error:
        raise InputError(
            f"a sum or a charge has more digits than can be kept: {str(error).splitlines()[0][:200]}",
            hint="look for an amount that cannot be meant; a charge has 14 digits before the point",
        ) from None


def _check_folder(annotated: Path) -> None:
    """Refuse to replace a folder that holds anything but annotated lines."""
    if annotated.exists() and not annotated.is_dir():
        raise InputError(f"{annotated} is no folder", hint="name a new one for the annotated lines")
    others = [one.name for one in annotated.glob("*") if not one.name.endswith(".json.gz.parquet")]
    if others:
        raise InputError(
            f"the folder {annotated} holds {others[0]}, which is no annotated line",
            hint="name a new folder: it is replaced as a whole",
        )


def _sweep(folder: Path) -> None:
    """Remove what runs that were killed left beside; what is younger may belong to one that runs."""
    born = folder.stat().st_mtime
    for left in folder.parent.glob("rate-*"):
        if born - left.stat().st_mtime > _STALE_SECONDS:
            rmtree(left, ignore_errors=True)


# --- parts ---------------------------------------------------------------------------------------


class _Parts:
    """Sums the lines of each part, and with `annotate` keeps every line with its rule and charge."""

    def __init__(
        self, folder: Path, paths: Sequence[Path], rules: RuleTable, *, annotate: bool
    ) -> None:
        self.rules = rules
        self.annotate = annotate
        self.keys = (*KEYS, "SkuId") if rules.names_skus else KEYS
        self.shape = replace(SHAPE, text=self.keys, plain=self.keys, numbered=annotate)
        self.sums, self.lines = folder / "sums", folder / "annotated"
        self.sums.mkdir()
        self.lines.mkdir()
        # Names of foreign files are never given to DuckDB: it would take them for patterns.
        self.numbers = {path: number for number, path in enumerate(paths)}
        self.names = {f"{number}.parquet": path.name for path, number in self.numbers.items()}
        self._prepared: set[int] = set()

    @property
    def files(self) -> str:
        """The files of sums, as a list of SQL."""
        return f"[{', '.join(text(str(self.sums / name)) for name in self.names)}]"

    def sum_up(self, database: DuckDBPyConnection, part: Part) -> int:
        """Write the sums of one part; returns its lines."""
        source, file = part.relation, f"{self.numbers[part.path]}.parquet"
        if self.annotate:
            if id(database) not in self._prepared:
                self.rules.load(database)
                self._prepared.add(id(database))
            lines = text(str(self.lines / file))
            ask(database, part, f"COPY ({self._annotated(source)}) TO {lines} (FORMAT parquet)")
            source = f"read_parquet({lines}, hive_partitioning = false)"
        sums = text(str(self.sums / file))
        ask(database, part, f"COPY ({self._summed(source)}) TO {sums} (FORMAT parquet)")
        total = (
            f"SELECT coalesce(sum(lines), 0) FROM read_parquet({sums}, hive_partitioning = false)"
        )
        return int(ask(database, part, total)[0][0])

    def _summed(self, source: str) -> str:
        """Sums by key, month and span of days in which no rule begins or ends."""
        turns = self.rules.turns
        spans = " ".join(
            f"WHEN \"UsageDate\" < DATE '{day}' THEN {n}" for n, day in enumerate(turns)
        )
        span = f"CASE {spans} ELSE {len(turns)} END" if turns else "0"
        by = f"{_names(self.keys)}, month, span, fault"
        return (
            f"SELECT {_names(self.keys)}, date_trunc('month', \"UsageDate\")::DATE AS month,"
            f' {span} AS span, fault, min("UsageDate") AS day, min(number) AS number,'
            ' count(*) AS lines, sum("Quantity") AS quantity, sum("BillingPreTaxTotal") AS cost'
            f" FROM {source} GROUP BY {by}"
        )

    def _annotated(self, source: str) -> str:
        """Every line with the values of its keys, its rule and its exact charge."""
        values = ", ".join(f'{value(name)} AS "{name}"' for name in self.keys)
        day = 'u."UsageDate"'
        return (
            f'SELECT number, {_names(self.keys)}, "UsageDate", "Quantity", "BillingPreTaxTotal",'
            f' id AS rule, ("BillingPreTaxTotal" * factor)::{_CHARGE} AS charge, fault'
            f" FROM (SELECT u.*, CASE WHEN fault IS NULL THEN {self.rules.choice} END AS chosen"
            f" FROM (SELECT * REPLACE ({values}) FROM {source}) AS u"
            f" {self.rules.joins('u', day)}) LEFT JOIN rule_id ON rule_id.rule = chosen"
        )


# --- the whole -----------------------------------------------------------------------------------


def _join(database: DuckDBPyConnection, parts: _Parts) -> None:
    """Make the tables `used` (sums by key, with the rule or the fault) and `invoiced`."""
    by = f"{_names(parts.keys)}, month, span, fault"
    summed = (
        "min(day) AS day, min(number) AS number, sum(lines) AS lines,"
        " sum(quantity) AS quantity, sum(cost) AS cost"
    )
    # Pieces first: there are many of them, and few values.
    database.execute(
        f"CREATE TABLE piece AS SELECT {by}, filename AS file, {summed} FROM"
        f" (SELECT * REPLACE (CASE WHEN fault IS NULL THEN NULL ELSE parse_filename(filename) END"
        f" AS filename) FROM read_parquet({parts.files}, filename = true,"
        f" hive_partitioning = false)) GROUP BY {by}, filename"
    )
    found = {name: f'"{name}"' if parts.annotate else value(name) for name in parts.keys}
    values = ", ".join(f"coalesce({one}, '') AS \"{name}\"" for name, one in found.items())
    parts.rules.load(database)
    database.execute(
        f"CREATE TABLE used AS SELECT u.*, CASE WHEN fault IS NULL THEN {parts.rules.choice} END AS"
        f" rule FROM (SELECT {by}, file, {summed} FROM (SELECT * REPLACE ({values}) FROM piece)"
        f" GROUP BY {by}, file) AS u {parts.rules.joins('u', 'u.day')}"
    )
    database.execute("DROP TABLE piece")
    database.execute(
        f"CREATE TABLE invoiced AS SELECT *, (cost * factor)::{_CHARGE} AS exact,"
        f" round((cost * factor)::{_CHARGE}, 2)::DECIMAL(38,2) AS charge FROM (SELECT"
        f" {_names(KEYS)}, month, id, factor, sum(lines) AS lines, sum(quantity) AS quantity,"
        " sum(cost) AS cost FROM used JOIN rule_id USING (rule)"
        f" GROUP BY {_names(KEYS)}, month, id, factor)"
    )


def _told(database: DuckDBPyConnection, parts: _Parts) -> RatedUsage:
    """Read the control totals, and what was held and why."""

    def rows(query: str) -> list[tuple[Any, ...]]:
        return database.execute(query).fetchall()

    came = rows(
        'SELECT "BillingCurrency", sum(lines), sum(quantity), sum(cost),'
        " sum(cost) FILTER (rule IS NULL OR rule < 0) FROM used WHERE fault IS NULL"
        " GROUP BY ALL ORDER BY ALL"
    )
    rated = {
        currency: amounts
        for currency, *amounts in rows(
            'SELECT "BillingCurrency", sum(lines), sum(cost), sum(exact), sum(charge)'
            " FROM invoiced GROUP BY ALL"
        )
    }
    zero = Decimal(0)
    totals = []
    for currency, lines_in, quantity_in, cost_in, cost_held in came:
        lines, cost, exact, charge = rated.get(currency, (0, zero, zero, zero))
        totals.append(
            UsageTotal(
                currency=currency,
                lines_in=int(lines_in),
                quantity_in=quantity_in,
                cost_in=cost_in,
                lines=int(lines),
                cost=cost,
                cost_held=cost_held or zero,
                charge_exact=exact,
                charge=charge,
            )
        )
    (unreadable,) = rows("SELECT coalesce(sum(lines), 0) FROM used WHERE fault IS NOT NULL")[0]
    (count,) = rows("SELECT count(*) FROM invoiced")[0]
    lines_in = sum(total.lines_in for total in totals)
    return RatedUsage(
        source_lines=lines_in + int(unreadable),
        held_lines=lines_in - sum(total.lines for total in totals) + int(unreadable),
        unreadable_lines=int(unreadable),
        invoice_lines=count,
        totals=tuple(totals),
        findings=tuple(
            _unreadable(parts.names[file], *row)
            for file, *row in rows(
                "SELECT file, fault, min(number), sum(lines)::BIGINT FROM used WHERE fault IS NOT NULL GROUP BY ALL ORDER BY ALL"
                f" LIMIT {TOLD}"
            )
        )
        + tuple(
            _uncovered(*row)
            for row in rows(
                'SELECT "CustomerId", "MeterCategory", "BillingCurrency", rule, min(day),'
                " sum(lines)::BIGINT, sum(cost) FROM used"
                " WHERE fault IS NULL AND (rule IS NULL OR rule < 0) GROUP BY ALL ORDER BY ALL"
                f" LIMIT {TOLD}"
            )
        ),
    )


def _text_lines(database: DuckDBPyConnection) -> Iterator[str]:
    """Yield the invoice lines as text, sorted as bytes (as DuckDB compares text)."""
    columns = [f'"{name}"' for name in KEYS]
    columns += [
        "strftime(month, '%Y-%m')",
        "id",
        "lines::BIGINT",
        "quantity",
        "cost",
        "exact",
        "charge",
    ]
    found = database.execute(
        f"SELECT concat_ws('\t', {', '.join(columns)}) AS line FROM invoiced ORDER BY line"
    )
    while some := found.fetchmany(_BATCH):
        yield "".join(f"{line}\n" for (line,) in some)


def _write(blocks: Iterator[str], out: Path | None) -> str:
    """Write the result whole or not at all; returns the digest of its bytes."""
    digest = hashlib.sha256()
    if out is None:
        for block in blocks:
            digest.update(block.encode())
        return digest.hexdigest()
    out.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile("wb", dir=out.parent, prefix=".rate-", delete=False) as file:
        partial = Path(file.name)
        try:
            for block in blocks:
                digest.update(block.encode())
                file.write(block.encode())
        except BaseException:
            partial.unlink()
            raise
    partial.chmod(0o644)
    partial.replace(out)
    return digest.hexdigest()


def _names(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


# --- findings ------------------------------------------------------------------------------------


def _missing(rated: RatedUsage, expected: Expected, paths: Sequence[Path]) -> list[Finding]:
    """Compare what came with what the manifest says."""
    found: list[tuple[str, object, object]] = []
    if expected.parts is not None and expected.parts != len(paths):
        found.append(("files", expected.parts, len(paths)))
    found += [
        ("files", one, "none of that name")
        for one in sorted(expected.names - {path.name for path in paths})
    ]
    if expected.lines is not None and expected.lines != rated.source_lines:
        found.append(("lines", expected.lines, rated.source_lines))
    for what, told, came in (
        ("Quantity", expected.quantity, {t.currency: t.quantity_in for t in rated.totals}),
        ("BillingPreTaxTotal", expected.cost, {t.currency: t.cost_in for t in rated.totals}),
    ):
        if told is None:
            continue
        whole = {"": reduce(_EXACT.add, came.values(), Decimal(0))}
        held = whole if set(told) == {""} else came
        for currency in sorted({*told, *held}):
            wanted, got = told.get(currency, Decimal(0)), held.get(currency, Decimal(0))
            if wanted != got:
                name = f"{what} {currency}".strip()
                found.append((f"the sum of {name}", f"{wanted:f}", plain(got, 28)))
    if not rated.source_lines:
        return [_blocked("the files hold no line: an empty input is not a clean one")]
    return [
        _blocked(f"{what}: the manifest says {wanted}, the files hold {got}: not reconcilable")
        for what, wanted, got in found
    ]


def _refused(sentence: str) -> RatedUsage:
    return RatedUsage(findings=(_blocked(sentence),))


def _blocked(sentence: str) -> Finding:
    return Finding(
        check="usage.not_reconcilable",
        severity=Severity.BLOCK,
        customer_id="",
        record=f"usage: {sentence}"[:100],
        sentence=f"{sentence[:1].upper()}{sentence[1:]}.",
        hint=_HINT,
    )


def _unreadable(file: str, fault: str, number: int, lines: int) -> Finding:
    return Finding(
        check="wire.usage",
        severity=Severity.HOLD,
        customer_id="",
        record=f"usage file {file}: {fault}",
        sentence=f"{lines} usage line{'s' * (lines > 1)} from line {number} of {file} on: it {fault}.",
        hint="fetch the file again; if it stays, report the line to Microsoft",
    )


def _uncovered(  # noqa: PLR0917 - one row of what was held
    customer: str,
    family: str,
    currency: str,
    rule: int | None,
    day: Any,
    lines: int,
    cost: Decimal,
) -> Finding:
    what = f"usage of {family or 'no category'} from {day}"
    why = "two markup rules apply equally to" if rule == TIE else "no markup rule covers"
    return Finding(
        check="price.tie" if rule == TIE else "price.missing",
        severity=Severity.HOLD,
        customer_id=customer,
        record=f"{what} in {currency}",
        sentence=(
            f"{why[:1].upper()}{why[1:]} {what}: {lines} line{'s' * (lines > 1)} of {customer} that "
            f"cost {plain(cost, 18)} {currency} {'are' if lines > 1 else 'is'} held."
        ),
        hint="end one of them, or make one more specific"
        if rule == TIE
        else "add a rule for the customer, for the category, or for all",
    )
