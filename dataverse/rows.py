"""Writing rows: equal ones are left alone, links wait for their targets, a bad row is named.

Every row carries a hash of what was last written, so a repeated save writes nothing: each write
would wake flows and audits. A person's change in Dynamics therefore stands until the source
changes. What exists is asked by key, so the cost of a save follows its rows, not the table.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any

from dataverse.bulk import CHUNK, TARGET_GONE, BulkWriter, Keyed, Refused
from dataverse.client import KEYS_AT_ONCE, DataverseClient, Query, literal
from dataverse.mapping import FORMATTED, OutRow, from_row, row_writer, to_row
from dataverse.mirror import Mirror
from dataverse.schema import EXTERNAL_KEY, KEY, OVERFLOW, ROW_HASH, Row, Table, external_key
from dataverse.tables import CLOSED, FINDING, TABLE_OF, TABLES
from dataverse.usage_tables import USAGE_ALERT
from domain.problems import (
    ConfigurationError,
    Finding,
    FindingState,
    InputError,
    NotFound,
    Severity,
)
from invoice.file import Saved

REFUSED = "store.refused"
"""The check of a finding about a row that Dataverse does not take."""
SLICE = 5000
"""A save of so many records asks for all that the table holds, a smaller one by key."""
PIECE = 500
"""Records that are compared at once with what a mirror holds."""

MANY = 500
"""Targets of links from which on their whole table is looked at."""

REMEMBERED = 60.0
"""Seconds for which findings and currencies are not read again."""

_DECLARED = {table.name: table for table in TABLES}
_TARGETS = {lookup.target for table in TABLES for lookup in table.lookups}


class Rows:
    """The rows of one environment as they are written; safe for threads."""

    def __init__(
        self, client: DataverseClient, now: Callable[[], datetime], *, chunk: int = CHUNK
    ) -> None:
        self.client = client
        self.now = now
        self._bulk = BulkWriter(client, chunk=chunk)
        # What was seen is taken to be there still: we never delete it, and people seldom do.
        self._linkable: dict[str, set[str]] = {}
        self._currencies: dict[str, str] = {}
        self._currencies_until = 0.0
        self._reading_currencies = threading.Lock()
        self._refusals: dict[str, Row] = {}
        self._refusals_until = 0.0
        self._lock = threading.Lock()
        self._mirrors: dict[str, Mirror] = {}
        self._money: dict[str, bool] = {}

    def save(self, records: Sequence[object]) -> Saved:
        """Upsert records by their keys, targets of links first; equal rows are not written again.

        Of two records with one key the last counts. A row that Dataverse refuses becomes a finding
        that holds its customer, and the others are written.
        """
        by_table: dict[str, list[object]] = {}
        for record in records:
            by_table.setdefault(TABLE_OF[type(record)].name, []).append(record)
        saved = Saved()
        for table in TABLES:
            if table.name in by_table:
                saved += self.save_all(table, by_table[table.name])
        return saved

    def save_all(self, table: Table, records: Iterable[object]) -> Saved:
        """Do as `save` does with the records of one table, taken from their source as they are sent."""
        saving = _Saving(self, table)
        write = partial(self._bulk.write, table.name, written=saving.written)
        refused = saving.still_refused(write(saving.bodies(records)))
        unlinked = [key for key, one in refused.items() if one.code in TARGET_GONE]
        if unlinked:
            self.forget_links()
            for key in unlinked:
                del refused[key]
            refused |= saving.still_refused(write(saving.without_links(unlinked)))
        if table is not FINDING:
            self._report(table, saving, refused.values())
        elif refused:
            first = next(iter(refused.values()))
            raise ConfigurationError(
                f"a finding cannot be stored: {first.sentence}",
                hint="Compare the tables with `provision --plan`.",
            )
        return saving.saved

    def mirror(self, table: Table) -> Mirror:
        """Return the mirror of a table, as of now."""
        with self._lock:
            if table.name not in self._mirrors:
                self._mirrors[table.name] = Mirror(self.client, table)
        self._mirrors[table.name].look()
        return self._mirrors[table.name]

    def stored(self, name: str, keys: Collection[str]) -> dict[str, str | None]:
        """Read which rows are stored, by key, and their hashes."""
        rows = self.client.read_keyed(name, (EXTERNAL_KEY, ROW_HASH), keys)
        return {row[EXTERNAL_KEY]: row[ROW_HASH] for row in rows}

    def link_to(self, name: str, keys: Iterable[str]) -> None:
        """Remember rows that are stored: links to them stand."""
        if name in _TARGETS:
            self._linkable.setdefault(name, set()).update(keys)

    def settle_links(self, rows: Iterable[OutRow]) -> None:
        """Drop the links to rows that are not stored; the next save sets them."""
        rows = list(rows)
        wanted: dict[str, set[str]] = {}
        for row in rows:
            for lookup, target in row.links:
                if not lookup.required:
                    wanted.setdefault(lookup.target, set()).add(target)
        # What is remembered may be forgotten by another thread at any moment.
        there = {name: self._there(name, targets) for name, targets in wanted.items()}
        for row in rows:
            row.links = [
                (lookup, target)
                for lookup, target in row.links
                if lookup.required or target in there[lookup.target]
            ]

    def _there(self, name: str, targets: set[str]) -> set[str]:
        """Return those targets that are stored."""
        found = targets & self._linkable.get(name, set())
        unknown = targets - found
        if unknown and name == "account":
            found |= self._existing_accounts(unknown)
        elif unknown:
            if len(unknown) >= MANY and name not in self._mirrors:
                self.mirror(_DECLARED[name])
            if name in self._mirrors:
                found |= self._mirrors[name].hashes(unknown).keys()
            found |= self.stored(name, unknown - found).keys()
        self.link_to(name, found)
        return found

    def forget_links(self) -> None:
        """Look again whether the targets of links are there: one was deleted by a person."""
        self._linkable = {}
        for mirror in list(self._mirrors.values()):
            mirror.look()

    def _existing_accounts(self, ids: Collection[str]) -> set[str]:
        known = sorted(row_id for row_id in ids if _is_guid(row_id))
        found: set[str] = set()
        for start in range(0, len(known), KEYS_AT_ONCE):
            some = known[start : start + KEYS_AT_ONCE]
            where = " or ".join(f"accountid eq {row_id}" for row_id in some)
            rows = self.client.read(Query(table="account", select=("accountid",), where=where))
            found |= {row["accountid"] for row in rows}
        return found

    def body(self, table: Table, row: OutRow, *, is_new: bool = False) -> dict[str, Any]:
        """Return a row as JSON with its links and, where it holds money, its currency.

        ConfigurationError when the environment does not have the currency.
        """
        body = dict(row.columns)
        if not is_new:
            # A link that is not set any more is cleared; an account may be a person's choice.
            for lookup in table.lookups:
                if lookup.field and not (lookup.required or lookup.by_id):
                    body[f"{lookup.schema_name}@odata.bind"] = None
        for lookup, target in row.links:
            path = self.client.id_path if lookup.by_id else self.client.row_path
            body[f"{lookup.schema_name}@odata.bind"] = f"/{path(lookup.target, target)}"
        if self._has_money(table):
            currency = self._currency(row.columns["csp_currency"] or "")
            body["transactioncurrencyid@odata.bind"] = f"/transactioncurrencies({currency})"
        return body

    def _has_money(self, table: Table) -> bool:
        if table.name not in self._money:
            self._money[table.name] = table.has_money
        return self._money[table.name]

    def _currency(self, iso: str) -> str:
        """Return the row of a currency; money is never left to the environment's own currency."""
        if iso not in self._currencies:
            self._read_currencies()
        if iso not in self._currencies:
            raise ConfigurationError(
                f"the Dataverse environment has no currency {iso!r}",
                hint=f"Add {iso} under Currencies in the environment's settings.",
            )
        return self._currencies[iso]

    def currency_code(self, row_id: str) -> str:
        """Return the ISO 4217 code of a row of currencies; empty where no active one has that id."""
        if row_id and row_id not in self._currencies.values():
            self._read_currencies()
        return next((iso for iso, own in self._currencies.items() if own == row_id), "")

    def _read_currencies(self) -> None:
        """Read them, unless it was just done; who comes while they are read waits for them."""
        with self._reading_currencies:
            if not _is_over(self._currencies_until):
                return
            query = Query(
                table="transactioncurrency",
                select=("transactioncurrencyid", "isocurrencycode"),
                where="statecode eq 0",
            )
            self._currencies = {
                row["isocurrencycode"]: row["transactioncurrencyid"]
                for row in self.client.read(query)
            }
            self._currencies_until = time.monotonic() + REMEMBERED

    # Findings about rows -------------------------------------------------------------------------

    def _report(self, table: Table, saving: _Saving, refused: Iterable[Refused]) -> None:
        """Save what was refused as findings, and close those about rows that are stored now."""
        findings = [
            Finding(
                check=REFUSED,
                # No bill rests on an alert.
                severity=Severity.WARN if table is USAGE_ALERT else Severity.HOLD,
                customer_id=saving.tenant_of(one.key),
                record=f"{table.name} {one.key}",
                sentence=f"Dataverse refused the row: {one.sentence} ({one.code or 'no code'}).",
                hint="Correct the value where it comes from, or have an administrator mend the column; the "
                "next run writes the row again. Set the state to Closed when the row is not wanted.",
            )
            for one in refused
        ]
        if findings:
            known = {row[EXTERNAL_KEY]: row for row in self.refusals().values()}
            self.save([self.after(one, known) for one in findings])
            self._refusals_until = 0.0
        # A record that came twice may have been taken first and refused then.
        for record in saving.healed - {one.record for one in findings}:
            row = self._refusals.pop(record, None)
            if row is not None:
                self.close_finding(row)

    def refusals(self) -> Mapping[str, Row]:
        """Return the open findings about refused rows by what they were seen on, as of a minute ago."""
        if _is_over(self._refusals_until):
            rows = self.open_findings(f"csp_check eq {literal(REFUSED)}")
            self._refusals = {told.record: row for row, told in readable(rows)}
            self._refusals_until = time.monotonic() + REMEMBERED
        return self._refusals

    def open_findings(self, where: str = "") -> list[Row]:
        """Read the rows of findings whose cause is there, released ones included.

        One that a person set to closed is among them until that is accepted: what the worker closed
        has no hash. A row that Dataverse refuses needs nobody's consent not to be wanted.
        """
        closed = FINDING.column("csp_state").option(CLOSED)
        pending = f"({ROW_HASH} ne null and csp_check ne {literal(REFUSED)})"
        there = f"(csp_state ne {closed} or {pending})"
        return self.read_findings(f"{there} and {where}" if where else there)

    def read_findings(self, where: str) -> list[Row]:
        """Read rows of findings, with who changed them last and when."""
        more = (EXTERNAL_KEY, FINDING.primary_id, "csp_state", "modifiedon", "_modifiedby_value")
        return self.client.read(replace(query_of(FINDING, where, *more), names=True))

    def after(self, finding: Finding, known: Mapping[str, Row]) -> Finding:
        """Return what is kept of a finding, given the open rows by their keys."""
        row = known.get(external_key(finding.key))
        if row is None or not list(readable([row])):
            return finding.after(None, self.now().date())
        before = finding_of(row)
        after = finding.after(before, self.now().date())
        if not _is_pending(row) or replace(after, since=before.since) == before:
            return after
        said = (
            f"{row.get('_modifiedby_value' + FORMATTED) or 'Somebody in Dynamics'} released it on "
            f"{row['modifiedon'][:10]} ({row['csp_releasedreason'] or 'without a reason'}). Before a "
            "run accepted that, the finding changed: read it, and release it again."
        )
        return replace(after, release_note=said)

    def close_finding(self, row: Row) -> None:
        """Close a finding, and end its release; of one that cannot be read the row stays as it is."""
        with suppress(NotFound, InputError):  # a person deleted it, or broke it
            self.put_finding(finding_of(row).closed(self.now().date()))

    def put_finding(self, finding: Finding, version: str = "*") -> None:
        """Write a finding whatever its row says; Conflict where the row has another version.

        One that is closed has no hash, so that seeing it again writes and opens the row.
        """
        row = to_row(FINDING, finding)
        self.settle_links([row])
        hashed = None if finding.state is FindingState.CLOSED else row.digest()
        body = self.body(FINDING, row) | {ROW_HASH: hashed}
        self.client.write(FINDING.name, row.key, body, version=version)


