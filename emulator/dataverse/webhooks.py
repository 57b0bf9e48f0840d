"""Webhooks: rows of `serviceendpoints` and `sdkmessageprocessingsteps` lead to posts of events.

After the commit, asynchronously, one try; only the status of the answer counts, and a failure shows
in `asyncoperations`. Nothing is sent unless such rows exist, and only to this machine: a registered
function in this process, or a loopback address. What Microsoft documents of the body is its outer
shape; how values of columns are wrapped is by recollection.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import NAMESPACE_URL, uuid5
from xml.etree import ElementTree as ET

from emulator.dataverse import errors, values
from emulator.dataverse.rows import Cells, Event, Rows
from emulator.dataverse.schema import Column
from emulator.posting import FAILURES, SECONDS, Receiver, on_this_machine, post, receiver_of
from emulator.wire import encode

LARGEST_BODY = 256 * 1024
_WEBHOOK, _ASYNC, _POST_OPERATION = 8, 1, 40
_KEY, _HEADER, _QUERY = 4, 5, 6
_COMPLETED, _SUCCEEDED, _FAILED, _SYSTEM_EVENT = 3, 30, 31, 1
_STEPS = """
SELECT s.name, s.filteringattributes, s.asyncautodelete, f.primaryobjecttypecode,
       m.name, e.url, e.authtype, e.authvalue
FROM sdkmessageprocessingstep s
JOIN sdkmessage m ON m.sdkmessageid = s.sdkmessageid
JOIN serviceendpoint e ON e.serviceendpointid = s.eventhandler
LEFT JOIN sdkmessagefilter f ON f.sdkmessagefilterid = s.sdkmessagefilterid
WHERE e.contract = ? AND s.mode = ? AND s.stage = ? AND s.statecode = 0 ORDER BY s.rank, s.name
"""


@dataclass(frozen=True, slots=True)
class _Step:
    """One registration, with where it leads."""

    name: str
    columns: frozenset[str]
    auto_delete: bool
    table: str | None
    message: str
    url: str
    auth: int
    secret: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """One post that is due."""

    step: _Step
    headers: Mapping[str, str]
    body: bytes


class Webhooks:
    """Hears of every write, and tells whom the rows name after it is committed."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._store = rows.store
        self._threads: list[threading.Thread] = []
        self._due: list[Delivery] = []
        self._steps: list[_Step] | None = None
        self.receivers: dict[str, Receiver] = {}
        """By the beginning of the address: posts that stay in this process, and are made at once."""

    # Hearing

    def begin(self) -> None:
        """Start a request: registrations are read anew at its first write."""
        self._steps = None
        self._due = []

    def before(self, event: Event) -> None:
        """Refuse a webhook that would leave this machine."""
        address = event.cells.get("url")
        if event.table.logical != "serviceendpoint" or not address:
            return
        known = receiver_of(str(address), self.receivers) is not None
        if not known and not on_this_machine(str(address)):
            raise errors.invalid_argument("The emulator posts to loopback addresses only.")

    def after(self, event: Event) -> None:
        """Note what is to be told, if the transaction is committed."""
        if self._steps is None:
            self._steps = self._registered()
        for step in self._steps:
            if _concerns(step, event):
                delivery = self._delivery(step, event)
                self._store.after_commit.append(partial(self._due.append, delivery))

    def _registered(self) -> list[_Step]:
        return [
            _Step(
                name=name or "",
                columns=frozenset(filter(None, (columns or "").replace(" ", "").split(","))),
                auto_delete=bool(auto_delete),
                table=table,
                message=message,
                url=url or "",
                auth=auth or 0,
                secret=secret or "",
            )
            for name, columns, auto_delete, table, message, url, auth, secret in self._store.rows(
                _STEPS, (_WEBHOOK, _ASYNC, _POST_OPERATION)
            )
        ]

    def _delivery(self, step: _Step, event: Event) -> Delivery:
        row = self._store.one("SELECT name, organizationid FROM organization") or ("", "")
        # One number for what one write causes, the same in every run.
        correlation = str(uuid5(NAMESPACE_URL, f"{event.row_id}/{self._store.current_version()}"))
        context: dict[str, Any] = {
            "MessageName": event.message,
            "PrimaryEntityName": event.table.logical,
            "PrimaryEntityId": event.row_id,
            "Depth": 1,
            "CorrelationId": correlation,
            "InitiatingUserId": self._rows.caller.user_id,
            "UserId": self._rows.caller.user_id,
            "OrganizationId": row[1],
            "OrganizationName": row[0],
            "OperationCreatedOn": _instant(self._store.clock.now()),
            "Stage": _POST_OPERATION,
            "Mode": _ASYNC,
            "InputParameters": [{"key": "Target", "value": _target(event)}],
            "OutputParameters": [],
            "PreEntityImages": [],
            "PostEntityImages": [],
            "SharedVariables": [],
            "ParentContext": None,
        }
        headers = {
            "Content-Type": "application/json",
            "x-ms-dynamics-organization": urlsplit(str(row[0])).hostname or str(row[0]),
            "x-ms-dynamics-entity-name": event.table.logical,
            "x-ms-dynamics-request-name": event.message,
            "x-ms-correlation-request-id": correlation,
        }
        body = encode(context).encode()
        if len(body) > LARGEST_BODY:
            headers["x-ms-dynamics-msg-size-exceeded"] = "true"
            for left_out in (
                "InputParameters",
                "PreEntityImages",
                "PostEntityImages",
                "ParentContext",
            ):
                del context[left_out]
            body = encode(context).encode()
        return Delivery(step, headers, body)

    # Telling

    def take_due(self) -> list[Delivery]:
        """Return what the request caused; called while it still has the lock."""
        due, self._due = self._due, []
        return due

    def deliver(self, due: list[Delivery]) -> None:
        """Post what a request caused; called when the lock is free."""
        for delivery in due:
            receiver = receiver_of(delivery.step.url, self.receivers)
            if receiver is not None:
                self._try(delivery, receiver)
                continue
            thread = threading.Thread(target=self._try, args=(delivery, post), daemon=True)
            self._threads = [one for one in self._threads if one.is_alive()] + [thread]
            thread.start()

    def wait(self, seconds: float = SECONDS) -> None:
        """Wait until everything is posted that was due."""
        for thread in self._threads:
            thread.join(seconds)

    def _try(self, delivery: Delivery, receiver: Receiver) -> None:
        step = delivery.step
        url, headers = _authorised(step, delivery.headers)
        try:
            status, problem = receiver(url, headers, delivery.body), ""
        except FAILURES as fault:
            status, problem = 0, f"{type(fault).__name__}: {fault}"
        good = 200 <= status < 300
        if good and step.auto_delete:
            return
        job: Cells = {
            "name": step.name,
            "operationtype": _SYSTEM_EVENT,
            "message": None if good else problem or f"The webhook answered {status}.",
            "statecode": _COMPLETED,
            "statuscode": _SUCCEEDED if good else _FAILED,
        }
        with self._store.lock, self._store.transaction():
            self._rows.insert(self._store.schema.tables["asyncoperation"], job)


