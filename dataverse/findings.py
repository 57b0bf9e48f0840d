"""Findings as rows: what is open, what a check no longer finds, and what people decided on a row.

A person sets the state of a row, with a reason where it is a release. That counts when the worker
has accepted it (`sync.releases`): until then the finding is read as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from dataverse.client import etag, literal, one_of
from dataverse.documents import slices
from dataverse.mapping import FORMATTED, from_row
from dataverse.rows import REFUSED, Rows, finding_of, readable, state_of
from dataverse.schema import EXTERNAL_KEY, ROW_HASH, Row, external_key
from dataverse.tables import FINDING
from domain.problems import Decision, Finding, FindingState, InputError, Severity
from invoice.file import Saved

UNREADABLE = "finding.unreadable"


def _told(row: Row) -> Finding:
    """Return the finding of a row; one that cannot be read holds, as what it said may have."""
    try:
        return finding_of(row)
    except InputError as fault:
        return Finding(
            check=UNREADABLE,
            severity=Severity.HOLD,
            customer_id=row["csp_tenantid"] or "",
            record=f"row {row[FINDING.primary_id]}",
            sentence=f"The row of a finding cannot be read: {fault}.",
            hint="correct the row under All findings, or delete it: what is still there is found again",
        )


def _records(rows: Iterable[Row]) -> Iterator[tuple[Row, Finding]]:
    for row in rows:
        with suppress(InputError):
            yield row, from_row(FINDING, row)


class Findings:
    """The findings of one environment."""

    _rows: Rows

    def findings(self, *, customer_id: str = "") -> Sequence[Finding]:
        """Read the findings whose cause is there, released ones included, by key."""
        where = f"csp_tenantid eq {literal(customer_id)}" if customer_id else ""
        found = [_told(row) for row in self._rows.open_findings(where)]
        return tuple(sorted(found, key=lambda one: one.key))

    def replace_findings(
        self, checks: Sequence[str], customer_id: str, findings: Sequence[Finding]
    ) -> Saved:
        """Save what these checks found for a customer now, and close what they no longer find.

        One that says what it said before is not written: its days stay, and its release.
        """
        tenant = f"csp_tenantid eq {literal(customer_id or None)}"
        known: dict[str, Row] = {}
        for some in slices(checks):
            rows = self._rows.open_findings(f"{tenant} and {one_of('csp_check', some)}")
            known |= {row[EXTERNAL_KEY]: row for row in rows if row[EXTERNAL_KEY]}
        kept = self._with_their_past([self._rows.after(one, known) for one in findings], known)
        saved = self._rows.save(kept)
        broken = known.keys() - {row[EXTERNAL_KEY] for row, _ in readable(known.values())}
        for finding in kept:
            if external_key(finding.key) in broken:
                self.put_finding(finding)  # its hash says that it is as it was written
        gone = known.keys() - broken - {external_key(finding.key) for finding in findings}
        for key in sorted(gone):
            self._rows.close_finding(known[key])
        return saved + Saved(updated=len(gone))

    def _with_their_past(
        self, findings: Sequence[Finding], known: Mapping[str, Row]
    ) -> list[Finding]:
        """Return findings that open anew with what their rows tell of a release before that."""
        keys = {external_key(one.key): one for one in findings}
        note = "csp_releasenote"
        rows = self._rows.client.read_keyed(
            FINDING.name, (EXTERNAL_KEY, note), keys.keys() - known.keys()
        )
        past = {row[EXTERNAL_KEY]: row[note] or "" for row in rows}
        return [
            replace(one, release_note=past[key]) if key in past else one
            for key, one in keys.items()
        ]

    def decisions(self) -> Sequence[Decision]:
        """Read what people set on the rows of findings and nobody has accepted yet, by key.

        Closing one about a row that Dataverse refuses needs nobody: it says that the row is not
        wanted any more.
        """
        state = FINDING.column("csp_state")
        asked = {
            FindingState.RELEASED: "(csp_releasedby eq null or csp_releasedon eq null"
            " or csp_releasedreason eq null)",
            FindingState.OPEN: "csp_releasedby ne null",
            FindingState.CLOSED: f"{ROW_HASH} ne null and csp_check ne {literal(REFUSED)}",
        }
        where = " or ".join(
            f"(csp_state eq {state.option(one)} and {rest})" for one, rest in asked.items()
        )
        found = [
            Decision(
                finding=finding,
                state=state_of(row),
                by=row.get("_modifiedby_value" + FORMATTED) or "",
                at=datetime.fromisoformat(row["modifiedon"]).astimezone(UTC),
                version=etag(row),
            )
            for row, finding in _records(self._rows.read_findings(where))
        ]
        return tuple(sorted(found, key=lambda one: one.finding.key))

    def put_finding(self, finding: Finding, version: str = "*") -> None:
        """Write a finding whatever its row says; Conflict when the row has another version."""
        self._rows.put_finding(finding, version)