def finding_of(row: Row) -> Finding:
    """Return the finding of a row; what a person set on the row counts when it was accepted."""
    finding: Finding = from_row(FINDING, row)
    if state_of(row) is FindingState.RELEASED and not _is_pending(row):
        return finding
    return replace(
        finding, released_by="", released_on=None, released_reason="", released_until=None
    )


def readable(rows: Iterable[Row]) -> Iterator[tuple[Row, Finding]]:
    """Yield the rows that are findings: one that a person broke stops nobody else."""
    for row in rows:
        with suppress(InputError):
            yield row, finding_of(row)


def _is_pending(row: Row) -> bool:
    """Say whether a row is set to released, and the worker has not accepted it: who, when and why."""
    accepted = row["csp_releasedby"] and row["csp_releasedon"] and row["csp_releasedreason"]
    return state_of(row) is FindingState.RELEASED and not accepted


def state_of(row: Row) -> FindingState:
    """Return the state of a finding's row; an option that a maker added is none of ours: open."""
    try:
        return FindingState(FINDING.column("csp_state").option_value(row["csp_state"] or 0))
    except ValueError:
        return FindingState.OPEN


class _Saving:
    """One save of one table: what is in flight, what came of it, and what was found open before."""

    def __init__(self, rows: Rows, table: Table) -> None:
        self._unsendable: list[Refused] = []
        self.mirror: Mirror | None = None
        self._rows = rows
        self._table = table
        self._lock = threading.Lock()
        self._flying: dict[str, _Flight] = {}
        self._created = self._updated = self._unchanged = 0
        self.healed: set[str] = set()
        """Open findings about rows that are stored as they should be."""

    @property
    def saved(self) -> Saved:
        """What was done."""
        return Saved(created=self._created, updated=self._updated, unchanged=self._unchanged)

    def bodies(self, records: Iterable[object]) -> Iterator[Keyed | None]:
        """Yield the rows that differ from what is stored, as they are sent."""
        to_row = row_writer(self._table)
        source = iter(records)
        while some := list(islice(source, SLICE)):
            if len(some) == SLICE and self.mirror is None:
                self.mirror = self._rows.mirror(self._table)
            # With a mirror small pieces cost nothing, and the first is on its way at once.
            size = PIECE if self.mirror else SLICE
            for start in range(0, len(some), size):
                yield from self._differing(
                    {row.key: row for row in map(to_row, some[start : start + size])}
                )

    def _differing(self, rows: Mapping[str, OutRow]) -> Iterator[Keyed | None]:
        self._rows.settle_links(rows.values())
        # Asked first: what is in flight now may be stored, and be noted as stored, or neither yet.
        busy = rows.keys() & self._flying.keys()
        stored = self._stored(rows.keys())
        equal: list[str] = []
        for key, row in rows.items():
            digest = row.digest()
            if stored.get(key) != digest or key in busy:
                yield from self._send(_Flight(row, digest, is_new=key not in stored))
            else:
                equal.append(key)
        self._unchanged += len(equal)
        self._heal(equal)
        if self.mirror is None:
            self._rows.link_to(self._table.name, stored)

    def _heal(self, keys: Collection[str]) -> None:
        """Note the open findings about rows that are stored as they should be."""
        if keys and self._table is not FINDING:
            open_ = self._rows.refusals()
            self.healed |= open_.keys() & {f"{self._table.name} {key}" for key in keys}

    def _stored(self, keys: Collection[str]) -> dict[str, str | None]:
        if self.mirror:
            return self.mirror.hashes(keys)
        return self._rows.stored(self._table.name, keys)

    def without_links(self, keys: Iterable[str]) -> Iterator[Keyed | None]:
        """Yield rows again whose links led to something that is gone; those links are left out."""
        flights = [self._flying[key] for key in keys]
        self._rows.settle_links(flight.row for flight in flights)
        for flight in flights:
            yield from self._send(replace(flight, digest=flight.row.digest()), again=True)

    def _send(self, flight: _Flight, *, again: bool = False) -> Iterator[Keyed | None]:
        row = flight.row
        if row.key in self._flying and not again:
            yield None  # the same row twice: one after the other
            if row.key not in self._flying:  # the first was taken
                flight = replace(flight, is_new=False)
        self._flying[row.key] = flight
        try:
            body = self._rows.body(self._table, row, is_new=flight.is_new)
        except ConfigurationError as problem:
            self._unsendable.append(Refused(key=row.key, code="", sentence=str(problem)))
            return
        if flight.is_new:
            body.update(row.once)
        body[ROW_HASH] = flight.digest
        yield row.key, body

    def written(self, keys: Sequence[str]) -> None:
        """Note that rows were written; called from several threads."""
        if self.mirror:
            self.mirror.note({key: self._flying[key].digest for key in keys})
        else:
            self._rows.link_to(self._table.name, keys)
        with self._lock:
            flights = [self._flying.pop(key) for key in keys]
            new = sum(flight.is_new for flight in flights)
            self._created += new
            self._updated += len(flights) - new
        self._heal(keys)
        if self.mirror:
            self.mirror.keep_up()

    def still_refused(self, refused: Iterable[Refused]) -> dict[str, Refused]:
        """Return by key what was refused and not written later, what could not be sent included."""
        every = [*refused, *self._unsendable]
        self._unsendable.clear()
        return {one.key: one for one in every if one.key in self._flying}

    def tenant_of(self, key: str) -> str:
        """Return the customer of a row that was refused."""
        return str(self._flying[key].row.columns.get("csp_tenantid") or "")


@dataclass(frozen=True, slots=True)
class _Flight:
    """A row on its way."""

    row: OutRow
    digest: str
    is_new: bool


def _is_over(moment: float) -> bool:
    return time.monotonic() >= moment


def columns_of(table: Table) -> tuple[str, ...]:
    """Name the columns that make the record, with the key and the digits that did not fit."""
    columns = [column.name for column in table.columns if column.field and not column.derived]
    return (*columns, KEY, OVERFLOW)


def query_of(table: Table, where: str = "", *more: str) -> Query:
    """Return the query that reads a table's records."""
    return Query(table=table.name, select=(*columns_of(table), *more), where=where)


def _is_guid(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text) is not None
