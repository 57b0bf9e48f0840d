"""Writing rows: equal ones are left alone, links wait for their targets, a bad row is named.

Every row carries a hash of what was last written, so a repeated save writes nothing: each write
would wake flows and audits. A person's change in Dynamics therefore stands until the source
changes. What exists is asked by key, so the cost of a save follows its rows, not the table.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from dataverse.client import DataverseClient, Query, Refused, literal
from dataverse.mapping import OutRow, from_row, to_row
from dataverse.schema import EXTERNAL_KEY, KEY, OVERFLOW, ROW_HASH, Row, Table
from dataverse.tables import CLOSED, FINDING, OPEN, TABLE_OF, TABLES
from domain.problems import ConfigurationError, Finding, Severity
from invoice.file import Saved

REFUSED = "store.refused"
"""The check of a finding about a row that Dataverse does not take."""

_TARGET_GONE = frozenset({"0x80060891", "0x80040217"})  # by alternate key, by primary key


class Rows:
    """The rows of one environment as they are written; safe for threads."""

    def __init__(self, client: DataverseClient) -> None:
        self.client = client
        # What was seen is taken to be there still: we never delete it, and people seldom do.
        self._linkable: dict[str, set[str]] = {}
        self._currencies: dict[str, str] = {}

    def save(self, records: Sequence[object]) -> Saved:
        """Upsert records by their keys, targets of links first; equal rows are not written again.

        Of two records with one key the last counts. A row that Dataverse refuses becomes a finding
        that holds its customer, and the others are written.
        """
        by_table: dict[str, dict[str, OutRow]] = {}
        for record in records:
            table = TABLE_OF[type(record)]
            row = to_row(table, record)
            by_table.setdefault(table.name, {})[row.key] = row
        saved = Saved()
        for table in TABLES:
            if table.name in by_table:
                saved += self._save_rows(table, by_table[table.name])
        return saved

    def _save_rows(self, table: Table, rows: Mapping[str, OutRow]) -> Saved:
        self.settle_links(rows.values())
        stored = self._hashes(table, rows)
        changed = {key: row for key, row in rows.items() if stored.get(key) != row.digest()}
        refused = self._write(table, changed, stored)
        unlinked = {one.key: changed[one.key] for one in refused if one.code in _TARGET_GONE}
        if unlinked:
            self.forget_links()
            self.settle_links(unlinked.values())
            refused = [one for one in refused if one.key not in unlinked]
            refused += self._write(table, unlinked, stored)
        bad = {one.key for one in refused}
        self._linkable.setdefault(table.name, set()).update(rows.keys() - bad)
        if table is not FINDING:
            self._report(table, changed, refused)
        elif refused:
            raise ConfigurationError(
                f"a finding cannot be stored: {refused[0].sentence}",
                hint="Compare the tables with `provision --plan`.",
            )
        written = changed.keys() - bad
        return Saved(
            created=len(written - stored.keys()),
            updated=len(written & stored.keys()),
            unchanged=len(rows) - len(changed),
        )

    def _write(
        self, table: Table, rows: Mapping[str, OutRow], stored: Collection[str]
    ) -> list[Refused]:
        bodies: dict[str, Row] = {}
        refused: list[Refused] = []
        for key, row in rows.items():
            once = {} if key in stored else row.once
            try:
                bodies[key] = {**self.body(table, row), **once, ROW_HASH: row.digest()}
            except ConfigurationError as problem:
                refused.append(Refused(key=key, code="", sentence=str(problem)))
        return refused + self.client.upsert_many(table.name, bodies)

    def _hashes(self, table: Table, keys: Collection[str]) -> dict[str, str | None]:
        """Read the hashes of the rows that are already stored."""
        rows = self.client.read_keyed(table.name, (EXTERNAL_KEY, ROW_HASH), keys)
        return {row[EXTERNAL_KEY]: row[ROW_HASH] for row in rows}

    def settle_links(self, rows: Iterable[OutRow]) -> None:
        """Drop the links to rows that are not stored; the next save sets them."""
        rows = list(rows)
        wanted: dict[str, set[str]] = {}
        for row in rows:
            for lookup, target in row.links:
                if not lookup.required:
                    wanted.setdefault(lookup.target, set()).add(target)
        for name, targets in wanted.items():
            known = self._linkable.setdefault(name, set())
            unknown = targets - known
            if unknown and name == "account":
                known |= self._existing_accounts(unknown)
            elif unknown:
                found = self.client.read_keyed(name, (EXTERNAL_KEY,), unknown)
                known |= {row[EXTERNAL_KEY] for row in found}
        for row in rows:
            row.links = [
                (lookup, target)
                for lookup, target in row.links
                if lookup.required or target in self._linkable[lookup.target]
            ]

    def forget_links(self) -> None:
        """Look again whether the targets of links are there: one was deleted by a person."""
        self._linkable.clear()

    def _existing_accounts(self, ids: Collection[str]) -> set[str]:
        where = " or ".join(f"accountid eq {row_id}" for row_id in sorted(ids) if _is_guid(row_id))
        if not where:
            return set()
        found = self.client.read(Query(table="account", select=("accountid",), where=where))
        return {row["accountid"] for row in found}

    def body(self, table: Table, row: OutRow) -> dict[str, Any]:
        """Return a row as JSON with its links and, where it holds money, its currency.

        ConfigurationError when the environment does not have the currency.
        """
        body = dict(row.columns)
        for lookup, target in row.links:
            path = self.client.id_path if lookup.by_id else self.client.row_path
            body[f"{lookup.schema_name}@odata.bind"] = f"/{path(lookup.target, target)}"
        if table.has_money:
            currency = self._currency(row.columns["csp_currency"] or "")
            body["transactioncurrencyid@odata.bind"] = f"/transactioncurrencies({currency})"
        return body

    def _currency(self, iso: str) -> str:
        """Return the row of a currency; money is never left to the environment's own currency."""
        if iso not in self._currencies:
            query = Query(
                table="transactioncurrency",
                select=("transactioncurrencyid", "isocurrencycode"),
                where="statecode eq 0",
            )
            self._currencies = {
                row["isocurrencycode"]: row["transactioncurrencyid"]
                for row in self.client.read(query)
            }
        if iso not in self._currencies:
            raise ConfigurationError(
                f"the Dataverse environment has no currency {iso!r}",
                hint=f"Add {iso} under Currencies in the environment's settings.",
            )
        return self._currencies[iso]

    # Findings about rows -------------------------------------------------------------------------

    def _report(
        self, table: Table, tried: Mapping[str, OutRow], refused: Sequence[Refused]
    ) -> None:
        """Save what was refused as findings, and close those about rows that are written now."""
        if not tried:
            return
        findings = [
            Finding(
                check=REFUSED,
                severity=Severity.HOLD,
                customer_id=str(tried[one.key].columns.get("csp_tenantid") or ""),
                record=f"{table.name} {one.key}",
                sentence=f"Dataverse refused the row: {one.sentence} ({one.code or 'no code'}).",
                hint="Correct the source or the table; the next run writes the row again.",
            )
            for one in refused
        ]
        self.save(findings)
        healed = {f"{table.name} {key}" for key in tried} - {one.record for one in findings}
        for row in self.open_findings(f"csp_check eq {literal(REFUSED)}"):
            if from_row(FINDING, row).record in healed:
                self.close_finding(row)

    def open_findings(self, where: str = "") -> list[Row]:
        """Read the rows of open findings."""
        opened = f"csp_state eq {FINDING.column('csp_state').option(OPEN)}"
        return self.client.read(
            query_of(FINDING, f"{opened} and {where}" if where else opened, EXTERNAL_KEY)
        )

    def close_finding(self, row: Row) -> None:
        """Close a finding; without its hash, so that seeing it again writes and opens the row."""
        closed = {"csp_state": FINDING.column("csp_state").option(CLOSED), ROW_HASH: None}
        self.client.write(FINDING.name, row[EXTERNAL_KEY], closed, version="*")


def columns_of(table: Table) -> tuple[str, ...]:
    """Name the columns that make the record, with the key and the digits that did not fit."""
    columns = [column.name for column in table.columns if column.field and not column.derived]
    return (*columns, KEY, OVERFLOW)


def query_of(table: Table, where: str = "", *more: str) -> Query:
    """Return the query that reads a table's records."""
    return Query(table=table.name, select=(*columns_of(table), *more), where=where)


def _is_guid(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text) is not None
