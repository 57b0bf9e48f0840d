"""Rows of the table of runs that people and flows add, to ask for one.

A request is a row that the worker did not make: it has no key of ours until it is taken up. What
it asks for is read leniently, because a person typed it; what became of it is written only under
the version that was read, so that a person's change in between is seen.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from dataverse.client import DataverseClient, Query, etag, literal
from dataverse.mapping import FORMATTED, fit, from_json
from dataverse.schema import EXTERNAL_KEY, KEY, Row, external_key
from dataverse.tables import BILLING_RUN
from domain.run import ControlTotal, RequestStatus, RunRequest

_OWN = f"({KEY} eq null or startswith({KEY},'request/'))"
_INACTIVE = 1
_COLUMNS = (
    "csp_name",
    "csp_kind",
    "csp_period",
    "csp_day",
    "csp_dryrun",
    "csp_status",
    "csp_runkey",
    "csp_startedat",
    "csp_finishedat",
    "csp_unitsdone",
    "csp_unitsall",
    "csp_counts",
    "csp_totals",
    "csp_answer",
    "csp_answerdata",
    "csp_problem",
    "statecode",
    "_createdby_value",
    "_csp_customerid_value",
    KEY,
)


class RequestRows:
    """The requests of one environment; satisfies `sync.ports.Requests` by shape."""

    def __init__(self, client: DataverseClient) -> None:
        self._client = client

    def since(self, link: str) -> tuple[Sequence[str], str]:
        """Return the ids of open requests added or changed since a link, and the next link.

        A link of another environment, or one that has expired, is as good as none.
        """
        if not link.startswith(f"{self._client.http.base_url}/"):
            link = ""
        changes = self._client.changes(BILLING_RUN.name, ("csp_status", "statecode", KEY), link)
        open_ = [
            str(row[BILLING_RUN.primary_id])
            for row in changes.rows
            if _is_request(row) and _status(row) is RequestStatus.REQUESTED
        ]
        return open_, changes.link

    def get(self, request_id: str) -> tuple[RunRequest, str] | None:
        """Read a request and its version; None when the row is gone, or is a run's own."""
        found = self._read(f"{BILLING_RUN.primary_id} eq {request_id}", names=True)
        return found[0] if found else None

    def of_run(self, run_key: str) -> Sequence[tuple[RunRequest, str]]:
        """Read the running requests that led to a run, with their versions."""
        running = BILLING_RUN.column("csp_status").option(RequestStatus.RUNNING)
        return self._read(f"csp_runkey eq {literal(run_key)} and csp_status eq {running}")

    def latest(self, limit: int = 20) -> Sequence[RunRequest]:
        """Read the latest requests, newest first."""
        found = self._read("", names=True, order="createdon desc", top=limit)
        return [request for request, _ in found]

    def _read(self, where: str, **options: Any) -> list[tuple[RunRequest, str]]:
        query = Query(
            table=BILLING_RUN.name,
            select=_COLUMNS,
            where=" and ".join(filter(None, (_OWN, where))),
            expand="csp_CustomerId($select=csp_tenantid)",
            **options,
        )
        return [(_request(row), etag(row)) for row in self._client.read(query)]

    def put(self, request: RunRequest, version: str) -> str:
        """Write what became of a request under that version; what was asked for is left as it is.

        Conflict when somebody changed the row, NotFound when it was deleted.
        """
        columns: dict[str, Any] = {
            EXTERNAL_KEY: external_key(request.key),
            KEY: request.key,
            "csp_status": BILLING_RUN.column("csp_status").option(request.status),
            "csp_percent": _percent(request),
        }
        for name, value in {
            "csp_name": _title(request),
            "csp_requestedby": request.asked_by,
            "csp_runkey": request.run_key,
            "csp_startedat": request.started_at,
            "csp_finishedat": request.finished_at,
            "csp_unitsdone": request.units_done,
            "csp_unitsall": request.units,
            "csp_counts": request.counts,
            "csp_totals": request.totals,
            "csp_answer": request.answer,
            "csp_answerdata": request.answer_data,
            "csp_problem": request.problem,
        }.items():
            columns[name] = fit(BILLING_RUN.column(name), value)
        answer = self._client.call(
            "PATCH",
            self._client.id_path(BILLING_RUN.name, request.id),
            params={"$select": BILLING_RUN.primary_id},
            headers={"If-Match": version, "Prefer": "return=representation"},
            body=columns,
            keyed=True,
        )
        return etag(answer.json())


def _is_request(row: Row) -> bool:
    key = str(row[KEY] or "")
    return not key or key.startswith("request/")


def _status(row: Row) -> RequestStatus:
    if row["csp_status"] is None and row["statecode"] != _INACTIVE:
        return RequestStatus.REQUESTED  # where the table is older than the default of the column
    # An option that a maker added means nothing to us: the row is left alone.
    told = _choice(row, "csp_status") if row["statecode"] != _INACTIVE else ""
    return RequestStatus(told or RequestStatus.CANCELLED)


def _choice(row: Row, name: str) -> str:
    try:
        return BILLING_RUN.column(name).option_value(row[name] or 0)
    except ValueError:
        return ""


def _request(row: Row) -> RunRequest:
    customer = row.get("csp_CustomerId") or {}
    return RunRequest(
        id=str(row[BILLING_RUN.primary_id]),
        kind=_choice(row, "csp_kind"),
        period=(row["csp_period"] or "").strip(),
        day=date.fromisoformat(row["csp_day"]) if row["csp_day"] else None,
        for_one=row["_csp_customerid_value"] is not None,
        customer_id=customer.get("csp_tenantid") or "",
        dry_run=bool(row["csp_dryrun"]),
        asked_by=row.get("_createdby_value" + FORMATTED) or "",
        status=_status(row),
        run_key=row["csp_runkey"] or "",
        started_at=_moment(row["csp_startedat"]),
        finished_at=_moment(row["csp_finishedat"]),
        units_done=row["csp_unitsdone"] or 0,
        units=row["csp_unitsall"] or 0,
        counts=_data(row["csp_counts"]) or {},
        totals=from_json(tuple[ControlTotal, ...], _data(row["csp_totals"])),
        answer=row["csp_answer"] or "",
        answer_data=_data(row["csp_answerdata"]) or {},
        problem=row["csp_problem"] or "",
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _data(text: str | None) -> Any:
    return json.loads(text, parse_float=Decimal) if text else None


def _percent(request: RunRequest) -> int:
    if request.finished_at is not None:
        return 100
    return 100 * request.units_done // request.units if request.units else 0


def _title(request: RunRequest) -> str:
    what = f"{'dry ' if request.dry_run else ''}{request.kind or 'request'}"
    when = request.period or (str(request.day) if request.day else "")
    who = f", asked for by {request.asked_by}" if request.asked_by else ""
    return f"{what} {when}".strip() + who