def _concerns(step: _Step, event: Event) -> bool:
    if step.message != event.message or step.table not in (None, event.table.logical):
        return False
    # The column filter is for updates alone; a created row has all its columns.
    return event.message != "Update" or not step.columns or bool(step.columns & event.cells.keys())


def _authorised(step: _Step, headers: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Address and headers with the secret where its type puts it."""
    parts = urlsplit(step.url)
    query, sent = parse_qsl(parts.query), dict(headers)
    if step.auth == _KEY:
        query.append(("code", step.secret))
    elif step.auth in (_HEADER, _QUERY) and step.secret:
        # <settings><setting name="k" value="v"/></settings>: the form is unconfirmed.
        settings = [
            (str(one.get("name")), str(one.get("value")))
            for one in ET.fromstring(step.secret).iter("setting")  # noqa: S314 - our own machine's
        ]
        if step.auth == _HEADER:
            sent.update(settings)
        else:
            query += settings
    return parts._replace(query=urlencode(query)).geturl(), sent


def _target(event: Event) -> dict[str, Any]:
    target: dict[str, Any] = {"LogicalName": event.table.logical, "Id": event.row_id}
    if event.message != "Delete":
        target["Attributes"] = [
            {"key": name, "value": _wrapped(event.table.columns[name], event.cells)}
            for name in event.cells
            if name in event.table.columns
        ]
    return target


def _wrapped(column: Column, cells: Cells) -> Any:
    cell = cells[column.name]
    if cell is None:
        return None
    if column.kind == "DateTime":
        text = f"{cell}T00:00:00Z" if column.date_only else str(cell)
        return _instant(datetime.fromisoformat(text))
    if column.kind == "Lookup":
        named = str(cells.get(column.type_cell or "") or next(iter(column.navs), ""))
        return {"LogicalName": named, "Id": cell}
    decode = values.decoder(column.kind)
    shown = decode(cell) if decode else cell
    if column.kind in values.CHOICE_KINDS or column.kind == "Money":
        return {"Value": shown}
    return shown


def _instant(moment: datetime) -> str:
    return f"/Date({int(moment.timestamp() * 1000)})/"
